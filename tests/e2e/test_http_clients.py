"""Real clients through the proxy: curl, httpx with HTTP/2, Node's http and http2. Each does what its users do with it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mosnpy.testing.http2_server import Stream2, mirror2
from mosnpy.testing.http_message import chunk, response_head
from mosnpy.testing.http_peers import own_environment
from mosnpy.testing.http_server import HttpPeer, Request, answer, echo, flood, mirror
from mosnpy.testing.http_stage import HttpStage, field_values

VERSIONS = pytest.mark.parametrize("version", [1, 2], ids=["HTTP/1", "HTTP/2"])


async def all_kinds(peer: HttpPeer, request: Request) -> None:
    """What the paths say."""
    match request.target.partition("?")[0]:
        case "/mirror":
            await mirror(peer, request)
        case "/large":
            await flood(10_000_000)(peer, request)
        case "/chunks":
            await flood(3_000_000, framing="chunked")(peer, request)
        case "/gone":
            await answer(b"gone", status=410)(peer, request)
        case "/trailers":
            await peer.send(
                response_head(200, [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")])
                + chunk(b"body")
                + b"0\r\nX-Sum: 42\r\n\r\n"
            )
        case "/events":
            await peer.send(
                response_head(200, [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")])
            )
            for number in range(5):
                await peer.send(chunk(b"data: %d\n\n" % number))
            await peer.send(b"0\r\n\r\n")
        case _:
            await echo(peer, request)


async def all_kinds2(stream: Stream2) -> None:
    await mirror2(stream)


@pytest.fixture(scope="module")
def url(shared_http: HttpStage) -> str:
    one, two = shared_http.server(all_kinds), shared_http.server2(all_kinds2)
    shared_http.start({"one": one, "two": two}, routes=[{"match": {"path": "/two/*"}, "to": "two"}, {"to": "one"}])
    assert isinstance(shared_http.address, tuple)
    return f"http://127.0.0.1:{shared_http.address[1]}"


# ---- curl ----


def curl(*words: str, version: int, stdin: bytes | None = None) -> bytes:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed (Debian: apt install curl)")
    how = "--http2-prior-knowledge" if version == 2 else "--http1.1"
    done = subprocess.run(
        [program, "-sS", "--fail-with-body", "-m", "20", how, *words],
        input=stdin,
        capture_output=True,
        check=False,
        env=own_environment(),
    )
    assert done.returncode == 0, (done.returncode, done.stderr, done.stdout[:500])
    return done.stdout


@VERSIONS
class TestCurl:
    def test_get(self, url: str, version: int) -> None:
        out = json.loads(curl(f"{url}/a?b=c", "-H", "X-A: b", version=version))
        assert (out["method"], out["target"]) == ("GET", "/a?b=c")
        assert field_values(out, "x-a") == ["b"]
        assert field_values(out, "user-agent")[0].startswith("curl/")

    def test_version_it_sees(self, url: str, version: int) -> None:
        assert (
            curl(f"{url}/", "-o", "/dev/null", "-w", "%{http_version}", version=version)
            == {1: b"1.1", 2: b"2"}[version]
        )

    def test_head(self, url: str, version: int) -> None:
        assert b"content-length" in curl("-I", f"{url}/x", version=version).lower()

    def test_form_and_upload(self, url: str, version: int, tmp_path: Path) -> None:
        out = json.loads(curl(f"{url}/form", "-d", "a=1&b=2", version=version))
        assert (out["method"], out["body"]) == ("POST", "a=1&b=2")
        file = tmp_path / "upload"
        file.write_bytes(b"0123456789" * 300_000)  # large enough for Expect: 100-continue
        for target in ("/mirror", "/two/mirror"):
            back = curl(f"{url}{target}", "-T", str(file), version=version)
            assert hashlib.sha256(back).digest() == hashlib.sha256(file.read_bytes()).digest()

    def test_stdin_is_sent_in_chunks(self, url: str, version: int) -> None:
        assert curl(f"{url}/mirror", "-T", "-", version=version, stdin=b"y" * 200_000) == b"y" * 200_000

    def test_large(self, url: str, version: int) -> None:
        assert len(curl(f"{url}/large", version=version)) == 10_000_000
        assert len(curl(f"{url}/chunks", version=version)) == 3_000_000

    def test_error_status(self, url: str, version: int) -> None:
        out = subprocess.run(["curl", "-sS", "-m", "5", "--http2-prior-knowledge" if version == 2 else "--http1.1", "-w", " %{http_code}", f"{url}/gone"], capture_output=True, check=True, env=own_environment())  # fmt: skip
        assert out.stdout == b"gone 410"


class TestCurlOverOneConnection:
    """HTTP/1 only: curl 7.88 can't use a connection with prior knowledge again, whoever the server."""

    def test_many_over_one_connection(self, url: str) -> None:
        words = [word for number in range(50) for word in (f"{url}/{number}", "-o", "/dev/null")]
        out = curl(*words, "-w", "%{num_connects} %{http_code}\n", version=1).decode().splitlines()
        assert out == ["1 200", *["0 200"] * 49]

    def test_in_parallel(self, url: str) -> None:
        words = [
            word
            for number in range(60)
            for word in (f"{url}/large?{number}" if number % 10 == 0 else f"{url}/{number}", "-o", "/dev/null")
        ]
        out = curl("-Z", "--parallel-max", "20", *words, "-w", "%{http_code}\n", version=1).decode().split()
        assert out == ["200"] * 60


# ---- httpx ----


@VERSIONS
class TestHttpx:
    def client(self, version: int) -> httpx.Client:
        return httpx.Client(http1=version == 1, http2=version == 2, timeout=20, trust_env=False)

    def test_methods_and_bodies(self, url: str, version: int) -> None:
        with self.client(version) as client:
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                body = b"b" * 1000 if method in ("POST", "PUT", "PATCH") else None
                got = client.request(method, f"{url}/x", content=body, headers={"X-A": "b"})
                assert got.http_version == ("HTTP/2" if version == 2 else "HTTP/1.1")
                assert (got.json()["method"], got.json()["size"]) == (method, len(body or b""))

    def test_streams(self, url: str, version: int) -> None:
        def pieces() -> Iterator[bytes]:
            for number in range(100):
                yield b"%04d" % number * 1000

        with self.client(version) as client:
            for target in ("/mirror", "/two/mirror"):
                got = client.post(f"{url}{target}", content=pieces())
                assert got.content == b"".join(pieces())
            with client.stream("GET", f"{url}/large") as stream:
                assert sum(len(piece) for piece in stream.iter_bytes()) == 10_000_000
            with client.stream("GET", f"{url}/events") as stream:
                assert [line for line in stream.iter_lines() if line] == [f"data: {number}" for number in range(5)]

    def test_given_up_half_way(self, url: str, version: int) -> None:
        with self.client(version) as client:
            # httpcore doesn't reset the stream nor give its bytes back: a second one uses up the connection's 16 MiB window.
            for _ in range(10 if version == 1 else 1):
                with client.stream("GET", f"{url}/large") as stream:
                    next(stream.iter_raw())
            assert client.get(f"{url}/after").status_code == 200

    def test_many_at_once(self, url: str, version: int) -> None:
        async def script() -> None:
            async with httpx.AsyncClient(http1=version == 1, http2=version == 2, timeout=20, trust_env=False) as client:
                got = await asyncio.gather(
                    *(client.post(f"{url}/{number}", content=b"%d" % number) for number in range(100))
                )
                assert [one.json()["body"] for one in got] == [str(number) for number in range(100)]

        asyncio.run(script())


# ---- Node ----


def node(script: str, *words: str) -> str:
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed (Debian: apt install nodejs)")
    done = subprocess.run(
        [program, "-e", script, *words], capture_output=True, text=True, timeout=40, check=False, env=own_environment()
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


HTTP1 = """
const http = require("http");
const base = process.argv[1];
const agent = new http.Agent({keepAlive: true, maxSockets: 4});
const ask = (path, options = {}, body) => new Promise((done, fail) => {
  const request = http.request(base + path, {agent, ...options}, response => {
    const parts = [];
    response.on("data", part => parts.push(part));
    response.on("end", () => done({status: response.statusCode, body: Buffer.concat(parts), trailers: response.trailers, complete: response.complete}));
  });
  request.on("error", fail);
  if (options.expect) { request.setHeader("Expect", "100-continue"); request.on("continue", () => request.end(body)); request.flushHeaders(); }
  else request.end(body);
});
(async () => {
  const answers = await Promise.all([...Array(100).keys()].map(n => ask("/" + n, {method: "POST"}, String(n))));
  answers.forEach((answer, n) => { if (JSON.parse(answer.body).body !== String(n)) throw new Error("mixed up " + n); });
  const large = await ask("/large");
  if (large.body.length !== 10000000 || !large.complete) throw new Error("large");
  const trailers = await ask("/trailers", {headers: {TE: "trailers", Connection: "TE, keep-alive"}});
  if (trailers.trailers["x-sum"] !== "42") throw new Error(JSON.stringify(trailers.trailers));
  const sent = Buffer.alloc(2000000, "n");
  const back = await ask("/mirror", {method: "PUT"}, sent);
  if (!back.body.equals(sent)) throw new Error("mirror");
  console.log("fine");
  agent.destroy();
})();
"""
HTTP2 = """
const http2 = require("http2");
const session = http2.connect(process.argv[1]);
session.on("error", error => { throw error; });
const ask = (path, fields = {}, body) => new Promise((done, fail) => {
  const stream = session.request({":path": path, ...fields}, {endStream: body === undefined});
  const parts = []; let head, trailers;
  stream.on("response", fields => head = fields);
  stream.on("trailers", fields => trailers = fields);
  stream.on("data", part => parts.push(part));
  stream.on("end", () => done({status: head[":status"], body: Buffer.concat(parts), trailers}));
  stream.on("error", fail);
  if (body !== undefined) stream.end(body);
});
(async () => {
  const answers = await Promise.all([...Array(100).keys()].map(n => ask("/" + n, {":method": "POST"}, String(n))));
  answers.forEach((answer, n) => { if (JSON.parse(answer.body).body !== String(n)) throw new Error("mixed up " + n); });
  const both = await Promise.all([ask("/large"), ask("/chunks"), ask("/x")]);
  if (both[0].body.length !== 10000000 || both[1].body.length !== 3000000) throw new Error("large");
  const trailers = await ask("/trailers");
  if (trailers.trailers["x-sum"] !== "42") throw new Error(JSON.stringify(trailers.trailers));
  for (const path of ["/mirror", "/two/mirror"]) {
    const sent = Buffer.alloc(2000000, "n");
    const back = await ask(path, {":method": "PUT"}, sent);
    if (!back.body.equals(sent)) throw new Error("mirror " + path);
  }
  const cancelled = session.request({":path": "/large"});
  await new Promise(done => { cancelled.once("data", () => { cancelled.close(http2.constants.NGHTTP2_CANCEL); done(); }); cancelled.on("error", () => {}); });
  await new Promise((done, fail) => session.ping((error, ms) => error ? fail(error) : done(ms)));
  if ((await ask("/after")).status !== 200) throw new Error("after");
  console.log("fine");
  session.close();
})();
"""


class TestNode:
    def test_http(self, url: str) -> None:
        assert node(HTTP1, url) == "fine"

    def test_http2(self, url: str) -> None:
        assert node(HTTP2, url) == "fine"
