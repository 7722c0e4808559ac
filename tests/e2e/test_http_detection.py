"""Several protocols on one port: what the first bytes say decides, deterministically, however they are cut."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from mosnpy.testing.http2_frames import PREFACE, settings_frame
from mosnpy.testing.http2_wire import Http2Wire
from mosnpy.testing.http_server import answer
from mosnpy.testing.http_stage import HttpStage, http_config
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import Wire, encode
from mosnpy.testing.tcp_server import TcpServer, greet_then_listen


def start(stage: HttpStage, redis: RedisServer, protocols: list[str], **listener: Any) -> None:
    config = http_config(stage.server(answer(b"http")), protocol=protocols, listener=listener)
    config["listeners"]["front"]["routes"] = [{"match": {"protocol": "redis"}, "to": "redis"}, {"to": "back"}]
    config["upstreams"]["redis"] = {"protocol": "redis", "endpoints": [redis.endpoint]}
    stage.start_config(config)


@pytest.fixture
def mixed(http: HttpStage, main_server: RedisServer) -> HttpStage:
    main_server.clean()
    start(http, main_server, ["http2", "http1", "redis"])
    return http


def test_each_is_served(mixed: HttpStage) -> None:
    assert mixed.wire().exchange().text == "http"
    assert mixed.wire2().exchange().text == "http"
    with Wire(mixed.address) as wire:
        assert wire.ask("SET", "a", "1") == b"+OK\r\n"
        assert wire.ask("GET", "a") == b"$1\r\n1\r\n"


def test_all_at_once(mixed: HttpStage) -> None:
    wrong: list[object] = []

    def one(number: int) -> None:
        try:
            for _ in range(10):
                if number % 3 == 0:
                    assert mixed.wire().exchange().text == "http"
                elif number % 3 == 1:
                    assert mixed.wire2().exchange().text == "http"
                else:
                    with Wire(mixed.address) as wire:
                        assert wire.ask("ECHO", f"{number}") == encode(f"{number}")[4:]
        except (AssertionError, OSError) as error:
            wrong.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("raw", "reply"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings_frame(), b"\0\0"),
        (encode("PING"), b"+PONG\r\n"),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200"),
        (b"PROPFIND / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200"),
    ],
    ids=["HTTP/1", "HTTP/2", "Redis", "PUT", "PROPFIND"],
)
def test_byte_by_byte(mixed: HttpStage, raw: bytes, reply: bytes) -> None:
    """PRI, PUT and PROPFIND begin alike: nothing may be decided too early, nor a byte be lost."""
    wire = mixed.wire()
    for at in range(len(raw)):
        wire.send_raw(raw[at : at + 1])
    assert wire.exactly(len(reply)) == reply


def test_cut_everywhere(mixed: HttpStage) -> None:
    raw = PREFACE + settings_frame()
    for at in range(1, len(PREFACE)):
        wire = mixed.wire2(start=False)
        wire.send_raw(raw[:at])
        wire.send_raw(raw[at:])
        assert wire.exchange().text == "http"
        wire.close()


@pytest.mark.parametrize(
    "raw", [b"\x00\x01\x02\x03 nonsense", b"\x16\x03\x01\x00\x05hello", b"EHLO mail.test\r\n\r\n", b"\xff" * 100]
)
def test_none_of_them(mixed: HttpStage, raw: bytes) -> None:
    """Refused in some protocol's words or simply closed; never left hanging."""
    wire = mixed.wire()
    wire.send_raw(raw)
    wire.half_close()
    wire.rest()


def test_only_http2(http: HttpStage) -> None:
    http.server(answer(b"http"))
    http.start(protocol="http2")
    assert http.wire2().exchange().text == "http"
    wire = http.wire()
    wire.request()
    raw = wire.rest()
    assert not raw.startswith(b"HTTP/1.1 200")


def test_only_http1(http: HttpStage) -> None:
    server = http.server(answer(b"http"))
    http.start(protocol="http1")
    assert http.wire().exchange().text == "http"
    wire = Http2Wire(http.address)
    raw = wire.rest()
    assert raw.startswith((b"HTTP/1.1 400", b"HTTP/1.1 505", b""))
    assert len(server.requests) == 1


@pytest.mark.parametrize(("said", "heard"), [(b"", b"hello\n"), (b"PO", b"hello\nPO")])
def test_half_closed_before_the_protocol_is_known(http: HttpStage, said: bytes, heard: bytes) -> None:
    """What came is all that will come: it is decided, nothing of it is lost, and the answer still arrives."""

    async def greet_and_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n" + await reader.read())
        writer.write_eof()

    with TcpServer(greet_and_echo) as server:
        config = http_config(http.server(answer(b"http")), protocol=["http1", "tcp"])
        config["listeners"]["front"]["routes"] = [{"match": {"protocol": "tcp"}, "to": "raw"}, {"to": "back"}]
        config["upstreams"]["raw"] = {"protocol": "tcp", "endpoints": [server.endpoint]}
        http.start_config(config)
        wire = http.wire()
        wire.send_raw(said)
        wire.half_close()
        assert wire.rest() == heard


def test_server_that_speaks_first_is_not_stalled(http: HttpStage) -> None:
    """tcp at the list's end catches all: a silent client gets what the server says first."""
    with TcpServer(greet_then_listen) as greeter:
        config = http_config(http.server(answer(b"http")), protocol=["http1", "tcp"])
        config["listeners"]["front"]["routes"] = [{"match": {"protocol": "tcp"}, "to": "raw"}, {"to": "back"}]
        config["upstreams"]["raw"] = {"protocol": "tcp", "endpoints": [greeter.endpoint]}
        http.start_config(config)
        wire = http.wire(timeout=5)
        assert wire.exactly(6) == b"hello\n"
        assert http.wire().exchange().text == "http"
        http.quiet()
