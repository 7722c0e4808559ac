/* The life of an exchange: what may happen in which order, and every way it can end. How it finds its upstream connection, or another
 * one, is in exchange_connect.c, what the request's head goes through in http_request.c, the proxy's own answers in http_reply.c. */
#include "exchange.h"

#include <stdlib.h>

#include "../core/pool.h"
#include "grpc_web.h"

#define EARLY_MAX 65536u /* body bytes taken before the upstream connection is there; then the client is paused */
#define FOREVER_MS (365ull * 24 * 3600 * 1000)

struct http_state *http_state(struct core *core) {
    void **at = &core->shared[SHARED_HTTP];
    if (likely(*at != NULL)) return *at;
    struct http_state *state = calloc(1, sizeof *state);
    if (!state) return NULL;
    slab_init(&state->exchanges, sizeof(struct exchange));
    state->arena = (struct http_arena){state->strings, sizeof state->strings, 0};
    return *at = state;
}

void http_core_close(void *p) {
    struct http_state *state = p;
    slab_free(&state->exchanges);
    free(state);
}

/* ---- birth and end ---- */

static struct exchange *make(struct core *core, struct conn *down, const struct http_down_side *side,
                             const struct http_options *options) {
    struct http_state *state = http_state(core);
    struct exchange *x = state ? slab_new(&state->exchanges) : NULL;
    struct stream *s = x ? stream_new(core, down) : NULL;
    if (!s) {
        if (x) slab_put(&state->exchanges, x);
        return NULL;
    }
    memset(x, 0, offsetof(struct exchange, small));
    x->s = s, x->core = core, x->down = down, x->dv = side, x->options = options;
    x->hard_deadline_ms = UINT64_MAX;
    x->active_ms = core->now_ms;
    s->ops = &exchange_ops, s->data = x;
    s->unordered = down && down->codec->mode == POOL_MULTIPLEX;
    return x;
}

struct exchange *exchange_new(struct conn *down, const struct http_down_side *side) {
    return make(down->core, down, side, http_options(down));
}

struct exchange *exchange_new_detached(const struct exchange *like, const struct http_down_side *side) {
    return make(like->core, NULL, side, like->options);
}

static void drop_head(struct exchange *x) {
    if (x->kept != x->small) free(x->kept);
    if (x->late.fields) free(x->late.fields);
    x->kept = NULL, x->kept_len = 0, x->late = (struct http_trailers){NULL, 0};
}

static void drop_kept(struct exchange *x) {
    drop_head(x);
    if (x->early.bytes) queue_clear(&x->core->chunks, &x->early);
}

static void exchange_free(struct exchange *x) {
    drop_kept(x);
    for (int i = 0; i < 2; i++) { /* of connections that were lost */
        if (unlikely(x->leg[i].waiting.head != NULL)) queue_clear(&x->core->chunks, &x->leg[i].waiting);
        if (unlikely(x->leg[i].tail != NULL)) free(x->leg[i].tail);
    }
    if (x->mirror) http_mirror_leave(x);
    http_edit_free(x->response_edits);
    if (x->web) grpc_web_free(x->web);
    slab_put(&http_state(x->core)->exchanges, x);
}

/* x no longer has an upstream connection. One that carries other requests in order can't be cut: it gets the response
 * all the same and throws it away. */
static void leave_up(struct exchange *x, enum failure why) {
    struct stream *s = x->s;
    struct conn *up = x->up;
    if (s->queued) pool_unqueue(s);
    if (!up) return;
    if (!s->up) { /* the connection is lost already */
        x->up = NULL;
        return;
    }
    bool in_line = up->codec->mode == POOL_PING_PONG && !up->exclusive;
    if (x->begun && in_line) {
        if (x->response_paused) x->uv->resume(x); /* others wait behind it */
        x->up = NULL;
        s->ops = NULL, s->data = NULL, s->tag = x->method;
        return;
    }
    if (x->begun) x->uv->cancel(x, why);
    x->up = NULL;
    stream_detach(s);
    if (!x->begun && up->state == CONN_OPEN && up->exclusive) pool_give_back(up);
    if (!up->exclusive) pool_serve(up->endpoint);
}

void exchange_finish(struct exchange *x) {
    struct stream *s = x->s;
    struct conn *up = x->up;
    if (up && s->up) {
        stream_count_one(s);
        stream_detach(s);
        x->up = NULL;
        x->uv->release(x, up, x->request == X_DONE && x->response == X_DONE);
        if (!up->exclusive) pool_serve(up->endpoint);
    }
    s->ops = NULL, s->data = NULL;
    x->dv->done(x);
    exchange_free(x);
    stream_finish_down(s);
}

/* Ends x without a complete response. */
static void abandon(struct exchange *x, enum failure why) {
    struct stream *s = x->s;
    leave_up(x, why);
    s->ops = NULL, s->data = NULL;
    x->dv->done(x);
    exchange_free(x);
}

/* ---- time ---- */

void exchange_set_deadline(struct exchange *x, uint64_t when_ms) {
    struct stream *s = x->s;
    s->deadline_ms = when_ms < x->hard_deadline_ms ? when_ms : x->hard_deadline_ms;
    if (s->up && s->deadline_ms < s->up->min_deadline_ms) {
        s->up->min_deadline_ms = s->deadline_ms;
        conn_arm_timer(s->up);
    }
}

static uint64_t idle_deadline(const struct exchange *x) {
    uint32_t idle = x->options->stream_idle_ms;
    return x->active_ms + (idle ? idle : FOREVER_MS);
}

/* The request is complete: the time for the response's head begins. */
static void await_head(struct exchange *x) {
    uint32_t timeout = x->s->route ? x->s->route->timeout_ms : 0;
    x->head_deadline_ms = x->core->now_ms + (timeout ? timeout : FOREVER_MS);
    exchange_set_deadline(x, x->head_deadline_ms);
}

static uint64_t due(struct stream *s, uint64_t now_ms) {
    struct exchange *x = s->data;
    if (now_ms >= x->hard_deadline_ms) return 0;
    bool waiting = x->response == X_HEAD && x->request == X_DONE;
    uint64_t later = waiting ? x->head_deadline_ms : idle_deadline(x);
    if (later > x->hard_deadline_ms) later = x->hard_deadline_ms;
    return later > now_ms ? later : 0;
}

/* ---- request ---- */

static void pause_request(struct exchange *x) {
    if (x->request_paused || x->request >= X_DONE) return;
    x->request_paused = true;
    x->dv->pause(x);
}

static void resume_request(struct exchange *x) {
    if (!x->request_paused) return;
    x->request_paused = false;
    x->dv->resume(x);
}

void exchange_request_full(struct exchange *x) {
    if (x->request_paused || x->request == X_DONE) return;
    x->request_paused = true;
    x->dv->pause(x);
}
void exchange_request_drained(struct exchange *x) { resume_request(x); }

static void keep_body(struct exchange *x, const uint8_t *p, size_t n) {
    if (x->body_left || (exchange_keeps_body(x, n) && queue_append(&x->core->chunks, &x->early, p, n) == 0)) return;
    x->body_left = true;
    if (x->early.bytes) queue_clear(&x->core->chunks, &x->early);
}

void exchange_request_data(struct exchange *x, const uint8_t *p, size_t n) {
    x->request_bytes += n, x->active_ms = x->core->now_ms;
    if (unlikely(x->options->max_body && x->request_bytes > x->options->max_body && x->request != X_TUNNEL)) {
        exchange_bad_request(x, 413, "the body is larger than this listener allows");
        return;
    }
    if (unlikely(x->web != NULL)) grpc_web_request(x, p, n);
    else exchange_hand_over(x, p, n);
}

bool exchange_hand_over(struct exchange *x, const uint8_t *p, size_t n) {
    if (n == 0) return true;
    if (unlikely(x->mirror != NULL)) http_mirror_data(x, p, n);
    if (likely(x->begun && !x->withheld)) {
        keep_body(x, p, n);
        x->uv->data(x, p, n);
        return true;
    }
    if (queue_append(&x->core->chunks, &x->early, p, n) < 0) {
        exchange_bad_request(x, 503, "out of memory");
        return false;
    }
    if (x->early.bytes >= EARLY_MAX) pause_request(x);
    return true;
}

/* One block: the fields, then their bytes. */
static void keep_trailers(struct exchange *x, struct http_trailers t) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < t.count; i++) bytes += t.fields[i].name.n + t.fields[i].value.n;
    struct http_field *to = t.count ? malloc(t.count * sizeof *to + bytes) : NULL;
    if (!to) return;
    uint8_t *p = (uint8_t *)(to + t.count);
    for (uint32_t i = 0; i < t.count; i++) {
        struct http_field *f = &to[i];
        *f = t.fields[i];
        memcpy(p, f->name.p, f->name.n), f->name.p = p, p += f->name.n;
        if (f->value.n) memcpy(p, f->value.p, f->value.n);
        f->value.p = p, p += f->value.n;
    }
    x->late = (struct http_trailers){to, t.count};
}

void exchange_request_end(struct exchange *x, struct http_trailers trailers) {
    bool tunnel = x->request == X_TUNNEL;
    if (x->mirror) http_mirror_end(x, trailers);
    x->request = X_DONE, x->request_done = true, x->active_ms = x->core->now_ms;
    if (tunnel) {
        x->uv->end(x, trailers);
        if (x->response == X_DONE) exchange_finish(x);
        return;
    }
    if (x->response == X_HEAD) await_head(x);
    if (!x->begun || exchange_keeps_body(x, 0)) keep_trailers(x, trailers);
    if (x->begun) x->uv->end(x, trailers);
}

void exchange_drop(struct exchange *x) {
    struct stream *s = x->s;
    abandon(x, FAIL_CLIENT_GONE);
    stream_finish_down(s);
}

void exchange_client_gone(struct exchange *x) {
    x->down->listener->stat[LISTENER_FAILURES + FAIL_CLIENT_GONE]++;
    exchange_drop(x);
}

void exchange_bad_request(struct exchange *x, uint16_t status, const char *text) {
    if (!x->down) {
        exchange_drop(x);
        return;
    }
    x->down->listener->stat[LISTENER_FAILURES + FAIL_BAD_REQUEST]++;
    leave_up(x, FAIL_BAD_REQUEST);
    if (x->response == X_HEAD) {
        exchange_answer(x, status, slice_of(text, strlen(text)));
        return;
    }
    x->dv->reset(x, FAIL_BAD_REQUEST);
    exchange_finish(x);
}

/* ---- response ---- */

static void open_tunnel(struct exchange *x) {
    x->request = x->response = X_TUNNEL;
    x->body_left = true;
}

/* What the client said before, and that it was all. Clients of HTTP/1 say nothing until they have the answer. */
static void catch_up(struct exchange *x) {
    resume_request(x);
    if (x->withheld) x->withheld = false, exchange_send_early(x);
    if (x->version == 20 && x->request_done) exchange_request_end(x, (struct http_trailers){NULL, 0});
}

static void judge(struct exchange *x, const struct http_head *h) {
    const struct http_field *f = x->grpc ? http_find(h, HN_GRPC_STATUS) : NULL;
    x->status = h->status;
    x->s->status = h->status >= 500 ? STATUS_SERVER_ERROR : h->status >= 400 ? STATUS_CLIENT_ERROR : STATUS_OK;
    if (f) x->s->status = grpc_stream_status(f->value);
}

/* Passed on as they come, but for a client that reads none: nothing holds back a server that sends no end of them. The one that is
 * waited for never lies behind others. */
static void interim(struct exchange *x, struct http_head *h) {
    bool awaited = h->status == 100 && x->want_continue;
    if (h->status == 100) x->want_continue = false;
    if (x->version >= 11 && (awaited || (x->down && !conn_full(x->down)))) x->dv->head(x, h, false);
}

/* A response that can't be passed on, though its server has nothing to be told of. */
static void refuse_response(struct exchange *x) {
    x->uv->cancel(x, FAIL_BAD_REPLY);
    exchange_upstream_failed(x, FAIL_BAD_REPLY, false);
}

void exchange_response(struct exchange *x, struct http_head *h, bool end) {
    x->active_ms = x->core->now_ms;
    if (h->status < 200 && h->status != 101) {
        interim(x, h);
        return;
    }
    if (h->status == 101 && (!x->upgrade || end)) { /* nobody asked */
        refuse_response(x);
        return;
    }
    if (unlikely(x->withheld && x->upgrade && h->status / 100 == 2)) { /* RFC 8441 §5: 101 is what 200 means there */
        refuse_response(x);
        return;
    }
    judge(x, h);
    if (unlikely(x->withheld)) drop_head(x);
    else drop_kept(x);
    if (x->options->via.n) http_response_via(x, h);
    if (x->response_edits && http_edit_response(x->response_edits, h) != 0) {
        refuse_response(x);
        return;
    }
    if (x->web) grpc_web_response(x, h);
    bool tunnel = h->status == 101 || (x->method == HTTP_CONNECT && h->status / 100 == 2 && !end);
    if (tunnel) open_tunnel(x);
    else x->response = end ? X_DONE : X_BODY;
    exchange_set_deadline(x, idle_deadline(x));
    x->dv->head(x, h, end);
    if (end) exchange_finish(x);
    else if (tunnel) catch_up(x);
}

void exchange_response_data(struct exchange *x, const uint8_t *p, size_t n) {
    x->response_bytes += n, x->active_ms = x->core->now_ms;
    if (unlikely(x->web != NULL)) grpc_web_response_data(x, p, n);
    else x->dv->data(x, p, n);
}

void exchange_response_end(struct exchange *x, struct http_trailers trailers) {
    bool tunnel = x->response == X_TUNNEL;
    x->response = X_DONE, x->active_ms = x->core->now_ms;
    if (x->grpc)
        for (uint32_t i = 0; i < trailers.count; i++)
            if (trailers.fields[i].id == HN_GRPC_STATUS) x->s->status = grpc_stream_status(trailers.fields[i].value);
    if (unlikely(x->web != NULL)) grpc_web_response_end(x, &trailers);
    x->dv->end(x, trailers);
    if (tunnel && x->request != X_DONE) return; /* the client may still have something to say */
    exchange_finish(x);
}

void exchange_response_full(struct exchange *x) {
    if (x->response_paused || !x->up || !x->begun || x->response == X_DONE) return;
    x->response_paused = true;
    x->uv->pause(x);
}

void exchange_response_drained(struct exchange *x) {
    if (!x->response_paused) return;
    x->response_paused = false;
    if (x->up) x->uv->resume(x);
}

/* ---- failures ---- */

/* The client's side of a failure: an error while none of the response has left, else a reset. x is over afterwards. */
static void fail_down(struct exchange *x, enum failure why) {
    if (x->response == X_HEAD) {
        exchange_reply_failure(x, why, SLICE(""));
        return;
    }
    x->dv->reset(x, why);
    exchange_finish(x);
}

static void failed(struct stream *s, enum failure why) {
    struct exchange *x = s->data;
    leave_up(x, why);
    if (!x->down) { /* a mirror: nobody to tell */
        exchange_drop(x);
        return;
    }
    if (s->route) route_stat(x->down, s->route)[ROUTE_failures_total]++;
    fail_down(x, why);
}

static void orphaned(struct stream *s) { abandon(s->data, FAIL_CLIENT_GONE); }

static bool lost(struct stream *s, enum failure why) {
    struct exchange *x = s->data;
    struct conn *up = x->up;
    x->up = NULL;
    return exchange_retry(x, up, why, false);
}

void exchange_upstream_failed(struct exchange *x, enum failure why, bool unseen) {
    struct stream *s = x->s;
    struct conn *up = x->up;
    if (s->up) {
        stream_detach(s);
        x->up = NULL;
        if (exchange_retry(x, up, why, unseen)) return;
    }
    stream_fail(s, why);
}

const struct stream_ops exchange_ops = {
    .fail = failed, .orphan = orphaned, .ready = exchange_ready, .lost = lost, .due = due, .turn = exchange_turn};
