"""Thresholds, the table, and changes of the configuration; probes are stand-ins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from mosnpy.upstream.health import DRAINED, HEALTHY, UNHEALTHY, Check, Finding, HealthChecks, drain, undrain
from mosnpy.upstream.probes import Target

CHECK = Check("main", "a:1", Target("ipv4", "127.0.0.1", 1), 3, "tcp", 0.002, 5.0, 2, 3)


def test_thresholds() -> None:
    finding = Finding()
    turns = [finding.take(reason, CHECK) for reason in ("no", "no", "", "no", "no", "no", "no", "", "no", "", "")]
    assert turns == [False, False, False, False, False, True, False, False, False, False, True]
    assert (finding.healthy, finding.checks, finding.failures) == (True, 11, 7)


class Stage:
    """Checks against answers a test sets; `turned` records the changes."""

    def __init__(self) -> None:
        self.table = memoryview(bytearray(10))
        self.answers: dict[str, str | Exception] = {}
        self.turned: list[tuple[str, bool, str]] = []
        self.checks = HealthChecks(self.table, self._changed, self._probe)

    def _changed(self, check: Check, finding: Finding) -> None:
        self.turned.append((check.endpoint, finding.healthy, finding.reason))

    async def _probe(self, check: Check) -> str:
        answer = self.answers.get(check.endpoint, "")
        if isinstance(answer, Exception):
            raise answer
        if answer == "hang":
            await asyncio.sleep(3600)
        return answer

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)


def stage(play: Callable[[Stage], object]) -> Stage:
    async def run() -> Stage:
        stage = Stage()
        try:
            await play(stage)  # type: ignore[misc]
        finally:
            await stage.checks.stop()
        return stage

    return asyncio.run(run())


def test_down_and_up_again() -> None:
    async def play(stage: Stage) -> None:
        stage.answers["a:1"] = ConnectionRefusedError(111, "Connection refused")
        stage.checks.update([CHECK])
        await stage.until(lambda: stage.table[3] == UNHEALTHY)
        assert stage.checks.findings["main", "a:1"].failures == 3
        stage.answers["a:1"] = ""
        await stage.until(lambda: stage.table[3] == HEALTHY)

    assert stage(play).turned == [("a:1", False, "connection refused"), ("a:1", True, "")]


def test_no_answer_in_time() -> None:
    async def play(stage: Stage) -> None:
        stage.answers["a:1"] = "hang"
        stage.checks.update([replace(CHECK, timeout=0.01, unhealthy_after=1)])
        await stage.until(lambda: stage.table[3] == UNHEALTHY)

    assert stage(play).turned == [("a:1", False, "no answer within 0.01 s")]


def test_the_operators_word_stands() -> None:
    async def play(stage: Stage) -> None:
        drain(stage.table, 3)
        stage.answers["a:1"] = "down"
        stage.checks.update([CHECK])
        await stage.until(lambda: bool(stage.turned))
        assert stage.table[3] == DRAINED
        undrain(stage.table, 3, stage.checks.findings["main", "a:1"])
        assert stage.table[3] == UNHEALTHY

    stage(play)


def test_an_endpoint_no_longer_checked_counts_as_healthy() -> None:
    async def play(stage: Stage) -> None:
        other = replace(CHECK, endpoint="b:1", slot=4)
        stage.answers = {"a:1": "down", "b:1": "down"}
        stage.checks.update([CHECK, other])
        await stage.until(lambda: stage.table[3] == stage.table[4] == UNHEALTHY)
        stage.checks.update([replace(other, interval=0.003)])
        assert (stage.table[3], stage.table[4]) == (HEALTHY, UNHEALTHY)
        assert list(stage.checks.findings) == [("main", "b:1")]

    stage(play)


def test_a_successor_knows_what_was_found_before() -> None:
    async def play(stage: Stage) -> None:
        stage.table[3] = UNHEALTHY
        stage.checks.update([CHECK])
        await stage.until(lambda: stage.table[3] == HEALTHY)

    assert stage(play).turned == [("a:1", True, "")]


def test_from_the_compiled_configuration() -> None:
    plan = {
        "upstream": "main", "protocol": "redis", "type": "redis", "interval_ms": 5000, "timeout_ms": 1000,
        "healthy_after": 2, "unhealthy_after": 3, "username": "", "password": "secret",
        "tls": None, "ask": {},
        "endpoints": [{"name": "a:1", "family": "ipv4", "host": "127.0.0.1", "port": 1, "slot": 3}],
    }  # fmt: skip
    [check] = Check.several([plan])
    assert check == replace(CHECK, type="redis", interval=5.0, timeout=1.0, password="secret", protocol="redis")
    assert "secret" not in repr(check)
