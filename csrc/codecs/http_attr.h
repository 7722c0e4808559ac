/* The attributes of HTTP messages, of whatever version: the same table and functions serve the codecs http1 and http2,
 * so that a rule written for one holds for the other. */
#ifndef MOSNPY_HTTP_ATTR_H
#define MOSNPY_HTTP_ATTR_H

#include "../codec.h"
#include "http.h"

/* Memory for strings that live as long as the head they are made for: handed out in turn, taken back all at once by
 * whoever owns it (used = 0). */
struct http_arena {
    uint8_t *p;
    uint32_t size, used;
};
/* n bytes; NULL when there is no more room. */
static inline uint8_t *http_arena_take(struct http_arena *a, size_t n) {
    if (n > a->size - a->used) return NULL;
    uint8_t *p = a->p + a->used;
    a->used += (uint32_t)n;
    return p;
}

/* Where the next of several values of one name is: asking for them one after the other is linear in the head. */
struct http_cursor {
    const struct attr_param *param;
    uint32_t i;     /* number of the value to come */
    uint32_t field; /* it is in this field or a later one */
    uint32_t at;    /* and not before this byte of it, or of the query */
};

/* What message.body of an HTTP message points to. Everything is borrowed and valid while the message is. Made with the
 * first members set and the rest zero. */
struct http_request_view {
    const struct http_head *head; /* as it came: attributes see hop-by-hop fields and such with `drop` set too */
    struct slice host;            /* lower case, without port; an IPv6 address in its brackets; empty: none */
    struct slice path;            /* normalised, without query; empty for CONNECT */
    struct slice query;           /* what follows the '?'; empty: none */
    struct slice scheme;          /* "http" or "https", from the connection */
    struct http_arena *arena;     /* decoded parameters go there, at most query.n bytes. NULL: they stay encoded */

    uint8_t *decoded; /* query.n bytes of the arena, once needed */
    struct http_cursor next;
};

/* id, name, type, doc */
#define HTTP_ATTRIBUTES(X)                                                                         \
    X(method, "http.method", ATTR_STR, "the method as it came: GET")                               \
    X(path, "http.path", ATTR_STR, "the path, normalised, without the query")                      \
    X(query, "http.query", ATTR_STR, "what follows the question mark, as it came")                 \
    X(host, "http.host", ATTR_STR, "the host asked for, in lower case, without port")              \
    X(scheme, "http.scheme", ATTR_STR, "http or https, by the client's connection")                \
    X(content_type, "http.content_type", ATTR_STR, "the media type of the body, as it came")       \
    X(version, "http.version", ATTR_STR, "1.0, 1.1 or 2")                                          \
    X(user_agent, "http.user_agent", ATTR_STR, "the User-Agent field")                             \
    X(header, "http.header.*", ATTR_STRS, "a header field: http.header.x-tenant; each of several") \
    X(query_parameter, "http.query.*", ATTR_STRS,                                                  \
      "a parameter of the query, decoded: http.query.debug; each of several")                      \
    X(cookie, "http.cookie.*", ATTR_STRS, "a cookie: http.cookie.session; each of several")        \
    X(grpc_service, "grpc.service", ATTR_STR, "service of a gRPC call: shop.Cart")                 \
    X(grpc_method, "grpc.method", ATTR_STR, "method of a gRPC call: AddItem")
enum http_attribute {
#define X(id, name, type, doc) HTTP_ATTR_##id,
    HTTP_ATTRIBUTES(X)
#undef X
        HTTP_ATTRIBUTE_COUNT
};
extern const struct attr_def http_attributes[HTTP_ATTRIBUTE_COUNT];

/* The codec's verbs; prefix is "http". */
bool http_attribute(const struct message *msg, uint32_t index, uint32_t i, struct attr_value *v);
bool http_parameter(const struct message *msg, uint32_t index, const struct attr_param *param, uint32_t i,
                    struct attr_value *v);
bool http_parameter_new(uint32_t index, uint8_t *name, size_t n, uint32_t *key);
bool http_common(const struct message *msg, enum attr_common id, struct attr_value *v);

#endif
