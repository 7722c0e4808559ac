"""MULTI, EXEC, DISCARD, WATCH: one client's transaction, on a connection borrowed and given back clean.

Spec: https://redis.io/docs/latest/develop/interact/transactions/
"""

from __future__ import annotations

import threading

import pytest

from mosnpy.testing.front import Front
from mosnpy.testing.resp import Wire, encode
from mosnpy.testing.waiting import until


def test_exec_runs_what_was_queued(front: Front) -> None:
    wire = front.wire()
    wire.ok("MULTI")
    assert wire.ask("SET", "a", "1") == b"+QUEUED\r\n"
    assert wire.ask("INCR", "a") == b"+QUEUED\r\n"
    assert front.wire().ask("GET", "a") == b"$-1\r\n"
    assert wire.ask("EXEC") == b"*2\r\n+OK\r\n:2\r\n"


def test_transaction_in_one_write(front: Front) -> None:
    wire = front.wire()
    replies = wire.ask_all(["GET", "a"], ["MULTI"], ["SET", "a", "1"], ["GET", "a"], ["EXEC"], ["GET", "a"], ["PING"])
    assert replies == [
        b"$-1\r\n",
        b"+OK\r\n",
        b"+QUEUED\r\n",
        b"+QUEUED\r\n",
        b"*2\r\n+OK\r\n$1\r\n1\r\n",
        b"$1\r\n1\r\n",
        b"+PONG\r\n",
    ]


def test_many_transactions_in_one_write(front: Front) -> None:
    wire = front.wire()
    commands = [["MULTI"], ["INCR", "n"], ["EXEC"], ["GET", "n"]] * 100
    replies = wire.ask_all(*commands)
    for turn in range(100):
        count = str(turn + 1).encode()
        assert replies[turn * 4 + 2] == b"*1\r\n:%b\r\n" % count
        assert replies[turn * 4 + 3] == b"$%d\r\n%b\r\n" % (len(count), count)


def test_discard_forgets(front: Front) -> None:
    wire = front.wire()
    assert wire.ask_all(["MULTI"], ["SET", "a", "1"], ["DISCARD"], ["GET", "a"]) == [
        b"+OK\r\n",
        b"+QUEUED\r\n",
        b"+OK\r\n",
        b"$-1\r\n",
    ]


def test_commands_the_proxy_answers_itself_are_queued_too(front: Front) -> None:
    """Envoy answers PING at once inside MULTI; Redis queues it."""
    wire = front.wire()
    replies = wire.ask_all(["MULTI"], ["PING"], ["ECHO", "x"], ["PING", "y"], ["EXEC"])
    assert replies == [
        b"+OK\r\n",
        b"+QUEUED\r\n",
        b"+QUEUED\r\n",
        b"+QUEUED\r\n",
        b"*3\r\n+PONG\r\n$1\r\nx\r\n$1\r\ny\r\n",
    ]


def test_unknown_command_aborts(front: Front) -> None:
    wire = front.wire()
    assert wire.ask_all(["MULTI"], ["SET", "a", "1"], ["NOSUCH"], ["EXEC"])[2:] == [
        b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n",
        b"-EXECABORT Transaction discarded because of previous errors.\r\n",
    ]
    assert wire.ask("GET", "a") == b"$-1\r\n"


def test_wrong_arity_aborts(front: Front) -> None:
    wire = front.wire()
    assert wire.ask_all(["MULTI"], ["GET"], ["EXEC"])[1:] == [
        b"-ERR wrong number of arguments for 'get' command\r\n",
        b"-EXECABORT Transaction discarded because of previous errors.\r\n",
    ]


def test_errors_while_running_do_not_abort(front: Front) -> None:
    wire = front.wire()
    replies = wire.ask_all(["MULTI"], ["SET", "a", "text"], ["INCR", "a"], ["SET", "b", "1"], ["EXEC"])
    assert replies[-1] == b"*3\r\n+OK\r\n-ERR value is not an integer or out of range\r\n+OK\r\n"


@pytest.mark.parametrize(
    ("commands", "last"),
    [
        ([["EXEC"]], b"-ERR EXEC without MULTI\r\n"),
        ([["DISCARD"]], b"-ERR DISCARD without MULTI\r\n"),
        ([["MULTI"], ["MULTI"]], b"-ERR MULTI calls can not be nested\r\n"),
        ([["MULTI"], ["WATCH", "a"]], b"-ERR WATCH inside MULTI is not allowed\r\n"),
        ([["MULTI"], ["EXEC"]], b"*0\r\n"),
        ([["MULTI"], ["MULTI"], ["SET", "a", "1"], ["EXEC"]], b"*1\r\n+OK\r\n"),
        ([["MULTI"], ["WATCH", "a"], ["SET", "a", "1"], ["EXEC"]], b"*1\r\n+OK\r\n"),
        ([["UNWATCH"]], b"+OK\r\n"),
        ([["WATCH", "a"], ["UNWATCH"]], b"+OK\r\n"),
    ],
)
def test_states(front: Front, commands: list[list[str]], last: bytes) -> None:
    wire = front.wire()
    assert wire.ask_all(*commands)[-1] == last
    wire.ask("DISCARD")
    assert wire.ask("ECHO", "still here") == b"$10\r\nstill here\r\n"


class TestWatch:
    def test_exec_after_a_foreign_write_is_refused(self, front: Front) -> None:
        wire, other = front.wires(2)
        wire.ok("SET", "a", "1")
        wire.ok("WATCH", "a")
        other.ok("SET", "a", "2")
        assert wire.ask_all(["MULTI"], ["SET", "a", "3"], ["EXEC"])[-1] == b"*-1\r\n"
        assert wire.ask("GET", "a") == b"$1\r\n2\r\n"

    def test_refused_exec_is_a_resp3_null(self, front: Front) -> None:
        wire, other = front.wire(3), front.wire()
        wire.ok("WATCH", "a")
        other.ok("SET", "a", "2")
        assert wire.ask_all(["MULTI"], ["PING"], ["EXEC"])[-1] == b"_\r\n"

    def test_undisturbed_watch(self, front: Front) -> None:
        wire, other = front.wires(2)
        wire.ok("WATCH", "a")
        other.ok("SET", "b", "2")
        assert wire.ask_all(["MULTI"], ["SET", "a", "3"], ["EXEC"])[-1] == b"*1\r\n+OK\r\n"

    def test_unwatch_forgets(self, front: Front) -> None:
        wire, other = front.wires(2)
        wire.ok("WATCH", "a")
        wire.ok("UNWATCH")
        other.ok("SET", "a", "2")
        assert wire.ask_all(["MULTI"], ["SET", "a", "3"], ["EXEC"])[-1] == b"*1\r\n+OK\r\n"

    def test_discard_forgets_the_watch(self, front: Front) -> None:
        wire, other = front.wires(2)
        wire.ok("WATCH", "a")
        wire.ask_all(["MULTI"], ["DISCARD"])
        other.ok("SET", "a", "2")
        assert wire.ask_all(["MULTI"], ["SET", "a", "3"], ["EXEC"])[-1] == b"*1\r\n+OK\r\n"

    def test_own_read_between_watch_and_multi(self, front: Front) -> None:
        """The pattern of every optimistic lock: the read must see what WATCH guards, on whatever connection it runs."""
        wire = front.wire()
        wire.ok("SET", "n", "5")
        wire.ok("WATCH", "n")
        assert wire.ask("GET", "n") == b"$1\r\n5\r\n"
        assert wire.ask_all(["MULTI"], ["SET", "n", "6"], ["EXEC"])[-1] == b"*1\r\n+OK\r\n"

    def test_own_write_after_watch_refuses(self, front: Front) -> None:
        wire = front.wire()
        wire.ok("WATCH", "n")
        wire.ok("SET", "n", "5")
        assert wire.ask_all(["MULTI"], ["SET", "n", "6"], ["EXEC"])[-1] == b"*-1\r\n"

    def test_watch_is_not_inherited_by_the_next_user_of_the_connection(self, front: Front) -> None:
        first, other = front.wires(2)
        first.ok("WATCH", "a")
        first.close()
        second = front.wire()
        assert second.ask_all(["MULTI"], ["SET", "b", "1"], ["EXEC"])[-1] == b"*1\r\n+OK\r\n"
        other.ok("SET", "a", "2")
        assert second.ask_all(["MULTI"], ["SET", "b", "1"], ["EXEC"])[-1] == b"*1\r\n+OK\r\n"

    def test_concurrent_increments_lose_nothing(self, front: Front) -> None:
        """Ten clients, each 20 increments by WATCH, GET, MULTI, SET, EXEC; a leak of any state loses one."""
        wires = front.wires(10)

        def work(wire: Wire) -> None:
            for _ in range(20):
                while True:
                    wire.ok("WATCH", "n")
                    raw = wire.ask("GET", "n")
                    number = 0 if raw == b"$-1\r\n" else int(raw.split(b"\r\n")[1])
                    if wire.ask_all(["MULTI"], ["SET", "n", number + 1], ["EXEC"])[-1] != b"*-1\r\n":
                        break

        threads = [threading.Thread(target=work, args=(wire,)) for wire in wires]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert front.server.text("GET", "n") == "200"


class TestClientsThatDie:
    @pytest.mark.parametrize("how", ["close", "reset"])
    @pytest.mark.parametrize(
        "state", [["MULTI"], ["MULTI", "SET"], ["WATCH"], ["WATCH", "MULTI", "SET"], ["MULTI", "EXEC-unread"]], ids="-".join
    )  # fmt: skip
    def test_connection_comes_back_clean(self, front: Front, state: list[str], how: str) -> None:
        words = {"MULTI": ["MULTI"], "SET": ["SET", "dirty", "1"], "WATCH": ["WATCH", "w"], "EXEC-unread": ["EXEC"]}
        dying = front.wire()
        if "EXEC-unread" in state:
            dying.send_raw(encode("MULTI") + encode("EXEC"))
        else:
            dying.ask_all(*[words[step] for step in state])
        if how == "close":
            dying.close()
        else:
            dying.reset()
        front.server.command("SET", "w", "changed")
        for wire in front.wires(5):
            assert wire.ask("SET", "x", "1") == b"+OK\r\n"  # +QUEUED when the MULTI leaked
            assert wire.ask_all(["MULTI"], ["GET", "x"], ["EXEC"]) == [b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n$1\r\n1\r\n"]
        assert front.wire().ask("EXISTS", "dirty") == b":0\r\n"

    def test_half_a_command_inside_multi(self, front: Front) -> None:
        dying = front.wire()
        dying.ok("MULTI")
        dying.send_raw(encode("SET", "dirty", "x" * 1000)[:-100])
        dying.close()
        assert front.wire().ask_all(["MULTI"], ["GET", "x"], ["EXEC"])[-1] == b"*1\r\n$-1\r\n"

    def test_large_value_cut_inside_multi(self, front: Front) -> None:
        """A big argument is streamed to the borrowed connection before it is whole: that connection can't be reused."""
        dying = front.wire()
        dying.ok("MULTI")
        dying.send_raw(encode("SET", "dirty", "x" * 2_000_000)[:-100_000])
        dying.close()
        for wire in front.wires(3):
            assert wire.ask_all(["MULTI"], ["GET", "dirty"], ["EXEC"])[-1] == b"*1\r\n$-1\r\n"


class TestBorrowedConnections:
    def test_two_hundred_transactions_open_few_connections(self, proxied: Front) -> None:
        """Envoy opens one upstream connection per transaction."""
        wire = proxied.wire()
        wire.ask_all(["MULTI"], ["EXEC"])
        before = proxied.server.connections_received()
        for number in range(200):
            assert wire.ask_all(["MULTI"], ["SET", "a", number], ["GET", "a"], ["EXEC"])[-1].startswith(
                b"*2\r\n+OK\r\n"
            )
        assert proxied.server.connections_received() - before <= 1

    def test_two_hundred_clients_one_after_the_other(self, proxied: Front) -> None:
        proxied.wire().ask_all(["MULTI"], ["EXEC"])
        before = proxied.server.connections_received()
        for _ in range(200):
            with Wire(proxied.address) as wire:
                wire.ok("WATCH", "a")
                assert wire.ask_all(["MULTI"], ["INCR", "a"], ["EXEC"])[-1].startswith(b"*1\r\n")
        assert proxied.server.connections_received() - before <= 2
        assert proxied.server.text("GET", "a") == "200"

    def test_open_transactions_each_have_their_own_connection(self, front: Front) -> None:
        wires = front.wires(30)
        for number, wire in enumerate(wires):
            wire.ok("MULTI")
            assert wire.ask("SET", f"k{number}", number) == b"+QUEUED\r\n"
        for number, wire in enumerate(wires):
            assert wire.ask("GET", f"k{number}") == b"+QUEUED\r\n"
        for number, wire in enumerate(wires):
            digits = str(number).encode()
            assert wire.ask("EXEC") == b"*2\r\n+OK\r\n$%d\r\n%b\r\n" % (len(digits), digits)

    def test_others_are_not_delayed_by_an_open_transaction(self, front: Front) -> None:
        slow, other = front.wires(2)
        slow.ok("MULTI")
        slow.ask("SET", "a", "1")
        assert other.ask("SET", "a", "2") == b"+OK\r\n"
        assert other.ask("GET", "a") == b"$1\r\n2\r\n"
        assert slow.ask("EXEC") == b"*1\r\n+OK\r\n"
        assert other.ask("GET", "a") == b"$1\r\n1\r\n"

    def test_connections_are_clean_on_the_server_afterwards(self, proxied: Front) -> None:
        wires = proxied.wires(5)
        for wire in wires:
            wire.ok("SELECT", 3)
            wire.ok("WATCH", "a")
            wire.ok("MULTI")
        for wire in wires:
            wire.close()

        def clean() -> bool:
            return all(row["multi"] == "-1" and "x" not in row["flags"] for row in proxied.server.clients())

        until(clean, "no connection in MULTI to be left")
