/* A set of byte strings, each "exactly this" or "starts with this", with the routes that wait for it.
 *
 * A trie that steps eight bytes at a time. From a node the next word of the key, cut to the lengths at which prefixes end
 * below this node, is looked up in one hash table for all nodes; these probes do not depend on each other, so the
 * processor overlaps them. Bytes all keys below a node share are skipped with one comparison. Ten thousand prefixes like
 * "tenant1234:" thus cost one comparison and at most one probe per distinct length; long keys cost one step per eight
 * bytes *in which they differ*. Rejected: one byte per step (a chain of dependent cache misses), a hash per distinct
 * length over the whole key (every length is paid for by every key), sorted array (13 unpredictable branches for 10,000).
 *
 * Nothing here grows with what clients send: the table is the configuration's, a key only walks it. */
#ifndef MOSNPY_KEYTRIE_H
#define MOSNPY_KEYTRIE_H

#include "arena.h"

struct posting {      /* "under this key waits this value" */
    struct slice key; /* borrowed while the trie is built */
    uint32_t value;
    bool prefix;
};

struct key_leaf {   /* one string of the set. Half a cache line */
    uint64_t word;  /* its last bytes, zero-padded: with `node` and `kind` its identity */
    uint32_t node;  /* where they start */
    uint32_t up;    /* prefixes: the longest shorter prefix of it in the set; 0 = none */
    uint32_t start; /* where its values are; count == 1: its value, sparing that way. See keytrie_values */
    uint32_t count;
    uint32_t seen; /* for the caller: number of the last lookup that came by */
    uint32_t kind; /* bytes in `word` (0..8) | KEY_EXACT */
};

struct key_node;
struct key_bucket;
struct keytrie {
    struct key_leaf *leaves; /* [0] unused */
    struct key_node *nodes;  /* [0] unused, [1] the root */
    struct key_bucket *buckets;
    uint32_t *values;
    uint32_t mask; /* buckets - 1 */
    uint32_t leaf_count, node_count;
};

struct key_hit {
    struct key_leaf *exact;   /* the key itself; NULL: not in the set */
    struct key_leaf *longest; /* longest prefix of it, go on with keytrie_up; NULL: none */
};

/* Sorts `postings` in place and builds from them (n > 0). false when memory is out. */
bool keytrie_build(struct keytrie *t, struct posting *postings, uint32_t n, struct arena *a);
struct key_hit keytrie_find(const struct keytrie *t, struct slice key);
/* The `count` values of a leaf, ascending, no duplicates. */
static inline const uint32_t *keytrie_values(const struct keytrie *t, const struct key_leaf *leaf) {
    return leaf->count == 1 ? &leaf->start : &t->values[leaf->start];
}
static inline struct key_leaf *keytrie_up(const struct keytrie *t, const struct key_leaf *leaf) {
    return leaf->up ? &t->leaves[leaf->up] : NULL;
}

#endif
