/* The chunked coding and what follows it: RFC 9112 §7.1. */
#include "http1_fields.h"

#include "http_scan.h"

#define SIZE_MAX_CHUNK (1ull << 62) /* bytes */

enum {
    SIZE,      /* at a digit of the size, or behind the last */
    GAP,       /* in white space that may precede an extension */
    EXTENSION, /* in extensions */
    SIZE_LF,   /* behind the CR of the line */
    DATA,      /* `left` bytes of payload to come */
    DATA_CR,
    DATA_LF,
    LAST, /* behind the line of the last chunk */
    BROKEN,
};

static int hex(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A byte of a size line. false: it has no place there. */
static bool line_byte(struct http1_chunked *c, uint8_t b) {
    int digit;
    switch (c->state) {
    case SIZE:
        if ((digit = hex(b)) >= 0) {
            if (c->left > SIZE_MAX_CHUNK >> 4) return false;
            c->left = c->left << 4 | (unsigned)digit, c->has_size = true;
            return c->left <= SIZE_MAX_CHUNK;
        }
        if (!c->has_size) return false;
        __attribute__((fallthrough));
    case GAP:
        if (b == '\r' && c->state == SIZE) c->state = SIZE_LF;
        else if (b == ';') c->state = EXTENSION;
        else if (b == ' ' || b == '\t') c->state = GAP;
        else return false;
        return true;
    case EXTENSION:
        if (b == '\r') c->state = SIZE_LF;
        return b == '\r' || !http_ends_value(b);
    default: /* SIZE_LF */ c->state = c->left ? DATA : LAST; return b == '\n';
    }
}

static int broken(struct http1_chunked *c) {
    c->state = BROKEN;
    return HTTP1_BAD;
}

int http1_chunked(struct http1_chunked *c, const struct http1_limits *limits, const uint8_t *p, size_t n, size_t *taken,
                  struct slice *data) {
    size_t i = 0;
    for (*taken = n; i < n; i++) {
        switch (c->state) {
        case DATA:
            *data = slice_of(p + i, min_size(n - i, c->left < n ? (size_t)c->left : n));
            c->left -= data->n;
            if (c->left == 0) c->state = DATA_CR;
            *taken = i + data->n;
            return CHUNK_DATA;
        case DATA_CR:
            if (p[i] != '\r') return broken(c);
            c->state = DATA_LF;
            break;
        case DATA_LF:
            if (p[i] != '\n') return broken(c);
            c->state = SIZE, c->line = 0, c->has_size = false;
            break;
        case LAST: *taken = i; return CHUNK_TRAILERS;
        case BROKEN: return HTTP1_BAD;
        default:
            if (++c->line > limits->chunk_line || !line_byte(c, p[i])) return broken(c);
        }
    }
    return c->state == LAST ? CHUNK_TRAILERS : CHUNK_MORE;
}

/* ---- trailers ---- */

/* Fields that a recipient could take for a part of the head, where they would change how the message is framed, routed, authorised or
 * understood (RFC 9110 §6.5.1). Besides those the proxy knows by id. */
static const char *const never[] = {
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-location",
    "content-range",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "retry-after",
    "set-cookie",
    "vary",
    "warning",
    "www-authenticate",
};

static bool may_trail(const struct http_field *f) {
    switch (f->id) {
    case HN_OTHER: break;
    case HN_GRPC_STATUS:
    case HN_GRPC_MESSAGE:
    case HN_SERVER:
    case HN_USER_AGENT:
    case HN_ACCEPT: return true;
    default: return false;
    }
    for (size_t i = 0; i < countof(never); i++)
        if (http_is(f->name, never[i])) return false;
    return true;
}

ssize_t http1_trailers(const uint8_t *p, size_t n, const struct http1_limits *limits, struct http_field *fields,
                       uint32_t capacity, uint32_t *count) {
    struct http1_cursor c = {.lo = p,
                             .p = p,
                             .end = p + min_size(n, limits->trailers),
                             .fields = fields,
                             .max = limits->fields < capacity ? limits->fields : capacity};
    int r = http1_read_fields(&c);
    *count = c.count;
    if (r < 0) return r;
    if (r == 0) return n >= limits->trailers ? HTTP1_HEAD_TOO_LARGE : 0;
    for (uint32_t i = 0; i < c.count; i++)
        if (!may_trail(&fields[i])) fields[i].drop = true;
    return c.p - p;
}
