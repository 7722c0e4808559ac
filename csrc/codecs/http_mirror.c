/* Copies of requests to a second upstream, whose responses are thrown away. The copy is an exchange of its own, without client: it
 * gets the same head and body, and when its upstream is slower than the first one it is given up, not waited for. */
#include "exchange.h"

static void no_head(struct exchange *x, struct http_head *h, bool end) { (void)x, (void)h, (void)end; }
static void no_data(struct exchange *x, const uint8_t *p, size_t n) { (void)x, (void)p, (void)n; }
static void no_end(struct exchange *x, struct http_trailers trailers) { (void)x, (void)trailers; }
static void no_reset(struct exchange *x, enum failure why) { (void)x, (void)why; }
static void nothing(struct exchange *x) { (void)x; }
static void done(struct exchange *x) {
    if (x->mirror_of) x->mirror_of->mirror = NULL;
}

static const struct http_down_side mirror_side = {.head = no_head,
                                                  .data = no_data,
                                                  .end = no_end,
                                                  .reset = no_reset,
                                                  .pause = nothing,
                                                  .resume = nothing,
                                                  .done = done};

static bool chosen(struct exchange *x, const struct route *route) {
    return route->mirror && (route->mirror_ppm >= 1000000 || core_random(x->core) % 1000000 < route->mirror_ppm);
}

void http_mirror_begin(struct exchange *x, const struct route *route, struct http_head *h, bool end) {
    if (likely(!chosen(x, route)) || x->upgrade || x->method == HTTP_CONNECT) return;
    struct exchange *m = exchange_new_detached(x, &mirror_side);
    if (!m) return;
    m->s->route = route, m->s->upstream = route->mirror, m->s->hash = x->s->hash;
    m->uv = route->mirror->codec == &http2_codec ? &http2_up_side : &http1_up_side;
    m->method = x->method, m->version = x->version, m->replayable = x->replayable, m->te_trailers = x->te_trailers;
    m->grpc = x->grpc, m->request = x->request, m->request_done = x->request_done;
    m->head_deadline_ms = x->head_deadline_ms;
    exchange_set_deadline(m, x->s->deadline_ms);
    x->mirror = m, m->mirror_of = x;
    route->mirror->stat[UPSTREAM_mirrored_total]++;
    if (exchange_connect(m, h, end) != FAIL_NONE) exchange_drop(m);
}

void http_mirror_data(struct exchange *x, const uint8_t *p, size_t n) {
    struct exchange *m = x->mirror;
    exchange_request_data(m, p, n);
    if (x->mirror && x->mirror->request_paused) exchange_drop(x->mirror);
}

void http_mirror_end(struct exchange *x, struct http_trailers trailers) { exchange_request_end(x->mirror, trailers); }

/* The original is over: a copy that is complete goes on alone. */
void http_mirror_leave(struct exchange *x) {
    struct exchange *m = x->mirror;
    x->mirror = NULL, m->mirror_of = NULL;
    if (m->request != X_DONE) exchange_drop(m);
}
