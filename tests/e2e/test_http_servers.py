"""Real servers behind the proxy (nginx, nghttpd), load generators before it (h2load, wrk): bytes right, errors zero."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mosnpy.testing.http2_wire import Http2Wire
from mosnpy.testing.http_peers import Nghttpd, Nginx, PeerProcess, find_program, own_environment
from mosnpy.testing.http_wire import HttpWire
from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.waiting import MEMORY_FACTOR, free_port, until

SMALL, LARGE = b"small file\n", os.urandom(3_000_000)


def need(program: str, package: str) -> str:
    found = find_program(program)
    if found is None:
        pytest.skip(f"{program} is not installed (Debian: apt install {package})")
    return found


@pytest.fixture(scope="module")
def nginx(short_tmp: Path) -> Iterator[PeerProcess]:
    need("nginx", "nginx")
    server = Nginx(
        short_tmp / "nginx",
        """keepalive_requests 100000; gzip on; gzip_min_length 1; gzip_types *;
        location /hello { default_type text/plain; return 200 "hello\\n"; }
        location /old { return 301 /hello; }
        location /teapot { return 418 "short and stout\\n"; }
        location /once { keepalive_requests 3; default_type text/plain; return 200 "once\\n"; }""",
    )
    (server.www / "small.txt").write_bytes(SMALL)
    (server.www / "large.bin").write_bytes(LARGE)
    with server:
        yield server


@pytest.fixture(scope="module")
def nghttpd(short_tmp: Path) -> Iterator[PeerProcess]:
    need("nghttpd", "nghttp2-server")
    server = Nghttpd(short_tmp / "nghttpd", "--trailer=x-sum: 42")
    (server.www / "small.txt").write_bytes(SMALL)
    (server.www / "large.bin").write_bytes(LARGE)
    with server:
        yield server


@pytest.fixture(scope="module")
def proxy(
    built: None, short_tmp: Path, nginx: PeerProcess, nghttpd: PeerProcess
) -> Iterator[tuple[ProxyProcess, dict[str, int]]]:
    """Ports: each leads to one server; `pipelined` to nginx over shared connections."""
    ports = {name: free_port() for name in ("nginx", "nghttpd", "pipelined")}
    config = {
        "workers": 1,
        "listeners": {
            name: {"bind": f"127.0.0.1:{port}", "protocol": "http", "to": name} for name, port in ports.items()
        },
        "upstreams": {
            "nginx": {"protocol": "http1", "endpoints": [nginx.endpoint]},
            "pipelined": {"protocol": "http1", "endpoints": [nginx.endpoint], "pipeline": 4},
            "nghttpd": {"protocol": "http2", "endpoints": [nghttpd.endpoint]},
        },
    }
    with ProxyProcess(short_tmp / "http-servers", config) as running:
        yield running, ports


Where = tuple[str, int]


@pytest.fixture(params=["nginx", "nghttpd", "pipelined"])
def address(request: pytest.FixtureRequest, proxy: tuple[ProxyProcess, dict[str, int]]) -> Where:
    return "127.0.0.1", proxy[1][request.param]


class TestFiles:
    def test_http1_client(self, address: Where) -> None:
        with HttpWire(address) as wire:
            for _ in range(20):
                assert wire.exchange("GET", "/small.txt").body == SMALL
                assert wire.exchange("HEAD", "/large.bin")["content-length"] == str(len(LARGE))
            assert hashlib.sha256(wire.exchange("GET", "/large.bin").body).digest() == hashlib.sha256(LARGE).digest()
            assert wire.exchange("GET", "/nothing").status == 404

    def test_http2_client(self, address: Where) -> None:
        with Http2Wire(address) as wire:
            streams = [wire.begin("GET", "/small.txt") for _ in range(50)]
            large = wire.begin("GET", "/large.bin")
            assert {bytes(one.body) for one in wire.wait_all(streams)} == {SMALL}
            assert hashlib.sha256(wire.wait(large).body).digest() == hashlib.sha256(LARGE).digest()
            assert wire.exchange("GET", "/nothing").status == 404

    def test_conditional_and_ranges(self, proxy: tuple[ProxyProcess, dict[str, int]]) -> None:
        with HttpWire(("127.0.0.1", proxy[1]["nginx"])) as wire:
            tag = wire.exchange("GET", "/large.bin")["etag"]
            assert wire.exchange("GET", "/large.bin", ("If-None-Match", tag)).status == 304
            part = wire.exchange("GET", "/large.bin", ("Range", "bytes=1000-1999"))
            assert (part.status, part.body) == (206, LARGE[1000:2000])
            several = wire.exchange("GET", "/large.bin", ("Range", "bytes=0-9,20-29"))
            assert (several.status, LARGE[20:30] in several.body) == (206, True)

    def test_compressed(self, proxy: tuple[ProxyProcess, dict[str, int]]) -> None:
        """nginx compresses as it sends: chunked, with an encoding that is none of the proxy's business."""
        with HttpWire(("127.0.0.1", proxy[1]["nginx"])) as wire:
            got = wire.exchange("GET", "/small.txt", ("Accept-Encoding", "gzip"))
            assert (got["content-encoding"], got.body[:2]) == ("gzip", b"\x1f\x8b")

    def test_statuses_and_redirects(self, proxy: tuple[ProxyProcess, dict[str, int]]) -> None:
        with HttpWire(("127.0.0.1", proxy[1]["nginx"])) as wire:
            assert wire.exchange("GET", "/teapot").status == 418
            assert wire.exchange("GET", "/old")["location"].endswith("/hello")
            assert [wire.exchange("GET", "/once").text for _ in range(30)] == ["once\n"] * 30

    def test_trailers_of_nghttpd(self, proxy: tuple[ProxyProcess, dict[str, int]]) -> None:
        with Http2Wire(("127.0.0.1", proxy[1]["nghttpd"])) as wire:
            assert dict(wire.exchange("GET", "/small.txt").trailers) == {"x-sum": "42"}
        with HttpWire(("127.0.0.1", proxy[1]["nghttpd"])) as one:
            got = one.exchange("GET", "/small.txt", ("TE", "trailers"), ("Connection", "TE"))
            assert got.body == SMALL


def run(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=50, check=False, env=own_environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def idle(proxy: ProxyProcess) -> None:
    def zero() -> bool:
        stats: dict[str, Any] = proxy.stats()
        return not any(one["connections_active"] for one in stats["listeners"].values())

    until(zero, "the generator's connections to be gone")


class TestLoad:
    """Not how fast, but that nothing goes wrong while it is."""

    @pytest.mark.parametrize("streams", [1, 10, 100])
    def test_h2load(self, proxy: tuple[ProxyProcess, dict[str, int]], address: Where, streams: int) -> None:
        out = run(
            [
                need("h2load", "nghttp2-client"),
                "-n",
                "5000",
                "-c",
                "10",
                "-m",
                str(streams),
                f"http://127.0.0.1:{address[1]}/small.txt",
            ]
        )
        assert "5000 succeeded, 0 failed, 0 errored, 0 timeout" in out, out
        assert "status codes: 5000 2xx" in out, out
        idle(proxy[0])

    def test_h2load_in_http1(self, proxy: tuple[ProxyProcess, dict[str, int]], address: Where) -> None:
        """With -m it pipelines."""
        out = run(
            [
                need("h2load", "nghttp2-client"),
                "--h1",
                "-n",
                "5000",
                "-c",
                "10",
                "-m",
                "8",
                f"http://127.0.0.1:{address[1]}/small.txt",
            ]
        )
        assert "5000 succeeded, 0 failed, 0 errored, 0 timeout" in out, out
        idle(proxy[0])

    def test_h2load_uploads(self, proxy: tuple[ProxyProcess, dict[str, int]], tmp_path: Path) -> None:
        """nghttpd answers 405 or 404 to POST once it has the body; what counts is that each is answered."""
        body = tmp_path / "body"
        body.write_bytes(b"x" * 100_000)
        out = run(
            [
                need("h2load", "nghttp2-client"),
                "-n",
                "500",
                "-c",
                "5",
                "-m",
                "10",
                "-d",
                str(body),
                f"http://127.0.0.1:{proxy[1]['nghttpd']}/small.txt",
            ]
        )
        assert "500 done" in out, out
        assert " 0 errored, 0 timeout" in out, out
        idle(proxy[0])

    def test_wrk(self, proxy: tuple[ProxyProcess, dict[str, int]], address: Where) -> None:
        out = run([need("wrk", "wrk"), "-t", "1", "-c", "50", "-d", "1s", f"http://127.0.0.1:{address[1]}/small.txt"])
        assert "Socket errors" not in out, out
        assert "Non-2xx" not in out, out
        found = re.search(r"(\d+) requests in", out)
        assert found is not None
        assert int(found.group(1)) > 500, out
        idle(proxy[0])

    def test_large_files_under_load(self, proxy: tuple[ProxyProcess, dict[str, int]], address: Where) -> None:
        before = proxy[0].worker_rss()
        out = run(
            [
                need("h2load", "nghttp2-client"),
                "-n",
                "60",
                "-c",
                "5",
                "-m",
                "4",
                f"http://127.0.0.1:{address[1]}/large.bin",
            ]
        )
        assert "60 succeeded, 0 failed, 0 errored, 0 timeout" in out, out
        assert proxy[0].worker_rss() - before < (60 << 20) * MEMORY_FACTOR
        idle(proxy[0])


Start = Callable[..., ProxyProcess]


def test_reload_under_load(start_proxy: Start, nginx: PeerProcess) -> None:
    """Configurations come and go while wrk runs: no request notices."""
    port = free_port()
    config = {
        "workers": 2,
        "listeners": {"front": {"bind": f"127.0.0.1:{port}", "protocol": "http", "to": "back"}},
        "upstreams": {"back": {"protocol": "http1", "endpoints": [nginx.endpoint]}},
    }
    proxy = start_proxy(config)
    load = subprocess.Popen(
        [need("wrk", "wrk"), "-t", "1", "-c", "20", "-d", "3s", f"http://127.0.0.1:{port}/hello"],
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(2):
        generation = proxy.generation()
        assert proxy.admin("/reload", "POST")[0] in (200, 202)
        until(lambda at=generation: proxy.generation() > at, "the new plan")  # type: ignore[misc]
    out = load.communicate(timeout=20)[0]
    assert "Socket errors" not in out, out
    assert "Non-2xx" not in out, out
