/* Building a plan from its MessagePack form. What happens when it takes force is in adopt.c. */
#include "plan.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "greeting.h"
#include "tls_config.h"

struct builder {
    struct plan *plan;
    char *err;
    size_t err_size;
};

static bool fail(struct builder *b, const char *what, struct slice name) {
    snprintf(b->err, b->err_size, "%s: %.*s", what, (int)name.n, name.p ? (const char *)name.p : "");
    return false;
}

static uint32_t read_u32(struct mpack map, const char *key, uint32_t dflt) {
    int64_t v = mpack_int(mpack_get(map, key), dflt);
    return v < 0 ? 0 : v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

uint64_t *plan_stat(const struct plan *p, uint32_t base, uint32_t slots) {
    static uint64_t nowhere[256]; /* a plan that is only checked counts nothing */
    if (!p->stats.row) return slots <= countof(nowhere) ? nowhere : NULL;
    return slots <= p->stats.slots && base <= p->stats.slots - slots ? p->stats.row + base : NULL;
}

void *plan_section(const struct plan *p, const struct codec *codec) {
    for (uint32_t i = 0; i < p->section_count; i++)
        if (p->sections[i].codec == codec) return p->sections[i].section;
    return NULL;
}

struct listener *plan_listener(const struct plan *p, uint32_t id) {
    for (uint32_t i = 0; i < p->listener_count; i++)
        if (p->listeners[i].id == id) return &p->listeners[i];
    return NULL;
}

const struct codec *codec_find(struct slice name) {
    for (uint32_t i = 0; codecs[i]; i++)
        if (slice_eq(name, slice_of(codecs[i]->name, strlen(codecs[i]->name)))) return codecs[i];
    return NULL;
}

/* ---- addresses ---- */

static bool read_address(struct mpack v, union address *addr, socklen_t *len) {
    struct slice family = mpack_slice(mpack_get(v, "family")), host = mpack_slice(mpack_get(v, "host"));
    uint32_t port = read_u32(v, "port", 0);
    char text[sizeof addr->un.sun_path];
    memset(addr, 0, sizeof *addr);
    if (host.n == 0 || host.n >= sizeof text || port > 65535) return false;
    memcpy(text, host.p, host.n), text[host.n] = 0;
    if (slice_eq(family, SLICE("unix"))) {
        addr->un.sun_family = AF_UNIX;
        memcpy(addr->un.sun_path, text, host.n + 1);
        *len = sizeof addr->un;
        return true;
    }
    if (slice_eq(family, SLICE("ipv6"))) {
        addr->in6.sin6_family = AF_INET6, addr->in6.sin6_port = htons((uint16_t)port);
        *len = sizeof addr->in6;
        return inet_pton(AF_INET6, text, &addr->in6.sin6_addr) == 1;
    }
    addr->in.sin_family = AF_INET, addr->in.sin_port = htons((uint16_t)port);
    *len = sizeof addr->in;
    return inet_pton(AF_INET, text, &addr->in.sin_addr) == 1;
}

/* ---- sections, upstreams, listeners ---- */

static bool build_sections(struct builder *b, struct mpack map) {
    struct mpack_iter it = mpack_iter(map);
    struct slice name;
    struct mpack v;
    while (mpack_next_pair(&it, &name, &v)) {
        const struct codec *codec = codec_find(name);
        if (!codec || b->plan->section_count == countof(b->plan->sections)) return fail(b, "unknown codec", name);
        if (!codec->codec_new) continue;
        void *section = codec->codec_new(v, b->plan, b->err, b->err_size);
        if (!section) return false;
        uint32_t i = b->plan->section_count++;
        b->plan->sections[i].codec = codec, b->plan->sections[i].section = section;
    }
    return true;
}

static enum lb_policy read_policy(struct slice name) {
    static const struct {
        const char *name;
        enum lb_policy policy;
    } table[] = {
        {"random", LB_RANDOM}, {"least_request", LB_LEAST_REQUEST}, {"ring_hash", LB_RING_HASH}, {"maglev", LB_MAGLEV}};
    for (size_t i = 0; i < countof(table); i++)
        if (slice_eq(name, slice_of(table[i].name, strlen(table[i].name)))) return table[i].policy;
    return LB_ROUND_ROBIN;
}

static bool build_endpoints(struct builder *b, struct upstream *u, struct mpack list) {
    if (list.type != MP_ARRAY) return fail(b, "no endpoints in upstream", u->name);
    u->endpoints = calloc(list.count + 1u, sizeof *u->endpoints);
    u->lb_endpoints = calloc(list.count + 1u, sizeof *u->lb_endpoints);
    if (!u->endpoints || !u->lb_endpoints) return fail(b, "out of memory", u->name);
    struct mpack_iter it = mpack_iter(list);
    struct mpack v;
    while (mpack_next(&it, &v)) {
        struct endpoint_spec *e = &u->endpoints[u->endpoint_count];
        e->name = mpack_slice(mpack_get(v, "name"));
        if (!read_address(v, &e->addr, &e->addr_len)) return fail(b, "bad endpoint address", e->name);
        e->weight = read_u32(v, "weight", 1);
        e->health_slot = read_u32(v, "slot", 0);
        e->stat_base = read_u32(v, "stats", 0);
        if (!plan_stat(b->plan, e->stat_base, ENDPOINT_SLOTS))
            return fail(b, "statistics slots out of range for endpoint", e->name);
        u->lb_endpoints[u->endpoint_count++] =
            (struct lb_endpoint){.name = e->name, .weight = e->weight ? e->weight : 1, .usable = true};
    }
    return true;
}

static bool build_balancer(struct builder *b, struct upstream *u, struct mpack v) {
    enum attr_type type;
    struct slice hash = mpack_slice(mpack_get(v, "hash"));
    struct lb_options opt = {.policy = read_policy(mpack_slice(mpack_get(v, "policy"))),
                             .panic_percent = read_u32(v, "panic_percent", 50),
                             .table_size = read_u32(v, "table_size", 0),
                             .rehash = mpack_bool(mpack_get(v, "rehash"), false)};
    u->policy = opt.policy, u->hash_attr = ATTR_NONE;
    if (hash.n && (u->hash_attr = attr_find(u->codec, hash, &type)) == ATTR_NONE)
        return fail(b, "unknown hash attribute", hash);
    /* workers must not all begin with the same endpoint; where hashed keys live does not depend on the seed */
    u->lb = lb_new(&opt, u->lb_endpoints, u->endpoint_count, hash_mix((uint64_t)getpid()));
    return u->lb || fail(b, "out of memory for the balancer of upstream", u->name);
}

static bool build_upstream(struct builder *b, struct upstream *u, struct mpack v) {
    struct plan *p = b->plan;
    u->plan = p;
    u->name = mpack_slice(mpack_get(v, "name"));
    u->codec = codec_find(mpack_slice(mpack_get(v, "codec")));
    if (!u->codec) return fail(b, "unknown codec of upstream", u->name);
    u->stat = plan_stat(p, read_u32(v, "stats", 0), UPSTREAM_SLOTS);
    if (!u->stat) return fail(b, "statistics slots out of range for upstream", u->name);
    u->connect_timeout_ms = read_u32(v, "connect_timeout_ms", 1000);
    u->idle_timeout_ms = read_u32(v, "idle_timeout_ms", 60000);
    u->connections = read_u32(v, "connections", 1);
    u->max_connections = read_u32(v, "max_connections", 1024);
    u->max_pending = read_u32(v, "max_pending", 4096);
    u->attempts = read_u32(v, "attempts", 2);
    u->proxy_protocol = (uint8_t)read_u32(v, "proxy_protocol", 0);
    if (u->connections == 0 || u->connections > 1024 || u->attempts == 0)
        return fail(b, "connections or attempts out of range in upstream", u->name);
    struct mpack ejection = mpack_get(v, "ejection");
    u->eject_failures = read_u32(ejection, "failures", 3);
    u->eject_base_ms = read_u32(ejection, "base_ms", 1000);
    u->eject_max_ms = read_u32(ejection, "max_ms", 30000);
    if (u->codec->upstream_new &&
        !(u->options = u->codec->upstream_new(mpack_get(v, "options"), p, b->err, b->err_size)))
        return false;
    struct mpack tls = mpack_get(v, "tls");
    if (tls.type == MP_MAP && !(u->tls = tls_client_new(tls, b->err, b->err_size))) return false;
    return build_endpoints(b, u, mpack_get(v, "endpoints")) && build_balancer(b, u, mpack_get(v, "lb"));
}

bool codecs_related(const struct codec *from, const struct codec *to) {
    return from == to || (from->family && to->family && strcmp(from->family, to->family) == 0);
}

static bool check_route(struct builder *b, const struct codec *codec, const struct route *r) {
    if (!plan_stat(b->plan, r->stats, ROUTE_SLOTS)) return fail(b, "statistics slots out of range for route", r->name);
    if (r->mirror && !codecs_related(codec, r->mirror->codec))
        return fail(b, "the mirror speaks another protocol than the messages of route", r->name);
    if (r->to && !codecs_related(codec, r->to->codec))
        return fail(b, "the upstream speaks another protocol than the messages of route", r->name);
    return true;
}

static bool build_table(struct builder *b, struct plan_table *t, struct mpack v) {
    struct plan *p = b->plan;
    struct slice codec = mpack_slice(mpack_get(v, "codec"));
    t->codec = codec_find(codec);
    if (!t->codec) return fail(b, "unknown codec of a table", codec);
    t->routes = route_table_new(v, t->codec, p->upstream_index, p->upstream_count, b->err, b->err_size);
    if (!t->routes) return false;
    t->asks_name = greeting_asked_for(v);
    for (uint32_t i = 0; i < route_count(t->routes); i++)
        if (!check_route(b, t->codec, route_at(t->routes, i))) return false;
    return true;
}

/* The table a service names: its codec must have the attributes the table was compiled for, and convert to the same servers. */
static bool find_table(struct builder *b, struct service *s, struct slice listener, struct mpack place) {
    int64_t i = mpack_int(place, -1);
    if (i < 0 || i >= b->plan->table_count) return fail(b, "no such table of listener", listener);
    const struct plan_table *t = &b->plan->tables[i];
    if (t->codec->attributes != s->codec->attributes || !codecs_related(t->codec, s->codec))
        return fail(b, "a table of another protocol in listener", listener);
    s->table = t->routes, s->asks_name = t->asks_name;
    return true;
}

static bool build_service(struct builder *b, struct service *s, struct slice listener, struct mpack v) {
    struct plan *p = b->plan;
    s->codec = codec_find(mpack_slice(mpack_get(v, "codec")));
    if (!s->codec) return fail(b, "unknown codec of listener", listener);
    if (s->codec->listener_new &&
        !(s->options = s->codec->listener_new(mpack_get(v, "options"), p, b->err, b->err_size)))
        return false;
    return find_table(b, s, listener, mpack_get(v, "table"));
}

static bool build_services(struct builder *b, struct chain *chain, struct slice listener, struct mpack list) {
    struct mpack v;
    if (list.type != MP_ARRAY || list.count == 0) return fail(b, "no protocols in listener", listener);
    chain->services = calloc(list.count, sizeof *chain->services);
    if (!chain->services) return fail(b, "out of memory for listener", listener);
    for (struct mpack_iter it = mpack_iter(list); mpack_next(&it, &v);)
        if (!build_service(b, &chain->services[chain->service_count++], listener, v)) return false;
    return true;
}

static bool build_chain(struct builder *b, struct chain *chain, struct slice listener, struct mpack v) {
    struct mpack names = mpack_get(v, "sni"), tls = mpack_get(v, "tls"), name;
    chain->name = mpack_slice(mpack_get(v, "name"));
    chain->names = calloc((names.type == MP_ARRAY ? names.count : 0) + 1u, sizeof *chain->names);
    if (!chain->names) return fail(b, "out of memory for listener", listener);
    for (struct mpack_iter it = mpack_iter(names); names.type == MP_ARRAY && mpack_next(&it, &name);)
        chain->names[chain->name_count++] = mpack_slice(name);
    if (tls.type == MP_MAP && !(chain->tls = tls_server_new(tls, b->err, b->err_size))) return false;
    return build_services(b, chain, listener, mpack_get(v, "protocols"));
}

static bool build_chains(struct builder *b, struct listener *l, struct mpack v) {
    struct mpack list = mpack_get(v, "chains"), one;
    uint32_t count = 1 + (list.type == MP_ARRAY ? list.count : 0);
    l->chains = calloc(count, sizeof *l->chains);
    if (!l->chains) return fail(b, "out of memory for listener", l->name);
    l->chain_count = 1;
    if (!build_chain(b, &l->chains[0], l->name, v)) return false;
    l->chains[0].name = SLICE("");
    for (struct mpack_iter it = mpack_iter(list); count > 1 && mpack_next(&it, &one);)
        if (!build_chain(b, &l->chains[l->chain_count++], l->name, one)) return false;
    return true;
}

static bool build_listener(struct builder *b, struct listener *l, struct mpack v) {
    struct plan *p = b->plan;
    l->plan = p;
    l->name = mpack_slice(mpack_get(v, "name"));
    l->id = read_u32(v, "id", 0);
    l->stat = plan_stat(p, read_u32(v, "stats", 0), LISTENER_SLOTS);
    if (!l->stat) return fail(b, "statistics slots out of range for listener", l->name);
    l->max_connections = read_u32(v, "max_connections", UINT32_MAX);
    l->idle_timeout_ms = read_u32(v, "idle_timeout_ms", 0);
    l->client_buffer = read_u32(v, "client_buffer", 64u << 20);
    l->proxy_protocol = mpack_bool(mpack_get(v, "proxy_protocol"), false);
    if (!build_chains(b, l, v)) return false;
    l->greets = greeting_needed(l);
    for (uint32_t i = 0; l->chain_count > 1 && i < l->chain_count; i++)
        l->guarded |= l->chains[i].tls && tls_server_asks(l->chains[i].tls);
    return true;
}

static bool build(struct builder *b, struct mpack root) {
    struct plan *p = b->plan;
    struct mpack ups = mpack_get(root, "upstreams"), tables = mpack_get(root, "tables"),
                 lis = mpack_get(root, "listeners"), v;
    if (root.type != MP_MAP || ups.type != MP_ARRAY || tables.type != MP_ARRAY || lis.type != MP_ARRAY)
        return fail(b, "malformed plan", SLICE("not a map of listeners, tables and upstreams"));
    p->generation = (uint64_t)mpack_int(mpack_get(root, "generation"), 0);
    p->busy_poll_us = read_u32(root, "busy_poll_us", 0);
    p->upstreams = calloc(ups.count + 1u, sizeof *p->upstreams);
    p->upstream_index = calloc(ups.count + 1u, sizeof *p->upstream_index);
    p->tables = calloc(tables.count + 1u, sizeof *p->tables);
    p->listeners = calloc(lis.count + 1u, sizeof *p->listeners);
    if (!p->upstreams || !p->upstream_index || !p->tables || !p->listeners)
        return fail(b, "out of memory", SLICE("plan"));
    if (!build_sections(b, mpack_get(root, "codecs"))) return false;
    for (struct mpack_iter it = mpack_iter(ups); mpack_next(&it, &v);) {
        struct upstream *u = &p->upstreams[p->upstream_count];
        p->upstream_index[p->upstream_count++] = u;
        if (!build_upstream(b, u, v)) return false;
    }
    for (struct mpack_iter it = mpack_iter(tables); mpack_next(&it, &v);)
        if (!build_table(b, &p->tables[p->table_count++], v)) return false;
    for (struct mpack_iter it = mpack_iter(lis); mpack_next(&it, &v);)
        if (!build_listener(b, &p->listeners[p->listener_count++], v)) return false;
    return true;
}

struct plan *plan_new(const uint8_t *doc, size_t n, struct stats stats, char *err, size_t err_size) {
    struct plan *p = calloc(1, sizeof *p);
    struct mpack root;
    struct builder b = {p, err, err_size};
    snprintf(err, err_size, "malformed plan");
    if (!p) return NULL;
    p->refs = 1, p->stats = stats;
    p->doc = malloc(n ? n : 1), p->doc_size = n;
    if (p->doc) memcpy(p->doc, doc, n);
    if (!p->doc || mpack_open(slice_of(p->doc, n), &root) < 0 || !build(&b, root)) {
        plan_free(p);
        return NULL;
    }
    return p;
}

static void free_chain(struct chain *chain) {
    for (uint32_t i = 0; i < chain->service_count; i++) {
        struct service *s = &chain->services[i];
        if (s->options && s->codec->listener_free) s->codec->listener_free(s->options);
    }
    if (chain->tls) tls_server_free(chain->tls);
    free(chain->services);
    free(chain->names);
}

void plan_free(struct plan *p) {
    if (!p) return;
    for (uint32_t i = 0; i < p->listener_count; i++) {
        struct listener *l = &p->listeners[i];
        for (uint32_t k = 0; k < l->chain_count; k++) free_chain(&l->chains[k]);
        free(l->chains);
    }
    for (uint32_t i = 0; i < p->table_count; i++) route_table_free(p->tables[i].routes);
    for (uint32_t i = 0; i < p->upstream_count; i++) {
        struct upstream *u = &p->upstreams[i];
        if (u->tls) tls_client_free(u->tls);
        if (u->lb) lb_free(u->lb);
        if (u->options && u->codec->upstream_free) u->codec->upstream_free(u->options);
        free(u->endpoints);
        free(u->lb_endpoints);
    }
    for (uint32_t i = 0; i < p->section_count; i++)
        if (p->sections[i].codec->codec_free) p->sections[i].codec->codec_free(p->sections[i].section);
    free(p->listeners);
    free(p->tables);
    free(p->upstreams);
    free(p->upstream_index);
    free(p->doc);
    free(p);
}
