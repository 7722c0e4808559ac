"""Every command family of Redis 7: the same commands straight at Redis and through mosnpy answer the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosnpy.testing.corpus import Command, differences, read_corpus, run_one_by_one, run_pipelined
from mosnpy.testing.front import Front
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import Wire, texts

CORPUS = read_corpus(Path(__file__).parents[1] / "data" / "redis" / "corpus.txt")

# Commands the corpus leaves out, and where they are tested instead.
ELSEWHERE = {
    "HELLO": "test_redis_hello", "SUBSCRIBE": "test_redis_pubsub", "PSUBSCRIBE": "test_redis_pubsub", "SSUBSCRIBE": "test_redis_pubsub",
    "MONITOR": "test_redis_sticky", "PFSELFTEST": "takes a second and says nothing about a proxy",
    "PSYNC": "replication: bytes without end", "SYNC": "replication: bytes without end",
}  # fmt: skip


def reference(server: RedisServer, commands: list[Command], protocol: int) -> list[bytes]:
    server.clean()
    with Wire(server.address) as wire:
        if protocol == 3:
            wire.hello(3)
        replies = run_one_by_one(wire, commands)
    server.clean()
    return replies


def compare(commands: list[Command], expected: list[bytes], got: list[bytes]) -> None:
    found = list(differences(commands, expected, got))
    assert not found, f"{len(found)} of {len(commands)} replies differ\n" + "\n".join(found[:40])


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("family", CORPUS)
def test_replies_are_those_of_redis(front: Front, main_server: RedisServer, family: str, protocol: int) -> None:
    commands = CORPUS[family]
    expected = reference(main_server, commands, protocol)
    compare(commands, expected, run_one_by_one(front.wire(protocol), commands))


@pytest.mark.parametrize("family", [name for name in CORPUS if name != "connection"])
def test_replies_keep_their_order_in_one_pipeline(front: Front, main_server: RedisServer, family: str) -> None:
    """The whole family in one write. Blocking commands and transactions must not overtake or be overtaken."""
    commands = CORPUS[family]
    expected = reference(main_server, commands, 2)
    compare(commands, expected, run_pipelined(front.wire(), commands))


@pytest.mark.parametrize("family", CORPUS)
def test_resp3_client_before_a_resp2_server_sees_resp3_shapes(
    old_proxied: Front, main_server: RedisServer, family: str
) -> None:
    """The upstream refuses HELLO; maps, sets, doubles and nulls are made by the proxy from the command's documentation."""
    commands = [command for command in CORPUS[family] if not _shows_the_servers_own_protocol(command)]
    expected = reference(main_server, commands, 3)
    compare(commands, expected, run_one_by_one(old_proxied.wire(3), commands))


def _shows_the_servers_own_protocol(command: Command) -> bool:
    """Replies whose RESP3 form no RESP2 reply carries enough to restore (scripts, DEBUG) or that name the HELLO command."""
    text = b" ".join(command.words).upper()
    return text.startswith((b"DEBUG PROTOCOL", b"EVAL", b"FCALL", b"COMMAND", b"ACL", b"INFO", b"CONFIG GET"))


def test_corpus_covers_every_command_of_the_server(main_server: RedisServer) -> None:
    """A new Redis brings new commands: this names them."""
    asked = {
        bytes(command.words[0]).upper().decode()
        for commands in CORPUS.values()
        for command in commands
        if command.words
    }
    with Wire(main_server.address) as wire:
        known = {name.upper() for name in texts(wire.ask("COMMAND", "LIST")) if "|" not in name}
    assert known - asked - set(ELSEWHERE) == set()


def test_corpus_covers_every_subcommand_of_the_server(main_server: RedisServer) -> None:
    asked = {b" ".join(command.words[:2]).upper().decode() for commands in CORPUS.values() for command in commands}
    unsafe = ("CLUSTER", "DEBUG", "CLIENT TRACKING", "CLIENT NO-EVICT", "CLIENT SETINFO", "PFDEBUG")
    with Wire(main_server.address) as wire:
        known = {
            f"{parent} {name.split('|')[1]}".upper()
            for parent in ("ACL", "CLIENT", "COMMAND", "CONFIG", "FUNCTION", "LATENCY", "MEMORY", "MODULE", "OBJECT", "PUBSUB", "SCRIPT",
                           "SLOWLOG", "XGROUP", "XINFO")
            for name in texts(wire.ask("COMMAND", "LIST", "FILTERBY", "PATTERN", f"{parent}|*"))
        }  # fmt: skip
    assert {name for name in known - asked if not name.startswith(unsafe)} <= {"SCRIPT DEBUG"}
