/* What goes out: header blocks, DATA as windows allow, windows given back.
 *
 * DATA never fills the socket's queue beyond HTTP2_CORK: what a slow peer lets lie waits with its stream, where its source hears of
 * it, and small frames of others pass by. */
#include "http2.h"

#include <stdlib.h>

#define CONTROL_MAX (4u * 1024 * 1024) /* unread bytes with which no further answer to a control frame is queued */

/* ---- the queue ---- */

/* The engine calls drained() below OUT_LOW whoever set `full`. Clients that let heads pile up are not read either. */
static void throttle(struct conn *c) {
    c->full = true;
    if (c->side == DOWN && c->out.bytes >= OUT_HIGH) conn_pause(c, PAUSE_OUT);
}

static inline void wrote(struct conn *c) {
    conn_mark_dirty(c);
    if (unlikely(c->out.bytes >= HTTP2_CORK)) throttle(c);
}

/* n bytes at the end of the out queue; NULL: the connection is gone or about to go. */
static inline uint8_t *reserve(struct conn *c, size_t n) {
    if (unlikely(c->state == CONN_DEAD || c->doom)) return NULL;
    uint8_t *to = queue_reserve(&c->core->chunks, &c->out, n);
    if (unlikely(!to)) conn_doom(c, FAIL_INTERNAL);
    return to;
}

void http2_control(struct conn *c, uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n) {
    uint8_t *to = reserve(c, HTTP2_FRAME_HEAD + n);
    if (!to) return;
    uint8_t *at = http2_frame_write(to, (uint32_t)n, type, flags, id);
    if (n) memcpy(at, p, n);
    queue_commit(&c->out, HTTP2_FRAME_HEAD + n);
    wrote(c);
    if (unlikely(c->out.bytes > CONTROL_MAX) && type != H2_GOAWAY) http2_fail(c, H2_ENHANCE_YOUR_CALM);
}

void http2_reset(struct conn *c, uint32_t id, enum http2_error code) {
    uint8_t payload[4];
    http2_put_u32(payload, code);
    http2_control(c, H2_RST_STREAM, 0, id, payload, 4);
}

/* ---- header blocks ---- */

void http2_send_block(struct conn *c, uint32_t id, const uint8_t *block, size_t n, bool end) {
    struct http2 *s = http2(c);
    uint8_t type = H2_HEADERS, head[HTTP2_FRAME_HEAD + 1];
    if (c->state == CONN_DEAD || c->doom) return;
    do {
        /* RFC 7541 §4.2: a peer whose table shrank is told that ours is empty. */
        size_t update = type == H2_HEADERS && unlikely(s->table_gone);
        size_t some = min_size(n, HTTP2_FRAME_MAX - update);
        uint8_t flags = (uint8_t)((some == n ? H2_END_HEADERS : 0) | (type == H2_HEADERS && end ? H2_END_STREAM : 0));
        uint8_t *to = http2_frame_write(head, (uint32_t)(some + update), type, flags, id);
        if (update) *to++ = 0x20, s->table_gone = false;
        if (queue_append(&c->core->chunks, &c->out, head, (size_t)(to - head)) < 0 ||
            (some && queue_append(&c->core->chunks, &c->out, block, some) < 0)) {
            conn_doom(c, FAIL_INTERNAL);
            return;
        }
        block += some, n -= some;
        type = H2_CONTINUATION;
    } while (n);
    wrote(c);
}

struct http2_writer http2_block_begin(struct conn *c, size_t bound) {
    struct http2 *s = http2(c);
    bound += 1; /* a table size update */
    if (likely(bound + HTTP2_FRAME_HEAD <= CHUNK_SIZE)) {
        uint8_t *to = reserve(c, bound + HTTP2_FRAME_HEAD);
        if (!to) return (struct http2_writer){NULL, false};
        to += HTTP2_FRAME_HEAD;
        if (unlikely(s->table_gone)) *to++ = 0x20;
        return (struct http2_writer){to, true};
    }
    struct http_state *state = http_state(c->core);
    return (struct http2_writer){bound <= sizeof state->encoded ? state->encoded : NULL, false};
}

void http2_block_end(struct conn *c, struct http2_writer w, const uint8_t *behind, uint32_t id, bool end) {
    struct http2 *s = http2(c);
    size_t n = (size_t)(behind - w.at);
    if (unlikely(!w.direct)) {
        http2_send_block(c, id, w.at, n, end);
        return;
    }
    if (unlikely(s->table_gone)) w.at--, n++, s->table_gone = false;
    http2_frame_write(w.at - HTTP2_FRAME_HEAD, (uint32_t)n, H2_HEADERS,
                      (uint8_t)(H2_END_HEADERS | (end ? H2_END_STREAM : 0)), id);
    queue_commit(&c->out, HTTP2_FRAME_HEAD + n);
    wrote(c);
}

#define X(id, name, hop) | (uint64_t)hop << HN_##id
static const uint64_t hops = 0 HTTP_NAMES(X);
#undef X
_Static_assert(HN_COUNT <= 64, "a bit per name");

static inline bool sent(const struct http_field *f) {
    return !f->drop && !(hops >> f->id & 1) && f->name.n && f->name.p[0] != ':';
}

size_t http2_fields_bound(const struct http_field *f, uint32_t count) {
    size_t n = 0;
    for (const struct http_field *end = f + count; f < end; f++) n += hpack_bound(f->name.n, f->value.n);
    return n;
}

uint8_t *http2_put_fields(uint8_t *to, const struct http_field *f, uint32_t count) {
    for (const struct http_field *end = f + count; f < end; f++) {
        if (unlikely(!sent(f))) continue;
        bool secret = f->never || f->id == HN_COOKIE ||
                      (f->id == HN_OTHER && f->name.n == 13 && http_is(f->name, "authorization"));
        to = hpack_encode(to, (enum http_name)f->id, f->name, f->value, secret);
    }
    return to;
}

/* ---- turns ---- */

void http2_enlist(struct http2 *s, struct http_leg *leg) {
    if (leg->listed || (leg->waiting.bytes && leg->send_window <= 0)) return;
    leg->listed = true, leg->next = NULL, leg->prev = s->last;
    if (s->last) s->last->next = leg;
    else s->first = leg;
    s->last = leg;
}

void http2_delist(struct http2 *s, struct http_leg *leg) {
    if (leg->prev) leg->prev->next = leg->next;
    else s->first = leg->next;
    if (leg->next) leg->next->prev = leg->prev;
    else s->last = leg->prev;
    leg->listed = false, leg->next = leg->prev = NULL;
}

/* ---- DATA ---- */

/* The head of a DATA frame of n bytes; windows shrink by it. False: the connection is about to go. */
static inline bool put_data_head(struct conn *c, struct http_leg *leg, size_t n, uint8_t flags) {
    struct http2 *s = http2(c);
    uint8_t *to = reserve(c, HTTP2_FRAME_HEAD);
    if (unlikely(!to)) return false;
    s->end_flags = to + 4, s->end_pos = c->out.base + c->out.bytes, s->end_id = leg->id;
    http2_frame_write(to, (uint32_t)n, H2_DATA, flags, leg->id);
    queue_commit(&c->out, HTTP2_FRAME_HEAD);
    leg->send_window -= (int32_t)n, s->send_window -= (int64_t)n;
    /* Who receives DATA has reason to answer with WINDOW_UPDATE, and to measure the way with PING. */
    if (s->flood[FLOOD_WINDOW] > 1) s->flood[FLOOD_WINDOW] -= 2;
    if (s->flood[FLOOD_PING]) s->flood[FLOOD_PING]--;
    return true;
}

static inline size_t allowed(const struct http2 *s, const struct http_leg *leg, size_t n) {
    int64_t window = leg->send_window < s->send_window ? leg->send_window : s->send_window;
    if (window <= 0) return 0;
    return min_size(min_size(n, (size_t)window), HTTP2_FRAME_MAX);
}

/* Said again as long as it holds: the exchange may have been resumed for another reason, its connection being open now. */
static void say_full(struct conn *c, struct http_leg *leg) {
    struct exchange *x = http2_exchange(leg, c->side);
    if (!x) return;
    leg->flags |= LEG_FULL;
    if (c->side == DOWN) exchange_response_full(x);
    else exchange_request_full(x);
}

/* In pieces: each finds a pooled chunk, and a full chunk becomes a frame without being copied once more. */
static bool keep_waiting(struct chunk_pool *pool, struct queue *q, const uint8_t *p, size_t n) {
    for (size_t some; n; p += some, n -= some) {
        size_t room = q->tail ? q->tail->cap - q->tail->end : 0;
        some = min_size(n, room ? room : CHUNK_SIZE);
        if (queue_append(pool, q, p, some) < 0) return false;
    }
    return true;
}

void http2_send_data(struct conn *c, struct http_leg *leg, const uint8_t *p, size_t n) {
    struct http2 *s = http2(c);
    size_t some;
    if (unlikely(leg->id == 0 || c->state == CONN_DEAD)) return;
    if (likely(leg->waiting.bytes == 0))
        while (n && !c->full && (some = allowed(s, leg, n)) != 0) {
            if (!put_data_head(c, leg, some, 0)) return;
            if (queue_append(&c->core->chunks, &c->out, p, some) < 0) conn_doom(c, FAIL_INTERNAL);
            p += some, n -= some;
            wrote(c);
        }
    if (likely(n == 0)) return;
    if (!keep_waiting(&c->core->chunks, &leg->waiting, p, n)) conn_doom(c, FAIL_INTERNAL);
    http2_enlist(s, leg);
    if (leg->waiting.bytes >= HTTP2_FULL) say_full(c, leg);
}

/* END_STREAM on the last DATA frame, if that is still here; else on an empty one. */
static void put_end(struct conn *c, struct http_leg *leg) {
    struct http2 *s = http2(c);
    if (likely(s->end_id == leg->id && c->out.bytes && c->out.base <= s->end_pos)) {
        *s->end_flags |= H2_END_STREAM;
    } else if (put_data_head(c, leg, 0, H2_END_STREAM)) {
        wrote(c);
    }
    leg->flags |= LEG_OUT_ENDED;
}

static bool keep_trailers(struct http_leg *leg, struct http_trailers t) {
    leg->tail = malloc(http2_fields_bound(t.fields, t.count));
    if (!leg->tail) return false;
    leg->tail_len = (uint32_t)(http2_put_fields(leg->tail, t.fields, t.count) - leg->tail);
    return true;
}

static bool any_sent(struct http_trailers t) {
    for (uint32_t i = 0; i < t.count; i++)
        if (sent(&t.fields[i])) return true;
    return false;
}

void http2_send_end(struct conn *c, struct http_leg *leg, struct http_trailers trailers) {
    if (unlikely(leg->id == 0 || leg->flags & LEG_OUT_ENDED || leg->end_waiting)) return;
    bool some = trailers.count && any_sent(trailers);
    if (leg->waiting.bytes) {
        leg->end_waiting = true;
        if (some && !keep_trailers(leg, trailers)) conn_doom(c, FAIL_INTERNAL);
        return;
    }
    if (!some) {
        put_end(c, leg);
        return;
    }
    struct http2_writer w = http2_block_begin(c, http2_fields_bound(trailers.fields, trailers.count));
    leg->flags |= LEG_OUT_ENDED;
    if (w.at) http2_block_end(c, w, http2_put_fields(w.at, trailers.fields, trailers.count), leg->id, true);
    else http2_reset(c, leg->id, H2_INTERNAL_ERROR);
}

/* The first n bytes of what waits move to the out queue; all of the first chunk without a copy. */
static void move(struct conn *c, struct queue *from, size_t n) {
    struct chunk_pool *pool = &c->core->chunks;
    struct chunk *head = from->head;
    if (n == head->end - head->start && n >= CHUNK_SIZE / 2) {
        from->head = head->next;
        if (!from->head) from->tail = NULL;
        from->bytes -= n, from->base += n;
        queue_adopt(&c->out, head);
        return;
    }
    if (queue_append(pool, &c->out, head->data + head->start, n) < 0) conn_doom(c, FAIL_INTERNAL);
    queue_consume(pool, from, n);
}

/* One frame of what waits, at most a chunk, and the end behind the last of it. */
static void send_waiting(struct conn *c, struct http_leg *leg) {
    struct http2 *s = http2(c);
    struct queue *q = &leg->waiting;
    size_t n = q->head ? allowed(s, leg, q->head->end - q->head->start) : 0;
    bool last = n == q->bytes && leg->end_waiting;
    if (n == 0 || !put_data_head(c, leg, n, last && !leg->tail ? H2_END_STREAM : 0)) return;
    move(c, q, n);
    wrote(c);
    if (leg->flags & LEG_REST) container_of(leg, struct http2_rest, leg)->active_ms = c->core->now_ms;
    if (!last) return;
    if (leg->tail) http2_send_block(c, leg->id, leg->tail, leg->tail_len, true);
    leg->end_waiting = false, leg->flags |= LEG_OUT_ENDED;
}

/* A rest that is sent: the stream is over. */
static void end_rest(struct conn *c, struct http_leg *leg) {
    bool whole = leg->flags & LEG_IN_ENDED;
    if (!http2_received_all(leg)) http2_reset(c, leg->id, H2_NO_ERROR);
    http2_remove(c, leg, whole ? PAST_ENDED : PAST_RESET);
    http2_maybe_finish(c);
}

void http2_pump(struct conn *c) {
    struct http2 *s = http2(c);
    s->pump = false;
    while (s->first && s->send_window > 0 && !c->full && c->state != CONN_DEAD && !c->doom) {
        struct http_leg *leg = s->first;
        http2_delist(s, leg);
        send_waiting(c, leg);
        if (leg->waiting.bytes) http2_enlist(s, leg);
        if (leg->flags & LEG_REST) {
            if (leg->flags & LEG_OUT_ENDED) end_rest(c, leg);
        } else if (leg->flags & LEG_FULL && leg->waiting.bytes < HTTP2_DRAINED) {
            leg->flags &= (uint16_t)~LEG_FULL;
            if (c->side == DOWN) exchange_response_drained(http2_exchange(leg, DOWN));
            else exchange_request_drained(http2_exchange(leg, UP));
        }
    }
}

/* ---- windows given back ---- */

static void update(struct conn *c, uint32_t id, uint32_t n) {
    uint8_t payload[4];
    http2_put_u32(payload, n);
    http2_control(c, H2_WINDOW_UPDATE, 0, id, payload, 4);
}

static inline void give_back(struct conn *c, struct http_leg *leg) {
    if (leg->owed < http2(c)->stream_window / 2 || leg->owed == 0) return;
    leg->recv_window += (int32_t)leg->owed;
    update(c, leg->id, leg->owed);
    leg->owed = 0;
}

void http2_credit(struct conn *c, struct http_leg *leg, uint32_t n) {
    if (leg->flags & LEG_IN_ENDED) return;
    leg->owed += n;
    if (unlikely(leg->paused)) http2(c)->held += n;
    else give_back(c, leg);
}

/* At once, whoever the bytes were for, so that one slow stream can't keep the others' window; until paused streams hold too much. */
void http2_credit_connection(struct conn *c, uint32_t n) {
    struct http2 *s = http2(c);
    s->owed += n;
    if (likely(s->owed < s->window / 2) || s->held > (uint64_t)s->window * HTTP2_HELD_WINDOWS) return;
    s->recv_window += s->owed;
    update(c, 0, s->owed);
    s->owed = 0;
}

void http2_pause(struct conn *c, struct http_leg *leg) {
    if (leg->paused || leg->id == 0) return;
    leg->paused = true;
    http2(c)->held += leg->owed;
}

void http2_resume(struct conn *c, struct http_leg *leg) {
    if (!leg->paused || leg->id == 0) return;
    leg->paused = false;
    http2(c)->held -= leg->owed;
    if (!(leg->flags & LEG_IN_ENDED)) give_back(c, leg);
    http2_credit_connection(c, 0);
}
