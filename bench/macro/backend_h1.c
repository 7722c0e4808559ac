/* HTTP/1.1 as a server that trusts nobody's bytes but its own generator's: sized bodies only. */
#include "backend_http.h"

enum { HEAD_MAX = 512 };

static char ok_head[HEAD_MAX], put_head[HEAD_MAX];
static size_t ok_length;

#define FIELDS                                                                                          \
    "Server: stub\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: application/octet-stream\r\n" \
    "Cache-Control: no-store\r\nETag: \"0123456789abcdef\"\r\nContent-Length: "

static void prepare(void) {
    ok_length = (size_t)snprintf(ok_head, sizeof ok_head, "HTTP/1.1 200 OK\r\n" FIELDS "%zu\r\n\r\n", value_size);
    snprintf(put_head, sizeof put_head, "HTTP/1.1 200 OK\r\n" FIELDS "%%zu\r\n\r\n");
}

static void reply_value(struct client *c, const char *key, size_t key_length) {
    size_t own;
    const char *head = wire_value_head(key, key_length, value_size, &own);
    out_add(c, ok_head, ok_length);
    out_add(c, head, own);
    if (value_size < WIRE_BIG) {
        out_add(c, pattern + own, value_size - own);
    } else {
        c->tail = pattern + own;
        c->tail_left = value_size - own;
    }
}

static void reply_error(struct client *c, const char *status, const char *why) {
    char text[256];
    int n = snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", status,
                     strlen(why), why);
    out_add(c, text, (size_t)n);
    c->closing = true;
}

static void reply_put(struct client *c) {
    char head[HEAD_MAX];
    if (c->body_wrong) {
        reply_error(c, "400 Bad Request", "not the value of this key");
        return;
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    out_add(c, head, (size_t)snprintf(head, sizeof head, put_head, c->key_length));
#pragma GCC diagnostic pop
    out_add(c, c->key, c->key_length);
}

static void reply_events(struct client *c) {
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
                               "Transfer-Encoding: chunked\r\n\r\ne\r\ndata: hello\n\n\r\n";
    out_add(c, text, sizeof text - 1);
}

void h1_body(struct client *c, const char *p, size_t n) {
    c->body_wrong |= p && !wire_value_is(c->key, c->key_length, pattern, value_size, c->body_at, p, n);
    c->body_at += n;
    c->body_left -= n;
    if (!c->body_left) {
        c->body_wrong |= c->body_at != value_size;
        reply_put(c);
    }
}

struct head {
    const char *path;
    size_t path_length, content_length;
    bool get, sized, close, chunked;
};

static bool named(const char *line, const char *end, const char *name, size_t n) {
    return (size_t)(end - line) > n && !strncasecmp(line, name, n);
}

/* Reads a whole head at p..end, end behind its empty line. */
static bool read_head(const char *p, const char *end, struct head *h) {
    const char *line_end = memchr(p, '\n', (size_t)(end - p)), *space = memchr(p, ' ', (size_t)(line_end - p));
    *h = (struct head){.get = *p == 'G'};
    if (!space) { return false; }
    h->path = space + 1;
    space = memchr(h->path, ' ', (size_t)(line_end - h->path));
    if (!space) { return false; }
    h->path_length = (size_t)(space - h->path);
    for (const char *line = line_end + 1; line < end; line = line_end + 1) {
        line_end = memchr(line, '\n', (size_t)(end - line));
        char first = (char)(*line | 32);
        if (first == 'c' && named(line, line_end, "content-length:", 15)) {
            h->content_length = strtoul(line + 15, NULL, 10);
            h->sized = true;
        } else if (first == 'c' && named(line, line_end, "connection: close", 17)) {
            h->close = true;
        } else if (first == 't' && named(line, line_end, "transfer-encoding:", 18)) {
            h->chunked = true;
        }
    }
    return true;
}

ssize_t h1_take(struct client *c, const char *p, size_t n) {
    const char *start = p, *end = p + n;
    struct head h;
    if (!ok_length) { prepare(); }
    while (p < end && !c->tail_left && !c->closing) {
        if (c->body_left) {
            size_t take = (size_t)(end - p) < c->body_left ? (size_t)(end - p) : c->body_left;
            h1_body(c, p, take);
            p += take;
            continue;
        }
        const char *stop = memmem(p, (size_t)(end - p), "\r\n\r\n", 4);
        if (!stop) { break; }
        if (!read_head(p, stop + 4, &h)) { return -1; }
        p = stop + 4;
        const char *key = key_of(h.path, h.path_length, &c->key_length);
        if (c->key_length > KEY_MAX || h.chunked) {
            reply_error(c, "501 Not Implemented", "the stub reads sized bodies and short keys");
            break;
        }
        if (h.get && c->key_length == 3 && !memcmp(key, "sse", 3)) {
            reply_events(c);
        } else if (h.get && !h.content_length) {
            reply_value(c, key, c->key_length);
        } else {
            memcpy(c->key, key, c->key_length);
            c->body_left = h.content_length;
            c->body_at = 0;
            c->body_wrong = !h.sized;
            if (!c->body_left) { h1_body(c, p, 0); }
        }
        c->closing |= h.close && !c->body_left;
    }
    return p - start;
}
