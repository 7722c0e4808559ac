"""The request side of RESP: inline commands, pipelines, and the exact words Redis has for broken bytes.

Spec: https://redis.io/docs/latest/develop/reference/protocol-spec/ (sending commands, inline commands)
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from mosnpy.testing.front import Front
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import Address, Closed, Wire, encode, split_replies
from mosnpy.testing.waiting import until


class TestInlineCommands:
    @pytest.mark.parametrize(
        ("line", "reply"),
        [
            (b"PING\r\n", b"+PONG\r\n"),
            (b"PING\n", b"+PONG\r\n"),
            (b"  PING  \r\n", b"+PONG\r\n"),
            (b"ping hello\r\n", b"$5\r\nhello\r\n"),
            (b"SET a 1\r\n", b"+OK\r\n"),
            (b'ECHO "two words"\r\n', b"$9\r\ntwo words\r\n"),
            (b"ECHO 'single \\' quote'\r\n", b"$14\r\nsingle ' quote\r\n"),
            (b'ECHO "\\x41\\n\\\\"\r\n', b"$3\r\nA\n\\\r\n"),
            (b'ECHO ""\r\n', b"$0\r\n\r\n"),
            (b"\r\nPING\r\n", b"+PONG\r\n"),
            (b"\r\n\r\n\n  \r\nPING\r\n", b"+PONG\r\n"),
            (b"NOSUCH a\r\n", b"-ERR unknown command 'NOSUCH', with args beginning with: 'a' \r\n"),
            (b"GET\r\n", b"-ERR wrong number of arguments for 'get' command\r\n"),
        ],
    )
    def test_inline_command(self, front: Front, line: bytes, reply: bytes) -> None:
        wire = front.wire()
        wire.send_raw(line)
        assert wire.reply() == reply

    @pytest.mark.parametrize("line", [b'ECHO "open\r\n', b"ECHO 'open\r\n", b'ECHO "a"b\r\n'])
    def test_unbalanced_quotes(self, front: Front, line: bytes) -> None:
        wire = front.wire()
        wire.send_raw(line)
        assert wire.rest() == b"-ERR Protocol error: unbalanced quotes in request\r\n"

    def test_inline_and_multibulk_mix_in_one_write(self, front: Front) -> None:
        wire = front.wire()
        wire.send_raw(b"SET a 1\r\n" + encode("GET", "a") + b"INCR a\n" + encode("GET", "a"))
        assert wire.replies(4) == [b"+OK\r\n", b"$1\r\n1\r\n", b":2\r\n", b"$1\r\n2\r\n"]

    def test_line_that_never_ends(self, front: Front) -> None:
        wire = front.wire()
        wire.send_raw(b"A" * (64 * 1024 + 10))
        assert wire.rest() == b"-ERR Protocol error: too big inline request\r\n"


class TestProtocolErrors:
    """Redis names the fault, then closes. Replies due before it are still delivered."""

    @pytest.mark.parametrize(
        ("data", "error"),
        [
            (b"*3\r\n$3\r\nSET\r\n+a\r\n", b"expected '$', got '+'"),
            (b"*1\r\n:1\r\n", b"expected '$', got ':'"),
            (b"*abc\r\n", b"invalid multibulk length"),
            (b"*99999999999999999999\r\n", b"invalid multibulk length"),
            (b"*2147483648\r\n", b"invalid multibulk length"),
            (b"*1 \r\n", b"invalid multibulk length"),
            (b"*1\r\n$abc\r\n", b"invalid bulk length"),
            (b"*1\r\n$-1\r\n", b"invalid bulk length"),
            (b"*1\r\n$536870913\r\n", b"invalid bulk length"),
            (b"*1\r\n$2147483648\r\n", b"invalid bulk length"),
            (b"*1\r\n$99999999999999999999\r\n", b"invalid bulk length"),
            (b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2147483648\r\n", b"invalid bulk length"),
            (b"*" + b"1" * 70000, b"too big mbulk count string"),
            (b"*1\r\n$" + b"1" * 70000, b"too big bulk count string"),
        ],
    )  # fmt: skip
    def test_error_is_worded_as_redis_words_it(self, front: Front, data: bytes, error: bytes) -> None:
        wire = front.wire()
        wire.send_raw(data)
        assert wire.rest() == b"-ERR Protocol error: " + error + b"\r\n"

    def test_more_arguments_than_the_limit_are_refused_before_they_come(self, proxied: Front) -> None:
        """Redis 7.0 takes up to 2^31 arguments; the proxy's default is a million."""
        wire = proxied.wire()
        wire.send_raw(b"*1048577\r\n")
        assert wire.rest() == b"-ERR Protocol error: invalid multibulk length\r\n"

    def test_replies_before_the_fault_are_delivered_in_order(self, front: Front) -> None:
        wire = front.wire()
        wire.send_raw(encode("SET", "a", "1") + encode("INCR", "a") + encode("GET", "a") + b"*1\r\n$abc\r\n")
        assert wire.rest() == b"+OK\r\n:2\r\n$1\r\n2\r\n-ERR Protocol error: invalid bulk length\r\n"

    @pytest.mark.parametrize("data", [b"*0\r\n", b"*-1\r\n", b"*-10\r\n", b"*0\r\n*-1\r\n\r\n"])
    def test_empty_requests_are_skipped(self, front: Front, data: bytes) -> None:
        wire = front.wire()
        wire.send_raw(data + encode("PING"))
        assert wire.reply() == b"+PONG\r\n"

    def test_command_name_may_be_empty(self, front: Front) -> None:
        wire = front.wire()
        assert wire.ask("") == b"-ERR unknown command '', with args beginning with: \r\n"

    def test_newlines_in_a_name_do_not_break_the_error_line(self, front: Front) -> None:
        wire = front.wire()
        assert wire.ask("a\r\nb", "c\nd") == b"-ERR unknown command 'a  b', with args beginning with: 'c d' \r\n"
        assert wire.ask("PING") == b"+PONG\r\n"


class TestBeforeAuthentication:
    """Strangers get tighter limits: 10 arguments, 16 KiB per bulk."""

    @pytest.fixture(params=["direct", "proxy"])
    def stranger(self, request: pytest.FixtureRequest, main_server: RedisServer, shared_proxies: Any) -> Iterator[Wire]:
        """Not known yet to a server with a password, or to a listener with one: only then the proxy knows who is a stranger."""
        main_server.clean()
        address: Address = main_server.address
        if request.param == "proxy":
            _, address = shared_proxies.get("login", [main_server], listener={"auth": {"password": "secret"}})
        else:
            main_server.protect("secret")
        with Wire(address) as wire:
            yield wire

    def test_many_arguments_are_refused(self, stranger: Wire) -> None:
        stranger.send_raw(b"*11\r\n")
        assert stranger.rest() == b"-ERR Protocol error: unauthenticated multibulk length\r\n"

    def test_long_bulk_is_refused(self, stranger: Wire) -> None:
        stranger.send_raw(b"*2\r\n$4\r\nAUTH\r\n$16385\r\n")
        assert stranger.rest() == b"-ERR Protocol error: unauthenticated bulk length\r\n"

    def test_limits_end_with_auth(self, stranger: Wire) -> None:
        stranger.ok("AUTH", "secret")
        stranger.ok("SET", "a", "x" * 20000)
        assert stranger.ask("DEL", *[f"k{number}" for number in range(50)]) == b":0\r\n"


class TestPipelines:
    def test_ten_thousand_commands_in_one_write(self, front: Front) -> None:
        wire = front.wire(timeout=30)
        replies = wire.ask_all(*[("ECHO", number) if number % 3 else ("INCR", "n") for number in range(10000)])
        count = 0
        for number, reply in enumerate(replies):
            if number % 3 == 0:
                count += 1
                assert reply == b":%d\r\n" % count
            else:
                assert reply == b"$%d\r\n%d\r\n" % (len(str(number)), number)

    def test_local_and_forwarded_replies_keep_their_order(self, front: Front) -> None:
        """PING, ECHO, SELECT, CLIENT are answered in the proxy: never before an older forwarded command."""
        wire = front.wire()
        wire.ok("SET", "k", "v")
        block = [
            ["PING"],
            ["GET", "k"],
            ["ECHO", "e"],
            ["INCR", "n"],
            ["CLIENT", "GETNAME"],
            ["GET", "none"],
            ["SELECT", "0"],
            ["NOSUCH"],
        ]
        replies = wire.ask_all(*(block * 200))
        for turn in range(200):
            assert replies[turn * 8 : turn * 8 + 8] == [
                b"+PONG\r\n", b"$1\r\nv\r\n", b"$1\r\ne\r\n", b":%d\r\n" % (turn + 1), b"$-1\r\n", b"$-1\r\n", b"+OK\r\n",
                b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n",
            ]  # fmt: skip

    def test_clients_do_not_see_each_others_replies(self, front: Front) -> None:
        wires = front.wires(50)
        for round_ in range(5):
            for number, wire in enumerate(wires):
                wire.send_raw(
                    b"".join(
                        encode("ECHO", f"{number}-{round_}-{at}") + encode("SETEX", f"k{number}", 9, at)
                        for at in range(20)
                    )
                )
            for number, wire in enumerate(wires):
                for at in range(20):
                    text = f"{number}-{round_}-{at}".encode()
                    assert wire.replies(2) == [b"$%d\r\n%b\r\n" % (len(text), text), b"+OK\r\n"]

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
    def test_requests_may_be_cut_anywhere(self, front: Front, size: int) -> None:
        wire = front.wire()
        data = (
            encode("SET", "a", b"\r\n*$\x00")
            + encode("GET", "a")
            + b"PING x\r\n"
            + encode("MSET", "b", "1", "c", "")
            + encode("MGET", "c", "b", "d")
        )
        for at in range(0, len(data), size):
            wire.send_raw(data[at : at + size])
        assert wire.replies(5) == [
            b"+OK\r\n", b"$5\r\n\r\n*$\x00\r\n", b"$1\r\nx\r\n", b"+OK\r\n", b"*3\r\n$0\r\n\r\n$1\r\n1\r\n$-1\r\n",
        ]  # fmt: skip

    def test_every_split_of_a_request_in_two(self, front: Front) -> None:
        wire = front.wire()
        data = encode("SETRANGE", "key", 3, "value") + b"ECHO 'a b'\r\n"
        for at in range(1, len(data)):
            wire.send_raw(data[:at])
            wire.send_raw(data[at:])
            assert wire.replies(2) == [b":8\r\n", b"$3\r\na b\r\n"], at

    def test_half_closed_client_gets_its_replies(self, front: Front) -> None:
        wire = front.wire()
        wire.send_raw(b"".join(encode("INCR", "n") for _ in range(100)))
        wire.half_close()
        data = wire.rest()
        expected = b"".join(b":%d\r\n" % number for number in range(1, 101))
        # Redis itself drops replies that were not written when it saw the FIN; a prefix is right, anything else is not.
        assert expected.startswith(data)
        until(lambda: front.server.command("GET", "n").value in (b"100", None), "all or none of the commands to run")

    def test_connection_closed_in_the_middle_of_a_request(self, front: Front) -> None:
        wire = front.wire()
        wire.send_raw(encode("SET", "whole", "1") + encode("SET", "torn", "1")[:-3])
        assert wire.reply() == b"+OK\r\n"
        wire.close()
        assert front.wire().ask("EXISTS", "torn", "whole") == b":1\r\n"


class TestBytesThatAreNoRedis:
    @pytest.mark.parametrize(
        "request_", [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nSET evil yes\r\n", b"Host: 127.0.0.1\r\nSET evil yes\r\n",
                     encode("POST", "/"), encode("host:", "x")],
    )  # fmt: skip
    def test_post_and_host_close_the_connection(self, front: Front, request_: bytes) -> None:
        """Cross-protocol attacks from browsers: Redis closes without a word, and runs nothing that follows."""
        wire = front.wire()
        wire.send_raw(request_)
        assert wire.rest() == b""
        assert front.wire().ask("EXISTS", "evil") == b":0\r\n"

    def test_get_request_of_a_browser(self, front: Front) -> None:
        """GET is a command; the Host: line after it ends the connection."""
        wire = front.wire()
        wire.send_raw(b"GET /index.html HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\n\r\n")
        data = wire.rest()
        assert data in (b"", b"-ERR wrong number of arguments for 'get' command\r\n")

    def test_tls_hello(self, front: Front) -> None:
        wire = front.wire()
        wire.send_raw(bytes.fromhex("16030100c8010000c40303") + bytes(range(256)) + b"\r\n")
        assert split_replies(wire.rest_or_open(0.1))[1] == b""
        assert front.wire().ask("PING") == b"+PONG\r\n"

    @pytest.mark.parametrize("seed", range(10))
    def test_random_bytes(self, front: Front, seed: int) -> None:
        """Whatever is sent, others are served, and what comes back is RESP."""
        noise = random.Random(seed)
        wire, other = front.wire(), front.wire()
        alphabet = b"*$\r\n0123456789+-:PINGSETa\x00\xff\"'"
        wire.send_raw(bytes(noise.choice(alphabet) for _ in range(3000)) + noise.randbytes(3000) + b"\r\n")
        assert other.ask("PING") == b"+PONG\r\n"
        assert split_replies(wire.rest_or_open(0.1))[1] == b""


def test_lost_reply_is_noticed_by_this_harness(front: Front) -> None:
    """The raw client must not hang or invent: a closed connection is an error."""
    wire = front.wire()
    wire.send("QUIT")
    assert wire.reply() == b"+OK\r\n"
    with pytest.raises(Closed):
        wire.reply()
