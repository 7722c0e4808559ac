/* What makes a decoded header list a message, and what makes it malformed. RFC 9113 §8.2-8.5, RFC 8441. Pure functions. */
#ifndef MOSNPY_HTTP2_MESSAGE_H
#define MOSNPY_HTTP2_MESSAGE_H

#include "hpack.h"

#define HTTP2_PSEUDO_MAX 5u /* pseudo-fields a request may have */

/* 0, or why the list is no message: then the stream is answered PROTOCOL_ERROR. */
enum http2_malformed {
    H2M_OK,
    H2M_NAME,      /* upper case, or no token (§8.2.1) */
    H2M_VALUE,     /* control characters, white space at the ends (§8.2.1) */
    H2M_HOP,       /* connection-specific, TE other than "trailers" (§8.2.2) */
    H2M_PSEUDO,    /* unknown, repeated, missing, behind a field, in trailers (§8.3) */
    H2M_AUTHORITY, /* none, no host, or another one than Host (§8.3.1) */
    H2M_PATH,      /* empty or not a path (§8.3.1) */
    H2M_LENGTH,    /* content-length is no number, or several (§8.1.1) */
    H2M_NO_ROOM    /* of the arena: too large a head */
};
const char *http2_malformed_text(enum http2_malformed why);

/* A request from fields[0..count) as hpack_decode left them; the array is changed in place and h->fields points into it, without
 * pseudo-fields. Several Cookie fields become one (§8.2.3), in `arena`. `extended`: we announced RFC 8441. `end`: no body. */
enum http2_malformed http2_request(struct http_field *fields, uint32_t count, uint32_t capacity, bool end,
                                   bool extended, struct hpack_arena *arena, struct http_head *h);
/* A response; h->method must be that of its request. */
enum http2_malformed http2_response(struct http_field *fields, uint32_t count, uint32_t capacity, bool end,
                                    struct http_head *h);
/* Trailers: fields that framing and routing hang on get `drop` (RFC 9110 §6.5.1). */
enum http2_malformed http2_trailers(struct http_field *fields, uint32_t count);

#endif
