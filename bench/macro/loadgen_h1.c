/* HTTP/1.1 as a client: one request at a time on a connection, status, length and body of every reply checked. */
#include "loadgen_http.h"

enum { REQUEST_MAX = 1024 };

/* Eight fields, about what a browser or a client library sends. */
#define FIELDS                                                                                                  \
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) bench/1.0\r\nAccept: application/json, */*;q=0.5\r\n"          \
    "Accept-Encoding: gzip, deflate\r\nAccept-Language: en-US,en;q=0.5\r\nCookie: session=0123456789abcdef\r\n" \
    "X-Tenant: acme\r\nCache-Control: no-cache\r\n"

void h1_prepare(struct request *r, unsigned host) {
    char *to = malloc(REQUEST_MAX);
    if (!to) { wire_die("out of memory"); }
    int n = option.hosts ? sprintf(to, "GET /r%u/%.*s HTTP/1.1\r\nHost: h%05u.example.com\r\n",
                                   (unsigned)random64() % 10, KEY_LENGTH, r->key, host)
                         : sprintf(to, "%s /bench/%.*s HTTP/1.1\r\nHost: bench.example.com\r\n",
                                   option.op == PUT ? "PUT" : "GET", KEY_LENGTH, r->key);
    n += sprintf(to + n, FIELDS);
    if (option.op == PUT) { n += sprintf(to + n, "Content-Length: %zu\r\n", option.value_size); }
    n += sprintf(to + n, "\r\n");
    r->form[0].bytes = r->form[1].bytes = (uint8_t *)to;
    r->form[0].n = r->form[1].n = (size_t)n;
}

void h1_begin(struct conn *c) {
    if (meter.stopping) { return; }
    const struct request *r = c->request = next_request(c);
    if (!option.reconnect) { c->sent_at = wire_now_ns(); }
    c->in_body = false;
    under_way++;
    out_add(c, r->form[1].bytes, r->form[1].n);
    if (option.op == PUT) {
        size_t own;
        const char *head = wire_value_head(r->key, KEY_LENGTH, option.value_size, &own);
        out_add(c, head, own);
        c->tail = pattern + own;
        c->tail_left = option.value_size - own;
    }
}

/* The head of a reply at p, n bytes with its empty line: 200, and of the right length. */
static bool head_is_right(const char *p, size_t n) {
    const char *end = p + n, *line = memchr(p, '\n', n) + 1;
    size_t want = option.op == PUT ? KEY_LENGTH : option.value_size;
    if (strncmp(p, "HTTP/1.1 200", 12)) { return false; }
    if (option.probe) { exit(0); }
    for (; line < end; line = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1) {
        if (end - line > 15 && !strncasecmp(line, "content-length:", 15)) {
            return strtoul(line + 15, NULL, 10) == want;
        }
    }
    return false;
}

/* Passes a reply's head. Its length; 0: more is needed; -1: it is wrong. */
static ssize_t take_head(struct conn *c, const char *p, size_t n) {
    if (c->head_length && n >= c->head_length && !memcmp(p, c->head, c->head_length)) {
        return (ssize_t)c->head_length;
    }
    const char *stop = memmem(p, n, "\r\n\r\n", 4);
    if (!stop) { return n > KEPT_ROOM ? -1 : 0; }
    size_t length = (size_t)(stop + 4 - p);
    if (!head_is_right(p, length)) { return -1; }
    c->head_length = 0;
    if (length <= sizeof c->head) {
        memcpy(c->head, p, length);
        c->head_length = length;
    }
    return (ssize_t)length;
}

ssize_t h1_take(struct conn *c, const char *p, size_t n) {
    const char *start = p, *end = p + n;
    while (p < end) {
        if (!c->request) {
            meter_fail("more bytes than replies were due: ", p, (size_t)(end - p));
            return -1;
        }
        if (!c->in_body) {
            ssize_t head = take_head(c, p, (size_t)(end - p));
            if (head < 0) {
                meter_fail("wrong reply: ", p, (size_t)(end - p));
                return -1;
            }
            if (!head) { break; }
            p += head;
            c->in_body = true;
            c->at = 0;
            c->length = option.op == PUT ? KEY_LENGTH : option.value_size;
        }
        size_t left = c->length - c->at, take = (size_t)(end - p) < left ? (size_t)(end - p) : left;
        if (take && !reply_is(c->request, c->at, p, take)) {
            meter_fail("wrong body: ", p, take);
            return -1;
        }
        p += take;
        c->at += take;
        if (c->at == c->length) {
            meter_count(c->sent_at, wire_now_ns(), 1);
            under_way--;
            c->request = NULL;
            if (option.reconnect) {
                conn_done(c);
                return p - start;
            }
            h1_begin(c);
        }
    }
    return p - start;
}
