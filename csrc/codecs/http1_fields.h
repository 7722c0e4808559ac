/* The field lines of a head or a trailer section, and what they say about the message. For http1_parse.c and its parts only. */
#ifndef MOSNPY_HTTP1_FIELDS_H
#define MOSNPY_HTTP1_FIELDS_H

#include "http1_parse.h"

/* Bytes at hand and what was found in them. Errors are met in the order of the bytes and never depend on what follows, so a
 * head says the same however it is cut. */
struct http1_cursor {
    const uint8_t *lo, *p, *end; /* all bytes; the next one; behind the last that the limit allows */
    struct http_field *fields;
    uint32_t count, max;
    uint32_t seen, twice;     /* bits 1 << enum http_name: there; there more than once */
    uint16_t first[HN_COUNT]; /* index of the first such field, for names seen */
};

static inline bool http1_seen(const struct http1_cursor *c, enum http_name id) { return c->seen >> id & 1; }
static inline bool http1_twice(const struct http1_cursor *c, enum http_name id) { return c->twice >> id & 1; }
static inline struct http_field *http1_first(const struct http1_cursor *c, enum http_name id) {
    return &c->fields[c->first[id]];
}

/* Fields up to and with the empty line. 1 all read, 0 they go on behind the end, < 0 an error. */
int http1_read_fields(struct http1_cursor *c);
/* What Connection says: h->keep_alive, h->upgrade (only of HTTP/1.1), `drop` of every field it names. 0 or an error. */
int http1_connection(struct http1_cursor *c, struct http_head *h);
/* The framing fields. *chunked, *sized and *length; 0 or an error. Both absent is no error. */
int http1_framing(struct http1_cursor *c, const struct http_head *h, bool *chunked, bool *sized, uint64_t *length);

#endif
