#include "route.h"

#include "action.h"
#include "compile.h"
#include "index.h"
#include "split.h"

#include <stdlib.h>

enum {
    SMALL_MAX = 6
}; /* up to here trying each route costs less than looking them up: measured, 60 against 330 instructions for 3 */

struct route_table {
    struct arena keep; /* everything below that is not freed by name */
    struct route *routes;
    uint32_t count;
    struct index index;
    uint32_t small[SMALL_MAX]; /* a table of so few routes: where each one's whole predicate starts, tried in order */
    struct program program;
    struct attr_slots slots;
    struct regex_pool regexes;
};

struct upstreams { /* the plan's */
    struct upstream **at;
    uint32_t count;
};

/* --- matching --- */

static inline const struct route *find_small(const struct route_table *t, const struct message *msg) {
    struct lookup l;
    lookup_begin(&l, msg, &t->slots);
    for (uint32_t i = 0; i < t->count; i++)
        if (program_holds_quick(&t->program, t->small[i], &l)) return &t->routes[i];
    return NULL;
}

const struct route *route_find(const struct route_table *t, const struct message *msg) {
    if (t->count <= SMALL_MAX) return find_small(t, msg);
    uint32_t i = index_find(&t->index, msg, &t->slots);
    return i == ROUTE_NONE ? NULL : &t->routes[i];
}

struct upstream *route_upstream(const struct route *r, const struct message *msg) {
    switch (r->action) {
    case ROUTE_TO: return r->to;
    case ROUTE_SPLIT: return split_pick(r->split, msg);
    default: return NULL;
    }
}

uint32_t route_count(const struct route_table *t) { return t->count; }
struct route *route_at(struct route_table *t, uint32_t i) {
    return &t->routes[i];
}

/* --- reading the plan --- */

static bool given(struct mpack v) { return v.type != MP_NONE && v.type != MP_NIL; }

static bool read_u32(struct compile *c, struct mpack route, const char *key, uint32_t *n) {
    struct mpack v = mpack_get(route, key);
    int64_t i = given(v) ? mpack_int(v, -1) : 0;
    if (i < 0 || i > UINT32_MAX) return compile_fail(c, "\"%s\" is no integer from 0 to %u", key, UINT32_MAX);
    *n = (uint32_t)i;
    return true;
}

static bool read_action(struct compile *c, struct route *r, struct mpack route, struct upstreams u) {
    struct mpack to = mpack_get(route, "to"), split = mpack_get(route, "split"), reply = mpack_get(route, "reply");
    struct mpack sticky = mpack_get(route, "sticky"), redirect = mpack_get(route, "redirect");
    if (given(to) + given(split) + given(reply) + given(redirect) != 1)
        return compile_fail(c, "it needs exactly one of to, split, reply and redirect");
    if (given(sticky) && !given(split)) return compile_fail(c, "only a split can be sticky");
    if (given(redirect)) return true; /* action_read has it */
    if (given(reply)) return action_read_reply(c, r, reply);
    if (given(split)) {
        r->action = ROUTE_SPLIT;
        return (r->split = split_read(c, split, sticky, u.at, u.count)) != NULL;
    }
    r->action = ROUTE_TO;
    return (r->to = split_upstream(c, to, u.at, u.count)) != NULL;
}

static bool read_mirror(struct compile *c, struct route *r, struct mpack mirror, struct upstreams u) {
    if (!given(mirror)) return true;
    struct mpack share = mpack_get(mirror, "percent");
    double percent =
        share.type == MP_INT || share.type == MP_UINT ? (double)mpack_int(share, -1) : mpack_double(share, -1);
    if (!(percent >= 0 && percent <= 100)) return compile_fail(c, "the percent of a mirror is a number from 0 to 100");
    r->mirror_ppm = (uint32_t)(percent * 10000 + 0.5);
    return (r->mirror = split_upstream(c, mpack_get(mirror, "to"), u.at, u.count)) != NULL;
}

static bool read_route(struct compile *c, struct route *r, struct mpack route, struct upstreams u) {
    struct mpack name = mpack_get(route, "name");
    c->route = (struct slice){0};
    if (name.type != MP_STR || name.s.n > TEXT_MAX) return compile_fail(c, "route number %u has no name", r->index);
    if (!arena_copy(c->keep, name.s, &r->name)) return compile_no_memory(c);
    c->route = r->name;
    return read_u32(c, route, "stats", &r->stats) && read_u32(c, route, "timeout_ms", &r->timeout_ms) &&
           read_action(c, r, route, u) && action_read(c, r, route) && read_mirror(c, r, mpack_get(route, "mirror"), u);
}

static bool read_routes(struct compile *c, struct route_table *t, struct mpack routes, struct upstreams u) {
    if (routes.type != MP_ARRAY) return compile_fail(c, "a table has a list of \"routes\"");
    if (routes.count > ROUTES_MAX) return compile_fail(c, "a table has at most %d routes", ROUTES_MAX);
    t->count = routes.count;
    t->routes = arena_alloc(c->keep, (size_t)t->count * sizeof *t->routes);
    struct predicate **when = arena_alloc(&c->scratch, (size_t)t->count * sizeof(struct predicate *));
    if (!t->routes || !when) return compile_no_memory(c);
    struct mpack_iter it = mpack_iter(routes);
    struct mpack route;
    for (uint32_t i = 0; i < t->count && mpack_next(&it, &route); i++) {
        t->routes[i].index = i;
        if (!read_route(c, &t->routes[i], route, u)) return false;
        when[i] = predicate_read(c, mpack_get(route, "when"));
        if (!when[i]) return false;
    }
    c->route = (struct slice){0};
    for (uint32_t i = 0; i < t->count; i++) t->routes[i].uses_resource = c->uses_resource;
    if (!index_build(&t->index, &t->program, c, when, t->count)) return false;
    for (uint32_t i = 0; i < t->count && t->count <= SMALL_MAX; i++)
        if ((t->small[i] = program_add(&t->program, c, when[i], NULL)) == PROGRAM_FAILED) return false;
    return true;
}

struct route_table *route_table_new(struct mpack table, const struct codec *codec, struct upstream **upstreams,
                                    uint32_t upstream_count, char *err, size_t err_size) {
    struct route_table *t = calloc(1, sizeof *t);
    struct text_set texts = {0};
    struct compile c = {.texts = &texts, .codec = codec, .err = err, .err_size = err_size};
    if (err_size) *err = 0;
    if (!t) {
        compile_no_memory(&c);
        return NULL;
    }
    c.keep = &t->keep;
    c.slots = &t->slots;
    c.regexes = &t->regexes;
    bool ok = read_routes(&c, t, mpack_get(table, "routes"), (struct upstreams){upstreams, upstream_count});
    arena_free(&c.scratch);
    text_set_free(&texts);
    program_done(&t->program);
    if (ok) return t;
    route_table_free(t);
    return NULL;
}

void route_table_free(struct route_table *t) {
    if (!t) return;
    regex_pool_free(&t->regexes);
    program_free(&t->program);
    arena_free(&t->keep);
    free(t);
}
