/* Building the balancers' tables, off the data thread.
 * - Smooth weighted round robin: each step raises everybody by its weight and lowers the winner by the total, so that
 *   5:1:1 is a a b a c a a. The schedule repeats after total/gcd steps; written down, a pick is a look.
 * - Weighted draws: the alias method (Walker 1974, Vose 1991), in integers.
 * - Maglev: Eisenbud et al., NSDI 2016, section 3.4. */
#include "balance_build.h"

#include <stdlib.h>

#define TURNS_MAX 16384u              /* places of a round written down (64 KiB) */
#define TURNS_WORK_MAX (16u << 20)    /* steps x endpoints spent on that: some 20 ms */
#define UNIT_POINTS_LOG2 9            /* ring points of the least weight: shares even to about 1/sqrt(512) = 4 % */
#define RING_POINTS 65536u            /* beyond, a unit gets fewer points, */
#define RING_POINTS_PER_ENDPOINT 160u /* down to this many per endpoint (what ketama gives each) */
#define TABLE_MAX (8u << 20)

static uint64_t gcd(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t r = a % b;
        a = b, b = r;
    }
    return a;
}

/* Sum of the weights in units of their greatest common divisor. */
static uint64_t weigh(const struct balancer *lb, uint64_t *unit) {
    uint64_t sum = 0;
    *unit = 0;
    for (uint32_t i = 0; i < lb->n; i++) sum += lb->e[i].weight, *unit = gcd(*unit, lb->e[i].weight);
    return sum / *unit;
}

/* ---- round robin ---- */

static bool build_turns(struct balancer *lb, uint64_t seed) {
    uint64_t unit, total = weigh(lb, &unit);
    lb->period = lb->n;
    lb->turn = (uint32_t)(seed % lb->n);
    if (total == lb->n) return true; /* equal weights */
    if (!(lb->current = calloc(lb->n, sizeof *lb->current))) return false;
    if (total > TURNS_MAX || total * lb->n > TURNS_WORK_MAX) return true; /* balance.c takes the steps as they come */
    if (!(lb->turns = malloc(total * sizeof *lb->turns))) return false;
    for (uint32_t k = 0; k < total; k++) {
        uint32_t best = 0;
        for (uint32_t i = 0; i < lb->n; i++) {
            lb->current[i] += (int64_t)(lb->e[i].weight / unit);
            if (lb->current[i] > lb->current[best]) best = i;
        }
        lb->current[best] -= (int64_t)total;
        lb->turns[k] = best;
    }
    free(lb->current);
    lb->current = NULL;
    lb->period = (uint32_t)total;
    lb->turn = (uint32_t)(seed % total);
    return true;
}

/* ---- weighted draws ---- */

/* Each endpoint is a bin of the mean weight. A bin that is not full is filled up from one that is over-full: from
 * those two it draws. */
static bool build_alias(struct balancer *lb) {
    uint64_t unit, total = weigh(lb, &unit);
    if (total == lb->n) return true;
    uint64_t *have = malloc(lb->n * sizeof *have); /* weight x n, so that a full bin is `total` */
    uint32_t *bins = malloc(lb->n * sizeof *bins); /* the lesser from the left, the greater from the right */
    lb->alias = malloc(lb->n * sizeof *lb->alias);
    uint32_t lesser = 0, greater = lb->n;
    for (uint32_t i = 0; have && bins && lb->alias && i < lb->n; i++) {
        have[i] = lb->e[i].weight / unit * lb->n;
        lb->alias[i] = (struct alias){UINT32_MAX, i};
        bins[have[i] < total ? lesser++ : --greater] = i;
    }
    bool ok = have && bins && lb->alias;
    while (ok && lesser > 0 && greater < lb->n) {
        uint32_t from = bins[greater], to = bins[--lesser];
        lb->alias[to] = (struct alias){(uint32_t)(((__uint128_t)have[to] << 32) / total), from};
        have[from] -= total - have[to];
        if (have[from] >= total) continue;
        greater++;
        bins[lesser++] = from;
    }
    free(have);
    free(bins);
    return ok;
}

/* ---- hash policies ---- */

/* An endpoint's place depends on its name alone; the sorted order makes the result independent of the plan's order. */
struct place {
    uint64_t hash;
    uint32_t endpoint;
};

static int by_hash(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->endpoint < y->endpoint ? -1 : x->endpoint > y->endpoint;
}

static struct place *find_places(const struct balancer *lb) {
    struct place *places = malloc(lb->n * sizeof *places);
    if (!places) return NULL;
    for (uint32_t i = 0; i < lb->n; i++) places[i] = (struct place){hash_bytes(lb->e[i].name.p, lb->e[i].name.n), i};
    qsort(places, lb->n, sizeof *places, by_hash);
    uint64_t before = ~places[0].hash;
    for (uint32_t i = 0, same = 0; i < lb->n; i++) { /* one name twice: the second one must not lie under the first */
        same = places[i].hash == before ? same + 1 : 0;
        before = places[i].hash;
        if (same) places[i].hash = hash_mix(places[i].hash + same);
    }
    return places;
}

static uint64_t scaled(uint64_t units, int log2) { return log2 >= 0 ? units << log2 : units >> -log2; }

/* Points per unit of weight: a power of two that an endpoint more or less rarely changes. Were it the ring's size by
 * the number of endpoints, all of them would gain and lose points with each change, and keys move among those that
 * stay. */
static int points_per_unit(const struct balancer *lb, uint64_t total) {
    uint64_t limit = max_size(RING_POINTS, (size_t)lb->n * RING_POINTS_PER_ENDPOINT),
             least = min_size(lb->opt.table_size, TABLE_MAX);
    int log2 = UNIT_POINTS_LOG2;
    if (limit > TABLE_MAX) limit = TABLE_MAX;
    while (log2 > 0 ? total > limit >> log2 : scaled(total, log2) > limit) log2--;
    while (scaled(total, log2) < least) log2++;
    return log2;
}

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool build_starts(struct balancer *lb) {
    uint32_t bits = 1;
    while (2ULL << bits <= lb->points) bits++;
    lb->ring_shift = 64 - bits;
    lb->ring_starts = malloc((sizeof *lb->ring_starts) << bits);
    for (uint32_t b = 0, at = 0; lb->ring_starts && b < 1u << bits; b++) {
        while (at < lb->points && lb->ring[at] < (uint64_t)b << lb->ring_shift) at++;
        lb->ring_starts[b] = at;
    }
    return lb->ring_starts != NULL;
}

static bool build_ring(struct balancer *lb) {
    uint64_t unit, total = weigh(lb, &unit);
    int log2 = points_per_unit(lb, total);
    struct place *places = find_places(lb);
    lb->ring = malloc((scaled(total, log2) + lb->n) * sizeof *lb->ring);
    if (!places || !lb->ring) {
        free(places);
        return false;
    }
    for (uint32_t i = 0; i < lb->n; i++) {
        uint64_t count = scaled(lb->e[places[i].endpoint].weight / unit, log2);
        for (uint64_t k = 0; k < (count ? count : 1); k++)
            lb->ring[lb->points++] =
                (hash_mix(places[i].hash + k * 0x9e3779b97f4a7c15ULL) & ~RING_INDEX) | places[i].endpoint;
    }
    free(places);
    qsort(lb->ring, lb->points, sizeof *lb->ring, by_number);
    return build_starts(lb);
}

static bool is_prime(uint32_t n) {
    for (uint32_t d = 2; (uint64_t)d * d <= n; d++)
        if (n % d == 0) return false;
    return n > 1;
}

/* A prime with room for a hundred places per endpoint. It grows in few steps, because another size places every key
 * anew. */
static uint32_t maglev_size(const struct balancer *lb) {
    static const uint32_t sizes[] = {65537, 655373, 6553577};
    uint32_t n = min_size(max_size(lb->opt.table_size, lb->n), TABLE_MAX);
    if (lb->opt.table_size == 0) {
        unsigned i = 0;
        while (i + 1 < countof(sizes) && sizes[i] / 100 < lb->n) i++;
        if (sizes[i] > n) return sizes[i];
    }
    if (n < 3) n = 3; /* the step is taken modulo the size less one */
    while (!is_prime(n)) n++;
    return n;
}

/* Each endpoint takes the next free place of its own permutation in turn; one with half the greatest weight does so
 * every second time round. */
static bool build_maglev(struct balancer *lb) {
    uint32_t m = maglev_size(lb), heaviest = 0;
    struct cursor {
        uint32_t at, step;
        uint64_t credit;
    } *cursors = calloc(lb->n, sizeof *cursors);
    struct place *places = find_places(lb);
    lb->table = malloc(m * sizeof *lb->table);
    bool ok = cursors && places && lb->table;
    for (uint32_t i = 0; ok && i < lb->n; i++) {
        uint64_t second = hash_mix(places[i].hash ^ 0x9e3779b97f4a7c15ULL);
        cursors[i] = (struct cursor){(uint32_t)(places[i].hash % m), (uint32_t)(second % (m - 1)) + 1, 0};
        if (lb->e[i].weight > heaviest) heaviest = lb->e[i].weight;
    }
    if (ok) memset(lb->table, 0xff, m * sizeof *lb->table);
    for (uint32_t filled = 0; ok && filled < m;) {
        for (uint32_t i = 0; i < lb->n && filled < m; i++) {
            struct cursor *c = &cursors[i];
            c->credit += lb->e[places[i].endpoint].weight;
            if (c->credit < heaviest) continue;
            c->credit -= heaviest;
            while (lb->table[c->at] != UINT32_MAX)
                c->at = c->at >= m - c->step ? c->at - (m - c->step) : c->at + c->step;
            lb->table[c->at] = places[i].endpoint, filled++;
        }
    }
    lb->points = m;
    free(cursors);
    free(places);
    return ok;
}

bool lb_build(struct balancer *lb, uint64_t seed) {
    if (lb->n > LB_ENDPOINTS_MAX) return false;
    switch (lb->opt.policy) {
    case LB_ROUND_ROBIN: return build_turns(lb, seed);
    case LB_RING_HASH: return build_ring(lb);
    case LB_MAGLEV: return build_maglev(lb);
    default: return build_alias(lb);
    }
}
