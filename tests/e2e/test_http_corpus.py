"""The smuggling corpus (tests/data/http/smuggling.txt) through the whole proxy: each case in one write, and in pieces.

What the parser says is tested beside it, in C; here it is about what a client sees and what reaches the upstream.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mosnpy.testing.http_message import CutShort
from mosnpy.testing.http_server import HttpServer
from mosnpy.testing.http_stage import HttpStage
from mosnpy.testing.http_wire import HttpWire

FILE = Path(__file__).parents[1] / "data" / "http" / "smuggling.txt"
ESCAPES = {b"\\r": b"\r", b"\\n": b"\n", b"\\t": b"\t", b"\\\\": b"\\"}


def unescape(text: bytes) -> bytes:
    return re.sub(
        rb"\\x[0-9a-fA-F]{2}|\\.", lambda found: ESCAPES.get(found[0]) or bytes([int(found[0][2:], 16)]), text
    )


def read() -> dict[str, tuple[list[int], bytes]]:
    cases = {}
    for line in FILE.read_bytes().splitlines():
        if line.startswith(b"#") or not line.strip():
            continue
        name, statuses, raw = line.split(b" | ", 2)
        cases[name.decode()] = ([int(each) for each in statuses.split(b",")], unescape(raw))
    return cases


CASES = read()


@pytest.fixture
def stage(shared_http: HttpStage) -> HttpStage:
    if shared_http.proxy is None:
        options = {"head_timeout": "300ms", "body_timeout": "300ms"}
        shared_http.start(shared_http.server(), protocol="http1", http=options)
    shared_http.servers[0].requests.clear()
    return shared_http


def outcome(wire: HttpWire, raw: bytes, expected: list[int]) -> list[int]:
    """The statuses that come back, as many as are due."""
    got: list[int] = []
    for _ in expected:
        try:
            got.append(wire.response("HEAD" if not got and raw.startswith(b"HEAD ") else "GET").status)
        except CutShort:
            break
    return got


def complete(stage: HttpStage) -> int:
    server = stage.servers[0]
    assert isinstance(server, HttpServer)
    return sum(request.complete for request in server.requests)


@pytest.mark.parametrize("name", CASES)
def test_in_one_write(stage: HttpStage, name: str) -> None:
    expected, raw = CASES[name]
    wire = stage.wire()
    wire.send_raw(raw)
    assert outcome(wire, raw, expected) == expected
    if expected[-1] >= 400:
        assert wire.closed()
    assert complete(stage) == expected.count(200)


@pytest.mark.parametrize("name", CASES)
def test_in_pieces(stage: HttpStage, name: str) -> None:
    """Each byte its own segment as far as TCP_NODELAY gets; the same end."""
    expected, raw = CASES[name]
    if len(raw) > 3000:
        return
    wire = stage.wire()
    try:
        for at in range(0, len(raw), 7):
            wire.send_raw(raw[at : at + 7])
    except OSError:
        pass  # refused before all of it was sent
    assert outcome(wire, raw, expected) == expected
    assert complete(stage) == expected.count(200)
