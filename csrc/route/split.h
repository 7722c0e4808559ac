/* Shares a route's messages among several upstreams by weight. */
#ifndef MOSNPY_ROUTE_SPLIT_H
#define MOSNPY_ROUTE_SPLIT_H

#include "compile.h"

struct upstream;
struct route_split;

enum {
    TARGETS_MAX = 64,    /* each costs a step per message */
    WEIGHT_MAX = 1000000 /* a millionth is the finest share */
};

/* `targets` = [[upstream index, weight]...]; sticky = attribute or nil. NULL with err set. Lives in c->keep. */
struct route_split *split_read(struct compile *c, struct mpack targets, struct mpack sticky,
                               struct upstream **upstreams, uint32_t upstream_count);
struct upstream *split_pick(struct route_split *s, const struct message *msg);
/* Upstream number `v` of the plan; NULL with err set when there is no such. */
struct upstream *split_upstream(struct compile *c, struct mpack v, struct upstream **upstreams,
                                uint32_t upstream_count);

#endif
