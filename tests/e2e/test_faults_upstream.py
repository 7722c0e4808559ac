"""Upstreams that die, stall, lie or hang up: the client gets a clear error in its place, nobody gets a wrong reply, and the
proxy recovers by itself."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mosnpy.testing.checker import Checker, fill
from mosnpy.testing.cut_proxy import CutProxy
from mosnpy.testing.fake_upstream import (
    FakeUpstream,
    Peer,
    Request,
    answer,
    close_after,
    dripping,
    echo_argument,
    garbage,
    no_session,
    slow,
    stall,
)
from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import Address, Closed, Wire, encode
from mosnpy.testing.waiting import free_port, until

Start = Callable[..., ProxyProcess]
QUICK = {"ejection": {"base": "50ms", "max": "200ms"}, "connect_timeout": "300ms"}


def begin(
    start_proxy: Start, *endpoints: str, timeout: str = "500ms", listener: dict[str, Any] | None = None, **upstream: Any
) -> Address:
    port = free_port()
    start_proxy({
        "listeners": {"front": {"bind": f"127.0.0.1:{port}", "protocol": "redis", "routes": [{"to": "back", "timeout": timeout}], **(listener or {})}},
        "upstreams": {"back": {"protocol": "redis", "endpoints": list(endpoints), **QUICK, **upstream}},
    })  # fmt: skip
    return "127.0.0.1", port


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeUpstream]:
    """One scripted upstream for the module; its script is replaced by each test."""
    with FakeUpstream(echo_argument) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def shared(built: None, fake: FakeUpstream, short_tmp: Any) -> Iterator[Address]:
    """One proxy before it, with a route timeout of half a second."""
    proxies: list[ProxyProcess] = []

    def start(config: dict[str, Any]) -> ProxyProcess:
        proxies.append(ProxyProcess(short_tmp / "faults", config).start())
        return proxies[0]

    yield begin(start, fake.endpoint, attempts=1)
    for proxy in proxies:
        proxy.stop()


@pytest.fixture
def wire(shared: Address, fake: FakeUpstream) -> Iterator[Wire]:
    fake.script, fake.session, fake.on_connect = echo_argument, fake_session(), None
    fake.requests.clear()
    with Wire(shared) as connection:
        until(
            lambda: connection.ask("GET", "warm") == b"$4\r\nwarm\r\n", "the proxy to have recovered from the last test"
        )
        yield connection


def fake_session() -> Any:
    from mosnpy.testing.fake_upstream import resp2_session

    return resp2_session


def is_error(reply: bytes) -> bool:
    return reply.startswith(b"-") and reply.endswith(b"\r\n")


def outcome(wire: Wire) -> bytes:
    """The reply, or what of one came before the client was closed."""
    try:
        return wire.reply()
    except Closed as closed:
        return closed.rest


def recovers(wire: Wire) -> None:
    until(lambda: wire.ask("GET", "fine") == b"$4\r\nfine\r\n", "the upstream to be used again", timeout=5)


class TestReplies:
    @pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
    @pytest.mark.parametrize("part", [b"", b"$", b"$5\r\nab", b"*2\r\n$1\r\na\r\n", b":12"])
    def test_upstream_dies_mid_reply(
        self, shared: Address, wire: Wire, fake: FakeUpstream, part: bytes, reset: bool
    ) -> None:
        fake.script = close_after(part, reset=reset)
        wire.send("GET", "a")
        data = outcome(wire)
        # What came of the reply may have been passed on already; then the client is closed and nothing else follows.
        assert is_error(data) or (part and part.startswith(data))
        fake.script = echo_argument
        with Wire(shared) as other:
            recovers(other)

    def test_every_request_in_flight_gets_its_error_in_order(
        self, shared: Address, wire: Wire, fake: FakeUpstream
    ) -> None:
        """Three are answered, the rest is cut: three replies, then errors, none lost, none doubled."""
        count = 0

        async def three_then_die(peer: Peer, request: Request) -> None:
            nonlocal count
            count += 1
            if count <= 3:
                await echo_argument(peer, request)
            else:
                peer.close()

        fake.script = three_then_die
        replies = wire.ask_all(*[("GET", number) for number in range(10)])
        assert replies[:3] == [b"$1\r\n0\r\n", b"$1\r\n1\r\n", b"$1\r\n2\r\n"]
        fake.script = echo_argument
        assert all(
            is_error(reply) or reply == b"$1\r\n%d\r\n" % (number + 3) for number, reply in enumerate(replies[3:])
        )
        assert is_error(replies[3])
        recovers(wire)

    def test_large_reply_cut_in_the_middle_closes_the_client(
        self, wire: Wire, fake: FakeUpstream, shared: Address
    ) -> None:
        """Its head is gone to the client already: no error can be told any more, and no later byte may follow."""
        fake.script = close_after(b"$10000000\r\n" + b"x" * 3_000_000)
        wire.send("GET", "a")
        with pytest.raises(Closed) as caught:
            wire.reply()
        assert caught.value.rest[:11] == b"$10000000\r\n"[:11]
        assert set(caught.value.rest[11:]) <= {ord("x")}
        fake.script = echo_argument
        with Wire(shared) as other:
            recovers(other)

    @pytest.mark.parametrize(
        "noise",
        [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\xff\xfe\r\n", b":abc\r\n", b"$-5\r\n", b"$99999999999999999999\r\n", b"*-7\r\n", b"$3\r\nabcdef\r\n",
         b"*99999999999\r\n", b"*1\r\n" * 20_000 + b":1\r\n", b"?" * 100_000, b"#x\r\n", b"%-3\r\n", b"+" + b"y" * 10_000_000],
        ids=["http", "binary", "integer", "negative bulk", "huge bulk", "negative array", "bulk too long", "huge array", "deep", "text", "boolean",
             "negative map", "endless line"],
    )  # fmt: skip
    def test_garbage(self, wire: Wire, fake: FakeUpstream, noise: bytes, shared: Address) -> None:
        """A broken upstream connection is closed; its client gets an error, or is closed where part of a reply was passed on."""
        fake.script = garbage(noise)
        wire.send("GET", "a")
        try:
            assert is_error(wire.reply())
        except Closed:
            pass
        fake.script = echo_argument
        with Wire(shared) as other:
            recovers(other)
            assert other.ask_all(*[("GET", number) for number in range(100)]) == [
                encode(number)[4:] for number in range(100)
            ]

    def test_reply_nobody_asked_for(self, wire: Wire, fake: FakeUpstream) -> None:
        """Extra bytes on an idle pooled connection must never become the answer to the next request."""
        fake.push(b"$5\r\nwrong\r\n")
        for number in range(20):
            assert wire.ask("GET", number) == encode(number)[4:] or number == 0
        fake.push(b"+OK\r\n")
        reply = wire.ask("GET", "right")
        assert reply == b"$5\r\nright\r\n" or is_error(reply)

    def test_two_replies_to_one_request(self, wire: Wire, fake: FakeUpstream) -> None:
        """The connection that the second came on ends; a late one that crosses the next request can't be told from its reply."""
        fake.script = answer(b"$5\r\nfirst\r\n" * 2)
        wire.ask("GET", "first")
        fake.until_quiet()
        fake.script = echo_argument
        for number in range(20):
            assert wire.ask("GET", number) == encode(number)[4:]

    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_replies_that_drip(self, wire: Wire, fake: FakeUpstream, size: int) -> None:
        fake.script = dripping(b"*3\r\n$3\r\nabc\r\n:12\r\n$-1\r\n", size)
        assert wire.ask_all(*[["GET", "a"]] * 20) == [b"*3\r\n$3\r\nabc\r\n:12\r\n$-1\r\n"] * 20


class TestStalls:
    def test_stalled_upstream_ends_in_a_timeout(self, wire: Wire, fake: FakeUpstream) -> None:
        fake.script = stall
        begun = time.monotonic()
        reply = wire.ask("GET", "a")
        assert is_error(reply)
        assert b"tim" in reply.lower()
        assert 0.4 <= time.monotonic() - begun < 2.0
        fake.script = echo_argument
        recovers(wire)

    def test_late_reply_is_not_given_to_the_next_request(self, wire: Wire, fake: FakeUpstream) -> None:
        async def late(peer: Peer, request: Request) -> None:
            if request[-1] == b"late":
                await asyncio.sleep(0.8)
            await echo_argument(peer, request)

        fake.script = late
        assert is_error(wire.ask("GET", "late"))
        for number in range(100):
            reply = wire.ask("GET", number)
            assert reply == encode(number)[4:] or is_error(reply), number
        recovers(wire)
        for number in range(100):
            assert wire.ask("GET", number) == encode(number)[4:]

    def test_slow_but_in_time(self, wire: Wire, fake: FakeUpstream) -> None:
        fake.script = slow(b"+slow\r\n", 0.1)
        assert wire.ask("GET", "a") == b"+slow\r\n"

    def test_stall_in_the_middle_of_a_reply(self, wire: Wire, fake: FakeUpstream) -> None:
        async def half(peer: Peer, request: Request) -> None:
            await peer.send(b"$10\r\nhalf")

        fake.script = half
        wire.send("GET", "a")
        try:
            assert is_error(wire.reply())
        except Closed:
            pass  # the head had been passed on
        fake.script = echo_argument

    def test_upstream_that_never_answers_the_handshake(self, start_proxy: Start) -> None:
        with FakeUpstream(stall, session=no_session) as silent:
            with Wire(begin(start_proxy, silent.endpoint)) as connection:
                assert is_error(connection.ask("GET", "a"))

    def test_wrong_password_for_the_upstream(self, start_proxy: Start, redis_servers: Any) -> None:
        server = redis_servers("password", "--requirepass", "right")
        with Wire(begin(start_proxy, server.endpoint, auth={"password": "wrong"})) as connection:
            assert is_error(connection.ask("GET", "a"))
            assert connection.ask("PING") == b"+PONG\r\n"


class TestConnects:
    def test_nobody_listens(self, start_proxy: Start) -> None:
        """An error at once, not after a timeout; and service as soon as somebody listens."""
        fake = FakeUpstream(echo_argument)
        with Wire(begin(start_proxy, fake.endpoint)) as connection:
            begun = time.monotonic()
            assert is_error(connection.ask("GET", "a"))
            assert time.monotonic() - begun < 0.4
            assert all(is_error(reply) for reply in connection.ask_all(*[["GET", "a"]] * 50))
            with fake:
                recovers(connection)

    def test_connect_that_hangs(self, start_proxy: Start) -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", free_port()))
            full.listen(0)
            host, port = full.getsockname()
            hogs = [socket.socket() for _ in range(4)]
            for hog in hogs:
                hog.setblocking(False)
                hog.connect_ex((host, port))
            with Wire(begin(start_proxy, f"{host}:{port}", attempts=1)) as connection:
                begun = time.monotonic()
                assert is_error(connection.ask("GET", "a"))
                assert time.monotonic() - begun < 1.5
            for hog in hogs:
                hog.close()

    def test_pending_requests_are_bounded(self, start_proxy: Start) -> None:
        """While a connect hangs, requests wait; beyond max_pending they fail at once."""
        with FakeUpstream(stall, session=no_session) as silent:
            address = begin(start_proxy, silent.endpoint, timeout="3s", connect_timeout="3s", pool={"max_pending": 10})
            with Wire(address) as connection:
                connection.send_raw(encode("GET", "a") * 50)
                begun = time.monotonic()
                with Wire(address) as other:
                    other.send_raw(encode("GET", "a") * 30)
                    assert any(is_error(other.reply()) for _ in range(1))
                assert time.monotonic() - begun < 5

    def test_idle_pooled_connections_closed_by_the_server(self, wire: Wire, fake: FakeUpstream) -> None:
        """A server may hang up on idle connections whenever it likes; no client ever notices."""
        for number in range(100):
            fake.close_all()
            until(lambda: not fake.peers, "the upstream connections to be closed")
            assert wire.ask("GET", number) == encode(number)[4:]

    def test_idle_pooled_connections_reset_by_the_server(self, wire: Wire, fake: FakeUpstream) -> None:
        for number in range(50):
            fake.reset_all()
            until(lambda: not fake.peers, "the upstream connections to be closed")
            assert wire.ask("GET", number) == encode(number)[4:]

    def test_dead_endpoint_does_not_cost_every_request_a_failure(self, start_proxy: Start, fake: FakeUpstream) -> None:
        """Round robin over one dead and one live endpoint: what could not leave is sent to the other."""
        fake.script = echo_argument
        address = begin(
            start_proxy, f"127.0.0.1:{free_port()}", fake.endpoint, lb={"policy": "round_robin", "panic_threshold": 0}
        )
        with Wire(address) as connection:
            begun = time.monotonic()
            for number in range(200):
                assert connection.ask("GET", number) == encode(number)[4:]
            assert time.monotonic() - begun < 2.0

    def test_endpoint_that_comes_back_is_used_again(self, start_proxy: Start, fake: FakeUpstream) -> None:
        fake.script = echo_argument
        returning = FakeUpstream(answer(b"+returned\r\n"))
        with Wire(begin(start_proxy, returning.endpoint, fake.endpoint)) as connection:
            for number in range(20):
                assert connection.ask("GET", number) == encode(number)[4:]
            with returning:
                until(lambda: connection.ask("GET", "x") == b"+returned\r\n", "the ejected endpoint to be used again")

    def test_active_health_check_takes_a_silent_endpoint_out(self, start_proxy: Start, fake: FakeUpstream) -> None:
        """It accepts connections but answers nothing: only a check can tell."""
        fake.script = echo_argument
        with FakeUpstream(stall, session=no_session) as silent:
            health = {"interval": "100ms", "timeout": "100ms", "unhealthy_after": 2, "healthy_after": 1}
            address = begin(start_proxy, silent.endpoint, fake.endpoint, health=health)

            def all_fine() -> bool:
                with Wire(address) as connection:
                    return all(connection.ask("GET", number) == encode(number)[4:] for number in range(6))

            until(all_fine, "the silent endpoint to be left out", timeout=15)


class TestFrozenShard:
    """SIGSTOP: the kernel still accepts and acknowledges, so nothing but a timeout can tell."""

    @pytest.fixture
    def pair(self, redis_servers: Any) -> Iterator[tuple[RedisServer, RedisServer]]:
        servers = redis_servers("frozen"), redis_servers("healthy")
        for server in servers:
            server.clean()
        yield servers
        servers[0].thaw()

    def keys(self, address: Address, pair: tuple[RedisServer, RedisServer]) -> tuple[str, str]:
        found: list[str] = ["", ""]
        with Wire(address) as connection:
            for number in range(100):
                connection.ok("SET", f"k{number}", number)
                for index, server in enumerate(pair):
                    if server.number("EXISTS", f"k{number}"):
                        found[index] = f"k{number}"
        assert all(found)
        return found[0], found[1]

    def test_healthy_reply_waits_no_longer_than_the_timeout(
        self, start_proxy: Start, pair: tuple[RedisServer, RedisServer]
    ) -> None:
        address = begin(
            start_proxy, *[server.endpoint for server in pair], lb={"policy": "ring_hash", "hash": "redis.key"}
        )
        frozen, healthy = self.keys(address, pair)
        pair[0].freeze()
        with Wire(address) as pipelining, Wire(address) as other:
            begun = time.monotonic()
            pipelining.send_raw(encode("GET", frozen) + encode("GET", healthy))
            waited = []
            for _ in range(20):
                before = time.monotonic()
                assert other.ask("GET", healthy) == encode(healthy[1:])[4:]
                waited.append(time.monotonic() - before)
            assert max(waited) < 0.25, "another client waited for the frozen shard"
            first, second = pipelining.replies(2)
            assert is_error(first)
            assert second == encode(healthy[1:])[4:]
            assert time.monotonic() - begun < 1.5
            reply = other.ask("MGET", frozen, healthy)
            assert is_error(reply) or b"-" in reply
            pair[0].thaw()
            until(lambda: other.ask("GET", frozen) == encode(frozen[1:])[4:], "the thawed shard to answer", timeout=5)
            assert other.ask_all(*[("ECHO", number) for number in range(50)]) == [
                encode(number)[4:] for number in range(50)
            ]

    def test_replies_stay_right_while_a_shard_freezes_and_thaws(
        self, start_proxy: Start, pair: tuple[RedisServer, RedisServer]
    ) -> None:
        address = begin(
            start_proxy, *[server.endpoint for server in pair], lb={"policy": "ring_hash", "hash": "redis.key"}
        )
        fill(address, 500)
        load = Checker(address, connections=40, depth=10, keys=500).start()
        for step in range(1, 4):
            until(lambda at=step: load.progressed(at * 10_000), "some load")  # type: ignore[misc]
            pair[0].freeze()
            until(lambda: sum(load.report.errors.values()) > 0, "timeouts to be seen", timeout=5)
            pair[0].thaw()
        report = load.stop()
        assert not report.wrong, report.wrong[:5]
        assert report.lost == 0
        assert report.absent == 0


class TestUnderLoad:
    """The checker verifies each value while the line to Redis breaks in every way."""

    def begin(self, start_proxy: Start, line: CutProxy, **upstream: Any) -> Address:
        return begin(start_proxy, line.endpoint, timeout="5s", **upstream)

    def test_connections_cut_at_any_byte(self, start_proxy: Start, main_server: RedisServer) -> None:
        main_server.clean()
        with CutProxy(main_server.address) as line:
            address = self.begin(start_proxy, line)
            fill(address, 1000)
            load = Checker(address, total=1_000_000, connections=200, depth=50, keys=1000).start()
            cuts = 0
            while not load.over:
                line.cut_after(50_000 + cuts * 7919 % 100_000, gentle=cuts % 2 == 0)
                until(lambda: line.budget is None or load.over, "the cut")
                cuts += 1
            report = load.wait()
        assert not report.wrong, report.wrong[:5]
        assert report.asked >= 1_000_000
        assert report.absent == 0
        assert cuts > 3

    def test_bytes_in_small_pieces(self, start_proxy: Start, main_server: RedisServer) -> None:
        main_server.clean()
        with CutProxy(main_server.address) as line:
            address = self.begin(start_proxy, line)
            fill(address, 300)
            line.chunk = 11
            report = Checker(address, total=5_000, connections=20, depth=10, keys=300).run()
        report.assert_clean()

    def test_redis_killed_and_restarted(self, start_proxy: Start, redis_servers: Any) -> None:
        server = redis_servers("killed")
        address = begin(start_proxy, server.endpoint, timeout="5s")
        fill(address, 500)
        load = Checker(address, connections=100, depth=20, keys=500).start()
        for _ in range(3):
            asked = load.report.asked
            until(lambda more=asked: load.progressed(more + 20_000), "some load")  # type: ignore[misc]
            server.restart()
            fill(server.address, 500)
        asked = load.report.asked
        until(lambda: load.progressed(asked + 20_000), "load after the last restart")
        report = load.stop()
        assert not report.wrong, report.wrong[:5]
        assert report.lost == 0, "clients were disconnected for the upstream's death"

    def test_line_that_pauses(self, start_proxy: Start, main_server: RedisServer) -> None:
        """Nothing passes for a while, shorter than the timeout: no error at all."""
        main_server.clean()
        with CutProxy(main_server.address) as line:
            address = self.begin(start_proxy, line)
            fill(address, 300)
            load = Checker(address, total=60_000, connections=50, depth=10, keys=300).start()
            for step in range(1, 5):
                until(lambda at=step: load.progressed(at * 10_000), "some load")  # type: ignore[misc]
                line.pause()
                passed = line.passed
                until(lambda before=passed: line.passed >= before, "the pause")  # type: ignore[misc]
                line.resume()
            load.wait().assert_clean()
