"""Large values: streamed in both directions, with the proxy's memory bounded whatever passes."""

from __future__ import annotations

import hashlib
import threading

import pytest

from mosnpy.testing.front import Front
from mosnpy.testing.resp import Wire, encode
from mosnpy.testing.waiting import until

MIB = 1 << 20


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes in which a shift, a hole or a doubled piece shows."""
    block = b"".join(hashlib.blake2b(f"{seed}:{number}".encode()).digest() for number in range(4096))
    return (block * (size // len(block) + 1))[:size]


@pytest.mark.parametrize(
    "size", [0, 1, 16_383, 16_384, 16_385, 65_536, 262_143, 262_144, 262_145, MIB, MIB + 1, 5 * MIB]
)
def test_value_of_any_size_comes_back(front: Front, size: int) -> None:
    wire = front.wire(timeout=30)
    data = pattern(size)
    wire.ok("SET", "k", data)
    assert wire.ask("GET", "k") == b"$%d\r\n%b\r\n" % (size, data)
    assert wire.ask("PING") == b"+PONG\r\n"


def test_options_behind_a_large_value(front: Front) -> None:
    """The size hint is per argument, not per request: EX 100 comes after the megabyte."""
    wire = front.wire(timeout=30)
    wire.ok("SET", "k", pattern(MIB), "EX", 100)
    assert wire.ask("TTL", "k") in (b":100\r\n", b":99\r\n")
    assert wire.ask("STRLEN", "k") == b":%d\r\n" % MIB


def test_many_large_arguments(front: Front) -> None:
    wire = front.wire(timeout=30)
    parts = [pattern(700_000, number) for number in range(8)]
    assert wire.ask("RPUSH", "l", *parts) == b":8\r\n"
    assert wire.ask("LRANGE", "l", 0, -1) == encode(*parts)


def test_64_mib_both_ways_in_bounded_memory(front: Front) -> None:
    wire = front.wire(timeout=60)
    data = pattern(64 * MIB)
    before = front.proxy.worker_rss() if front.proxy else 0
    peak = Peak(front)
    wire.ok("SET", "k", data)
    raw = wire.ask("GET", "k")
    grown = peak.stop() - before
    assert raw[:11] == b"$67108864\r\n"
    assert raw[11:-2] == data
    if front.is_proxy:
        assert grown < 24 * MIB, f"{grown / MIB:.1f} MiB more while 64 MiB passed"
    front.server.command("DEL", "k")


def test_large_and_small_share_a_pipeline(front: Front) -> None:
    wire = front.wire(timeout=30)
    data = pattern(300_000)
    out = b"".join(
        encode("SET", "big", data) + encode("INCR", "n") + encode("GET", "big") + encode("PING") for _ in range(10)
    )
    sender = threading.Thread(target=wire.send_raw, args=(out,))  # both sides' buffers are smaller than the pipeline
    sender.start()
    for turn in range(10):
        assert wire.reply() == b"+OK\r\n"
        assert wire.reply() == b":%d\r\n" % (turn + 1)
        assert wire.reply() == b"$%d\r\n%b\r\n" % (len(data), data)
        assert wire.reply() == b"+PONG\r\n"
    sender.join()


def test_large_replies_to_several_clients_at_once(front: Front) -> None:
    """They share one upstream connection: no interleaving, no starvation."""
    values = [pattern(2 * MIB, number) for number in range(6)]
    wires = [front.wire(timeout=30) for _ in values]
    for number, (wire, data) in enumerate(zip(wires, values, strict=True)):
        wire.ok("SET", f"k{number}", data)
    for number, wire in enumerate(wires):
        wire.send_raw(encode("GET", f"k{number}") * 3)
    for wire, data in zip(wires, values, strict=True):
        for _ in range(3):
            assert wire.reply() == b"$%d\r\n%b\r\n" % (len(data), data)


def test_small_requests_are_served_while_a_large_one_is_half_sent(front: Front) -> None:
    """A client that stops in the middle of its value must not hold the shared connection."""
    slow, other = front.wires(2)
    request = encode("SET", "k", pattern(4 * MIB))
    slow.send_raw(request[: 2 * MIB])
    for number in range(1, 50):
        assert other.ask("INCR", "n") == b":%d\r\n" % number
    slow.send_raw(request[2 * MIB :])
    assert slow.reply() == b"+OK\r\n"
    assert other.ask("STRLEN", "k") == b":%d\r\n" % (4 * MIB)


def test_client_that_leaves_in_the_middle_of_its_value(front: Front) -> None:
    leaving, other = front.wires(2)
    leaving.send_raw(encode("SET", "k", pattern(4 * MIB))[: 3 * MIB])
    leaving.reset()
    assert [other.ask("INCR", "n") for _ in range(20)][-1] == b":20\r\n"
    assert other.ask("EXISTS", "k") == b":0\r\n"


def test_client_that_leaves_in_the_middle_of_a_large_reply(front: Front) -> None:
    """The rest of its reply must be thrown away, not given to the next one in line."""
    other = front.wire(timeout=30)
    other.ok("SET", "big", pattern(8 * MIB))
    for _ in range(5):
        leaving = front.wire(receive_buffer=8192)
        leaving.send("GET", "big")
        leaving.exactly(100_000)
        leaving.reset()
        assert other.ask_all(["INCR", "n"], ["ECHO", "mine"], ["STRLEN", "big"])[1:] == [
            b"$4\r\nmine\r\n",
            b":%d\r\n" % (8 * MIB),
        ]


class TestSlowReaders:
    def test_others_are_not_delayed(self, front: Front) -> None:
        slow, other = front.wire(receive_buffer=8192), front.wire()
        other.ok("SET", "big", pattern(8 * MIB))
        slow.send_raw(encode("GET", "big") * 2)
        for number in range(1, 100):
            assert other.ask("INCR", "n") == b":%d\r\n" % number
        assert slow.exactly(100).startswith(b"$8388608\r\n")

    def test_memory_stays_bounded_while_nobody_reads(self, proxied: Front) -> None:
        other = proxied.wire(timeout=30)
        other.ok("SET", "big", pattern(1 * MIB))
        before = proxied.proxy.worker_rss() if proxied.proxy else 0
        slow = [proxied.wire(receive_buffer=8192) for _ in range(10)]
        for wire in slow:
            wire.send_raw(encode("GET", "big") * 20)
        for number in range(1, 300):
            assert other.ask("INCR", "n") == b":%d\r\n" % number
        grown = (proxied.proxy.worker_rss() if proxied.proxy else 0) - before
        # What they asked for before anybody knew them to be slow shares a connection with the others, so it is read on for
        # their sake; client_buffer (64 MiB each) is what bounds it.
        assert grown < 240 * MIB, f"{grown / MIB:.0f} MiB"
        for wire in slow:
            wire.close()

    def test_pipeline_of_large_replies_is_read_late_and_right(self, front: Front) -> None:
        wire = front.wire(timeout=30, receive_buffer=16384)
        data = pattern(MIB)
        wire.ok("SET", "big", data)
        wire.send_raw(b"".join(encode("GET", "big") + encode("ECHO", number) for number in range(20)))
        until(lambda: front.server.calls("get") >= 1, "the first GET to reach the server")
        for number in range(20):
            assert wire.reply() == b"$%d\r\n%b\r\n" % (MIB, data)
            assert wire.reply() == encode(number)[4:]


class Peak:
    """Highest resident size of the workers while it runs."""

    def __init__(self, front: Front) -> None:
        self.front, self.peak, self.over = front, 0, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while self.front.proxy is not None and not self.over.wait(0.01):
            self.peak = max(self.peak, self.front.proxy.worker_rss())

    def stop(self) -> int:
        self.over.set()
        self.thread.join()
        return self.peak


def test_two_gigabytes_announced_are_refused_at_once(front: Front) -> None:
    wire = front.wire()
    wire.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2147483648\r\n")
    assert wire.rest() == b"-ERR Protocol error: invalid bulk length\r\n"


def test_large_value_through_a_borrowed_connection(front: Front) -> None:
    wire = front.wire(timeout=30)
    data = pattern(3 * MIB)
    wire.ok("MULTI")
    assert wire.ask("SET", "k", data) == b"+QUEUED\r\n"
    assert wire.ask("GET", "k") == b"+QUEUED\r\n"
    assert wire.ask("EXEC") == b"*2\r\n+OK\r\n$%d\r\n%b\r\n" % (len(data), data)


def test_large_published_message(front: Front) -> None:
    wire, other = front.wire(timeout=30), front.wire(timeout=30)
    wire.ask("SUBSCRIBE", "ch")
    data = pattern(3 * MIB)
    assert other.ask("PUBLISH", "ch", data) == b":1\r\n"
    assert wire.reply() == encode("message", "ch", data)


def test_wide_reply(front: Front) -> None:
    """Two hundred thousand small members: large without a single large bulk."""
    wire = front.wire(timeout=30)
    for at in range(0, 200_000, 20_000):
        wire.ask("RPUSH", "l", *range(at, at + 20_000))
    raw = wire.ask("LRANGE", "l", 0, -1)
    assert raw == encode(*range(200_000))


def test_wide_request(front: Front) -> None:
    with Wire(front.address, timeout=30) as wire:
        assert wire.ask("DEL", *range(300_000)) == b":0\r\n"
        assert wire.ask("SADD", "s", *range(300_000)) == b":300000\r\n"
