"""PINGs to HTTP/2 peers that say nothing: those that are there stay, those that vanished are found."""

from __future__ import annotations

from hyperframe.frame import PingFrame

from mosnpy.testing.http2_frames import Code
from mosnpy.testing.http2_server import Http2Peer, Stream2, answer2, stall2
from mosnpy.testing.http_stage import HttpStage
from mosnpy.testing.waiting import until

IMPATIENT = {"keepalive": {"interval": "100ms", "timeout": "200ms"}}


def pings(peer: Http2Peer) -> int:
    return sum(isinstance(frame, PingFrame) and "ACK" not in frame.flags for frame in peer.frames)


async def first_one_is_deaf(stream: Stream2) -> None:
    await (stall2 if stream.peer.number == 1 or stream.method == "POST" else answer2(b"second"))(stream)


class TestServers:
    def test_requests_of_a_dead_connection_go_elsewhere_where_that_is_safe(self, http: HttpStage) -> None:
        server = http.server2(first_one_is_deaf, polite=False)
        proxy = http.start(http2=IMPATIENT)
        get, post = http.wire(), http.wire()
        get.request("GET", "/")
        post.request("POST", "/", body=b"x")
        server.until_requests(2)
        answered = get.response()
        assert (answered.status, answered.text) == (200, "second")
        assert post.response().status == 502
        assert server.accepted == 2
        until(lambda: server.all_peers[0].end, "the dead connection's end")
        endpoint = proxy.stats()["upstreams"]["back"]["endpoints"][server.endpoint]
        assert endpoint["keepalive_timeouts"] >= 1
        assert endpoint["resets"] >= 1

    def test_those_that_answer_stay(self, http: HttpStage) -> None:
        server = http.server2(stall2)
        http.start(http2=IMPATIENT)
        wire = http.wire()
        wire.request("GET", "/")
        server.until_requests(1)
        until(lambda: pings(server.all_peers[0]) >= 4, "PINGs")
        assert (server.accepted, server.all_peers[0].end) == (1, "")

    def test_who_never_acknowledges_settings_is_let_go(self, http: HttpStage) -> None:
        server = http.server2(answer2(b"x"), polite=False)
        http.start(http2={"settings_timeout": "100ms"})
        assert http.wire().exchange().text == "x"
        until(lambda: server.all_peers[0].end, "its end")
        assert [frame.error_code for frame in server.all_peers[0].goaways] == [Code.SETTINGS_TIMEOUT]


class TestClients:
    def test_one_that_vanished_gives_its_requests_up(self, http: HttpStage) -> None:
        server = http.server2(stall2)
        proxy = http.start(http={"http2": IMPATIENT})
        wire = http.wire2(polite=False)
        wire.begin()
        server.until_requests(1)
        until(lambda: server.last.reset is not None, "the request to be cancelled")
        assert proxy.stats()["listeners"]["front"]["keepalive_timeouts"] == 1
