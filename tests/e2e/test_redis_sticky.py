"""Commands after which a connection is no longer like any other: MONITOR, CLIENT REPLY, TRACKING, NO-EVICT, SCRIPT DEBUG.

The connection is the client's until it leaves, and is closed then, never handed on.
"""

from __future__ import annotations

import pytest

from mosnpy.testing.front import Front
from mosnpy.testing.resp import encode
from mosnpy.testing.waiting import until


class TestMonitor:
    def test_commands_of_others_are_shown(self, front: Front) -> None:
        wire, other = front.wires(2)
        wire.ok("MONITOR")
        other.ok("SET", "watched", "x")
        lines: list[bytes] = []
        while not (lines and b'"watched"' in lines[-1]):
            lines.append(wire.reply())
        assert b'"SET" "watched" "x"' in lines[-1]
        assert lines[-1].startswith(b"+")

    def test_others_do_not_see_the_stream(self, front: Front) -> None:
        wire, other = front.wires(2)
        wire.ok("MONITOR")
        assert [other.ask("INCR", "n") for _ in range(50)] == [b":%d\r\n" % number for number in range(1, 51)]

    def test_connection_is_not_handed_on(self, front: Front) -> None:
        wire = front.wire()
        wire.ok("MONITOR")
        wire.close()
        for other in front.wires(5):
            assert other.ask_all(["MULTI"], ["SET", "a", "1"], ["EXEC"])[-1] == b"*1\r\n+OK\r\n"
            assert other.ask("PING") == b"+PONG\r\n"
        until(
            lambda: all("O" not in row["flags"] for row in front.server.clients()),
            "the monitor connection to be closed",
        )

    def test_reset_ends_it(self, front: Front) -> None:
        wire = front.wire()
        wire.ok("MONITOR")
        wire.send("RESET")
        while wire.reply() != b"+RESET\r\n":
            pass
        assert wire.ask("PING") == b"+PONG\r\n"

    def test_quit_ends_it(self, front: Front) -> None:
        wire = front.wire()
        wire.ok("MONITOR")
        wire.send("QUIT")
        assert wire.rest().endswith(b"+OK\r\n")


class TestClientReply:
    def test_off_silences_until_on(self, front: Front) -> None:
        wire = front.wire()
        wire.send_raw(
            encode("CLIENT", "REPLY", "OFF") + encode("SET", "a", "1") + encode("NOSUCH") + encode("PING") + encode("CLIENT", "REPLY", "ON")
            + encode("GET", "a")
        )  # fmt: skip
        assert wire.replies(2) == [b"+OK\r\n", b"$1\r\n1\r\n"]

    def test_skip_drops_one_reply(self, front: Front) -> None:
        wire = front.wire()
        wire.send_raw(encode("CLIENT", "REPLY", "SKIP") + encode("SET", "a", "1") + encode("GET", "a"))
        assert wire.reply() == b"$1\r\n1\r\n"

    def test_skip_drops_local_replies_too(self, front: Front) -> None:
        wire = front.wire()
        wire.send_raw(encode("CLIENT", "REPLY", "SKIP") + encode("PING", "dropped") + encode("PING", "kept"))
        assert wire.reply() == b"$4\r\nkept\r\n"

    def test_skip_behind_a_pipeline(self, front: Front) -> None:
        wire = front.wire()
        wire.send_raw(
            b"".join(encode("INCR", "n") + encode("CLIENT", "REPLY", "SKIP") + encode("INCR", "n") for _ in range(50)) + encode("GET", "n")
        )  # fmt: skip
        assert wire.replies(51) == [b":%d\r\n" % number for number in range(1, 100, 2)] + [b"$3\r\n100\r\n"]

    def test_off_leaves_others_alone(self, front: Front) -> None:
        silent, other = front.wires(2)
        silent.send("CLIENT", "REPLY", "OFF")
        assert [other.ask("INCR", "n") for _ in range(20)] == [b":%d\r\n" % number for number in range(1, 21)]
        silent.close()
        assert front.wire().ask("PING") == b"+PONG\r\n"

    def test_off_inside_a_transaction(self, front: Front) -> None:
        wire = front.wire()
        wire.ok("MULTI")
        assert wire.ask("CLIENT", "REPLY", "ON") in (b"+QUEUED\r\n", b"+OK\r\n")
        wire.ask("DISCARD")
        assert wire.ask("PING") == b"+PONG\r\n"


class TestTracking:
    INVALIDATE = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n"

    def test_invalidation_is_pushed(self, front: Front) -> None:
        wire, other = front.wire(3), front.wire()
        wire.ok("SET", "a", "1")
        wire.ok("CLIENT", "TRACKING", "ON")
        assert wire.ask("GET", "a") == b"$1\r\n1\r\n"
        other.ok("SET", "a", "2")
        assert wire.reply() == self.INVALIDATE
        assert wire.ask("GET", "a") == b"$1\r\n2\r\n"

    def test_others_get_no_invalidations(self, front: Front) -> None:
        wire, other, third = front.wire(3), front.wire(3), front.wire()
        wire.ok("CLIENT", "TRACKING", "ON")
        other.ask("GET", "a")
        third.ok("SET", "a", "2")
        assert other.ask("PING") == b"+PONG\r\n"
        assert wire.ask("PING") == b"+PONG\r\n"

    def test_broadcast_with_prefix(self, front: Front) -> None:
        wire, other = front.wire(3), front.wire()
        wire.ok("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "user:")
        other.ok("SET", "user:1", "x")
        other.ok("SET", "other", "x")
        assert wire.reply() == b">2\r\n$10\r\ninvalidate\r\n*1\r\n$6\r\nuser:1\r\n"
        assert wire.ask("PING") == b"+PONG\r\n"

    def test_opt_in(self, front: Front) -> None:
        wire, other = front.wire(3), front.wire()
        wire.ok("CLIENT", "TRACKING", "ON", "OPTIN")
        wire.ask("GET", "b")
        wire.ok("CLIENT", "CACHING", "YES")
        wire.ask("GET", "a")
        other.ok("MSET", "a", "2", "b", "2")
        assert wire.reply() == self.INVALIDATE
        assert wire.ask("PING") == b"+PONG\r\n"

    def test_off_again(self, front: Front) -> None:
        wire, other = front.wire(3), front.wire()
        wire.ok("CLIENT", "TRACKING", "ON")
        wire.ask("GET", "a")
        wire.ok("CLIENT", "TRACKING", "OFF")
        other.ok("SET", "a", "2")
        assert wire.ask("PING") == b"+PONG\r\n"

    def test_flush_invalidates_everything(self, front: Front) -> None:
        wire, other = front.wire(3), front.wire()
        wire.ok("CLIENT", "TRACKING", "ON")
        wire.ask("GET", "a")
        other.ok("FLUSHALL")
        assert wire.reply() == b">2\r\n$10\r\ninvalidate\r\n_\r\n"

    def test_connection_is_not_handed_on(self, front: Front) -> None:
        wire = front.wire(3)
        wire.ok("CLIENT", "TRACKING", "ON", "BCAST")
        wire.close()
        others = front.wires(5, 3)
        for number, other in enumerate(others):
            assert other.ask_all(["MULTI"], ["SET", "a", number], ["EXEC"])[-1] == b"*1\r\n+OK\r\n"
        for other in others:
            assert other.ask("PING") == b"+PONG\r\n"

    def test_trackinginfo(self, front: Front) -> None:
        wire = front.wire(3)
        wire.ok("CLIENT", "TRACKING", "ON", "BCAST")
        assert wire.ask("CLIENT", "TRACKINGINFO").startswith(b"%3\r\n$5\r\nflags\r\n~2\r\n")
        assert wire.ask("CLIENT", "GETREDIR") == b":0\r\n"

    def test_resp2_client_redirects_to_a_subscriber(self, front: Front) -> None:
        """The old way of caching clients: invalidations go to a second connection, named by its CLIENT ID."""
        wire, listener, other = front.wires(3)
        identity = listener.ask("CLIENT", "ID")[1:-2]
        listener.ask("SUBSCRIBE", "__redis__:invalidate")
        wire.ok("CLIENT", "TRACKING", "ON", "REDIRECT", identity)
        wire.ask("GET", "a")
        other.ok("SET", "a", "2")
        assert listener.reply() == b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\na\r\n"


class TestNoEvict:
    def test_flag_stays_with_its_client(self, front: Front) -> None:
        wire, other = front.wires(2)
        wire.ok("CLIENT", "NO-EVICT", "on")
        flags = [row["flags"] for row in front.server.clients()]
        assert sum("e" in flag for flag in flags) == 1
        assert other.ask("PING") == b"+PONG\r\n"
        wire.close()
        until(
            lambda: all("e" not in row["flags"] for row in front.server.clients()), "the flagged connection to be gone"
        )

    def test_off(self, front: Front) -> None:
        wire = front.wire()
        wire.ok("CLIENT", "NO-EVICT", "on")
        wire.ok("CLIENT", "NO-EVICT", "off")
        assert wire.ask("GET", "a") == b"$-1\r\n"


class TestScriptDebug:
    def test_wrong_mode(self, front: Front) -> None:
        assert front.wire().ask("SCRIPT", "DEBUG", "BAD") == b"-ERR Use SCRIPT DEBUG YES/SYNC/NO\r\n"

    @pytest.mark.parametrize("mode", ["YES", "SYNC"])
    def test_debugged_script_harms_nobody_else(self, front: Front, mode: str) -> None:
        """Refused or pinned: either way another client's script runs to its end."""
        wire, other = front.wires(2)
        reply = wire.ask("SCRIPT", "DEBUG", mode)
        assert reply == b"+OK\r\n" or reply.startswith(b"-ERR")
        assert other.ask("EVAL", "return 1", 0) == b":1\r\n"
        if reply == b"+OK\r\n":
            wire.ok("SCRIPT", "DEBUG", "NO")
        wire.close()
        assert front.wire().ask("EVAL", "return 2", 0) == b":2\r\n"
