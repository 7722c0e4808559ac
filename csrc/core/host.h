/* What a host (the Python binding, a C test) needs beyond core.h: mail made of plain arguments, live counts, and the tables
 * of names by index. */
#ifndef MOSNPY_HOST_H
#define MOSNPY_HOST_H

#include "core.h"

/* Any thread. Builds the plan here and posts it with the listening sockets (ids[i] accepts on fds[i]). 0, or -1 and err. */
int host_post_plan(struct core *core, const uint8_t *doc, size_t n, const uint32_t *ids, const int *fds, uint32_t count,
                   char *err, size_t err_size);
int host_check_plan(const uint8_t *doc, size_t n, char *err, size_t err_size);
int host_post_drain(struct core *core, uint32_t timeout_ms);
int host_post_stop(struct core *core);
/* The next event: 1 and *kind, *value, its text (empty but for lines of the log); 0 when there is none. */
int host_take_event(struct core *core, int *kind, uint64_t *value, char *text, size_t size);
/* Client ids count from `base`; hosts of several cores give each its own (below 2^53, what every client can hold). */
void host_set_first_id(struct core *core, uint64_t base);
void host_set_inline(struct core *core, bool on);

struct host_counts {
    uint64_t clients, servers, streams, chunks, timers, endpoints;
};
void host_counts(const struct core *core, struct host_counts *out);

/* Row i of a statistics list ("worker", "listener", "upstream", "endpoint", "route", "operation", "failure"); false behind the last. */
bool host_stat_name(const char *list, uint32_t i, const char **name, const char **kind, const char **help);
uint32_t host_block_size(const char *list);
uint32_t host_latency_bound(uint32_t i); /* 0 behind the last */
/* Attribute i of codec k (k < 0: the common ones); false behind the last. */
const char *host_codec_name(uint32_t k);
bool host_attribute(int k, uint32_t i, const char **name, const char **type, const char **doc);

#endif
