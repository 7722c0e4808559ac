#include "index_keys.h"

#include <stdlib.h>

enum { COST_UNIT = 1 << 28 }; /* one route sharing a key weighs more than any order of attributes */

static bool add_posting(struct builder *b, uint32_t slot, bool backward, struct posting posting) {
    struct postings *list = &b->lists[slot][backward];
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

/* i-th key of a leaf, read forward; false behind the last, so at once for those without. */
static bool leaf_key(const struct builder *b, const struct predicate *p, uint32_t i, struct posting *key) {
    uint8_t type = b->c->slots->at[p->slot].type;
    key->prefix = p->op == WHEN_PREFIX || p->op == WHEN_GLOB || p->op == WHEN_SEGMENTS;
    switch (p->op) {
    case WHEN_EQ:
    case WHEN_PREFIX: key->key = p->text; return i == 0;
    case WHEN_GLOB:
    case WHEN_SEGMENTS: key->key = p->head; return i == 0 && p->head.n > 0;
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

/* The key of a leaf that is read backwards. */
static bool tail_key(const struct predicate *p, struct posting *key) {
    if (p->op != WHEN_SUFFIX && p->op != WHEN_GLOB && p->op != WHEN_SEGMENTS) return false;
    key->prefix = true;
    key->key = slice_of(p->tail, p->tail_n);
    return p->tail_n > 0;
}

/* --- weighing --- */

static bool weigh_leaf(struct builder *b, const struct predicate *p, uint32_t route) {
    struct posting key = {.value = route};
    b->c->slots->at[p->slot].leaves++;
    for (uint32_t i = 0; leaf_key(b, p, i, &key); i++)
        if (!add_posting(b, p->slot, FORWARD, key)) return false;
    return !tail_key(p, &key) || add_posting(b, p->slot, BACKWARD, key);
}

static bool weigh(struct builder *b, const struct predicate *p, uint32_t route) {
    if (predicate_is_leaf(p)) return weigh_leaf(b, p, route);
    if (p->op != WHEN_AND && p->op != WHEN_OR) return true;
    for (const struct predicate *child = p->first; child; child = child->next)
        if (!weigh(b, child, route)) return false;
    return true;
}

bool keys_weigh(struct builder *b, struct predicate **when) {
    struct attr_slots *slots = b->c->slots;
    for (uint32_t i = 0; i < slots->count; i++) slots->at[i].leaves = 0;
    for (uint32_t i = 0; i < b->count; i++)
        if (!weigh(b, when[i], i)) return false;
    for (uint32_t i = 0; i < slots->count; i++) {
        for (uint32_t k = 0; k < slots->count; k++) b->rank[i] += slots->at[k].leaves > slots->at[i].leaves;
        for (int way = FORWARD; way <= BACKWARD; way++) {
            struct postings *list = &b->lists[i][way];
            if (list->count && !keytrie_build(&b->weights[i][way], list->v, list->count, &b->c->scratch))
                return compile_no_memory(b->c);
            list->count = 0;
        }
    }
    return true;
}

/* Cost of a key: what it is shared by. Below the table's own index a key that all share tells nothing: they are there
 * by it. */
static uint64_t key_cost(const struct builder *b, uint32_t slot, bool backward, const struct posting *key) {
    struct key_hit hit = keytrie_find(&b->weights[slot][backward], key->key);
    uint64_t weight = (key->prefix ? hit.longest : hit.exact)->count; /* it is in there, and no longer prefix can be */
    return b->level && weight == b->count ? NO_KEYS : weight * COST_UNIT + b->rank[slot];
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
    for (; leaf_key(b, p, i, &key); i++) p->cost = add_cost(p->cost, key_cost(b, p->slot, FORWARD, &key));
    if (i == 0 && !(p->op == WHEN_IN && p->count == 0)) p->cost = NO_KEYS;
    uint64_t tail = tail_key(p, &key) ? key_cost(b, p->slot, BACKWARD, &key) : NO_KEYS;
    p->by_tail = tail < p->cost;
    if (p->by_tail) p->cost = tail;
    p->exact = p->op == WHEN_SUFFIX ? p->tail_n == p->text.n : p->op != WHEN_GLOB && p->op != WHEN_SEGMENTS;
}

void keys_choose(struct builder *b, struct predicate *p) {
    p->cost = p->op == WHEN_OR ? 0 : NO_KEYS;
    p->exact = p->op == WHEN_OR;
    if (predicate_is_leaf(p)) {
        choose_leaf(b, p);
    } else if (p->op == WHEN_AND) {
        for (struct predicate *child = p->first; child; child = child->next) {
            keys_choose(b, child);
            if (child->cost >= p->cost) continue;
            p->cost = child->cost;
            p->best = child;
        }
    } else if (p->op == WHEN_OR) {
        for (struct predicate *child = p->first; child; child = child->next) {
            keys_choose(b, child);
            p->cost = add_cost(p->cost, child->cost);
            p->exact &= child->exact;
        }
    }
}

static bool add_leaf_keys(struct builder *b, const struct predicate *p, uint32_t value) {
    struct posting key = {.value = value};
    if (p->by_tail) return tail_key(p, &key) && add_posting(b, p->slot, BACKWARD, key);
    for (uint32_t i = 0; leaf_key(b, p, i, &key); i++)
        if (!add_posting(b, p->slot, FORWARD, key)) return false;
    return true;
}

bool keys_add(struct builder *b, const struct predicate *p, uint32_t value) {
    if (p->op == WHEN_AND) return keys_add(b, p->best, value);
    if (p->op != WHEN_OR) return add_leaf_keys(b, p, value);
    for (const struct predicate *child = p->first; child; child = child->next)
        if (!keys_add(b, child, value)) return false;
    return true;
}

const struct predicate *keys_imply(const struct predicate *p) {
    if (p->cost == NO_KEYS) return NULL;
    const struct predicate *part = p->op == WHEN_AND ? p->best : p;
    return part->exact ? part : NULL;
}

void keys_free(struct builder *b) {
    for (uint32_t i = 0; i < SLOTS_MAX; i++)
        for (int way = FORWARD; way <= BACKWARD; way++) free(b->lists[i][way].v);
}
