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

from bench.macro import machine, report, tools_http
from bench.macro.load import MIB, HttpLoad, Load
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
    HttpLoad("http1", "", kind="http1", connections=20),
    HttpLoad("http1-hosts", "", kind="http1", connections=20, hosts=10_000),
    HttpLoad("http1-reconnect", "", kind="http1", connections=4, reconnect=True),
    HttpLoad("http1-download", "", kind="http1", connections=3, value=MIB),
    HttpLoad("http1-upload", "", kind="http1", connections=3, value=MIB, op="put"),
    HttpLoad("h2", "", kind="h2c", connections=5, protocol="h2", streams=10),
    HttpLoad("h2-reconnect", "", kind="h2c", connections=4, protocol="h2", streams=3, reconnect=True),
    HttpLoad("h2-download", "", kind="h2c", connections=3, protocol="h2", streams=3, value=MIB),
    HttpLoad("grpc", "", kind="grpc", connections=5, protocol="h2", streams=10, op="grpc"),
]


@pytest.fixture
def relay(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    load: Load = request.param
    with backend(load.value, CORES, tmp_path, load.server) as upstream:
        running = ALL["relay"].start(load.kind, upstream, CORES, tmp_path)
        yield running
        running.stop()


@pytest.mark.parametrize(
    ("relay", "load"), [(load, load) for load in LOADS], ids=lambda load: load.name, indirect=["relay"]
)
def test_every_load_passes_a_relay_unharmed(relay: Running, load: Load) -> None:
    wanted = 100 if load.value >= MIB else 2_000
    figures = run_load(load, relay.port, relay.pids, CORES, 0.05, 20, requests=wanted)
    assert figures["failure"] == ""
    assert float(figures["requests"]) >= wanted
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


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 64\r\n\r\n", "wrong reply: HTTP/1.1 502"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 63\r\n\r\n", "wrong reply: HTTP/1.1 200"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "wrong reply: HTTP/1.1 200"),
        (OK + b"0" * 64, "wrong body: 0000"),  # somebody else's value
        (OK, "no reply for 2 s"),
    ],
)
def test_a_wrong_http_reply_fails_the_run(reply: bytes, told: str) -> None:
    with answering(reply) as port:
        figures = run_load(HttpLoad("x", "", connections=1), port, [], CORES, 0.0, 5)
    assert told in str(figures["failure"])


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (frame(1, 4, 1, b"\x8d"), "a status that is not 200, as HPACK: <8d>"),  # 404
        (frame(1, 5, 1, b"\x88"), "a reply without a body"),
        (frame(1, 4, 1, b"\x88") + frame(0, 1, 1, b"0" * 64), "wrong body: 0000"),
        (
            frame(1, 4, 1, b"\x3f\xe1\x1f\x88") + frame(0, 1, 1),
            "a body cut short",
        ),  # a change of the table's size before
        (frame(1, 4, 3, b"\x88"), "headers of a stream that is not open"),
        (frame(3, 0, 1, b"\0\0\0\x07"), "stream reset: <00><00><00><07>"),
        (frame(7, 0, 0, bytes(8)), "goaway"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no HTTP/2: HTTP/1.1 400"),
    ],
)
def test_a_wrong_http2_reply_fails_the_run(reply: bytes, told: str) -> None:
    load = HttpLoad("x", "", connections=1, protocol="h2")
    with answering(reply) as port:
        figures = run_load(load, port, [], CORES, 0.0, 5)
    assert told in str(figures["failure"])


def test_a_body_that_is_not_the_keys_is_refused_by_the_stub(tmp_path: Path) -> None:
    with backend(64, CORES, tmp_path, "backend_http") as port, socket.create_connection(("127.0.0.1", port), 5) as conn:
        conn.sendall(b"PUT /bench/0123456789abcdef HTTP/1.1\r\nHost: x\r\nContent-Length: 64\r\n\r\n" + b"0" * 64)
        assert conn.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_errors_the_tools_count_fail_their_runs() -> None:
    assert tools_http.read_wrk("  50%  1.50ms\n  99%  2.00s\n 10 requests in 1.00s, 1MB read") == tools_http.Told(
        10, 1.0, 1500.0, 2e6
    )
    with pytest.raises(RuntimeError, match="Non-2xx"):
        tools_http.read_wrk("10 requests in 1.00s, 1MB read\n  Non-2xx or 3xx responses: 3")
    counts = "requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout\n"
    assert tools_http.read_h2load(counts + "status codes: 9 2xx, 0 3xx, 0 4xx, 0 5xx").requests == 9
    with pytest.raises(RuntimeError, match="1 5xx"):
        tools_http.read_h2load(counts + "status codes: 8 2xx, 0 3xx, 0 4xx, 1 5xx")


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
    where: dict[str, str | int | float] = {"date": "2026-01-01"}
    whole = report.Report(where, {}, {}, [outcome(mosnpy=[1.0], envoy=[1.5])])
    assert [verdict.ok for verdict in report.verdicts(whole)] == [False]
    assert "missed: X: CPU of Envoy / mosnpy: 1.5, wanted 1.8" in report.text(whole)


def test_a_busy_machine_is_told() -> None:
    assert machine.doubts({"load_average": 0.3, "cores": 2}) == []
    (note,) = machine.doubts({"load_average": 8.9, "cores": 2})
    assert "load average 8.9 on 2 cores" in note
    assert note in report.text(report.Report({}, {}, {}, notes=[note]))


def test_without_mosnpy_the_relay_is_the_base_and_nothing_is_judged() -> None:
    whole = report.Report({}, {}, {}, [outcome(relay=[1.0], envoy=[1.5])])
    whole.settle_base()
    assert whole.outcomes[0].base == "relay"
    assert report.verdicts(whole) == []
