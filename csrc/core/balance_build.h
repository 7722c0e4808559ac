/* The tables behind balance.h: made once per plan by balance_build.c, read by balance.c. */
#ifndef MOSNPY_BALANCE_BUILD_H
#define MOSNPY_BALANCE_BUILD_H

#include "balance.h"

/* A point of the ring is one number: its place in the upper bits, the endpoint in the lower, so that 65,536 points are
 * 512 KiB and sort as what they are. */
#define RING_INDEX 0xffffffULL
#define LB_ENDPOINTS_MAX RING_INDEX

struct balancer {
    struct lb_options opt;
    struct lb_endpoint *e; /* the caller's */
    uint32_t n;
    uint64_t rng;

    /* round robin */
    uint32_t turn, period; /* at which place of a round we are, of how many */
    uint32_t *turns;       /* [period] a whole round of the smooth schedule; NULL: everybody in order */
    int64_t *current;      /* [n] the schedule's state, where a round is too long to write down */

    /* random, least request: the alias method. NULL: equal weights */
    struct alias {
        uint32_t keep, other; /* a draw of i stays with i for a coin below keep / 2^32, else goes to other */
    } * alias;

    /* hash policies: one of the two, and its length */
    uint64_t *ring;  /* sorted */
    uint32_t *table; /* maglev */
    uint32_t points;
    uint32_t
        *ring_starts; /* by the upper bits of a hash: the first point at or behind the least hash with these bits. A
                              search by halves took 90 to 130 ns, four fifths of it mispredicted branches */
    uint32_t ring_shift;
};

/* Makes what lb->opt.policy needs; n >= 1. False when memory is out (what was made is left to lb_free). */
bool lb_build(struct balancer *lb, uint64_t seed);

#endif
