"""Which endpoint gets a request: every policy, weights, health, and what the operator takes out by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from mosnpy.testing.checker import Checker, fill
from mosnpy.testing.fake_upstream import FakeUpstream, Peer, Request, stall
from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import Address, Wire, encode
from mosnpy.testing.waiting import free_port, has_ipv6, until

Start = Callable[..., ProxyProcess]


def named(number: int) -> Any:
    async def script(peer: Peer, request: Request) -> None:
        await peer.send(b":%d\r\n" % number)

    return script


@pytest.fixture(scope="module")
def four() -> Iterator[list[FakeUpstream]]:
    running = [FakeUpstream(named(number)).start() for number in range(4)]
    yield running
    for upstream in running:
        upstream.stop()


def begin(start_proxy: Start, endpoints: list[Any], lb: Any, **upstream: Any) -> tuple[Address, ProxyProcess]:
    port = free_port()
    proxy = start_proxy({
        "listeners": {"front": {"bind": f"127.0.0.1:{port}", "protocol": "redis", "to": "main"}},
        "upstreams": {"main": {"protocol": "redis", "endpoints": endpoints, "lb": lb, **upstream}},
    })  # fmt: skip
    return ("127.0.0.1", port), proxy


def spread(address: Address, count: int = 1000, key: str = "k{}") -> Counter[int]:
    with Wire(address) as wire:
        replies = [wire.ask("GET", key.format(number)) for number in range(count)]
    return Counter(int(reply[1:-2]) for reply in replies)


def test_round_robin_is_even(start_proxy: Start, four: list[FakeUpstream]) -> None:
    address, _ = begin(start_proxy, [one.endpoint for one in four], "round_robin")
    assert spread(address, 400) == {0: 100, 1: 100, 2: 100, 3: 100}


def test_weights_are_kept(start_proxy: Start, four: list[FakeUpstream]) -> None:
    endpoints = [{"address": one.endpoint, "weight": weight} for one, weight in zip(four, (1, 2, 3, 4), strict=True)]
    address, _ = begin(start_proxy, endpoints, "round_robin")
    seen = spread(address, 1000)
    assert all(abs(seen[number] - 100 * (number + 1)) <= 4 for number in range(4)), seen


@pytest.mark.parametrize("policy", ["random", "least_request"])
def test_random_policies_reach_everybody(start_proxy: Start, four: list[FakeUpstream], policy: str) -> None:
    address, _ = begin(start_proxy, [one.endpoint for one in four], policy)
    seen = spread(address, 1000)
    assert len(seen) == 4
    assert min(seen.values()) > 120, seen


def test_least_request_avoids_the_busy_one(start_proxy: Start, four: list[FakeUpstream]) -> None:
    """One endpoint answers nothing: the two-choices rule keeps most requests away from it."""
    with FakeUpstream(stall) as stuck:
        address, _ = begin(start_proxy, [stuck.endpoint, *(one.endpoint for one in four[:3])], "least_request")
        busy = [Wire(address) for _ in range(20)]
        for wire in busy:
            wire.send_raw(encode("GET", "a") * 5)
        until(lambda: len(stuck.requests) >= 3, "the stuck endpoint to get some")
        with Wire(address) as wire:
            wire.send_raw(encode("GET", "a") * 100)
            before = len(stuck.requests)
            fresh = [Wire(address) for _ in range(50)]
            for one in fresh:
                one.send("GET", "a")
            answered = sum(not one.silent(0.02) for one in fresh)
        assert answered >= 35, (answered, before, len(stuck.requests))
        for one in [*busy, *fresh]:
            one.close()


@pytest.mark.parametrize("policy", ["ring_hash", "maglev"])
class TestHashing:
    def test_same_key_same_endpoint(self, start_proxy: Start, four: list[FakeUpstream], policy: str) -> None:
        address, _ = begin(start_proxy, [one.endpoint for one in four], {"policy": policy, "hash": "redis.key"})
        with Wire(address) as first, Wire(address) as second:
            for number in range(200):
                assert first.ask("GET", f"k{number}") == second.ask("SET", f"k{number}", "x")
        seen = spread(address, 2000)
        assert min(seen.values()) > 300, seen

    def test_removing_one_endpoint_moves_only_its_keys(
        self, start_proxy: Start, four: list[FakeUpstream], policy: str
    ) -> None:
        lb = {"policy": policy, "hash": "redis.key"}
        whole, _ = begin(start_proxy, [one.endpoint for one in four], lb)
        less, _ = begin(start_proxy, [one.endpoint for one in four[:3]], lb)
        moved = kept = 0
        with Wire(whole) as before, Wire(less) as after:
            for number in range(1000):
                old, new = before.ask("GET", f"k{number}"), after.ask("GET", f"k{number}")
                if old != b":3\r\n":
                    moved, kept = moved + (old != new), kept + (old == new)
        assert moved <= (0.02 if policy == "ring_hash" else 0.10) * (moved + kept), (moved, kept)

    def test_hash_of_another_attribute(self, start_proxy: Start, four: list[FakeUpstream], policy: str) -> None:
        address, _ = begin(start_proxy, [one.endpoint for one in four], {"policy": policy, "hash": "client_ip"})
        assert len(spread(address, 100)) == 1

    def test_dead_shard_fails_its_keys_and_no_others(
        self, start_proxy: Start, four: list[FakeUpstream], policy: str
    ) -> None:
        """Its keys live there: sending them elsewhere would read nothing and write in the wrong place."""
        dead = f"127.0.0.1:{free_port()}"
        address, _ = begin(
            start_proxy, [*(one.endpoint for one in four[:3]), dead], {"policy": policy, "hash": "redis.key"}
        )
        with Wire(address) as wire:
            for _ in range(3):
                replies = [wire.ask("GET", f"k{number}") for number in range(200)]
                failed = [reply for reply in replies if reply.startswith(b"-")]
                assert 20 <= len(failed) <= 90
                assert {reply for reply in replies if not reply.startswith(b"-")} == {b":0\r\n", b":1\r\n", b":2\r\n"}


def test_operator_takes_an_endpoint_out_and_back(start_proxy: Start, four: list[FakeUpstream]) -> None:
    address, proxy = begin(start_proxy, [one.endpoint for one in four], "round_robin")
    where = f"?upstream=main&endpoint={quote(four[2].endpoint)}"
    assert proxy.admin(f"/health/fail{where}", "POST")[0] == 200
    until(lambda: 2 not in spread(address, 40), "the drained endpoint to be left alone")
    assert proxy.admin(f"/health/ok{where}", "POST")[0] == 200
    until(lambda: spread(address, 40)[2] == 10, "the endpoint to be back")


def test_panic_threshold_uses_all_when_too_many_are_out(start_proxy: Start, four: list[FakeUpstream]) -> None:
    address, proxy = begin(
        start_proxy, [one.endpoint for one in four], {"policy": "round_robin", "panic_threshold": "50%"}
    )
    for one in four[:3]:
        assert proxy.admin(f"/health/fail?upstream=main&endpoint={quote(one.endpoint)}", "POST")[0] == 200
    until(lambda: len(spread(address, 80)) in (1, 4), "the health table to be read")
    assert sum(spread(address, 80).values()) == 80


class TestAddresses:
    def test_unix_sockets_on_both_sides(self, start_proxy: Start, main_server: RedisServer, short_tmp: Any) -> None:
        main_server.clean()
        path = str(short_tmp / "redis-front.sock")
        start_proxy({
            "listeners": {"front": {"bind": f"unix:{path}", "protocol": "redis", "to": "main"}},
            "upstreams": {"main": {"protocol": "redis", "endpoints": [f"unix:{main_server.path}"]}},
        })  # fmt: skip
        with Wire(path) as wire:
            wire.ok("SET", "a", "1")
            assert wire.ask_all(["MULTI"], ["GET", "a"], ["EXEC"])[-1] == b"*1\r\n$1\r\n1\r\n"
        fill(path, 200)
        Checker(path, total=20_000, connections=20, depth=10, keys=200).run().assert_clean()

    @pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
    def test_one_listener_on_several_addresses(self, start_proxy: Start, main_server: RedisServer) -> None:
        main_server.clean()
        four_port, six_port = free_port(), free_port("::1")
        start_proxy({
            "listeners": {"front": {"bind": [f"127.0.0.1:{four_port}", f"[::1]:{six_port}"], "protocol": "redis", "to": "main"}},
            "upstreams": {"main": {"protocol": "redis", "endpoints": [main_server.endpoint]}},
        })  # fmt: skip
        for address in (("127.0.0.1", four_port), ("::1", six_port)):
            with Wire(address) as wire:
                assert wire.ask("PING") == b"+PONG\r\n"
                wire.ok("SET", "a", address[0])

    def test_names_are_resolved(self, start_proxy: Start, main_server: RedisServer) -> None:
        main_server.clean()
        address, _ = begin(start_proxy, [f"localhost:{main_server.port}"], "round_robin")
        with Wire(address) as wire:
            assert wire.ask("SET", "a", "1") == b"+OK\r\n"


@pytest.mark.parametrize("options", [{"workers": 2}, {"busy_poll": "50us"}], ids=["two workers", "busy poll"])
def test_other_ways_to_run(start_proxy: Start, main_server: RedisServer, options: dict[str, Any]) -> None:
    main_server.clean()
    port = free_port()
    start_proxy({
        **options,
        "listeners": {"front": {"bind": f"127.0.0.1:{port}", "protocol": "redis", "to": "main"}},
        "upstreams": {"main": {"protocol": "redis", "endpoints": [main_server.endpoint]}},
    })  # fmt: skip
    address = ("127.0.0.1", port)
    fill(address, 500)
    Checker(address, total=100_000, connections=60, depth=10, keys=500).run().assert_clean()


def test_two_workers_kill_and_list_each_others_clients_or_say_what_they_see(
    start_proxy: Start, main_server: RedisServer
) -> None:
    """CLIENT ID stays unique over workers: an id is an address for CLIENT KILL and UNBLOCK."""
    main_server.clean()
    port = free_port()
    start_proxy({
        "workers": 2,
        "listeners": {"front": {"bind": f"127.0.0.1:{port}", "protocol": "redis", "to": "main"}},
        "upstreams": {"main": {"protocol": "redis", "endpoints": [main_server.endpoint]}},
    })  # fmt: skip
    wires = [Wire(("127.0.0.1", port)) for _ in range(20)]
    assert len({wire.ask("CLIENT", "ID") for wire in wires}) == 20
    for wire in wires:
        wire.close()
