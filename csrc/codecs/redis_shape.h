/* Shapes: how a RESP2 reply becomes the RESP3 reply Redis itself would have sent.
 *
 * Needed when the client's version and the upstream's differ. It needs to know the command: a flat array may be a
 * map. */
#ifndef MOSNPY_REDIS_SHAPE_H
#define MOSNPY_REDIS_SHAPE_H

#include "redis_table.h"

/* What COMMAND says of a command, and COMMAND DOCS; `sub` is the pattern of its subcommands. Arguments nest four
 * deep in Redis 7, some spare; what is deeper stays as it is. */
#define REDIS_COMMAND_ENTRY(sub) "T**S****S*S*SM{flags=S*,begin_search=M{spec=M*},find_keys=M{spec=M*}}" sub "."
#define REDIS_COMMAND_ARG(inner) "M{flags=S*,arguments=A" inner "}"
#define REDIS_COMMAND_ARGS \
    REDIS_COMMAND_ARG(     \
        REDIS_COMMAND_ARG(REDIS_COMMAND_ARG(REDIS_COMMAND_ARG(REDIS_COMMAND_ARG(REDIS_COMMAND_ARG("*"))))))
#define REDIS_COMMAND_DOC(sub) "M{doc_flags=S*,history=S*,arguments=A" REDIS_COMMAND_ARGS ",subcommands=" sub "}"

/* The names a table entry may use in its shape column; "" is "as it is". Nulls become `_` in every shape, errors
 * stay errors. Where the reply isn't of the form a shape expects (SPOP without a count under "set"), it stays as
 * it is. In front of a name may stand a condition: "opt:WORD:name" (the request has that option word among its
 * arguments) or "args:N:name" (it has at least N arguments, the command's name counted):
 * "opt:WITHSCORES:pairs_double", "args:3:pairs_double". Several joined by '|': the first whose condition holds:
 * "args:3:pairs_double|flat_double". X(NAME, "name", the pattern in the notation of redis_shape.c). */
#define REDIS_SHAPES(X)                                                                                               \
    X(NONE, "", "*")                                                                                                  \
    X(MAP, "map", "M*")          /* flat pairs -> map: HGETALL, CONFIG GET, LCS IDX */                                \
    X(SET, "set", "S*")          /* SMEMBERS, SINTER, SUNION, SDIFF, SPOP key count */                                \
    X(DOUBLE, "double", "d")     /* ZSCORE, ZINCRBY, ZADD INCR */                                                     \
    X(DOUBLES, "doubles", "Ad")  /* array of doubles: ZMSCORE */                                                      \
    X(BOOL, "bool", "b")         /* 1/0 -> true/false */                                                              \
    X(VERBATIM, "verbatim", "v") /* INFO, CLIENT LIST, CLIENT INFO, LOLWUT, MEMORY DOCTOR, LATENCY DOCTOR … */      \
    X(PAIRS, "pairs", "P*")      /* flat pairs -> array of [a, b]: HRANDFIELD WITHVALUES */                           \
    X(PAIRS_DOUBLE, "pairs_double",                                                                                   \
      "Pd") /* flat pairs -> array of [member, double]: ZRANGE WITHSCORES, ZPOPMIN key count */                       \
    X(FLAT_DOUBLE, "flat_double", "T*d.")               /* [member, score]: ZPOPMIN without count, ZRANK WITHSCORE */ \
    X(KEY_DOUBLE, "key_double", "T**d.")                /* [key, member, score]: BZPOPMIN, BZPOPMAX */                \
    X(KEY_PAIRS_DOUBLE, "key_pairs_double", "T*AT*d..") /* [key, [[member, score]…]]: ZMPOP, BZMPOP */              \
    X(PAIR_MAP, "pair_map", "N*")                       /* array of [a, b] -> map: XREAD, XREADGROUP */               \
    X(MAPS, "maps",                                                                                                   \
      "AM*") /* array of flat pairs -> array of maps: XINFO GROUPS, XINFO CONSUMERS, MODULE LIST, CLUSTER LINKS */    \
    X(MAP_MAP, "map_map", "MM*")     /* map of maps */                                                                \
    X(POSITIONS, "positions", "AAd") /* array of [x, y] doubles: GEOPOS */                                            \
    X(GEO_COORD, "geo_coord", "Ag")  /* last of each item is [x, y]: GEOSEARCH, GEORADIUS… WITHCOORD */             \
    X(XINFO_STREAM, "xinfo_stream", "M*")                                                                             \
    X(XINFO_STREAM_FULL, "xinfo_stream_full", "M{groups=AM{consumers=AM*}}")                                          \
    X(ACL_USER, "acl_user", "M{flags=S*,selectors=AM*}") /* ACL GETUSER */                                            \
    X(ACL_LOG, "acl_log", "AM{age-seconds=d}")                                                                        \
    X(MEMORY_STATS, "memory_stats",                                                                                   \
      "M{db.*=M*,dataset.percentage=d,peak.percentage=d,allocator-fragmentation.ratio=d,allocator-rss.ratio=d,"       \
      "rss-overhead.ratio=d,fragmentation=d}")                                                                        \
    X(FUNCTION_LIST, "function_list", "AM{functions=AM{flags=S*}}")                                                   \
    X(FUNCTION_STATS, "function_stats", "M{running_script=M*,engines=MM*}")                                           \
    X(COMMAND_INFO, "command_info",                                                                                   \
      "A" REDIS_COMMAND_ENTRY("E" REDIS_COMMAND_ENTRY("E*"))) /* COMMAND, COMMAND INFO */                             \
    X(COMMAND_DOCS, "command_docs", "M" REDIS_COMMAND_DOC("M" REDIS_COMMAND_DOC("*")))                                \
    X(COMMAND_FLAGS, "command_flags", "AT*S*.") /* COMMAND GETKEYSANDFLAGS */                                         \
    X(LATENCY_HISTOGRAM, "latency_histogram", "MM{histogram_usec=M*}")                                                \
    X(TRACKING_INFO, "tracking_info", "M{flags=S*}")                                                                  \
    X(CLUSTER_SHARDS, "cluster_shards", "AM{nodes=AM*}")
enum redis_shape {
#define X(name, word, pattern) REDIS_SHAPE_##name,
    REDIS_SHAPES(X)
#undef X
        REDIS_SHAPE_COUNT
};

/* Reads a shape column into cmd. false: no such shape. */
bool redis_shape_parse(struct slice column, struct redis_command *cmd);
/* The shape a reply to this request needs on its way from a RESP2 upstream to a RESP3 client; 0 also for cmd == NULL.
 * Asked when the request is there, kept by the stream until the reply comes. */
uint16_t redis_command_shape(const struct redis_command *cmd, const struct resp_request *r, const uint8_t *p);

/* True if a reply that starts with these bytes (n >= 2) surely goes up unchanged, so it need not be collected. */
bool redis_shape_up_passes(uint16_t shape, const uint8_t *p, size_t n);

/* Appends the RESP3 form of a complete RESP2 reply. 0, or -1 when the reply is malformed or memory is out (out->n
 * restored). */
int redis_shape_up(uint16_t shape, struct slice reply, struct resp_out *out);
/* EXEC: an array whose i-th element has each_shape[i] (n of them; further elements as they are). */
int redis_shape_up_each(const uint16_t *each_shape, uint32_t n, struct slice reply, struct resp_out *out);

#endif
