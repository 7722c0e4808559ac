"""Commands nobody here has heard of: passed on as they are, and routed by their keys once the server has described them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mosnpy.testing.fake_upstream import FakeUpstream, Peer, Request, echo_argument, resp2_session
from mosnpy.testing.front import Front
from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.resp import Address, Wire, encode
from mosnpy.testing.waiting import free_port, until

Start = Callable[..., ProxyProcess]


def described(name: str, arity: int, flags: list[str], first: int, last: int, step: int) -> bytes:
    """One element of the reply to COMMAND, as Redis 7 writes it: ten fields, the last four empty here."""
    return (
        b"*10\r\n"
        + encode(name.lower())[4:]
        + b":%d\r\n" % arity
        + b"*%d\r\n" % len(flags)
        + b"".join(b"+%b\r\n" % flag.encode() for flag in flags)
        + b":%d\r\n:%d\r\n:%d\r\n" % (first, last, step)
        + b"*0\r\n*0\r\n*0\r\n*0\r\n"
    )


COMMANDS = [
    described("ACME.GET", 3, ["readonly", "fast"], 2, 2, 1),  # ACME.GET option key
    described("ACME.MOVE", -3, ["write"], 1, 2, 1),  # ACME.MOVE key key
    described("ACME.INFO", 1, ["readonly"], 0, 0, 0),  # no key at all
    described("GET", 2, ["readonly", "fast"], 1, 1, 1),
    described("SET", -3, ["write"], 1, 1, 1),
]


def with_modules(request: Request) -> bytes | None:
    if [word.upper() for word in request[:2]] == [b"COMMAND", b"INFO"]:
        asked = [encode(word.lower())[4:] for word in request[2:]]
        found = [next((one for one in COMMANDS if one[5:].startswith(name)), b"*-1\r\n") for name in asked]
        return b"*%d\r\n" % len(found) + b"".join(found)
    if request == [b"COMMAND"]:
        return b"*%d\r\n" % len(COMMANDS) + b"".join(COMMANDS)
    return resp2_session(request)


def named(name: str) -> Any:
    """Answers with the upstream's own name."""

    async def script(peer: Peer, request: Request) -> None:
        await peer.send(b"+%b\r\n" % name.encode())

    return script


@pytest.fixture
def upstreams() -> Iterator[list[FakeUpstream]]:
    running = [FakeUpstream(named(name), session=with_modules).start() for name in ("one", "two", "three")]
    yield running
    for upstream in running:
        upstream.stop()


def begin(start_proxy: Start, routes: list[dict[str, Any]], **upstreams: dict[str, Any]) -> Address:
    port = free_port()
    start_proxy({
        "listeners": {"front": {"bind": f"127.0.0.1:{port}", "protocol": "redis", "routes": routes}},
        "upstreams": {name: {"protocol": "redis", **options} for name, options in upstreams.items()},
    })  # fmt: skip
    return "127.0.0.1", port


def test_unknown_command_is_passed_on_as_it_is(start_proxy: Start) -> None:
    with FakeUpstream(echo_argument) as upstream:
        with Wire(begin(start_proxy, [{"to": "main"}], main={"endpoints": [upstream.endpoint]})) as wire:
            assert wire.ask("BF.ADD", "filter", b"\x00item") == b"$5\r\n\x00item\r\n"
            assert wire.ask("json.set", "k", "$", "{}") == b"$2\r\n{}\r\n"
            assert upstream.requests == [[b"BF.ADD", b"filter", b"\x00item"], [b"json.set", b"k", b"$", b"{}"]]


def test_commands_of_a_module_are_routed_by_their_keys(start_proxy: Start, upstreams: list[FakeUpstream]) -> None:
    """ACME.GET has its key in second place: only COMMAND tells."""
    one, two, _ = upstreams
    address = begin(
        start_proxy,
        [{"match": {"redis.key": "session:*"}, "to": "two"}, {"to": "one"}],
        one={"endpoints": [one.endpoint]}, two={"endpoints": [two.endpoint]},
    )  # fmt: skip
    with Wire(address) as wire:
        until(lambda: wire.ask("ACME.GET", "option", "session:1") == b"+two\r\n", "the commands to be learned")
        assert wire.ask("ACME.GET", "session:1", "elsewhere") == b"+one\r\n"
        assert wire.ask("acme.get", "option", "session:2") == b"+two\r\n"


def test_commands_of_a_module_are_sharded_by_their_keys(start_proxy: Start, upstreams: list[FakeUpstream]) -> None:
    endpoints = [upstream.endpoint for upstream in upstreams]
    address = begin(
        start_proxy, [{"to": "main"}], main={"endpoints": endpoints, "lb": {"policy": "ring_hash", "hash": "redis.key"}}
    )
    with Wire(address) as wire:
        homes = {f"k{number}": wire.ask("GET", f"k{number}") for number in range(60)}
        assert len(set(homes.values())) == 3
        until(
            lambda: all(wire.ask("ACME.GET", "o", key) == home for key, home in homes.items()),
            "the commands to be learned",
        )
        first, second = "k0", next(key for key, home in homes.items() if home != homes["k0"])
        assert wire.ask("ACME.MOVE", first, second) == b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
        assert wire.ask("ACME.MOVE", first, first) == homes[first]


def test_access_of_learned_commands_is_known(start_proxy: Start, upstreams: list[FakeUpstream]) -> None:
    one, two, _ = upstreams
    address = begin(
        start_proxy, [{"match": {"access": "write"}, "to": "two"}, {"to": "one"}],
        one={"endpoints": [one.endpoint]}, two={"endpoints": [two.endpoint]},
    )  # fmt: skip
    with Wire(address) as wire:
        assert wire.ask("SET", "a", "1") == b"+two\r\n"
        until(lambda: wire.ask("ACME.MOVE", "a", "b") == b"+two\r\n", "the commands to be learned")
        assert wire.ask("ACME.GET", "o", "a") == b"+one\r\n"


def test_unknown_commands_work_inside_transactions(front: Front) -> None:
    wire = front.wire()
    assert wire.ask_all(["MULTI"], ["SET", "a", "1"], ["EXEC"])[-1] == b"*1\r\n+OK\r\n"
    assert (
        wire.ask("FT.SEARCH", "index", "*")
        == b"-ERR unknown command 'FT.SEARCH', with args beginning with: 'index' '*' \r\n"
    )


def test_other_forms_of_command_are_the_servers_own(front: Front) -> None:
    assert front.wire().ask("COMMAND", "GETKEYS", "EVAL", "x", 2, "a", "b") == encode("a", "b")
