/* The codec contract: what the engine asks of a protocol.
 *
 * A codec is one constant value. The engine gives it the bytes of a connection (feed) and the turns of a connection's
 * life; the codec calls back into conn.h, stream.h and pool.h. Whoever implements feed() decides what a message is:
 * that keeps one indirect call per read, not per message, on the hot path. DESIGN §4's verbs appear where they differ per
 * protocol: attribute, reply_failure, probe; decode and rewrite live inside feed. */
#ifndef MOSNPY_CODEC_H
#define MOSNPY_CODEC_H

#include "core/attr.h"

#include <sys/types.h>

#include "core/mpack.h"

struct conn;
struct stream;
struct plan;

/* How streams share an upstream connection (pool.h). */
enum pool_mode {
    POOL_PING_PONG, /* one at a time: HTTP/1 */
    POOL_PIPELINE,  /* several, replies in order: Redis, Kafka */
    POOL_MULTIPLEX, /* several, replies by id: HTTP/2, Dubbo, Bolt */
    POOL_PINNED     /* the connection belongs to one client: TCP */
};

enum match { MATCH_NO, MATCH_YES, MATCH_MORE };

/* One request as rules see it. `body` belongs to the codec: what it is, only the codec's attribute() knows. */
struct message {
    struct conn *conn;
    const void *body;
};

/* What feed() answers beside a number of bytes taken. */
enum { FEED_CLOSE = -1, /* close at once */ FEED_FINISH = -2 /* take no more, close when all is written */ };

struct codec {
    const char *name;
    const char *family; /* codecs of one family convert into each other; NULL: none but itself */
    enum pool_mode mode;
    uint32_t down_session, up_session; /* bytes of protocol state behind each struct conn, zeroed at open */
    uint32_t max_stash;                /* most bytes of an unfinished frame the engine keeps for feed() */

    const char *prefix; /* of its attributes' names; NULL: its own name */
    const struct attr_def *attributes;
    uint32_t attribute_count;
    bool (*attribute)(const struct message *msg, uint32_t index, uint32_t i, struct attr_value *v);
    /* As attribute(), of a member of the family attributes[index] ("http.header.*"). NULL: there are no families. */
    bool (*parameter)(const struct message *msg, uint32_t index, const struct attr_param *param, uint32_t i,
                      struct attr_value *v);
    /* At plan build: brings a member's name to its one form in place and fills *key. False: there can be no such member. NULL:
     * every name is taken as it is, key 0. */
    bool (*parameter_new)(uint32_t index, uint8_t *name, size_t n, uint32_t *key);
    /* Common attributes that need decoding (operation, resource, access, idempotent, client_id, request_size). */
    bool (*common)(const struct message *msg, enum attr_common id, struct attr_value *v);
    enum match (*match)(const uint8_t *p, size_t n);
    uint32_t (*head_timeout_ms)(
        const void *listener_options); /* detection waits no longer for a first message; NULL: its own limit */
    struct slice refusal;              /* written to a client over max_connections before it is closed; may be empty */

    /* Options of a listener or upstream and the codec's own section, from the plan. NULL and err when malformed. */
    void *(*codec_new)(struct mpack section, struct plan *plan, char *err, size_t err_size);
    void (*codec_free)(void *section);
    void *(*listener_new)(struct mpack options, struct plan *plan, char *err, size_t err_size);
    void (*listener_free)(void *options);
    void *(*upstream_new)(struct mpack options, struct plan *plan, char *err, size_t err_size);
    void (*upstream_free)(void *options);

    /* A connection is there (down: accepted; up: connected). Up: 1 = ready for requests, 0 = a handshake was started
     * (conn_ready() ends it), -1 = give up. Down: 0, or -1 to close. */
    int (*open)(struct conn *c);
    /* Bytes arrived. Returns how many were taken; the rest is kept and comes again, with more behind it.
     * c->need may name the total below which calling again is pointless. */
    ssize_t (*feed)(struct conn *c, const uint8_t *p, size_t n);
    /* The peer has sent FIN and everything before it was fed. NULL = close when nothing is open and all is written. */
    void (*eof)(struct conn *c);
    /* c->out fell below the low watermark after conn_full(c) was true. NULL = nothing to do beyond the engine's own. */
    void (*drained)(struct conn *c);
    /* The connection is gone (already closed); the session must let go of what it owns. For up: after its streams failed. */
    void (*close)(struct conn *c);
    /* Writes this protocol's own error for `why` as the complete reply of `s`, through stream_reply(). */
    void (*reply_failure)(struct stream *s, enum failure why, struct slice detail);
    /* c->codec_deadline_ms has passed (it is 0 again); up: once the connection is open. NULL for codecs that never set it. */
    void (*overdue)(struct conn *c);
    /* Down: the core begins to drain, or a reload took the listener away; protocols that can say so to their client do. May be called
     * again. */
    void (*drain)(struct conn *c);
    /* Down: FIN was announced while the connection is paused, so that eof() has to wait. NULL: nothing to do. */
    void (*hangup)(struct conn *c);
    /* True while an idle client must not be timed out (subscriptions). */
    bool (*busy)(const struct conn *c);
    /* Frees core->shared[shared]. NULL: nothing is kept. */
    void (*core_close)(void *state);
    uint8_t shared; /* enum core_shared */
    /* The exclusive upstream connection `up` this client borrowed is gone; nothing may point to it afterwards. */
    void (*pin_lost)(struct conn *down, struct conn *up);
};

extern const struct codec *const codecs[]; /* csrc/codecs/all.c, NULL-terminated */
const struct codec *codec_find(struct slice name);

#endif
