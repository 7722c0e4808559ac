"""A raw HTTP/1 client: exact bytes out, what comes back parsed strictly and taken literally.

    with HttpWire(address) as wire:
        answer = wire.exchange("POST", "/x", body=b"hello")          # one request, its whole response
        wire.send_raw(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n" * 3)   # anything, byte for byte
        answers = [wire.response() for _ in range(3)]
        assert wire.closed()                                          # the peer ends the connection, with nothing more

A response that ends too early raises CutShort, which knows whether by FIN or by RST.
"""

from __future__ import annotations

from mosnpy.testing.http_message import (
    BODYLESS,
    CutShort,
    Fields,
    HttpError,
    Message,
    chunked,
    parse_fields,
    parse_head,
    request_head,
)
from mosnpy.testing.resp import Address, Wire


class HttpWire(Wire):
    """One connection; of its base it uses what concerns bytes."""

    def __init__(self, address: Address, timeout: float = 10.0, receive_buffer: int = 0, host: str = "a.test") -> None:
        super().__init__(address, timeout, receive_buffer)
        self.host = host
        self.was_reset = False  # the connection ended by RST

    def __enter__(self) -> HttpWire:
        return self

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            self.was_reset = True
            data = b""
        self._buffer += data
        return bool(data)

    # -- out --

    def request(
        self, method: str = "GET", target: str = "/", *fields: tuple[str, str], body: bytes | None = None,
        pieces: list[bytes] | None = None, trailers: Fields | None = None, version: str = "HTTP/1.1",
    ) -> None:  # fmt: skip
        """Sends a request: `body` with its length, or `pieces` chunked. Host is added unless given."""
        head = list(fields)
        if not any(name.lower() == "host" for name, _ in head):
            head.insert(0, ("Host", self.host))
        data = b""
        if pieces is not None or trailers is not None:
            head.append(("Transfer-Encoding", "chunked"))
            data = chunked(*(pieces or []), trailers=trailers or [])
        elif body is not None:
            head.append(("Content-Length", str(len(body))))
            data = body
        self.send_raw(request_head(method, target, head, version) + data)

    def exchange(
        self, method: str = "GET", target: str = "/", *fields: tuple[str, str], body: bytes | None = None,
        pieces: list[bytes] | None = None, trailers: Fields | None = None, version: str = "HTTP/1.1",
    ) -> Message:  # fmt: skip
        self.request(method, target, *fields, body=body, pieces=pieces, trailers=trailers, version=version)
        return self.response(method)

    # -- in --

    def head(self) -> Message:
        """The next head, of an interim or a final response; its body stays to be read."""
        raw = self._through(b"\r\n\r\n", "a head", None)
        message = parse_head(raw)
        if not message.first.startswith("HTTP/"):
            raise HttpError(f"no response: {raw[:200]!r}")
        return message

    def response(self, method: str = "GET") -> Message:
        """The next final response, whole; `method` is that of its request."""
        interim = []
        message = self.head()
        while 100 <= message.status < 200 and message.status != 101:
            interim.append(message)
            message = self.head()
        message.interim = interim
        self.body(message, method)
        return message

    def body(self, message: Message, method: str = "GET") -> bytes:
        """Reads the body that belongs to this head into it."""
        connected = method == "CONNECT" and message.status // 100 == 2
        if method == "HEAD" or message.status in BODYLESS or message.status < 200 or connected:
            pass
        elif message.chunked:
            self._chunked(message)
        elif message.length is not None:
            self._sized(message, message.length)
        else:
            while self._more():
                pass
            message.body = bytes(self._buffer)
            self._buffer.clear()
            if self.was_reset:
                raise CutShort("a body that ends with the connection", message, message.body, True)
        message.complete = True
        return message.body

    def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty: the last one, whose trailers follow."""
        size = self._chunk_size(None)
        if size == 0:
            return b""
        data = self.exactly(size)
        if self.exactly(2) != b"\r\n":
            raise HttpError("no CRLF behind a chunk")
        return data

    def _chunked(self, message: Message) -> None:
        pieces: list[bytes] = []
        try:
            while size := self._chunk_size(message):
                message.chunks.append(size)
                piece = self._exact(size + 2, "a chunk", message)
                if piece[-2:] != b"\r\n":
                    raise HttpError("no CRLF behind a chunk")
                pieces.append(piece[:-2])
            lines = []
            while (line := self._through(b"\r\n", "trailers", message)) != b"\r\n":
                lines.append(line[:-2])
            message.trailers = parse_fields(lines)
        finally:
            message.body = b"".join(pieces) + message.body  # what `_exact` left there is of a chunk cut short

    def _chunk_size(self, message: Message | None) -> int:
        line = self._through(b"\r\n", "a chunk's size", message)
        if not line[:-2].isalnum():
            raise HttpError(f"no chunk size: {line!r}")
        return int(line[:-2], 16)

    def _sized(self, message: Message, size: int) -> None:
        message.body = self._exact(size, "a sized body", message)

    def _exact(self, size: int, what: str, message: Message | None) -> bytes:
        while len(self._buffer) < size:
            if not self._more():
                if message is not None:
                    message.body += bytes(self._buffer)
                raise CutShort(what, message, bytes(self._buffer), self.was_reset)
        return self._take(size)

    def _through(self, mark: bytes, what: str, message: Message | None) -> bytes:
        while (at := self._buffer.find(mark)) < 0:
            if not self._more():
                raise CutShort(what, message, bytes(self._buffer), self.was_reset)
        return self._take(at + len(mark))

    def _take(self, size: int) -> bytes:
        raw = bytes(self._buffer[:size])
        del self._buffer[:size]
        return raw

    def drain(self, size: int) -> int:
        """Reads and forgets `size` body bytes; answers how many had come when the connection ended."""
        have = len(self._buffer)
        self._buffer.clear()
        scratch = bytearray(1 << 20)
        while have < size:
            got = self.socket.recv_into(scratch, min(len(scratch), size - have))
            if not got:
                break
            have += got
        return have

    def closed(self) -> bool:
        """The peer ends the connection without another byte; waits for that as long as the timeout allows."""
        return self.rest() == b""
