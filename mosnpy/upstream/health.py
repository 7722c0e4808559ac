"""Active health checks. They run once for all workers and tell them through the health table in shared memory.

An endpoint counts as healthy until `unhealthy_after` checks in a row have failed, and as unhealthy until `healthy_after`
in a row have succeeded. Every endpoint has its own task; intervals vary by a tenth, so that a thousand endpoints are not
checked in the same millisecond. What the operator has drained stays drained whatever checks say.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mosnpy.upstream.dialing import Target, TlsSettings
from mosnpy.upstream.http_probes import GrpcAsk, HttpAsk, ask_of, probe_grpc, probe_http1, probe_http2
from mosnpy.upstream.probes import probe_redis, probe_tcp

HEALTHY, UNHEALTHY, DRAINED = 0, 1, 2  # the bytes of the health table; 0 is also "not known"

_JITTER = 0.1  # of the interval, up and down
_FIRST = 0.2  # seconds over which the first checks are spread


@dataclass(frozen=True, slots=True)
class Check:
    """How one endpoint is checked."""

    upstream: str
    endpoint: str
    target: Target
    slot: int
    type: str  # tcp, redis, http, grpc
    interval: float  # seconds
    timeout: float
    healthy_after: int
    unhealthy_after: int
    username: str = ""
    password: str = field(default="", repr=False)
    protocol: str = ""  # of the upstream: http1 and http2 are asked differently
    ask: HttpAsk | GrpcAsk | None = None

    @classmethod
    def several(cls, plan: Sequence[dict[str, Any]]) -> list[Check]:
        """From the compiled configuration: one mapping per upstream, with its endpoints."""
        return [
            cls(
                each["upstream"], endpoint["name"],
                Target(endpoint["family"], endpoint["host"], endpoint["port"], TlsSettings.of(each["tls"])),
                endpoint["slot"], each["type"], each["interval_ms"] / 1000, each["timeout_ms"] / 1000,
                each["healthy_after"], each["unhealthy_after"], each["username"], each["password"],
                each["protocol"], ask_of(each["type"], each["ask"]),
            )
            for each in plan
            for endpoint in each["endpoints"]
        ]  # fmt: skip


@dataclass(slots=True)
class Finding:
    """What checks have found out about an endpoint so far."""

    healthy: bool = True
    streak: int = 0  # checks in a row that disagree with `healthy`
    checks: int = 0
    failures: int = 0
    reason: str = ""  # of the latest failure, "" after a success
    at: float = 0.0  # seconds since the epoch
    duration: float = 0.0  # seconds

    def take(self, reason: str, check: Check) -> bool:
        """One result. True when it turns the endpoint from healthy to unhealthy or back."""
        self.checks += 1
        self.failures += bool(reason)
        self.reason = reason
        if bool(reason) != self.healthy:  # as before
            self.streak = 0
            return False
        self.streak += 1
        if self.streak < (check.unhealthy_after if self.healthy else check.healthy_after):
            return False
        self.healthy, self.streak = not self.healthy, 0
        return True


Changed = Callable[[Check, Finding], None]
Probe = Callable[[Check], Awaitable[str]]


async def probe(check: Check) -> str:
    if check.type == "redis":
        return await probe_redis(check.target, check.username, check.password)
    if isinstance(check.ask, HttpAsk):
        ask_http = probe_http2 if check.protocol == "http2" else probe_http1
        return await ask_http(check.target, check.ask, check.endpoint)
    if isinstance(check.ask, GrpcAsk):
        return await probe_grpc(check.target, check.ask, check.endpoint)
    return await probe_tcp(check.target)


class HealthChecks:
    """All checks of a configuration. `table` is the health table; `changed` is called when an endpoint turns."""

    def __init__(self, table: memoryview, changed: Changed, probe: Probe = probe) -> None:
        self._table = table
        self._changed = changed
        self._probe = probe
        self._tasks: dict[Check, asyncio.Task[None]] = {}
        self.findings: dict[tuple[str, str], Finding] = {}  # by upstream and endpoint

    def update(self, checks: Sequence[Check]) -> None:
        """The checks of a new configuration. One that stays the same goes on undisturbed; an endpoint that is no longer
        checked counts as healthy."""
        wanted, slots = set(checks), {check.slot for check in checks}
        for check in [check for check in self._tasks if check not in wanted]:
            self._tasks.pop(check).cancel()
            if check.slot not in slots and self._table[check.slot] == UNHEALTHY:
                self._table[check.slot] = HEALTHY
        keep = {(check.upstream, check.endpoint) for check in checks}
        for place in [place for place in self.findings if place not in keep]:
            del self.findings[place]
        for check in checks:
            if check not in self._tasks:
                self._tasks[check] = asyncio.create_task(self._watch(check))

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, check: Check) -> None:
        finding = self.findings.setdefault((check.upstream, check.endpoint), Finding())
        if self._table[check.slot] == UNHEALTHY:
            finding.healthy = False  # found so by our predecessor
        await asyncio.sleep(random.uniform(0, min(_FIRST, check.interval)))
        while True:
            began = time.monotonic()
            reason = await self._once(check)
            finding.at, finding.duration = time.time(), time.monotonic() - began
            if finding.take(reason, check):
                if self._table[check.slot] != DRAINED:
                    self._table[check.slot] = HEALTHY if finding.healthy else UNHEALTHY
                self._changed(check, finding)
            await asyncio.sleep(check.interval * random.uniform(1 - _JITTER, 1 + _JITTER))

    async def _once(self, check: Check) -> str:
        try:
            async with asyncio.timeout(check.timeout):
                return await self._probe(check)
        except TimeoutError:
            return f"no answer within {check.timeout:g} s"
        except ssl.SSLError as error:
            return f"TLS: {_tls_reason(error)}"
        except OSError as error:
            said = error.strerror or str(error) or "the connection was closed during the handshake"
            return said.lower()


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or str(error)).replace("_", " ").lower()


def drain(table: memoryview, slot: int) -> None:
    """By the operator's word: no new requests for this endpoint."""
    table[slot] = DRAINED


def undrain(table: memoryview, slot: int, finding: Finding | None) -> None:
    table[slot] = HEALTHY if finding is None or finding.healthy else UNHEALTHY
