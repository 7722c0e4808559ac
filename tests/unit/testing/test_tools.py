"""The fakes do what they say: a fault that is not injected would be a test that proves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosnpy.testing.checker import Batch, CheckReport, judge_one, make_batches, value_of
from mosnpy.testing.corpus import differences, read_corpus, split_words
from mosnpy.testing.cut_proxy import CutProxy
from mosnpy.testing.fake_upstream import FakeUpstream, answer, close_after, dripping, echo_argument, stall
from mosnpy.testing.resp import Closed, Wire, WireError, encode, parse, reply_end, shape, unordered
from mosnpy.testing.tcp_server import TcpServer, echo, measure
from mosnpy.testing.waiting import free_port, until


class TestFakeUpstream:
    def test_answers_and_remembers(self) -> None:
        with FakeUpstream(echo_argument) as upstream, Wire(upstream.address) as wire:
            assert wire.ask("GET", "a") == b"$1\r\na\r\n"
            assert wire.ask("PING") == b"+PONG\r\n"  # session commands never reach the script
            assert upstream.requests == [[b"GET", b"a"]]

    @pytest.mark.parametrize("reset", [False, True])
    def test_dies_mid_reply(self, reset: bool) -> None:
        with FakeUpstream(close_after(b"$5\r\nab", reset=reset)) as upstream, Wire(upstream.address) as wire:
            wire.send("GET", "a")
            with pytest.raises(Closed):
                wire.reply()

    def test_stalls_and_closes_idle_connections(self) -> None:
        with FakeUpstream(stall) as upstream, Wire(upstream.address) as wire:
            wire.send("GET", "a")
            until(lambda: upstream.requests, "the request to arrive")
            assert wire.silent(0.02)
            upstream.close_all()
            assert wire.rest() == b""

    def test_refuses(self) -> None:
        upstream = FakeUpstream(answer(b"+OK\r\n"))
        with pytest.raises(ConnectionRefusedError):
            Wire(upstream.address)
        with upstream, Wire(upstream.address) as wire:
            until(lambda: upstream.peers, "the connection to be taken from the backlog")
            upstream.refuse()
            assert wire.ask("GET", "a") == b"+OK\r\n"
            with pytest.raises(ConnectionRefusedError):
                Wire(upstream.address)

    def test_drips(self) -> None:
        with FakeUpstream(dripping(b"$3\r\nabc\r\n")) as upstream, Wire(upstream.address) as wire:
            assert wire.ask("GET", "a") == b"$3\r\nabc\r\n"


class TestCutProxy:
    def test_passes_both_ends_of_each_direction(self) -> None:
        with TcpServer(measure) as server, CutProxy(server.address) as line, Wire(line.address) as wire:
            line.chunk = 7
            wire.send_raw(b"x" * 1000)
            wire.half_close()
            assert wire.rest() == b"1000"

    @pytest.mark.parametrize("gentle", [False, True])
    def test_cuts_after_so_many_bytes(self, gentle: bool) -> None:
        with TcpServer(echo) as server, CutProxy(server.address) as line, Wire(line.address) as wire:
            line.cut_after(10, gentle=gentle)
            wire.send_raw(b"y" * 100)
            assert len(wire.rest()) <= 10
            assert line.cuts == 1

    def test_pauses(self) -> None:
        with TcpServer(echo) as server, CutProxy(server.address) as line, Wire(line.address) as wire:
            line.pause()
            wire.send_raw(b"held")
            assert wire.silent(0.03)
            line.resume()
            assert wire.exactly(4) == b"held"


class TestChecker:
    """Each kind of wrong reply must be seen."""

    def judged(self, reply: object, expected: object) -> CheckReport:
        report = CheckReport()
        judge_one(report, reply, expected)
        return report

    def test_right_absent_wrong_and_errors_are_told_apart(self) -> None:
        value = value_of("check:1")
        assert self.judged(value, value).right == 1
        assert self.judged(None, value).absent == 1
        assert self.judged(value_of("check:2"), value).wrong
        assert self.judged(b"OK", value).wrong
        assert self.judged(value, b"OK").wrong
        assert self.judged(Exception("ERR x"), value).errors == {"ERR x": 1}
        assert self.judged([value, None], [value, value]).absent == 1
        assert self.judged([value_of("check:2"), value], [value, value]).wrong

    def test_values_differ(self) -> None:
        assert len({value_of(f"check:{number}") for number in range(5000)}) == 5000

    def test_batches_match_their_bytes(self) -> None:
        for batch in make_batches(20, 50, 100, 1):
            assert isinstance(batch, Batch)
            at = count = 0
            while at < len(batch.wire):
                at = reply_end(batch.wire, at)
                count += 1
            assert count == len(batch.expected) == 50

    @pytest.mark.parametrize("fault", ["swapped", "doubled", "lost"])
    def test_mixed_up_replies_are_found_on_the_wire(self, fault: str) -> None:
        from mosnpy.testing.checker import Checker
        from mosnpy.testing.fake_upstream import Peer, Request

        held: list[bytes] = []

        async def unreliable(peer: Peer, request: Request) -> None:
            name = request[0]
            reply = encode(value_of(request[1].decode()))[4:] if name == b"GET" else b"+OK\r\n"
            if name != b"GET":
                await peer.send(reply if name == b"SET" else b"$-1\r\n")
            elif len(peer.requests) == 5 and fault == "swapped":
                held.append(reply)
            elif held:
                await peer.send(reply + held.pop())
            elif len(peer.requests) == 5 and fault == "doubled":
                await peer.send(reply * 2)
            elif not (len(peer.requests) == 5 and fault == "lost"):
                await peer.send(reply)

        with FakeUpstream(unreliable) as upstream:
            checker = Checker(upstream.address, total=1 << 40, connections=3, depth=20, seed=3).start()
            until(lambda: checker.report.wrong or len(upstream.requests) >= 60, "three batches")
            checker.over = True
            upstream.close_all()  # a lost reply leaves the client waiting; what came until then is judged at the end
            assert checker.wait().wrong


class TestResp:
    def test_encode(self) -> None:
        assert encode("SET", b"\x00", 12, 1.5) == b"*4\r\n$3\r\nSET\r\n$1\r\n\x00\r\n$2\r\n12\r\n$3\r\n1.5\r\n"

    def test_broken_bytes_are_an_error(self) -> None:
        with pytest.raises(WireError):
            reply_end(b"HTTP/1.1 200 OK\r\n")

    def test_shape_and_order(self) -> None:
        assert shape(parse(b"*2\r\n:1\r\n$1\r\na\r\n")) == shape(parse(b"*3\r\n:5\r\n:6\r\n$2\r\nbb\r\n"))
        assert shape(parse(b":1\r\n")) != shape(parse(b"+1\r\n"))
        assert unordered(parse(b"~2\r\n:1\r\n:2\r\n")) == unordered(parse(b"~2\r\n:2\r\n:1\r\n"))
        assert unordered(parse(b"%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n")) == unordered(
            parse(b"%2\r\n+b\r\n:2\r\n+a\r\n:1\r\n")
        )
        assert unordered(parse(b"%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n")) != unordered(
            parse(b"%2\r\n+a\r\n:2\r\n+b\r\n:1\r\n")
        )


class TestCorpus:
    def test_words(self) -> None:
        assert split_words(r'SET "a b" "\x00\r\n\"\\" ""') == (b"SET", b"a b", b'\x00\r\n"\\', b"")

    def test_differences_are_named_with_their_line(self, tmp_path: Path) -> None:
        file = tmp_path / "corpus.txt"
        file.write_text("# comment\n== one\nGET a\n? TIME\n% KEYS *\n~ CLIENT ID\n")
        commands = read_corpus(file)["one"]
        good = [b"$1\r\nx\r\n", b":1\r\n", b"*2\r\n+a\r\n+b\r\n", b":1\r\n"]
        assert not list(differences(commands, good, [b"$1\r\nx\r\n", b":2\r\n", b"*2\r\n+b\r\n+a\r\n", b"+x\r\n"]))
        found = list(differences(commands, good, [b"$1\r\ny\r\n", b"+1\r\n", b"*2\r\n+a\r\n+c\r\n", b"+x\r\n"]))
        assert [line.split(":")[0] for line in found] == ["line 3", "line 4", "line 5"]


def test_ports_are_below_the_ephemeral_range() -> None:
    assert all(free_port() < 32768 for _ in range(50))


def test_until_says_what_it_waited_for() -> None:
    with pytest.raises(AssertionError, match="in vain for the moon"):
        until(lambda: False, "the moon", timeout=0.02)
