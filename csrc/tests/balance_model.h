/* For the tests of balancers: endpoints with names, and who was taken how often. */
#ifndef MOSNPY_BALANCE_MODEL_H
#define MOSNPY_BALANCE_MODEL_H

#include "check.h"

#include "../core/balance.h"

#define MANY 1200
static struct lb_endpoint endpoints[MANY];
static char names[MANY][32];
static uint32_t counts[MANY];

__attribute__((unused)) static struct balancer *make(const struct lb_options *opt, uint32_t n, uint64_t seed) {
    for (uint32_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "10.0.%u.%u:6379", i / 250, i % 250 + 1);
        endpoints[i].name = slice_of(names[i], strlen(names[i]));
        endpoints[i].inflight = 0, endpoints[i].usable = true;
    }
    struct balancer *lb = lb_new(opt, endpoints, n, seed);
    CHECK(lb != NULL);
    return lb;
}

__attribute__((unused)) static struct balancer *make_weighted(enum lb_policy policy, uint32_t n,
                                                              const uint32_t *weights) {
    for (uint32_t i = 0; i < n; i++) endpoints[i].weight = weights ? weights[i] : 1;
    return make(&(struct lb_options){.policy = policy, .rehash = true}, n, 0);
}

/* Picks with the keys 0, 1, 2 … and counts who was taken. */
__attribute__((unused)) static void take(struct balancer *lb, uint32_t picks, int skip) {
    memset(counts, 0, sizeof counts);
    for (uint32_t k = 0; k < picks; k++) {
        int i = lb_pick(lb, hash_mix(k), skip);
        CHECK(i >= 0);
        if (i >= 0) counts[i]++;
    }
}

#define CHECK_NEAR(got, want, percent) check_near(__LINE__, #got, got, want, percent)
static void check_near(int line, const char *what, double got, double want, double percent) {
    char text[200];
    if (got >= want * (1 - percent / 100) && got <= want * (1 + percent / 100)) return;
    snprintf(text, sizeof text, "%s is %g, not within %g %% of %g", what, got, percent, want);
    check_failed(__FILE__, line, text);
}

#endif
