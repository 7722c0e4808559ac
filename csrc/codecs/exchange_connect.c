/* Which upstream connection takes an exchange, what it is sent there, and whether it may be sent again over another one. */
#include "exchange.h"

#include <stdlib.h>

#include "../core/pool.h"

#define BODY_KEPT \
    16384u /* a body up to here can be sent again when an HTTP/2 server says it did not look at the request */
#define EARLY_PIECES 8 /* BODY_KEPT bytes appended in a row lie in two chunks */

/* ---- sending ---- */

/* Only HTTP/2 servers say that they did not look at a request; of others a body that has begun to leave is never sent again. */
bool exchange_keeps_body(const struct exchange *x, size_t more) {
    return x->kept && !x->body_left && x->s->upstream->codec->mode == POOL_MULTIPLEX && x->request != X_TUNNEL &&
           x->early.bytes + more <= BODY_KEPT;
}

void exchange_send_early(struct exchange *x) {
    struct iovec iov[EARLY_PIECES];
    if (exchange_keeps_body(x, 0)) {
        int pieces = queue_iov(&x->early, iov, EARLY_PIECES);
        for (int i = 0; i < pieces; i++) x->uv->data(x, iov[i].iov_base, iov[i].iov_len);
        return;
    }
    while (x->early.bytes) {
        queue_iov(&x->early, iov, 1);
        x->body_left = true;
        x->uv->data(x, iov[0].iov_base, iov[0].iov_len);
        queue_consume(&x->core->chunks, &x->early, iov[0].iov_len);
    }
}

/* x->up is open: sends the head and what waits behind it. */
static void begin(struct exchange *x, const uint8_t *head, size_t n, bool end) {
    struct stream *s = x->s;
    struct conn *up = x->up;
    x->begun = true, x->fresh = up->served++ == 0;
    s->out_pos = up->out.base + up->out.bytes;
    s->upstream->stat[UPSTREAM_requests_total]++;
    up->endpoint->stat[ENDPOINT_requests_total]++;
    x->uv->begin(x, head, n, end);
    if (end || unlikely(x->withheld)) return;
    exchange_send_early(x);
    if (x->request == X_DONE) x->uv->end(x, x->late);
    else if (x->request_paused && !up->full) exchange_request_drained(x);
}

/* The connection is open: everything that waited goes out. */
void exchange_ready(struct stream *s) {
    struct exchange *x = s->data;
    begin(x, x->kept, x->kept_len, x->kept_end);
}

/* ---- choosing ---- */

static struct conn *take(struct exchange *x, struct endpoint *ep, enum failure *why) {
    const struct upstream *u = x->s->upstream;
    const struct http_upstream *options = u->options;
    if (u->codec->mode == POOL_MULTIPLEX) return pool_multiplex(ep, 0, why);
    if (unlikely(options->pipeline) && x->replayable && !x->upgrade)
        return pool_shared(ep, 1, x->s->start_us + x->s->hash, why);
    return pool_take(ep, 0, why);
}

/* The head in the upstream's form: kept already, or encoded now into the core's scratch. NULL: it is too large. */
static const uint8_t *encoded(struct exchange *x, struct http_head *h, bool end, size_t *n) {
    struct http_state *state = http_state(x->core);
    if (x->kept) {
        *n = x->kept_len;
        return x->kept;
    }
    *n = h ? x->uv->encode(x, h, end, state->encoded, sizeof state->encoded) : 0;
    return *n ? state->encoded : NULL;
}

static bool keep(struct exchange *x, const uint8_t *head, size_t n, bool end) {
    if (x->kept) return true;
    x->kept = n <= EXCHANGE_SMALL ? x->small : malloc(n);
    if (!x->kept) return false;
    memcpy(x->kept, head, n);
    x->kept_len = (uint32_t)n, x->kept_end = end;
    return true;
}

/* Waits for a connection of ep. */
static enum failure stand_in_line(struct exchange *x, struct endpoint *ep, const uint8_t *head, size_t n, bool end) {
    return keep(x, head, n, end) ? pool_queue(ep, x->s) : FAIL_INTERNAL;
}

static enum failure use(struct exchange *x, struct conn *up, const uint8_t *head, size_t n, bool end) {
    bool open = up->state == CONN_OPEN;
    /* A body that has begun to leave can't be sent again, but what stands before it may never have left. */
    if ((!open || x->replayable || up->served) && !keep(x, head, n, end)) return FAIL_INTERNAL;
    x->up = up;
    stream_attach(x->s, up);
    if (open) begin(x, x->kept ? x->kept : head, n, end);
    return FAIL_NONE;
}

enum failure exchange_connect(struct exchange *x, struct http_head *h, bool end) {
    struct stream *s = x->s;
    struct upstream *u = s->upstream;
    const struct endpoint *skip = NULL;
    struct endpoint *busy = NULL; /* refuses new connections at the moment, but has some that will be free again */
    enum failure why = FAIL_NO_ENDPOINT;
    size_t n;
    const uint8_t *head = encoded(x, h, end, &n);
    if (!head) return FAIL_INTERNAL;
    for (;;) {
        struct endpoint *ep = upstream_pick(u, s->hash, skip);
        if (!ep) break;
        struct conn *up = take(x, ep, &why);
        if (likely(up != NULL)) return use(x, up, head, n, end);
        if (why == FAIL_OVERFLOW) return stand_in_line(x, ep, head, n, end);
        if (ep->connections && !busy) busy = ep;
        if (++s->attempt >= u->attempts) break;
        skip = ep;
    }
    return busy ? stand_in_line(x, busy, head, n, end) : why;
}

/* It stood in line for ep, which is asked first. */
void exchange_turn(struct stream *s, struct endpoint *ep) {
    struct exchange *x = s->data;
    enum failure why = FAIL_NO_ENDPOINT;
    struct conn *up = ep->lb && ep->lb->usable ? take(x, ep, &why) : NULL;
    if (up) why = use(x, up, x->kept, x->kept_len, x->kept_end);
    else if (why == FAIL_OVERFLOW) why = pool_queue(ep, s);
    else why = exchange_connect(x, NULL, x->kept_end);
    if (why != FAIL_NONE) stream_fail(s, why);
}

/* ---- again ---- */

/* Sent again only if that can't do twice what was asked once: nothing of it left, the server said so, or asking twice is harmless. */
static bool may_retry(const struct exchange *x, const struct conn *lost, enum failure why, bool unseen) {
    /* It had begun to answer. (What is kept of several streams is half a frame of any, or the one at hand.) */
    if (lost && lost->codec->mode != POOL_MULTIPLEX && lost->in_end > lost->in_start) return false;
    if (x->response != X_HEAD || x->body_left || !x->kept || !x->s->upstream) return false;
    if (why == FAIL_CLIENT_GONE || why == FAIL_TIMEOUT) return false;
    if (!x->begun || unseen || x->replayable) return true;
    return lost && lost->out.base <= x->s->out_pos;
}

bool exchange_retry(struct exchange *x, struct conn *lost, enum failure why, bool unseen) {
    struct stream *s = x->s;
    bool stale = x->begun && !x->fresh; /* a pooled connection its server had closed: nobody's fault */
    if (!may_retry(x, lost, why, unseen)) return false;
    if (s->attempt >= EXCHANGE_ATTEMPTS_MAX || (!stale && s->attempt + 1u >= s->upstream->attempts)) return false;
    s->attempt++;
    s->upstream->stat[UPSTREAM_retries_total]++;
    x->begun = false;
    return exchange_connect(x, NULL, x->kept_end) == FAIL_NONE;
}
