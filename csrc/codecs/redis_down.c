/* Requests: from bytes to a stream on its way. The short way at the top of take() is what nearly every request goes. */
#include "redis.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the proxy's own answers ---- */

void redis_reply(struct conn *c, const void *p, size_t n) {
    struct redis_down *d = redis_down(c);
    if (d->special & (SPECIAL_SILENT | SPECIAL_SKIP)) {
        d->special &= ~(uint32_t)SPECIAL_SKIP;
        return;
    }
    if (c->streams == 0) {
        conn_send(c, p, n);
        return;
    }
    struct stream *s = stream_new(c->core, c);
    if (!s) {
        conn_doom(c, FAIL_INTERNAL);
        return;
    }
    stream_reply(s, p, n);
    stream_finish_down(s);
}

void redis_reply_text(struct conn *c, const char *fmt, ...) {
    char text[2048];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    redis_reply(c, text, min_size((size_t)n, sizeof text - 1));
}

static enum took refuse(const struct redis_request *q, enum failure why, const struct route *route) {
    q->down->listener->stat[LISTENER_FAILURES + why]++;
    redis_poison(q->down);
    if (route) route_stat(q->down, route)[ROUTE_failures_total]++;
    redis_reply_text(q->down, "-ERR mosnpy: %s\r\n", failure_text(why));
    return TOOK;
}

/* ---- choosing ---- */

bool redis_sharded(const struct upstream *u) {
    return u->endpoint_count > 1 && (u->policy == LB_RING_HASH || u->policy == LB_MAGLEV);
}

/* By key (its hash tag) unless the upstream names another attribute. */
uint64_t redis_hash(const struct upstream *u, const struct redis_request *q, struct slice key) {
    struct message msg = {q->down, q};
    struct attr_value v;
    if (u->hash_attr == ATTR_NONE || u->hash_attr == ATTR_resource || u->hash_attr == ATTR_CODEC + 2) {
        struct slice tag = redis_key_tag(key);
        return hash_bytes(tag.p, tag.n);
    }
    if (!attr_get(&msg, u->hash_attr, 0, &v)) return 0;
    return v.type == ATTR_INT    ? hash_mix((uint64_t)v.i)
           : v.type == ATTR_BOOL ? hash_mix(v.b)
                                 : hash_bytes(v.s.p, v.s.n);
}

struct upstream *redis_home_upstream(const struct redis_request *q, uint32_t *timeout_ms) {
    struct message msg = {q->down, q};
    struct route_table *table = q->down->service->table;
    const struct route *r = route_find(table, &msg);
    struct upstream *u = r ? route_upstream(r, &msg) : NULL;
    for (uint32_t i = route_count(table); !u && i-- > 0;) /* the catch-all stands last */
        if ((r = route_at(table, i))->action != ROUTE_REPLY) u = route_upstream(r, &msg);
    *timeout_ms = r && r->action != ROUTE_REPLY ? r->timeout_ms : 0;
    return u;
}

static inline uint16_t operation_of(const struct redis_command *cmd) {
    return cmd->stats <= UINT16_MAX ? (uint16_t)cmd->stats : 0;
}

struct stream *redis_stream(const struct redis_request *q, struct upstream *u, uint32_t timeout_ms) {
    struct conn *c = q->down;
    struct redis_down *d = redis_down(c);
    bool silent = unlikely(d->special & (SPECIAL_SILENT | SPECIAL_SKIP));
    struct stream *s = stream_new(c->core, silent ? NULL : c);
    if (unlikely(!s)) {
        conn_doom(c, FAIL_INTERNAL);
        return NULL;
    }
    if (silent) d->special &= ~(uint32_t)SPECIAL_SKIP;
    s->upstream = u;
    s->lane_key = redis_lane_of(d);
    if (timeout_ms) s->deadline_ms = c->core->now_ms + timeout_ms;
    if (q->cmd) s->op_base = c->core->stats.row, s->op[0] = operation_of(q->cmd);
    if (unlikely(d->resp == 3)) {
        s->part = redis_command_shape(q->cmd, q->r, q->p);
        s->tag = TAG_NONE;
    }
    return s;
}

static void mirror(const struct redis_request *q, const struct route *route, uint64_t lane_key) {
    struct core *core = q->down->core;
    if (core_random(core) % 1000000 >= route->mirror_ppm) return;
    struct stream *s = stream_new(core, NULL);
    if (!s) return;
    struct slice key = {NULL, 0};
    if (q->cmd) redis_first_key(q->cmd, q->r, q->p, &key);
    s->upstream = route->mirror, s->lane_key = lane_key, s->replayable = true;
    s->hash = redis_hash(route->mirror, q, key);
    if (route->timeout_ms) s->deadline_ms = core->now_ms + route->timeout_ms;
    if (stream_dispatch(s, q->p, q->n) == FAIL_NONE) route->mirror->stat[UPSTREAM_mirrored_total]++;
    else stream_abandon(s);
}

/* A pipelining client's next request over the same connection joins the run of the one before. */
static inline bool join(const struct redis_request *q, const struct upstream *u, const struct route *route) {
    struct conn *c = q->down;
    struct redis_down *d = redis_down(c);
    struct stream *last = c->tail;
    if (!last || u->endpoint_count != 1 || !q->cmd || route->mirror) return false;
    uint64_t deadline = route->timeout_ms ? c->core->now_ms + route->timeout_ms : UINT64_MAX;
    if (!stream_may_join(last, u, redis_lane_of(d), deadline) || (d->resp == 3 && redis_up(last->up)->resp2))
        return false;
    stream_join(last, operation_of(q->cmd), q->p, q->n);
    return true;
}

/* The short way: one shared connection, nothing to remember. */
static enum took forward(const struct redis_request *q, struct upstream *u, const struct route *route,
                         struct slice key) {
    struct stream *s = redis_stream(q, u, route->timeout_ms);
    if (unlikely(!s)) return CLOSE;
    s->replayable = true;
    s->route = route;
    if (unlikely(u->endpoint_count > 1)) s->hash = redis_hash(u, q, key);
    enum failure why = stream_dispatch(s, q->p, q->n);
    if (unlikely(why != FAIL_NONE)) {
        route_stat(q->down, route)[ROUTE_failures_total]++;
        stream_fail(s, why);
    } else if (unlikely(s->up->full)) {
        conn_pause(q->down, PAUSE_PEER); /* the server doesn't keep up: read no more until it does */
    }
    if (unlikely(route->mirror != NULL)) mirror(q, route, redis_lane_of(redis_down(q->down)));
    return TOOK;
}

void redis_unpause_clients(struct core *core) {
    for (struct conn *c = core->conns[DOWN]; c; c = c->next)
        if (c->codec == &redis_codec) conn_unpause(c, PAUSE_PEER);
}

static enum took local_route(const struct redis_request *q, const struct route *route) {
    q->down->listener->stat[LISTENER_local_replies]++;
    redis_poison(q->down);
    redis_reply_text(q->down, "-%.*s\r\n", (int)route->reply.n, (const char *)route->reply.p);
    return TOOK;
}

/* Every key must be routed like the first one, or the request is two requests. */
static bool keys_agree(const struct redis_request *q, const struct route *first) {
    struct redis_keys it;
    struct redis_request one = *q;
    struct message msg = {q->down, &one};
    redis_keys_begin(&it, q->cmd, q->r, q->p);
    if (!redis_keys_next(&it, &one.key)) return true;
    while (redis_keys_next(&it, &one.key))
        if (route_find(q->down->service->table, &msg) != first) return false;
    return true;
}

static bool splits(const struct redis_command *cmd) {
    return cmd->merge == REDIS_MERGE_SPLIT_ARRAY || cmd->merge == REDIS_MERGE_SPLIT_SUM ||
           cmd->merge == REDIS_MERGE_SPLIT_OK;
}

static bool many_keys(const struct redis_request *q) {
    return q->cmd && (q->cmd->last != q->cmd->first || q->cmd->finder);
}

/* A request whose keys don't all follow one route: taken apart if its command can be, refused if not. */
static enum took route_by_key(const struct redis_request *q, const struct route *route) {
    if (!splits(q->cmd) || (redis_down(q->down)->special & SPECIAL_MULTI) || q->large) {
        redis_reply_text(q->down, "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
        return TOOK;
    }
    return redis_sharded_request(q, NULL, route);
}

static enum took route_request(const struct redis_request *q) {
    struct conn *c = q->down;
    struct message msg = {c, q};
    struct redis_down *d = redis_down(c);
    const struct redis_command *cmd = q->cmd;
    const struct route *route = route_find(c->service->table, &msg);
    if (unlikely(!route)) return refuse(q, FAIL_NO_ROUTE, NULL);
    if (unlikely(q->large && route->mirror) && q->r->need <= redis_options(c)->collect)
        return COLLECT; /* longer: not mirrored */
    route_stat(c, route)[ROUTE_requests_total]++;
    if (unlikely(route->action == ROUTE_REPLY)) return local_route(q, route);
    if (unlikely(route->uses_resource && many_keys(q) && !keys_agree(q, route))) return route_by_key(q, route);
    struct upstream *u = route_upstream(route, &msg);
    if (unlikely(!u)) return refuse(q, FAIL_NO_ENDPOINT, route);
    struct slice key = {NULL, 0};
    bool sharded = u->endpoint_count > 1 && redis_sharded(u);
    if (likely(!d->special && !q->large &&
               (!cmd || cmd->class == REDIS_CLASS_PLAIN || cmd->class == REDIS_CLASS_LOCAL))) {
        if (likely(!sharded)) {
            if (join(q, u, route)) return TOOK;
            if (u->endpoint_count > 1 && cmd) redis_first_key(cmd, q->r, q->p, &key);
            return forward(q, u, route, key);
        }
        return redis_sharded_request(q, u, route);
    }
    if (d->special & (SPECIAL_MULTI | SPECIAL_LAZY) || (cmd && cmd->class == REDIS_CLASS_TRANSACTION))
        return redis_transaction(q, u, route->timeout_ms);
    enum redis_tag tag = redis_tag_of(q);
    bool blocking = redis_is_blocking(q);
    if (cmd) redis_first_key(cmd, q->r, q->p, &key);
    struct endpoint *ep = upstream_pick(u, redis_hash(u, q, key), NULL);
    if (blocking && sharded && ep && !redis_keys_on(q, u, ep)) {
        redis_reply_text(c, "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
        return TOOK;
    }
    if (tag != TAG_NONE || blocking || q->large || (ep && redis_pin_of(c, ep)))
        return redis_pinned(q, u, blocking ? 0 : route->timeout_ms, ep, tag);
    if (ep && !redis_pin_in_turn(c, ep, NULL)) return WAIT;
    return sharded ? redis_sharded_request(q, u, route) : forward(q, u, route, key);
}

/* ---- admission ---- */

static bool paused(const struct redis_request *q, struct redis_core *rc) {
    if (q->down->core->now_ms >= rc->pause_until_ms) return false;
    if (!rc->pause_all && q->cmd && !(q->cmd->flags & REDIS_WRITE)) return false;
    return !(q->cmd && q->cmd->class == REDIS_CLASS_SESSION);
}

/* Does this request go to the proxy itself? Inside a transaction or a subscription the server must see it. */
static bool is_local(const struct redis_request *q, const struct redis_down *d) {
    if (likely(!q->cmd || q->cmd->class == REDIS_CLASS_PLAIN)) return false;
    if (slice_eq(q->cmd->full_name, SLICE("QUIT")) || slice_eq(q->cmd->full_name, SLICE("RESET"))) return true;
    if (d->special & (SPECIAL_MULTI | SPECIAL_LAZY)) return false;
    for (struct conn *up = d->resp == 2 ? d->pins : NULL; up; up = redis_up(up)->next_pin) {
        const struct redis_up *u = redis_up(up);
        if (u->channels || u->patterns || u->shard_channels || u->monitor) return false;
    }
    return redis_arity_fits(q->cmd, q->r->argc) || q->cmd->parent || q->cmd->sub_count;
}

static enum took take(const struct redis_request *q) {
    struct conn *c = q->down;
    struct redis_down *d = redis_down(c);
    const struct redis_listener *l = redis_options(c);
    struct redis_core *rc = d->core;
    if (unlikely(c->streams >= l->pipeline)) {
        conn_wait(c, l->pipeline / 2, 0);
        return WAIT;
    }
    if (unlikely(rc->pause_until_ms) && paused(q, rc)) {
        conn_wait(c, 0, rc->pause_until_ms);
        return WAIT;
    }
    if (unlikely(d->special & SPECIAL_GUEST) && !(q->cmd && q->cmd->flags & REDIS_NOAUTH)) {
        c->listener->stat[LISTENER_requests_total]++;
        redis_reply_text(c, "-NOAUTH Authentication required.\r\n");
        return TOOK;
    }
    if (likely(q->cmd != NULL)) d->last = q->cmd, d->last_generation = c->listener->plan->generation;
    else if (resp_is_http(redis_arg(q, 0))) return CLOSE;
    enum took t = is_local(q, d) ? redis_local(q) : likely(q->cmd != NULL) ? PASS : redis_learn(q);
    if (likely(t == PASS)) t = route_request(q);
    if (likely(t == TOOK)) {
        c->listener->stat[LISTENER_requests_total]++;
        if (q->cmd && q->cmd->stats) c->core->stats.row[q->cmd->stats + OPERATION_requests_total]++;
    }
    return t;
}

/* ---- large requests ---- */

/* The head of a request too long to collect: sent on a connection of its own, the rest follows as it comes. */
#define HEAD_COLLECT (-3) /* beside FEED_CLOSE and FEED_FINISH */
static ssize_t take_head(struct conn *c, const uint8_t *p) {
    struct redis_down *d = redis_down(c);
    struct redis_request q = {.down = c, .r = &d->request, .p = p, .n = d->request.pos, .large = true};
    q.cmd = redis_table_resolve(redis_options(c)->table, q.r, p);
    enum took t = take(&q);
    if (t == WAIT) return 0;
    if (t == COLLECT) return HEAD_COLLECT;
    if (t == CLOSE) return FEED_CLOSE;
    d->body = true; /* without body_up (the request was refused) the rest is thrown away */
    return (ssize_t)d->request.pos;
}

static ssize_t take_body(struct conn *c, const uint8_t *p, size_t n) {
    struct redis_down *d = redis_down(c);
    bool done = false;
    ptrdiff_t k = resp_request_rest(&d->request, p, n, &done, &redis_options(c)->limits);
    if (k < 0) return k;
    if (d->body_up && k) {
        conn_send(d->body_up, p, (size_t)k);
        if (d->body_up->out.bytes >= OUT_LOW &&
            !done) { /* what the server doesn't take stays with the client, uncopied */
            d->body_up->full = true;
            conn_pause(c, PAUSE_PEER);
        }
    }
    if (done) {
        struct stream *s = d->body_stream;
        if (s && d->body_up && d->body_timeout_ms) {
            s->deadline_ms = c->core->now_ms + d->body_timeout_ms;
            if (s->deadline_ms < d->body_up->min_deadline_ms)
                d->body_up->min_deadline_ms = s->deadline_ms, conn_arm_timer(d->body_up);
        }
        d->body = false, d->body_up = NULL, d->body_stream = NULL;
        resp_request_reset(&d->request);
    }
    return k;
}

/* May this large request be passed on head first? Not when it must be taken apart or looked through. */
static bool must_collect(struct conn *c, const uint8_t *p) {
    struct redis_down *d = redis_down(c);
    const struct redis_command *cmd = redis_table_resolve(redis_options(c)->table, &d->request, p);
    if (d->special & (SPECIAL_GUEST | SPECIAL_LAZY)) return true;
    return !cmd || cmd->class != REDIS_CLASS_PLAIN || splits(cmd) || d->request.known < 2;
}

/* ---- feed ---- */

static ssize_t protocol_error(struct conn *c) {
    char text[RESP_ERROR_REPLY_MAX];
    struct slice reply = resp_error_reply(&redis_down(c)->request, text);
    redis_down(c)->special &= ~(uint32_t)(SPECIAL_SILENT | SPECIAL_SKIP);
    redis_reply(c, reply.p, reply.n);
    return FEED_FINISH;
}

static enum took take_inline(struct conn *c, const uint8_t *p, size_t n) {
    struct redis_down *d = redis_down(c);
    struct redis_core *rc = redis_core_of(c->core);
    const struct resp_limits *lim = d->special & SPECIAL_GUEST ? &redis_options(c)->guest : &redis_options(c)->limits;
    struct resp_out *out = &rc->inline_request;
    resp_out_clear(out);
    ptrdiff_t k = resp_inline_encode(&d->request, slice_of(p, n), out, lim);
    if (k < 0) return CLOSE;
    if (k == 0) return TOOK;
    struct resp_request r = {0};
    struct resp_limits whole = *lim;
    whole.stream_above = UINT32_MAX;
    if (resp_request_parse(&r, out->p, out->n, &whole) != (ptrdiff_t)out->n) return CLOSE;
    struct redis_request q = {.down = c, .r = &r, .p = out->p, .n = out->n};
    q.cmd = redis_table_resolve(redis_options(c)->table, &r, out->p);
    return take(&q);
}

/* Clients say the same word again and again: a name of three or four letters is compared with the one before. Behind it stands
 * "\r\n", so four bytes are there to be read, and the '\r' tells three from four. */
static inline const struct redis_command *command_of(struct conn *c, struct redis_down *d, const uint8_t *p) {
    uint32_t word = 0, len = d->request.arg[0].len;
    uint64_t generation = c->listener->plan->generation;
    if (likely(len - 3 < 2)) {
        memcpy(&word, p + d->request.arg[0].off, sizeof word);
        if (likely(word == d->cached_word && d->cached && d->cached_generation == generation)) return d->cached;
    }
    const struct redis_command *cmd = redis_table_resolve(redis_options(c)->table, &d->request, p);
    bool whole_name = word && cmd && !cmd->sub_count && !cmd->parent;
    d->cached = whole_name ? cmd : NULL, d->cached_word = word, d->cached_generation = generation;
    return cmd;
}

/* One whole request at p. */
static inline enum took take_frame(struct conn *c, const uint8_t *p, size_t n) {
    struct redis_down *d = redis_down(c);
    if (unlikely(d->request.argc == 0)) return d->request.form == RESP_INLINE ? take_inline(c, p, n) : TOOK;
    struct redis_request q = {.down = c, .r = &d->request, .p = p, .n = n};
    q.cmd = command_of(c, d, p);
    return take(&q);
}

ssize_t redis_down_feed(struct conn *c, const uint8_t *p, size_t n) {
    struct redis_down *d = redis_down(c);
    size_t taken = 0;
    if (unlikely(d->special & SPECIAL_RAW)) {
        if (d->pins) conn_send(d->pins, p, n);
        return (ssize_t)n;
    }
    while (taken < n && !c->paused && c->state == CONN_OPEN && !c->doom) {
        if (unlikely(d->body)) {
            ptrdiff_t k = take_body(c, p + taken, n - taken);
            if (k < 0) return FEED_CLOSE;
            taken += (size_t)k;
            continue;
        }
        const struct redis_listener *l = redis_options(c);
        struct resp_limits collect;
        const struct resp_limits *lim = unlikely(d->special & SPECIAL_GUEST) ? &l->guest : &l->limits;
        ptrdiff_t k = resp_request_parse(&d->request, p + taken, n - taken, lim);
        if (unlikely(k == 0 && d->request.large)) {
            ssize_t head = must_collect(c, p + taken) ? HEAD_COLLECT : take_head(c, p + taken);
            if (head == 0) break;
            if (head > 0) {
                taken += (size_t)head;
                continue;
            }
            if (head != HEAD_COLLECT) return head;
            collect = *lim, collect.stream_above = l->collect;
            k = resp_request_parse(&d->request, p + taken, n - taken, &collect);
            if (k == 0 && d->request.large && d->request.need > l->collect) {
                redis_reply_text(c, "-ERR mosnpy: request too large to be taken apart\r\n");
                return FEED_FINISH;
            }
        }
        if (k == 0) {
            c->need = d->request.need;
            break;
        }
        if (unlikely(k < 0)) return protocol_error(c);
        enum took t = take_frame(c, p + taken, (size_t)k);
        if (unlikely(t == CLOSE)) return d->request.error ? protocol_error(c) : FEED_CLOSE;
        resp_request_reset(&d->request);
        if (unlikely(t == WAIT)) break;
        taken += (size_t)k;
        c->wait_expired = false;
    }
    return (ssize_t)taken;
}
