/* Attributes: typed, named facts of a message, read on demand straight out of the frame's bytes.
 *
 * A rule names an attribute ("redis.key"); at plan build the name becomes a small id through attr_find(); at run time
 * the rule calls attr_get(msg, id, i, &v). Ids below ATTR_CODEC are the common ones of every protocol, those up to
 * ATTR_PARAM the codec's, in the order of its table, and those from there on stand for one member of a family:
 * "http.header.*" in a codec's table is answered for any name in the star's place ("http.header.x-tenant"). Values are
 * borrowed: valid while the message is. */
#ifndef MOSNPY_ATTR_H
#define MOSNPY_ATTR_H

#include "base.h"

enum attr_type { ATTR_STR, ATTR_INT, ATTR_BOOL, ATTR_STRS /* several strings: a rule holds if any of them does */ };

struct attr_def {
    const char *name; /* "redis.key"; a family: "http.header.*" */
    enum attr_type type;
    const char *doc; /* one line for `check`, completion, docs */
};

struct attr_value {
    enum attr_type type;
    union {
        struct slice s;
        int64_t i;
        bool b;
    };
};

/* id, name, type, doc */
#define COMMON_ATTRIBUTES(X)                                                                                    \
    X(protocol, "protocol", ATTR_STR, "name of the codec")                                                      \
    X(operation, "operation", ATTR_STR, "what is asked: GET, Produce, find, POST, sayHello")                    \
    X(resource, "resource", ATTR_STR, "what it is asked of: key, topic, db.collection, path, interface")        \
    X(access, "access", ATTR_STR, "read, write, admin or session")                                              \
    X(idempotent, "idempotent", ATTR_BOOL, "asking twice equals asking once")                                   \
    X(request_size, "request_size", ATTR_INT, "bytes of the request")                                           \
    X(client_ip, "client_ip", ATTR_STR, "address of the client (from the PROXY protocol where enabled)")        \
    X(client_id, "client_id", ATTR_STR, "authenticated name of the client: TLS SAN, SASL or ACL user, API key") \
    X(listener, "listener", ATTR_STR, "name of the listener")                                                   \
    X(tls_sni, "tls.sni", ATTR_STR, "server name the client asked for in its TLS handshake, in lower case")     \
    X(tls_san, "tls.san", ATTR_STRS, "names in the verified client certificate: DNS, URI, IP, mail")            \
    X(tls_subject, "tls.subject", ATTR_STR, "subject of the verified client certificate")                       \
    X(tls_version, "tls.version", ATTR_STR, "1.2 or 1.3; absent without TLS")                                   \
    X(tls_alpn, "tls.alpn", ATTR_STR, "protocol agreed on in the TLS handshake: h2, http/1.1")
enum attr_common {
#define X(id, name, type, doc) ATTR_##id,
    COMMON_ATTRIBUTES(X)
#undef X
        ATTR_COMMON_COUNT,
    ATTR_CODEC = 64,     /* first id of the codec's own */
    ATTR_PARAM = 0x8000, /* first id of members of families */
    ATTR_NONE = 0xffff
};

/* A member of a family, as codecs see it. */
struct attr_param {
    struct slice name; /* what stands in the star's place, as codec->parameter_new() has normalised it */
    uint32_t key;      /* whatever parameter_new() made of it */
};

struct message; /* codec.h: the frame with its connection */
struct codec;

/* i-th value (i == 0 for the scalar types) of attribute `id`; false when the message has none. Common ids are answered
 * by core/attr.c, the others by the codec. */
bool attr_get(const struct message *msg, uint16_t id, uint32_t i, struct attr_value *v);
/* Id of `name` for messages of `codec`, tried as it is and as "<prefix>.<name>". ATTR_NONE when unknown, or when the
 * process has no room for another member of a family (attr_params_full). *type is set. */
uint16_t attr_find(const struct codec *codec, struct slice name, enum attr_type *type);
bool attr_params_full(void);
const struct attr_def *attr_common_table(void); /* ATTR_COMMON_COUNT entries */

#endif
