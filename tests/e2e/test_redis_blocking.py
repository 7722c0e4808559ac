"""Commands that wait: they borrow a connection of their own, so that nobody else waits with them."""

from __future__ import annotations

import pytest

from mosnpy.testing.front import Front
from mosnpy.testing.resp import encode
from mosnpy.testing.waiting import until

BLOCKING: dict[str, tuple[list[str | int], list[str], bytes]] = {
    "BLPOP": (["BLPOP", "a", "b", 0], ["RPUSH", "b", "x"], b"*2\r\n$1\r\nb\r\n$1\r\nx\r\n"),
    "BRPOP": (["BRPOP", "a", 0], ["RPUSH", "a", "x"], b"*2\r\n$1\r\na\r\n$1\r\nx\r\n"),
    "BLMOVE": (["BLMOVE", "a", "b", "LEFT", "RIGHT", 0], ["RPUSH", "a", "x"], b"$1\r\nx\r\n"),
    "BRPOPLPUSH": (["BRPOPLPUSH", "a", "b", 0], ["RPUSH", "a", "x"], b"$1\r\nx\r\n"),
    "BLMPOP": (["BLMPOP", 0, 2, "a", "b", "LEFT"], ["RPUSH", "b", "x"], b"*2\r\n$1\r\nb\r\n*1\r\n$1\r\nx\r\n"),
    "BZPOPMIN": (["BZPOPMIN", "a", 0], ["ZADD", "a", "1", "x"], b"*3\r\n$1\r\na\r\n$1\r\nx\r\n$1\r\n1\r\n"),
    "BZPOPMAX": (["BZPOPMAX", "a", 0], ["ZADD", "a", "1", "x"], b"*3\r\n$1\r\na\r\n$1\r\nx\r\n$1\r\n1\r\n"),
    "BZMPOP": (["BZMPOP", 0, 1, "a", "MIN"], ["ZADD", "a", "1", "x"], b"*2\r\n$1\r\na\r\n*1\r\n*2\r\n$1\r\nx\r\n$1\r\n1\r\n"),
    "XREAD": (["XREAD", "BLOCK", 0, "STREAMS", "a", "$"], ["XADD", "a", "1-1", "f", "v"],
              b"*1\r\n*2\r\n$1\r\na\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"),
}  # fmt: skip


def blocked(front: Front) -> int:
    return int(front.server.info("clients")["blocked_clients"])


@pytest.mark.parametrize("command", BLOCKING)
def test_command_waits_for_its_data(front: Front, command: str) -> None:
    ask, feed, reply = BLOCKING[command]
    waiting, other = front.wires(2)
    waiting.send(*ask)
    until(lambda: blocked(front) == 1, "the server to see a blocked client")
    other.ask(*feed)
    assert waiting.reply() == reply
    assert waiting.ask("PING") == b"+PONG\r\n"


def test_xreadgroup_waits_for_its_data(front: Front) -> None:
    waiting, other = front.wires(2)
    other.ok("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    waiting.send("XREADGROUP", "GROUP", "g", "me", "BLOCK", 0, "STREAMS", "s", ">")
    until(lambda: blocked(front) == 1, "the server to see a blocked client")
    other.ask("XADD", "s", "1-1", "f", "v")
    assert waiting.reply() == b"*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"


def test_wait_does_not_hold_others(front: Front) -> None:
    waiting, other = front.wires(2)
    waiting.ok("SET", "a", "1")
    waiting.send("WAIT", 1, 300)
    assert [other.ask("INCR", "n") for _ in range(20)][-1] == b":20\r\n"
    assert waiting.reply() == b":0\r\n"


def test_wait_counts_the_clients_own_writes(front: Front) -> None:
    wire = front.wire()
    assert wire.ask_all(["SET", "a", "1"], ["WAIT", 0, 100], ["GET", "a"]) == [b"+OK\r\n", b":0\r\n", b"$1\r\n1\r\n"]


def test_many_clients_may_wait_at_once(front: Front) -> None:
    waiting, other = front.wires(50), front.wire()
    for number, wire in enumerate(waiting):
        wire.send("BLPOP", f"q{number}", 0)
    until(lambda: blocked(front) == 50, "fifty blocked clients")
    assert other.ask("PING") == b"+PONG\r\n"
    for number in reversed(range(50)):
        assert other.ask("RPUSH", f"q{number}", number) == b":1\r\n"
    for number, wire in enumerate(waiting):
        key, value = f"q{number}".encode(), str(number).encode()
        assert wire.reply() == b"*2\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(value), value)


def test_first_come_first_served(front: Front) -> None:
    wires, other = front.wires(3), front.wire()
    for number, wire in enumerate(wires):
        wire.send("BLPOP", "q", 0)
        until(lambda expected=number + 1: blocked(front) == expected, "one more blocked client")  # type: ignore[misc]
    other.ask("RPUSH", "q", "1", "2", "3")
    assert [wire.reply()[-4:-2] for wire in wires] == [b"\n1", b"\n2", b"\n3"]


def test_commands_behind_a_blocking_one_wait_their_turn(front: Front) -> None:
    """A pipeline: what follows BLPOP may not run before it is answered."""
    wire, other = front.wires(2)
    wire.send_raw(encode("SET", "a", "1") + encode("BLPOP", "q", 0) + encode("GET", "late") + encode("PING"))
    assert wire.reply() == b"+OK\r\n"
    until(lambda: blocked(front) == 1, "the server to see a blocked client")
    other.ok("SET", "late", "set while blocked")
    other.ask("RPUSH", "q", "x")
    assert wire.replies(3) == [b"*2\r\n$1\r\nq\r\n$1\r\nx\r\n", b"$17\r\nset while blocked\r\n", b"+PONG\r\n"]


@pytest.mark.parametrize("protocol", [2, 3])
def test_timeout_is_a_null(front: Front, protocol: int) -> None:
    wire = front.wire(protocol)
    assert wire.ask("BLPOP", "none", 0.01) == (b"_\r\n" if protocol == 3 else b"*-1\r\n")
    assert wire.ask("BLMOVE", "none", "x", "LEFT", "LEFT", 0.01) == (b"_\r\n" if protocol == 3 else b"*-1\r\n")


def test_commands_that_need_not_wait_do_not(front: Front) -> None:
    wire = front.wire()
    wire.ask("RPUSH", "q", "1", "2")
    assert wire.ask_all(["BLPOP", "q", 0], ["BLPOP", "q", 0], ["BLPOP", "q", 0.01]) == [
        b"*2\r\n$1\r\nq\r\n$1\r\n1\r\n", b"*2\r\n$1\r\nq\r\n$1\r\n2\r\n", b"*-1\r\n",
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_that_leaves_takes_no_element(front: Front, how: str) -> None:
    """The server must learn that the waiting client is gone, else the next push is lost."""
    leaving, other = front.wires(2)
    leaving.send("BLPOP", "q", 0)
    until(lambda: blocked(front) == 1, "the server to see a blocked client")
    getattr(leaving, how)()
    until(lambda: blocked(front) == 0, "the server to forget the client that left")
    other.ask("RPUSH", "q", "kept")
    assert other.ask("LRANGE", "q", 0, -1) == b"*1\r\n$4\r\nkept\r\n"


def test_blocking_commands_reuse_connections(proxied: Front) -> None:
    wire = proxied.wire()
    wire.ask("RPUSH", "q", *range(200))
    wire.ask("BLPOP", "q", 1)
    before = proxied.server.connections_received()
    for _ in range(150):
        assert wire.ask("BLPOP", "q", 1).startswith(b"*2\r\n")
    assert proxied.server.connections_received() - before <= 1


def test_block_longer_than_the_routes_timeout(proxied: Front) -> None:
    """The client chose to wait: a route's timeout is for requests that should be answered at once."""
    wire, other = proxied.wires(2)
    wire.send("BLPOP", "q", 0)
    until(lambda: blocked(proxied) == 1, "the server to see a blocked client")
    other.ask("RPUSH", "q", "x")
    assert wire.reply() == b"*2\r\n$1\r\nq\r\n$1\r\nx\r\n"


def test_blocking_inside_a_transaction_does_not_block(front: Front) -> None:
    wire = front.wire()
    assert (
        wire.ask_all(["MULTI"], ["BLPOP", "none", 0], ["XREAD", "BLOCK", 0, "STREAMS", "s", "$"], ["EXEC"])[-1]
        == b"*2\r\n*-1\r\n*-1\r\n"
    )
