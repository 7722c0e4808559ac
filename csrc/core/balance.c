/* The five policies. Round robin with weights is the smooth one (each pick raises everybody by its weight and lowers the
 * winner by the total), so that 5:1 gives aaabaa…, not aaaaab. Maglev: Eisenbud et al., NSDI 2016, section 3.4. */
#include "balance.h"

#include <stdlib.h>

#define RING_MIN 1024u
#define MAGLEV_SIZE 65537u
#define TABLE_MAX (8u << 20)
#define RING_POINTS_PER_WEIGHT_MIN 40u /* fewer points per endpoint spread keys too unevenly */

struct point {
    uint64_t hash;
    uint32_t endpoint;
};

struct balancer {
    struct lb_options opt;
    struct lb_endpoint *e;
    uint32_t n;
    uint64_t rng;
    uint64_t total_weight;
    bool equal;
    uint32_t turn;            /* round robin, equal weights */
    int64_t *current;         /* round robin, smooth */
    uint64_t *cumulative;     /* random, least request: prefix sums of the weights */
    struct point *ring;
    uint32_t points;
    uint32_t *table; /* maglev */
};

/* ---- building ---- */

static int by_hash(const void *a, const void *b) {
    const struct point *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->endpoint < y->endpoint ? -1 : x->endpoint > y->endpoint;
}

static bool build_ring(struct balancer *lb) {
    uint64_t target = lb->opt.table_size ? lb->opt.table_size : RING_MIN;
    uint64_t floor = (uint64_t)lb->n * RING_POINTS_PER_WEIGHT_MIN * 4;
    if (target < floor) target = floor;
    if (target > TABLE_MAX) target = TABLE_MAX;
    lb->ring = malloc((target + lb->n) * sizeof *lb->ring);
    if (!lb->ring) return false;
    for (uint32_t i = 0; i < lb->n; i++) {
        uint64_t share = target * lb->e[i].weight / lb->total_weight, seed = hash_bytes(lb->e[i].name.p, lb->e[i].name.n);
        for (uint64_t k = 0; k < (share ? share : 1) && lb->points < target + lb->n; k++)
            lb->ring[lb->points++] = (struct point){hash_mix(seed + k * 0x9e3779b97f4a7c15ULL), i};
    }
    qsort(lb->ring, lb->points, sizeof *lb->ring, by_hash);
    return true;
}

static bool is_prime(uint32_t n) {
    for (uint32_t d = 2; (uint64_t)d * d <= n; d++)
        if (n % d == 0) return false;
    return n > 1;
}

static uint32_t prime_from(uint64_t n) {
    if (n > TABLE_MAX) n = TABLE_MAX;
    while (!is_prime((uint32_t)n)) n++;
    return (uint32_t)n;
}

/* Each endpoint fills its next preferred free slot in turn; one with half the greatest weight does so every second round. */
static bool build_maglev(struct balancer *lb) {
    uint64_t wanted = lb->opt.table_size ? lb->opt.table_size : MAGLEV_SIZE;
    uint32_t m = prime_from(wanted > (uint64_t)lb->n * 100 ? wanted : (uint64_t)lb->n * 100), filled = 0, max_weight = 1;
    struct { uint32_t offset, skip, next; double credit; } *perm = calloc(lb->n, sizeof *perm);
    lb->table = malloc(m * sizeof *lb->table);
    if (!perm || !lb->table) {
        free(perm);
        return false;
    }
    lb->points = m;
    memset(lb->table, 0xff, m * sizeof *lb->table);
    for (uint32_t i = 0; i < lb->n; i++) {
        uint64_t h = hash_bytes(lb->e[i].name.p, lb->e[i].name.n);
        perm[i].offset = (uint32_t)(h % m), perm[i].skip = (uint32_t)(hash_mix(h) % (m - 1)) + 1;
        if (lb->e[i].weight > max_weight) max_weight = lb->e[i].weight;
    }
    while (filled < m) {
        for (uint32_t i = 0; i < lb->n && filled < m; i++) {
            perm[i].credit += (double)lb->e[i].weight / max_weight;
            if (perm[i].credit < 1.0) continue;
            perm[i].credit -= 1.0;
            uint32_t slot;
            do slot = (uint32_t)((perm[i].offset + (uint64_t)perm[i].skip * perm[i].next++) % m);
            while (lb->table[slot] != UINT32_MAX);
            lb->table[slot] = i, filled++;
        }
    }
    free(perm);
    return true;
}

static bool build_sums(struct balancer *lb) {
    uint64_t sum = 0;
    lb->cumulative = malloc(lb->n * sizeof *lb->cumulative);
    for (uint32_t i = 0; lb->cumulative && i < lb->n; i++) lb->cumulative[i] = sum += lb->e[i].weight;
    return lb->cumulative != NULL;
}

struct balancer *lb_new(const struct lb_options *opt, struct lb_endpoint *endpoints, uint32_t n, uint64_t seed) {
    struct balancer *lb = calloc(1, sizeof *lb);
    bool ok = true;
    if (!lb) return NULL;
    lb->opt = *opt, lb->e = endpoints, lb->n = n, lb->equal = true;
    lb->rng = hash_mix(seed + 0x9e3779b97f4a7c15ULL) | 1;
    for (uint32_t i = 0; i < n; i++) lb->total_weight += endpoints[i].weight, lb->equal &= endpoints[i].weight == endpoints[0].weight;
    if (n) {
        if (opt->policy == LB_RING_HASH)
            ok = build_ring(lb);
        else if (opt->policy == LB_MAGLEV)
            ok = build_maglev(lb);
        else if (opt->policy == LB_ROUND_ROBIN)
            ok = lb->equal || (lb->current = calloc(n, sizeof *lb->current));
        else
            ok = build_sums(lb);
    }
    if (ok) return lb;
    lb_free(lb);
    return NULL;
}

void lb_free(struct balancer *lb) {
    if (!lb) return;
    free(lb->current);
    free(lb->cumulative);
    free(lb->ring);
    free(lb->table);
    free(lb);
}

/* ---- picking ---- */

/* Who may be taken in this pick: everybody in a panic, nobody marked, not the one to skip while others are left. */
struct eligible {
    const struct balancer *lb;
    bool panic;
    int skip;
};

static bool may(const struct eligible *el, uint32_t i) { return (int)i != el->skip && (el->panic || el->lb->e[i].usable); }

static int pick_round_robin(struct balancer *lb, const struct eligible *el) {
    if (lb->equal) {
        for (uint32_t k = 0; k < lb->n; k++) {
            uint32_t i = lb->turn;
            lb->turn = i + 1 < lb->n ? i + 1 : 0;
            if (may(el, i)) return (int)i;
        }
        return -1;
    }
    int best = -1;
    int64_t total = 0;
    for (uint32_t i = 0; i < lb->n; i++) {
        if (!may(el, i)) continue;
        lb->current[i] += lb->e[i].weight, total += lb->e[i].weight;
        if (best < 0 || lb->current[i] > lb->current[best]) best = (int)i;
    }
    if (best >= 0) lb->current[best] -= total;
    return best;
}

static uint32_t weighted_choice(struct balancer *lb) {
    uint64_t at = rng_next(&lb->rng) % lb->total_weight;
    uint32_t lo = 0, hi = lb->n - 1;
    if (lb->equal) return (uint32_t)(at / lb->e[0].weight);
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (lb->cumulative[mid] > at)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* A few draws find a usable one unless most are not; then a walk from a random place does. */
static int pick_random(struct balancer *lb, const struct eligible *el) {
    for (int tries = 0; tries < 8; tries++) {
        uint32_t i = weighted_choice(lb);
        if (may(el, i)) return (int)i;
    }
    uint32_t start = (uint32_t)(rng_next(&lb->rng) % lb->n);
    for (uint32_t k = 0; k < lb->n; k++)
        if (may(el, (start + k) % lb->n)) return (int)((start + k) % lb->n);
    return -1;
}

static int pick_least_request(struct balancer *lb, const struct eligible *el) {
    int a = pick_random(lb, el), b = pick_random(lb, el);
    if (a < 0 || b < 0 || a == b) return a < 0 ? b : a;
    /* inflight/weight, compared without dividing; one more for the request to come */
    uint64_t load_a = ((uint64_t)lb->e[a].inflight + 1) * lb->e[b].weight, load_b = ((uint64_t)lb->e[b].inflight + 1) * lb->e[a].weight;
    return load_b < load_a ? b : a;
}

static uint32_t ring_owner(const struct balancer *lb, uint64_t hash) {
    uint32_t lo = 0, hi = lb->points;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (lb->ring[mid].hash >= hash)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo == lb->points ? 0 : lo;
}

static int pick_hashed(struct balancer *lb, const struct eligible *el, uint64_t hash) {
    bool ring = lb->opt.policy == LB_RING_HASH;
    uint32_t at = ring ? ring_owner(lb, hash) : (uint32_t)(hash % lb->points);
    uint32_t owner = ring ? lb->ring[at].endpoint : lb->table[at];
    if (!lb->opt.rehash) { /* a key has one home; a retry goes there again */
        struct eligible home = {lb, el->panic, -1};
        return may(&home, owner) ? (int)owner : -1;
    }
    for (uint32_t k = 0; k < lb->points; k++) {
        uint32_t i = ring ? lb->ring[at].endpoint : lb->table[at];
        if (may(el, i)) return (int)i;
        at = at + 1 < lb->points ? at + 1 : 0;
    }
    return -1;
}

static int pick(struct balancer *lb, const struct eligible *el, uint64_t hash) {
    switch (lb->opt.policy) {
    case LB_ROUND_ROBIN: return pick_round_robin(lb, el);
    case LB_RANDOM: return pick_random(lb, el);
    case LB_LEAST_REQUEST: return pick_least_request(lb, el);
    default: return pick_hashed(lb, el, hash);
    }
}

int lb_pick(struct balancer *lb, uint64_t hash, int skip) {
    if (lb->n == 0) return -1;
    uint32_t usable = 0;
    for (uint32_t i = 0; i < lb->n; i++) usable += lb->e[i].usable;
    struct eligible el = {lb, (uint64_t)usable * 100 < (uint64_t)lb->opt.panic_percent * lb->n, skip};
    int i = pick(lb, &el, hash);
    if (i >= 0 || skip < 0) return i;
    el.skip = -1; /* better the same one again than none */
    return pick(lb, &el, hash);
}
