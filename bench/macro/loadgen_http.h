/* The HTTP load generator's connections: loadgen_http.c moves bytes, loadgen_h1.c and loadgen_h2.c write requests and check
 * replies, loadgen_tls.c encrypts. */
#ifndef BENCH_LOADGEN_HTTP_H
#define BENCH_LOADGEN_HTTP_H

#include "meter.h"
#include "wire.h"

enum {
    OUT_ROOM = 64 << 10,  /* bytes of requests queued per connection, but for big bodies */
    KEPT_ROOM = 32 << 10, /* bytes of an unfinished head or frame */
    KEY_LENGTH = 16,      /* hexadecimal digits */
    HEAD_CACHE = 1024,
    STREAMS_MAX = 128,
};

enum op { GET, PUT, GRPC };

struct options {
    unsigned port, connections, streams, hosts;
    size_t value_size;
    double warmup, seconds;
    uint64_t max_requests;
    enum op op;
    bool h2, tls, reconnect;
    bool probe; /* asks whether there is an answer of status 200, whatever its length */
};
extern struct options option;
extern char *pattern;

/* A prepared request. Of HTTP/2 there are two forms: as the first of a connection, which fills the peer's header table, and as
 * each further one. */
struct request {
    char key[KEY_LENGTH];
    struct {
        uint8_t *bytes;
        size_t n, data_at; /* data_at: of HTTP/2, where the DATA frame begins; 0: there is none */
    } form[2];
};

struct conn {
    int fd;
    void *ssl; /* SSL *, NULL: in the clear */
    bool handshaking;
    bool blocked; /* the socket took less than was queued; of TLS: watched for room */
    uint8_t *out;
    size_t out_at, out_end;
    const char *tail; /* part of the pattern, to be sent behind `out` */
    size_t tail_left;
    uint8_t *kept;
    size_t kept_length;
    unsigned turn;    /* of the prepared requests */
    uint64_t sent_at; /* ns: when the request at hand was begun; with a new connection for each, the connection */
    /* HTTP/1 */
    const struct request *request; /* under way; NULL: none */
    bool in_body;
    size_t at, length;        /* of the reply's body */
    uint8_t head[HEAD_CACHE]; /* the last one that was found right: most are the same */
    size_t head_length;
    struct h2_client *h2;
};

extern uint64_t under_way; /* requests */

/* Takes bytes from the random numbers' fixed row, so that every proxy sees the same requests. */
uint64_t random64(void);
const struct request *next_request(struct conn *c);
void conn_done(struct conn *c); /* its reply is complete, and it was the connection's only one */

/* Whether p[0..n) is what the reply to a request has from byte `at` on. */
static inline bool reply_is(const struct request *r, size_t at, const void *p, size_t n) {
    if (option.op == PUT) { return at + n <= KEY_LENGTH && !memcmp(r->key + at, p, n); }
    return wire_value_is(r->key, KEY_LENGTH, pattern, option.value_size, at, p, n);
}

static inline void out_add(struct conn *c, const void *bytes, size_t n) {
    if (c->out_end + n > OUT_ROOM) { wire_die("loadgen_http: the proxy does not take what is sent to it"); }
    memcpy(c->out + c->out_end, bytes, n);
    c->out_end += n;
}

void h1_prepare(struct request *r, unsigned host);
void h1_begin(struct conn *c);
ssize_t h1_take(struct conn *c, const char *p, size_t n); /* bytes understood; -1: failed */

void h2_prepare(struct request *r);
void h2_open(struct conn *c);
void h2_close(struct conn *c);
ssize_t h2_take(struct conn *c, const uint8_t *p, size_t n);

/* As recv and send, with EAGAIN also while TLS waits for the other direction. */
void tls_open(struct conn *c);
void tls_close(struct conn *c);
int tls_handshake(struct conn *c); /* 1: done, 0: not yet, -1: failed, which is told */
ssize_t tls_recv(struct conn *c, void *to, size_t n);
ssize_t tls_send(struct conn *c, const void *from, size_t n);
bool tls_pending(struct conn *c); /* bytes are here that poll knows nothing of */

#endif
