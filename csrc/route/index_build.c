/* Which keys each route is found by, and the tries made of them. See index.h for what keys are. */
#include "index.h"

#include <stdlib.h>

#define NO_KEYS UINT64_MAX
enum { COST_UNIT = 1 << 28 }; /* one route sharing a key weighs more than any order of attributes */

struct postings {
    struct posting *v;
    uint32_t count, room;
};

struct builder {
    struct compile *c;
    struct postings lists[SLOTS_MAX];  /* by attribute */
    struct keytrie weights[SLOTS_MAX]; /* every key any route could be found by, with those routes */
    uint32_t rank[SLOTS_MAX];          /* 0 = the attribute most predicates could be looked up by */
};

static bool add_posting(struct builder *b, uint32_t slot, struct posting posting) {
    struct postings *list = &b->lists[slot];
    if (list->count == list->room) {
        uint32_t room = list->room ? list->room * 2 : 64;
        struct posting *v = realloc(list->v, room * sizeof *v);
        if (!v) return compile_no_memory(b->c);
        list->v = v;
        list->room = room;
    }
    list->v[list->count++] = posting;
    return true;
}

/* i-th key of a leaf; false behind the last, so at once for those without. */
static bool leaf_key(struct builder *b, const struct predicate *p, uint32_t i, struct posting *key) {
    uint8_t type = b->c->slots->at[p->slot].type;
    key->prefix = p->op == WHEN_PREFIX || p->op == WHEN_GLOB;
    switch (p->op) {
    case WHEN_EQ:
    case WHEN_PREFIX: key->key = p->text; return i == 0;
    case WHEN_GLOB: key->key = p->head; return i == 0 && p->head.n > 0;
    case WHEN_IN:
        if (i >= p->count) return false;
        key->key = p->values[i];
        return true;
    case WHEN_RANGE: /* of one number */
        key->key = predicate_number_key(&p->range.low);
        return i == 0 && p->range.low == p->range.high && (type == ATTR_INT || type == ATTR_BOOL);
    default: return false;
    }
}

static bool add_leaf_keys(struct builder *b, const struct predicate *p, uint32_t value) {
    struct posting key = {.value = value};
    for (uint32_t i = 0; leaf_key(b, p, i, &key); i++)
        if (!add_posting(b, p->slot, key)) return false;
    return true;
}

/* --- weighing: how many routes share each key --- */

static bool add_all_keys(struct builder *b, const struct predicate *p, uint32_t route) {
    if (predicate_is_leaf(p)) {
        b->c->slots->at[p->slot].leaves++;
        return add_leaf_keys(b, p, route);
    }
    if (p->op != WHEN_AND && p->op != WHEN_OR) return true;
    for (const struct predicate *child = p->first; child; child = child->next)
        if (!add_all_keys(b, child, route)) return false;
    return true;
}

static bool weigh(struct builder *b, struct predicate **when, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (!add_all_keys(b, when[i], i)) return false;
    const struct attr_slots *slots = b->c->slots;
    for (uint32_t i = 0; i < slots->count; i++) {
        for (uint32_t k = 0; k < slots->count; k++) b->rank[i] += slots->at[k].leaves > slots->at[i].leaves;
        struct postings *list = &b->lists[i];
        if (list->count && !keytrie_build(&b->weights[i], list->v, list->count, &b->c->scratch))
            return compile_no_memory(b->c);
        list->count = 0;
    }
    return true;
}

static uint64_t key_weight(const struct keytrie *weights, const struct posting *key) {
    struct key_hit hit = keytrie_find(weights, key->key);
    return (key->prefix ? hit.longest : hit.exact)->count; /* it is in there, and no longer prefix can be */
}

/* --- choosing --- */

static uint64_t add_cost(uint64_t a, uint64_t b) {
    if (a == NO_KEYS || b == NO_KEYS) return NO_KEYS;
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) || sum == NO_KEYS ? NO_KEYS - 1 : sum;
}

static void choose_leaf(struct builder *b, struct predicate *p) {
    struct posting key;
    uint32_t i = 0;
    p->cost = 0;
    for (; leaf_key(b, p, i, &key); i++)
        p->cost = add_cost(p->cost, key_weight(&b->weights[p->slot], &key) * COST_UNIT + b->rank[p->slot]);
    if (i == 0 && !(p->op == WHEN_IN && p->count == 0)) p->cost = NO_KEYS;
    p->exact = p->op != WHEN_GLOB;
}

/* Sets cost, exact and best of p and all below. Recursion: at most DEPTH_MAX deep. */
static void choose(struct builder *b, struct predicate *p) {
    p->cost = p->op == WHEN_OR ? 0 : NO_KEYS;
    p->exact = p->op == WHEN_OR;
    if (predicate_is_leaf(p)) {
        choose_leaf(b, p);
    } else if (p->op == WHEN_AND) {
        for (struct predicate *child = p->first; child; child = child->next) {
            choose(b, child);
            if (child->cost >= p->cost) continue;
            p->cost = child->cost;
            p->best = child;
        }
    } else if (p->op == WHEN_OR) {
        for (struct predicate *child = p->first; child; child = child->next) {
            choose(b, child);
            p->cost = add_cost(p->cost, child->cost);
            p->exact &= child->exact;
        }
    }
}

static bool add_chosen_keys(struct builder *b, const struct predicate *p, uint32_t value) {
    if (p->op == WHEN_AND) return add_chosen_keys(b, p->best, value);
    if (p->op != WHEN_OR) return add_leaf_keys(b, p, value);
    for (const struct predicate *child = p->first; child; child = child->next)
        if (!add_chosen_keys(b, child, value)) return false;
    return true;
}

/* What need not be evaluated any more when p was found by its keys. */
static const struct predicate *implied(const struct predicate *p) {
    if (p->cost == NO_KEYS) return NULL;
    const struct predicate *part = p->op == WHEN_AND ? p->best : p;
    return part->exact ? part : NULL;
}

static bool add_route(struct builder *b, struct index *ix, struct program *g, struct predicate *p, uint32_t route) {
    choose(b, p);
    uint32_t start = ix->starts[route] = program_add(g, b->c, p, implied(p));
    if (start == PROGRAM_FAILED) return false;
    if (start == PROGRAM_NO) return true; /* never reached */
    if (p->cost != NO_KEYS) return add_chosen_keys(b, p, candidate(route, start == PROGRAM_YES));
    if (start == PROGRAM_YES) ix->fallback = route;
    else ix->unkeyed[ix->unkeyed_count++] = candidate(route, false);
    return true;
}

static bool build_tries(struct builder *b, struct index *ix) {
    const struct attr_slots *slots = b->c->slots;
    ix->attrs = arena_alloc(b->c->keep, slots->count * sizeof *ix->attrs);
    if (!ix->attrs) return compile_no_memory(b->c);
    for (uint32_t i = 0; i < slots->count; i++) {
        struct postings *list = &b->lists[i];
        if (!list->count) continue;
        struct attr_index *a = &ix->attrs[ix->attr_count++];
        a->slot = (uint8_t)i;
        a->type = slots->at[i].type;
        if (!keytrie_build(&a->trie, list->v, list->count, b->c->keep)) return compile_no_memory(b->c);
    }
    return true;
}

static bool build(struct builder *b, struct index *ix, struct program *g, struct predicate **when, uint32_t count) {
    ix->turn = arena_alloc(b->c->keep, sizeof *ix->turn);
    ix->starts = arena_alloc(b->c->keep, count * sizeof *ix->starts);
    ix->unkeyed = arena_alloc(b->c->keep, count * sizeof *ix->unkeyed);
    if (!ix->turn || !ix->starts || !ix->unkeyed) return compile_no_memory(b->c);
    ix->fallback = ROUTE_NONE;
    ix->program = g;
    if (!weigh(b, when, count)) return false;
    for (uint32_t i = 0; i < count && ix->fallback == ROUTE_NONE; i++)
        if (!add_route(b, ix, g, when[i], i)) return false;
    return build_tries(b, ix);
}

bool index_build(struct index *ix, struct program *g, struct compile *c, struct predicate **when, uint32_t count) {
    struct builder *b = calloc(1, sizeof *b);
    if (!b) return compile_no_memory(c);
    b->c = c;
    bool ok = build(b, ix, g, when, count);
    for (uint32_t i = 0; i < SLOTS_MAX; i++) free(b->lists[i].v);
    free(b);
    return ok;
}
