#include "split.h"

struct target {
    struct upstream *upstream;
    int64_t weight;
    int64_t credit; /* what it has coming: grows by its weight with every message, shrinks by the total when picked */
    uint64_t up_to; /* sticky: takes points below this that no earlier target takes */
};

struct route_split {
    uint32_t count;
    uint16_t sticky; /* attribute id or ATTR_NONE */
    int64_t total;   /* of the weights */
    struct target targets[];
};

/* Smooth weighted round robin: over any `total` messages in a row every target gets its weight of them, and they are spread
 * as evenly as can be (5:1 is aaabaa, not aaaaab). */
static struct upstream *pick_next(struct route_split *s) {
    struct target *best = &s->targets[0];
    for (uint32_t i = 0; i < s->count; i++) {
        struct target *t = &s->targets[i];
        t->credit += t->weight;
        if (t->credit > best->credit) best = t;
    }
    best->credit -= s->total;
    return best->upstream;
}

/* Targets own consecutive stretches of [0, total) in the plan's order: shifting weight from one to its neighbour moves only
 * the clients in between. */
static struct upstream *pick_sticky(const struct route_split *s, uint64_t hash) {
    __extension__ typedef unsigned __int128 wide;
    uint64_t point = (uint64_t)((wide)hash_mix(hash) * (uint64_t)s->total >> 64);
    uint32_t i = 0;
    while (i + 1 < s->count && point >= s->targets[i].up_to) i++;
    return s->targets[i].upstream;
}

struct upstream *split_pick(struct route_split *s, const struct message *msg) {
    struct attr_value v;
    if (s->sticky == ATTR_NONE || !attr_get(msg, s->sticky, 0, &v)) return pick_next(s);
    switch (v.type) {
    case ATTR_INT: return pick_sticky(s, (uint64_t)v.i);
    case ATTR_BOOL: return pick_sticky(s, v.b);
    default: return pick_sticky(s, hash_bytes(v.s.p, v.s.n));
    }
}

/* --- reading --- */

static bool whole(struct mpack v, uint64_t *n) {
    if (v.type == MP_UINT) *n = v.u;
    if (v.type == MP_INT) *n = (uint64_t)v.i;
    return v.type == MP_UINT || (v.type == MP_INT && v.i >= 0);
}

struct upstream *split_upstream(struct compile *c, struct mpack v, struct upstream **upstreams,
                                uint32_t upstream_count) {
    uint64_t n;
    if (!whole(v, &n)) compile_fail(c, "an upstream is given by its number");
    else if (n >= upstream_count)
        compile_fail(c, "there is no upstream number %llu, only %u", (unsigned long long)n, upstream_count);
    else return upstreams[n];
    return NULL;
}

static bool read_target(struct compile *c, struct route_split *s, struct mpack pair, struct upstream **upstreams,
                        uint32_t upstream_count) {
    uint64_t weight;
    if (pair.type != MP_ARRAY || pair.count != 2) return compile_fail(c, "a split is a list of upstream and weight");
    struct upstream *u = split_upstream(c, mpack_at(pair, 0), upstreams, upstream_count);
    if (!u) return false;
    if (!whole(mpack_at(pair, 1), &weight) || weight > WEIGHT_MAX)
        return compile_fail(c, "a weight is an integer from 0 to %d", WEIGHT_MAX);
    if (weight == 0) return true; /* configured, switched off */
    s->total += (int64_t)weight;
    s->targets[s->count++] = (struct target){.upstream = u, .weight = (int64_t)weight, .up_to = (uint64_t)s->total};
    return true;
}

struct route_split *split_read(struct compile *c, struct mpack targets, struct mpack sticky,
                               struct upstream **upstreams, uint32_t upstream_count) {
    if (targets.type != MP_ARRAY || targets.count == 0 || targets.count > TARGETS_MAX) {
        compile_fail(c, "a split has 1 to %d targets", TARGETS_MAX);
        return NULL;
    }
    struct route_split *s = arena_alloc(c->keep, sizeof *s + targets.count * sizeof s->targets[0]);
    if (!s) return compile_no_memory(c), NULL;
    s->sticky = ATTR_NONE;
    if (sticky.type != MP_NONE && sticky.type != MP_NIL) {
        int slot = compile_slot(c, sticky);
        if (slot < 0) return NULL;
        s->sticky = c->slots->at[slot].id;
    }
    struct mpack_iter it = mpack_iter(targets);
    struct mpack pair;
    while (mpack_next(&it, &pair))
        if (!read_target(c, s, pair, upstreams, upstream_count)) return NULL;
    if (s->count == 0) {
        compile_fail(c, "all weights of the split are 0");
        return NULL;
    }
    return s;
}
