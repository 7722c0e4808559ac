/* Finds the route without trying each: most predicates can only hold if some attribute has, starts with or ends with
 * one of a few strings, their *keys*; per attribute a trie tells which routes wait for the value at hand, another, of
 * strings written backwards, does so for endings.
 *
 * Keys of a predicate: eq, in, prefix, suffix and a pattern's literal head or tail are such; an `or` has all its
 * children's if each has some; an `and` may use any one child's and takes those that fewest routes share, so that of
 * {command: GET, key: "a:*"} it is the key. Routes without keys are on a list tried in every lookup. Streams of
 * candidates are merged by route number; the first whose whole predicate holds is the answer, so order is what the
 * configuration says, whatever was looked up how.
 *
 * Where many routes share a key (a virtual host with hundreds of paths) they have an index of their own, of what
 * remains of their predicates once that key is known to be there: ten thousand hosts cost what one does. */
#ifndef MOSNPY_ROUTE_INDEX_H
#define MOSNPY_ROUTE_INDEX_H

#include "keytrie.h"
#include "program.h"

enum { ROUTE_NONE = UINT32_MAX };
/* A candidate, in tries and lists: its position in the index * 2, + 1 when being found under its key is all its
 * predicate asks. */
static inline uint32_t candidate(uint32_t at, bool sure) { return at << 1 | sure; }

struct attr_index {
    struct keytrie trie;     /* exact values and prefixes */
    struct keytrie backward; /* endings, as prefixes of the value's last TAIL_MAX bytes backwards */
    uint8_t slot, type;      /* the attribute */
};

struct index { /* all zero = finds ROUTE_NONE, but for `fallback` */
    struct attr_index *attrs;
    uint32_t attr_count;
    uint32_t unkeyed_count;
    uint32_t *unkeyed; /* candidates without keys, ascending */
    uint32_t *starts;  /* by position: where what remains of its predicate starts in the program */
    uint32_t *above;   /* by position: that in the index above; NULL: this is the table's, positions are its routes */
    const struct program *program;
    uint32_t fallback;    /* position of the first route that always holds; later ones are never reached */
    bool simple;          /* keys are exact values and prefixes of one string attribute, and every route has one */
    uint32_t *turn;       /* number of the last lookup that used key_leaf.seen */
    struct index **below; /* of keys that many share: their leaf has count 0, and start is the position here */
    uint32_t below_count;
};

/* Number of the first route whose predicate holds, ROUTE_NONE if none does. */
uint32_t index_find(const struct index *ix, const struct message *msg, const struct attr_slots *slots);
/* Builds the index and the program of `count` routes out of their predicates. false with err set. */
bool index_build(struct index *ix, struct program *g, struct compile *c, struct predicate **when, uint32_t count);

#endif
