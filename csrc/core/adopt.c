/* A plan takes force; endpoints live on from plan to plan; failures and health decide who is usable. */
#include "conn.h"
#include "pool.h"
#include "stream.h"
#include "tls_config.h"

#include <stdio.h>
#include <stdlib.h>

#define RETRY_BASE_MS 25u  /* first pause between connection attempts to one endpoint */
#define RETRY_MAX_MS 5000u /* and the longest, when it is not ejected anyway */

/* ---- endpoints ---- */

/* Identity over reloads: the upstream's name and the address, and how it is spoken to: a connection opened without TLS must not be
 * used where a new plan wants it. */
static struct endpoint *find_or_make(struct core *core, struct upstream *u, struct endpoint_spec *spec) {
    char key[512];
    int n =
        snprintf(key, sizeof key, "%.*s %s %.*s %u %llx", (int)min_size(u->name.n, 200), u->name.p, u->codec->name,
                 (int)min_size(spec->name.n, 200), spec->name.p, (unsigned)hash_bytes(&spec->addr, sizeof spec->addr),
                 u->tls ? (unsigned long long)tls_client_print(u->tls) : 0);
    for (struct endpoint *ep = core->endpoints; ep; ep = ep->next)
        if (strcmp(ep->key, key) == 0) return ep;
    struct endpoint *ep = calloc(1, sizeof *ep);
    if (!ep || !(ep->key = strndup(key, (size_t)n))) {
        free(ep);
        return NULL;
    }
    snprintf(ep->name, sizeof ep->name, "%.*s", (int)min_size(spec->name.n, sizeof ep->name - 1), spec->name.p);
    ep->core = core, ep->addr = spec->addr, ep->addr_len = spec->addr_len;
    ep->waiters_tail = &ep->waiters, ep->queued_tail = &ep->queued;
    ep->next = core->endpoints, core->endpoints = ep;
    return ep;
}

static void adopt_upstream(struct core *core, struct upstream *u, bool first) {
    for (uint32_t i = 0; i < u->endpoint_count; i++) {
        struct endpoint_spec *spec = &u->endpoints[i];
        struct endpoint *ep = find_or_make(core, u, spec);
        if (!(spec->runtime = ep)) continue;
        ep->refs++;
        ep->upstream = u, ep->lb = &u->lb_endpoints[i], ep->health_slot = spec->health_slot;
        ep->stat = plan_stat(u->plan, spec->stat_base, ENDPOINT_SLOTS);
        ep->lb->inflight = ep->inflight;
        if (first)
            ep->stat[ENDPOINT_requests_active] = ep->stat[ENDPOINT_connections_active] = ep->stat[ENDPOINT_ejected] = 0;
    }
}

/* The service of the new plan that stands for the one `c` has; NULL: there is none. */
static const struct service *same_service(const struct chain *chain, const struct conn *c) {
    for (uint32_t i = 0; i < chain->service_count; i++)
        if (chain->services[i].codec == c->service->codec) return &chain->services[i];
    return NULL;
}

static const struct chain *same_chain(const struct listener *l, const struct conn *c) {
    for (uint32_t i = 0; i < l->chain_count; i++)
        if (slice_eq(l->chains[i].name, c->chain->name)) return &l->chains[i];
    return NULL;
}

/* Clients go on under the new plan's listener of the same id; without one they are let finish. */
static void move_clients(struct core *core, struct plan *p) {
    for (struct conn *c = core->conns[DOWN], *next; c; c = next) {
        next = c->next;
        struct listener *l = plan_listener(p, c->listener->id);
        const struct chain *chain = l ? same_chain(l, c) : NULL;
        const struct service *service = chain && c->service ? same_service(chain, c) : NULL;
        if (!chain || (c->service && !service)) {
            if (c->codec->drain) c->codec->drain(c);
            if (c->codec->mode == POOL_MULTIPLEX || c->streams) core->leaving = true;
            else conn_finish(c);
            continue;
        }
        struct plan *old = c->listener->plan;
        if (l->stat != c->listener->stat) /* another name at the same address */
            c->listener->stat[LISTENER_connections_active]--, l->stat[LISTENER_connections_active]++;
        c->listener = l, c->chain = chain, c->service = service;
        plan_ref(p);
        plan_unref(core, old);
        conn_arm_timer(c);
    }
}

void plan_adopt(struct core *core, struct plan *p) {
    struct plan *old = core->plan;
    core->plan = p;
    for (struct endpoint *ep = core->endpoints; ep; ep = ep->next) ep->upstream = NULL, ep->lb = NULL;
    for (uint32_t i = 0; i < p->upstream_count; i++) adopt_upstream(core, &p->upstreams[i], !old);
    for (uint32_t i = 0; !old && i < p->listener_count; i++) {
        uint64_t *stat = p->listeners[i].stat; /* gauges of a predecessor that died are not ours */
        stat[LISTENER_connections_active] = stat[LISTENER_requests_active] = 0;
    }
    endpoint_refresh(core);
    move_clients(core, p);
    if (old) plan_unref(core, old);
}

void plan_unref(struct core *core, struct plan *p) {
    if (likely(--p->refs)) return;
    (void)core;
    for (uint32_t i = 0; i < p->upstream_count; i++)
        for (uint32_t k = 0; k < p->upstreams[i].endpoint_count; k++) {
            struct endpoint *ep = p->upstreams[i].endpoints[k].runtime;
            if (!ep) continue;
            ep->refs--;
            if (ep->upstream == &p->upstreams[i]) ep->upstream = NULL, ep->lb = NULL;
        }
    plan_free(p);
}

/* ---- choosing ---- */

struct endpoint *upstream_pick(struct upstream *u, uint64_t hash, const struct endpoint *skip) {
    int avoid = -1;
    if (likely(u->endpoint_count == 1 && !skip)) {
        struct endpoint *only = u->endpoints[0].runtime;
        if (likely(u->lb_endpoints[0].usable)) return only;
    }
    if (skip && skip->lb >= u->lb_endpoints && skip->lb < u->lb_endpoints + u->endpoint_count)
        avoid = (int)(skip->lb - u->lb_endpoints);
    int i = lb_pick(u->lb, hash, avoid);
    return i < 0 ? NULL : u->endpoints[i].runtime;
}

/* ---- health ---- */

static bool healthy(struct core *core, const struct endpoint *ep) {
    return !core->health || ep->health_slot >= core->health_slots || core->health[ep->health_slot] == 0;
}

void endpoint_refresh(struct core *core) {
    for (struct endpoint *ep = core->endpoints; ep; ep = ep->next) {
        if (ep->ejected_until_ms && core->now_ms >= ep->ejected_until_ms) ep->ejected_until_ms = 0;
        if (ep->lb) ep->lb->usable = healthy(core, ep) && !ep->ejected_until_ms;
    }
}

void endpoint_connected(struct endpoint *ep) {
    ep->failures = ep->ejections = 0;
    ep->retry_at_ms = 0;
    if (!ep->ejected_until_ms) return;
    ep->ejected_until_ms = 0; /* tried in a panic, and it lives */
    if (ep->lb) ep->lb->usable = healthy(ep->core, ep);
}

/* Doubling pause with jitter between half and all of it, so that workers don't knock in step. */
static uint64_t backoff(struct core *core, uint32_t base, uint32_t max, uint32_t failures) {
    uint64_t ms = (uint64_t)base << (failures > 16 ? 16 : failures);
    if (ms > max) ms = max;
    return ms / 2 + core_random(core) % (ms / 2 + 1);
}

void endpoint_failed(struct endpoint *ep) {
    struct core *core = ep->core;
    struct upstream *u = ep->upstream;
    ep->stat[ENDPOINT_connect_failures]++;
    ep->retry_at_ms = core->now_ms + backoff(core, RETRY_BASE_MS, RETRY_MAX_MS, ep->failures);
    ep->failures++;
    if (!u || !u->eject_failures || ep->failures < u->eject_failures) return;
    ep->ejected_until_ms = core->now_ms + backoff(core, u->eject_base_ms, u->eject_max_ms, ep->ejections++);
    ep->stat[ENDPOINT_ejections_total]++;
    if (ep->lb) ep->lb->usable = false;
}
