/* redis: what its files share. Reading order:
 *   redis.c         the codec value: options, attributes, life of a connection
 *   redis_down.c    requests: parse, admit, choose where to
 *   redis_up.c      replies: handshake of a lane, matching replies to requests, pushes
 *   redis_pin.c     what belongs to one client: blocking commands, subscriptions, and (redis_transaction.c) transactions
 *   redis_session.c HELLO, AUTH, SELECT, RESET; redis_client.c CLIENT …
 *   redis_change.c  how a server is asked about the first three
 *   redis_pubsub.c  subscriptions and MONITOR: frames nobody asked for
 *   redis_shard.c   one request over several shards
 *   redis_learn.c   commands only the server knows
 *
 * Lanes: an ordinary command travels on a shared connection of the lane that has the client's RESP version, database and
 * identity, so a client's SELECT or AUTH changes which lane it uses, never a connection somebody else uses. */
#ifndef MOSNPY_REDIS_H
#define MOSNPY_REDIS_H

#include "../core/pool.h"
#include "../core/stream.h"
#include "redis_merge.h"
#include "redis_shape.h"
#include "redis_table.h"
#include "resp.h"

#define REDIS_NAME_MAX 512u /* bytes of a client, library or user name */
#define REDIS_DB_MAX 65535u /* databases a lane key can tell apart */

extern const struct codec redis_codec;

/* Credentials a client gave and a server is to accept; interned per core while a client uses them. */
struct redis_identity {
    struct redis_identity *next;
    uint32_t id, refs;
    struct slice user, password; /* user may be empty: AUTH with a password only */
    uint8_t bytes[];
};

struct redis_core { /* what all redis connections of one core share: core->shared */
    struct redis_identity *identities;
    uint32_t next_identity;
    uint64_t pause_until_ms; /* CLIENT PAUSE of the proxy's clients */
    bool pause_all;          /* else writes only */
    struct slice refusal;    /* while a connection is being closed: the server's error to the handshake */
    struct resp_out inline_request, text;
    uint32_t unknown[64]; /* hashes of names that an upstream's COMMAND does not know either */
    uint32_t unknown_count;
};
struct redis_core *redis_core_of(struct core *core);

struct redis_user {
    struct slice name, password;
};
struct redis_listener {        /* options */
    struct redis_table *table; /* of the plan */
    struct redis_user *users;
    uint32_t user_count; /* 0: AUTH goes to the upstream */
    struct resp_limits limits, guest;
    uint32_t collect;  /* bytes a request may have that must be taken apart */
    uint32_t pipeline; /* requests in flight per client */
};
struct redis_upstream { /* options */
    struct slice user, password;
    bool resp3; /* offer HELLO 3 */
};
struct redis_section {
    struct redis_table *table;
};

/* ---- a client ---- */
enum redis_special {                         /* why a request can't take the short way; 0 for nearly all clients */
                     SPECIAL_PINNED = 1,     /* has borrowed connections */
                     SPECIAL_MULTI = 2,      /* has said MULTI and not yet EXEC or DISCARD */
                     SPECIAL_LAZY = 4,       /* MULTI was answered, no shard chosen yet */
                     SPECIAL_SILENT = 8,     /* CLIENT REPLY OFF */
                     SPECIAL_SKIP = 16,      /* CLIENT REPLY SKIP: the next reply */
                     SPECIAL_GUEST = 32,     /* must authenticate to the listener */
                     SPECIAL_POISONED = 128, /* LAZY, and a command was refused since */
                     SPECIAL_RAW = 64        /* replication stream: bytes through */
};
struct redis_down {
    struct resp_request request;
    struct redis_core *core;
    uint32_t special;
    uint32_t db;
    uint8_t resp;                    /* 2 or 3 */
    bool body;                       /* the rest of a large request is being passed on to body_stream's connection */
    struct conn *pins;               /* borrowed connections, linked by redis_up.next_pin */
    struct conn *transaction;        /* the one of them that WATCHes or runs MULTI */
    struct redis_identity *identity; /* what upstream connections authenticate with; NULL: as configured */
    struct redis_identity *login;    /* listener users: keeps the name */
    struct slice user;               /* listener user, or identity->user; empty = default */
    struct stream *body_stream;
    struct conn *body_up;
    uint32_t body_timeout_ms;
    uint32_t multi_db;       /* SELECT queued in the transaction, or UINT32_MAX */
    uint32_t multi_commands; /* queued, for CLIENT LIST */
    struct resp_out lazy;    /* commands without keys, queued while no shard is chosen */
    uint16_t *multi_shapes;  /* of the queued commands of a RESP3 client, for EXEC's reply of a RESP2 server; owned */
    uint32_t multi_shape_room;
    char *name, *lib_name, *lib_version; /* owned; NULL = none */
    const struct redis_command
        *last; /* of the latest request; belongs to the plan of `last_generation` and dies with it */
    uint64_t last_generation;
    /* The latest lookup of a name of three or four letters (command_of): those bytes, what they name, under which plan. */
    uint32_t cached_word;
    uint64_t cached_generation;
    const struct redis_command *cached;
    uint64_t born_ms;
    bool multi_subscribe; /* SUBSCRIBE queued in the transaction */
    bool flushed;         /* RESET has waited for the messages under way */
};

/* ---- a server connection ---- */
enum redis_step { STEP_HELLO, STEP_AUTH, STEP_SELECT, STEP_ID /* exclusive ones: CLIENT ID */, STEP_READY };
struct redis_up {
    struct resp_scan scan;
    uint8_t step;
    uint8_t resp;                                /* what it speaks now: 2 or 3 */
    bool resp2;                                  /* its lane, or who has borrowed it, speaks RESP3: translate */
    bool multi, watch, sticky, monitor, raw;     /* state after the replies so far */
    bool collecting;                             /* the current frame is being collected in `frame` */
    uint32_t channels, patterns, shard_channels; /* subscriptions after the confirmations so far */
    uint32_t pending_confirmations;              /* of the subscribe stream at the head; 0 = not begun */
    uint64_t server_id;                          /* the server's id of an exclusive connection, 0: unknown */
    struct conn *next_pin;
    struct queue frame;
};

static inline struct redis_down *redis_down(struct conn *c) { return (struct redis_down *)c->session; }
static inline struct redis_up *redis_up(struct conn *c) { return (struct redis_up *)c->session; }
static inline const struct redis_listener *redis_options(const struct conn *c) { return c->service->options; }
static inline uint64_t redis_lane(uint32_t resp, uint32_t db, const struct redis_identity *identity) {
    return (resp == 3) | (uint64_t)db << 1 | (uint64_t)(identity ? identity->id : 0) << 32;
}
static inline uint64_t redis_lane_of(const struct redis_down *d) { return redis_lane(d->resp, d->db, d->identity); }

/* One request: the body of its struct message. */
struct redis_request {
    struct conn *down;
    const struct resp_request *r;
    const uint8_t *p;
    size_t n;
    const struct redis_command *cmd; /* NULL: unknown */
    struct slice key;                /* asked instead of the first key while routing key by key; p == NULL: the first */
    bool large;                      /* only the head is here */
};

/* What becomes of a request. */
enum took {
    COLLECT /* a large request must be collected after all */,
    TOOK,
    WAIT /* again later: not consumed */,
    CLOSE /* the client is to be closed */,
    PASS /* not the proxy's to answer */
};

/* stream.tag: what a reply on a borrowed connection means for its state. */
enum redis_tag {
    TAG_NONE,
    TAG_MULTI,
    TAG_EXEC,
    TAG_DISCARD,
    TAG_WATCH,
    TAG_UNWATCH,
    TAG_SUBSCRIBE,
    TAG_UNSUBSCRIBE,
    TAG_PUNSUBSCRIBE,
    TAG_SUNSUBSCRIBE,
    TAG_MONITOR,
    TAG_STICKY,
    TAG_RAW
};

/* redis_down.c */
ssize_t redis_down_feed(struct conn *c, const uint8_t *p, size_t n);
void redis_reply(struct conn *c, const void *p, size_t n); /* the proxy's own answer, in its turn */
void redis_reply_text(struct conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The upstream for commands that name no key (HELLO, SELECT …), NULL: the listener has none. */
struct upstream *redis_home_upstream(const struct redis_request *q, uint32_t *timeout_ms);
bool redis_sharded(const struct upstream *u);
uint64_t redis_hash(const struct upstream *u, const struct redis_request *q, struct slice key);
/* A stream for q, in the order of its client (or without, when its replies are switched off). NULL: out of memory (client doomed). */
struct stream *redis_stream(const struct redis_request *q, struct upstream *u, uint32_t timeout_ms);
void redis_unpause_clients(struct core *core);

/* redis_up.c */
int redis_up_open(struct conn *c);
ssize_t redis_up_feed(struct conn *c, const uint8_t *p, size_t n);
extern const struct stream_ops redis_shape_ops;

/* redis_pin.c */
/* The borrowed connection to ep that ordinary commands take, or NULL. */
struct conn *redis_pin_of(struct conn *down, const struct endpoint *ep);
bool redis_pin_listens(const struct conn *up); /* has subscriptions, or will have */
/* May this client's requests go to its borrowed `up`: subscriptions, or all the others? */
bool redis_pin_takes(const struct conn *down, const struct conn *up, bool subscription);
/* The next request may go to `target` (NULL: shared). False: what was asked on other connections to ep comes first; the
 * client waits. */
bool redis_pin_in_turn(struct conn *down, const struct endpoint *ep, const struct conn *target);
/* The client's connection to ep, borrowed if need be. NULL and *t set when there is none (yet). */
struct conn *redis_pin(const struct redis_request *q, struct upstream *u, struct endpoint *ep, bool subscription,
                       enum took *t);
enum took redis_fail_request(const struct redis_request *q, struct upstream *u, enum failure why);
/* A command of the proxy's own on a borrowed connection: nobody hears its reply, `tag` says what it means. */
void redis_send_cleanup(struct conn *up, struct slice command, enum redis_tag tag);
/* Sends q on a connection of its own. */
enum took redis_pinned(const struct redis_request *q, struct upstream *u, uint32_t timeout_ms, struct endpoint *ep,
                       enum redis_tag tag);
void redis_pin_reply(struct conn *up, enum redis_tag tag, uint8_t type, bool null);
void redis_pin_settle(struct conn *up); /* gives it back if nothing holds it any longer */
void redis_unpin_all(struct conn *down);
void redis_pin_lost(struct conn *down, struct conn *up);
bool redis_is_blocking(const struct redis_request *q);
enum redis_tag redis_tag_of(const struct redis_request *q);

/* redis_transaction.c */
/* The request's keys live on one endpoint, `ep`. */
bool redis_keys_on(const struct redis_request *q, struct upstream *u, const struct endpoint *ep);
/* A queued command was refused by the proxy: EXEC must fail, as it does when the server refuses one. */
void redis_poison(struct conn *down);
enum took redis_transaction(const struct redis_request *q, struct upstream *u, uint32_t timeout_ms);

/* redis_pubsub.c */
ssize_t redis_pubsub_frame(struct conn *up, const uint8_t *p, size_t n);

/* redis_session.c: commands the proxy answers. PASS: it is not one of them. */
enum took redis_local(const struct redis_request *q);
enum took redis_client_command(const struct redis_request *q);
struct slice redis_redirect(const struct redis_request *q, const struct endpoint *ep, struct resp_out *out);
struct redis_identity *redis_identity_get(struct core *core, struct slice user, struct slice password);
void redis_identity_put(struct core *core, struct redis_identity *identity);
struct redis_identity *redis_identity_find(struct core *core, uint32_t id);

/* redis_change.c: what a client will be when the server agrees. */
struct redis_change {
    uint8_t resp;
    bool hello;        /* else AUTH or SELECT */
    bool by_auth;      /* HELLO was refused as unknown: AUTH tells the credentials */
    bool new_identity; /* connections that are there already must hear of it */
    bool silent;       /* no reply: CLIENT REPLY OFF or SKIP */
    uint32_t db;
    struct redis_identity *identity; /* a reference */
    char *name;                      /* HELLO … SETNAME, owned; NULL: unchanged */
};
struct redis_change *redis_change_new(struct conn *down); /* as the client is now; NULL: out of memory */
enum took redis_change_ask(const struct redis_request *q, struct redis_change *ch); /* takes ch */
/* Have the messages that the server has sent a RESP3 client on RESP2 connections come? False: the client waits for them. */
bool redis_flushed(struct conn *down);

/* redis_learn.c: asks the upstream about a command the table doesn't know. PASS: go on with what is known. */
enum took redis_learn(const struct redis_request *q);

/* redis_shard.c */
enum took redis_sharded_request(const struct redis_request *q, struct upstream *u, const struct route *route);
extern const struct stream_ops redis_scan_ops;

static inline struct slice redis_arg(const struct redis_request *q, uint32_t i) { return resp_arg_at(q->r, q->p, i); }
static inline bool slice_is(struct slice s, const char *upper) { /* ASCII, any case */
    size_t n = strlen(upper);
    if (s.n != n) return false;
    for (size_t i = 0; i < n; i++)
        if ((s.p[i] >= 'a' && s.p[i] <= 'z' ? s.p[i] - 32 : s.p[i]) != (uint8_t)upper[i]) return false;
    return true;
}

#endif
