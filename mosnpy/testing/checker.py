"""The checker client: many connections, deep pipelines, and every single reply compared with what it must be.

A key determines its value, so a GET has exactly one right answer at any time, whoever wrote last and whatever was
lost on the way. Each batch mixes commands whose replies differ from one another; a reply given to the wrong request, a
reply lost or doubled shows as a wrong value, and never hides behind the next one. hiredis parses, uvloop moves the bytes:
about a million checked replies take some seconds of one core.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import hiredis
import uvloop

from mosnpy.testing.resp import Address, Wire, encode
from mosnpy.testing.waiting import FACTOR

_OK = b"OK"


def value_of(key: str) -> bytes:
    """The one value `key` ever has: between 10 and about 300 bytes, different for every key."""
    number = int(key.rsplit(":", 1)[1])
    return f"<{key}>".encode() + b"x" * (number * 7919 % 257)


@dataclass
class CheckReport:
    asked: int = 0  # commands sent
    right: int = 0
    absent: int = 0  # nil for a key that was set: data lost by the server (a restart), not mixed up by the proxy
    wrong: list[str] = field(default_factory=list)  # replies to something else. Must always stay empty
    errors: Counter[str] = field(default_factory=Counter)  # error replies by text
    lost: int = 0  # commands without a reply on connections that were closed under them
    farewells: int = 0  # connections closed while nothing was asked
    refused: int = 0  # connection attempts that failed
    connects: int = 0
    longest: float = 0.0  # seconds, the slowest batch

    def assert_clean(self) -> None:
        """No wrong reply, no error, nothing lost: what every reload and drain must leave behind."""
        assert not self.wrong, self.wrong[:5]
        assert not self.errors, self.errors.most_common(5)
        assert (self.lost, self.absent) == (0, 0), f"{self.lost} commands lost, {self.absent} values absent"


@dataclass(frozen=True)
class Batch:
    """A pipeline and its right answers."""

    wire: bytes
    expected: list[object]


def fill(address: Address, keys: int) -> None:
    """Sets every key to its value, in one pipeline."""
    with Wire(address, timeout=30) as wire:
        names = [f"check:{number}" for number in range(keys)]
        for replies in (
            wire.ask_all(*[("SET", name, value_of(name)) for name in names[at : at + 500]])
            for at in range(0, keys, 500)
        ):
            assert set(replies) == {b"+OK\r\n"}, set(replies)


def make_batches(count: int, depth: int, keys: int, seed: int) -> list[Batch]:
    """Batches of `depth` commands over `keys` keys. Reads most of the time, some writes of the only right value."""
    pick = random.Random(seed)
    batches = []
    for _ in range(count):
        wire, expected = bytearray(), list[object]()
        for _ in range(depth):
            key = f"check:{pick.randrange(keys)}"
            value = value_of(key)
            dice = pick.random()
            if dice < 0.80:
                wire += encode("GET", key)
                expected.append(value)
            elif dice < 0.90:
                wire += encode("SET", key, value)
                expected.append(_OK)
            elif dice < 0.95:
                wire += encode("STRLEN", key)
                expected.append(len(value))
            elif dice < 0.98:
                other = f"check:{pick.randrange(keys)}"
                wire += encode("MGET", key, other)
                expected.append([value, value_of(other)])
            else:
                wire += encode("GETRANGE", key, 1, len(key))
                expected.append(key.encode())
        batches.append(Batch(bytes(wire), expected))
    return batches


class _Client(asyncio.Protocol):
    """One connection in a closed loop: a batch out, all its replies in, the next batch."""

    def __init__(self, checker: Checker, number: int) -> None:
        self.checker, self.number = checker, number
        self.random = random.Random(number)
        self.transport: asyncio.Transport | None = None
        self.batch: Batch | None = None
        self.replies: list[object] = []
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.reader = hiredis.Reader()
        self.checker.report.connects += 1
        self.checker.open.add(self)
        self.next()

    def next(self) -> None:
        assert self.transport is not None
        self.batch = self.checker.take(self.random)
        if self.batch is None:
            self.transport.close()
            return
        self.replies = []
        self.sent_at = time.monotonic()
        self.transport.write(self.batch.wire)

    def data_received(self, data: bytes) -> None:
        batch = self.batch
        try:
            self.reader.feed(data)
            while (reply := self.reader.gets()) is not False:
                self.replies.append(reply)
        except hiredis.ProtocolError as error:
            self.checker.report.wrong.append(f"no RESP: {error}: {data[:100]!r}")
            self.abort()
            return
        if batch is None or len(self.replies) > len(batch.expected):
            self.checker.report.wrong.append(f"a reply nobody asked for: {self.replies[-1]!r}")
            self.abort()
            return
        if len(self.replies) == len(batch.expected):
            self.judge(batch)
            self.batch = None
            self.next()

    def judge(self, batch: Batch) -> None:
        report = self.checker.report
        report.longest = max(report.longest, time.monotonic() - self.sent_at)
        if self.replies == batch.expected:
            report.right += len(batch.expected)
            return
        for reply, expected in zip(self.replies, batch.expected, strict=False):
            judge_one(report, reply, expected)

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        checker, batch = self.checker, self.batch
        checker.open.discard(self)
        if batch is not None:
            self.judge(batch)  # what did come must be right all the same
            checker.report.lost += len(batch.expected) - len(self.replies)
        elif not checker.over:
            checker.report.farewells += 1
        checker.reconnect(self.number)


def judge_one(report: CheckReport, reply: object, expected: object) -> None:
    if reply == expected:
        report.right += 1
    elif isinstance(reply, Exception):
        report.errors[str(reply)] += 1
    elif isinstance(expected, list) and isinstance(reply, list) and len(reply) == len(expected):
        for member, right in zip(reply, expected, strict=True):
            judge_one(report, member, right)
    elif reply is None or (reply == 0 and isinstance(expected, int)) or (reply == b"" and expected != _OK):
        report.absent += 1
    else:
        report.wrong.append(f"got {reply!r} for {expected!r}")


class Checker:
    """Runs `connections` clients in a thread of its own until `total` commands were asked or stop() is called."""

    def __init__(
        self, address: Address, *, total: int = 1 << 62, connections: int = 200, depth: int = 50, keys: int = 2000, seed: int = 1,
        pace: float = 0.0,
    ) -> None:  # fmt: skip
        """`pace` seconds lie between two connection attempts of a client that was disconnected (never zero: 5 ms)."""
        self.address, self.total, self.connections = address, total, connections
        self.pace = max(pace, 0.005)
        self.report = CheckReport()
        self.open: set[_Client] = set()
        self.over = False
        self.batches = make_batches(400, depth, keys, seed)
        self._thread = threading.Thread(target=self._main, name="checker", daemon=True)
        self._failure: BaseException | None = None

    def take(self, pick: random.Random) -> Batch | None:
        """The next batch, or None when enough was asked."""
        if self.over or self.report.asked >= self.total:
            self.over = True
            return None
        batch = self.batches[pick.randrange(len(self.batches))]
        self.report.asked += len(batch.expected)
        return batch

    def reconnect(self, number: int) -> None:
        if self.over:
            if not self.open:
                self._done.set()
            return
        self._tasks.add(task := self._loop.create_task(self._connect(number)))
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, number: int) -> None:
        while not self.over:
            try:
                if isinstance(self.address, str):
                    await self._loop.create_unix_connection(lambda: _Client(self, number), self.address)
                else:
                    await self._loop.create_connection(lambda: _Client(self, number), *self.address)
                return
            except OSError:
                self.report.refused += 1
                await asyncio.sleep(self.pace)
        if not self.open:
            self._done.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._broken)
        self._done, self._tasks = asyncio.Event(), set[asyncio.Task[None]]()
        for number in range(self.connections):
            self.reconnect(number)
        await self._done.wait()

    def _broken(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A fault of the checker itself ends the run: it must not look like a silent proxy."""
        self._failure = context.get("exception") or RuntimeError(context["message"])
        self.over = True
        self._done.set()

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._run())
        except BaseException as error:  # carried over to the thread that waits
            self._failure = error

    def start(self) -> Checker:
        self._thread.start()
        return self

    def wait(self, timeout: float = 60.0) -> CheckReport:
        """Until `total` commands were asked and answered."""
        self._thread.join(timeout * FACTOR)
        if self._failure is not None:
            raise self._failure
        assert not self._thread.is_alive(), f"the checker is stuck after {timeout:g} s: {self.report}"
        return self.report

    def stop(self, timeout: float = 30.0) -> CheckReport:
        """No more batches; waits for the replies under way."""
        self.over = True
        return self.wait(timeout)

    def progressed(self, commands: int) -> bool:
        """True once that many commands were asked: to place faults in the middle of the load."""
        return self.report.asked >= commands

    def run(self, timeout: float = 60.0) -> CheckReport:
        return self.start().wait(timeout)


def check(address: Address, total: int, **options: int) -> CheckReport:
    """Fills the keys and runs a checker to its end."""
    fill(address, options.get("keys", 2000))
    return Checker(address, total=total, **options).run()


def summary(reports: Sequence[CheckReport]) -> str:
    return " · ".join(
        f"{report.asked} asked, {report.right} right, {report.lost} lost, {sum(report.errors.values())} errors"
        for report in reports
    )
