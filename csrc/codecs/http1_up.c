/* HTTP/1 servers: one request at a time over connections that go back to the pool, or several in a row (pipelining) where the
 * upstream's options say so. Responses come in the order of the requests: the first stream of the connection is the one
 * being answered. */
#include "http1.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "../core/pool.h"

static struct http1_up *session(struct conn *c) { return (struct http1_up *)c->session; }

/* ---- requests ---- */

/* Who is asked: the Host field as it came, unless the route or HTTP/2 named another. */
static uint8_t *put_host(uint8_t *to, struct http_head *h) {
    struct http_field *host = http_find(h, HN_HOST);
    if (host && slice_eq(host->value, h->authority)) return to;
    for (uint32_t i = 0; i < h->count; i++)
        if (h->fields[i].id == HN_HOST) h->fields[i].drop = true;
    if (h->authority.n == 0) return to;
    to = http1_put(http1_put(to, SLICE("host: ")), h->authority);
    return http1_put(to, SLICE("\r\n"));
}

/* RFC 8441 §5: a WebSocket asked for over HTTP/2 has no key; HTTP/1 wants one. */
static uint8_t *put_websocket_key(uint8_t *to) {
    uint8_t nonce[16];
    if (RAND_bytes(nonce, sizeof nonce) != 1) memset(nonce, 'm', sizeof nonce);
    to = http1_put(to, SLICE("sec-websocket-key: "));
    to += EVP_EncodeBlock(to, nonce, sizeof nonce);
    return http1_put(to, SLICE("\r\n"));
}

static uint8_t *put_framing(uint8_t *to, struct exchange *x, const struct http_head *h, bool end) {
    bool sized = http_find(h, HN_CONTENT_LENGTH) != NULL;
    x->leg[UP].flags = 0;
    if (x->upgrade && h->upgrade.n) {
        to = http1_put(http1_put(to, SLICE("connection: upgrade\r\nupgrade: ")), h->upgrade);
        to = http1_put(to, SLICE("\r\n"));
        if (h->version == 20 && http_is(h->upgrade, "websocket")) to = put_websocket_key(to);
    } else if (x->te_trailers && !x->grpc) {
        to = http1_put(to, SLICE("te: trailers\r\nconnection: te\r\n"));
    }
    if (end) {
        bool meant = h->method == HTTP_POST || h->method == HTTP_PUT || h->method == HTTP_PATCH;
        return meant && !sized ? http1_put(to, SLICE("content-length: 0\r\n")) : to;
    }
    if (sized || h->method == HTTP_CONNECT || x->upgrade) return to;
    x->leg[UP].flags = LEG_CHUNKED;
    return http1_put(to, SLICE("transfer-encoding: chunked\r\n"));
}

static size_t encode(struct exchange *x, struct http_head *h, bool end, uint8_t *begin, size_t cap) {
    bool extended = h->version == 20 && h->method == HTTP_CONNECT && x->upgrade;
    struct slice method = extended ? SLICE("GET") : h->method_text;
    struct slice target = h->method == HTTP_CONNECT && !extended ? h->authority : h->path.n ? h->path : SLICE("/");
    uint8_t *to = begin;
    size_t fixed = method.n + target.n + h->authority.n + h->upgrade.n + 512;
    if (fixed > cap) return 0;
    to = http1_put(to, method), *to++ = ' ';
    to = http1_put(http1_put(to, target), SLICE(" HTTP/1.1\r\n"));
    to = put_host(to, h);
    to = http1_put_fields(to, begin + cap - h->upgrade.n - 256, h->fields, h->count);
    if (!to) return 0;
    to = put_framing(to, x, h, end);
    to = http1_put(to, SLICE("\r\n"));
    return (size_t)(to - begin);
}

static void begin(struct exchange *x, const uint8_t *head, size_t n, bool end) {
    struct http1_up *u = session(x->up);
    (void)end;
    if (x->up->streams == 1) u->state = H1_HEAD, u->scanned = 0;
    x->s->tag = x->method;
    conn_send(x->up, head, n);
}

static void say_full(struct exchange *x) {
    struct http1_up *u = session(x->up);
    if (!conn_full(x->up)) return;
    u->full = true;
    exchange_request_full(x);
}

static void send_data(struct exchange *x, const uint8_t *p, size_t n) {
    if (x->leg[UP].flags & LEG_CHUNKED && x->request != X_TUNNEL) http1_send_chunk(x->up, p, n);
    else conn_send(x->up, p, n);
    say_full(x);
}

static void send_end(struct exchange *x, struct http_trailers trailers) {
    if (session(x->up)->state == H1_TUNNEL) conn_shutdown(x->up);
    else if (x->leg[UP].flags & LEG_CHUNKED) http1_send_last_chunk(x->up, trailers);
}

static void cancel(struct exchange *x, enum failure why) { conn_doom(x->up, why); }

/* A slow client holds up those behind it on a shared connection, but nobody comes to stand behind them. */
static void pause(struct exchange *x) {
    conn_pause(x->up, PAUSE_PEER);
    if (!x->up->exclusive) pool_retire(x->up);
}
static void resume(struct exchange *x) { conn_unpause(x->up, PAUSE_PEER); }

static void release(struct exchange *x, struct conn *up, bool clean) {
    struct http1_up *u = session(up);
    (void)x;
    conn_unpause(up, PAUSE_PEER);
    bool unsent =
        up->out.bytes && up->exclusive; /* answered before it was sent whole: who knows how the server reads on */
    if (!clean || !u->keep_alive || up->eof || u->state != H1_HEAD || unsent) {
        if (up->out.bytes && u->state == H1_TUNNEL) conn_finish(up); /* its last words */
        else conn_doom(up, FAIL_DRAINING);
    } else if (up->exclusive) {
        u->free = true;
    }
}

void http1_up_drained(struct conn *c) {
    struct http1_up *u = session(c);
    struct stream *s = c->head;
    if (!u->full) return;
    u->full = false;
    if (s && s->data) exchange_request_drained(s->data);
}

/* ---- responses ---- */

/* The exchange being answered; NULL for one that nobody waits for any more (its response is read and thrown away). */
static struct exchange *current(struct conn *c) { return c->head ? c->head->data : NULL; }

/* What the response at hand may be like: as the plan of its request says, for in a newer one this upstream may be missing. */
static const struct http1_limits *limits(const struct conn *c) {
    const struct http_upstream *o = c->head->upstream->options;
    return &o->limits;
}

static void begin_body(struct http1_up *u, const struct http_head *h) {
    u->keep_alive = h->keep_alive;
    u->left = h->length;
    memset(&u->chunked, 0, sizeof u->chunked);
    u->state = h->body == HTTP_LENGTH ? H1_LENGTH : h->body == HTTP_CHUNKED ? H1_CHUNKED : H1_TO_EOF;
}

/* The response is complete. For one that was abandoned the stream ends here. */
static void end_of_response(struct conn *c, struct http_trailers trailers, bool told) {
    struct exchange *x = current(c);
    struct stream *s = c->head;
    session(c)->state = H1_HEAD, session(c)->scanned = 0;
    if (x) {
        if (!told) exchange_response_end(x, trailers);
        return;
    }
    stream_end(s);
    if (!session(c)->keep_alive) conn_doom(c, FAIL_DRAINING);
    pool_serve(c->endpoint);
}

static ssize_t take_head(struct conn *c, const uint8_t *p, size_t n) {
    struct http1_up *u = session(c);
    struct http_state *state = http_state(c->core);
    struct stream *s = c->head;
    struct exchange *x = current(c);
    struct http_head h = {.method = s->tag};
    size_t scanned = u->scanned;
    ssize_t k = http1_response(p, n, &scanned, limits(c), state->fields, countof(state->fields), &h);
    u->scanned = k == 0 ? (uint32_t)scanned : 0;
    if (k <= 0) return k == 0 ? 0 : FEED_CLOSE;
    if (h.status < 200 && h.status != 101) {
        if (x) exchange_response(x, &h, false);
        return k;
    }
    bool tunnel = h.status == 101 || (h.method == HTTP_CONNECT && h.status / 100 == 2);
    bool end = h.body == HTTP_NO_BODY && !tunnel;
    if (tunnel && !x) return FEED_CLOSE;
    begin_body(u, &h);
    if (tunnel) u->state = H1_TUNNEL, u->keep_alive = false;
    if (end) u->state = H1_HEAD;
    if (x) exchange_response(x, &h, end);
    if (c->head == s && end) end_of_response(c, (struct http_trailers){NULL, 0}, true);
    else if (c->head != s && !end) return FEED_CLOSE; /* it was refused, or its client has gone */
    return k;
}

static size_t take_length(struct conn *c, const uint8_t *p, size_t n) {
    struct http1_up *u = session(c);
    struct stream *s = c->head;
    if (n > u->left) n = (size_t)u->left;
    u->left -= n;
    if (current(c)) exchange_response_data(current(c), p, n);
    if (u->left == 0 && c->head == s) end_of_response(c, (struct http_trailers){NULL, 0}, false);
    return n;
}

static ssize_t take_chunk(struct conn *c, const uint8_t *p, size_t n) {
    struct http1_up *u = session(c);
    struct slice data;
    size_t taken = 0;
    int r = http1_chunked(&u->chunked, limits(c), p, n, &taken, &data);
    if (r < 0) return FEED_CLOSE;
    if (r == CHUNK_DATA && current(c)) exchange_response_data(current(c), data.p, data.n);
    if (r == CHUNK_TRAILERS) u->state = H1_TRAILERS;
    return (ssize_t)taken;
}

static ssize_t take_trailers(struct conn *c, const uint8_t *p, size_t n) {
    struct http_state *state = http_state(c->core);
    uint32_t count = 0;
    ssize_t k = http1_trailers(p, n, limits(c), state->fields, countof(state->fields), &count);
    if (k < 0) return FEED_CLOSE;
    if (k > 0) end_of_response(c, (struct http_trailers){state->fields, count}, false);
    return k;
}

static ssize_t step(struct conn *c, const uint8_t *p, size_t n) {
    switch (session(c)->state) {
    case H1_HEAD: return take_head(c, p, n);
    case H1_LENGTH: return (ssize_t)take_length(c, p, n);
    case H1_CHUNKED: return take_chunk(c, p, n);
    case H1_TRAILERS: return take_trailers(c, p, n);
    default: /* H1_TO_EOF, H1_TUNNEL */
        if (current(c)) exchange_response_data(current(c), p, n);
        return (ssize_t)n;
    }
}

ssize_t http1_up_feed(struct conn *c, const uint8_t *p, size_t n) {
    struct http1_up *u = session(c);
    size_t taken = 0;
    while (taken < n && !c->paused) {
        struct stream *s = c->head;
        if (!s || u->free) return FEED_CLOSE; /* nobody asked: not to be taken for anybody's response */
        ssize_t k = step(c, p + taken, n - taken);
        if (k < 0 || c->state == CONN_DEAD) return k < 0 ? k : (ssize_t)n;
        if (k == 0) break;
        if (c->doom) return (ssize_t)n; /* over, or given up in the middle */
        taken += (size_t)k;
    }
    if (u->free && taken == n) {
        u->free = false;
        pool_give_back(c);
    } else if (u->free) {
        return FEED_CLOSE;
    }
    return (ssize_t)taken;
}

void http1_up_eof(struct conn *c) {
    struct http1_up *u = session(c);
    struct exchange *x = current(c);
    bool whole = (u->state == H1_TO_EOF || u->state == H1_TUNNEL) && !c->truncated;
    if (whole && x) {
        u->keep_alive = false;
        exchange_response_end(x, (struct http_trailers){NULL, 0});
        if (u->state == H1_TUNNEL && c->head) return; /* the client may still be sending */
    }
    if (c->state != CONN_DEAD) conn_close(c, FAIL_UPSTREAM_RESET);
}

const struct http_up_side http1_up_side = {.encode = encode,
                                           .begin = begin,
                                           .data = send_data,
                                           .end = send_end,
                                           .cancel = cancel,
                                           .release = release,
                                           .pause = pause,
                                           .resume = resume};
