/* The stub HTTP server's connections: backend_http.c moves bytes, backend_h1.c and backend_h2.c answer requests.
 *
 * The last segment of a request's path is its key; the value of a GET, and what a PUT or POST must carry, follow from it
 * (wire.h). What is wrong gets another status or an error, which the load generator reports. */
#ifndef BENCH_BACKEND_HTTP_H
#define BENCH_BACKEND_HTTP_H

#include "wire.h"

enum {
    OUT_ROOM = 1 << 20,   /* bytes of replies waiting per connection; touched only as far as it is used */
    KEPT_ROOM = 64 << 10, /* bytes of an unfinished head or frame */
    KEY_MAX = 128,
};

struct h2_server;

struct client {
    int fd;
    enum { UNDECIDED, HTTP1, HTTP2 } protocol;
    bool closing; /* when all is sent */
    uint8_t *kept;
    size_t kept_length;
    uint8_t *out;
    size_t out_at, out_end;
    const char *tail; /* part of the pattern, to be sent behind `out` */
    size_t tail_left;
    /* HTTP/1: the body being received */
    char key[KEY_MAX];
    size_t key_length, body_left, body_at;
    bool body_wrong;
    struct h2_server *h2;
};

extern size_t value_size;
extern char *pattern;

/* The last segment of a path, without its query. */
static inline const char *key_of(const char *path, size_t n, size_t *length) {
    const char *query = memchr(path, '?', n);
    size_t end = query ? (size_t)(query - path) : n, at = end;
    while (at && path[at - 1] != '/') { at--; }
    *length = end - at;
    return path + at;
}

/* Room for n bytes of output; the bytes are queued by moving the returned place on: c->out_end += n. */
static inline uint8_t *out_room(struct client *c, size_t n) {
    if (c->out_end + n > OUT_ROOM) { wire_die("backend_http: a proxy left %d bytes of replies unread", OUT_ROOM); }
    return c->out + c->out_end;
}

static inline void out_add(struct client *c, const void *bytes, size_t n) {
    memcpy(out_room(c, n), bytes, n);
    c->out_end += n;
}

/* Take bytes from a client: how many they understood (what is left comes again with more), -1: broken. */
ssize_t h1_take(struct client *c, const char *p, size_t n);
void h1_body(struct client *c, const char *p,
             size_t n); /* n <= c->body_left bytes of a body; p NULL: not to be compared */
ssize_t h2_take(struct client *c, const uint8_t *p, size_t n);

void h2_open(struct client *c);
void h2_close(struct client *c);
void h2_fill(struct client *c); /* queues more of the replies that wait for windows or room */

#endif
