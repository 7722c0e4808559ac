"""The command table against what a real server says of itself (COMMAND, COMMAND GETKEYS)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from mosnpy.codecs.redis.commands import COMMANDS, TABLE, names, plan_section, walk
from mosnpy.codecs.redis.entry import FLAGS, KINDS, MERGES, Command
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import Node

OURS = dict(walk())


@dataclass(frozen=True, slots=True)
class Said:
    """What the server says of one command."""

    arity: int
    flags: frozenset[str]
    keys: tuple[int, int, int]
    tips: dict[str, str]
    container: bool
    subcommands: dict[str, Said] = field(default_factory=dict)


def said(node: Node) -> tuple[str, Said]:
    name, arity, flags, first, last, step, _, tips, _, subs = node.members
    words = [(each.value or b"").decode().split(":") for each in tips.members]
    below = dict(said(sub) for sub in subs.members)
    return (name.value or b"").decode().upper().replace("|", " "), Said(
        arity=int(arity.value or 0),
        flags=frozenset((flag.value or b"").decode() for flag in flags.members),
        keys=(int(first.value or 0), int(last.value or 0), int(step.value or 0)),
        tips={word[0]: word[1] for word in words if len(word) == 2},
        container=bool(below),
        subcommands=below,
    )


@pytest.fixture(scope="module")
def server(main_server: RedisServer) -> dict[str, Said]:
    version = main_server.info("server")["redis_version"]
    if not version.startswith("7.0."):
        pytest.skip(f"the table is compared with Redis 7.0; here is {version}")
    top = dict(said(node) for node in main_server.command("COMMAND").members)
    return {**top, **{name: each for parent in top.values() for name, each in parent.subcommands.items()}}


def test_every_command_of_the_server_is_in_the_table(server: dict[str, Said]) -> None:
    assert sorted(server.keys() - OURS.keys()) == []


def test_what_the_server_lacks_is_marked_as_newer(server: dict[str, Said]) -> None:
    older = {name for name in OURS if OURS[name].since == OURS[name.split()[0]].since == "7.0"}
    assert older == server.keys()


# A later version takes more arguments; the proxy must not refuse them.
ARITY = {"ZRANK": (3, -3), "ZREVRANK": (3, -3), "COMMAND GETKEYS": (-4, -3), "COMMAND GETKEYSANDFLAGS": (-4, -3)}


def test_arity(server: dict[str, Said]) -> None:
    differ = {n: (s.arity, OURS[n].arity) for n, s in server.items() if s.arity != OURS[n].arity}
    assert differ == ARITY


def test_key_positions(server: dict[str, Said]) -> None:
    differ = {n: OURS[n].keys for n, s in server.items() if s.keys != OURS[n].keys}
    assert differ == {"PUBSUB SHARDNUMSUB": (2, -1, 1)}  # shard channels hash like keys


# Redis' flag -> ours, where both mean the same.
FLAG_NAMES = {
    "write": "write",
    "readonly": "read",
    "admin": "admin",
    "pubsub": "pubsub",
    "blocking": "blocking",
    "movablekeys": "movable",
    "no_auth": "noauth",
    "no_multi": "nomulti",
    "loading": "loading",
    "stale": "stale",
}
ACCESS = {"write", "read", "admin"}
# The server counts CLUSTER SHARDS and SLOTS among what waits for the dataset; 7.2 no longer does.
NOT_LOADING = {"CLUSTER SHARDS", "CLUSTER SLOTS"}


def test_flags(server: dict[str, Said]) -> None:
    for name, theirs in server.items():
        ours = set(OURS[name].flags.split()) & set(FLAG_NAMES.values())
        expected = {FLAG_NAMES[flag] for flag in theirs.flags & FLAG_NAMES.keys()}
        if not expected & ACCESS:
            ours -= ACCESS  # where Redis names no access, the table chooses one
        if theirs.container:
            expected |= ours & {"loading", "stale"}
        if name in NOT_LOADING:
            ours.discard("loading")
        assert ours == expected, name


def test_access_where_redis_names_none(server: dict[str, Said]) -> None:
    """Every one of them is a decision, so every one stands here."""
    chosen: dict[str, list[str]] = {"write": [], "read": [], "session": [], "admin": []}
    for name, theirs in server.items():
        if theirs.container or name.endswith(" HELP") or theirs.flags & {"write", "readonly", "admin"}:
            continue
        access = [word for word in OURS[name].flags.split() if word in chosen]
        assert len(access) == 1, name
        chosen[access[0]].append(name)
    assert chosen["admin"] == []
    assert sorted(chosen["write"]) == [
        *("EVAL", "EVALSHA", "FCALL", "FUNCTION KILL", "MEMORY PURGE", "PUBLISH"),
        *("SCRIPT FLUSH", "SCRIPT KILL", "SCRIPT LOAD", "SPUBLISH"),
    ]
    assert sorted(chosen["read"]) == [
        *("ACL CAT", "ACL GENPASS", "CLUSTER COUNTKEYSINSLOT", "CLUSTER GETKEYSINSLOT", "CLUSTER INFO"),
        *("CLUSTER KEYSLOT", "CLUSTER LINKS", "CLUSTER MYID", "CLUSTER NODES", "CLUSTER SHARDS", "CLUSTER SLOTS"),
        *("COMMAND COUNT", "COMMAND DOCS", "COMMAND GETKEYS", "COMMAND GETKEYSANDFLAGS", "COMMAND INFO"),
        *("COMMAND LIST", "FUNCTION DUMP", "FUNCTION LIST", "FUNCTION STATS", "INFO", "LASTSAVE", "MEMORY DOCTOR"),
        *("MEMORY MALLOC-STATS", "MEMORY STATS", "PUBSUB CHANNELS", "PUBSUB NUMPAT", "PUBSUB NUMSUB"),
        *("PUBSUB SHARDCHANNELS", "PUBSUB SHARDNUMSUB", "ROLE", "SCRIPT EXISTS", "TIME"),
    ]


POLICY = {
    ("multi_shard", ""): "split_array",
    ("multi_shard", "agg_sum"): "split_sum",
    ("multi_shard", "all_succeeded"): "split_ok",
    ("multi_shard", "agg_min"): "split_min",
    ("all_shards", ""): "all_concat",
    ("all_shards", "agg_sum"): "all_sum",
    ("all_shards", "agg_min"): "all_min",
    ("all_shards", "agg_logical_and"): "all_and",
    ("all_shards", "all_succeeded"): "all_ok",
    ("all_shards", "one_succeeded"): "all_ok",
    ("special", ""): "scan",
}
# Merged otherwise than the tips say, or sent to several shards without a tip.
MERGED = {
    "MSETNX": "",  # all or nothing can't be had over several shards: CROSSSLOT
    "PING": "",  # answered by the proxy
    "RANDOMKEY": "any",
    "INFO": "all_info",
    "SCRIPT LOAD": "all_first",  # the same hash from every shard
    "FUNCTION LOAD": "all_first",  # the same name from every shard
    "FUNCTION STATS": "any",
    "LATENCY DOCTOR": "any",
    "LATENCY GRAPH": "any",
    "LATENCY HISTOGRAM": "any",
    "LATENCY HISTORY": "any",
    "LATENCY LATEST": "any",
    "LATENCY RESET": "all_sum",  # answers how many events were reset
    "MEMORY DOCTOR": "any",
    "MEMORY MALLOC-STATS": "any",
    "MEMORY STATS": "any",
    # No tip in 7.0. Behind the proxy the shards are one server, and these change or describe all of it.
    "ACL DELUSER": "all_first",
    "ACL LOAD": "all_ok",
    "ACL SAVE": "all_ok",
    "ACL SETUSER": "all_ok",
    "BGREWRITEAOF": "all_first",
    "BGSAVE": "all_first",
    "CONFIG RESETSTAT": "all_ok",
    "CONFIG REWRITE": "all_ok",
    "LASTSAVE": "all_min",
    "MODULE LOAD": "all_ok",
    "MODULE LOADEX": "all_ok",
    "MODULE UNLOAD": "all_ok",
    "PUBSUB CHANNELS": "all_concat",
    "PUBSUB NUMPAT": "all_sum",
    "PUBSUB SHARDCHANNELS": "all_concat",
    "SAVE": "all_ok",
    "SWAPDB": "all_ok",
}


def test_merge_follows_the_tips(server: dict[str, Said]) -> None:
    differ = {}
    for name, theirs in server.items():
        request = theirs.tips.get("request_policy", "").replace("all_nodes", "all_shards")
        expected = POLICY.get((request, theirs.tips.get("response_policy", "")), "") if request else ""
        ours = OURS[name].merge
        if ours != expected and not (not request and ours in ("any", "home")):
            differ[name] = ours
    assert differ == MERGED


def test_commands_without_keys_say_which_shard_they_go_to() -> None:
    """Else the hash of nothing would decide. Scripts and functions may have no keys; then it does."""
    undecided = [
        name
        for name, command in OURS.items()
        if command.keys == (0, 0, 0) and not command.merge and command.kind == "plain"
        if "movable" not in command.flags.split() and not command.subcommands
    ]
    assert undecided == []


# ---- keys ----------------------------------------------------------------------------------------------------------


# Their "keys" are channels, which hash like keys but which the server does not call keys.
CHANNELS = {"PUBSUB SHARDNUMSUB", "SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE"}


def sample(name: str, command: Command, arity: int) -> list[str] | None:
    """A request with enough arguments for the server and the command's fixed keys."""
    if "movable" in command.flags.split() or command.keys == (0, 0, 0):
        return None
    words = name.split()
    return words + [f"arg{i}" for i in range(len(words), max(abs(arity), 5 if arity < 0 else 0))]


def fixed_keys(command: Command, words: list[str]) -> list[str]:
    first, last, step = command.keys
    return words[first : (last if last >= 0 else len(words) + last) + 1 : step]


def test_keys_at_fixed_places_are_those_the_server_finds(server: dict[str, Said], main_server: RedisServer) -> None:
    compared = 0
    for name, theirs in server.items():
        words = sample(name, OURS[name], theirs.arity)
        if words is None or name in CHANNELS:
            continue
        node = main_server.command("COMMAND", "GETKEYS", *words)
        assert [(member.value or b"").decode() for member in node.members] == fixed_keys(OURS[name], words), words
        compared += 1
    assert compared > 150


MOVABLE = [
    ("BLMPOP 0 2 {a} {b} LEFT", "a b"),
    ("BZMPOP 0 1 {a} MIN", "a"),
    ("EVAL script 2 {a} {b} arg", "a b"),
    ("EVAL script 0 arg", ""),
    ("EVALSHA sha 1 {a}", "a"),
    ("EVALSHA_RO sha 1 {a}", "a"),
    ("EVAL_RO script 1 {a}", "a"),
    ("FCALL f 1 {a} arg", "a"),
    ("FCALL_RO f 1 {a} arg", "a"),
    ("GEORADIUS {a} 1 1 1 km STORE {b}", "a b"),
    ("GEORADIUSBYMEMBER {a} m 1 km STOREDIST {b}", "a b"),
    ("LMPOP 2 {a} {b} LEFT", "a b"),
    ("MIGRATE host 1 {a} 0 10", "a"),
    ("MIGRATE host 1  0 10 KEYS {a} {b}", "a b"),
    ("SINTERCARD 2 {a} {b} LIMIT 1", "a b"),
    ("SORT {a} BY x STORE {b}", "a b"),
    ("SORT_RO {a} BY x", "a"),
    ("XREAD COUNT 1 STREAMS {a} {b} 0 0", "a b"),
    ("XREADGROUP GROUP g c STREAMS {a} {b} > >", "a b"),
    ("ZDIFF 2 {a} {b}", "a b"),
    ("ZDIFFSTORE {a} 2 {b} {c}", "a b c"),
    ("ZINTER 2 {a} {b} WITHSCORES", "a b"),
    ("ZINTERCARD 2 {a} {b}", "a b"),
    ("ZINTERSTORE {a} 1 {b}", "a b"),
    ("ZMPOP 1 {a} MIN", "a"),
    ("ZUNION 1 {a}", "a"),
    ("ZUNIONSTORE {a} 2 {b} {c} WEIGHTS 1 2", "a b c"),
]


@pytest.mark.parametrize(("request_", "keys"), MOVABLE)
def test_movable_keys_as_the_server_finds_them(main_server: RedisServer, request_: str, keys: str) -> None:
    """What the core's finder must answer too; csrc/tests/test_redis_table.c asks it."""
    node = main_server.command("COMMAND", "GETKEYS", *request_.replace("{", "").replace("}", "").split(" "))
    assert sorted((member.value or b"").decode() for member in node.members) == keys.split()


def test_every_movable_command_has_a_sample() -> None:
    movable = {name for name, command in OURS.items() if "movable" in command.flags.split()}
    sampled = {request.split()[0] for request, _ in MOVABLE}
    assert movable == sampled


# ---- the table itself ----------------------------------------------------------------------------------------------


def rows() -> Iterator[list[object]]:
    for row in COMMANDS:
        yield list(row)
        for sub in row[9]:  # type: ignore[union-attr]
            yield list(sub)  # type: ignore[arg-type]


def test_rows_have_the_form_the_core_reads() -> None:
    for name, arity, flags, first, last, step, kind, merge, shape, subs in rows():
        assert isinstance(name, str)
        assert name == name.upper()
        assert isinstance(arity, int)
        assert arity != 0
        assert isinstance(flags, list)
        assert set(flags) <= FLAGS, name
        assert kind in KINDS, name
        assert merge in MERGES, name
        assert isinstance(shape, str)
        assert isinstance(subs, list)
        assert (first, last, step) == (0, 0, 0) or (isinstance(first, int) and first > 0), name


def test_names_are_unique_and_sorted() -> None:
    assert list(names()) == sorted(set(names()))
    assert len(OURS) == sum(1 for _ in walk())


def test_every_command_has_exactly_one_access() -> None:
    for name, command in OURS.items():
        access = set(command.flags.split()) & {"write", "read", "admin", "session"}
        assert len(access) == 1 or name == "PFDEBUG", name


def test_a_read_is_never_marked_a_second_time_as_repeatable() -> None:
    for name, command in OURS.items():
        words = command.flags.split()
        assert len(words) == len(set(words)), name
        assert not {"read", "idempotent"} <= set(words), name


def test_plan_section_holds_the_table_and_the_counted_commands() -> None:
    section = plan_section({"GET": 100, "SET": 120})
    assert section["operations"] == {"GET": 100, "SET": 120}
    assert section["commands"] == [command.row() for command in TABLE]


def test_plan_section_refuses_unknown_commands() -> None:
    with pytest.raises(ValueError, match="no such Redis commands: GETT"):
        plan_section({"GET": 1, "GETT": 2})
