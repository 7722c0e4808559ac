"""Commands on keys and values, by type. They travel by their keys unless the merge column says otherwise.

`movable` marks commands that have keys elsewhere than at fixed places (behind a count, behind a word); the core finds those,
the columns here say what Redis' own COMMAND says.
"""

from __future__ import annotations

from mosnpy.codecs.redis.entry import ALL, KEY, SECOND, TWO, Command

__all__ = ["COMMANDS"]

_PAIRS = (1, -1, 2)
_STORED = (1, -2, 1)
_SCORES = "opt:WITHSCORES:pairs_double"
_POP = "args:3:pairs_double|flat_double"
_COORD = "opt:WITHCOORD:geo_coord"
_HELP = Command("HELP", 2, "read loading stale", merge="any")
# Asking twice equals asking once, reply included, if nobody else writes in between. Not SET or EXPIREAT: their options (NX, GET)
# make a second reply another one; not DEL, SADD, HSET: their replies count changes.
_REPEATABLE = "write idempotent"

GENERIC = (
    Command("COPY", -3, "write", TWO),
    Command("DEL", -2, "write", ALL, merge="split_sum"),
    Command("DUMP", 2, "read", KEY),
    Command("EXISTS", -2, "read", ALL, merge="split_sum"),
    Command("EXPIRE", -3, "write", KEY),
    Command("EXPIREAT", -3, "write", KEY),
    Command("EXPIRETIME", 2, "read", KEY),
    Command("KEYS", 2, "read", merge="all_concat"),
    Command("MIGRATE", -6, "write movable", (3, 3, 1)),
    Command("MOVE", 3, "write", KEY),
    Command(
        *("OBJECT", -2, "read"),
        subcommands=(
            Command("ENCODING", 3, "read", SECOND),
            Command("FREQ", 3, "read", SECOND),
            _HELP,
            Command("IDLETIME", 3, "read", SECOND),
            Command("REFCOUNT", 3, "read", SECOND),
        ),
    ),
    Command("PERSIST", 2, "write", KEY),
    Command("PEXPIRE", -3, "write", KEY),
    Command("PEXPIREAT", -3, "write", KEY),
    Command("PEXPIRETIME", 2, "read", KEY),
    Command("PTTL", 2, "read", KEY),
    Command("RANDOMKEY", 1, "read", merge="any"),
    Command("RENAME", 3, "write", TWO),
    Command("RENAMENX", 3, "write", TWO),
    Command("RESTORE", -4, "write", KEY),
    Command("RESTORE-ASKING", -4, "write", KEY),
    Command("SCAN", -2, "read", merge="scan"),
    Command("SORT", -2, "write movable", KEY),
    Command("SORT_RO", -2, "read movable", KEY),
    Command("TOUCH", -2, "read", ALL, merge="split_sum"),
    Command("TTL", 2, "read", KEY),
    Command("TYPE", 2, "read", KEY),
    Command("UNLINK", -2, "write", ALL, merge="split_sum"),
)

STRINGS = (
    Command("APPEND", 3, "write", KEY),
    Command("BITCOUNT", -2, "read", KEY),
    Command("BITFIELD", -2, "write", KEY),
    Command("BITFIELD_RO", -2, "read", KEY),
    Command("BITOP", -4, "write", (2, -1, 1)),
    Command("BITPOS", -3, "read", KEY),
    Command("DECR", 2, "write", KEY),
    Command("DECRBY", 3, "write", KEY),
    Command("GET", 2, "read", KEY),
    Command("GETBIT", 3, "read", KEY),
    Command("GETDEL", 2, "write", KEY),
    Command("GETEX", -2, "write", KEY),
    Command("GETRANGE", 4, "read", KEY),
    Command("GETSET", 3, "write", KEY),
    Command("INCR", 2, "write", KEY),
    Command("INCRBY", 3, "write", KEY),
    Command("INCRBYFLOAT", 3, "write", KEY),
    Command("LCS", -3, "read", TWO, shape="opt:IDX:map"),
    Command("MGET", -2, "read", ALL, merge="split_array"),
    Command("MSET", -3, _REPEATABLE, _PAIRS, merge="split_ok"),
    Command("MSETNX", -3, "write", _PAIRS),
    Command("PSETEX", 4, _REPEATABLE, KEY),
    Command("SET", -3, "write", KEY),
    Command("SETBIT", 4, "write", KEY),
    Command("SETEX", 4, _REPEATABLE, KEY),
    Command("SETNX", 3, "write", KEY),
    Command("SETRANGE", 4, _REPEATABLE, KEY),
    Command("STRLEN", 2, "read", KEY),
    Command("SUBSTR", 4, "read", KEY),
)

HYPERLOGLOGS = (
    Command("PFADD", -2, "write", KEY),
    Command("PFCOUNT", -2, "read", ALL),
    Command("PFDEBUG", 3, "write admin", SECOND),
    Command("PFMERGE", -2, _REPEATABLE, ALL),
    Command("PFSELFTEST", 1, "admin", merge="any"),
)

HASHES = (
    Command("HDEL", -3, "write", KEY),
    Command("HEXISTS", 3, "read", KEY),
    Command("HGET", 3, "read", KEY),
    Command("HGETALL", 2, "read", KEY, shape="map"),
    Command("HINCRBY", 4, "write", KEY),
    Command("HINCRBYFLOAT", 4, "write", KEY),
    Command("HKEYS", 2, "read", KEY),
    Command("HLEN", 2, "read", KEY),
    Command("HMGET", -3, "read", KEY),
    Command("HMSET", -4, _REPEATABLE, KEY),
    Command("HRANDFIELD", -2, "read", KEY, shape="opt:WITHVALUES:pairs"),
    Command("HSCAN", -3, "read", KEY),
    Command("HSET", -4, "write", KEY),
    Command("HSETNX", 4, "write", KEY),
    Command("HSTRLEN", 3, "read", KEY),
    Command("HVALS", 2, "read", KEY),
)

LISTS = (
    Command("BLMOVE", 6, "write blocking", TWO, "blocking"),
    Command("BLMPOP", -5, "write blocking movable", kind="blocking"),
    Command("BLPOP", -3, "write blocking", _STORED, "blocking"),
    Command("BRPOP", -3, "write blocking", _STORED, "blocking"),
    Command("BRPOPLPUSH", 4, "write blocking", TWO, "blocking"),
    Command("LINDEX", 3, "read", KEY),
    Command("LINSERT", 5, "write", KEY),
    Command("LLEN", 2, "read", KEY),
    Command("LMOVE", 5, "write", TWO),
    Command("LMPOP", -4, "write movable"),
    Command("LPOP", -2, "write", KEY),
    Command("LPOS", -3, "read", KEY),
    Command("LPUSH", -3, "write", KEY),
    Command("LPUSHX", -3, "write", KEY),
    Command("LRANGE", 4, "read", KEY),
    Command("LREM", 4, "write", KEY),
    Command("LSET", 4, _REPEATABLE, KEY),
    Command("LTRIM", 4, "write", KEY),
    Command("RPOP", -2, "write", KEY),
    Command("RPOPLPUSH", 3, "write", TWO),
    Command("RPUSH", -3, "write", KEY),
    Command("RPUSHX", -3, "write", KEY),
)

SETS = (
    Command("SADD", -3, "write", KEY),
    Command("SCARD", 2, "read", KEY),
    Command("SDIFF", -2, "read", ALL, shape="set"),
    Command("SDIFFSTORE", -3, _REPEATABLE, ALL),
    Command("SINTER", -2, "read", ALL, shape="set"),
    Command("SINTERCARD", -3, "read movable"),
    Command("SINTERSTORE", -3, _REPEATABLE, ALL),
    Command("SISMEMBER", 3, "read", KEY),
    Command("SMEMBERS", 2, "read", KEY, shape="set"),
    Command("SMISMEMBER", -3, "read", KEY),
    Command("SMOVE", 4, "write", TWO),
    Command("SPOP", -2, "write", KEY, shape="args:3:set"),
    Command("SRANDMEMBER", -2, "read", KEY),
    Command("SREM", -3, "write", KEY),
    Command("SSCAN", -3, "read", KEY),
    Command("SUNION", -2, "read", ALL, shape="set"),
    Command("SUNIONSTORE", -3, _REPEATABLE, ALL),
)

SORTED_SETS = (
    Command("BZMPOP", -5, "write blocking movable", kind="blocking", shape="key_pairs_double"),
    Command("BZPOPMAX", -3, "write blocking", _STORED, "blocking", shape="key_double"),
    Command("BZPOPMIN", -3, "write blocking", _STORED, "blocking", shape="key_double"),
    Command("ZADD", -4, "write", KEY, shape="opt:INCR:double"),
    Command("ZCARD", 2, "read", KEY),
    Command("ZCOUNT", 4, "read", KEY),
    Command("ZDIFF", -3, "read movable", shape=_SCORES),
    Command("ZDIFFSTORE", -4, "write movable", KEY),
    Command("ZINCRBY", 4, "write", KEY, shape="double"),
    Command("ZINTER", -3, "read movable", shape=_SCORES),
    Command("ZINTERCARD", -3, "read movable"),
    Command("ZINTERSTORE", -4, "write movable", KEY),
    Command("ZLEXCOUNT", 4, "read", KEY),
    Command("ZMPOP", -4, "write movable", shape="key_pairs_double"),
    Command("ZMSCORE", -3, "read", KEY, shape="doubles"),
    Command("ZPOPMAX", -2, "write", KEY, shape=_POP),
    Command("ZPOPMIN", -2, "write", KEY, shape=_POP),
    Command("ZRANDMEMBER", -2, "read", KEY, shape=_SCORES),
    Command("ZRANGE", -4, "read", KEY, shape=_SCORES),
    Command("ZRANGEBYLEX", -4, "read", KEY),
    Command("ZRANGEBYSCORE", -4, "read", KEY, shape=_SCORES),
    Command("ZRANGESTORE", -5, _REPEATABLE, TWO),
    # WITHSCORE came with 7.2, and with it a fourth argument.
    Command("ZRANK", -3, "read", KEY, shape="opt:WITHSCORE:flat_double"),
    Command("ZREM", -3, "write", KEY),
    Command("ZREMRANGEBYLEX", 4, "write", KEY),
    Command("ZREMRANGEBYRANK", 4, "write", KEY),
    Command("ZREMRANGEBYSCORE", 4, "write", KEY),
    Command("ZREVRANGE", -4, "read", KEY, shape=_SCORES),
    Command("ZREVRANGEBYLEX", -4, "read", KEY),
    Command("ZREVRANGEBYSCORE", -4, "read", KEY, shape=_SCORES),
    Command("ZREVRANK", -3, "read", KEY, shape="opt:WITHSCORE:flat_double"),
    Command("ZSCAN", -3, "read", KEY),
    Command("ZSCORE", 3, "read", KEY, shape="double"),
    Command("ZUNION", -3, "read movable", shape=_SCORES),
    Command("ZUNIONSTORE", -4, "write movable", KEY),
)

GEO = (
    Command("GEOADD", -5, "write", KEY),
    Command("GEODIST", -4, "read", KEY),
    Command("GEOHASH", -2, "read", KEY),
    Command("GEOPOS", -2, "read", KEY, shape="positions"),
    Command("GEORADIUS", -6, "write movable", KEY, shape=_COORD),
    Command("GEORADIUSBYMEMBER", -5, "write movable", KEY, shape=_COORD),
    Command("GEORADIUSBYMEMBER_RO", -5, "read", KEY, shape=_COORD),
    Command("GEORADIUS_RO", -6, "read", KEY, shape=_COORD),
    Command("GEOSEARCH", -7, "read", KEY, shape=_COORD),
    Command("GEOSEARCHSTORE", -8, _REPEATABLE, TWO),
)

STREAMS = (
    Command("XACK", -4, "write", KEY),
    Command("XADD", -5, "write", KEY),
    Command("XAUTOCLAIM", -6, "write", KEY),
    Command("XCLAIM", -6, "write", KEY),
    Command("XDEL", -3, "write", KEY),
    Command(
        *("XGROUP", -2, "write"),
        subcommands=(
            Command("CREATE", -5, "write", SECOND),
            Command("CREATECONSUMER", 5, "write", SECOND),
            Command("DELCONSUMER", 5, "write", SECOND),
            Command("DESTROY", 4, "write", SECOND),
            _HELP,
            Command("SETID", -5, _REPEATABLE, SECOND),
        ),
    ),
    Command(
        *("XINFO", -2, "read"),
        subcommands=(
            Command("CONSUMERS", 4, "read", SECOND, shape="maps"),
            Command("GROUPS", 3, "read", SECOND, shape="maps"),
            _HELP,
            Command("STREAM", -3, "read", SECOND, shape="opt:FULL:xinfo_stream_full|xinfo_stream"),
        ),
    ),
    Command("XLEN", 2, "read", KEY),
    Command("XPENDING", -3, "read", KEY),
    Command("XRANGE", -4, "read", KEY),
    Command("XREAD", -4, "read blocking movable", kind="blocking", shape="pair_map"),
    Command("XREADGROUP", -7, "write blocking movable", kind="blocking", shape="pair_map"),
    Command("XREVRANGE", -4, "read", KEY),
    Command("XSETID", -3, _REPEATABLE, KEY),
    Command("XTRIM", -4, "write", KEY),
)

COMMANDS = (*GENERIC, *STRINGS, *HYPERLOGLOGS, *HASHES, *LISTS, *SETS, *SORTED_SETS, *GEO, *STREAMS)
