"""The shape column against a real server: a command has a shape exactly when its RESP3 reply is built otherwise than its RESP2 reply."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Protocol

import pytest

from mosnpy.codecs.redis.commands import walk
from mosnpy.codecs.redis.entry import Command
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import Node, Wire, encode, parse

OURS = dict(walk())


class Pipe(Protocol):
    """What this needs of conftest.py's."""

    def resp3(self, request: bytes, reply: bytes) -> bytes | None: ...


SETUP = """
HSET withvalues f v g w
ZADD withscores 1 a 2 b
HSET h f v g w
SADD s a b c
SADD s2 a b
ZADD z 1 a 2 b 3 c
ZADD z2 1 a 2 b
XADD x 1-1 a b
XGROUP CREATE x g 0
XREADGROUP GROUP g c COUNT 1 STREAMS x >
GEOADD geo 13.361389 38.115556 p 15.087269 37.502669 c
SET l1 ohmytext
SET l2 mynewtext
RPUSH l 1 2
SET n 1
SET bits foobar
PFADD hll a
ACL SETUSER bob on >pw ~a* (~b* +get)
""".strip().splitlines()

# One line per form of a reply. Each runs on freshly set-up data, so the order does not matter.
CALLS = """
ACL CAT
ACL GETUSER bob
ACL LIST
ACL USERS
ACL WHOAMI
BITFIELD bits GET u8 0
BLMPOP 1 1 l LEFT
BLPOP l 1
BZMPOP 1 1 z MIN
BZPOPMAX z 1
BZPOPMIN z 1
CLIENT GETNAME
CLIENT GETREDIR
CLIENT ID
CLIENT INFO
CLIENT LIST
CLIENT TRACKINGINFO
COMMAND COUNT
COMMAND DOCS get
COMMAND GETKEYS get a
COMMAND GETKEYSANDFLAGS set a b
COMMAND INFO get
COMMAND LIST
COMMAND
CONFIG GET maxmemory*
COPY n n2
DBSIZE
DUMP n
EVAL "return {1,'a',{ok='x'},false,true}" 0
EXISTS n
EXPIRE n 100
FUNCTION DUMP
FUNCTION LIST
FUNCTION STATS
GEODIST geo p c
GEOHASH geo p
GEOPOS geo p nope
GEORADIUS geo 15 37 200 km WITHCOORD
GEORADIUS geo 15 37 200 km WITHDIST
GEORADIUSBYMEMBER geo p 200 km WITHCOORD
GEORADIUSBYMEMBER_RO geo p 200 km WITHCOORD
GEORADIUS_RO geo 15 37 200 km WITHCOORD
GEOSEARCH geo FROMMEMBER p BYRADIUS 500 km ASC WITHCOORD WITHDIST WITHHASH
GEOSEARCH geo FROMMEMBER p BYRADIUS 500 km ASC WITHDIST
GETEX n
HELLO
HEXISTS h f
HGETALL h
HINCRBYFLOAT h number 0.5
HKEYS h
HMGET h f nope
HRANDFIELD h
HRANDFIELD h 2
HRANDFIELD h 2 WITHVALUES
HSCAN h 0
HVALS h
INCRBYFLOAT n 0.5
INFO server
KEYS *
LASTSAVE
LATENCY DOCTOR
LATENCY HISTOGRAM get set
LATENCY HISTORY command
LATENCY LATEST
LCS l1 l2
LCS l1 l2 IDX
LCS l1 l2 IDX MINMATCHLEN 4 WITHMATCHLEN
LMPOP 1 l LEFT
LOLWUT
LPOP l
LPOP l 1
LPOS l 2
LPOS l 2 COUNT 1
LPOS l nope
MEMORY DOCTOR
MEMORY MALLOC-STATS
MEMORY STATS
MEMORY USAGE n
MGET n nope
MODULE LIST
MSETNX a 1 b 2
OBJECT ENCODING n
OBJECT HELP
PERSIST n
PFCOUNT hll
PUBSUB CHANNELS
PUBSUB NUMPAT
PUBSUB NUMSUB a b
PUBSUB SHARDNUMSUB a
RANDOMKEY
ROLE
SCAN 0
SCRIPT EXISTS a
SDIFF s s2
SINTER s s2
SINTERCARD 1 s
SISMEMBER s a
SLOWLOG GET
SMEMBERS nope
SMEMBERS s
SMISMEMBER s a b
SMOVE s s2 a
SORT l
SPOP s2
SPOP s2 2
SRANDMEMBER s
SRANDMEMBER s -2
SRANDMEMBER s 2
SSCAN s 0
SUBSTR bits 0 1
SUNION s s2
TIME
TYPE n
WAIT 0 0
XAUTOCLAIM x g c 0 0
XCLAIM x g c 0 1-1
XINFO CONSUMERS x g
XINFO GROUPS x
XINFO STREAM x
XINFO STREAM x FULL
XPENDING x g
XPENDING x g - + 10
XRANGE x - +
XREAD STREAMS x 0
XREADGROUP GROUP g c STREAMS x 0
ZADD z 1 q
ZADD z INCR 1 a
ZDIFF 2 z z2 WITHSCORES
ZINCRBY z 1 a
ZINTER 2 z z2 WITHSCORES
ZLEXCOUNT z - +
ZMPOP 1 z MIN COUNT 2
ZMSCORE z a nope
ZPOPMAX z
ZPOPMAX z 1
ZPOPMIN z
ZPOPMIN z 2
ZRANDMEMBER z
ZRANDMEMBER z 2 WITHSCORES
ZRANGE z 0 -1
ZRANGE z 0 -1 WITHSCORES
ZRANGEBYLEX z - +
ZRANGEBYSCORE z 0 9 WITHSCORES
ZRANK z a
ZREVRANGE z 0 -1 WITHSCORES
ZREVRANGEBYSCORE z 9 0 WITHSCORES
ZSCAN z 0
ZSCORE z a
ZUNION 2 z z2 WITHSCORES
""".strip().splitlines()

# A shape that the server's state here leaves without effect: nothing in the list, so nothing to be built otherwise.
EMPTY = {"FUNCTION LIST", "MODULE LIST"}
# A shape where the server's reply only sometimes is of the form the shape is for, and stays as it is otherwise.
SOMETIMES = {"ZADD z 1 q"}
# Commands whose reply needs what this server has not got: a cluster, latency events, denied commands.
UNSEEN = {"ACL LOG", "CLUSTER INFO", "CLUSTER LINKS", "CLUSTER NODES", "CLUSTER SHARDS", "LATENCY GRAPH"}


def built(node: Node) -> object:
    """How a reply is built: type bytes without contents. A null is a null in any spelling."""
    if node.value is None:
        return "_"
    if node.kind in "*~%>":
        return node.kind, [built(member) for member in node.members]
    return node.kind


def shape_of(call: list[str]) -> str:
    """The shape that holds for this call, by the rules of csrc/codecs/redis_shape.h."""
    upper = [word.upper() for word in call]
    command: Command = OURS.get(" ".join(upper[:2])) or OURS[upper[0]]
    for alternative in command.shape.split("|"):
        condition, _, rest = alternative.partition(":")
        value, _, name = rest.partition(":")
        if condition == "opt":
            if value in upper[1:]:
                return name
        elif condition == "args":
            if len(call) >= int(value):
                return name
        else:
            return alternative
    return ""


def ask_raw(server: RedisServer, version: int, call: list[str]) -> bytes:
    server.clean()
    with Wire(server.path) as wire:
        wire.hello(version)
        for line in SETUP:
            assert not parse(wire.ask(*shlex.split(line))).is_error, line
        return wire.ask(*call)


def ask(server: RedisServer, version: int, call: list[str]) -> Node:
    return parse(ask_raw(server, version, call))


@pytest.mark.parametrize("line", CALLS)
def test_a_shape_stands_where_the_reply_is_built_otherwise(main_server: RedisServer, line: str) -> None:
    if not main_server.info("server")["redis_version"].startswith("7.0."):
        pytest.skip("the table is compared with Redis 7.0")
    call = shlex.split(line)
    two, three = (ask(main_server, version, call) for version in (2, 3))
    assert not two.is_error, two
    differs = built(two) != built(three)
    if line in EMPTY or line in SOMETIMES:
        assert not differs
    else:
        assert differs == bool(shape_of(call)), f"RESP2 {built(two)}, RESP3 {built(three)}"


# Replies that are not the same twice: clocks, random choices, memory; of these only how they are built is compared.
MOVING = (
    *("CLIENT", "COMMAND", "HELLO", "HRANDFIELD h", "INFO", "LATENCY HISTOGRAM", "MEMORY", "RANDOMKEY", "SPOP s2"),
    *("SRANDMEMBER s", "TIME", "XINFO", "XPENDING", "ZRANDMEMBER"),
)

# Further forms whose conversion is worth a look: nothing there, infinite, nested deep, words that are keys.
MORE_CALLS = """
ACL GETUSER default
ACL GETUSER nobody
BZMPOP 0.01 1 nope MIN
BZPOPMIN nope 0.01
CLUSTER SHARDS
COMMAND DOCS
COMMAND DOCS config migrate set
COMMAND GETKEYSANDFLAGS eval a 2 b c
COMMAND INFO config eval nope xreadgroup
CONFIG GET nope
GEOPOS nope a b
GEOSEARCH geo FROMMEMBER p BYRADIUS 500 km ASC WITHCOORD
HGETALL nope
HRANDFIELD withvalues 2
HRANDFIELD nope 3 WITHVALUES
SPOP nope 3
XINFO STREAM x FULL COUNT 1
XREAD STREAMS nope 0
XREADGROUP GROUP g c STREAMS x >
ZADD z INCR inf a
ZADD z NX INCR 1 a
ZINCRBY z -inf a
ZINCRBY z 0.1 a
ZINCRBY z 1e300 a
ZMPOP 1 nope MIN
ZMPOP 2 nope z MAX COUNT 9
ZPOPMIN nope
ZPOPMIN nope 2
ZRANGE z 0 -1 WITHSCORES REV
ZRANGE withscores 0 -1
ZSCORE z nope
ZUNION 2 withscores z
ZUNION 2 withscores z WITHSCORES
""".strip().splitlines()


def kinds_within(shape: object) -> str:
    """A reply's build with each kind of member once: how many there are and in which order changes from call to call."""
    if isinstance(shape, tuple):
        kind, members = shape
        return f"{kind}{sorted({kinds_within(member) for member in members})}"
    return str(shape)


@pytest.mark.parametrize("line", [*CALLS, *MORE_CALLS])
def test_a_reply_of_resp2_becomes_what_the_server_says_in_resp3(
    main_server: RedisServer, pipe: Pipe, line: str
) -> None:
    call = shlex.split(line)
    two, three = (ask_raw(main_server, version, call) for version in (2, 3))
    got = pipe.resp3(encode(*call), two)
    assert got is not None
    if line.startswith(MOVING):
        assert kinds_within(built(parse(got))) == kinds_within(built(parse(three)))
    else:
        assert got == three


# What only shows on a server with a cluster's table, a function, a denied login and a slow command.
EVENTFUL = """
ACL LOG
CLUSTER INFO
CLUSTER LINKS
CLUSTER NODES
CLUSTER SHARDS
FUNCTION LIST
FUNCTION LIST WITHCODE
FUNCTION STATS
LATENCY GRAPH command
LATENCY LATEST
""".strip().splitlines()
FUNCTION = """#!lua name=l
redis.register_function{function_name='f', callback=function() return 1 end, flags={'no-writes'}}"""


def test_replies_of_an_eventful_server(short_tmp: Path, pipe: Pipe) -> None:
    server = RedisServer(short_tmp / "eventful", options=["--cluster-enabled", "yes"])
    try:
        with Wire(server.path) as wire:
            wire.ok("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wire.ask("FUNCTION", "LOAD", FUNCTION)
            assert b"WRONGPASS" in wire.ask("AUTH", "nobody", "wrong")
            wire.ok("CONFIG", "SET", "latency-monitor-threshold", 1)
            wire.ok("DEBUG", "SLEEP", "0.01")
        for line in EVENTFUL:
            call, replies = shlex.split(line), list[bytes]()
            for version in (2, 3):
                with Wire(server.path) as wire:
                    wire.hello(version)
                    replies.append(wire.ask(*call))
            got = pipe.resp3(encode(*call), replies[0])
            assert got is not None
            assert built(parse(got)) == built(parse(replies[1])), line
    finally:
        server.stop()


def test_every_shape_is_tried() -> None:
    tried = {" ".join(line.upper().split()[:2]) for line in CALLS} | {line.upper().split()[0] for line in CALLS}
    with_shape = {name for name, command in OURS.items() if command.shape and command.since == "7.0"}
    later = {"ZRANK", "ZREVRANK"}  # WITHSCORE came with 7.2
    assert with_shape - tried - UNSEEN - later == set()
