/* HTTP/2 clients: requests come by stream, several at once, and their responses leave in whatever order they are there. */
#include "http2.h"

#include <stdlib.h>

#define SWEEP_MS 1000u
#define LEAVE_MS 3000u
#define BODY_RATE 500u /* bytes that buy a request body another second */

/* ---- requests ---- */

/* A request that is not taken: nothing of it was looked at. */
static void refuse(struct conn *c, uint32_t id, enum http2_error code) {
    http2_remember(http2(c), id, PAST_RESET);
    if (!http2_flooded(c, FLOOD_ERROR)) http2_reset(c, id, code);
}

static void arm_sweep(struct conn *c) {
    struct http2 *s = http2(c);
    if (s->sweep_ms) return;
    http2_look_by(c, s->sweep_ms = c->core->now_ms + SWEEP_MS);
}

static struct exchange *new_stream(struct conn *c, uint32_t id, uint64_t announced, bool end) {
    struct http2 *s = http2(c);
    struct exchange *x = exchange_new(c, &http2_down_side);
    if (!x) return NULL;
    struct http_leg *leg = &x->leg[DOWN];
    bool strict = s->acked || s->stream_window > HTTP2_WINDOW_FIRST;
    leg->id = id;
    leg->send_window = (int32_t)s->peer_window;
    leg->recv_window = strict ? (int32_t)s->stream_window : HTTP2_WINDOW_FIRST;
    leg->announced = announced;
    leg->flags = end ? LEG_IN_ENDED : 0;
    if (unlikely(http2_add(s, leg) < 0)) {
        leg->id = 0;
        exchange_client_gone(x);
        return NULL;
    }
    if (!end) arm_sweep(c);
    return x;
}

static void answer_too_large(struct conn *c, uint32_t id, bool end) {
    struct exchange *x = new_stream(c, id, UINT64_MAX, end);
    c->listener->stat[LISTENER_FAILURES + FAIL_BAD_REQUEST]++;
    if (!x) {
        refuse(c, id, H2_REFUSED_STREAM);
        return;
    }
    x->version = 20, x->request = X_DONE, x->request_done = end;
    exchange_answer(x, 431, SLICE("the request's head is too large"));
}

static void request(struct conn *c, uint32_t id, uint32_t count, bool end) {
    struct http_state *state = http_state(c->core);
    struct http_head h;
    enum http2_malformed why = http2_request(state->fields, count, countof(state->fields), end,
                                             http2(c)->connect_protocol, &http2_state(c->core)->arena, &h);
    if (unlikely(why == H2M_NO_ROOM)) {
        answer_too_large(c, id, end);
        return;
    }
    if (unlikely(why)) {
        c->listener->stat[LISTENER_FAILURES + FAIL_BAD_REQUEST]++;
        refuse(c, id, H2_PROTOCOL_ERROR);
        return;
    }
    struct exchange *x = new_stream(c, id, h.body == HTTP_LENGTH ? h.length : UINT64_MAX, end);
    if (unlikely(!x)) refuse(c, id, H2_REFUSED_STREAM);
    else exchange_request(x, &h, end);
}

static void trailers(struct conn *c, struct http_leg *leg, uint32_t count, bool too_large, bool end) {
    struct http_state *state = http_state(c->core);
    enum http2_malformed why = too_large ? H2M_NO_ROOM : http2_trailers(state->fields, count);
    struct exchange *x = http2_exchange(leg, DOWN);
    if (leg->flags & LEG_IN_ENDED) {
        http2_down_broken(c, leg, H2_STREAM_CLOSED, "HEADERS behind the end of the request");
    } else if (!end || why) { /* §8.1: whatever follows the head ends the request */
        http2_down_broken(c, leg, H2_PROTOCOL_ERROR,
                          end ? http2_malformed_text(why) : "HEADERS in the middle of a body");
    } else if (leg->announced != UINT64_MAX && leg->received != leg->announced) {
        http2_down_broken(c, leg, H2_PROTOCOL_ERROR, "the body is shorter than its content-length");
    } else {
        leg->flags |= LEG_IN_ENDED;
        if (x) exchange_request_end(x, (struct http_trailers){state->fields, count});
    }
}

/* HEADERS for a stream that was there once, or was passed over (§5.1, §5.1.1). */
static void late(struct conn *c, uint32_t id) {
    switch (http2_past(http2(c), id)) {
    case PAST_RESET: return; /* sent before it knew */
    case PAST_UNKNOWN:
        if (!http2_flooded(c, FLOOD_ERROR)) http2_reset(c, id, H2_STREAM_CLOSED);
        return;
    case PAST_GONE:
    case PAST_ENDED: http2_fail(c, H2_STREAM_CLOSED); return;
    case PAST_NEVER: http2_fail(c, H2_PROTOCOL_ERROR); return;
    }
}

void http2_down_block(struct conn *c, uint32_t id, struct http_leg *leg, const uint8_t *block, size_t n, bool end) {
    struct http2 *s = http2(c);
    const struct http_options *o = http_options(c);
    uint32_t count = 0;
    bool too_large = false;
    if (unlikely(!(id & 1))) {
        http2_fail(c, H2_PROTOCOL_ERROR);
        return;
    }
    int error = http2_decode(c, block, n, leg ? o->limits.trailers : o->limits.head,
                             o->limits.fields + HTTP2_PSEUDO_MAX, &count, &too_large);
    if (unlikely(error)) {
        http2_fail(c, (enum http2_error)error);
        return;
    }
    if (unlikely(leg != NULL)) {
        trailers(c, leg, count, too_large, end);
        return;
    }
    if (unlikely(id > s->goaway_id)) return; /* the client knows, or will: it was not processed */
    if (unlikely(id <= s->last_id)) {
        late(c, id);
        return;
    }
    s->last_id = id;
    if (unlikely(s->count >= o->max_streams)) refuse(c, id, H2_REFUSED_STREAM);
    else if (unlikely(too_large)) answer_too_large(c, id, end);
    else request(c, id, count, end);
}

void http2_down_broken(struct conn *c, struct http_leg *leg, enum http2_error code, const char *text) {
    struct exchange *x = http2_exchange(leg, DOWN);
    if (http2_flooded(c, FLOOD_ERROR)) return;
    http2_reset(c, leg->id, code);
    http2_remove(c, leg, PAST_RESET);
    if (x) exchange_bad_request(x, 400, text);
    http2_maybe_finish(c);
}

void http2_down_gone(struct conn *c, struct http_leg *leg) {
    struct exchange *x = http2_exchange(leg, DOWN);
    http2_remove(c, leg, PAST_GONE);
    if (x) exchange_client_gone(x);
    http2_maybe_finish(c);
}

/* ---- responses ---- */

/* RFC 8441 §5: to a client of HTTP/2 a protocol switched to is a 200 without what HTTP/1 says of it. */
static uint16_t switched(struct http_head *h) {
    for (uint32_t i = 0; i < h->count; i++)
        if (http_is(h->fields[i].name, "sec-websocket-accept")) h->fields[i].drop = true;
    return 200;
}

static void send_head(struct exchange *x, struct http_head *h, bool end) {
    struct conn *c = x->down;
    struct http_leg *leg = &x->leg[DOWN];
    uint16_t status = likely(h->status != 101) ? h->status : switched(h);
    if (unlikely(leg->id == 0)) return;
    struct http2_writer w = http2_block_begin(c, 16 + http2_fields_bound(h->fields, h->count));
    if (unlikely(!w.at)) {
        http2_reset(c, leg->id, H2_INTERNAL_ERROR);
        http2_remove(c, leg, PAST_RESET);
        return;
    }
    uint8_t *to = http2_put_fields(hpack_encode_status(w.at, status), h->fields, h->count);
    http2_block_end(c, w, to, leg->id, end);
    if (end) leg->flags |= LEG_OUT_ENDED;
}

static void send_data(struct exchange *x, const uint8_t *p, size_t n) {
    if (n) http2_send_data(x->down, &x->leg[DOWN], p, n);
}

static void send_end(struct exchange *x, struct http_trailers t) { http2_send_end(x->down, &x->leg[DOWN], t); }

/* What the client is told of a response that breaks off: what the upstream said if it said something fitting, else by the cause. */
static enum http2_error code_of(const struct exchange *x, enum failure why) {
    uint32_t told = x->leg[UP].flags >> 8;
    if (why == FAIL_UPSTREAM_RESET && told) {
        enum http2_error code = (enum http2_error)(told - 1);
        if (code == H2_CANCEL || code == H2_ENHANCE_YOUR_CALM || code == H2_HTTP_1_1_REQUIRED) return code;
    }
    return why == FAIL_BAD_REQUEST                           ? H2_PROTOCOL_ERROR
           : why == FAIL_TIMEOUT || why == FAIL_DRAINING     ? H2_CANCEL
           : why == FAIL_OVERFLOW || why == FAIL_SLOW_CLIENT ? H2_ENHANCE_YOUR_CALM
                                                             : H2_INTERNAL_ERROR;
}

static void reset(struct exchange *x, enum failure why) {
    struct http_leg *leg = &x->leg[DOWN];
    if (leg->id == 0) return;
    http2_reset(x->down, leg->id, code_of(x, why));
    http2_remove(x->down, leg, PAST_RESET);
}

/* The response is complete but for what waits for windows: that stays, the exchange goes. */
static bool leave_rest(struct conn *c, struct http_leg *leg) {
    struct http2 *s = http2(c);
    struct http2_rest *rest = malloc(sizeof *rest);
    if (!rest) return false;
    bool listed = leg->listed;
    http2_resume(c, leg);
    if (listed) http2_delist(s, leg);
    rest->leg = *leg, rest->active_ms = c->core->now_ms;
    rest->leg.flags = (uint16_t)((leg->flags | LEG_REST) & ~LEG_FULL);
    http2_replace(s, leg->id, &rest->leg);
    if (listed) http2_enlist(s, &rest->leg);
    memset(leg, 0, sizeof *leg);
    arm_sweep(c);
    return true;
}

static void done(struct exchange *x) {
    struct conn *c = x->down;
    struct http_leg *leg = &x->leg[DOWN];
    struct http2 *s = http2(c);
    if (leg->id == 0) return;
    bool alive = s->phase != H2_FAILED && c->state != CONN_DEAD && !c->doom;
    if (likely(leg->flags & LEG_OUT_ENDED)) {
        bool whole = leg->flags & LEG_IN_ENDED;
        if (unlikely(!http2_received_all(leg) && alive))
            http2_reset(c, leg->id, H2_NO_ERROR); /* §8.1: no more of this request, please */
        http2_remove(c, leg, whole ? PAST_ENDED : PAST_RESET);
    } else if (!alive || !leg->end_waiting) {
        if (alive) http2_reset(c, leg->id, H2_INTERNAL_ERROR);
        http2_remove(c, leg, PAST_RESET);
    } else if (!leave_rest(c, leg)) {
        http2_reset(c, leg->id, H2_INTERNAL_ERROR);
        http2_remove(c, leg, PAST_RESET);
    }
    if (unlikely(s->goaway_sent || s->goaway_seen)) http2_maybe_finish(c);
}

static void pause(struct exchange *x) { http2_pause(x->down, &x->leg[DOWN]); }
static void resume(struct exchange *x) { http2_resume(x->down, &x->leg[DOWN]); }

const struct http_down_side http2_down_side = {.head = send_head,
                                               .data = send_data,
                                               .end = send_end,
                                               .reset = reset,
                                               .pause = pause,
                                               .resume = resume,
                                               .done = done};

/* ---- time, and the end ---- */

/* True: this stream was ended. */
static bool too_slow(struct conn *c, struct http_leg *leg) {
    const struct http_options *o = http_options(c);
    uint64_t now = c->core->now_ms;
    if (leg->flags & LEG_REST) {
        uint64_t since = container_of(leg, struct http2_rest, leg)->active_ms;
        if (!o->stream_idle_ms || now < since + o->stream_idle_ms) return false;
        http2_reset(c, leg->id, H2_CANCEL);
        http2_remove(c, leg, PAST_RESET);
        return true;
    }
    struct exchange *x = http2_exchange(leg, DOWN);
    /* A call of gRPC may stream for as long as it likes; so may whoever is answered already. */
    bool body =
        !(leg->flags & LEG_IN_ENDED) && x->request == X_BODY && x->response == X_HEAD && !leg->paused && !x->grpc;
    uint64_t until = x->body_start_ms + o->body_timeout_ms + x->request_bytes * 1000 / BODY_RATE;
    if (!body || !o->body_timeout_ms || now < until) return false;
    c->listener->stat[LISTENER_idle_timeouts]++;
    exchange_bad_request(x, 408, "the request's body took too long");
    return true;
}

/* Bodies that come too slowly, rests nobody takes, clients that don't answer a PING. */
static void sweep(struct conn *c) {
    struct http2 *s = http2(c);
    bool any = false;
    for (uint32_t i = 0; i < s->capacity; i++) {
        struct http_leg *leg = s->slots[i].leg;
        if (!s->slots[i].id) continue;
        if (too_slow(c, leg)) { /* slots have moved */
            i = UINT32_MAX, any = false;
            continue;
        }
        any |= (leg->flags & LEG_REST) || !(leg->flags & LEG_IN_ENDED);
    }
    if (s->leaving && !s->goaway_sent) {
        if (c->core->now_ms >= s->leave_ms) http2_goaway_final(c);
        else any = true;
    }
    s->sweep_ms = any ? c->core->now_ms + SWEEP_MS : 0;
    http2_maybe_finish(c);
}

void http2_down_drain(struct conn *c) {
    struct http2 *s = http2(c);
    if (s->phase == H2_UNOPENED || s->phase == H2_FAILED || s->leaving || c->state != CONN_OPEN) return;
    s->leaving = true, s->leave_ms = c->core->now_ms + LEAVE_MS;
    http2_goaway(c, HTTP2_ID_MAX, H2_NO_ERROR);
    http2_control(c, H2_PING, 0, 0, http2_leave_ping, 8);
    arm_sweep(c);
}

void http2_down_late(struct conn *c, enum http2_error code) {
    c->listener->stat[LISTENER_idle_timeouts]++;
    http2(c)->feeding = true; /* it is not doomed: the GOAWAY is to leave */
    http2_fail(c, code);
    stream_orphan_all(c);
    conn_finish(c);
}

void http2_down_overdue(struct conn *c) {
    struct http2 *s = http2(c);
    uint64_t now = c->core->now_ms;
    if (s->deadline_ms && now >= s->deadline_ms) http2_down_late(c, H2_ENHANCE_YOUR_CALM);
    else if (s->sweep_ms && now >= s->sweep_ms) sweep(c);
}

/* A client of HTTP/2 that has sent FIN is gone: it could neither open windows nor acknowledge anything. What is written already may
 * still reach it. */
void http2_down_eof(struct conn *c) {
    if (c->truncated) {
        conn_doom(c, FAIL_CLIENT_GONE);
        return;
    }
    http2(c)->phase = H2_FAILED;
    stream_orphan_all(c);
    conn_finish(c);
}

/* While draining: until the client has heard of it and its streams are through. */
bool http2_down_busy(const struct conn *c) {
    const struct http2 *s = (const struct http2 *)c->session;
    if (!c->core->draining || c->side != DOWN || s->phase < H2_WANT_SETTINGS || s->phase == H2_FAILED) return false;
    return !s->goaway_sent || s->count;
}
