"""What two parsers might read differently is refused: 4xx or 501, the connection ends, and the upstream hears nothing of it.

Beside the table, a differential: whatever nginx or HAProxy refuse of some hundred mutations, mosnpy refuses too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mosnpy.testing.http_message import CutShort, HttpError
from mosnpy.testing.http_peers import Haproxy, Nginx, PeerProcess, find_program
from mosnpy.testing.http_server import HttpServer
from mosnpy.testing.http_stage import HttpStage
from mosnpy.testing.http_wire import HttpWire
from mosnpy.testing.resp import Address

GET, POST = b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n"
HOST = b"Host: a.test\r\n"
CL, TE = b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"
END = b"\r\n"
CHUNKS = b"0\r\n\r\n"

# name -> request, as bytes; each must be refused.
REFUSED: dict[str, bytes] = {
    # RFC 9112 §6.3: both framings, repeated or unreadable lengths
    "CL and TE": POST + HOST + CL + TE + END + CHUNKS,
    "TE and CL": POST + HOST + TE + CL + END + CHUNKS,
    "CL.0 and TE": POST + HOST + b"Content-Length: 0\r\n" + TE + END + CHUNKS,
    "two different CL": POST + HOST + CL + b"Content-Length: 6\r\n" + END + b"hello!",
    "two equal CL": POST + HOST + CL + CL + END + b"hello",
    "CL list, different": POST + HOST + b"Content-Length: 5, 6\r\n" + END + b"hello",
    "CL list, equal": POST + HOST + b"Content-Length: 5, 5\r\n" + END + b"hello",
    "CL empty": POST + HOST + b"Content-Length: \r\n" + END,
    "CL plus": POST + HOST + b"Content-Length: +5\r\n" + END + b"hello",
    "CL minus": POST + HOST + b"Content-Length: -5\r\n" + END + b"hello",
    "CL minus zero": POST + HOST + b"Content-Length: -0\r\n" + END,
    "CL hex": POST + HOST + b"Content-Length: 0x5\r\n" + END + b"hello",
    "CL float": POST + HOST + b"Content-Length: 5.0\r\n" + END + b"hello",
    "CL exponent": POST + HOST + b"Content-Length: 5e0\r\n" + END + b"hello",
    "CL inner space": POST + HOST + b"Content-Length: 1 0\r\n" + END + b"0123456789",
    "CL trailing junk": POST + HOST + b"Content-Length: 5;\r\n" + END + b"hello",
    "CL quoted": POST + HOST + b'Content-Length: "5"\r\n' + END + b"hello",
    "CL over 64 bits": POST + HOST + b"Content-Length: 18446744073709551621\r\n" + END + b"hello",
    "CL 2^63": POST + HOST + b"Content-Length: 9223372036854775808\r\n" + END + b"hello",
    "CL with NUL": POST + HOST + b"Content-Length: 5\0\r\n" + END + b"hello",
    "CL other digits": POST + HOST + "Content-Length: ٥\r\n".encode() + END + b"hello",
    # §6.1: chunked must be the last coding, once; others are not understood
    "TE twice": POST + HOST + TE + TE + END + CHUNKS,
    "TE chunked, chunked": POST + HOST + b"Transfer-Encoding: chunked, chunked\r\n" + END + CHUNKS,
    "TE chunked, identity": POST + HOST + b"Transfer-Encoding: chunked, identity\r\n" + END + CHUNKS,
    "TE identity": POST + HOST + b"Transfer-Encoding: identity\r\n" + END + CHUNKS,
    "TE identity and CL": POST + HOST + b"Transfer-Encoding: identity\r\n" + CL + END + b"hello",
    "TE gzip": POST + HOST + b"Transfer-Encoding: gzip\r\n" + END + CHUNKS,
    "TE gzip, chunked": POST + HOST + b"Transfer-Encoding: gzip, chunked\r\n" + END + CHUNKS,
    "TE xchunked": POST + HOST + b"Transfer-Encoding: xchunked\r\n" + END + CHUNKS,
    "TE chunkedx": POST + HOST + b"Transfer-Encoding: chunkedx\r\n" + END + CHUNKS,
    "TE quoted": POST + HOST + b'Transfer-Encoding: "chunked"\r\n' + END + CHUNKS,
    "TE parameter": POST + HOST + b"Transfer-Encoding: chunked;q=1\r\n" + END + CHUNKS,
    "TE empty": POST + HOST + b"Transfer-Encoding:\r\n" + END + CHUNKS,
    "TE empty and CL": POST + HOST + b"Transfer-Encoding:\r\n" + CL + END + b"hello",
    "TE vertical tab": POST + HOST + b"Transfer-Encoding: \x0bchunked\r\n" + END + CHUNKS,
    "TE form feed": POST + HOST + b"Transfer-Encoding:\x0cchunked\r\n" + END + CHUNKS,
    "TE NUL": POST + HOST + b"Transfer-Encoding: chunked\0\r\n" + END + CHUNKS,
    "TE no-break space": POST + HOST + b"Transfer-Encoding: \xa0chunked\r\n" + END + CHUNKS,
    "TE bare CR": POST + HOST + b"Transfer-Encoding: chunked\r \r\n" + END + CHUNKS,
    "TE folded": POST + HOST + b"Transfer-Encoding:\r\n chunked\r\n" + END + CHUNKS,
    "TE in HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + TE + END + CHUNKS,
    # §5.1, §5.2: names, folding
    "space before colon": POST + HOST + b"Content-Length : 5\r\n" + END + b"hello",
    "tab before colon": POST + HOST + b"Transfer-Encoding\t: chunked\r\n" + END + CHUNKS,
    "space before name": POST + b" " + HOST + CL + END + b"hello",
    "tab before name": POST + HOST + b"\tContent-Length: 5\r\n" + END + b"hello",
    "first line folded": POST + b" X: y\r\n" + HOST + END,
    "folded value": GET + HOST + b"X-A: b\r\n c\r\n" + END,
    "folded with tab": GET + HOST + b"X-A: b\r\n\tc\r\n" + END,
    "empty name": GET + HOST + b": b\r\n" + END,
    "no colon": GET + HOST + b"X-A b\r\n" + END,
    "name with space": GET + HOST + b"X A: b\r\n" + END,
    "name with NUL": GET + HOST + b"X\0A: b\r\n" + END,
    "name with CR": GET + HOST + b"X\rA: b\r\n" + END,
    "name above ASCII": GET + HOST + b"X\xc3\xa4: b\r\n" + END,
    "name in quotes": GET + HOST + b'"X-A": b\r\n' + END,
    "name with slash": GET + HOST + b"X/A: b\r\n" + END,
    "value with NUL": GET + HOST + b"X-A: b\0c\r\n" + END,
    "value with bell": GET + HOST + b"X-A: b\x07c\r\n" + END,
    "value with DEL": GET + HOST + b"X-A: b\x7fc\r\n" + END,
    # §2.2: lines end with CRLF
    "bare CR in value": GET + HOST + b"X-A: b\rContent-Length: 5\r\n" + END,
    "bare LF in value": GET + HOST + b"X-A: b\nContent-Length: 5\r\n" + END + b"hello",
    "bare LF ends line": GET + b"Host: a.test\n" + END,
    "bare LF everywhere": b"GET / HTTP/1.1\nHost: a.test\n\n",
    "bare LF ends head": GET + HOST + b"\n",
    "CR CR LF": GET + b"Host: a.test\r\r\n" + END,
    "CR only": b"GET / HTTP/1.1\rHost: a.test\r\r",
    "LF CR": b"GET / HTTP/1.1\n\rHost: a.test\n\r\n\r",
    # §3: request line
    "two spaces": b"GET  / HTTP/1.1\r\n" + HOST + END,
    "tab for space": b"GET\t/ HTTP/1.1\r\n" + HOST + END,
    "leading space": b" GET / HTTP/1.1\r\n" + HOST + END,
    "trailing space": b"GET / HTTP/1.1 \r\n" + HOST + END,
    "space in target": b"GET /a b HTTP/1.1\r\n" + HOST + END,
    "no version": b"GET /\r\n" + HOST + END,
    "no target": b"GET HTTP/1.1\r\n" + HOST + END,
    "target with NUL": b"GET /a\0b HTTP/1.1\r\n" + HOST + END,
    "target with CR": b"GET /a\rb HTTP/1.1\r\n" + HOST + END,
    "target with DEL": b"GET /a\x7f HTTP/1.1\r\n" + HOST + END,
    "fragment": b"GET /a#b HTTP/1.1\r\n" + HOST + END,
    "method with colon": b"GET: / HTTP/1.1\r\n" + HOST + END,
    "method with brackets": b"G(T / HTTP/1.1\r\n" + HOST + END,
    "method with NUL": b"GE\0T / HTTP/1.1\r\n" + HOST + END,
    "method empty": b" / HTTP/1.1\r\n" + HOST + END,
    "version lower case": b"GET / http/1.1\r\n" + HOST + END,
    "version with junk": b"GET / HTTP/1.1x\r\n" + HOST + END,
    "version 1.10": b"GET / HTTP/1.10\r\n" + HOST + END,
    "response as request": b"HTTP/1.1 200 OK\r\n" + HOST + END,
    # §3.2: Host
    "no Host": GET + END,
    "two Hosts": GET + HOST + b"Host: b.test\r\n" + END,
    "two equal Hosts": GET + HOST + HOST + END,
    "Host with space": GET + b"Host: a .test\r\n" + END,
    "Host list": GET + b"Host: a.test, b.test\r\n" + END,
    "Host with user": GET + b"Host: u@a.test\r\n" + END,
    "Host with path": GET + b"Host: a.test/x\r\n" + END,
}

CHUNKED = POST + HOST + TE + END
# Bodies that break §7.1 behind a good head; the head is already on its way, so the upstream sees an aborted request at most.
BAD_CHUNKS: dict[str, bytes] = {
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "no hex": b"g\r\nhello\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "leading space": b" 5\r\nhello\r\n0\r\n\r\n",
    "space in size": b"0 5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "over 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "all f": b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "very long": b"0" * 5000 + b"5\r\nhello\r\n0\r\n\r\n",
    "LF behind size": b"5\nhello\r\n0\r\n\r\n",
    "CR behind size": b"5\rhello\r\n0\r\n\r\n",
    "LF behind data": b"5\r\nhello\n0\r\n\r\n",
    "no CRLF behind data": b"5\r\nhello0\r\n\r\n",
    "short data": b"6\r\nhello\r\n0\r\n\r\n",
    "long data": b"4\r\nhello\r\n0\r\n\r\n",
    "LF in extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "CR in extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "NUL in extension": b"5;a\0\r\nhello\r\n0\r\n\r\n",
    "junk behind size": b"5 x\r\nhello\r\n0\r\n\r\n",
    "bad last chunk": b"5\r\nhello\r\n0x\r\n\r\n",
    "LF ends trailers": b"5\r\nhello\r\n0\r\n\n",
    "folded trailer": b"5\r\nhello\r\n0\r\nX-A: b\r\n c\r\n\r\n",
    "trailer with space before colon": b"5\r\nhello\r\n0\r\nX-A : b\r\n\r\n",
    "trailer without colon": b"5\r\nhello\r\n0\r\nGET / HTTP/1.1\r\n\r\n",
    "NUL in trailer": b"5\r\nhello\r\n0\r\nX-A: \0\r\n\r\n",
}
BEHIND = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"


@pytest.fixture
def stage(shared_http: HttpStage) -> HttpStage:
    if shared_http.proxy is None:
        shared_http.start(
            shared_http.server(), protocol="http1", http={"head_timeout": "300ms", "body_timeout": "300ms"}
        )
    server = shared_http.servers[0]
    assert isinstance(server, HttpServer)
    server.requests.clear()
    return shared_http


def targets(stage: HttpStage) -> list[str]:
    server = stage.servers[0]
    assert isinstance(server, HttpServer)
    return [request.target for request in server.requests if request.complete]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(stage: HttpStage, name: str) -> None:
    wire = stage.wire()
    wire.send_raw(REFUSED[name] + BEHIND)
    answered = wire.response()
    assert answered.status in (400, 501, 505), answered.raw
    assert answered.closes
    assert wire.closed()
    assert targets(stage) == []


@pytest.mark.parametrize("name", REFUSED)
def test_refused_byte_by_byte(stage: HttpStage, name: str) -> None:
    """The same bytes in two halves, cut at every tenth place: no other road through the parser is laxer."""
    request = REFUSED[name]
    for at in range(1, len(request), 10):
        wire = stage.wire()
        wire.send_raw(request[:at])
        try:
            wire.send_raw(request[at:] + BEHIND)
        except OSError:
            pass  # refused before the second half came
        assert wire.response().status in (400, 501, 505)
        wire.close()
    assert targets(stage) == []


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_bad_chunks(stage: HttpStage, name: str) -> None:
    wire = stage.wire()
    wire.send_raw(CHUNKED + BAD_CHUNKS[name] + BEHIND)
    answered = wire.response()
    assert answered.status == 400, answered.raw
    assert wire.closed()
    assert targets(stage) == []


# ---- beside other proxies ----


@pytest.fixture(scope="module")
def others(short_tmp: Path) -> Iterator[list[PeerProcess]]:
    for program in ("nginx", "haproxy"):
        if find_program(program) is None:
            pytest.skip(f"{program} is not installed (Debian: apt install {program})")
    with HttpServer() as server:
        nginx = Nginx(
            short_tmp / "strict-nginx",
            f"location / {{ proxy_pass http://{server.endpoint}; proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_ignore_client_abort on; }}",
        )
        with nginx, Haproxy(short_tmp / "strict-haproxy", server.endpoint) as haproxy:
            yield [nginx, haproxy]
        server.errors.clear()  # they let things pass that this server can't read


def refused(address: Address, request: bytes) -> bool:
    """4xx or 5xx, or the end without an answer; half-closed behind it, so that nobody waits for more."""
    with HttpWire(address, timeout=5) as wire:
        wire.send_raw(request)
        wire.half_close()
        try:
            return wire.response().status >= 400
        except (CutShort, HttpError, OSError):
            return True


def mutations() -> Iterator[bytes]:
    """A good request with one odd byte at each interesting place, and odd spellings of what frames."""
    base = b"POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello"
    ends = base.index(b"\r\n\r\n") + 4
    for odd in (b"\0", b"\r", b"\n", b"\x0b", b"\x7f", b" ", b"\t", b":"):
        for at in range(0, ends, 3):
            yield base[:at] + odd + base[at:]
    for value in (
        b"5",
        b"05",
        b"5 ",
        b" 5",
        b"5,5",
        b"5,",
        b"+5",
        b"-5",
        b"0x5",
        b"5a",
        b"",
        b"5\t",
        b"1e1",
        b"5 5",
        b"99999999999999999999",
    ):
        yield POST + HOST + b"Content-Length:" + value + b"\r\n\r\nhello"
    for value in (b"chunked", b"Chunked", b" chunked ", b"chunked,", b",chunked", b"chunked, chunked", b"identity", b"gzip, chunked", b"chunked, gzip",
                  b"x", b"chunke", b"chunked\x0b", b"\x0bchunked", b'"chunked"', b"chunked;a", b"chunked\0", b""):  # fmt: skip
        yield POST + HOST + b"Transfer-Encoding:" + value + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        yield POST + HOST + CL + b"Transfer-Encoding:" + value + b"\r\n\r\n0\r\n\r\n"


# What others refuse for reasons of their own, and why it can't smuggle anything.
HARMLESS = [
    b"Transfer-Encoding:Chunked",  # names of codings are case-insensitive (RFC 9112 §7)
    b"Content-Length:05",  # leading zeros are digits (RFC 9110 §8.6)
    *(
        b"Host: \ta",
        b"a.test\t\r",
        b"Length: \t5",
        b"Length:5\t\r",
    ),  # a tab is white space around a value (RFC 9110 §5.6.3)
]


def test_whatever_others_refuse(stage: HttpStage, others: list[PeerProcess]) -> None:
    stage.servers[0].requests.clear()
    laxer = []
    for request in [*mutations(), *REFUSED.values()]:
        if any(word in request for word in HARMLESS):
            continue
        if any(refused(peer.address, request) for peer in others) and not refused(stage.address, request):
            laxer.append(request)
    assert laxer == [], "\n".join(map(repr, laxer))


def test_the_others_agree_on_what_is_good(stage: HttpStage, others: list[PeerProcess]) -> None:
    """The comparison means something: ordinary requests pass all three."""
    for request in (
        GET + HOST + END,
        POST + HOST + CL + END + b"hello",
        CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
        POST + HOST + b"Content-Length:   5 \r\n\r\nhello",
    ):
        assert not refused(stage.address, request), request
        for peer in others:
            assert not refused(peer.address, request), (peer.program, request)
