"""The bench itself: its load passes clean through a relay, its checks see a reply that is wrong, its arithmetic holds."""

from __future__ import annotations

import dataclasses
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.macro import report
from bench.macro.load import MIB, Load
from bench.macro.measure import Outcome, Sample, backend, run_load
from bench.macro.process import Cores, cpu
from bench.macro.proxies import ALL, Running

CORES = Cores.choose()
LOADS = [
    Load("get", "", connections=20),
    Load("get-p16", "", connections=20, pipeline=16),
    Load("set-p16", "", connections=20, pipeline=16, op="set"),
    Load("get-1mib", "", connections=3, value=MIB),
    Load("set-1mib", "", connections=3, value=MIB, op="set"),
    Load("tenants", "", connections=20, tenants=10_000),
    Load("tiny", "", connections=5, value=3),
]


@pytest.fixture
def relay(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    load: Load = request.param
    with backend(load.value, CORES, tmp_path) as upstream:
        running = ALL["relay"].start(load.kind, upstream, CORES, tmp_path)
        yield running
        running.stop()


@pytest.mark.parametrize(
    ("relay", "load"), [(load, load) for load in LOADS], ids=lambda load: load.name, indirect=["relay"]
)
def test_every_load_passes_a_relay_unharmed(relay: Running, load: Load) -> None:
    figures = run_load(load, relay.port, relay.pids, CORES, 0.05, 5, requests=2_000)
    assert figures["failure"] == ""
    assert float(figures["requests"]) >= 2_000
    assert float(figures["cpu_ns"]) > 0
    assert 0 < float(figures["p50_us"]) <= float(figures["p99_us"]) <= float(figures["max_us"]) * 1.04


@contextmanager
def answering(reply: bytes) -> Iterator[int]:
    """A server for one client that answers whatever comes with the same bytes. Yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as conn:
                while conn.recv(65536):
                    conn.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"-ERR no\r\n", "wrong reply: -ERR no"),
        (b"$64\r\nuser:ffffffffffff" + b"a" * 47 + b"\r\n", "wrong reply"),  # somebody else's value
        (b"", "no reply for 2 s"),
    ],
)
def test_a_wrong_or_missing_reply_fails_the_run(reply: bytes, told: str) -> None:
    with answering(reply) as port:
        figures = run_load(Load("x", "", connections=1), port, [], CORES, 0.0, 5)
    assert told in str(figures["failure"])


def test_cpu_time_is_that_of_all_threads() -> None:
    stop = threading.Event()
    before = cpu([os.getpid()])
    thread = threading.Thread(target=lambda: [None for _ in iter(stop.is_set, True)])
    thread.start()
    while (cpu([os.getpid()]) - before).run < 20_000_000:
        pass
    stop.set()
    thread.join()


def outcome(**cpu_us: list[float]) -> Outcome:
    found = Outcome("x", "X", "redis", {"envoy": 1.8})
    for proxy, values in cpu_us.items():
        found.samples += [
            Sample(proxy, n, cpu_us=value, rate=1e6 / value, p50_us=value) for n, value in enumerate(values)
        ]
    return found


def test_ratios_are_taken_within_rounds_and_failed_runs_are_left_out() -> None:
    found = outcome(mosnpy=[1.0, 2.0, 4.0], envoy=[2.0, 5.0, 8.0])
    found.samples[1] = dataclasses.replace(found.samples[1], failure="wrong reply")
    assert found.ratios("envoy") == [2.0, 2.0]
    assert found.spread("mosnpy") == 4.0
    row = next(row for row in report.rows(found) if row.proxy == "envoy")
    assert (row.ratio, row.target) == (2.0, 1.8)


def test_a_missed_figure_is_told() -> None:
    machine: dict[str, str | int | float] = {"date": "2026-01-01"}
    whole = report.Report(machine, {}, {}, [outcome(mosnpy=[1.0], envoy=[1.5])])
    assert [verdict.ok for verdict in report.verdicts(whole)] == [False]
    assert "missed: X: CPU of Envoy / mosnpy: 1.5, wanted 1.8" in report.text(whole)


def test_without_mosnpy_the_relay_is_the_base_and_nothing_is_judged() -> None:
    whole = report.Report({}, {}, {}, [outcome(relay=[1.0], envoy=[1.5])])
    whole.settle_base()
    assert whole.outcomes[0].base == "relay"
    assert report.verdicts(whole) == []
