/* The command table of Redis: what a command is (class, access), where its keys are, how it spreads over shards.
 *
 * Built once per plan from the list codecs/redis writes (MessagePack), completed at run time with commands an
 * upstream's own COMMAND reply tells about. Looked up by the thread that owns it; redis_table_add()/learn() are
 * called from that same thread. */
#ifndef MOSNPY_REDIS_TABLE_H
#define MOSNPY_REDIS_TABLE_H

#include "../core/mpack.h"
#include "resp.h"

/* X(NAME, "word in the table") */
#define REDIS_FLAGS(X)                                                       \
    X(WRITE, "write") /* may change the keyspace */                          \
    X(READ, "read")   /* only reads */                                       \
    X(ADMIN, "admin")                                                        \
    X(SESSION, "session") /* changes or tells the state of the connection */ \
    X(PUBSUB, "pubsub")                                                      \
    X(BLOCKING, "blocking")     /* may wait for other clients */             \
    X(MOVABLE, "movable")       /* key positions depend on the arguments */  \
    X(NOAUTH, "noauth")         /* allowed before authentication */          \
    X(NOMULTI, "nomulti")       /* refused inside MULTI */                   \
    X(IDEMPOTENT, "idempotent") /* may be sent again when no reply came */   \
    X(LOADING, "loading")       /* allowed while the dataset loads */        \
    X(STALE, "stale")           /* allowed on a stale replica */
enum redis_flag_bit {
#define X(name, word) REDIS_BIT_##name,
    REDIS_FLAGS(X)
#undef X
};
enum redis_flag { /* REDIS_WRITE, REDIS_READ, … : masks of redis_command.flags */
#define X(name, word) REDIS_##name = 1 << REDIS_BIT_##name,
                  REDIS_FLAGS(X)
#undef X
};

#define REDIS_CLASSES(X)                                                                                           \
    X(PLAIN, "plain")             /* travels on a shared connection */                                             \
    X(LOCAL, "local")             /* answered by the proxy */                                                      \
    X(BLOCKING, "blocking")       /* a connection of its own while it runs (XREAD, XREADGROUP: only with BLOCK) */ \
    X(TRANSACTION, "transaction") /* MULTI EXEC DISCARD WATCH UNWATCH */                                           \
    X(SUBSCRIBE, "subscribe")     /* the SUBSCRIBE family */                                                       \
    X(STICKY, "sticky")           /* its connection is never shared again */                                       \
    X(SESSION, "session")         /* SELECT AUTH HELLO RESET QUIT CLIENT … */
enum redis_class {
#define X(name, word) REDIS_CLASS_##name,
    REDIS_CLASSES(X)
#undef X
};

/* How the request spreads over shards and how the replies become one (redis_merge.h). */
#define REDIS_MERGES(X)                                                                    \
    X(NONE, "")                   /* by its first key; keys of another shard: CROSSSLOT */ \
    X(SPLIT_ARRAY, "split_array") /* MGET */                                               \
    X(SPLIT_SUM, "split_sum")     /* DEL UNLINK EXISTS TOUCH */                            \
    X(SPLIT_OK, "split_ok")       /* MSET */                                               \
    X(ALL_SUM, "all_sum")         /* DBSIZE */                                             \
    X(ALL_OK, "all_ok")           /* FLUSHALL, CONFIG SET, SCRIPT FLUSH … */             \
    X(ALL_CONCAT, "all_concat")   /* KEYS, PUBSUB CHANNELS … */                          \
    X(ALL_AND, "all_and")         /* SCRIPT EXISTS */                                      \
    X(ALL_MIN, "all_min")         /* WAIT */                                               \
    X(ALL_FIRST, "all_first")     /* SCRIPT LOAD, FUNCTION LOAD */                         \
    X(ALL_INFO, "all_info")       /* INFO */                                               \
    X(SCAN, "scan")                                                                        \
    X(ANY, "any")   /* RANDOMKEY, TIME, COMMAND …: one shard will do */                  \
    X(HOME, "home") /* PUBLISH, SUBSCRIBE …: the home shard of the first key or channel */
enum redis_merge_kind {
#define X(name, word) REDIS_MERGE_##name,
    REDIS_MERGES(X)
#undef X
};

/* How replies change on their way from RESP2 to RESP3 (redis_shape.h), and when. */
struct redis_shape_rule {
    uint16_t shape;   /* enum redis_shape */
    uint8_t min_args; /* if the request has at least so many arguments; 0 = always */
    uint8_t word_size;
    char word[16]; /* if this option word (upper case) stands behind the keys; word_size 0 = always */
};

/* Where keys stand, as COMMAND tells it of commands the table doesn't know ("key specifications"): a begin, then
 * the keys. */
struct redis_key_spec {
    uint8_t word_size; /* 0: the begin is argument `begin` */
    char word[15];     /* else: the argument behind this word (upper case), looked for from argument `begin` on; */
    int32_t begin;     /* negative: backwards from the end */
    bool counted;      /* the argument at begin + count_at tells the number of keys, the first is begin + first; */
    int32_t count_at, first; /* else: */
    int32_t last;            /* the last key relative to begin; -1 = the last argument, -2 = the one before it … */
    int32_t step;            /* from key to key */
    int32_t limit; /* with last < 0: the keys are the first 1/limit of the arguments left; 0, 1 = all of them */
};

struct redis_command {
    uint64_t key[2];        /* private to redis_table.c: the name, prepared for comparison */
    struct slice name;      /* upper case; of a subcommand its bare name ("SET") */
    struct slice full_name; /* "CONFIG SET"; equal to name for a command */
    int32_t arity;          /* arguments, all names counted; negative = at least */
    uint32_t flags;         /* REDIS_WRITE | … */
    uint8_t class;          /* enum redis_class */
    uint8_t merge;          /* enum redis_merge_kind */
    uint8_t finder;         /* the keys stand at no fixed places; which way to find them is private to redis_keys.c */
    uint8_t shape_count;
    int32_t first, last, step; /* keys: argument positions, 0 = none; last < 0 counts from the end */
    uint32_t index;            /* 0 .. redis_table_count() - 1, subcommands included; stable while the table lives */
    uint32_t stats;            /* the owner's: first statistics slot; 0 until set */
    bool learnt;               /* came from an upstream's COMMAND */
    uint8_t spec_count;
    struct redis_key_spec *specs;      /* learnt commands only */
    struct redis_shape_rule shapes[3]; /* the first whose condition holds; ask redis_command_shape() */
    struct redis_command **subs;       /* subcommands, NULL when none */
    uint32_t sub_count;
    struct redis_command *parent; /* of a subcommand */
};

struct redis_table;

/* `list`: one entry per command, [NAME, arity, [flag…], first, last, step, class, merge, shape, [subcommand
 * entry…]]; nothing of it is kept. NULL and a sentence in err when an entry is malformed or comes twice. */
struct redis_table *redis_table_new(struct mpack list, char *err, size_t err_size);
void redis_table_free(struct redis_table *t);
uint32_t redis_table_count(const struct redis_table *t);
struct redis_command *redis_table_at(struct redis_table *t, uint32_t index);
/* A new command (of `parent`: a subcommand) with nothing but its name. NULL when memory is out or the name is no
 * name. For those who fill tables: redis_table.c and redis_table_learn.c. */
struct redis_command *redis_table_insert(struct redis_table *t, struct redis_command *parent, struct slice name);
/* The finder of redis_keys.c for a command of this name, 0 = fixed places. Likewise. */
uint8_t redis_finder_of(const struct redis_command *cmd);

/* Case-insensitive; NULL when unknown. */
const struct redis_command *redis_table_find(const struct redis_table *t, struct slice name);
/* Subcommand `name` of cmd, NULL when it has none of that name. */
const struct redis_command *redis_command_sub(const struct redis_command *cmd, struct slice name);
/* The command of a request, subcommand resolved ("CONFIG" "GET" gives CONFIG GET; an unknown subcommand gives the
 * command itself); NULL when unknown. p: the frame; at least argument 0 must be known. */
const struct redis_command *redis_table_resolve(const struct redis_table *t, const struct resp_request *r,
                                                const uint8_t *p);
/* The number of arguments fits the arity. */
static inline bool redis_arity_fits(const struct redis_command *c, uint32_t argc) {
    return c->arity >= 0 ? argc == (uint32_t)c->arity : argc >= (uint32_t)-c->arity;
}

/* Adds the commands of an upstream's COMMAND reply (RESP2 or RESP3, complete) that the table does not know. How
 * many were added; -1 when the reply is malformed or memory is out (those before stay). Known commands are never
 * changed. */
int redis_table_learn(struct redis_table *t, struct slice command_reply);
/* One entry of such a reply. 1 added, 0 known already (or name unusable), -1 as above. */
int redis_table_add(struct redis_table *t, struct slice entry);

/* ---- Keys
 * ---------------------------------------------------------------------------------------------------------- */
#define REDIS_KEY_RANGES 4
struct redis_keys { /* an iteration over the keys of a request; borrows request and frame */
    const struct resp_request *r;
    const uint8_t *p;
    struct resp_arg_iter it;
    uint32_t arg;      /* argument index of the key last returned */
    bool partial;      /* RESP_HEAD requests: there are (or may be) keys among the arguments not yet known */
    uint8_t at, count; /* ranges: current, number */
    struct {
        uint32_t first, last, step;
    } range[REDIS_KEY_RANGES]; /* argument positions, first <= last < argc */
    uint32_t next;
};
/* cmd as redis_table_resolve() gave it; NULL = no keys. Arguments that make no sense to Redis either give no keys. */
void redis_keys_begin(struct redis_keys *k, const struct redis_command *cmd, const struct resp_request *r,
                      const uint8_t *p);
bool redis_keys_next(struct redis_keys *k, struct slice *key);

/* The first key, without an iteration for the commands whose keys stand at fixed places. false when there is none. */
bool redis_first_key(const struct redis_command *cmd, const struct resp_request *r, const uint8_t *p,
                     struct slice *key);

/* What of a key decides its shard: between the first '{' and the next '}' if that is not empty, else all of it
 * (Redis Cluster's rule). */
static inline struct slice redis_key_tag(struct slice key) {
    const uint8_t *open = key.n ? (const uint8_t *)memchr(key.p, '{', key.n) : NULL;
    if (likely(!open)) return key;
    size_t rest = key.n - (size_t)(open + 1 - key.p);
    const uint8_t *close = rest ? (const uint8_t *)memchr(open + 1, '}', rest) : NULL;
    if (!close || close == open + 1) return key;
    return slice_of(open + 1, (size_t)(close - open - 1));
}

/* Equal but for the case of letters; `upper` is upper case. */
static inline bool redis_word_is(struct slice s, struct slice upper) {
    if (s.n != upper.n) return false;
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] >= 'a' && s.p[i] <= 'z' ? s.p[i] - 32 : s.p[i]) != upper.p[i]) return false;
    return true;
}
/* One of the arguments from position `from` on is this word. */
bool redis_has_word(const struct resp_request *r, const uint8_t *p, uint32_t from, struct slice upper);

#endif
