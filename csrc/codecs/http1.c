/* The codec http1: its verbs, and how messages are written. */
#include "http1.h"

/* ---- writing ---- */

/* "name: value" as it came, so that it can be copied in one piece with its neighbours? One that got another value since is not. */
static inline bool in_one_piece(const struct http_field *f) {
    return f->line && f->value.p == f->name.p + f->name.n + 2;
}
static inline bool adjacent(const struct http_field *f, const struct http_field *next) {
    return next->name.p == f->value.p + f->value.n + 2;
}

uint8_t *http1_put_fields(uint8_t *to, const uint8_t *end, const struct http_field *f, uint32_t count) {
    const struct http_field *last = f + count;
    while (f < last) {
        if (f->drop) {
            f++;
            continue;
        }
        const struct http_field *g = f;
        if (likely(in_one_piece(f))) {
            while (g + 1 < last && !g[1].drop && adjacent(g, g + 1) && in_one_piece(g + 1)) g++;
            size_t n = (size_t)(g->value.p + g->value.n - f->name.p);
            if ((size_t)(end - to) < n + 2) return NULL;
            memcpy(to, f->name.p, n), to += n;
        } else {
            if ((size_t)(end - to) < f->name.n + f->value.n + 4) return NULL;
            to = http1_put(to, f->name);
            *to++ = ':', *to++ = ' ';
            if (f->value.n) to = http1_put(to, f->value);
        }
        *to++ = '\r', *to++ = '\n';
        f = g + 1;
    }
    return to;
}

static size_t size_line(char *to, size_t n) {
    static const char hex[] = "0123456789abcdef";
    char digits[16];
    size_t count = 0, k = 0;
    do digits[count++] = hex[n & 15];
    while (n >>= 4);
    while (count) to[k++] = digits[--count];
    to[k++] = '\r', to[k++] = '\n';
    return k;
}

void http1_send_chunk(struct conn *c, const uint8_t *p, size_t n) {
    char line[20];
    conn_send(c, line, size_line(line, n));
    conn_send(c, p, n);
    conn_send(c, "\r\n", 2);
}

void http1_send_last_chunk(struct conn *c, struct http_trailers trailers) {
    struct http_state *state = http_state(c->core);
    uint8_t *end = state->encoded + sizeof state->encoded - 2;
    uint8_t *to = http1_put(state->encoded, SLICE("0\r\n"));
    uint8_t *behind = trailers.count ? http1_put_fields(to, end, trailers.fields, trailers.count) : to;
    if (behind) to = behind;
    *to++ = '\r', *to++ = '\n';
    conn_send(c, state->encoded, (size_t)(to - state->encoded));
}

/* ---- the codec ---- */

/* A request line begins with a method: a token, then a space. */
static enum match http1_match(const uint8_t *p, size_t n) {
    size_t i = 0;
    while (n >= 2 && p[0] == '\r' && p[1] == '\n' && i++ < 2)
        p += 2, n -= 2; /* empty lines before it (RFC 9112 §2.2) */
    if (n == 0 || (n == 1 && p[0] == '\r')) return MATCH_MORE;
    i = 0;
    while (i < n && i < 24 && http_token_table[p[i]]) i++;
    if (i == n && n < 24) return MATCH_MORE;
    return i > 0 && i < n && p[i] == ' ' && p[i + (i + 1 < n)] != '\r' ? MATCH_YES : MATCH_NO;
}

static int http1_open(struct conn *c) { return c->side == UP ? 1 : http1_down_open(c); }
static ssize_t http1_feed(struct conn *c, const uint8_t *p, size_t n) {
    return c->side == DOWN ? http1_down_feed(c, p, n) : http1_up_feed(c, p, n);
}
static void http1_eof(struct conn *c) {
    if (c->side == DOWN) http1_down_eof(c);
    else http1_up_eof(c);
}
static void http1_drained(struct conn *c) {
    if (c->side == DOWN) http1_down_drained(c);
    else http1_up_drained(c);
}

#define REFUSAL "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

const struct codec http1_codec = {
    .name = "http1",
    .prefix = "http",
    .family = "http",
    .mode = POOL_PING_PONG,
    .down_session = sizeof(struct http1_down),
    .up_session = sizeof(struct http1_up),
    .max_stash = HTTP_HEAD_MAX + SCRATCH_MAX,
    .attributes = http_attributes,
    .attribute_count = HTTP_ATTRIBUTE_COUNT,
    .attribute = http_attribute,
    .parameter = http_parameter,
    .parameter_new = http_parameter_new,
    .common = http_common_of_conn,
    .match = http1_match,
    .refusal = {(const uint8_t *)REFUSAL, sizeof REFUSAL - 1},
    .head_timeout_ms = http_head_timeout_ms,
    .listener_new = http_listener_new,
    .listener_free = http_options_free,
    .upstream_new = http_upstream_new,
    .upstream_free = http_options_free,
    .open = http1_open,
    .feed = http1_feed,
    .eof = http1_eof,
    .drained = http1_drained,
    .overdue = http1_down_overdue,
    .drain = http1_down_drain,
    .hangup = http1_down_hangup,
    .reply_failure = http_reply_failure,
    .core_close = http_core_close,
    .shared = SHARED_HTTP,
};
