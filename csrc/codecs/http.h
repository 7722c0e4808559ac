/* HTTP's own words, shared by HTTP/1 and HTTP/2: heads, fields, methods. What a head means here follows RFC 9110.
 *
 * A head is borrowed: its slices lie in the bytes of the read it came with, in the decoder's arena or in constants, and are
 * valid until the codec's feed() returns. Whoever needs it longer copies (exchange.h keeps the encoded form). */
#ifndef MOSNPY_HTTP_H
#define MOSNPY_HTTP_H

#include "../core/base.h"

#define HTTP_FIELDS_MAX 1024u    /* most fields of a head any configuration may allow */
#define HTTP_HEAD_MAX (1u << 20) /* largest head any configuration may allow, bytes */

/* Fields the proxy looks at. The name is lower case. `hop`: never forwarded as it came (RFC 9110 §7.6.1). */
#define HTTP_NAMES(X)                            \
    X(CONNECTION, "connection", 1)               \
    X(KEEP_ALIVE, "keep-alive", 1)               \
    X(PROXY_CONNECTION, "proxy-connection", 1)   \
    X(TRANSFER_ENCODING, "transfer-encoding", 1) \
    X(UPGRADE, "upgrade", 1)                     \
    X(TE, "te", 1)                               \
    X(TRAILER, "trailer", 0)                     \
    X(CONTENT_LENGTH, "content-length", 0)       \
    X(HOST, "host", 0)                           \
    X(EXPECT, "expect", 0)                       \
    X(X_FORWARDED_FOR, "x-forwarded-for", 0)     \
    X(X_FORWARDED_PROTO, "x-forwarded-proto", 0) \
    X(X_FORWARDED_HOST, "x-forwarded-host", 0)   \
    X(FORWARDED, "forwarded", 0)                 \
    X(VIA, "via", 0)                             \
    X(X_REQUEST_ID, "x-request-id", 0)           \
    X(COOKIE, "cookie", 0)                       \
    X(CONTENT_TYPE, "content-type", 0)           \
    X(DATE, "date", 0)                           \
    X(SERVER, "server", 0)                       \
    X(USER_AGENT, "user-agent", 0)               \
    X(ACCEPT, "accept", 0)                       \
    X(GRPC_TIMEOUT, "grpc-timeout", 0)           \
    X(GRPC_STATUS, "grpc-status", 0)             \
    X(GRPC_MESSAGE, "grpc-message", 0)           \
    X(HTTP2_SETTINGS, "http2-settings", 1)
enum http_name {
    HN_OTHER,
#define X(id, name, hop) HN_##id,
    HTTP_NAMES(X)
#undef X
        HN_COUNT
};

#define HTTP_METHODS(X) X(GET) X(HEAD) X(POST) X(PUT) X(DELETE) X(CONNECT) X(OPTIONS) X(TRACE) X(PATCH)
enum http_method {
    HTTP_OTHER_METHOD, /* any other token; safe to forward, not idempotent */
#define X(m) HTTP_##m,
    HTTP_METHODS(X)
#undef X
};

enum http_body {
    HTTP_NO_BODY,
    HTTP_LENGTH,  /* exactly head.length bytes (> 0) */
    HTTP_CHUNKED, /* until its end is marked: chunked coding, or END_STREAM without content-length */
    HTTP_TO_EOF   /* HTTP/1 response that ends with the connection */
};

struct http_field {
    struct slice name,
        value;  /* name as it came (any case in HTTP/1, lower in HTTP/2); value without outer white space */
    uint8_t id; /* enum http_name */
    bool drop;  /* not to be forwarded */
    bool never; /* came as a literal that must never be indexed, and must leave as one (RFC 7541 §6.2.3) */
    bool line;  /* HTTP/1: came as "name: value" CR LF, with just these bytes between and behind the two slices */
};

struct http_head {
    bool request;
    uint8_t method;   /* enum http_method; of a response: that of its request */
    uint8_t version;  /* 10, 11, 20 */
    uint8_t body;     /* enum http_body */
    bool keep_alive;  /* HTTP/1: the connection may carry another message after this one */
    bool expect;      /* Expect: 100-continue */
    bool te_trailers; /* TE: trailers, or HTTP/2 (where it's understood) */
    uint16_t status;
    uint64_t length; /* of the body, for HTTP_LENGTH */
    struct slice method_text, scheme, authority /* Host or :authority, as it came */,
        path /* with query; "*" ; empty for CONNECT */;
    struct slice reason;       /* HTTP/1 responses */
    struct slice upgrade;      /* value of Upgrade when Connection names it; HTTP/2: value of :protocol (RFC 8441) */
    struct http_field *fields; /* without pseudo-fields; Host is among them in HTTP/1 */
    uint32_t absent;           /* bits 1 << enum http_name: fields has none of them. 0 where nobody has looked */
    uint32_t count, capacity;  /* capacity leaves room to append */
};

/* The id of a field name in any case; HN_OTHER for the rest. */
enum http_name http_name_find(const uint8_t *p, size_t n);
struct slice http_name_text(enum http_name id); /* lower case */
bool http_name_is_hop(enum http_name id);
enum http_method http_method_find(const uint8_t *p, size_t n);
struct slice http_method_text(enum http_method m); /* empty for HTTP_OTHER_METHOD */
bool http_method_idempotent(enum http_method m);   /* RFC 9110 §9.2.2: GET HEAD PUT DELETE OPTIONS TRACE */
struct slice http_reason(uint16_t status);         /* RFC 9110 §15; "" for unknown ones */
/* Case-insensitive comparison with a lower-case literal. */
bool http_is(struct slice s, const char *lower);
/* True if the comma-separated list `value` (RFC 9110 §5.6.1) has the token, compared case-insensitively with lower-case `token`. */
bool http_list_has(struct slice value, const char *token);
/* First field of this id that is not dropped; NULL if none. */
struct http_field *http_find(const struct http_head *h, enum http_name id);
/* Appends a field; false when there is no room. Slices are borrowed. */
bool http_add(struct http_head *h, enum http_name id, struct slice name, struct slice value);
/* Field names are tokens (RFC 9110 §5.6.2), values have no control characters but tab (§5.5). Shared by both parsers. */
extern const uint8_t http_token_table[256];     /* 1 = tchar */
bool http_value_ok(const uint8_t *p, size_t n); /* no NUL, CR, LF or other CTL; no white space at the ends */
/* uri-host [":" port] of Host and :authority: no userinfo, no control, space or delimiter; may be empty. */
bool http_authority_ok(struct slice s);
/* "GET /path" characters of a request target: visible ASCII (and bytes >= 0x80 as some clients send them). */
bool http_target_ok(struct slice s);

#endif
