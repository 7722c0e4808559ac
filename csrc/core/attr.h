/* Attributes: typed, named facts of a message, read on demand straight out of the frame's bytes.
 *
 * A rule names an attribute ("redis.key"); at plan build the name becomes a small id through attr_find(); at run time
 * the rule calls attr_get(msg, id, i, &v). Ids below ATTR_CODEC are the common ones of every protocol, the rest are
 * the codec's, in the order of its table. Values are borrowed: valid while the message is. */
#ifndef MOSNPY_ATTR_H
#define MOSNPY_ATTR_H

#include "base.h"

enum attr_type { ATTR_STR, ATTR_INT, ATTR_BOOL, ATTR_STRS /* several strings: a rule holds if any of them does */ };

struct attr_def {
    const char *name; /* "redis.key" */
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

/* name, type, doc */
#define COMMON_ATTRIBUTES(X)                                                                       \
    X(protocol, ATTR_STR, "name of the codec")                                                     \
    X(operation, ATTR_STR, "what is asked: GET, Produce, find, POST, sayHello")                    \
    X(resource, ATTR_STR, "what it is asked of: key, topic, db.collection, path, interface")       \
    X(access, ATTR_STR, "read, write, admin or session")                                           \
    X(idempotent, ATTR_BOOL, "asking twice equals asking once")                                    \
    X(request_size, ATTR_INT, "bytes of the request")                                              \
    X(client_ip, ATTR_STR, "address of the client (from the PROXY protocol where enabled)")        \
    X(client_id, ATTR_STR, "authenticated name of the client: TLS SAN, SASL or ACL user, API key") \
    X(listener, ATTR_STR, "name of the listener")
enum attr_common {
#define X(name, type, doc) ATTR_##name,
    COMMON_ATTRIBUTES(X)
#undef X
        ATTR_COMMON_COUNT,
    ATTR_CODEC = 64, /* first id of the codec's own */
    ATTR_NONE = 0xffff
};

struct message; /* codec.h: the frame with its connection */
struct codec;

/* i-th value (i == 0 for the scalar types) of attribute `id`; false when the message has none. Common ids are answered by
 * core/attr.c, the others by the codec. */
bool attr_get(const struct message *msg, uint16_t id, uint32_t i, struct attr_value *v);
/* Id of `name` for messages of `codec`; a name without a dot that is no common one is tried as "<codec>.<name>".
 * ATTR_NONE when unknown. *type is set. */
const struct attr_def *attr_common_table(void); /* ATTR_COMMON_COUNT entries */
uint16_t attr_find(const struct codec *codec, struct slice name, enum attr_type *type);

#endif
