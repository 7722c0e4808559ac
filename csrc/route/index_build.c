/* Builds indexes: the table's, and those below it. */
#include "index_keys.h"

#include <stdlib.h>

enum {
    LEVELS = 3,           /* indexes above each other: host, path, and one more */
    SHARED_MAX = 12,      /* candidates under one key that are tried one by one */
    GROWTH_MAX = 4,       /* keys in all indexes below may be this many times those of the table's own, */
    GROWTH_ROOM = 1 << 16 /* and so many more */
};

struct growth { /* keys there may still be below: a route with a thousand hosts and paths must not become a million */
    uint64_t left;
};

static bool build_index(struct index *ix, struct program *g, struct builder *b, struct predicate **when,
                        struct growth *growth);

static bool add_route(struct builder *b, struct index *ix, struct program *g, struct predicate *p, uint32_t at) {
    keys_choose(b, p);
    uint32_t start = ix->starts[at] = program_add(g, b->c, p, keys_imply(p));
    if (start == PROGRAM_FAILED) return false;
    if (start == PROGRAM_NO) return true; /* never reached */
    if (p->cost != NO_KEYS) return keys_add(b, p, candidate(at, start == PROGRAM_YES));
    if (start == PROGRAM_YES) ix->fallback = at;
    else ix->unkeyed[ix->unkeyed_count++] = candidate(at, false);
    return true;
}

/* --- indexes below --- */

/* What remains of p where it was found by its keys; p itself stays as it is. NULL: out of memory. */
static struct predicate *remainder_of(struct compile *c, const struct predicate *p) {
    const struct predicate *given = keys_imply(p);
    struct predicate *copy = arena_alloc(&c->scratch, sizeof *copy);
    if (!copy) return NULL;
    if (p == given) return copy->op = WHEN_TRUE, copy;
    *copy = *p;
    copy->next = NULL;
    if (p->op != WHEN_AND) return copy;
    struct predicate **link = &copy->first;
    for (const struct predicate *child = p->first; child; child = child->next) {
        if (child == given) continue;
        struct predicate *twin = *link = arena_alloc(&c->scratch, sizeof *twin);
        if (!twin) return NULL;
        *twin = *child;
        link = &twin->next;
    }
    *link = NULL;
    return copy;
}

static uint64_t count_keys(const struct builder *b) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < SLOTS_MAX; i++) n += b->lists[i][FORWARD].count + b->lists[i][BACKWARD].count;
    return n;
}

/* An index of the routes that share a leaf. */
static bool make_below(struct index *below, struct program *g, const struct builder *above, struct predicate **when,
                       const uint32_t *shared, uint32_t count, struct growth *growth) {
    struct compile c = *above->c;
    c.scratch = (struct arena){0};
    struct builder *b = calloc(1, sizeof *b);
    struct predicate **rest = arena_alloc(&c.scratch, count * sizeof *rest);
    below->above = arena_alloc(c.keep, count * sizeof *below->above);
    bool ok = b && rest && below->above;
    for (uint32_t i = 0; i < count && ok; i++) {
        below->above[i] = shared[i] >> 1;
        ok = (rest[i] = remainder_of(&c, when[shared[i] >> 1])) != NULL;
    }
    if (!ok) compile_no_memory(above->c);
    if (ok) {
        *b = (struct builder){.c = &c, .count = count, .level = above->level + 1};
        ok = build_index(below, g, b, rest, growth);
        keys_free(b);
    }
    free(b);
    arena_free(&c.scratch);
    return ok;
}

static bool split_leaf(struct index *ix, struct program *g, struct builder *b, struct predicate **when,
                       struct keytrie *t, struct key_leaf *leaf, struct growth *growth) {
    struct index *below = arena_alloc(b->c->keep, sizeof *below);
    if (!below) return compile_no_memory(b->c);
    if (!make_below(below, g, b, when, keytrie_values(t, leaf), leaf->count, growth)) return false;
    if (!below->attr_count) return true; /* nothing tells them apart, or there was no room: they are tried in turn */
    leaf->start = ix->below_count;
    leaf->count = 0;
    ix->below[ix->below_count++] = below;
    return true;
}

static bool split_leaves(struct index *ix, struct program *g, struct builder *b, struct predicate **when,
                         struct growth *growth) {
    uint32_t shared = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < 2 * ix->attr_count; i++) {
            struct keytrie *t = i % 2 ? &ix->attrs[i / 2].backward : &ix->attrs[i / 2].trie;
            for (uint32_t k = 1; k <= t->leaf_count; k++) {
                if (t->leaves[k].count <= SHARED_MAX) continue;
                if (pass == 0) shared++;
                else if (!split_leaf(ix, g, b, when, t, &t->leaves[k], growth)) return false;
            }
        }
        if (!shared) return true;
        if (pass == 0 && !(ix->below = arena_alloc(b->c->keep, shared * sizeof(struct index *))))
            return compile_no_memory(b->c);
    }
    return true;
}

/* --- one index --- */

static bool build_tries(struct builder *b, struct index *ix) {
    const struct attr_slots *slots = b->c->slots;
    struct attr_index attrs[SLOTS_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < slots->count; i++) {
        struct postings *list = b->lists[i];
        if (!list[FORWARD].count && !list[BACKWARD].count) continue;
        struct attr_index *a = &attrs[n++];
        *a = (struct attr_index){.slot = (uint8_t)i, .type = slots->at[i].type};
        if (list[FORWARD].count && !keytrie_build(&a->trie, list[FORWARD].v, list[FORWARD].count, b->c->keep))
            return compile_no_memory(b->c);
        if (list[BACKWARD].count && !keytrie_build(&a->backward, list[BACKWARD].v, list[BACKWARD].count, b->c->keep))
            return compile_no_memory(b->c);
    }
    ix->attrs = arena_alloc(b->c->keep, n * sizeof *ix->attrs);
    if (!ix->attrs) return compile_no_memory(b->c);
    if (n) memcpy(ix->attrs, attrs, n * sizeof *attrs);
    ix->attr_count = n;
    ix->simple = n == 1 && !ix->unkeyed_count && attrs[0].type == ATTR_STR && !attrs[0].backward.leaf_count;
    return true;
}

static bool build_index(struct index *ix, struct program *g, struct builder *b, struct predicate **when,
                        struct growth *growth) {
    struct arena *keep = b->c->keep;
    ix->turn = arena_alloc(keep, sizeof *ix->turn);
    ix->starts = arena_alloc(keep, b->count * sizeof *ix->starts);
    ix->unkeyed = arena_alloc(keep, b->count * sizeof *ix->unkeyed);
    if (!ix->turn || !ix->starts || !ix->unkeyed) return compile_no_memory(b->c);
    ix->fallback = ROUTE_NONE;
    ix->program = g;
    if (!keys_weigh(b, when)) return false;
    for (uint32_t i = 0; i < b->count && ix->fallback == ROUTE_NONE; i++)
        if (!add_route(b, ix, g, when[i], i)) return false;
    uint64_t keys = count_keys(b);
    if (b->level == 0) growth->left = keys * GROWTH_MAX + GROWTH_ROOM;
    else if (keys > growth->left) return true; /* attr_count stays 0 */
    else growth->left -= keys;
    if (!build_tries(b, ix)) return false;
    return b->level + 1 == LEVELS || split_leaves(ix, g, b, when, growth);
}

bool index_build(struct index *ix, struct program *g, struct compile *c, struct predicate **when, uint32_t count) {
    struct growth growth;
    struct builder *b = calloc(1, sizeof *b);
    if (!b) return compile_no_memory(c);
    *b = (struct builder){.c = c, .count = count};
    bool ok = build_index(ix, g, b, when, &growth);
    keys_free(b);
    free(b);
    return ok;
}
