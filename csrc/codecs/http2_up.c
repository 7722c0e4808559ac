/* HTTP/2 servers: many requests over few connections. A request's head is encoded once, without what depends on the connection, so
 * that it can be kept and sent again over another one; the pool asks conn->max_streams how many may be open at once. */
#include "http2.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "../core/pool.h"

#define IDS_LEFT 4096u /* a connection with fewer stream ids left takes no more requests */

/* The first byte of an encoded head. */
enum {
    HEAD_PLAIN,
    HEAD_EXTENDED, /* extended CONNECT, RFC 8441 */
    HEAD_UPGRADE   /* the same, made of an HTTP/1 upgrade: what its client wants to hear follows, ACCEPT bytes */
};
#define ACCEPT 28u

/* ---- requests ---- */

/* RFC 6455 §4.2.2: what proves to an HTTP/1 client that a WebSocket server has understood. Over HTTP/2 nobody proves it. */
static void accept_key(const struct http_head *h, uint8_t to[ACCEPT]) {
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    uint8_t text[64 + sizeof guid], digest[EVP_MAX_MD_SIZE], encoded[64];
    memset(to, 0, ACCEPT);
    for (uint32_t i = 0; i < h->count; i++) {
        struct http_field *f = &h->fields[i];
        if (!http_is(f->name, "sec-websocket-key") || f->value.n > 64) continue;
        f->drop = true;
        memcpy(text, f->value.p, f->value.n);
        memcpy(text + f->value.n, guid, sizeof guid - 1);
        if (EVP_Digest(text, f->value.n + sizeof guid - 1, digest, NULL, EVP_sha1(), NULL) != 1) return;
        EVP_EncodeBlock(encoded, digest, 20);
        memcpy(to, encoded, ACCEPT);
        return;
    }
}

static uint8_t *put_protocol(uint8_t *to, struct slice protocol) {
    uint8_t lower[32];
    if (protocol.n > sizeof lower) return to;
    for (size_t i = 0; i < protocol.n; i++)
        lower[i] = protocol.p[i] >= 'A' && protocol.p[i] <= 'Z' ? protocol.p[i] | 0x20 : protocol.p[i];
    return hpack_encode(to, HN_OTHER, SLICE(":protocol"), slice_of(lower, protocol.n), false);
}

static size_t encode(struct exchange *x, struct http_head *h, bool end, uint8_t *begin, size_t cap) {
    uint8_t *to = begin;
    bool extended = x->upgrade && h->upgrade.n;
    bool tunnel = h->method == HTTP_CONNECT && !extended;
    bool te = h->te_trailers || x->grpc;
    (void)end;
    size_t fixed = h->method_text.n + h->scheme.n + h->authority.n + h->path.n + h->upgrade.n + 256;
    if (fixed + http2_fields_bound(h->fields, h->count) > cap) return 0;
    *to++ = !extended ? HEAD_PLAIN : h->version == 20 ? HEAD_EXTENDED : HEAD_UPGRADE;
    if (*begin == HEAD_UPGRADE) accept_key(h, to), to += ACCEPT;
    to = hpack_encode_method(to, extended ? SLICE("CONNECT") : h->method_text);
    if (!tunnel)
        to = hpack_encode_scheme(to, h->scheme.n               ? h->scheme
                                     : x->down && x->down->tls ? SLICE("https")
                                                               : SLICE("http"));
    if (h->authority.n) to = hpack_encode_authority(to, h->authority);
    if (!tunnel) to = hpack_encode_path(to, h->path.n ? h->path : SLICE("/"));
    if (extended) to = put_protocol(to, h->upgrade);
    for (uint32_t i = 0; h->version != 20 && i < h->count; i++)
        if (h->fields[i].id == HN_HOST) h->fields[i].drop = true;
    to = http2_put_fields(to, h->fields, h->count);
    if (te) to = hpack_encode(to, HN_TE, SLICE("te"), SLICE("trailers"), false);
    return (size_t)(to - begin);
}

/* What an earlier attempt over another connection has left. */
static void clean(struct exchange *x, struct http_leg *leg) {
    queue_clear(&x->core->chunks, &leg->waiting);
    free(leg->tail);
    memset(leg, 0, sizeof *leg);
}

/* The server takes no such requests. Told by a timer: nobody expects a response from within begin(). */
static void refuse_later(struct conn *c, struct http_leg *leg) {
    leg->flags |= LEG_LATER;
    timer_set(&c->core->wheel, &http2(c)->later, c->core->now_ms);
}

static void begin(struct exchange *x, const uint8_t *head, size_t n, bool end) {
    struct conn *c = x->up;
    struct http2 *s = http2(c);
    struct http_leg *leg = &x->leg[UP];
    uint8_t kind = head[0];
    clean(x, leg);
    head++, n--;
    if (kind != HEAD_PLAIN && !s->connect_protocol) {
        refuse_later(c, leg);
        return;
    }
    if (kind == HEAD_UPGRADE) {
        leg->flags |= LEG_UPGRADE;
        if ((leg->tail = malloc(ACCEPT)) != NULL) memcpy(leg->tail, head, ACCEPT);
        head += ACCEPT, n -= ACCEPT;
    }
    bool strict = s->acked || s->stream_window > HTTP2_WINDOW_FIRST;
    leg->id = s->last_id = s->last_id ? s->last_id + 2 : 1;
    leg->send_window = (int32_t)s->peer_window;
    leg->recv_window = strict ? (int32_t)s->stream_window : HTTP2_WINDOW_FIRST;
    leg->announced = UINT64_MAX;
    if (unlikely(http2_add(s, leg) < 0)) {
        leg->id = 0;
        conn_doom(c, FAIL_INTERNAL);
        return;
    }
    /* In HTTP/1 such a request has no body, and what follows its answer is the tunnel. */
    if (unlikely(kind == HEAD_UPGRADE || (x->method == HTTP_CONNECT && x->version != 20))) end = false;
    http2_send_block(c, leg->id, head, n, end);
    if (end) leg->flags |= LEG_OUT_ENDED;
    if (unlikely(s->last_id > HTTP2_ID_MAX - 2 * IDS_LEFT)) pool_retire(c);
}

static void send_data(struct exchange *x, const uint8_t *p, size_t n) {
    if (n) http2_send_data(x->up, &x->leg[UP], p, n);
}

static void send_end(struct exchange *x, struct http_trailers t) { http2_send_end(x->up, &x->leg[UP], t); }

static void cancel(struct exchange *x, enum failure why) {
    struct http_leg *leg = &x->leg[UP];
    leg->flags &= (uint16_t)~LEG_LATER;
    if (leg->id == 0) return;
    http2_reset(x->up, leg->id, why == FAIL_BAD_REPLY ? H2_PROTOCOL_ERROR : H2_CANCEL);
    http2_remove(x->up, leg, PAST_RESET);
}

static void release(struct exchange *x, struct conn *up, bool clean) {
    struct http_leg *leg = &x->leg[UP];
    (void)clean; /* the leg knows better: the request's end may still wait for windows */
    if (likely(leg->id)) {
        bool whole = (leg->flags & (LEG_IN_ENDED | LEG_OUT_ENDED)) == (LEG_IN_ENDED | LEG_OUT_ENDED);
        if (unlikely(!whole)) http2_reset(up, leg->id, leg->flags & LEG_IN_ENDED ? H2_NO_ERROR : H2_CANCEL);
        http2_remove(up, leg, whole ? PAST_ENDED : PAST_RESET);
    }
    if (up->state == CONN_OPEN && !up->retired) pool_serve(up->endpoint);
}

static void pause(struct exchange *x) { http2_pause(x->up, &x->leg[UP]); }
static void resume(struct exchange *x) { http2_resume(x->up, &x->leg[UP]); }

const struct http_up_side http2_up_side = {.encode = encode,
                                           .begin = begin,
                                           .data = send_data,
                                           .end = send_end,
                                           .cancel = cancel,
                                           .release = release,
                                           .pause = pause,
                                           .resume = resume};

/* ---- failures ---- */

static void lose(struct conn *c, struct http_leg *leg, enum failure why, bool unseen) {
    struct exchange *x = http2_exchange(leg, UP);
    http2_remove(c, leg, PAST_RESET);
    exchange_upstream_failed(x, why, unseen);
    if (c->state == CONN_OPEN && !c->retired) pool_serve(c->endpoint);
}

void http2_up_broken(struct conn *c, struct http_leg *leg, enum http2_error code) {
    if (http2_flooded(c, FLOOD_ERROR)) return;
    http2_reset(c, leg->id, code);
    lose(c, leg, FAIL_BAD_REPLY, false);
}

void http2_up_gone(struct conn *c, struct http_leg *leg, enum http2_error code) {
    leg->flags |= (uint16_t)(((uint32_t)code < 0xff ? code + 1 : H2_INTERNAL_ERROR + 1) << 8);
    lose(c, leg, FAIL_UPSTREAM_RESET, code == H2_REFUSED_STREAM);
}

/* §6.8: streams above last_id were not looked at and go elsewhere; the others end here, and then the connection does. */
void http2_up_goaway(struct conn *c, uint32_t last_id) {
    struct http2 *s = http2(c);
    pool_retire(c);
    for (uint32_t i = 0; i < s->capacity; i++) {
        if (!s->slots[i].id || s->slots[i].id <= last_id) continue;
        lose(c, s->slots[i].leg, FAIL_UPSTREAM_RESET, true);
        i = UINT32_MAX; /* slots have moved */
    }
}

/* More requests than the server takes have come while it was connected: the later ones look for a place elsewhere, or in line. */
static void send_away(struct conn *c) {
    struct stream *s = c->head;
    for (uint32_t i = 0; s && i < c->max_streams; i++) s = s->up_next;
    for (struct stream *next; s; s = next) {
        next = s->up_next;
        if (s->ops != &exchange_ops) continue;
        stream_detach(s);
        ((struct exchange *)s->data)->up = NULL;
        exchange_ops.turn(s, c->endpoint);
    }
}

void http2_up_settings(struct conn *c, bool first) {
    struct endpoint *ep = c->endpoint;
    if (unlikely(first && c->streams > c->max_streams)) send_away(c);
    if (first && c->state == CONN_HANDSHAKE) conn_ready(c);
    while (ep->queued && c->state == CONN_OPEN && !c->retired && c->streams < c->max_streams) {
        uint32_t queued = ep->queued_count;
        pool_serve(ep);
        if (ep->queued_count >= queued) break; /* it went back in line: another connection's business */
    }
}

void http2_up_later(struct timer *t, void *arg) {
    struct conn *c = arg;
    (void)t;
    for (struct stream *s = c->head; s; s = s->up_next) {
        struct exchange *x = s->ops == &exchange_ops ? s->data : NULL;
        if (!x || !(x->leg[UP].flags & LEG_LATER)) continue;
        struct http_field fields[8];
        struct http_head h = {.version = 20, .status = 501, .method = x->method, .fields = fields, .capacity = 8};
        x->leg[UP].flags = 0;
        http_add(&h, HN_CONTENT_LENGTH, SLICE("content-length"), SLICE("0"));
        timer_set(&c->core->wheel, &http2(c)->later, c->core->now_ms); /* one at a time: the list changes */
        exchange_response(x, &h, true);
        return;
    }
}

/* ---- responses ---- */

/* The answer to an HTTP/1 upgrade: what its client waits for. */
static void switch_protocols(struct http_leg *leg, struct http_head *h) {
    h->status = 101, h->upgrade = SLICE("websocket");
    if (leg->tail && leg->tail[0]) http_add(h, HN_OTHER, SLICE("sec-websocket-accept"), slice_of(leg->tail, ACCEPT));
}

static void response(struct conn *c, struct http_leg *leg, uint32_t count, bool end) {
    struct exchange *x = http2_exchange(leg, UP);
    struct http_state *state = http_state(c->core);
    struct http_head h = {.method = x->method};
    if (unlikely(http2_response(state->fields, count, countof(state->fields), end, &h))) {
        http2_up_broken(c, leg, H2_PROTOCOL_ERROR);
        return;
    }
    if (unlikely(h.status < 200)) {
        exchange_response(x, &h, false);
        return;
    }
    bool tunnel = h.status / 100 == 2 && (x->method == HTTP_CONNECT || leg->flags & LEG_UPGRADE);
    bool bare = x->method == HTTP_HEAD || h.status == 204 || h.status == 304;
    leg->flags |= (uint16_t)(LEG_HEAD_SEEN | (bare ? LEG_NO_BODY : 0) | (end ? LEG_IN_ENDED : 0));
    if (h.body == HTTP_LENGTH && !bare && !tunnel) leg->announced = h.length;
    uint8_t *accept = leg->flags & LEG_UPGRADE ? leg->tail : NULL;
    if (unlikely(leg->flags & LEG_UPGRADE) && tunnel) switch_protocols(leg, &h);
    if (accept) leg->tail = NULL;
    exchange_response(x, &h, end);
    free(accept);
}

static void trailers(struct conn *c, struct http_leg *leg, uint32_t count, bool end) {
    struct http_state *state = http_state(c->core);
    bool shorter = leg->announced != UINT64_MAX && leg->received != leg->announced;
    if (leg->flags & LEG_IN_ENDED) {
        http2_up_broken(c, leg, H2_STREAM_CLOSED);
    } else if (!end || shorter || http2_trailers(state->fields, count)) {
        http2_up_broken(c, leg, H2_PROTOCOL_ERROR);
    } else {
        leg->flags |= LEG_IN_ENDED;
        exchange_response_end(http2_exchange(leg, UP), (struct http_trailers){state->fields, count});
    }
}

/* HEADERS for a stream that is not open: late, or wrong. */
static void stray(struct conn *c, uint32_t id) {
    struct http2 *s = http2(c);
    if (!(id & 1) || id > s->last_id) http2_fail(c, H2_PROTOCOL_ERROR);
    else if (http2_past(s, id) == PAST_ENDED) http2_fail(c, H2_STREAM_CLOSED);
}

void http2_up_block(struct conn *c, uint32_t id, struct http_leg *leg, const uint8_t *block, size_t n, bool end) {
    const struct http_upstream *o = http_upstream(c);
    uint32_t count = 0, fields = o ? o->limits.fields : 100;
    uint32_t bytes = !o ? 65536 : leg && leg->flags & LEG_HEAD_SEEN ? o->limits.trailers : o->limits.head;
    bool too_large = false;
    int error = http2_decode(c, block, n, bytes, fields + 1, &count, &too_large);
    if (unlikely(error)) http2_fail(c, (enum http2_error)error);
    else if (unlikely(!leg)) stray(c, id);
    else if (unlikely(too_large)) http2_up_broken(c, leg, H2_ENHANCE_YOUR_CALM);
    else if (leg->flags & LEG_HEAD_SEEN) trailers(c, leg, count, end);
    else response(c, leg, count, end);
}
