/* HTTP/1.1 message heads and chunked bodies (RFC 9112), strict: what two parsers might read differently is refused.
 *
 * Pure functions over bytes: no allocation, no I/O. Three answers: > 0 bytes of the head taken, 0 need more (*scanned says how far
 * no end was found, give it back next time), < 0 an enum http1_error. */
#ifndef MOSNPY_HTTP1_PARSE_H
#define MOSNPY_HTTP1_PARSE_H

#include "http.h"

#include <sys/types.h>

struct http1_limits {
    uint32_t head;       /* bytes of start line and fields */
    uint32_t fields;     /* number of fields, <= HTTP_FIELDS_MAX */
    uint32_t target;     /* bytes of the request target */
    uint32_t chunk_line; /* bytes of one chunk-size line with its extensions */
    uint32_t trailers;   /* bytes of a trailer section */
};

enum http1_error {                             /* negative; each has its status for requests */
                   HTTP1_BAD = -1,             /* 400: malformed, or smuggling shaped */
                   HTTP1_HEAD_TOO_LARGE = -2,  /* 431 */
                   HTTP1_TARGET_TOO_LONG = -3, /* 414 */
                   HTTP1_BAD_VERSION = -4,     /* 505 */
                   HTTP1_BAD_CODING = -5,      /* 501: a transfer coding other than chunked */
                   HTTP1_BAD_EXPECT = -6       /* 417: an expectation other than 100-continue */
};
const char *http1_error_text(int error); /* one sentence for the reply's body and the log */
uint16_t http1_error_status(int error);

/* Head of a request in p[0..n). `fields` has room for limits->fields + spare; h->capacity is what `capacity` says.
 * Leading empty lines (at most 2 CRLF) are skipped and counted as taken (RFC 9112 §2.2). */
ssize_t http1_request(const uint8_t *p, size_t n, size_t *scanned, const struct http1_limits *limits,
                      struct http_field *fields, uint32_t capacity, struct http_head *h);
/* Head of a response; h->method must be set to the request's (HEAD, CONNECT decide about the body, RFC 9112 §6.3). */
ssize_t http1_response(const uint8_t *p, size_t n, size_t *scanned, const struct http1_limits *limits,
                       struct http_field *fields, uint32_t capacity, struct http_head *h);

/* Chunked coding, byte by byte resumable. Zero it at the start of a body. */
struct http1_chunked {
    uint64_t left; /* of the chunk at hand */
    uint32_t line; /* bytes of the line or trailer section at hand */
    uint8_t state;
    bool has_size;
};
enum http1_chunk { CHUNK_MORE, CHUNK_DATA, CHUNK_TRAILERS, CHUNK_END };
/* Looks at p[0..n): sets *taken to the bytes consumed before the answer and answers
 *   CHUNK_DATA      data->p[0..data->n) is payload within p and part of *taken
 *   CHUNK_TRAILERS  the last chunk is read; what follows at p + *taken is the trailer section: call http1_trailers until it
 *                   answers > 0
 *   CHUNK_MORE      all n bytes are taken (or what is left must come again with more)
 * or an enum http1_error (< 0). Chunk extensions are skipped (never forwarded), sizes beyond 2^62 refused. */
int http1_chunked(struct http1_chunked *c, const struct http1_limits *limits, const uint8_t *p, size_t n, size_t *taken,
                  struct slice *data);
/* The trailer section up to and with its empty line. As http1_request: > 0 taken, 0 more, < 0 error. Fields that must not be
 * trailers (framing, routing, RFC 9110 §6.5.1) come with drop set. */
ssize_t http1_trailers(const uint8_t *p, size_t n, const struct http1_limits *limits, struct http_field *fields,
                       uint32_t capacity, uint32_t *count);

#endif
