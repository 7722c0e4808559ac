/* Which upstream connection takes a request, and what becomes of it afterwards. */
#include "pool.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "stream.h"
#include "tls.h"

#define LANE_IDLE_MAX 64u      /* exclusive connections kept for the next borrower */
#define MULTIPLEX_STREAMS 100u /* until the server says how many (RFC 9113 6.5.2: not less is asked for) */
#define LANE_UNUSED_MS 60000u  /* an empty lane (a database, an identity nobody uses) is forgotten after this */

/* ---- lanes ---- */

struct lane *pool_lane(struct endpoint *ep, uint64_t key) {
    struct lane **at = &ep->lanes;
    while (*at && (*at)->key != key) at = &(*at)->next;
    struct lane *lane = *at;
    if (lane) {
        if (at != &ep->lanes) { /* move to front: most clients use the same few */
            *at = lane->next;
            lane->next = ep->lanes, ep->lanes = lane;
        }
        return lane;
    }
    lane = calloc(1, sizeof *lane);
    if (!lane) return NULL;
    lane->endpoint = ep, lane->key = key;
    lane->next = ep->lanes, ep->lanes = lane;
    return lane;
}

/* Slots for `count` shared connections; fewer after a reload retire the rest. */
static bool lane_resize(struct lane *lane, uint32_t count) {
    for (uint32_t i = count; i < lane->shared_count; i++)
        if (lane->shared[i]) pool_retire(lane->shared[i]);
    struct conn **shared = realloc(lane->shared, count * sizeof *shared);
    if (!shared) return false;
    for (uint32_t i = lane->shared_count; i < count; i++) shared[i] = NULL;
    lane->shared = shared, lane->shared_count = count;
    return true;
}

/* ---- opening ---- */

/* Of HTTP/1 the shared connections, too (pipelining): they may be all there are, and would leave no place to others for ever. */
static struct conn *find_idle(const struct lane *lane) {
    if (lane->idle) return lane->idle;
    for (uint32_t i = 0; i < lane->shared_count; i++) {
        struct conn *c = lane->shared[i];
        if (c && c->codec->mode == POOL_PING_PONG && c->state == CONN_OPEN && c->streams == 0) return c;
    }
    return NULL;
}

static bool close_one_idle(struct endpoint *ep) {
    for (struct lane *lane = ep->lanes; lane; lane = lane->next) {
        struct conn *c = find_idle(lane);
        if (!c) continue;
        conn_close(c, FAIL_NONE);
        return true;
    }
    return false;
}

static struct conn *open_connection(struct lane *lane, bool exclusive, enum failure *why) {
    struct endpoint *ep = lane->endpoint;
    struct core *core = ep->core;
    *why = FAIL_CONNECT;
    if (core->now_ms < ep->retry_at_ms) return NULL;
    int fd = socket(ep->addr.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    if (fd < 0) return NULL; /* out of descriptors: the request fails, the endpoint is not to blame */
    if (ep->addr.sa.sa_family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, &ep->addr.sa, ep->addr_len) < 0 && errno != EINPROGRESS) {
        close(fd);
        endpoint_failed(ep);
        return NULL;
    }
    struct conn *c = conn_new(core, ep->upstream->codec, UP, fd, CONN_CONNECTING);
    if (!c) return NULL;
    c->endpoint = ep, c->lane = lane, c->exclusive = exclusive;
    if (c->codec->mode == POOL_MULTIPLEX) c->max_streams = MULTIPLEX_STREAMS;
    ep->connections++, lane->connections++;
    ep->upstream->stat[UPSTREAM_connections_total]++;
    if (ep->upstream->tls && !tls_prepare(c, ep->upstream->tls)) conn_doom(c, FAIL_CONNECT);
    conn_arm_timer(c);
    return c;
}

/* ---- shared ---- */

struct conn *pool_shared(struct endpoint *ep, uint64_t key, uint64_t affinity, enum failure *why) {
    struct upstream *u = ep->upstream;
    struct lane *lane = likely(ep->lanes && ep->lanes->key == key) ? ep->lanes : pool_lane(ep, key);
    *why = FAIL_NO_ENDPOINT;
    if (unlikely(!u || !lane)) return NULL;
    if (unlikely(lane->shared_count != u->connections) && !lane_resize(lane, u->connections)) return NULL;
    uint32_t slot = lane->shared_count == 1 ? 0 : (uint32_t)(affinity % lane->shared_count);
    struct conn *c = lane->shared[slot];
    if (likely(c != NULL)) {
        if (likely(c->state == CONN_OPEN || c->streams < u->max_pending)) return c;
        *why = FAIL_OVERFLOW;
        return NULL;
    }
    *why = FAIL_OVERFLOW;
    if (ep->connections >= u->max_connections && !close_one_idle(ep)) return NULL;
    c = open_connection(lane, false, why);
    if (c) c->lane_slot = slot, lane->shared[slot] = c;
    return c;
}

/* ---- exclusive ---- */

static void wait_for(struct endpoint *ep, struct conn *owner) {
    owner->waiting_for = ep, owner->wait_next = NULL;
    *ep->waiters_tail = owner, ep->waiters_tail = &owner->wait_next;
    conn_wait(owner, 0, owner->core->now_ms + (ep->upstream ? ep->upstream->connect_timeout_ms : 1000));
}

void pool_cancel_wait(struct conn *down) {
    struct endpoint *ep = down->waiting_for;
    if (!ep) return;
    struct conn **at = &ep->waiters;
    while (*at && *at != down) at = &(*at)->wait_next;
    if (*at && !(*at = down->wait_next)) ep->waiters_tail = at;
    down->waiting_for = NULL, down->wait_next = NULL;
}

void pool_wake_waiter(struct endpoint *ep) {
    struct conn *down = ep->waiters;
    if (!down) return;
    pool_cancel_wait(down);
    conn_unpause(down, PAUSE_WAIT);
}

struct conn *pool_borrow(struct endpoint *ep, uint64_t key, struct conn *owner, enum failure *why) {
    struct upstream *u = ep->upstream;
    struct lane *lane = pool_lane(ep, key);
    *why = FAIL_NO_ENDPOINT;
    if (!u || !lane) return NULL;
    struct conn *c = lane->idle;
    if (c) {
        lane->idle = c->wait_next, lane->idle_count--;
        c->wait_next = NULL;
    } else if (ep->connections < u->max_connections || close_one_idle(ep)) {
        c = open_connection(lane, true, why);
    } else if (owner->wait_expired) {
        *why = FAIL_OVERFLOW;
    } else {
        *why = FAIL_NONE;
        wait_for(ep, owner);
    }
    if (c) c->owner = owner, lane->used_ms = c->core->now_ms;
    return c;
}

/* ---- one request each, or several by id ---- */

struct conn *pool_take(struct endpoint *ep, uint64_t key, enum failure *why) {
    struct upstream *u = ep->upstream;
    struct lane *lane = likely(ep->lanes && ep->lanes->key == key) ? ep->lanes : pool_lane(ep, key);
    *why = FAIL_NO_ENDPOINT;
    if (!u || !lane) return NULL;
    struct conn *c = lane->idle;
    if (likely(c != NULL)) {
        lane->idle = c->wait_next, lane->idle_count--;
        c->wait_next = NULL;
        return c;
    }
    *why = FAIL_OVERFLOW;
    if (ep->connections >= u->max_connections && !close_one_idle(ep)) return NULL;
    return open_connection(lane, true, why);
}

struct conn *pool_multiplex(struct endpoint *ep, uint64_t key, enum failure *why) {
    struct upstream *u = ep->upstream;
    struct lane *lane = likely(ep->lanes && ep->lanes->key == key) ? ep->lanes : pool_lane(ep, key);
    *why = FAIL_NO_ENDPOINT;
    if (!u || !lane) return NULL;
    if (unlikely(lane->shared_count != u->connections) && !lane_resize(lane, u->connections)) return NULL;
    uint32_t empty = UINT32_MAX;
    for (uint32_t i = 0; i < lane->shared_count; i++) {
        struct conn *c = lane->shared[i];
        if (likely(c && c->streams < c->max_streams)) return c;
        if (!c && empty == UINT32_MAX) empty = i;
    }
    *why = FAIL_OVERFLOW;
    if (empty == UINT32_MAX || (ep->connections >= u->max_connections && !close_one_idle(ep))) return NULL;
    struct conn *c = open_connection(lane, false, why);
    if (c) c->lane_slot = empty, lane->shared[empty] = c;
    return c;
}

/* ---- standing in line ---- */

enum failure pool_queue(struct endpoint *ep, struct stream *s) {
    if (!ep->upstream || ep->queued_count >= ep->upstream->max_pending) return FAIL_OVERFLOW;
    s->queued = true, s->queued_at = ep;
    if (unlikely(ep->serving)) { /* it had its turn for nothing and keeps its place */
        if (!(s->up_next = ep->queued)) ep->queued_tail = &s->up_next;
        ep->queued = s;
    } else {
        s->up_next = NULL;
        *ep->queued_tail = s, ep->queued_tail = &s->up_next;
    }
    ep->queued_count++;
    return FAIL_NONE;
}

void pool_unqueue(struct stream *s) {
    struct endpoint *ep = s->queued_at;
    if (!s->queued) return;
    struct stream **at = &ep->queued;
    while (*at && *at != s) at = &(*at)->up_next;
    if (*at && !(*at = s->up_next)) ep->queued_tail = at;
    ep->queued_count--;
    s->queued = false, s->queued_at = NULL, s->up_next = NULL;
}

void pool_serve(struct endpoint *ep) {
    uint32_t before;
    if (likely(!ep->queued) || ep->serving) return;
    ep->serving = true;
    do { /* who fails, or goes elsewhere, leaves the place to the next; who comes back has found none */
        struct stream *s = ep->queued;
        before = ep->queued_count;
        pool_unqueue(s);
        s->ops->turn(s, ep);
    } while (ep->queued && ep->queued_count < before);
    ep->serving = false;
}

/* Those whose time is over; all of them when the endpoint is in no plan any more. */
static void expire_queue(struct endpoint *ep, uint64_t now) {
    for (struct stream *s = ep->queued; s;) {
        if (ep->upstream && s->deadline_ms > now) {
            s = s->up_next;
            continue;
        }
        pool_unqueue(s);
        stream_fail(s, ep->upstream ? FAIL_TIMEOUT : FAIL_NO_ENDPOINT);
        s = ep->queued; /* its copy for a mirror may have left with it */
    }
}

/* ---- back, or not ---- */

/* One request at a time needs as many connections as there were requests at once; idle_timeout clears them away. */
static uint32_t idle_max(const struct conn *up) {
    return up->codec->mode == POOL_PING_PONG ? up->endpoint->upstream->max_connections : LANE_IDLE_MAX;
}

void pool_give_back(struct conn *up) {
    struct lane *lane = up->lane;
    struct endpoint *ep = up->endpoint;
    up->owner = NULL;
    if (up->state == CONN_DEAD) return;
    if (up->retired || !ep->upstream || up->state != CONN_OPEN || up->streams || lane->idle_count >= idle_max(up) ||
        up->eof || up->hangup) {
        conn_doom(up, FAIL_DRAINING);
        return;
    }
    up->wait_next = lane->idle, lane->idle = up, lane->idle_count++;
    lane->used_ms = up->active_ms = up->core->now_ms;
    pool_wake_waiter(ep);
    pool_serve(ep);
}

/* ---- leaving ---- */

/* True: anybody might have had it. */
static bool leave_lane(struct conn *up) {
    struct lane *lane = up->lane;
    if (!up->exclusive) {
        if (up->lane_slot >= lane->shared_count || lane->shared[up->lane_slot] != up) return false;
        lane->shared[up->lane_slot] = NULL;
        return up->state == CONN_OPEN && up->streams == 0;
    }
    struct conn **at = &lane->idle;
    while (*at && *at != up) at = &(*at)->wait_next;
    bool idle = *at != NULL;
    if (idle) *at = up->wait_next, lane->idle_count--;
    up->wait_next = NULL;
    return idle;
}

void pool_retire(struct conn *up) {
    if (up->retired) return;
    up->retired = true;
    leave_lane(up);
    if (up->streams == 0 && !up->owner) conn_doom(up, FAIL_DRAINING);
}

bool pool_forget(struct conn *up) {
    up->lane->connections--, up->endpoint->connections--;
    return leave_lane(up);
}

static void lane_free(struct lane *lane) {
    free(lane->shared);
    free(lane);
}

static void sweep_lanes(struct endpoint *ep, uint64_t now) {
    uint32_t idle_ms = ep->upstream ? ep->upstream->idle_timeout_ms : 0;
    for (struct lane **at = &ep->lanes, *lane; (lane = *at) != NULL;) {
        for (struct conn *c = lane->idle, *next; c; c = next) {
            next = c->wait_next;
            if (!ep->upstream || (idle_ms && now >= c->active_ms + idle_ms)) conn_close(c, FAIL_NONE);
        }
        if (!ep->upstream)
            for (uint32_t i = 0; i < lane->shared_count; i++)
                if (lane->shared[i]) pool_retire(lane->shared[i]);
        if (lane->connections) lane->used_ms = now;
        if (lane->connections == 0 && (!ep->upstream || now >= lane->used_ms + LANE_UNUSED_MS)) {
            *at = lane->next;
            lane_free(lane);
        } else {
            at = &lane->next;
        }
    }
}

void pool_sweep(struct core *core) {
    for (struct endpoint **at = &core->endpoints, *ep; (ep = *at) != NULL;) {
        sweep_lanes(ep, core->now_ms);
        if (ep->queued) expire_queue(ep, core->now_ms);
        if (!ep->upstream)
            while (ep->waiters) pool_wake_waiter(ep);
        if (ep->refs == 0 && ep->connections == 0 && !ep->lanes) {
            *at = ep->next;
            tls_drop_session(ep);
            free(ep->key);
            free(ep);
        } else {
            at = &ep->next;
        }
    }
}
