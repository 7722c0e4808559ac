"""Commands on connections, channels, scripts and the server itself. Most name no key: the merge column says which shards they go to.

Where Redis marks a command neither write, readonly nor admin, the first word of flags is ours: write if it may change data or
what other clients see, read if it tells something about the server, session if it is about the connection.
"""

from __future__ import annotations

from mosnpy.codecs.redis.entry import ALL, KEY, SECOND, Command

__all__ = ["COMMANDS"]

_HELP = Command("HELP", 2, "read loading stale", merge="any")

_CLIENT = (
    Command("CACHING", 3, "session loading stale", merge="any"),
    Command("GETNAME", 2, "session loading stale", kind="session"),
    Command("GETREDIR", 2, "session loading stale", merge="any"),
    _HELP,
    Command("ID", 2, "session loading stale", kind="session"),
    Command("INFO", 2, "session loading stale", kind="session", shape="verbatim"),
    Command("KILL", -3, "admin loading stale", kind="session"),
    Command("LIST", -2, "admin loading stale", kind="session", shape="verbatim"),
    Command("NO-EVICT", 3, "admin loading stale", kind="sticky"),
    Command("NO-TOUCH", 3, "session loading stale", kind="sticky", since="7.2"),
    Command("PAUSE", -3, "admin loading stale", kind="session"),
    Command("REPLY", 3, "session loading stale", kind="session"),
    Command("SETINFO", 4, "session loading stale", kind="session", since="7.2"),
    Command("SETNAME", 3, "session loading stale", kind="session"),
    Command("TRACKING", -3, "session loading stale", kind="sticky"),
    Command("TRACKINGINFO", 2, "session loading stale", merge="any", shape="tracking_info"),
    Command("UNBLOCK", -3, "admin loading stale", kind="session"),
    Command("UNPAUSE", 2, "admin loading stale", kind="session"),
)

CONNECTION = (
    Command("AUTH", -2, "session noauth loading stale", kind="session"),
    Command("CLIENT", -2, "session", kind="session", subcommands=_CLIENT),
    Command("ECHO", 2, "session loading stale", kind="local"),
    Command("HELLO", -1, "session noauth loading stale", kind="session", shape="map"),
    Command("PING", -1, "session", kind="local"),
    Command("QUIT", -1, "session noauth loading stale", kind="session"),
    Command("RESET", 1, "session noauth loading stale", kind="session"),
    Command("SELECT", 2, "session loading stale", kind="session"),
    # These change what a connection to a cluster node answers, so they must not meet a shared one.
    Command("ASKING", 1, "session", kind="sticky", merge="any"),
    Command("READONLY", 1, "session loading stale", kind="sticky", merge="any"),
    Command("READWRITE", 1, "session loading stale", kind="sticky", merge="any"),
)

TRANSACTIONS = (
    Command("DISCARD", 1, "session loading stale", kind="transaction"),
    Command("EXEC", 1, "session loading stale", kind="transaction"),
    Command("MULTI", 1, "session loading stale", kind="transaction"),
    Command("UNWATCH", 1, "session loading stale", kind="transaction"),
    Command("WATCH", -2, "session loading stale", ALL, "transaction"),
)

PUBSUB = (
    Command("PSUBSCRIBE", -2, "session pubsub loading stale", kind="subscribe", merge="home"),
    Command("PUBLISH", 3, "write pubsub loading stale", merge="home"),
    Command(
        *("PUBSUB", -2, "read"),
        merge="any",
        subcommands=(
            Command("CHANNELS", -2, "read pubsub loading stale", merge="all_concat"),
            _HELP,
            Command("NUMPAT", 2, "read pubsub loading stale", merge="all_sum"),
            Command("NUMSUB", -2, "read pubsub loading stale", merge="home"),
            Command("SHARDCHANNELS", -2, "read pubsub loading stale", merge="all_concat"),
            # Shard channels live where keys of their name would, so they are looked up like keys.
            Command("SHARDNUMSUB", -2, "read pubsub loading stale", (2, -1, 1)),
        ),
    ),
    Command("PUNSUBSCRIBE", -1, "session pubsub loading stale", kind="subscribe", merge="home"),
    Command("SPUBLISH", 3, "write pubsub loading stale", KEY),
    Command("SSUBSCRIBE", -2, "session pubsub loading stale", ALL, "subscribe"),
    Command("SUBSCRIBE", -2, "session pubsub loading stale", kind="subscribe", merge="home"),
    Command("SUNSUBSCRIBE", -1, "session pubsub loading stale", ALL, "subscribe"),
    Command("UNSUBSCRIBE", -1, "session pubsub loading stale", kind="subscribe", merge="home"),
)

SCRIPTS = (
    Command("EVAL", -3, "write movable stale"),
    Command("EVALSHA", -3, "write movable stale"),
    Command("EVALSHA_RO", -3, "read movable stale"),
    Command("EVAL_RO", -3, "read movable stale"),
    Command("FCALL", -3, "write movable stale"),
    Command("FCALL_RO", -3, "read movable stale"),
    Command(
        *("FUNCTION", -2, "write"),
        merge="any",
        subcommands=(
            Command("DELETE", 3, "write", merge="all_ok"),
            Command("DUMP", 2, "read", merge="any"),
            Command("FLUSH", -2, "write idempotent", merge="all_ok"),
            _HELP,
            Command("KILL", 2, "write", merge="all_ok"),
            Command("LIST", -2, "read", merge="any", shape="function_list"),
            Command("LOAD", -3, "write", merge="all_first"),
            Command("RESTORE", -3, "write", merge="all_ok"),
            Command("STATS", 2, "read", merge="any", shape="function_stats"),
        ),
    ),
    Command(
        *("SCRIPT", -2, "write"),
        merge="any",
        subcommands=(
            Command("DEBUG", 3, "session", kind="sticky", merge="any"),
            Command("EXISTS", -3, "read", merge="all_and"),
            Command("FLUSH", -2, "write idempotent", merge="all_ok"),
            _HELP,
            Command("KILL", 2, "write", merge="all_ok"),
            Command("LOAD", 3, "write idempotent stale", merge="all_first"),
            Command("SHOW", 3, "read stale", merge="any", since="Valkey 8.0"),
        ),
    ),
)

_ACL = (
    Command("CAT", -2, "read loading stale", merge="any"),
    Command("DELUSER", -3, "admin loading stale", merge="all_first"),
    Command("DRYRUN", -4, "admin loading stale", merge="any"),
    Command("GENPASS", -2, "read loading stale", merge="any"),
    Command("GETUSER", 3, "admin loading stale", merge="any", shape="acl_user"),
    _HELP,
    Command("LIST", 2, "admin loading stale", merge="any"),
    Command("LOAD", 2, "admin loading stale", merge="all_ok"),
    Command("LOG", -2, "admin loading stale", merge="any", shape="acl_log"),
    Command("SAVE", 2, "admin loading stale", merge="all_ok"),
    Command("SETUSER", -3, "admin loading stale", merge="all_ok"),
    Command("USERS", 2, "admin loading stale", merge="any"),
    Command("WHOAMI", 2, "session loading stale", merge="any"),
)

_COMMAND = (
    Command("COUNT", 2, "read loading stale", merge="any"),
    Command("DOCS", -2, "read loading stale", merge="any", shape="command_docs"),
    Command("GETKEYS", -3, "read loading stale", merge="any"),
    Command("GETKEYSANDFLAGS", -3, "read loading stale", merge="any", shape="command_flags"),
    _HELP,
    Command("INFO", -2, "read loading stale", merge="any", shape="command_info"),
    Command("LIST", -2, "read loading stale", merge="any"),
)

_CONFIG = (
    Command("GET", -3, "admin loading stale", merge="any", shape="map"),
    _HELP,
    Command("RESETSTAT", 2, "admin loading stale", merge="all_ok"),
    Command("REWRITE", 2, "admin loading stale", merge="all_ok"),
    Command("SET", -4, "admin loading stale", merge="all_ok"),
)

_LATENCY = (
    Command("DOCTOR", 2, "admin loading stale", merge="any", shape="verbatim"),
    Command("GRAPH", 3, "admin loading stale", merge="any", shape="verbatim"),
    _HELP,
    Command("HISTOGRAM", -2, "admin loading stale", merge="any", shape="latency_histogram"),
    Command("HISTORY", 3, "admin loading stale", merge="any"),
    Command("LATEST", 2, "admin loading stale", merge="any"),
    Command("RESET", -2, "admin loading stale", merge="all_sum"),
)

_MEMORY = (
    Command("DOCTOR", 2, "read", merge="any", shape="verbatim"),
    _HELP,
    Command("MALLOC-STATS", 2, "read", merge="any", shape="verbatim"),
    Command("PURGE", 2, "write", merge="all_ok"),
    Command("STATS", 2, "read", merge="any", shape="memory_stats"),
    Command("USAGE", -3, "read", SECOND),
)

_MODULE = (
    _HELP,
    Command("LIST", 2, "admin", merge="any", shape="maps"),
    Command("LOAD", -3, "admin", merge="all_ok"),
    Command("LOADEX", -3, "admin", merge="all_ok"),
    Command("UNLOAD", 3, "admin", merge="all_ok"),
)

_LOG = (
    Command("GET", -2, "admin loading stale", merge="all_concat"),
    _HELP,
    Command("LEN", 2, "admin loading stale", merge="all_sum"),
    Command("RESET", 2, "admin loading stale", merge="all_ok"),
)
_COMMANDLOG = (
    Command("GET", 4, "admin loading stale", merge="all_concat"),
    _HELP,
    Command("LEN", 3, "admin loading stale", merge="all_sum"),
    Command("RESET", 3, "admin loading stale", merge="all_ok"),
)

SERVER = (
    Command("ACL", -2, "admin", merge="any", subcommands=_ACL),
    Command("BGREWRITEAOF", 1, "admin", merge="all_first"),
    Command("BGSAVE", -1, "admin", merge="all_first"),
    Command("COMMAND", -1, "read loading stale", merge="any", shape="command_info", subcommands=_COMMAND),
    Command("COMMANDLOG", -2, "admin", merge="any", subcommands=_COMMANDLOG, since="Valkey 8.1"),
    Command("CONFIG", -2, "admin", merge="any", subcommands=_CONFIG),
    Command("DBSIZE", 1, "read", merge="all_sum"),
    Command("DEBUG", -2, "admin loading stale", merge="any"),
    Command("FLUSHALL", -1, "write idempotent", merge="all_ok"),
    Command("FLUSHDB", -1, "write idempotent", merge="all_ok"),
    Command("INFO", -1, "read loading stale", merge="all_info", shape="verbatim"),
    Command("LASTSAVE", 1, "read loading stale", merge="all_min"),
    Command("LATENCY", -2, "admin", merge="any", subcommands=_LATENCY),
    Command("LOLWUT", -1, "read", merge="any", shape="verbatim"),
    Command("MEMORY", -2, "read", merge="any", subcommands=_MEMORY),
    Command("MODULE", -2, "admin", merge="any", subcommands=_MODULE),
    Command("MONITOR", 1, "admin loading stale", kind="sticky", merge="any"),
    Command("ROLE", 1, "read loading stale", merge="any"),
    Command("SAVE", 1, "admin nomulti", merge="all_ok"),
    Command("SHUTDOWN", -1, "admin nomulti loading stale", kind="sticky", merge="any"),
    Command("SLOWLOG", -2, "admin", merge="any", subcommands=_LOG),
    Command("SWAPDB", 3, "write", merge="all_ok"),
    Command("TIME", 1, "read loading stale", merge="any"),
)

REPLICATION = (
    Command("FAILOVER", -1, "admin stale", kind="sticky", merge="any"),
    Command("PSYNC", -3, "admin nomulti", kind="sticky", merge="any"),
    Command("REPLCONF", -1, "admin loading stale", kind="sticky", merge="any"),
    Command("REPLICAOF", 3, "admin stale", merge="any"),
    Command("SLAVEOF", 3, "admin stale", merge="any"),
    Command("SYNC", 1, "admin nomulti", kind="sticky", merge="any"),
    Command("WAIT", 3, "session", kind="blocking", merge="all_min"),
    Command("WAITAOF", 4, "session blocking", kind="blocking", merge="all_min", since="7.2"),
)

_CLUSTER = (
    Command("ADDSLOTS", -3, "admin stale", merge="any"),
    Command("ADDSLOTSRANGE", -4, "admin stale", merge="any"),
    Command("BUMPEPOCH", 2, "admin stale", merge="any"),
    Command("COUNT-FAILURE-REPORTS", 3, "admin stale", merge="any"),
    Command("COUNTKEYSINSLOT", 3, "read stale", merge="any"),
    Command("DELSLOTS", -3, "admin stale", merge="any"),
    Command("DELSLOTSRANGE", -4, "admin stale", merge="any"),
    Command("FAILOVER", -2, "admin stale", merge="any"),
    Command("FLUSHSLOTS", 2, "admin stale", merge="any"),
    Command("FORGET", 3, "admin stale", merge="any"),
    Command("GETKEYSINSLOT", 4, "read stale", merge="any"),
    _HELP,
    Command("INFO", 2, "read stale", merge="any", shape="verbatim"),
    Command("KEYSLOT", 3, "read stale", merge="any"),
    Command("LINKS", 2, "read stale", merge="any", shape="maps"),
    Command("MEET", -4, "admin stale", merge="any"),
    Command("MIGRATION", -4, "admin stale", merge="any", since="8.4"),
    Command("MYID", 2, "read stale", merge="any"),
    Command("MYSHARDID", 2, "read stale", merge="any", since="7.2"),
    Command("NODES", 2, "read stale", merge="any", shape="verbatim"),
    Command("REPLICAS", 3, "admin stale", merge="any"),
    Command("REPLICATE", 3, "admin stale", merge="any"),
    Command("RESET", -2, "admin stale", merge="any"),
    Command("SAVECONFIG", 2, "admin stale", merge="any"),
    Command("SET-CONFIG-EPOCH", 3, "admin stale", merge="any"),
    Command("SETSLOT", -4, "admin stale", merge="any"),
    Command("SHARDS", 2, "read loading stale", merge="any", shape="cluster_shards"),
    Command("SLAVES", 3, "admin stale", merge="any"),
    Command("SLOT-STATS", -4, "read loading stale", merge="any", since="8.2"),
    Command("SLOTS", 2, "read loading stale", merge="any"),
)

CLUSTER = (Command("CLUSTER", -2, "admin", merge="any", subcommands=_CLUSTER),)

COMMANDS = (*CONNECTION, *TRANSACTIONS, *PUBSUB, *SCRIPTS, *SERVER, *REPLICATION, *CLUSTER)
