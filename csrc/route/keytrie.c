#include "keytrie.h"

#include <endian.h>
#include <stdlib.h>

enum { KEY_EXACT = 16, KEY_STEP = 32 }; /* kinds; a prefix's is its 1..8 bytes alone */
enum { BUCKET = 4, NEAR = 24 };

struct key_node {        /* one cache line */
    const uint8_t *skip; /* bytes all keys below share, before the next word; in `near` if they fit */
    uint32_t skip_n;
    uint32_t prefix, exact; /* leaves that end right behind `skip` */
    uint8_t prefix_ends;    /* bit r-1: a prefix ends r bytes behind `skip` */
    bool exact_ends;        /* an exact key ends 1..8 bytes behind it */
    bool goes_on;           /* there are nodes below */
    uint64_t word;          /* the eight bytes that led here from `parent` */
    uint32_t parent;
    uint8_t near[NEAR];
    uint8_t pad[4];
};
/* Of the hash table all nodes share: what is where the hash points. The tags are compared all at once: walking slot by slot
 * costs a mispredicted branch for every length that does not fit. */
struct key_bucket {
    uint64_t tags;        /* BUCKET times 16 bits of the hash, see tag_of; 0 = free */
    uint32_t ids[BUCKET]; /* of leaves, of nodes for KEY_STEP */
    uint32_t more;        /* something found no room here and is in the next */
    uint32_t pad;
};
_Static_assert(sizeof(struct key_bucket) * 2 == 64, "two buckets fill a cache line");
_Static_assert(sizeof(struct key_node) == 64, "a node fills a cache line");
_Static_assert(sizeof(struct key_leaf) * 2 == 64, "two leaves fill a cache line");

/* --- words --- */

static inline uint64_t load_8(const uint8_t *p) {
    uint64_t w;
    memcpy(&w, p, 8);
    return le64toh(w);
}

static inline uint32_t load_4(const uint8_t *p) {
    uint32_t w;
    memcpy(&w, p, 4);
    return le32toh(w);
}

/* The first n (1..8) bytes of w, the rest zero. */
static inline uint64_t first_bytes(uint64_t w, size_t n) { return w & (UINT64_MAX >> (64 - 8 * n)); }

/* Up to eight bytes of key from `at` on (at < key.n), zero-padded; reads no byte outside the key. */
static inline uint64_t word_at(struct slice key, size_t at) {
    const uint8_t *p = key.p + at;
    size_t left = key.n - at;
    if (likely(left >= 8)) return load_8(p);
    if (key.n >= 8) return load_8(key.p + key.n - 8) >> (64 - 8 * left);
    if (left >= 4) return load_4(p) | (uint64_t)load_4(p + left - 4) << (8 * (left - 4));
    uint64_t w = p[0];
    if (left > 1) w |= (uint64_t)p[1] << 8;
    if (left > 2) w |= (uint64_t)p[2] << 16;
    return w;
}

/* memcmp() for a few bytes without the call; both have n. */
static inline bool same_bytes(const uint8_t *a, const uint8_t *b, size_t n) {
    if (n >= 8) {
        size_t i = 0;
        for (; i + 8 <= n; i += 8)
            if (load_8(a + i) != load_8(b + i)) return false;
        return load_8(a + n - 8) == load_8(b + n - 8);
    }
    if (n >= 4) return load_4(a) == load_4(b) && load_4(a + n - 4) == load_4(b + n - 4);
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i]) return false;
    return true;
}

/* --- the hash table of all nodes --- */

static inline uint64_t hash_of(uint64_t word, uint32_t node, uint32_t kind) {
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)(word ^ 0x9e3779b97f4a7c15ULL) * (((uint64_t)node << 6 | kind) * 2 ^ 0xd6e8feb86659fd93ULL);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Never 0, and never the same for a node and a leaf. */
static inline uint64_t tag_of(uint64_t hash, uint32_t kind) { return (hash >> 48 & 0xfffc) | 2 | (kind == KEY_STEP); }

static inline bool is_it(const struct keytrie *t, uint32_t id, uint64_t word, uint32_t node, uint32_t kind) {
    if (kind == KEY_STEP) return t->nodes[id].word == word && t->nodes[id].parent == node;
    return t->leaves[id].word == word && t->leaves[id].node == node && t->leaves[id].kind == kind;
}

/* Leaf, or with KEY_STEP node, that `word` leads to from `node`; 0 = none. */
static inline uint32_t probe(const struct keytrie *t, uint64_t word, uint32_t node, uint32_t kind) {
    const uint64_t ones = 0x0001000100010001ULL;
    uint64_t hash = hash_of(word, node, kind), tags = tag_of(hash, kind) * ones;
    for (uint32_t i = (uint32_t)hash & t->mask;; i = (i + 1) & t->mask) {
        const struct key_bucket *b = &t->buckets[i];
        uint64_t differ = b->tags ^ tags;
        uint64_t same = (differ - ones) & ~differ & ones << 15; /* upper bit of each 16 that are 0 */
        for (; unlikely(same); same &= same - 1) {
            uint32_t id = b->ids[__builtin_ctzll(same) / 16];
            if (likely(is_it(t, id, word, node, kind))) return id;
        }
        if (likely(!b->more)) return 0;
    }
}

static void insert(struct keytrie *t, uint64_t word, uint32_t node, uint32_t kind, uint32_t id) {
    uint64_t hash = hash_of(word, node, kind);
    for (uint32_t i = (uint32_t)hash & t->mask;; i = (i + 1) & t->mask) {
        struct key_bucket *b = &t->buckets[i];
        for (uint32_t k = 0; k < BUCKET; k++) {
            if (b->tags >> (16 * k) & 0xffff) continue;
            b->tags |= tag_of(hash, kind) << (16 * k);
            b->ids[k] = id;
            return;
        }
        b->more = true;
    }
}

/* --- looking up --- */

/* Does the key go on with the node's skipped bytes? Mostly they are few and more follow them in the key: then no branch here
 * depends on how many, for that is a different number in every node and the processor would guess it wrong. */
static inline bool skip_fits(const struct key_node *node, struct slice key, size_t at) {
    size_t n = node->skip_n, left = key.n - at;
    if (likely(n <= 16 && left >= 16)) {
        uint64_t low = load_8(key.p + at) ^ load_8(node->near), high = load_8(key.p + at + 8) ^ load_8(node->near + 8);
        uint64_t low_mask = n >= 8 ? UINT64_MAX : ~(UINT64_MAX << 8 * n);
        uint64_t high_mask = n >= 16 ? UINT64_MAX : n > 8 ? ~(UINT64_MAX << 8 * (n - 8)) : 0;
        return ((low & low_mask) | (high & high_mask)) == 0;
    }
    return n == 0 || (left >= n && same_bytes(key.p + at, node->skip, n));
}

struct key_hit keytrie_find(const struct keytrie *t, struct slice key) {
    uint32_t id = 1, longest = 0, exact = 0;
    size_t at = 0;
    for (;;) {
        const struct key_node *node = &t->nodes[id];
        if (!skip_fits(node, key, at)) break;
        at += node->skip_n;
        if (node->prefix) longest = node->prefix;
        if (at == key.n) {
            exact = node->exact;
            break;
        }
        size_t left = key.n - at;
        uint64_t word = word_at(key, at);
        uint32_t ends = node->prefix_ends;
        if (left < 8) ends &= (1u << left) - 1;
        while (ends) { /* the longest that fits has the shorter ones as its `up` */
            uint32_t n = 32 - (uint32_t)__builtin_clz(ends);
            uint32_t leaf = probe(t, first_bytes(word, n), id, n);
            if (leaf) {
                longest = leaf;
                break;
            }
            ends ^= 1u << (n - 1);
        }
        if (left <= 8) {
            if (node->exact_ends) exact = probe(t, word, id, (uint32_t)left | KEY_EXACT);
            break;
        }
        if (!node->goes_on) break;
        id = probe(t, word, id, KEY_STEP);
        if (!id) break;
        at += 8;
    }
    return (struct key_hit){exact ? &t->leaves[exact] : NULL, longest ? &t->leaves[longest] : NULL};
}

/* --- building --- */

static int compare_keys(struct slice a, struct slice b) {
    size_t n = min_size(a.n, b.n);
    int order = n ? memcmp(a.p, b.p, n) : 0;
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

static int compare_postings(const void *left, const void *right) {
    const struct posting *a = left, *b = right;
    int order = compare_keys(a->key, b->key);
    if (order) return order;
    if (a->prefix != b->prefix) return a->prefix ? -1 : 1;
    return (a->value > b->value) - (a->value < b->value);
}

static bool starts_with(struct slice s, struct slice head) {
    return s.n >= head.n && (head.n == 0 || memcmp(s.p, head.p, head.n) == 0);
}

struct job { /* a node to be made of the leaves [low, high), whose keys agree in the first `at` bytes */
    uint32_t low, high;
    size_t at;
};

struct build {
    struct keytrie *t;
    struct slice *keys; /* whole key of each leaf */
    struct job *jobs;   /* of each node */
};

/* Groups sorted postings into leaves with their values and their `up`. */
static void make_leaves(struct build *b, const struct posting *postings, uint32_t n) {
    struct keytrie *t = b->t;
    uint32_t values = 0, open = 0; /* the last prefix: it and its ups are those the current key may start with */
    for (uint32_t i = 0; i < n; i++) {
        const struct posting *p = &postings[i];
        const struct posting *before = i ? p - 1 : NULL;
        if (!before || before->prefix != p->prefix || !slice_eq(before->key, p->key)) {
            uint32_t id = ++t->leaf_count;
            b->keys[id] = p->key;
            t->leaves[id].kind = p->prefix ? 0 : KEY_EXACT; /* bytes are added when its node is known */
            t->leaves[id].start = values;
            while (open && !starts_with(p->key, b->keys[open])) open = t->leaves[open].up;
            if (p->prefix) {
                t->leaves[id].up = open;
                open = id;
            }
        } else if (before->value == p->value) {
            continue;
        }
        t->values[values++] = p->value;
        t->leaves[t->leaf_count].count++;
    }
    for (uint32_t id = 1; id <= t->leaf_count; id++)
        if (t->leaves[id].count == 1) t->leaves[id].start = t->values[t->leaves[id].start];
}

static void add_node(struct build *b, uint32_t low, uint32_t high, size_t at, uint32_t parent, uint64_t word) {
    uint32_t id = ++b->t->node_count;
    b->jobs[id] = (struct job){low, high, at};
    b->t->nodes[id].parent = parent;
    b->t->nodes[id].word = word;
}

/* How far the first and the last key agree: as they are sorted, so do those between. */
static size_t common_bytes(struct slice a, struct slice b, size_t at) {
    size_t n = min_size(a.n, b.n);
    while (at < n && a.p[at] == b.p[at]) at++;
    return at;
}

static void make_node(struct build *b, uint32_t id) {
    struct keytrie *t = b->t;
    struct key_node *node = &t->nodes[id];
    struct job job = b->jobs[id];
    size_t at = common_bytes(b->keys[job.low], b->keys[job.high - 1], job.at);
    node->skip_n = (uint32_t)(at - job.at);
    if (node->skip_n) node->skip = b->keys[job.low].p + job.at;
    for (uint32_t i = job.low; i < job.high;) {
        struct key_leaf *leaf = &t->leaves[i];
        size_t left = b->keys[i].n - at;
        uint64_t word = left ? word_at(b->keys[i], at) : 0;
        if (left > 8) {
            uint32_t first = i;
            while (i < job.high && b->keys[i].n - at > 8 && word_at(b->keys[i], at) == word) i++;
            add_node(b, first, i, at + 8, id, word);
            node->goes_on = true;
            continue;
        }
        leaf->node = id;
        leaf->word = word;
        bool exact = leaf->kind & KEY_EXACT;
        leaf->kind |= (uint32_t)left;
        if (left == 0) *(exact ? &node->exact : &node->prefix) = i;
        else if (exact) node->exact_ends = true;
        else node->prefix_ends |= (uint8_t)(1u << (left - 1));
        i++;
    }
}

static bool make_buckets(struct keytrie *t, struct arena *a) {
    size_t size = 1; /* a third full at most, so that hardly any bucket (one in a hundred) has `more` */
    while (size * BUCKET < 3 * ((size_t)t->leaf_count + t->node_count)) size *= 2;
    t->buckets = arena_alloc(a, size * sizeof *t->buckets);
    if (!t->buckets) return false;
    t->mask = (uint32_t)(size - 1);
    for (uint32_t i = 2; i <= t->node_count; i++) insert(t, t->nodes[i].word, t->nodes[i].parent, KEY_STEP, i);
    for (uint32_t i = 1; i <= t->leaf_count; i++) {
        const struct key_leaf *leaf = &t->leaves[i];
        if (leaf->kind & ~(uint32_t)KEY_EXACT) insert(t, leaf->word, leaf->node, leaf->kind, i);
    }
    return true;
}

/* Copies the nodes out of the draft, which is as long as they might have become, and the bytes they point to. */
static bool keep_nodes(struct keytrie *t, const struct key_node *draft, struct arena *a) {
    size_t count = (size_t)t->node_count + 1;
    t->nodes = arena_alloc(a, count * sizeof *draft);
    if (!t->nodes) return false;
    memcpy(t->nodes, draft, count * sizeof *draft);
    for (size_t i = 1; i < count; i++) {
        struct key_node *node = &t->nodes[i];
        uint8_t *to = node->skip_n <= NEAR ? node->near : arena_alloc(a, node->skip_n);
        if (!to) return false;
        if (node->skip_n) memcpy(to, node->skip, node->skip_n);
        node->skip = to;
    }
    return true;
}

bool keytrie_build(struct keytrie *t, struct posting *postings, uint32_t n, struct arena *a) {
    *t = (struct keytrie){0};
    qsort(postings, n, sizeof *postings, compare_postings);
    size_t leaves = (size_t)n + 1, nodes = 2 * (size_t)n + 2; /* every node ends a key or parts two groups */
    struct build b = {.t = t, .keys = malloc(leaves * sizeof *b.keys), .jobs = malloc(nodes * sizeof *b.jobs)};
    struct key_node *draft = t->nodes = calloc(nodes, sizeof *draft);
    t->leaves = arena_alloc(a, leaves * sizeof *t->leaves);
    t->values = arena_alloc(a, n * sizeof *t->values);
    bool ok = b.keys && b.jobs && draft && t->leaves && t->values;
    if (ok) {
        make_leaves(&b, postings, n);
        add_node(&b, 1, t->leaf_count + 1, 0, 0, 0);
        for (uint32_t id = 1; id <= t->node_count; id++) make_node(&b, id);
        ok = keep_nodes(t, draft, a) && make_buckets(t, a);
    }
    free(b.keys);
    free(b.jobs);
    free(draft);
    return ok;
}
