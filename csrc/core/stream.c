/* The two orders a stream stands in, and every way it can end. */
#include "stream.h"

#include "pool.h"

/* ---- lists ---- */

struct stream *stream_new(struct core *core, struct conn *down) {
    struct stream *s = slab_new(&core->streams);
    if (unlikely(!s)) return NULL;
    memset(s, 0, sizeof *s);
    s->core = core;
    s->plan = core->plan;
    plan_ref(s->plan);
    s->start_us = core->now_us;
    s->deadline_ms = UINT64_MAX;
    s->count = s->total = 1;
    s->down = down;
    if (down) {
        s->down_prev = down->tail;
        if (down->tail) down->tail->down_next = s;
        else down->head = s;
        down->tail = s;
        down->streams++;
    }
    return s;
}

static void stream_free(struct stream *s) {
    struct core *core = s->core;
    if (unlikely(s->request != NULL)) chunk_free(&core->chunks, s->request);
    if (unlikely(s->reply.bytes != 0)) queue_clear(&core->chunks, &s->reply);
    plan_unref(core, s->plan);
    slab_put(&core->streams, s);
}

void stream_attach(struct stream *s, struct conn *up) {
    s->up = up;
    s->up_next = NULL, s->up_prev = up->tail;
    if (up->tail) up->tail->up_next = s;
    else up->head = s;
    up->tail = s;
    up->streams++;
    struct endpoint *ep = up->endpoint;
    ep->inflight += s->count;
    if (ep->lb) ep->lb->inflight = ep->inflight;
    if (unlikely(s->deadline_ms < up->min_deadline_ms)) {
        up->min_deadline_ms = s->deadline_ms;
        conn_arm_timer(up);
    }
}

void stream_detach(struct stream *s) {
    struct conn *up = s->up;
    if (!up) return;
    if (s->up_prev) s->up_prev->up_next = s->up_next;
    else up->head = s->up_next;
    if (s->up_next) s->up_next->up_prev = s->up_prev;
    else up->tail = s->up_prev;
    up->streams--;
    struct endpoint *ep = up->endpoint;
    ep->inflight -= s->count;
    if (ep->lb) ep->lb->inflight = ep->inflight;
    s->up = NULL;
    if (unlikely(up->streams == 0 && up->retired && !up->owner)) conn_doom(up, FAIL_NONE + FAIL_DRAINING);
}

static void leave_down(struct stream *s) {
    struct conn *d = s->down;
    if (s->down_prev) s->down_prev->down_next = s->down_next;
    else d->head = s->down_next;
    if (s->down_next) s->down_next->down_prev = s->down_prev;
    else d->tail = s->down_prev;
    d->streams--;
    s->down = NULL, s->down_next = s->down_prev = NULL;
    if (!s->up) stream_free(s);
}

/* The first stream changed: hand over what was held for the new first one, pop all that are done. */
static void advance(struct conn *d) {
    for (struct stream *h; (h = d->head) != NULL;) {
        if (h->reply.bytes && !h->ops) {
            d->held -= h->reply.bytes;
            conn_send_queue(d, &h->reply);
        }
        if (!h->done) break;
        leave_down(h);
    }
    if (d->wait_below && d->streams < d->wait_below) conn_unpause(d, PAUSE_WAIT);
    if (d->full) conn_mark_dirty(d); /* held bytes may have become out bytes: let the flush judge */
    if (d->state == CONN_FINISHING && d->streams == 0) conn_mark_dirty(d);
}

/* The reply is complete: in its turn, or at once where order doesn't matter. */
static void end_down(struct stream *s, struct conn *d) {
    s->done = true;
    if (unlikely(s->unordered)) leave_down(s);
    if (likely(d->head == s || !d->head || d->head->done)) advance(d);
}

/* ---- sending ---- */

enum failure stream_send(struct stream *s, struct conn *up, const uint8_t *p, size_t n) {
    if (unlikely(up->state != CONN_OPEN)) { /* kept until the connection is ready: it never left */
        struct chunk *c = chunk_new(&up->core->chunks, n);
        if (!c) return FAIL_INTERNAL;
        memcpy(c->data, p, n);
        c->start = 0, c->end = (uint32_t)n;
        s->request = c, s->out_len = (uint32_t)n;
        stream_attach(s, up);
        return FAIL_NONE;
    }
    stream_attach(s, up);
    s->out_pos = up->out.base + up->out.bytes, s->out_len = (uint32_t)n;
    conn_send(up, p, n);
    return FAIL_NONE;
}

enum failure stream_dispatch(struct stream *s, const uint8_t *p, size_t n) {
    struct upstream *u = s->upstream;
    struct endpoint *skip = NULL;
    for (;;) {
        enum failure why = FAIL_NO_ENDPOINT;
        struct endpoint *ep = upstream_pick(u, s->hash, skip);
        if (unlikely(!ep)) return skip ? FAIL_CONNECT : why;
        struct conn *up = pool_shared(ep, s->lane_key, s->down ? s->down->id : 0, &why);
        if (likely(up != NULL)) {
            u->stat[UPSTREAM_requests_total] += s->count;
            ep->stat[ENDPOINT_requests_total] += s->count;
            return stream_send(s, up, p, n);
        }
        if (++s->attempt >= u->attempts) return why;
        skip = ep;
    }
}

/* ---- replies ---- */

/* A client that does not read must not hold up those who share its upstream connection, nor grow without bound:
 * over OUT_SLOW its connection is taken out of sharing; alone on it, it is paused (back-pressure), else its bytes pile up to
 * the listener's client_buffer and then it is closed. */
static void slow_client(struct conn *d, struct conn *up) {
    if (d->out.bytes + d->held > d->listener->client_buffer) {
        d->listener->stat[LISTENER_slow_clients]++;
        conn_doom(d, FAIL_SLOW_CLIENT);
        return;
    }
    if (!up || d->blocked || d->out.bytes < OUT_SLOW) return;
    if (!up->exclusive) pool_retire(up);
    for (struct stream *s = up->head; s; s = s->up_next)
        if (s->down != d && (s->down || s->ops)) return; /* others wait behind us: read on */
    d->blocked = up, d->blocked_gen = up->gen;
    conn_pause(up, PAUSE_PEER);
}

void stream_reply_slow(struct stream *s, const uint8_t *p, size_t n) {
    struct conn *d = s->down;
    if (!d || s->done || n == 0 || d->doom) return;
    if ((d->head == s || s->unordered) && s->reply.bytes == 0) {
        conn_send(d, p, n);
    } else {
        if (queue_append(&d->core->chunks, &s->reply, p, n) < 0) {
            conn_doom(d, FAIL_INTERNAL);
            return;
        }
        d->held += n;
        if (d->out.bytes + d->held >= OUT_HIGH && !d->full) d->full = true, conn_pause(d, PAUSE_OUT);
    }
    if (d->out.bytes + d->held >= OUT_SLOW) slow_client(d, s->up);
}

/* The operation of the reply at hand: replies come in the order of the requests. */
static void count_operation_error(struct stream *s, uint32_t i) {
    if (s->op_base && s->op[i]) s->op_base[s->op[i] + OPERATION_errors_total]++;
}

void stream_interject(struct conn *d, const uint8_t *p, size_t n) {
    struct stream *first = d->head, *s = first->down_next;
    if (!s || !s->interjected) {
        if (!(s = stream_new(d->core, d))) {
            conn_doom(d, FAIL_INTERNAL);
            return;
        }
        s->interjected = true;
        if (s->down_prev != first) { /* from the end of the list to its second place */
            struct stream *next = first->down_next;
            d->tail = s->down_prev, d->tail->down_next = NULL;
            s->down_prev = first, s->down_next = next;
            first->down_next = next->down_prev = s;
        }
    }
    s->done = false; /* while its bytes grow */
    stream_reply_slow(s, p, n);
    s->done = true;
}

void stream_count_one(struct stream *s) {
    struct upstream *u = s->upstream;
    if (likely(u != NULL)) {
        u->stat[UPSTREAM_responses_ok + s->status]++;
        stat_latency(u->stat + UPSTREAM_LATENCY, s->core->now_us - s->start_us);
    }
    if (unlikely(s->status != STATUS_OK)) count_operation_error(s, s->total - s->count);
}

void stream_end(struct stream *s) {
    struct conn *d = s->down;
    if (s->up) {
        if (likely(!s->expired)) stream_count_one(s);
        stream_detach(s);
    }
    if (unlikely(!d)) {
        stream_free(s);
        return;
    }
    end_down(s, d);
}

void stream_finish_down(struct stream *s) {
    if (s->down) end_down(s, s->down);
    else if (!s->up) stream_free(s);
}

void stream_abandon(struct stream *s) {
    s->ops = NULL, s->data = NULL;
    if (s->reply.bytes) queue_clear(&s->core->chunks, &s->reply);
    if (!s->up && !s->down) stream_free(s);
}

void stream_release_reply(struct stream *s) {
    s->ops = NULL;
    if (s->down) s->down->held += s->reply.bytes;
    else queue_clear(&s->core->chunks, &s->reply);
}

/* ---- failures ---- */

static void count_failure(struct stream *s, enum failure why) {
    if (s->down) s->down->listener->stat[LISTENER_FAILURES + why] += s->count;
    for (uint32_t i = s->total - s->count; i < s->total; i++) count_operation_error(s, i);
    if (why != FAIL_TIMEOUT || !s->upstream) return;
    s->upstream->stat[UPSTREAM_timeouts_total] += s->count;
    if (s->up) s->up->endpoint->stat[ENDPOINT_timeouts_total] += s->count;
}

void stream_fail_detail(struct stream *s, enum failure why, struct slice detail) {
    struct conn *d = s->down;
    count_failure(s, why);
    if (s->ops && s->ops->fail) {
        s->ops->fail(s, why);
        return;
    }
    if (s->ops) { /* what was collected for the codec is no reply */
        s->ops = NULL, s->data = NULL;
        queue_clear(&s->core->chunks, &s->reply);
    }
    if (d && s->started) /* half a reply has come: an error now would be taken for its rest */
        conn_doom(d, why);
    else if (d)
        for (uint32_t i = 0; i < s->count; i++) s->started = false, d->codec->reply_failure(s, why, detail);
    stream_finish_down(s);
}

void stream_fail(struct stream *s, enum failure why) { stream_fail_detail(s, why, (struct slice){NULL, 0}); }

void stream_orphan_all(struct conn *down) {
    struct core *core = down->core;
    down->wait_below = 0;
    while (down->head) {
        struct stream *s = down->head;
        struct conn *up = s->up;
        bool unsent = up && s->request != NULL && !s->ops; /* still ours: the server will never hear of it */
        if (s->ops && s->ops->orphan) s->ops->orphan(s);
        if (s->reply.bytes && !s->ops) queue_clear(&core->chunks, &s->reply);
        if (unsent) stream_detach(s);
        leave_down(s);
    }
    down->held = 0;
}

/* Sends again what never left; what may have been seen by the server fails. */
static void redispatch(struct stream *s, struct conn *lost, enum failure why) {
    struct core *core = lost->core;
    bool held = s->request != NULL;
    bool left = !held && s->out_pos < lost->out.base; /* of a run: any of it */
    struct chunk *bytes = s->request;
    s->request = NULL;
    if (why == FAIL_DENIED || !s->replayable || !s->upstream || left || s->expired ||
        ++s->attempt >= s->upstream->attempts)
        goto fail;
    if (!bytes && (bytes = chunk_new(&core->chunks, s->out_len)) != NULL) {
        queue_copy(&lost->out, s->out_pos, bytes->data, s->out_len);
        bytes->start = 0, bytes->end = s->out_len;
    }
    if (!bytes) goto fail;
    s->upstream->stat[UPSTREAM_retries_total]++;
    enum failure again = stream_dispatch(s, bytes->data, bytes->end);
    if (again == FAIL_NONE) {
        chunk_free(&core->chunks, bytes);
        return;
    }
    why = again;
fail:
    if (bytes) chunk_free(&core->chunks, bytes);
    if (s->ops && s->ops->lost && !s->expired && s->ops->lost(s, why)) return;
    if (s->expired ? !s->down : !s->down && !s->ops) stream_free(s);
    else if (!s->expired) stream_fail(s, why);
}

void stream_up_lost(struct conn *up, enum failure why) {
    while (up->head) {
        struct stream *s = up->head;
        stream_detach(s);
        redispatch(s, up, why);
    }
}

uint64_t stream_expire(struct conn *up, uint64_t now_ms) {
    uint64_t earliest = UINT64_MAX;
    bool live = false, hit = false;
    for (struct stream *s = up->head, *next; s; s = next) {
        next = s->up_next;
        if (s->expired) continue;
        if (s->deadline_ms > now_ms) {
            if (s->deadline_ms < earliest) earliest = s->deadline_ms;
            live |= s->down || s->ops;
            continue;
        }
        uint64_t later = s->ops && s->ops->due ? s->ops->due(s, now_ms) : 0;
        if (later > now_ms) {
            s->deadline_ms = later;
            if (later < earliest) earliest = later;
            live = true;
            continue;
        }
        hit |= up->codec->mode != POOL_MULTIPLEX;
        s->expired = true;
        if (s->down || s->ops) stream_fail(s, FAIL_TIMEOUT);
    }
    /* A server that lets the first one wait too long gets no further requests on this connection. */
    if (hit && !up->exclusive) pool_retire(up);
    if (up->retired && !up->owner && !live) conn_doom(up, FAIL_TIMEOUT);
    return earliest;
}
