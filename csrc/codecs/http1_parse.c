/* Heads of requests and responses: RFC 9112 §2 to §4 and §6.3. The field lines are http1_fields.c's. */
#include "http1_fields.h"

#include "http_scan.h"

#define METHOD_MAX 32  /* bytes; the longest registered method has 17 */
#define LEADING_MAX 2  /* empty lines before a request */
#define VERSION_SIZE 8 /* "HTTP/1.1" */

const char *http1_error_text(int error) {
    switch (error) {
    case HTTP1_HEAD_TOO_LARGE: return "the head of the message is too large";
    case HTTP1_TARGET_TOO_LONG: return "the request target is too long";
    case HTTP1_BAD_VERSION: return "this version of HTTP is not supported here";
    case HTTP1_BAD_CODING: return "this transfer coding is not supported";
    case HTTP1_BAD_EXPECT: return "this expectation can not be met";
    default: return "the message is malformed";
    }
}

uint16_t http1_error_status(int error) {
    switch (error) {
    case HTTP1_HEAD_TOO_LARGE: return 431;
    case HTTP1_TARGET_TOO_LONG: return 414;
    case HTTP1_BAD_VERSION: return 505;
    case HTTP1_BAD_CODING: return 501;
    case HTTP1_BAD_EXPECT: return 417;
    default: return 400;
    }
}

/* ---- versions ---- */

/* "HTTP/d.d" at p. 1 and the minor version, 0 it is cut, < 0 an error. The major version is judged when all of it is there. */
static int read_version(const uint8_t *p, const uint8_t *end, unsigned *minor) {
    static const uint8_t one[] = "HTTP/1.1";
    *minor = 1;
    if (likely(end - p >= VERSION_SIZE && http_load64(p) == http_load64(one))) return 1;
    if (end - p >= VERSION_SIZE && memcmp(p, one, 7) == 0 && (uint8_t)(p[7] - '0') <= 9) {
        *minor = (unsigned)(p[7] - '0');
        return 1;
    }
    for (int i = 0; i < VERSION_SIZE; i++) {
        if (p + i == end) return 0;
        if (i == 5 || i == 7 ? (uint8_t)(p[i] - '0') > 9 : p[i] != one[i]) return HTTP1_BAD;
    }
    return HTTP1_BAD_VERSION;
}

/* ---- targets ---- */

static struct slice until(const uint8_t *p, const uint8_t *end) { return slice_of(p, (size_t)(end - p)); }

/* "http://authority/path?query". What names the server is the target, whatever Host says (RFC 9112 §3.2.2). A query behind an empty
 * path is given alone; http_request.c puts the slash in front. */
static int absolute_form(struct http_head *h, struct slice target) {
    const uint8_t *p = target.p, *end = p + target.n;
    const uint8_t *colon = memchr(p, ':', target.n < 6 ? target.n : 6);
    if (!colon || end - colon < 4 || colon[1] != '/' || colon[2] != '/') return HTTP1_BAD;
    h->scheme = until(p, colon);
    if (!http_is(h->scheme, "http") && !http_is(h->scheme, "https")) return HTTP1_BAD;
    const uint8_t *host = colon + 3, *slash = host;
    while (slash < end && *slash != '/' && *slash != '?') slash++;
    h->authority = until(host, slash);
    if (h->authority.n == 0 || host[0] == ':' || !http_authority_ok(h->authority)) return HTTP1_BAD;
    if (slash == end) h->path = h->method == HTTP_OPTIONS ? SLICE("*") : SLICE("/"); /* RFC 9112 §3.2.4 */
    else h->path = until(slash, end);
    return 0;
}

/* "host:port", both there. */
static int authority_form(struct http_head *h, struct slice target) {
    const uint8_t *last = target.p + target.n - 1, *p = last;
    if (!http_authority_ok(target) || target.p[0] == ':') return HTTP1_BAD;
    while (p > target.p && *p >= '0' && *p <= '9') p--;
    if (p == last || *p != ':') return HTTP1_BAD;
    h->authority = target, h->path = SLICE("");
    return 0;
}

/* The target in one of its four forms (RFC 9112 §3.2). Sets path; authority and scheme where it holds them. */
static int take_target(struct http_head *h, struct slice target) {
    if (unlikely(h->method == HTTP_CONNECT)) return authority_form(h, target);
    h->path = target;
    if (likely(target.p[0] == '/')) return 0;
    if (target.n == 1 && target.p[0] == '*') return h->method == HTTP_OPTIONS ? 0 : HTTP1_BAD;
    return absolute_form(h, target);
}

/* ---- start lines ---- */

/* Method, one space, target, one space, version, CR LF. As http1_read_fields(). */
static int request_line(struct http1_cursor *c, const struct http1_limits *limits, struct http_head *h) {
    const uint8_t *p = c->p, *q = p, *end = c->end;
    unsigned minor;
    while (q < end && http_token_table[*q]) q++;
    if (unlikely(q - p > METHOD_MAX)) return HTTP1_BAD;
    if (unlikely(q == end)) return 0;
    if (unlikely(*q != ' ' || q == p)) return HTTP1_BAD;
    h->method_text = until(p, q);
    h->method = (uint8_t)http_method_find(p, h->method_text.n);

    const uint8_t *target = q + 1;
    size_t left = (size_t)(end - target);
    const uint8_t *stop =
        left > limits->target ? target + limits->target + 1 : end; /* one more, to see it is too long */
    q = http_scan_target(target, stop, c->lo);
    if (unlikely(q == stop)) return left > limits->target ? HTTP1_TARGET_TOO_LONG : 0;
    if (unlikely(*q != ' ' || q == target)) return HTTP1_BAD;

    const uint8_t *version = q + 1, *line_end = version + VERSION_SIZE;
    int r = read_version(version, end, &minor);
    if (unlikely(r == 0)) return 0;
    if (unlikely(r == HTTP1_BAD)) return r;
    /* an unknown version is told as such only in what is a request line */
    if (line_end < end && line_end[0] != '\r') return HTTP1_BAD;
    if (line_end + 1 < end && line_end[1] != '\n') return HTTP1_BAD;
    if (end - line_end < 2) return 0;
    if (unlikely(r < 0)) return r;
    h->version = minor == 0 ? 10 : 11;
    c->p = line_end + 2;
    return take_target(h, until(target, q)) < 0 ? HTTP1_BAD : 1;
}

/* Version, one space, three digits, perhaps a space and a reason, CR LF. */
static int status_line(struct http1_cursor *c, struct http_head *h) {
    const uint8_t *p = c->p, *end = c->end;
    unsigned minor, status = 0;
    int r = read_version(p, end, &minor);
    if (unlikely(r <= 0)) return r;
    p += VERSION_SIZE;
    for (int i = 0; i < 4; i++, p++) {
        if (p == end) return 0;
        if (i == 0 ? *p != ' ' : *p < '0' || *p > '9') return HTTP1_BAD;
        if (i) status = status * 10 + (unsigned)(*p - '0');
    }
    if (status < 100 || status > 599) return HTTP1_BAD;
    if (p == end) return 0;
    if (*p != ' ' && *p != '\r') return HTTP1_BAD;
    const uint8_t *reason = *p == ' ' ? p + 1 : p;
    p = http_scan_value(reason, end, c->lo);
    if (p == end) return 0;
    if (*p != '\r') return HTTP1_BAD;
    if (p + 1 == end) return 0;
    if (p[1] != '\n') return HTTP1_BAD;
    h->status = (uint16_t)status, h->version = minor == 0 ? 10 : 11;
    h->reason = until(reason, p);
    c->p = p + 2;
    return 1;
}

/* ---- what a complete head means ---- */

static int take_host(struct http1_cursor *c, struct http_head *h) {
    if (unlikely(!http1_seen(c, HN_HOST))) return h->version == 10 ? 0 : HTTP1_BAD;
    struct slice host = http1_first(c, HN_HOST)->value;
    if (unlikely(http1_twice(c, HN_HOST) || !http_authority_ok(host))) return HTTP1_BAD;
    if (likely(h->authority.n == 0)) h->authority = host;
    return 0;
}

/* Of HTTP/1.0 an expectation is ignored, and not passed on as if it came with 1.1 (RFC 9110 §10.1.1). */
static int take_expect(struct http1_cursor *c, struct http_head *h) {
    for (uint32_t i = c->first[HN_EXPECT]; i < c->count; i++) {
        struct http_field *f = &c->fields[i];
        if (f->id != HN_EXPECT) continue;
        if (h->version == 10) f->drop = true;
        else if (!http_is(f->value, "100-continue")) return HTTP1_BAD_EXPECT;
        else h->expect = true;
    }
    return 0;
}

static void take_te(struct http1_cursor *c, struct http_head *h) {
    for (uint32_t i = c->first[HN_TE]; i < c->count; i++)
        if (c->fields[i].id == HN_TE && http_list_has(c->fields[i].value, "trailers")) h->te_trailers = true;
}

static int request_body(struct http1_cursor *c, struct http_head *h) {
    bool chunked, sized;
    int r = http1_framing(c, h, &chunked, &sized, &h->length);
    if (unlikely(r < 0)) return r;
    h->body = chunked ? HTTP_CHUNKED : h->length ? HTTP_LENGTH : HTTP_NO_BODY;
    /* RFC 9110 §9.3.6: a CONNECT has no content; who sees some would take it for the tunnel's first bytes, or not. */
    return h->method == HTTP_CONNECT && h->body != HTTP_NO_BODY ? HTTP1_BAD : 0;
}

/* An Upgrade may always be ignored (RFC 9110 §7.8). It is with a body, which a server would have to read first, and for h2c, whose
 * tunnel would carry requests past every rule. */
static void judge_upgrade(struct http_head *h) {
    if (h->body != HTTP_NO_BODY || http_list_has(h->upgrade, "h2c")) h->upgrade = SLICE("");
}

static int finish_request(struct http1_cursor *c, struct http_head *h) {
    int r = take_host(c, h);
    if (r == 0) r = request_body(c, h);
    if (r == 0) r = http1_connection(c, h);
    if (unlikely(r < 0)) return r;
    if (unlikely(h->upgrade.n)) judge_upgrade(h);
    if (unlikely(http1_seen(c, HN_TE))) take_te(c, h);
    return unlikely(http1_seen(c, HN_EXPECT)) ? take_expect(c, h) : 0;
}

/* RFC 9112 §6.3. What a length means where there is no body is up to the method (HEAD, 304); where none may be sent, it is not passed
 * on. */
static int response_body(struct http1_cursor *c, struct http_head *h) {
    bool chunked, sized, bare = h->status < 200 || h->status == 204;
    int r = http1_framing(c, h, &chunked, &sized, &h->length);
    if (unlikely(r < 0)) return r;
    if (h->method == HTTP_CONNECT && h->status / 100 == 2) bare = true;
    if (bare && sized) http1_first(c, HN_CONTENT_LENGTH)->drop = true;
    if (bare || h->method == HTTP_HEAD || h->status == 304) h->body = HTTP_NO_BODY;
    else if (chunked) h->body = HTTP_CHUNKED;
    else if (sized) h->body = h->length ? HTTP_LENGTH : HTTP_NO_BODY;
    else h->body = HTTP_TO_EOF;
    if (h->body != HTTP_LENGTH) h->length = 0;
    return 0;
}

static int finish_response(struct http1_cursor *c, struct http_head *h) {
    int r = response_body(c, h);
    if (r == 0) r = http1_connection(c, h);
    if (unlikely(r < 0)) return r;
    if (h->body == HTTP_TO_EOF) h->keep_alive = false;
    if (h->status != 101) h->upgrade = SLICE("");
    return 0;
}

/* ---- heads ---- */

/* Is there more to say than last time? Only when a line has ended since, or the limits are near: a head that comes byte by byte is not
 * read again with each. */
static bool worth_reading(const uint8_t *p, size_t n, size_t scanned, const struct http1_limits *limits) {
    if (scanned == 0 || n >= limits->head || scanned >= n) return true;
    if (memchr(p + scanned, '\n', n - scanned)) return true;
    while (n && (*p == '\r' || *p == '\n')) p++, n--;
    return n > limits->target && !memchr(p, '\n', n);
}

static struct http1_cursor open_cursor(const uint8_t *p, size_t n, const struct http1_limits *limits,
                                       struct http_field *fields, uint32_t capacity) {
    return (struct http1_cursor){.lo = p,
                                 .p = p,
                                 .end = p + min_size(n, limits->head),
                                 .fields = fields,
                                 .max = limits->fields < capacity ? limits->fields : capacity};
}

/* 1: at the first byte of the request line. */
static int skip_empty_lines(struct http1_cursor *c) {
    for (int i = 0; i < LEADING_MAX && c->p < c->end && *c->p == '\r'; i++) {
        if (c->p + 1 == c->end) return 0;
        if (c->p[1] != '\n') return HTTP1_BAD;
        c->p += 2;
    }
    return c->p < c->end;
}

/* What the caller is told after `r` of the steps. */
static ssize_t verdict(const struct http1_cursor *c, int r, size_t n, size_t *scanned,
                       const struct http1_limits *limits) {
    if (likely(r > 0)) return c->p - c->lo;
    if (r < 0) return r;
    if (n >= limits->head) return HTTP1_HEAD_TOO_LARGE;
    *scanned = n;
    return 0;
}

ssize_t http1_request(const uint8_t *p, size_t n, size_t *scanned, const struct http1_limits *limits,
                      struct http_field *fields, uint32_t capacity, struct http_head *h) {
    if (!worth_reading(p, n, *scanned, limits)) {
        *scanned = n;
        return 0;
    }
    struct http1_cursor c = open_cursor(p, n, limits, fields, capacity);
    struct slice none = SLICE("");
    *h = (struct http_head){.request = true,
                            .scheme = none,
                            .authority = none,
                            .reason = none,
                            .upgrade = none,
                            .fields = fields,
                            .capacity = capacity};
    int r = skip_empty_lines(&c);
    if (r > 0) r = request_line(&c, limits, h);
    if (r > 0) r = http1_read_fields(&c);
    h->count = c.count, h->absent = ~c.seen;
    int error = r > 0 ? finish_request(&c, h) : 0;
    return verdict(&c, error < 0 ? error : r, n, scanned, limits);
}

ssize_t http1_response(const uint8_t *p, size_t n, size_t *scanned, const struct http1_limits *limits,
                       struct http_field *fields, uint32_t capacity, struct http_head *h) {
    if (!worth_reading(p, n, *scanned, limits)) {
        *scanned = n;
        return 0;
    }
    struct http1_cursor c = open_cursor(p, n, limits, fields, capacity);
    struct slice none = SLICE("");
    *h = (struct http_head){.method = h->method,
                            .method_text = none,
                            .scheme = none,
                            .authority = none,
                            .path = none,
                            .upgrade = none,
                            .fields = fields,
                            .capacity = capacity};
    int r = status_line(&c, h);
    if (r > 0) r = http1_read_fields(&c);
    h->count = c.count, h->absent = ~c.seen;
    int error = r > 0 ? finish_response(&c, h) : 0;
    return verdict(&c, error < 0 ? error : r, n, scanned, limits);
}
