/* Choosing. The first choice of every policy is a look into a table made by balance_build.c; only when that endpoint
 * may not be taken (down, or to be skipped) is the rest looked at, and the panic threshold with it. */
#include "balance_build.h"

#include <stdlib.h>

struct balancer *lb_new(const struct lb_options *opt, struct lb_endpoint *endpoints, uint32_t n, uint64_t seed) {
    struct balancer *lb = calloc(1, sizeof *lb);
    if (!lb) return NULL;
    lb->opt = *opt, lb->e = endpoints, lb->n = n;
    lb->rng = hash_mix(seed + 0x9e3779b97f4a7c15ULL) | 1;
    if (n == 0 || lb_build(lb, seed)) return lb;
    lb_free(lb);
    return NULL;
}

void lb_free(struct balancer *lb) {
    if (!lb) return;
    free(lb->turns);
    free(lb->current);
    free(lb->alias);
    free(lb->ring);
    free(lb->ring_starts);
    free(lb->table);
    free(lb);
}

/* Who may be taken in one pick: the usable, in a panic everybody, but not the one to skip. */
struct eligible {
    const struct lb_endpoint *e;
    bool panic;
    int skip;
};

static inline bool may(const struct eligible *el, uint32_t i) {
    return (int)i != el->skip && (el->panic || el->e[i].usable);
}

/* ---- round robin ---- */

static inline uint32_t next_turn(struct balancer *lb) {
    uint32_t at = lb->turn;
    lb->turn = at + 1 < lb->period ? at + 1 : 0;
    return lb->turns ? lb->turns[at] : at;
}

/* One step of the smooth schedule among those that may: each gains its weight, the richest pays for all. */
static uint32_t smooth_step(struct balancer *lb, const struct eligible *el) {
    uint32_t best = UINT32_MAX;
    int64_t paid = 0;
    for (uint32_t i = 0; i < lb->n; i++) {
        if (!may(el, i)) continue;
        lb->current[i] += lb->e[i].weight, paid += lb->e[i].weight;
        if (best == UINT32_MAX || lb->current[i] > lb->current[best]) best = i;
    }
    lb->current[best] -= paid;
    return best;
}

/* Who may not be taken forfeits its turn, which leaves the others' shares in proportion. */
static uint32_t turn_among(struct balancer *lb, const struct eligible *el, uint32_t i) {
    while (!may(el, i)) i = next_turn(lb);
    return i;
}

/* ---- random, least request ---- */

static inline uint32_t draw(struct balancer *lb) {
    uint64_t r = rng_next(&lb->rng);
    uint32_t i = (uint32_t)((r >> 32) * lb->n >> 32);
    if (!lb->alias) return i;
    return (uint32_t)r < lb->alias[i].keep ? i : lb->alias[i].other;
}

/* `i` if it may be taken, else draws until one may; after some misses counts out the weights of those that may,
 * which is as fair and ends. */
static uint32_t draw_among(struct balancer *lb, const struct eligible *el, uint32_t i) {
    for (int tries = 0; tries < 8; tries++) {
        if (may(el, i)) return i;
        i = draw(lb);
    }
    uint64_t total = 0;
    for (uint32_t i = 0; i < lb->n; i++) total += may(el, i) ? lb->e[i].weight : 0;
    uint64_t at = rng_next(&lb->rng) % total;
    for (i = 0;; i++) {
        if (!may(el, i)) continue;
        if (at < lb->e[i].weight) return i;
        at -= lb->e[i].weight;
    }
}

/* Fewer requests per weight, compared without dividing. Equal (both idle) goes to `a`: a plain weighted draw. */
static inline uint32_t less_loaded(const struct balancer *lb, uint32_t a, uint32_t b) {
    const struct lb_endpoint *x = &lb->e[a], *y = &lb->e[b];
    return (uint64_t)y->inflight * x->weight < (uint64_t)x->inflight * y->weight ? b : a;
}

/* The second choice should be another one: of two endpoints, drawing the same twice would be no choice half of the
 * time. */
static inline uint32_t draw_second(struct balancer *lb, uint32_t first) {
    if (lb->n == 2) return 1 - first;
    uint32_t b = first;
    for (int tries = 0; tries < 4 && b == first; tries++) b = draw(lb);
    return b;
}

static uint32_t less_loaded_among(struct balancer *lb, const struct eligible *el, uint32_t a, uint32_t b) {
    a = draw_among(lb, el, a), b = draw_among(lb, el, b);
    for (int tries = 0; tries < 4 && b == a; tries++) b = draw_among(lb, el, draw(lb));
    return less_loaded(lb, a, b);
}

/* ---- ring and maglev ---- */

static inline uint32_t place_of(const struct balancer *lb, uint64_t hash) {
    if (lb->table) return (uint32_t)((__uint128_t)hash * lb->points >> 64);
    uint32_t at = lb->ring_starts[hash >> lb->ring_shift];
    while (at < lb->points && lb->ring[at] < hash) at++; /* a step or two: there are as many starts as points */
    return at == lb->points ? 0 : at;
}

static inline uint32_t owner_at(const struct balancer *lb, uint32_t at) {
    return lb->table ? lb->table[at] : (uint32_t)(lb->ring[at] & RING_INDEX);
}

/* Who takes over the keys of an owner that may not be taken: the next ones on the ring; in maglev's table where the
 * key falls next when mixed again, for neighbours in the table follow a pattern (7 % of unevenness measured). Then
 * step by step. */
static uint32_t owner_among(const struct balancer *lb, const struct eligible *el, uint64_t hash) {
    uint32_t at = place_of(lb, hash);
    for (int tries = 0; lb->table && tries < 64 && !may(el, owner_at(lb, at)); tries++)
        at = place_of(lb, hash = hash_mix(hash));
    while (!may(el, owner_at(lb, at))) at = at + 1 < lb->points ? at + 1 : 0;
    return owner_at(lb, at);
}

/* ---- picking ---- */

static inline uint32_t first_choice(struct balancer *lb, uint64_t hash) {
    if (lb->points) return owner_at(lb, place_of(lb, hash));
    return lb->opt.policy == LB_ROUND_ROBIN ? next_turn(lb) : draw(lb);
}

/* A choice may not be taken: looks who may, and goes on from there. */
static int pick_slow(struct balancer *lb, uint64_t hash, int skip, uint32_t first, uint32_t second) {
    uint32_t usable = 0, others = 0;
    for (uint32_t i = 0; i < lb->n; i++) {
        usable += lb->e[i].usable;
        others += lb->e[i].usable && (int)i != skip;
    }
    bool panic = (uint64_t)usable * 100 < (uint64_t)lb->opt.panic_percent * lb->n;
    bool skipping = skip >= 0 && (uint32_t)skip < lb->n;
    if (panic) others = lb->n - skipping;
    if (lb->points && !lb->opt.rehash) return panic || lb->e[first].usable ? (int)first : -1;
    if (others == 0) return skipping && (panic || lb->e[skip].usable) ? skip : -1; /* better the same again than none */
    struct eligible el = {lb->e, panic, skip};
    if (lb->points) return (int)owner_among(lb, &el, hash);
    switch (lb->opt.policy) {
    case LB_ROUND_ROBIN: return (int)(lb->current ? smooth_step(lb, &el) : turn_among(lb, &el, first));
    case LB_LEAST_REQUEST: return (int)less_loaded_among(lb, &el, first, second);
    default: return (int)draw_among(lb, &el, first);
    }
}

int lb_pick(struct balancer *lb, uint64_t hash, int skip) {
    if (unlikely(lb->n == 0)) return -1;
    if (lb->points) hash = hash_mix(hash); /* the caller's may be a mere number */
    uint32_t first = first_choice(lb, hash), second = first;
    if (lb->opt.policy == LB_LEAST_REQUEST) second = draw_second(lb, first);
    bool fine = lb->e[first].usable && (int)first != skip && lb->e[second].usable && (int)second != skip;
    if (likely(fine && !lb->current)) return (int)(second == first ? first : less_loaded(lb, first, second));
    return pick_slow(lb, hash, skip, first, second);
}
