"""The keys of a request: the C against COMMAND GETKEYS of a real server, by the table and by what COMMAND tells."""

from __future__ import annotations

import random
from typing import Protocol

import pytest

from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import Node, Wire, encode, parse


class Pipe(Protocol):
    """What this needs of conftest.py's."""

    def keys(self, request: bytes) -> list[int]: ...
    def learn(self, command_reply: bytes) -> int | None: ...


# Channels of sharded pub/sub: placed like keys here, no keys to Redis.
CHANNELS = {"spublish", "ssubscribe", "sunsubscribe", "pubsub shardnumsub"}

# Requests whose keys move, as Redis accepts them; K is a key, W a word that looks like an option, N a number.
MOVING = """
EVAL script 0 W W
EVAL script 2 K W W
EVALSHA sha 3 K K K
FCALL f 1 W
ZUNION 2 K W WITHSCORES
ZINTER 1 K WEIGHTS 2 AGGREGATE MIN
ZDIFF 3 K K K
ZINTERCARD 2 K K LIMIT 1
SINTERCARD 1 W
LMPOP 2 K W LEFT COUNT 1
BLMPOP 0 2 K K RIGHT
ZMPOP 1 K MIN
BZMPOP 1.5 2 K W MAX COUNT 2
ZUNIONSTORE K 2 K W
ZINTERSTORE W 1 K
ZDIFFSTORE K 3 K K K
XREAD STREAMS W N
XREAD COUNT N BLOCK N STREAMS K W N N
XREADGROUP GROUP W W COUNT N STREAMS K >
XREADGROUP GROUP W W NOACK STREAMS K W > >
MIGRATE host N K N N
MIGRATE host N K N N COPY REPLACE AUTH W
MIGRATE host N "" N N COPY AUTH2 W W KEYS K K
MIGRATE host N "" N N KEYS W
SORT K
SORT K BY W LIMIT N N GET W GET W DESC ALPHA
SORT W STORE W
SORT K BY W STORE K
SORT_RO K BY W
GEORADIUS K N N N m COUNT N ASC
GEORADIUS W N N N m STORE K
GEORADIUS K N N N km WITHDIST STOREDIST W
GEORADIUSBYMEMBER K W N m STORE K
BITOP AND K K W
OBJECT ENCODING W
MEMORY USAGE K SAMPLES N
XGROUP CREATE K W $
XINFO STREAM W FULL
""".strip().splitlines()
WORDS = ["STORE", "store", "BY", "GET", "LIMIT", "STREAMS", "KEYS", "keys", "AUTH", "COUNT", "BLOCK", "GROUP", "0", "2"]


def text(node: Node) -> str:
    return (node.value or b"").decode()


def spelled(line: str, rng: random.Random) -> list[str]:
    choice = {"K": lambda: f"k{rng.randrange(100)}", "W": lambda: rng.choice(WORDS), "N": lambda: str(rng.randrange(9))}
    return ["" if word == '""' else choice[word]() if word in choice else word for word in line.split()]


def fixed_calls(commands: Node) -> list[list[str]]:
    """Every command and subcommand with as few arguments as it takes, and some more."""
    entries = [one for entry in commands.members for one in (entry, *entry.members[9].members)]
    names = [(text(one.members[0]).split("|"), abs(int(text(one.members[1])))) for one in entries]
    return [[*name, *(f"a{i}" for i in range(arity + more - len(name)))] for name, arity in names for more in range(4)]


def compare(pipe: Pipe, wire: Wire, call: list[str]) -> bool:
    """False when Redis doesn't tell, because the request makes no sense to it."""
    reply = parse(wire.ask("COMMAND", "GETKEYS", *call))
    found = sorted(call[at] for at in pipe.keys(encode(*call)))
    if reply.is_error:
        if "no key arguments" in text(reply) and not any(" ".join(call[:n]).lower() in CHANNELS for n in (1, 2)):
            assert not found, call
        return False
    assert found == sorted(text(key) for key in reply.members), call
    return True


@pytest.mark.parametrize("line", MOVING)
def test_keys_that_move_are_found(pipe: Pipe, main_server: RedisServer, line: str) -> None:
    rng = random.Random(line)
    with Wire(main_server.path) as wire:
        for _ in range(20):
            assert compare(pipe, wire, spelled(line, rng))


def test_keys_at_fixed_places_are_found(pipe: Pipe, main_server: RedisServer) -> None:
    with Wire(main_server.path) as wire:
        calls = fixed_calls(parse(wire.ask("COMMAND")))
        compared = sum(compare(pipe, wire, call) for call in calls)
    assert compared > 400  # the others have no keys, or too few arguments


def test_a_table_learnt_from_command_finds_them_as_well(empty_pipe: Pipe, main_server: RedisServer) -> None:
    with Wire(main_server.path) as wire:
        reply = wire.ask("COMMAND")
        commands = parse(reply)
        assert empty_pipe.learn(reply) == len(commands.members)
        assert empty_pipe.learn(reply) == 0
        for call in fixed_calls(commands):
            compare(empty_pipe, wire, call)
        for line in MOVING:
            rng = random.Random(line)
            if not line.startswith(
                ("SORT ", "MIGRATE ")
            ):  # their specifications say of themselves that they are incomplete
                plain = " ".join("K" if word == "W" else word for word in line.split())
                compare(empty_pipe, wire, spelled(plain, rng))


def test_what_resp3_tells_of_commands_is_learnt_alike(empty_pipe: Pipe, main_server: RedisServer) -> None:
    with Wire(main_server.path) as wire:
        two = wire.ask("COMMAND")
        wire.hello(3)
        three = wire.ask("COMMAND")
    assert two != three
    empty_pipe.learn(two)
    assert empty_pipe.learn(three) == 0
