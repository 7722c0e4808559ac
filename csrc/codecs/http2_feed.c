/* What comes in on an HTTP/2 connection of either side, frame by frame. DATA is passed on as its bytes come; of everything else a
 * whole frame is waited for. */
#include "http2.h"

#include <stdlib.h>

/* ---- DATA ---- */

static void take_payload(struct conn *c, const uint8_t *p, size_t n) {
    struct http2 *s = http2(c);
    uint32_t id = s->data_id;
    struct http_leg *leg = id ? http2_find(s, id) : NULL;
    if (!leg) return;
    leg->received += n;
    if (unlikely(leg->received > leg->announced)) {
        http2_broken(c, leg, H2_PROTOCOL_ERROR, "the body is longer than its content-length");
        return;
    }
    struct exchange *x = http2_exchange(leg, c->side);
    if (c->side == UP) exchange_response_data(x, p, n);
    else if (x) exchange_request_data(x, p, n);
    if ((leg = http2_find(s, id)) != NULL) http2_credit(c, leg, (uint32_t)n);
}

/* END_STREAM on DATA. */
static void end_stream(struct conn *c, struct http_leg *leg) {
    static const struct http_trailers none = {NULL, 0};
    leg->flags |= LEG_IN_ENDED;
    if (unlikely(leg->announced != UINT64_MAX && leg->received != leg->announced)) {
        http2_broken(c, leg, H2_PROTOCOL_ERROR, "the body is shorter than its content-length");
        return;
    }
    struct exchange *x = http2_exchange(leg, c->side);
    if (c->side == UP) exchange_response_end(x, none);
    else if (x) exchange_request_end(x, none);
}

static void data_done(struct conn *c) {
    struct http2 *s = http2(c);
    struct http_leg *leg = s->data_end && s->data_id ? http2_find(s, s->data_id) : NULL;
    s->data_id = 0;
    if (leg) end_stream(c, leg);
}

/* DATA for a stream that is not open. False: the connection has failed. */
static bool stray_data(struct conn *c, uint32_t id) {
    struct http2 *s = http2(c);
    if (http2_idle(s, id) && !(c->side == DOWN && id & 1 && id > s->goaway_id)) {
        http2_fail(c, H2_PROTOCOL_ERROR);
        return false;
    }
    if (id > s->goaway_id) return true;
    switch (http2_past(s, id)) {
    case PAST_RESET: return true; /* sent before it knew */
    case PAST_GONE:
    case PAST_UNKNOWN:
        if (http2_flooded(c, FLOOD_ERROR)) return false;
        http2_reset(c, id, H2_STREAM_CLOSED);
        return true;
    default: http2_fail(c, H2_STREAM_CLOSED); return false;
    }
}

/* The stream may take this frame? Else it is broken and the frame's bytes are thrown away. */
static bool may_take(struct conn *c, struct http_leg *leg, const struct http2_frame *f, uint32_t payload) {
    bool unexpected = c->side == UP && (!(leg->flags & LEG_HEAD_SEEN) || (leg->flags & LEG_NO_BODY && payload));
    if (likely(!(leg->flags & LEG_IN_ENDED) && (int64_t)f->length <= leg->recv_window && !unexpected)) return true;
    enum http2_error code = leg->flags & LEG_IN_ENDED ? H2_STREAM_CLOSED
                            : unexpected              ? H2_PROTOCOL_ERROR
                                                      : H2_FLOW_CONTROL_ERROR;
    http2_broken(c, leg, code, "unexpected DATA");
    return false;
}

/* p: behind the frame's head; its pad length is there if it has one. */
static void begin_data(struct conn *c, const struct http2_frame *f, const uint8_t *p) {
    struct http2 *s = http2(c);
    uint32_t padded = f->flags & H2_PADDED ? 1 : 0, pad = padded ? p[0] : 0;
    if (pad + padded > f->length) {
        http2_fail(c, H2_PROTOCOL_ERROR); /* §6.1 */
        return;
    }
    if ((int64_t)f->length > s->recv_window) {
        http2_fail(c, H2_FLOW_CONTROL_ERROR);
        return;
    }
    s->recv_window -= f->length;
    s->data_left = f->length - pad - padded, s->data_pad = pad, s->data_end = f->flags & H2_END_STREAM;
    s->data_id = 0;
    struct http_leg *leg = http2_find(s, f->id);
    if (leg && may_take(c, leg, f, s->data_left)) {
        s->data_id = f->id;
        leg->recv_window -= (int32_t)f->length;
        if (pad + padded) http2_credit(c, leg, pad + padded);
    } else if (!leg && !stray_data(c, f->id)) {
        return;
    }
    if (f->length) http2_credit_connection(c, f->length);
    if (unlikely(s->data_left == 0 && !s->data_end) && http2_flooded(c, FLOOD_EMPTY)) return;
    if (s->data_left == 0 && s->data_pad == 0) data_done(c);
}

/* The DATA frame at hand goes on: its bytes are passed on as they come, none wait for the rest of the frame. */
static size_t more_data(struct conn *c, const uint8_t *p, size_t n) {
    struct http2 *s = http2(c);
    size_t some = min_size(n, s->data_left), skip = min_size(n - some, s->data_pad);
    s->data_left -= (uint32_t)some;
    if (s->data_left == 0) s->data_pad -= (uint32_t)skip;
    else skip = 0;
    if (some) take_payload(c, p, some);
    if (s->data_left == 0 && s->data_pad == 0 && s->phase != H2_FAILED) data_done(c);
    return some + skip;
}

/* ---- header blocks ---- */

static const struct http1_limits *limits_of(const struct conn *c) {
    static const struct http1_limits orphan = {.head = 65536, .fields = 100, .trailers = 16384};
    if (c->side == DOWN) return &http_options(c)->limits;
    const struct http_upstream *o = http_upstream(c);
    return o ? &o->limits : &orphan;
}

int http2_decode(struct conn *c, const uint8_t *block, size_t n, uint32_t max_bytes, uint32_t max_fields,
                 uint32_t *count, bool *too_large) {
    struct http2 *s = http2(c);
    struct http_state *state = http_state(c->core);
    struct http2_state *own = http2_state(c->core);
    if (unlikely(!state || !own)) return H2_INTERNAL_ERROR;
    if (unlikely(!s->decoder)) {
        const struct http_upstream *o = c->side == UP ? http_upstream(c) : NULL;
        s->decoder = hpack_decoder_new(c->side == DOWN ? http_options(c)->header_table : o ? o->header_table : 4096);
        if (!s->decoder) return H2_INTERNAL_ERROR;
        if (s->acked) hpack_decoder_acknowledged(s->decoder);
    }
    own->arena.used = 0;
    int r = hpack_decode(s->decoder, block, n, &own->arena, max_bytes, state->fields, max_fields, count, too_large);
    return likely(r == 0) ? 0 : r == HPACK_BROKEN ? H2_COMPRESSION_ERROR : H2_INTERNAL_ERROR;
}

static void whole_block(struct conn *c, uint32_t id, const uint8_t *block, size_t n, bool end) {
    struct http2 *s = http2(c);
    if (c->side == DOWN) http2_down_block(c, id, id > s->last_id ? NULL : http2_find(s, id), block, n, end);
    else http2_up_block(c, id, http2_find(s, id), block, n, end);
}

/* A part of a block that is not whole yet is kept, up to the size a whole one may have. */
static bool keep_fragment(struct conn *c, uint32_t id, struct slice part) {
    struct http2 *s = http2(c);
    size_t need = s->block_len + part.n;
    if (need > (size_t)limits_of(c)->head + HTTP2_BLOCK_SLACK) {
        /* Told as seen (§6.8): clients send a request again whose id is above GOAWAY's, and this one would be too large again. */
        if (c->side == DOWN && (id & 1) && id > s->last_id) s->last_id = id;
        http2_fail(c, H2_ENHANCE_YOUR_CALM);
        return false;
    }
    if (need > s->block_cap) {
        size_t cap = max_size(need, (size_t)s->block_cap * 2);
        uint8_t *block = realloc(s->block, cap);
        if (!block) {
            http2_fail(c, H2_INTERNAL_ERROR);
            return false;
        }
        s->block = block, s->block_cap = (uint32_t)cap;
    }
    if (part.n) memcpy(s->block + s->block_len, part.p, part.n);
    s->block_len = (uint32_t)need;
    return true;
}

static void on_headers(struct conn *c, const struct http2_frame *f, const uint8_t *p) {
    struct http2 *s = http2(c);
    struct slice part;
    uint32_t depends;
    int error = http2_frame_body(f, p, &part, &depends);
    if (!error && unlikely(depends == f->id)) error = H2_PROTOCOL_ERROR;
    if (error) {
        http2_fail(c, (enum http2_error)error);
    } else if (likely(f->flags & H2_END_HEADERS)) {
        whole_block(c, f->id, part.p, part.n, f->flags & H2_END_STREAM);
    } else if (keep_fragment(c, f->id, part)) {
        s->block_id = f->id, s->block_end = f->flags & H2_END_STREAM;
    }
}

static void on_continuation(struct conn *c, const struct http2_frame *f, const uint8_t *p) {
    struct http2 *s = http2(c);
    bool last = f->flags & H2_END_HEADERS;
    if (f->length < 1024 && !last && http2_flooded(c, FLOOD_EMPTY)) return;
    if (!keep_fragment(c, f->id, slice_of(p, f->length)) || !last) return;
    uint8_t *block = s->block;
    uint32_t id = s->block_id, n = s->block_len;
    s->block = NULL, s->block_id = s->block_len = s->block_cap = 0;
    whole_block(c, id, block, n, s->block_end);
    free(block);
}

/* ---- frames ---- */

static void on_frame(struct conn *c, const struct http2_frame *f, const uint8_t *p) {
    switch (f->type) {
    case H2_HEADERS: on_headers(c, f, p); break;
    case H2_PRIORITY: http2_on_priority(c, f, p); break;
    case H2_RST_STREAM: http2_on_reset(c, f, p); break;
    case H2_SETTINGS: http2_on_settings(c, f, p); break;
    case H2_PUSH_PROMISE: http2_fail(c, H2_PROTOCOL_ERROR); break; /* §8.4: clients don't, and we told servers not to */
    case H2_PING: http2_on_ping(c, f, p); break;
    case H2_GOAWAY:
        http2(c)->goaway_seen = true;
        if (c->side == UP) http2_up_goaway(c, http2_u32(p) & HTTP2_ID_MAX);
        else http2_maybe_finish(c); /* it has no more to ask */
        break;
    case H2_WINDOW_UPDATE: http2_on_window_update(c, f, p); break;
    case H2_CONTINUATION: on_continuation(c, f, p); break;
    default: http2_flooded(c, FLOOD_EMPTY); break; /* §4.1: unknown types are ignored */
    }
}

/* What the frame's head alone tells. False: it is not to be taken (the connection has failed). *stream_error: or 0. */
static bool acceptable(struct conn *c, const struct http2_frame *f, int *stream_error) {
    struct http2 *s = http2(c);
    int error = http2_frame_check(f);
    *stream_error = -error;
    bool first = s->phase == H2_WANT_SETTINGS && (f->type != H2_SETTINGS || f->flags & H2_ACK);
    if (unlikely(error > 0)) http2_fail(c, (enum http2_error)error);
    else if (unlikely(first)) http2_fail(c, H2_PROTOCOL_ERROR);
    /* §6.10: nothing may stand between the parts of a header block, and a part needs its beginning. */
    else if (unlikely(f->type == H2_CONTINUATION ? !s->block_id || f->id != s->block_id : s->block_id != 0))
        http2_fail(c, H2_PROTOCOL_ERROR);
    return s->phase != H2_FAILED;
}

/* One frame, or what is there of a DATA frame. 0: more is needed. */
static size_t step(struct conn *c, const uint8_t *p, size_t n) {
    struct http2 *s = http2(c);
    if (s->data_left || s->data_pad) return more_data(c, p, n);
    c->need = HTTP2_FRAME_HEAD;
    if (n < HTTP2_FRAME_HEAD) return 0;
    struct http2_frame f = http2_frame_read(p);
    int error;
    if (!acceptable(c, &f, &error)) return 0;
    size_t size = HTTP2_FRAME_HEAD + (f.type == H2_DATA ? (f.flags & H2_PADDED && f.length ? 1u : 0u) : f.length);
    if (n < size) {
        c->need = (uint32_t)size;
        return 0;
    }
    c->need = 0;
    if (f.type == H2_DATA) {
        if (unlikely(f.flags & H2_PADDED && f.length == 0)) http2_fail(c, H2_FRAME_SIZE_ERROR);
        else begin_data(c, &f, p + HTTP2_FRAME_HEAD);
    } else if (unlikely(error)) {
        http2_broken_id(c, f.id, (enum http2_error)error);
    } else {
        on_frame(c, &f, p + HTTP2_FRAME_HEAD);
    }
    return size;
}

static size_t take_preface(struct conn *c, const uint8_t *p, size_t n) {
    struct http2 *s = http2(c);
    if (memcmp(p, HTTP2_PREFACE, min_size(n, HTTP2_PREFACE_SIZE)) != 0) http2_fail(c, H2_PROTOCOL_ERROR);
    c->need = HTTP2_PREFACE_SIZE;
    if (n < HTTP2_PREFACE_SIZE || s->phase == H2_FAILED) return 0;
    s->phase = H2_WANT_SETTINGS, c->need = 0;
    http2_watch(c);
    return HTTP2_PREFACE_SIZE;
}

/* A head that has begun to come must be whole in time. */
static void watch_head(struct conn *c, bool partial) {
    struct http2 *s = http2(c);
    partial = partial || s->block_id || s->phase < H2_RUNNING;
    if (likely(!partial || c->side == UP)) {
        s->deadline_ms = 0;
        return;
    }
    uint32_t timeout = http_options(c)->head_timeout_ms;
    if (s->deadline_ms || !timeout) return;
    http2_look_by(c, s->deadline_ms = c->core->now_ms + timeout);
}

ssize_t http2_feed(struct conn *c, const uint8_t *p, size_t n) {
    struct http2 *s = http2(c);
    size_t at = 0, some = 1;
    s->feeding = true, s->heard_ms = c->core->now_ms;
    if (unlikely(s->phase == H2_WANT_PREFACE)) at = some = take_preface(c, p, n);
    while (at < n && some && !c->paused && !c->doom && c->state < CONN_FINISHING && s->phase != H2_FAILED)
        at += some = step(c, p + at, n - at);
    s->feeding = false;
    if (unlikely(c->state >= CONN_FINISHING)) return (ssize_t)n;
    if (unlikely(s->phase == H2_FAILED)) { /* streams end now; the connection does when its GOAWAY is written */
        c->max_streams = 0;
        if (c->side == DOWN) stream_orphan_all(c);
        else stream_up_lost(c, FAIL_BAD_REPLY);
        return c->side == UP && !c->writable ? FEED_CLOSE : FEED_FINISH; /* no server is waited for */
    }
    if (s->pump) http2_pump(c);
    watch_head(c, at < n && !c->paused);
    return (ssize_t)at;
}
