#include "index.h"

#include <endian.h>

/* Streams merged at once. A message has one per attribute looked up, prefix of it in the table and string of an
 * ATTR_STRS attribute; what is beyond is tried at once: the same result, perhaps with candidates tried in vain. */
enum { STREAMS_MAX = 16 };

struct stream { /* candidates not tried yet, ascending; never empty */
    const uint32_t *at, *end;
};

struct search {
    const struct index *ix;
    struct lookup *lookup;
    uint32_t best;  /* position of the first route known to hold */
    uint32_t count; /* of streams */
    uint32_t turn;  /* 0: none was needed yet */
    struct stream streams[STREAMS_MAX];
};

static uint32_t find(const struct index *ix, struct lookup *l);

static inline bool holds(struct search *s, uint32_t candidate) {
    return candidate & 1 || program_holds_quick(s->ix->program, s->ix->starts[candidate >> 1], s->lookup);
}

static void try_at_once(struct search *s, const uint32_t *at, const uint32_t *end) {
    for (; at < end && *at >> 1 < s->best; at++)
        if (holds(s, *at)) s->best = *at >> 1;
}

static void forget_marks(const struct keytrie *t) {
    for (uint32_t k = 1; k <= t->leaf_count; k++) t->leaves[k].seen = 0;
}

static uint32_t next_turn(const struct index *ix) {
    if (++*ix->turn) return *ix->turn;
    for (uint32_t i = 0; i < ix->attr_count; i++) { /* wrapped */
        forget_marks(&ix->attrs[i].trie);
        forget_marks(&ix->attrs[i].backward);
    }
    return *ix->turn = 1;
}

/* Is this the first time in this lookup? A leaf's candidates are gone through once, however many strings lead to it:
 * what a client's message costs stays within the table's size. */
static bool first_visit(struct search *s, struct key_leaf *leaf) {
    if (!s->turn) s->turn = next_turn(s->ix);
    if (leaf->seen == s->turn) return false;
    leaf->seen = s->turn;
    return true;
}

static inline void add_stream(struct search *s, const uint32_t *at, uint32_t count) {
    if (*at >> 1 < s->best) s->streams[s->count++] = (struct stream){at, at + count};
}

/* Out of line: many keys in one message, or many prefixes of one key. */
static __attribute__((noinline)) void add_beyond(struct search *s, struct key_leaf *leaf, const uint32_t *values) {
    if (first_visit(s, leaf)) try_at_once(s, values, values + leaf->count);
}

/* Routes with an index of their own. Positions there are in the order of the routes, as they are here. */
static void add_below(struct search *s, struct key_leaf *leaf, bool repeated) {
    const struct index *below = s->ix->below[leaf->start];
    if (below->above[0] >= s->best || (repeated && !first_visit(s, leaf))) return;
    uint32_t at = find(below, s->lookup);
    if (at != ROUTE_NONE && below->above[at] < s->best) s->best = below->above[at];
}

static inline void add_leaf(struct search *s, const struct keytrie *t, struct key_leaf *leaf, bool repeated) {
    if (leaf->count == 0) {
        add_below(s, leaf, repeated);
        return;
    }
    const uint32_t *values = keytrie_values(t, leaf);
    if (likely(s->count < STREAMS_MAX)) add_stream(s, values, leaf->count);
    else add_beyond(s, leaf, values);
}

static bool already_added(const struct search *s, const struct keytrie *t, const struct key_leaf *leaf) {
    if (leaf->count == 0) return false;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->streams[i].at == keytrie_values(t, leaf)) return true;
    return false;
}

static inline void add_hit(struct search *s, const struct keytrie *t, struct key_hit hit, bool repeated) {
    if (hit.exact && !(repeated && already_added(s, t, hit.exact))) add_leaf(s, t, hit.exact, repeated);
    for (struct key_leaf *leaf = hit.longest; leaf; leaf = keytrie_up(t, leaf))
        if (!(repeated && already_added(s, t, leaf))) add_leaf(s, t, leaf, repeated);
}

/* The last bytes of text backwards, at most TAIL_MAX of them. */
static inline struct slice reversed(struct slice text, uint8_t *to) {
    size_t n = min_size(text.n, TAIL_MAX), i = 0;
    const uint8_t *end = text.p + text.n;
    for (; i + 8 <= n; i += 8) {
        uint64_t w;
        memcpy(&w, end - i - 8, 8);
        w = __builtin_bswap64(w);
        memcpy(to + i, &w, 8);
    }
    for (; i < n; i++) to[i] = *(end - i - 1);
    return slice_of(to, n);
}

static inline void look_up_string(struct search *s, const struct attr_index *a, struct slice text, bool repeated) {
    uint8_t tail[TAIL_MAX];
    if (a->trie.leaf_count) add_hit(s, &a->trie, keytrie_find(&a->trie, text), repeated);
    if (a->backward.leaf_count) add_hit(s, &a->backward, keytrie_find(&a->backward, reversed(text, tail)), repeated);
}

static void look_up_attribute(struct search *s, const struct attr_index *a) {
    const struct attr_value *v;
    if (a->type == ATTR_STRS) {
        for (uint32_t i = 0; (v = lookup_string(s->lookup, a->slot, i)); i++) look_up_string(s, a, v->s, i > 0);
    } else if ((v = lookup_scalar(s->lookup, a->slot))) {
        int64_t n = a->type == ATTR_STR ? 0 : lookup_number(v, a->type);
        look_up_string(s, a, a->type == ATTR_STR ? v->s : predicate_number_key(&n), false);
    }
}

static uint32_t merge(struct search *s) {
    uint32_t tried = ROUTE_NONE;
    while (s->count > 1) {
        struct stream *least = &s->streams[0];
        for (uint32_t i = 1; i < s->count; i++)
            if (*s->streams[i].at < *least->at) least = &s->streams[i];
        uint32_t next = *least->at++;
        if (next >> 1 >= s->best) break;
        if (next != tried && holds(s, next)) return next >> 1;
        tried = next; /* several keys of one route may lead here */
        if (least->at == least->end) *least = s->streams[--s->count];
    }
    if (s->count) try_at_once(s, s->streams[0].at, s->streams[0].end);
    return s->best;
}

static inline void begin(struct search *s, const struct index *ix, struct lookup *l) {
    s->ix = ix;
    s->lookup = l;
    s->best = ix->fallback;
    s->count = s->turn = 0;
}

static __attribute__((noinline)) uint32_t merge_hit(const struct index *ix, struct lookup *l, struct key_hit hit) {
    struct search s;
    begin(&s, ix, l);
    add_hit(&s, &ix->attrs->trie, hit, false);
    return merge(&s);
}

/* The usual table, prefixes or values of one attribute and a catch-all: mostly there is one candidate, and finding it
 * was all. Anything else goes the general way. */
static inline uint32_t find_by_one(const struct index *ix, struct lookup *l) {
    const struct attr_index *a = ix->attrs;
    const struct attr_value *v = lookup_scalar(l, a->slot);
    if (!v) return ix->fallback;
    struct key_hit hit = keytrie_find(&a->trie, v->s);
    const struct key_leaf *leaf = hit.longest ? hit.longest : hit.exact;
    if (!leaf) return ix->fallback;
    if (leaf->count == 1 && !leaf->up && !(hit.longest && hit.exact)) {
        uint32_t at = leaf->start >> 1;
        if (leaf->start & 1) return at;
        return program_holds_quick(ix->program, ix->starts[at], l) ? at : ix->fallback;
    }
    return merge_hit(ix, l, hit);
}

/* Position in ix of the first route whose predicate holds. Recursion: as deep as indexes lie below each other, LEVELS.
 * */
static uint32_t find(const struct index *ix, struct lookup *l) {
    if (ix->simple) return find_by_one(ix, l);
    struct search s;
    begin(&s, ix, l);
    if (ix->unkeyed_count) add_stream(&s, ix->unkeyed, ix->unkeyed_count);
    for (uint32_t i = 0; i < ix->attr_count; i++) look_up_attribute(&s, &ix->attrs[i]);
    return merge(&s);
}

uint32_t index_find(const struct index *ix, const struct message *msg, const struct attr_slots *slots) {
    if (!ix->attr_count && !ix->unkeyed_count) return ix->fallback;
    struct lookup l;
    lookup_begin(&l, msg, slots);
    return ix->simple ? find_by_one(ix, &l) : find(ix, &l);
}
