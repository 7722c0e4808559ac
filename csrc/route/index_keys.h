/* Which keys routes could be found by, and which they are. See index.h for what keys are. */
#ifndef MOSNPY_ROUTE_INDEX_KEYS_H
#define MOSNPY_ROUTE_INDEX_KEYS_H

#include "index.h"

#define NO_KEYS UINT64_MAX

struct postings {
    struct posting *v;
    uint32_t count, room;
};

enum { FORWARD, BACKWARD }; /* directions keys are read in */

struct builder { /* of one index; all zero but for the first members */
    struct compile *c;
    uint32_t count;                       /* of routes */
    uint32_t level;                       /* 0: the table's */
    struct postings lists[SLOTS_MAX][2];  /* by attribute and direction */
    struct keytrie weights[SLOTS_MAX][2]; /* every key any route could be found by, with those routes */
    uint32_t rank[SLOTS_MAX];             /* 0 = the attribute most predicates could be looked up by */
};

/* Counts how many routes share each key. */
bool keys_weigh(struct builder *b, struct predicate **when);
/* Sets cost, exact, by_tail and best of p and all below. Recursion: at most DEPTH_MAX deep. */
void keys_choose(struct builder *b, struct predicate *p);
/* Files `value` under the chosen keys of p, which has some. */
bool keys_add(struct builder *b, const struct predicate *p, uint32_t value);
/* The part of p that holds when p was found by its keys; NULL: none. */
const struct predicate *keys_imply(const struct predicate *p);
void keys_free(struct builder *b);

#endif
