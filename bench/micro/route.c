/* Loops over the routing table for test_route.py: a message here is a key and a command, nothing else. */
#include <stdio.h>

#include "route/route.h"

#define EXPORT __attribute__((visibility("default")))

struct message {
    struct slice key, command;
};

/* What a codec would answer; kept out of line, as the real one is. */
__attribute__((noinline)) bool attr_get(const struct message *msg, uint16_t id, uint32_t i, struct attr_value *v) {
    v->type = ATTR_STR;
    v->s = id == ATTR_CODEC ? msg->key : msg->command;
    return i == 0;
}

uint16_t attr_find(const struct codec *codec, struct slice name, enum attr_type *type) {
    (void)codec;
    *type = ATTR_STR;
    return slice_eq(name, SLICE("redis.key")) ? ATTR_CODEC : ATTR_operation;
}

/* A table from its MessagePack form; NULL with the reason on stderr. */
EXPORT void *table_open(const uint8_t *plan, size_t n) {
    static struct upstream *upstreams[1];
    struct mpack root;
    char err[256] = "not MessagePack";
    upstreams[0] = (struct upstream *)upstreams;
    if (mpack_open(slice_of(plan, n), &root)) return NULL;
    struct route_table *t = route_table_new(root, NULL, upstreams, 1, err, sizeof err);
    if (!t) fprintf(stderr, "%s\n", err);
    return t;
}

EXPORT void table_close(void *table) { route_table_free(table); }

/* Looks up `count` keys of `stride` bytes each in turn: different ones, so that the table and not the branch predictor is
 * what is measured. -1 when a key meets none. */
EXPORT int lookup(const void *table, const uint8_t *keys, unsigned stride, unsigned count, unsigned times) {
    uintptr_t sum = 0;
    for (unsigned i = 0, at = 0; i < times; i++, at = at + 1 == count ? 0 : at + 1) {
        struct message msg = {slice_of(keys + (size_t)at * stride, stride), SLICE("GET")};
        const struct route *r = route_find(table, &msg);
        if (!r) return -1;
        sum += (uintptr_t)r;
    }
    __asm__ volatile("" ::"r"(sum));
    return 0;
}

/* Position of the route a key meets, -1: none. */
EXPORT int which(const void *table, const uint8_t *key, unsigned n) {
    struct message msg = {slice_of(key, n), SLICE("GET")};
    const struct route *r = route_find(table, &msg);
    return r ? (int)r->index : -1;
}
