/* Which upstream connection takes an exchange. */
#include "exchange.h"

#include <stdlib.h>

#include "../core/pool.h"

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
    if (open) exchange_begin(x, x->kept ? x->kept : head, n, end);
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

enum failure exchange_take_turn(struct exchange *x, struct endpoint *ep) {
    enum failure why = FAIL_NO_ENDPOINT;
    struct conn *up = ep->lb && ep->lb->usable ? take(x, ep, &why) : NULL;
    if (up) return use(x, up, x->kept, x->kept_len, x->kept_end);
    return why == FAIL_OVERFLOW ? pool_queue(ep, x->s) : exchange_connect(x, NULL, x->kept_end);
}
