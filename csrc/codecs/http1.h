/* HTTP/1 connections: what both sides share. RFC 9112. */
#ifndef MOSNPY_HTTP1_H
#define MOSNPY_HTTP1_H

#include "exchange.h"

/* Where a connection stands in what it receives. */
enum http1_state {
    H1_HEAD,     /* between messages, or in a head */
    H1_LENGTH,   /* `left` bytes of the body to come */
    H1_CHUNKED,  /* in a chunked body */
    H1_TRAILERS, /* behind its last chunk */
    H1_TO_EOF,   /* up: the body ends with the connection */
    H1_WAIT,     /* down: the request is complete, its response is not */
    H1_TUNNEL,   /* bytes, whatever they mean */
    H1_DISCARD   /* down: answered for good; what still comes is thrown away until the client has gone */
};

struct http1_down {
    struct exchange *x; /* the request being answered; NULL: none */
    uint64_t left;      /* of the body; H1_DISCARD: where the output stood when last looked at, at first its end */
    struct http1_chunked chunked;
    uint32_t scanned; /* bytes of the unfinished head known not to hold its end; H1_DISCARD: looks since it took some */
    uint32_t served;  /* requests so far */
    uint8_t state;
    bool keep_alive;   /* the client may send another request on this connection */
    bool chunked_out;  /* the response at hand is sent in chunks */
    bool close_out;    /* the response at hand ends with the connection */
    bool half_closed;  /* the client has sent FIN behind a complete request */
    bool probed;       /* the client was sent an interim response to see whether it is still there */
    bool event_stream; /* the response at hand has no end of its own: FIN means that nobody reads it */
    bool full;         /* exchange_response_full() was said */
};

struct http1_up {
    uint64_t left;
    struct http1_chunked chunked;
    uint32_t scanned;
    uint8_t state;
    bool keep_alive; /* of the response at hand */
    bool free;       /* exclusive: the response is over and the connection may serve another, once feed() is through */
    bool full;       /* exchange_request_full() was said */
};

/* Flags of an up leg. */
enum { LEG_CHUNKED = 1 };

/* Fields that are not dropped, each with its line end. Runs of untouched ones are copied in one piece. NULL: no room. */
uint8_t *http1_put_fields(uint8_t *to, const uint8_t *end, const struct http_field *fields, uint32_t count);
static inline uint8_t *http1_put(uint8_t *to, struct slice s) {
    memcpy(to, s.p, s.n);
    return to + s.n;
}
/* A chunk: size line, payload, line end; sent at once where that saves a copy. */
void http1_send_chunk(struct conn *c, const uint8_t *p, size_t n);
/* The last chunk with its trailers. */
void http1_send_last_chunk(struct conn *c, struct http_trailers trailers);

extern const struct http_down_side http1_down_side;
/* The verbs of the codec, by side. */
int http1_down_open(struct conn *c);
ssize_t http1_down_feed(struct conn *c, const uint8_t *p, size_t n);
void http1_down_eof(struct conn *c);
void http1_down_drain(struct conn *c);
void http1_down_drained(struct conn *c);
void http1_down_overdue(struct conn *c);
void http1_down_hangup(struct conn *c);
ssize_t http1_up_feed(struct conn *c, const uint8_t *p, size_t n);
void http1_up_eof(struct conn *c);
void http1_up_drained(struct conn *c);

#endif
