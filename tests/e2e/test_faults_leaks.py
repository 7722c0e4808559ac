"""Whatever happens to its connections, the core gives everything back: objects are counted during and after each scenario."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mosnpy.testing.checker import Checker, fill
from mosnpy.testing.cut_proxy import CutProxy
from mosnpy.testing.embedded import EmbeddedProxy
from mosnpy.testing.fake_upstream import FakeUpstream, close_after, echo_argument, garbage, stall
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import Address, Closed, Wire, encode
from mosnpy.testing.tcp_server import TcpServer, echo
from mosnpy.testing.waiting import free_port, until

Embed = Callable[..., EmbeddedProxy]


@pytest.fixture
def embed(built: None) -> Iterator[Embed]:
    """Starts an embedded proxy; at the end of the test it is stopped and its leaks are counted."""
    running: list[EmbeddedProxy] = []

    def start(endpoints: list[str], protocol: str = "redis", **options: Any) -> EmbeddedProxy:
        listener = options.pop("listener", {})
        routes = {"routes": [{"to": "back", "timeout": "400ms"}]} if protocol == "redis" else {"to": "back"}
        config = {
            "listeners": {"front": {"bind": "127.0.0.1:0", "protocol": protocol, **routes, **listener}},
            "upstreams": {"back": {"protocol": protocol, "endpoints": endpoints, "attempts": 1, **options}},
        }
        running.append(EmbeddedProxy(config).start())
        return running[-1]

    yield start
    for proxy in running:
        proxy.quiet()
        proxy.stop()


def abandon(address: Address, data: bytes, *, reset: bool, wait_for: int = 0) -> None:
    wire = Wire(address, receive_buffer=8192)
    wire.send_raw(data)
    if wait_for:
        wire.exactly(wait_for)
    if reset:
        wire.reset()
    else:
        wire.close()


def test_ordinary_traffic(embed: Embed, main_server: RedisServer) -> None:
    main_server.clean()
    proxy = embed([main_server.endpoint])
    with Wire(proxy.address()) as wire:
        wire.ask_all(*[("SET", f"k{number}", "x" * number) for number in range(1000)])
        wire.ask_all(["MULTI"], ["GET", "a"], ["EXEC"], ["SELECT", "3"], ["BLPOP", "q", "0.01"], ["HELLO", "3"])
        wire.ask("SUBSCRIBE", "ch")
        assert proxy.counts()
    proxy.quiet()


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_clients_that_leave_in_every_state(embed: Embed, main_server: RedisServer, reset: bool) -> None:
    main_server.clean()
    main_server.command("SET", "big", "x" * 3_000_000)
    proxy = embed([main_server.endpoint])
    states = [
        b"", b"*", encode("GET", "a")[:-3], encode("GET", "a") * 100, encode("MULTI"), encode("MULTI") + encode("SET", "a", "1"), encode("WATCH", "a"),
        encode("BLPOP", "q", 0), encode("XREAD", "BLOCK", 0, "STREAMS", "s", "$"), encode("SUBSCRIBE", "a", "b"), encode("PSUBSCRIBE", "*"),
        encode("HELLO", 3) + encode("SUBSCRIBE", "ch"), encode("MONITOR"), encode("CLIENT", "REPLY", "OFF") + encode("GET", "a"),
        encode("SELECT", 5) + encode("GET", "a"), encode("AUTH", "x", "y"), encode("SET", "k", "v" * 500_000)[:-10], encode("GET", "big") * 5,
        encode("WAIT", 1, 0), encode("MULTI") + encode("SET", "k", "v" * 500_000)[:-10], encode("QUIT"), b"*1\r\n$-5\r\n",
        encode("BLPOP", "q", 0) + encode("GET", "a") * 10, encode("CLIENT", "TRACKING", "ON"), encode("MGET", *range(500)),
    ]  # fmt: skip
    for state in states * 2:
        abandon(proxy.address(), state, reset=reset)
    abandon(proxy.address(), encode("GET", "big") * 5, reset=reset, wait_for=100_000)
    proxy.quiet()
    until(lambda: int(main_server.info("clients")["blocked_clients"]) == 0, "the server to forget who waited")
    with Wire(proxy.address()) as wire:
        assert wire.ask("SET", "a", "1") == b"+OK\r\n"


@pytest.mark.parametrize(
    "script",
    [close_after(b""), close_after(b"$5\r\nab"), close_after(b"*3\r\n:1\r\n", reset=True), close_after(b"$9000000\r\n" + b"x" * 500_000),
     garbage(b"what?\r\n"), garbage(b"$3\r\nabcd\r\n"), stall],
    ids=["FIN", "FIN in a bulk", "RST in an array", "FIN in a large bulk", "garbage", "bulk too long", "stall"],
)  # fmt: skip
def test_upstreams_that_fail(embed: Embed, script: Any) -> None:
    with FakeUpstream(echo_argument) as upstream:
        proxy = embed([upstream.endpoint])
        with Wire(proxy.address()) as warm:
            assert warm.ask("GET", "a") == b"$1\r\na\r\n"
        upstream.script = script
        for number in range(5):
            with Wire(proxy.address()) as wire:
                wire.send_raw(encode("GET", number) * (1 + number * 10))
                try:
                    wire.reply()
                except Closed:
                    pass
        proxy.quiet()


def test_nobody_listens(embed: Embed) -> None:
    proxy = embed([f"127.0.0.1:{free_port()}"])
    for _ in range(10):
        with Wire(proxy.address()) as wire:
            assert all(reply.startswith(b"-") for reply in wire.ask_all(*[["GET", "a"]] * 20))
            wire.send_raw(encode("MULTI") + encode("BLPOP", "a", 0))


def test_line_cut_under_load(embed: Embed, main_server: RedisServer) -> None:
    main_server.clean()
    with CutProxy(main_server.address) as line:
        proxy = embed([line.endpoint])
        fill(proxy.address(), 300)
        load = Checker(proxy.address(), total=60_000, connections=30, depth=20, keys=300).start()
        turn = 0
        while not load.over:
            line.cut_after(20_000 + turn * 777)
            until(lambda: line.budget is None or load.over, "the cut")
            turn += 1
        report = load.wait()
        assert not report.wrong, report.wrong[:3]
        proxy.quiet()


def test_shards_and_merges(embed: Embed, shard_servers: list[RedisServer]) -> None:
    for server in shard_servers:
        server.clean()
    proxy = embed([server.endpoint for server in shard_servers], lb={"policy": "ring_hash", "hash": "redis.key"})
    for number in range(30):
        pairs = [word for key in range(50) for word in (f"k{key}", "v" * (number * 100))]
        data = (
            encode("MSET", *pairs)
            + encode("MGET", *[f"k{key}" for key in range(50)])
            + encode("KEYS", "*")
            + encode("DBSIZE")
        )
        abandon(proxy.address(), data * 3, reset=number % 2 == 0)
    with Wire(proxy.address()) as wire:
        assert wire.ask("DBSIZE") == b":50\r\n"
        wire.ask_all(["MULTI"], ["SET", "a", "1"])
    proxy.quiet()


def test_mirrors_that_never_answer(embed: Embed, main_server: RedisServer) -> None:
    main_server.clean()
    with FakeUpstream(stall) as silent:
        proxy = EmbeddedProxy({
            "listeners": {"front": {"bind": "127.0.0.1:0", "protocol": "redis", "routes": [{"to": "main", "mirror": "silent", "timeout": "200ms"}]}},
            "upstreams": {
                "main": {"protocol": "redis", "endpoints": [main_server.endpoint]},
                "silent": {"protocol": "redis", "endpoints": [silent.endpoint]},
            },
        })  # fmt: skip
        with proxy:
            with Wire(proxy.address()) as wire:
                assert wire.ask_all(*[["INCR", "n"]] * 500)[-1] == b":500\r\n"
            proxy.quiet("copies without an answer to be given up")


def test_reloads_leave_no_plan_behind(embed: Embed, main_server: RedisServer) -> None:
    main_server.clean()
    proxy = embed([main_server.endpoint])
    with Wire(proxy.address()) as wire, Wire(proxy.address()) as pinned:
        pinned.ok("MULTI")
        for turn in range(20):
            config = {
                "listeners": {
                    "front": {
                        "bind": "127.0.0.1:0", "protocol": "redis",
                        "routes": [{"match": {"key": f"t{turn}"}, "reply": {"error": "ERR turn"}}, {"to": "back", "timeout": "400ms"}],
                    }
                },
                "upstreams": {"back": {"protocol": "redis", "endpoints": [main_server.endpoint], "attempts": 1}},
            }  # fmt: skip
            proxy.reload(config)
            assert wire.ask("GET", f"t{turn}") == b"-ERR turn\r\n"
            assert pinned.ask("INCR", "n") == b"+QUEUED\r\n"
        assert pinned.ask("EXEC").startswith(b"*20\r\n")
        assert proxy.counts().get("plans", 1) <= 2


class TestTcp:
    @pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
    def test_connections_that_end_in_every_way(self, embed: Embed, reset: bool) -> None:
        with TcpServer(echo) as server:
            proxy = embed([server.endpoint], "tcp")
            for number in range(40):
                abandon(proxy.address(), b"x" * (number * 10_000), reset=reset, wait_for=min(number, 5))
            proxy.quiet()
            server.until_quiet()

    def test_server_goes_away(self, embed: Embed) -> None:
        with TcpServer(echo) as server:
            proxy = embed([server.endpoint], "tcp")
            wires = [Wire(proxy.address()) for _ in range(20)]
            for wire in wires:
                wire.send_raw(b"x")
                wire.exactly(1)
            server.stop()
            for wire in wires:
                assert wire.rest() == b""
                wire.close()
            proxy.quiet()

    def test_no_server(self, embed: Embed) -> None:
        proxy = embed([f"127.0.0.1:{free_port()}"], "tcp")
        for _ in range(20):
            with Wire(proxy.address()) as wire:
                wire.send_raw(b"hello")
                assert wire.rest() == b""
