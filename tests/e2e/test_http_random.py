"""Random clients and servers for a while: whatever breaks, no reply is another's, no short body looks whole, nothing leaks."""

from __future__ import annotations

import hashlib
import random
import threading

import pytest

from mosnpy.testing.http2_server import Stream2
from mosnpy.testing.http2_wire import Ended, Http2Wire
from mosnpy.testing.http_message import CutShort, chunk, chunked, response, response_head
from mosnpy.testing.http_server import HttpPeer, Request
from mosnpy.testing.http_stage import HttpStage, http_config
from mosnpy.testing.http_wire import HttpWire

SIZES = (0, 1, 100, 5_000, 16_384, 70_000, 300_000)


def body_of(name: str, size: int) -> bytes:
    """Of a request called `name`: its own bytes, so that a mix-up shows."""
    seed = hashlib.sha256(name.encode()).digest()
    return (seed * (size // len(seed) + 1))[:size]


def what(target: str) -> tuple[str, int]:
    """/name/size -> both."""
    _, name, size = target.split("/")
    return name, int(size)


def server1(rng: random.Random, faults: bool):  # type: ignore[no-untyped-def]
    async def script(peer: HttpPeer, request: Request) -> None:
        fate = rng.random() if faults else 1.0
        if fate < 0.03:
            peer.reset()
            return
        if fate > 0.05:
            await request.read_body()
        name, size = what(request.target)
        body = body_of(name, size)
        if fate < 0.06:
            await peer.send(response_head(200, [("Content-Length", str(size + 1)), ("X-Name", name)]) + body)
            peer.close()
        elif rng.random() < 0.5:
            pieces = [body[at : at + 9_000] for at in range(0, size, 9_000)]
            if fate < 0.09:
                await peer.send(
                    response_head(200, [("Transfer-Encoding", "chunked"), ("X-Name", name)])
                    + b"".join(map(chunk, pieces))
                )
                peer.reset()
            else:
                await peer.send(
                    response_head(200, [("Transfer-Encoding", "chunked"), ("X-Name", name)]) + chunked(*pieces)
                )
        else:
            await peer.send(response(200, body, ("X-Name", name)))
        if fate < 0.2:
            peer.close()

    return script


def server2(rng: random.Random, faults: bool):  # type: ignore[no-untyped-def]
    async def script(stream: Stream2) -> None:
        fate = rng.random() if faults else 1.0
        if fate < 0.03:
            await stream.reset(rng.choice([2, 7, 8]))
            return
        if fate > 0.05:
            await stream.wait(lambda: stream.message.ended)
        name, size = what(stream.path)
        body = body_of(name, size)
        await stream.head(200, [("x-name", name)], end=not body)
        if fate < 0.07 and size > 1:
            await stream.data(body[: size // 2])
            await stream.reset(2)
        elif body:
            await stream.data(body, end=True)
        if fate < 0.1:
            stream.peer.goaway()
        if fate < 0.08:
            stream.peer.reset()

    return script


class Clients:
    def __init__(self, http: HttpStage, seed: int, faults: bool) -> None:
        self.http, self.seed, self.faults = http, seed, faults
        self.wrong: list[str] = []
        self.good = 0

    def judge(self, name: str, size: int, status: int, owner: str, body: bytes) -> None:
        if status != 200:
            if not (self.faults and status in (502, 503)):
                self.wrong.append(f"{name}: {status} {body[:80]!r}")
        elif owner != name or body != body_of(name, size):
            self.wrong.append(f"{name}/{size}: got {owner}'s, {len(body)} bytes")
        else:
            self.good += 1

    def run(self, number: int) -> None:
        rng = random.Random(f"{self.seed}/{number}")
        try:
            for turn in range(12):
                (self.one if rng.random() < 0.5 else self.two)(rng, f"{number}x{turn}")
        except Exception as error:
            self.wrong.append(repr(error))

    def one(self, rng: random.Random, prefix: str) -> None:
        wire = HttpWire(self.http.address, timeout=20, receive_buffer=rng.choice([0, 0, 8192]))
        try:
            for step in range(rng.randrange(1, 8)):
                batch = []
                for index in range(rng.choice([1, 1, 1, 5])):
                    name, size = f"{prefix}.{step}.{index}", rng.choice(SIZES)
                    sent = body_of(name, rng.choice(SIZES[:5]))
                    kind = rng.choice(["GET", "sized", "chunked"])
                    if kind == "GET":
                        wire.request("GET", f"/{name}/{size}")
                    elif kind == "sized":
                        wire.request("POST", f"/{name}/{size}", body=sent)
                    else:
                        wire.request("POST", f"/{name}/{size}", pieces=[sent[:100], sent[100:]])
                    batch.append((name, size))
                if rng.random() < 0.1:
                    wire.reset()
                    return
                for name, size in batch:
                    got = wire.response()
                    self.judge(name, size, got.status, got.get("x-name"), got.body)
                    if got.closes:
                        return
        except (CutShort, BrokenPipeError, ConnectionResetError):
            if not self.faults:
                self.wrong.append(f"{prefix}: connection ended")
        finally:
            wire.close()

    def two(self, rng: random.Random, prefix: str) -> None:
        wire = Http2Wire(self.http.address, timeout=20)
        try:
            open_streams = {}
            for index in range(rng.randrange(1, 20)):
                name, size = f"{prefix}.{index}", rng.choice(SIZES)
                post = rng.random() < 0.5
                stream = wire.begin("POST" if post else "GET", f"/{name}/{size}", end=not post)
                if post:
                    wire.data(stream, body_of(name, rng.choice(SIZES[:5])), end=True)
                if rng.random() < 0.15:
                    wire.reset_stream(stream)
                else:
                    open_streams[stream] = (name, size)
            for stream, (name, size) in open_streams.items():
                got = wire.wait(stream)
                if got.reset is not None and not got.ended:
                    if not self.faults:
                        self.wrong.append(f"{name}: reset {got.reset}")
                else:
                    self.judge(name, size, got.status, got.get("x-name"), bytes(got.body))
        except (Ended, BrokenPipeError, ConnectionResetError):
            self.wrong.append(f"{prefix}: an HTTP/2 connection ended: {wire.link.goaway}")
        finally:
            wire.close()


def run(http: HttpStage, seed: int, faults: bool, scarce: bool) -> None:
    rng = random.Random(seed)
    servers = {
        "one": [http.server(server1(rng, faults)) for _ in range(2)],
        "two": [http.server2(server2(rng, faults)) for _ in range(2)],
    }
    config = http_config(servers, routes=[{"split": {"one": 50, "two": 50}, "timeout": "15s"}])
    if scarce:
        config["upstreams"]["one"] |= {"pipeline": 2, "pool": {"max_connections": 3}}
        config["upstreams"]["two"] |= {"pool": {"max_connections": 1}}
    http.start_config(config)
    clients = Clients(http, seed, faults)
    threads = [threading.Thread(target=clients.run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clients.wrong == []
    assert clients.good > 300


@pytest.mark.parametrize("faults", [False, True], ids=["calm", "faults"])
@pytest.mark.parametrize("seed", [1, 2])
def test_random(http: HttpStage, seed: int, faults: bool) -> None:
    run(http, seed, faults, False)


@pytest.mark.parametrize("faults", [False, True], ids=["calm", "faults"])
def test_few_connections(http: HttpStage, faults: bool) -> None:
    """Requests are pipelined, stand in line, go elsewhere."""
    run(http, 3, faults, True)
