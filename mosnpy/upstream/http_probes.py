"""Health checks that ask an HTTP server: over HTTP/1.1, over HTTP/2, and gRPC's own protocol (grpc.health.v1) on top of it.

The frames of HTTP/2 and the compression of its fields are left to `h2`. Its parts alone know what a server may do between
the preface and an answer, and a check runs every few seconds: speed is no argument here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mosnpy.upstream.dialing import Target, connect

if TYPE_CHECKING:
    from h2.connection import H2Connection
    from h2.events import Event

__all__ = ["GrpcAsk", "HttpAsk", "probe_grpc", "probe_http1", "probe_http2"]

_LONGEST_HEAD = 64 << 10
_LONGEST_BODY = 64 << 10
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_AGENT = "mosnpy-health"
_SERVING = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


@dataclass(frozen=True, slots=True)
class HttpAsk:
    """A request and the statuses of a healthy answer: "204", or "2xx" for a whole class."""

    host: str
    path: str
    method: str
    expect: tuple[str, ...]

    def judge(self, status: int) -> str:
        if str(status) in self.expect or f"{status // 100}xx" in self.expect:
            return ""
        return f"answered {status} to {self.method} {self.path}, not {' or '.join(self.expect)}"


@dataclass(frozen=True, slots=True)
class GrpcAsk:
    """service: "" asks about the server as a whole."""

    host: str
    service: str


def ask_of(type: str, plan: Mapping[str, Any]) -> HttpAsk | GrpcAsk | None:
    """From the compiled configuration."""
    if type == "http":
        return HttpAsk(plan["host"], plan["path"], plan["method"], tuple(plan["expect"]))
    return GrpcAsk(plan["host"], plan["service"]) if type == "grpc" else None


def _host(given: str, target: Target, endpoint: str) -> str:
    if given:
        return given
    if target.tls is not None and target.tls.sni:
        return target.tls.sni
    return "localhost" if target.family == "unix" else endpoint


async def probe_http1(target: Target, ask: HttpAsk, endpoint: str) -> str:
    """Fit: it answers with one of the statuses."""
    reader, writer = await connect(target, _LONGEST_HEAD)
    try:
        host = _host(ask.host, target, endpoint)
        head = f"{ask.method} {ask.path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: {_AGENT}\r\naccept: */*\r\n"
        writer.write(f"{head}connection: close\r\n\r\n".encode())
        while True:
            line = await reader.readuntil(b"\n")
            found = _STATUS_LINE.fullmatch(line)
            if found is None:
                return f"answered something that is not HTTP/1: {line[:60]!r}"
            status = int(found[1])
            if status >= 200 or status == 101:
                return ask.judge(status)
            while (await reader.readuntil(b"\n")).strip():  # an interim answer: the real one follows
                pass
    except asyncio.IncompleteReadError as cut:
        said = cut.partial[:100]
        return f"closed the connection{' after ' + repr(said) if said else ' without an answer'}"
    except asyncio.LimitOverrunError:
        return "answered something that is not HTTP/1"
    finally:
        writer.close()


async def probe_http2(target: Target, ask: HttpAsk, endpoint: str) -> str:
    """Fit: it answers with one of the statuses."""
    fields = _request(ask.method, ask.path, target, _host(ask.host, target, endpoint))
    answer = await _exchange(target, fields, None)
    return answer.trouble or ask.judge(answer.status)


async def probe_grpc(target: Target, ask: GrpcAsk, endpoint: str) -> str:
    """Fit: grpc.health.v1.Health/Check says SERVING."""
    fields = [
        *_request("POST", "/grpc.health.v1.Health/Check", target, _host(ask.host, target, endpoint)),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    name = ask.service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""  # HealthCheckRequest{service = 1}
    answer = await _exchange(target, fields, _framed(message))
    if answer.trouble:
        return answer.trouble
    if answer.status != 200:
        return f"answered {answer.status}, which is not gRPC"
    code = answer.fields.get("grpc-status", "")
    if code != "0":
        text = answer.fields.get("grpc-message", "")
        hint = {"12": ": it has no health service", "5": f": it does not know {ask.service!r}"}.get(code, "")
        return f"grpc-status {code or 'is missing'}{hint or (f': {text[:200]}' if text else '')}"
    return _serving(answer.body)


def _request(method: str, path: str, target: Target, host: str) -> list[tuple[str, str]]:
    scheme = "https" if target.tls is not None else "http"
    pseudo = [(":method", method), (":scheme", scheme), (":authority", host), (":path", path)]
    return [*pseudo, ("user-agent", _AGENT)]


# -- HTTP/2 ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Answer:
    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)  # of head and trailers
    body: bytes = b""
    done: bool = False
    trouble: str = ""

    def take(self, event: Event, connection: H2Connection, whole: bool) -> None:
        """whole: the body and trailers matter, not only the status."""
        from h2 import events

        if self.done or self.trouble:
            return
        if isinstance(event, (events.ResponseReceived, events.TrailersReceived)):
            self.fields |= _decoded(event.headers or ())
            if isinstance(event, events.ResponseReceived):
                self.status = int(self.fields.get(":status", 0))
                self.done |= not whole
        elif isinstance(event, events.DataReceived):
            self.body += event.data or b""
            connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 1)
            if len(self.body) > _LONGEST_BODY:
                self.trouble = f"answered with more than {_LONGEST_BODY} bytes"
        elif isinstance(event, events.StreamEnded):
            self.done = True
        elif isinstance(event, events.StreamReset):
            self.trouble = f"reset the request (code {int(event.error_code or 0)})"
        elif isinstance(event, events.ConnectionTerminated):
            self.trouble = f"closed the connection (GOAWAY, code {int(event.error_code or 0)})"


def _decoded(headers: Sequence[Any]) -> dict[str, str]:
    def text(value: Any) -> str:
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    return {text(name): text(value) for name, value in headers}


async def _exchange(target: Target, fields: list[tuple[str, str]], body: bytes | None) -> _Answer:
    """One request on a connection of its own."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.exceptions import ProtocolError

    reader, writer = await connect(target, _LONGEST_HEAD)
    answer = _Answer()
    try:
        if target.tls is not None and writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            answer.trouble = "does not speak HTTP/2 in TLS (ALPN)"
            return answer
        connection = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        connection.initiate_connection()
        connection.send_headers(1, fields, end_stream=body is None)
        if body is not None:
            connection.send_data(1, body, end_stream=True)
        while not answer.done and not answer.trouble:
            writer.write(connection.data_to_send())
            data = await reader.read(16_384)
            if not data:
                answer.trouble = "closed the connection without an answer"
            elif data.startswith(b"HTTP/1."):  # to the parser the beginning of a long frame
                answer.trouble = f"answered something that is not HTTP/2: {data[:40]!r}"
                break
            for event in connection.receive_data(data):
                answer.take(event, connection, body is not None)
        writer.write(connection.data_to_send())
    except ProtocolError as error:
        answer.trouble = f"answered something that is not HTTP/2: {str(error)[:100]}"
    finally:
        writer.close()
    return answer


# -- gRPC --------------------------------------------------------------------------------------------------------------


def _framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _serving(body: bytes) -> str:
    """The verdict of HealthCheckResponse{status = 1}, a message of one small field."""
    message = body[5:]
    if len(body) < 5 or body[0] or int.from_bytes(body[1:5], "big") != len(message):
        return f"answered something that is no health reply: {body[:40]!r}"
    if message[:1] not in (b"", b"\x08"):
        return f"answered something that is no health reply: {body[:40]!r}"
    status = message[1] if len(message) > 1 else 0
    return "" if status == 1 else f"says {_SERVING.get(status, status)}"
