"""HTTP/2 connections over their life: settings, concurrency, PING, GOAWAY in both directions, resets, tunnels."""

from __future__ import annotations

import asyncio
import threading

from hyperframe.frame import GoAwayFrame, PingFrame, SettingsFrame

from mosnpy.testing.http2_frames import (
    DATA,
    Code,
    Setting,
    goaway,
    ping,
    raw_frame,
    rst_stream,
    settings_frame,
)
from mosnpy.testing.http2_server import Http2Peer, Stream2, answer2, echo2, stall2
from mosnpy.testing.http_message import response
from mosnpy.testing.http_server import HttpPeer, Request, answer, stall
from mosnpy.testing.http_stage import HttpStage
from mosnpy.testing.waiting import until


class TestSettings:
    def test_first_frame_and_values(self, http: HttpStage) -> None:
        http.server()
        http.start(http={"http2": {"max_streams": 77, "stream_window": "128KiB", "header_table": "8KiB"}})
        wire = http.wire2()
        frame = wire.frame()
        assert isinstance(frame, SettingsFrame)
        wire.fence()
        found = wire.link.peer_settings
        assert found[Setting.MAX_CONCURRENT_STREAMS] == 77
        assert found[Setting.INITIAL_WINDOW_SIZE] == 131_072
        assert found.get(Setting.HEADER_TABLE_SIZE, 4096) == 8192
        assert found.get(Setting.ENABLE_PUSH, 0) == 0

    def test_each_is_acknowledged(self, http: HttpStage) -> None:
        http.server()
        http.start()
        wire = http.wire2()
        for count in range(2, 12):
            wire.send_raw(settings_frame({Setting.INITIAL_WINDOW_SIZE: 65_535 + count}))
            wire.until(lambda at=count: wire.link.settings_acked >= at, "ack")  # type: ignore[misc]

    def test_smaller_header_table(self, http: HttpStage) -> None:
        """RFC 7541 §4.2: the encoder says so before it goes on; this client's decoder would fail otherwise."""
        http.server(answer(b"x", *[(f"X-{number}", f"value {number}") for number in range(30)]))
        http.start()
        wire = http.wire2(settings={Setting.HEADER_TABLE_SIZE: 200})
        wire.link.decoder.max_allowed_table_size = 200
        for _ in range(5):
            assert wire.exchange().text == "x"
        wire.send_raw(settings_frame({Setting.HEADER_TABLE_SIZE: 0}))
        wire.fence()
        wire.link.decoder.max_allowed_table_size = 0
        for _ in range(5):
            assert wire.exchange().text == "x"

    def test_larger_frames_are_used_or_not(self, http: HttpStage) -> None:
        http.server(answer(b"x" * 1_000_000))
        http.start()
        wire = http.wire2(settings={Setting.MAX_FRAME_SIZE: 1 << 20, Setting.INITIAL_WINDOW_SIZE: 1 << 21})
        assert wire.exchange().size == 1_000_000

    def test_no_push(self, http: HttpStage) -> None:
        """An upstream that pushes all the same has broken the protocol: we said ENABLE_PUSH 0."""

        async def push(stream: Stream2) -> None:
            block = stream.peer.link.encoder.encode(
                [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/pushed")]
            )
            await stream.peer.send(raw_frame(5, 4, stream.id, b"\0\0\0\x02" + block))
            await stream.respond(200, [], b"x")

        server = http.server2(push)
        http.start()
        assert http.wire().exchange().status in (502, 503)
        assert server.all_peers[0].link.peer_settings[Setting.ENABLE_PUSH] == 0
        peer = server.all_peers[0]
        until(lambda: peer.goaways or peer.end, "GOAWAY, or the end if that overtook it")
        assert [frame.error_code for frame in peer.goaways] in ([Code.PROTOCOL_ERROR], [])


class TestConcurrency:
    def test_more_than_allowed_are_refused(self, http: HttpStage) -> None:
        """REFUSED_STREAM: nothing was done, the client may try again (RFC 9113 §5.1.2)."""
        server = http.server(stall)
        http.start(http={"http2": {"max_streams": 10}})
        wire = http.wire2()
        held = [wire.begin() for _ in range(10)]
        server.until_requests(10)
        over = wire.begin()
        assert wire.wait(over).reset in (Code.REFUSED_STREAM, Code.PROTOCOL_ERROR)
        wire.reset_stream(held[0])
        server.script = answer(b"room")
        assert wire.exchange().text == "room"

    def test_upstreams_limit_is_kept(self, http: HttpStage) -> None:
        """40 requests before an upstream that takes 4 at a time per connection: none is refused, more connections or a queue."""
        now, most = dict[int, int](), 0  # streams at work by connection

        async def script(stream: Stream2) -> None:
            nonlocal most
            number = stream.peer.number
            now[number] = now.get(number, 0) + 1
            most = max(most, now[number])
            await asyncio.sleep(0.001)
            now[number] -= 1
            await stream.respond(200, [], stream.path.encode())

        server = http.server2(script, settings={Setting.MAX_CONCURRENT_STREAMS: 4})
        http.start()
        wires = [http.wire() for _ in range(40)]
        assert wires[0].exchange("GET", "/first").text == "/first"  # the limit is known from here on
        server.each(lambda peer: now.clear())
        most = 0
        for number, wire in enumerate(wires):
            wire.request("GET", f"/{number}")
        assert [wire.response().text for wire in wires] == [f"/{number}" for number in range(40)]
        assert most <= 4

    def test_upstream_allows_none_for_a_while(self, http: HttpStage) -> None:
        """MAX_CONCURRENT_STREAMS 0 at first: requests wait, and go when it is raised (or are refused in time)."""
        server = http.server2(echo2, settings={Setting.MAX_CONCURRENT_STREAMS: 0})
        http.start(timeout="5s")
        wire = http.wire()
        wire.request()
        until(lambda: server.peers, "a connection")
        server.each(lambda peer: peer.send_now(settings_frame({Setting.MAX_CONCURRENT_STREAMS: 10})))
        assert wire.response().status in (200, 503)

    def test_10000_streams_on_one_connection(self, http: HttpStage) -> None:
        http.server(answer(b"ok"))
        http.start()
        wire = http.wire2()
        for _ in range(100):
            streams = [wire.begin() for _ in range(100)]
            for stream in streams:
                assert wire.wait(stream).text == "ok"
                del wire.link.streams[stream]

    def test_upstream_stream_numbers_run_out(self, http: HttpStage) -> None:
        """Nobody waits for 2^31; but the connection must not be given up by thousands of requests either."""
        server = http.server2(answer2(b"ok"))
        http.start()
        wire = http.wire()
        for _ in range(2000):
            assert wire.exchange().text == "ok"
        assert server.accepted == 1


class TestPing:
    def test_answered_with_its_payload(self, http: HttpStage) -> None:
        http.server()
        http.start()
        wire = http.wire2()
        wire.send_raw(ping(b"\0\xff345678") + ping(b"abcdefgh"))
        wire.fence()
        answers = [frame.opaque_data for frame in wire.frames if isinstance(frame, PingFrame) and "ACK" in frame.flags]
        assert answers[:2] == [b"\0\xff345678", b"abcdefgh"]

    def test_upstreams_are_answered(self, http: HttpStage) -> None:
        server = http.server2()
        http.start()
        assert http.wire().exchange().status == 200
        (peer,) = server.peers
        server.each(lambda one: one.send_now(ping(b"question")))
        until(
            lambda: [
                frame for frame in peer.frames if isinstance(frame, PingFrame) and frame.opaque_data == b"question"
            ],
            "the answer",
        )


class TestGoAway:
    def test_of_the_client(self, http: HttpStage) -> None:
        """What is open is finished; then the connection ends."""
        gate = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            await gate.wait()
            await peer.send(response(200, b"finished"))

        server = http.server(script)
        http.start()
        wire = http.wire2()
        streams = [wire.begin() for _ in range(3)]
        server.until_requests(3)
        wire.send_raw(goaway(0))
        server.release(gate)
        assert [wire.wait(stream).text for stream in streams] == ["finished"] * 3
        wire.error()  # reads to the connection's end

    def test_of_the_upstream_while_idle(self, http: HttpStage) -> None:
        server = http.server2(answer2(b"ok"))
        http.start()
        wire = http.wire()
        assert wire.exchange().text == "ok"
        server.each(Http2Peer.goaway)
        until(lambda: not server.peers, "the connection to be left")
        assert wire.exchange().text == "ok"
        assert server.accepted == 2

    def test_of_the_upstream_with_streams_open(self, http: HttpStage) -> None:
        """Those at or below its number are finished, those above are sent again elsewhere; none fails."""
        gate = asyncio.Event()

        async def script(stream: Stream2) -> None:
            if stream.peer.number == 1:
                await gate.wait()
            await stream.respond(200, [], b"%d" % stream.peer.number)

        server = http.server2(script)
        http.start()
        wires = [http.wire() for _ in range(6)]
        for count, wire in enumerate(wires, 1):
            wire.request("POST", "/")
            server.until_requests(count)
        server.each(lambda peer: peer.goaway(5))
        until(lambda: len(server.requests) >= 9, "the three above 5 to be sent again")
        server.release(gate)
        assert [wire.response().text for wire in wires] == ["1", "1", "1", "2", "2", "2"]
        until(lambda: len(server.peers) == 1, "the first connection to be left")

    def test_of_the_upstream_in_two_steps(self, http: HttpStage) -> None:
        """2^31-1 first, the true number a round trip later (RFC 9113 §6.8): nothing is lost, whatever its method."""
        server = http.server2(answer2(b"ok"))
        http.start()

        def go(peer: Http2Peer) -> None:
            if peer.link.settings_acked:  # SETTINGS come first on a connection
                peer.send_now(goaway(2**31 - 1))

        failed: list[object] = []

        def client() -> None:
            wire = http.wire()
            for _ in range(100):
                got = wire.exchange("POST", "/", body=b"money")
                if got.text != "ok":
                    failed.append(got)

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            server.each(go)
            threads[0].join(0.02)
        for thread in threads:
            thread.join()
        assert failed == []
        assert server.accepted > 1

    def test_with_an_error_code(self, http: HttpStage) -> None:
        async def script(stream: Stream2) -> None:
            if stream.peer.number == 1:
                stream.peer.goaway(0, Code.ENHANCE_YOUR_CALM)
            else:
                await stream.respond(200, [], b"elsewhere")

        http.server2(script)
        http.start()
        assert http.wire().exchange("POST", "/").text == "elsewhere"

    def test_when_the_proxy_drains(self, http: HttpStage) -> None:
        """A proxy that ends says GOAWAY, serves what is open, and only then closes."""
        gate = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            if request.target == "/held":
                await gate.wait()
            await peer.send(response(200, request.target.encode()))

        server = http.server(script)
        proxy = http.start()
        wire = http.wire2()
        assert wire.exchange("GET", "/first").text == "/first"
        held = wire.begin("GET", "/held")
        server.until_requests(2)
        ending = threading.Thread(target=proxy.stop)
        ending.start()
        wire.until(lambda: wire.link.goaway is not None, "GOAWAY")
        server.release(gate)
        assert wire.wait(held).text == "/held"
        assert wire.error() == Code.NO_ERROR
        ending.join()
        http.proxy = None
        numbers = [frame.last_stream_id for frame in wire.frames if isinstance(frame, GoAwayFrame)]
        assert numbers == sorted(numbers, reverse=True)
        assert numbers[-1] >= held


class TestResets:
    def test_not_of_a_stream_whose_body_is_complete(self, http: HttpStage) -> None:
        """All of content-length has come, END_STREAM follows in a frame of its own: nothing is left to be given up."""
        http.server(answer(b"ok"))
        http.start()
        wire = http.wire2()
        for _ in range(10):
            stream = wire.begin("POST", "/", ("content-length", "1"), end=False)
            wire.data(stream, b"x")
            assert wire.wait(stream).text == "ok"
            wire.fence()
            assert wire.link.stream(stream).reset is None
            wire.data(stream, end=True)
        assert wire.alive()

    def test_of_the_client_reaches_only_its_stream(self, http: HttpStage) -> None:
        server = http.server2(stall2)
        http.start()
        wire = http.wire2()
        streams = [wire.begin() for _ in range(10)]
        server.until_requests(10)
        for stream in streams[::2]:
            wire.reset_stream(stream)
        until(lambda: sum(one.message.reset is not None for one in server.requests) == 5, "five cancelled upstream")
        server.script = answer2(b"ok")
        assert wire.exchange().text == "ok"
        assert server.accepted == 1

    def test_bodies_in_flight(self, http: HttpStage) -> None:
        """DATA under way in both directions when the reset comes."""
        server = http.server2(stall2)
        http.start()
        wire = http.wire2()
        for _ in range(30):
            stream = wire.begin("POST", "/", end=False)
            wire.data(stream, b"x" * 10_000)
            wire.reset_stream(stream)
        server.script = answer2(b"ok")
        assert wire.exchange().text == "ok"

    def test_both_at_once(self, http: HttpStage) -> None:
        async def script(stream: Stream2) -> None:
            await stream.head(200)
            await stream.data(b"x")
            await stream.reset(Code.CANCEL)

        server = http.server2(script)
        http.start()
        wire = http.wire2()
        for _ in range(100):
            stream = wire.begin("POST", "/", end=False)
            wire.send_raw(raw_frame(DATA, 0, stream, b"y") + rst_stream(stream))
        server.script = answer2(b"ok")
        assert wire.exchange().text == "ok"

    def test_codes(self, http: HttpStage) -> None:
        """A client's CANCEL is CANCEL upstream; an upstream's fault is told as one of INTERNAL_ERROR, CANCEL, …"""

        async def script(stream: Stream2) -> None:
            await stream.head(200)
            await stream.reset(Code.INTERNAL_ERROR)

        http.server2(script)
        http.start()
        got = http.wire2().exchange("POST", "/", body=b"x")
        assert got.reset in (Code.INTERNAL_ERROR, Code.CANCEL)
