/* Choosing an endpoint. Pure: no sockets, no clock; the caller passes who is usable. Rebuilt with every plan. */
#ifndef MOSNPY_BALANCE_H
#define MOSNPY_BALANCE_H

#include "base.h"

enum lb_policy { LB_ROUND_ROBIN, LB_RANDOM, LB_LEAST_REQUEST, LB_RING_HASH, LB_MAGLEV };

struct lb_endpoint {   /* one per endpoint, in the plan's order; the array is owned by the upstream */
    struct slice name; /* host:port, places it on the ring */
    uint32_t weight;   /* >= 1 */
    uint32_t inflight; /* requests on it now: kept by the pool, read by least_request */
    bool usable;       /* healthy and not ejected: kept by the caller before lb_pick */
};

struct lb_options {
    enum lb_policy policy;
    uint32_t panic_percent; /* with fewer usable than this share, all are taken as usable; 0 = never (Envoy: 50) */
    uint32_t table_size; /* maglev: rounded up to a prime; ring: points at least. 0: by the endpoints. At most 8 Mi */
    bool rehash;         /* hash policies: an unusable owner's keys move on (true) or fail (false: data stores) */
};

struct balancer;
/* NULL when memory is out. Keeps `endpoints` (borrowed: must outlive it). `seed` is where round robin begins and
 * what the random policies draw from; the hash policies place by endpoint names alone, the same in every process.
 * Takes milliseconds for thousands of endpoints (hash policies, unequal weights): not for the data thread. */
struct balancer *lb_new(const struct lb_options *opt, struct lb_endpoint *endpoints, uint32_t n, uint64_t seed);
void lb_free(struct balancer *lb);
/* Index of the endpoint, or -1 when none is usable. `hash` is used by hash policies only; any 64 bits, ids included.
 * Weighted in every policy (round robin: smooth weighted; least_request: two weighted random choices, fewer
 * inflight/weight wins, the first if equal). O(1); O(n) when the endpoint first thought of may not be taken, and for
 * round robin with weights whose sum over their greatest common divisor is above 16,384.
 * `skip` (-1: none) is an endpoint to avoid if any other may be taken: the one a retry comes from. Without `rehash`
 * a key has one home and `skip` says nothing. */
int lb_pick(struct balancer *lb, uint64_t hash, int skip);

#endif
