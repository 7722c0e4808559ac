/* HTTP/1 clients: requests one after the other, each answered before the next is looked at. */
#include "http1.h"

#include "../core/tls.h"

#define DISCARD_MS 2000u     /* how long a client that is told "close" may go on sending before it is cut off */
#define UNREAD_LOOKS 15u     /* and how many times as long it may read nothing of the response that waits for it */
#define HALF_CLOSED_MS 2000u /* a client that has sent FIN and gets nothing more for so long has gone */
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define BODY_RATE 500u /* bytes that buy a request body another second */

static struct http1_down *session(struct conn *c) { return (struct http1_down *)c->session; }

int http1_down_open(struct conn *c) {
    session(c)->keep_alive = true;
    return 0;
}

static void set_deadline(struct conn *c, uint64_t when_ms) {
    c->codec_deadline_ms = when_ms;
    if (when_ms) conn_arm_timer(c);
}

/* ---- requests ---- */

/* Answers what is no request, or no good one, and closes. */
static ssize_t refuse(struct conn *c, uint16_t status, const char *text, size_t taken) {
    struct http1_down *s = session(c);
    c->listener->stat[LISTENER_FAILURES + FAIL_BAD_REQUEST]++;
    c->listener->stat[LISTENER_protocol_errors]++;
    s->keep_alive = false, s->state = H1_WAIT;
    struct exchange *x = exchange_new(c, &http1_down_side);
    if (!x) return FEED_CLOSE;
    s->x = x;
    x->version = 11, x->request = X_DONE;
    x->request_done =
        taken == 0; /* behind a bad head there may be any amount more: a plain close would reset what we answer */
    exchange_answer(x, status, slice_of(text, strlen(text)));
    return (ssize_t)taken;
}

static void begin_body(struct conn *c, const struct http_head *h) {
    struct http1_down *s = session(c);
    uint32_t timeout = http_options(c)->body_timeout_ms;
    if (h->body == HTTP_NO_BODY) {
        s->state = H1_WAIT;
        return;
    }
    s->state = h->body == HTTP_LENGTH ? H1_LENGTH : H1_CHUNKED;
    s->left = h->length;
    memset(&s->chunked, 0, sizeof s->chunked);
    if (timeout) set_deadline(c, c->core->now_ms + timeout);
}

/* One request's head. > 0 bytes taken, 0 more is needed, < 0 as feed(). */
static ssize_t take_head(struct conn *c, const uint8_t *p, size_t n) {
    struct http1_down *s = session(c);
    struct http_state *state = http_state(c->core);
    const struct http_options *o = http_options(c);
    struct http_head h;
    size_t scanned = s->scanned;
    if (unlikely(!state)) return FEED_CLOSE;
    ssize_t k = http1_request(p, n, &scanned, &o->limits, state->fields, countof(state->fields), &h);
    if (k == 0) {
        s->scanned = (uint32_t)scanned;
        if (!c->codec_deadline_ms && o->head_timeout_ms) set_deadline(c, c->core->now_ms + o->head_timeout_ms);
        return 0;
    }
    s->scanned = 0, c->codec_deadline_ms = 0;
    if (k < 0) return refuse(c, http1_error_status((int)k), http1_error_text((int)k), n);
    struct exchange *x = exchange_new(c, &http1_down_side);
    if (!x) return FEED_CLOSE;
    if (unlikely(c->hangup)) set_deadline(c, c->core->now_ms + HALF_CLOSED_MS / 4);
    s->x = x, s->keep_alive = h.keep_alive && !c->core->draining, s->served++;
    begin_body(c, &h);
    exchange_request(x, &h, h.body == HTTP_NO_BODY);
    return k;
}

static void end_of_request(struct conn *c, struct http_trailers trailers) {
    struct http1_down *s = session(c);
    s->state = H1_WAIT, c->codec_deadline_ms = 0;
    if (s->x) exchange_request_end(s->x, trailers);
}

static size_t take_length(struct conn *c, const uint8_t *p, size_t n) {
    struct http1_down *s = session(c);
    if (n > s->left) n = (size_t)s->left;
    s->left -= n;
    if (s->left == 0) c->codec_deadline_ms = 0;
    exchange_request_data(s->x, p, n);
    if (s->left == 0 && s->state == H1_LENGTH) end_of_request(c, (struct http_trailers){NULL, 0});
    return n;
}

static ssize_t broken_body(struct conn *c, int error) {
    session(c)->keep_alive = false;
    exchange_bad_request(session(c)->x, http1_error_status(error), http1_error_text(error));
    return c->state == CONN_DEAD ? FEED_CLOSE : 0;
}

static ssize_t take_chunk(struct conn *c, const uint8_t *p, size_t n) {
    struct http1_down *s = session(c);
    struct slice data;
    size_t taken = 0;
    int r = http1_chunked(&s->chunked, &http_options(c)->limits, p, n, &taken, &data);
    if (r < 0) {
        ssize_t k = broken_body(c, r);
        return k < 0 ? k : (ssize_t)n;
    }
    if (r == CHUNK_DATA) exchange_request_data(s->x, data.p, data.n);
    if (r == CHUNK_TRAILERS) s->state = H1_TRAILERS;
    return (ssize_t)taken;
}

static ssize_t take_trailers(struct conn *c, const uint8_t *p, size_t n) {
    struct http_state *state = http_state(c->core);
    uint32_t count = 0;
    ssize_t k = http1_trailers(p, n, &http_options(c)->limits, state->fields, countof(state->fields), &count);
    if (k < 0) {
        ssize_t r = broken_body(c, (int)k);
        return r < 0 ? r : (ssize_t)n;
    }
    if (k > 0) end_of_request(c, (struct http_trailers){state->fields, count});
    return k;
}

/* One step: some bytes of one message. 0: nothing can be done now. */
static ssize_t step(struct conn *c, const uint8_t *p, size_t n) {
    struct http1_down *s = session(c);
    switch (s->state) {
    case H1_HEAD: return take_head(c, p, n);
    case H1_LENGTH: return (ssize_t)take_length(c, p, n);
    case H1_CHUNKED: return take_chunk(c, p, n);
    case H1_TRAILERS: return take_trailers(c, p, n);
    case H1_TUNNEL: exchange_request_data(s->x, p, n); return (ssize_t)n;
    case H1_DISCARD: return (ssize_t)n;
    default: conn_pause(c, PAUSE_WAIT); return 0; /* H1_WAIT: the next request waits for its turn */
    }
}

ssize_t http1_down_feed(struct conn *c, const uint8_t *p, size_t n) {
    size_t taken = 0;
    while (taken < n && !c->paused) {
        ssize_t k = step(c, p + taken, n - taken);
        if (c->state == CONN_DEAD || k < 0) return k < 0 ? k : (ssize_t)n;
        if (k == 0) break;
        taken += (size_t)k;
    }
    return (ssize_t)taken;
}

/* FIN behind a whole request: its response is still wanted, unless it is a stream without end that nobody will read. */
void http1_down_eof(struct conn *c) {
    struct http1_down *s = session(c);
    struct exchange *x = s->x;
    if (s->state == H1_TUNNEL && x && x->request == X_TUNNEL) {
        exchange_request_end(x, (struct http_trailers){NULL, 0});
        return;
    }
    if (x && s->state == H1_WAIT && !s->event_stream) {
        s->half_closed = true, s->keep_alive = false;
        http1_down_hangup(c);
        return;
    }
    if (x) conn_doom(c, FAIL_CLIENT_GONE);
    else conn_finish(c);
}

/* The response at hand is the last one, if its head can still say so. */
void http1_down_drain(struct conn *c) {
    struct http1_down *s = session(c);
    if (s->x && s->x->response == X_HEAD) s->keep_alive = false;
}

void http1_down_drained(struct conn *c) {
    struct http1_down *s = session(c);
    if (!s->full) return;
    s->full = false;
    if (s->x) exchange_response_drained(s->x);
}

/* FIN may wait behind requests that wait for their turn. */
void http1_down_hangup(struct conn *c) {
    struct http1_down *s = session(c);
    if (s->x && s->state == H1_WAIT && !c->codec_deadline_ms) set_deadline(c, c->core->now_ms + HALF_CLOSED_MS / 4);
}

/* After FIN: has the client closed, or only said that it will ask no more? One that has closed answers any byte with RST, so before
 * the response's head it gets an interim response, which every client must be able to skip (RFC 9110 §15.2). Within a body there is
 * only silence to judge by. */
static void look_for_client(struct conn *c, struct exchange *x) {
    struct http1_down *s = session(c);
    uint64_t until = x->active_ms + HALF_CLOSED_MS;
    if (x->response == X_HEAD) {
        if (!s->probed && x->version >= 11) conn_send(c, CONTINUE, sizeof CONTINUE - 1);
        s->probed = true;
    } else if (!c->full && until <= c->core->now_ms) {
        conn_doom(c, FAIL_CLIENT_GONE);
        return;
    }
    set_deadline(c, until > c->core->now_ms ? until : c->core->now_ms + HALF_CLOSED_MS);
}

/* Told to go, it has not: it may still be reading what it was told. */
static void look_for_reader(struct conn *c) {
    struct http1_down *s = session(c);
    bool reads = c->out.base != s->left;
    s->left = c->out.base, s->scanned = reads ? 0 : s->scanned + 1;
    if (reads || (conn_unsent(c) && s->scanned < UNREAD_LOOKS)) set_deadline(c, c->core->now_ms + DISCARD_MS);
    else conn_doom(c, FAIL_CLIENT_GONE);
}

/* A head or a body takes too long, or a client that was told to go doesn't. */
void http1_down_overdue(struct conn *c) {
    struct http1_down *s = session(c);
    struct exchange *x = s->x;
    if (s->state == H1_HEAD) {
        c->listener->stat[LISTENER_idle_timeouts]++;
        refuse(c, 408, "the request's head took too long", 0);
    } else if (s->state == H1_DISCARD) {
        look_for_reader(c);
    } else if (x && s->state == H1_WAIT) {
        look_for_client(c, x);
    } else if (x && s->state < H1_TO_EOF) {
        uint64_t until = x->body_start_ms + http_options(c)->body_timeout_ms + x->request_bytes * 1000 / BODY_RATE;
        if (c->paused || until > c->core->now_ms) { /* we are the ones who let it wait, or it is on its way */
            set_deadline(c, until > c->core->now_ms ? until : c->core->now_ms + http_options(c)->body_timeout_ms);
            return;
        }
        c->listener->stat[LISTENER_idle_timeouts]++;
        s->keep_alive = false;
        exchange_bad_request(x, 408, "the request's body took too long");
    }
}

/* ---- responses ---- */

static uint8_t *put_status_line(uint8_t *to, const struct http_head *h) {
    struct slice reason = h->reason.n ? h->reason : http_reason(h->status);
    to = http1_put(to, SLICE("HTTP/1.1 "));
    *to++ = (uint8_t)('0' + h->status / 100), *to++ = (uint8_t)('0' + h->status / 10 % 10);
    *to++ = (uint8_t)('0' + h->status % 10), *to++ = ' ';
    if (reason.n) to = http1_put(to, reason);
    return http1_put(to, SLICE("\r\n"));
}

static bool bodiless(const struct exchange *x, const struct http_head *h) {
    return h->status < 200 || h->status == 204 || h->status == 304 || x->method == HTTP_HEAD;
}

/* How the response's body will be delimited (RFC 9112 §6.3). */
static uint8_t *put_framing(uint8_t *to, struct conn *c, struct exchange *x, const struct http_head *h, bool end) {
    struct http1_down *s = session(c);
    bool tunnel = x->response == X_TUNNEL;
    s->chunked_out = s->close_out = false;
    if (h->status < 200 && !tunnel) return to;
    bool sized = tunnel || bodiless(x, h) || http_find(h, HN_CONTENT_LENGTH);
    if (!sized && end) to = http1_put(to, SLICE("content-length: 0\r\n"));
    else if (!sized && x->version >= 11)
        s->chunked_out = true, to = http1_put(to, SLICE("transfer-encoding: chunked\r\n"));
    else if (!sized) s->close_out = true;
    if (s->close_out || c->core->draining || !x->request_done) s->keep_alive = s->keep_alive && tunnel;
    if (tunnel && h->upgrade.n) {
        to = http1_put(to, SLICE("connection: upgrade\r\nupgrade: "));
        return http1_put(http1_put(to, h->upgrade), SLICE("\r\n"));
    }
    if (tunnel) return to;
    if (!s->keep_alive) return http1_put(to, SLICE("connection: close\r\n"));
    return x->version == 10 ? http1_put(to, SLICE("connection: keep-alive\r\n")) : to;
}

static void send_head(struct exchange *x, struct http_head *h, bool end) {
    struct conn *c = x->down;
    struct http_state *state = http_state(x->core);
    uint8_t *to = state->encoded, *limit = state->encoded + sizeof state->encoded;
    if (h->reason.n > 4096) h->reason.n = 0;
    to = put_status_line(to, h);
    to = http1_put_fields(to, limit - 4096, h->fields, h->count);
    if (!to) {
        conn_reset(c, FAIL_BAD_REPLY);
        return;
    }
    const struct http_field *type = http_find(h, HN_CONTENT_TYPE);
    session(c)->event_stream = type && type->value.n >= 17 && memcmp(type->value.p, "text/event-stream", 17) == 0;
    if (x->response == X_TUNNEL) {
        session(c)->state = H1_TUNNEL;
        conn_unpause(c, PAUSE_WAIT);
    }
    to = put_framing(to, c, x, h, end);
    to = http1_put(to, SLICE("\r\n"));
    conn_send(c, state->encoded, (size_t)(to - state->encoded));
    if (unlikely(session(c)->half_closed) && x->response == X_TUNNEL)
        exchange_request_end(x, (struct http_trailers){NULL, 0}); /* FIN came before there was a tunnel to end */
}

static void send_data(struct exchange *x, const uint8_t *p, size_t n) {
    struct conn *c = x->down;
    struct http1_down *s = session(c);
    if (x->method == HTTP_HEAD || n == 0) return;
    if (s->chunked_out) http1_send_chunk(c, p, n);
    else conn_send(c, p, n);
    if (conn_full(c) && !s->full) {
        s->full = true;
        exchange_response_full(x);
    }
}

static void send_end(struct exchange *x, struct http_trailers trailers) {
    struct conn *c = x->down;
    struct http1_down *s = session(c);
    if (s->state == H1_TUNNEL) conn_shutdown(c);
    else if (s->chunked_out) http1_send_last_chunk(c, trailers);
}

static void reset(struct exchange *x, enum failure why) { conn_reset(x->down, why); }
static void pause(struct exchange *x) { conn_pause(x->down, PAUSE_PEER); }
static void resume(struct exchange *x) { conn_unpause(x->down, PAUSE_PEER); }

/* The response is over: the next request, or the end of the connection. A client that is still sending would take a plain
 * close for a reset that overtakes the response: its bytes are taken for a while. */
static void done(struct exchange *x) {
    struct conn *c = x->down;
    struct http1_down *s = session(c);
    bool whole = s->state == H1_WAIT && x->request_done;
    s->x = NULL, s->full = s->probed = s->event_stream = false, c->codec_deadline_ms = 0;
    if (c->state >= CONN_FINISHING || c->doom) {
        s->state = H1_DISCARD; /* more of the body may lie behind what ended it */
        return;
    }
    conn_unpause(c, PAUSE_PEER);
    if (whole && s->keep_alive) {
        s->state = H1_HEAD;
        conn_unpause(c, PAUSE_WAIT);
        return;
    }
    if (whole || s->half_closed || c->eof) {
        conn_finish(c);
        return;
    }
    s->state = H1_DISCARD, s->left = c->out.base + c->out.bytes, s->scanned = 0;
    conn_unpause(c, PAUSE_WAIT);
    conn_shutdown(c);
    set_deadline(c, c->core->now_ms + DISCARD_MS);
}

const struct http_down_side http1_down_side = {.head = send_head,
                                               .data = send_data,
                                               .end = send_end,
                                               .reset = reset,
                                               .pause = pause,
                                               .resume = resume,
                                               .done = done};
