"""Our parser beside h11 and httptools (llhttp): what they refuse we refuse; what we accept they read the same.

Thousands of messages that are nearly right: good ones with a byte, a line or a field changed. The generator's seed is fixed.
Where we accept what one of them refuses there is an exception with its reason in `OURS`.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h11
import httptools
import pytest

ROOT = Path(__file__).parents[3]
FLAGS = "-std=gnu11 -O1 -g -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all".split()
SOURCES = [
    "csrc/tests/http1_pipe.c",
    *(f"csrc/codecs/{p}.c" for p in "http http1_parse http1_fields http1_chunked".split()),
]


@dataclass
class Message:
    """One message as a parser read it."""

    start: bytes  # method, or status
    target: bytes
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    complete: bool = False


class Refused(Exception):
    """A parser's error."""


# ---- ours ----


def unescape(text: str) -> bytes:
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), text.encode("latin-1"))


def pairs(parts: list[str]) -> list[tuple[bytes, bytes]]:
    split = (part.removeprefix("@").partition(": ") for part in parts)
    return [(unescape(name).lower(), unescape(value)) for name, _, value in split]


def message_of(line: str, *, complete: bool) -> Message:
    """One line of csrc/tests/http1_run.h."""
    head, *parts = line.removesuffix(" ;").split(" ; ") if " ;" in line else [line]
    if match := re.fullmatch(r"(\S+) (\S*) host=(\S*) \d\.\d (?:(\w+://) )?\S+.*", head):
        method, path, host, scheme = match.groups()
        target = host if method == "CONNECT" else f"{scheme}{host}{path}" if scheme else path
        message = Message(unescape(method), unescape(target), complete=complete)
    else:
        message = Message(head[:3].encode(), b"", complete=complete)
    end = next((i for i, part in enumerate(parts) if part.startswith("=")), len(parts))
    trailers = parts[end + 2 :] if len(parts) > end + 1 else []
    message.fields, message.trailers = pairs(parts[:end]), pairs(trailers)
    message.body = unescape(parts[end][1:]) if end < len(parts) else b""
    return message


class Ours:
    """A running http1_pipe."""

    def __init__(self, binary: Path) -> None:
        self._process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, kind: bytes, data: bytes) -> Message:
        """The first message; Refused when it, its body or its trailers are."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(kind + struct.pack("<I", len(data)) + data)
        self._process.stdin.flush()
        size = self._process.stdout.read(4)
        assert len(size) == 4, f"http1_pipe ended at {data!r}"
        text = self._process.stdout.read(*struct.unpack("<I", size)).decode()
        first, newline, _ = text.partition("\n")
        if not newline and "! " in first[-6:]:
            raise Refused(first[-3:])
        return message_of(first.removesuffix("..."), complete=bool(newline))

    def close(self) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        return self._process.wait(timeout=20)


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc)")
    binary = tmp_path_factory.mktemp("http1") / "http1_pipe"
    subprocess.run([compiler, *FLAGS, "-Icsrc", *SOURCES, "-o", binary], cwd=ROOT, check=True)
    running = Ours(binary)
    yield running
    assert running.close() == 0, "http1_pipe: a finding of a sanitizer"


# ---- theirs ----


def read_h11(kind: bytes, data: bytes) -> Message | None:
    """None: not even a head."""
    server = kind == b"Q"
    peer = h11.Connection(h11.SERVER if server else h11.CLIENT, max_incomplete_event_size=1 << 20)
    message = None
    try:
        if not server:
            peer.send(h11.Request(method={b"G": "GET", b"H": "HEAD"}[kind], target="/", headers=[("Host", "a")]))
            peer.send(h11.EndOfMessage())
        peer.receive_data(data)
        if not server:
            peer.receive_data(b"")
        while True:
            event = peer.next_event()
            if isinstance(event, h11.Request):
                message = Message(event.method, event.target, list(event.headers))
            elif isinstance(event, h11.InformationalResponse | h11.Response):
                message = Message(str(event.status_code).encode(), b"", list(event.headers))
                if isinstance(event, h11.InformationalResponse):
                    message.complete = True
                    return message
            elif isinstance(event, h11.Data) and message:
                message.body += event.data
            elif isinstance(event, h11.EndOfMessage) and message:
                message.complete, message.trailers = True, list(event.headers)
                return message
            else:
                return message
    except h11.RemoteProtocolError as e:
        if not server and "closed connection" in str(e) and message:
            return message  # a response that is cut
        raise Refused(str(e)) from None


class Callbacks:
    """What httptools tells, up to the end of the first message."""

    def __init__(self) -> None:
        self.message, self.head = Message(b"", b""), False
        self.start: Callable[[], bytes] = bytes

    def on_url(self, url: bytes) -> None:
        if not self.message.complete:
            self.message.target += url

    def on_header(self, name: bytes, value: bytes | None) -> None:
        if not self.message.complete:
            into = self.message.trailers if self.head else self.message.fields
            into.append((name.lower(), (value or b"").strip(b" \t")))

    def on_headers_complete(self) -> None:
        if not self.message.complete:
            self.head, self.message.start = True, self.start()

    def on_body(self, body: bytes) -> None:
        if not self.message.complete:
            self.message.body += body

    def on_message_complete(self) -> None:
        self.message.complete = True


def read_httptools(kind: bytes, data: bytes) -> Message | None:
    told = Callbacks()
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser
    if kind == b"Q":
        parser = request = httptools.HttpRequestParser(told)
        told.start = request.get_method
    else:
        parser = response = httptools.HttpResponseParser(told)
        told.start = lambda: str(response.get_status_code()).encode()
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        told.message.complete = True
    except httptools.HttpParserError as e:
        if not told.message.complete:
            raise Refused(str(e)) from None
    return told.message if told.head else None


# What we accept and another refuses, with the reason: a text of its error, or a pattern in the message.
OURS: dict[str, list[tuple[str, bytes]]] = {
    "h11": [
        # bytes above ASCII in a target: sent by some clients, forwarded as they came
        ("illegal request line", rb"^(?:\r\n)*[!-~]+ [!-~]*[\x80-\xff]"),
        # an empty line before a request (RFC 9112 §2.2: should be ignored)
        ("no request line received", rb"^\r\n"),
    ],
    "httptools": [
        # a list of methods; others are tokens all the same
        ("Invalid method", rb""),
        ("Expected space after method", rb""),
        ("Invalid char in url", rb"^(?:\r\n)*[!-~]+ [!-~]*[\x80-\xff]"),
        # extensions of chunks are skipped and never forwarded, whatever their grammar
        ("Invalid character in chunk extensions", rb""),
        # framing fields behind the last chunk say nothing, and are dropped (RFC 9110 §6.5.1)
        ("`Transfer-Encoding`", rb"(?is)\r\n0\r\n.*transfer-encoding:"),
        ("Content-Length", rb"(?is)\r\n0\r\n.*content-length:"),
        # HTTP/1.2 to 1.9 are 1.1 to who knows only that (RFC 9110 §2.5)
        ("Invalid HTTP version", rb"HTTP/1\.[2-9][ \r]"),
    ],
}


def known(peer: str, error: str, data: bytes) -> bool:
    return any(text in error and re.search(pattern, data) for text, pattern in OURS[peer])


# ---- messages that are nearly right ----

REQUESTS = [
    b"GET /a/b?c=d HTTP/1.1\r\nHost: a.test:80\r\nUser-Agent: x y (z; 1)\r\nAccept: */*\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX-A: 1\r\n\r\nhello",
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-T: 1\r\n\r\n",
    b"PUT / HTTP/1.0\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close, X-B\r\nX-B: 2\r\n\r\n",
    b"GET http://b.test/c HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=d\r\n\r\n",
    b"DELETE /x HTTP/1.1\r\nHost:a\r\nX-Empty:\r\nX-Space: \t \r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\nContent-Type: text/plain\r\n\r\nnothing",
    b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "x"\r\n\r\n',
    b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
    b"HTTP/1.1 500\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
]
FIELDS = [
    *(b"Content-Length: " + v for v in (b"5", b"0", b"6", b"5, 5", b"+5", b"-1", b"0x5", b"05", b"5 5", b"", b"1e1")),
    *(b"Content-Length: " + v for v in (b"18446744073709551616", b"18446744073709551621", b"99999999999999999999")),
    *(
        b"Transfer-Encoding: " + v
        for v in (b"chunked", b"Chunked", b"gzip", b"gzip, chunked", b"chunked, chunked", b"")
    ),
    *(
        b"Transfer-Encoding: " + v
        for v in (b"chunked, gzip", b"\x0bchunked", b"xchunked", b"identity", b'"chunked"', b",")
    ),
    *(b"Host: " + v for v in (b"a", b"b", b"", b"a b", b"[::1]:80", b"a/b", b"a@b")),
    *(b"Connection: " + v for v in (b"close", b"keep-alive", b"x-a, x-b", b"content-length", b",,")),
    *b"X-A: b|X: |X:|X : b|: b| X: b|X Y: b|X|Transfer-Encoding : chunked|Expect: 100-continue|TE: trailers".split(
        b"|"
    ),
    *b"X\x00: b|X: a\x00b|X: a\rb|X: a\nb|X: \x80\xff|X: a\x7f|X\xc3\xa9: b|Content-Length\t: 5".split(b"|"),
]
BYTES = [
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b"\x00",
    b"\x0b",
    b"\x0c",
    b"\x1f",
    b"\x7f",
    b"\x80",
    b"\xff",
    b":",
    b";",
    b",",
]
BYTES += [
    b"0",
    b"1",
    b"9",
    b"a",
    b"F",
    b"x",
    b"/",
    b"?",
    b"#",
    b"*",
    b"@",
    b"%",
    b'"',
    b"-",
    b"_",
    b"+",
    b"\r\n ",
    b"\r\n\t",
]


def change(dice: random.Random, data: bytes) -> bytes:
    """One mutation."""
    at = dice.randrange(len(data) + 1)
    lines = data.split(b"\r\n")
    line = dice.randrange(len(lines))
    kind = dice.randrange(8)
    if kind == 0:
        return data[:at] + dice.choice(BYTES) + data[at:]
    if kind == 1:
        return data[:at] + dice.choice(BYTES) + data[at + 1 :]
    if kind == 2:
        return data[:at] + data[at + dice.randrange(1, 4) :]
    if kind == 3:
        lines.insert(line, lines[dice.randrange(len(lines))])
    elif kind == 4:
        del lines[line]
    elif kind == 5:
        lines[line] = lines[line].swapcase()
    else:  # a field, where fields stand
        lines.insert(dice.randrange(1, max(2, data.split(b"\r\n\r\n")[0].count(b"\r\n") + 1)), dice.choice(FIELDS))
    return b"\r\n".join(lines)


def nearly_right(seed: int, good: list[bytes], count: int) -> Iterator[bytes]:
    dice = random.Random(seed)
    for _ in range(count):
        data = dice.choice(good)
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            data = change(dice, data)
        if data:
            yield data


# ---- comparison ----

READERS = {"h11": read_h11, "httptools": read_httptools}


def same_target(ours: bytes, theirs: bytes) -> bool:
    """An absolute target with an empty path: ours has the slash that is sent upstream."""
    return ours == theirs or (b"://" in theirs and ours in (theirs + b"/", theirs + b"*"))


def fields(message: Message) -> list[tuple[bytes, bytes]]:
    """h11 gives the names of codings in lower case."""
    return [(n, v.lower() if n == b"transfer-encoding" else v) for n, v in message.fields]


def compare(peer: str, kind: bytes, data: bytes, mine: Message) -> None:
    try:
        theirs = READERS[peer](kind, data)
    except Refused as e:
        if known(peer, str(e), data):
            return
        raise AssertionError(f"{peer} refuses what we accept, {e}: {data!r}") from None
    if theirs is None:
        raise AssertionError(f"{peer} waits for more of a head that we took: {data!r}")
    assert mine.start == theirs.start, data
    assert same_target(mine.target, theirs.target), data
    assert fields(mine) == fields(theirs), data
    if (kind == b"Q" and mine.start == b"CONNECT") or (kind == b"G" and mine.start < b"200"):
        return  # what follows is no body, to llhttp too only if no length is given
    # llhttp is not told when the connection ends
    assert mine.complete == theirs.complete or (peer == "httptools" and kind == b"G"), data
    assert mine.body == theirs.body, data
    if mine.complete and theirs.complete:
        assert mine.trailers == theirs.trailers, data


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("kind", "good"), [(b"Q", REQUESTS), (b"G", RESPONSES)], ids=["requests", "responses"])
def test_what_they_refuse_we_refuse_and_the_rest_is_read_alike(
    ours: Ours, seed: int, kind: bytes, good: list[bytes]
) -> None:
    accepted = refused = 0
    for data in nearly_right(seed, good, 1500):
        try:
            mine = ours.read(kind, data)
        except Refused:
            refused += 1
            continue
        if not mine.start.strip():
            continue  # not a whole head: nothing is forwarded
        accepted += 1
        for peer in READERS:
            compare(peer, kind, data, mine)
    assert accepted > 100
    assert refused > 300


@pytest.mark.parametrize("data", REQUESTS)
def test_the_good_requests_are_accepted_by_all(ours: Ours, data: bytes) -> None:
    mine = ours.read(b"Q", data)
    assert mine.complete
    for peer in READERS:
        compare(peer, b"Q", data, mine)
