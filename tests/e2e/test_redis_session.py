"""What belongs to one client stays with it: database, user, name. Shared upstream connections must not leak any of them."""

from __future__ import annotations

import random

import pytest

from mosnpy.testing.front import Front
from mosnpy.testing.resp import Closed, Wire, encode, parse
from mosnpy.testing.waiting import until


class TestSelect:
    def test_each_client_has_its_own_database(self, front: Front) -> None:
        wires = front.wires(6)
        for number, wire in enumerate(wires):
            wire.ok("SELECT", number)
            wire.ok("SET", "where", f"db{number}")
        for _ in range(10):
            for number, wire in enumerate(wires):
                assert wire.ask("GET", "where") == b"$3\r\ndb%d\r\n" % number

    def test_client_in_db_0_is_not_moved_by_another(self, front: Front) -> None:
        """Envoy 1.40 fails this: the SELECT of one client moves the shared connection of all."""
        first, second = front.wire(), front.wire()
        first.ok("SET", "k", "zero")
        second.ok("SELECT", 1)
        assert second.ask("GET", "k") == b"$-1\r\n"
        assert first.ask("GET", "k") == b"$4\r\nzero\r\n"
        second.ok("SET", "k", "one")
        assert first.ask("GET", "k") == b"$4\r\nzero\r\n"
        assert front.server.text("GET", "k") == "zero"

    def test_select_within_a_pipeline_holds_for_what_follows(self, front: Front) -> None:
        wire = front.wire()
        commands = [word for db in "01234567" for word in (["SELECT", db], ["SET", "k", db], ["INCR", "n"])]
        assert wire.ask_all(*commands) == [b"+OK\r\n", b"+OK\r\n", b":1\r\n"] * 8
        commands = [word for db in "3073" for word in (["SELECT", db], ["GET", "k"])]
        assert wire.ask_all(*commands)[1::2] == [b"$1\r\n3\r\n", b"$1\r\n0\r\n", b"$1\r\n7\r\n", b"$1\r\n3\r\n"]

    def test_many_clients_in_many_databases_at_random(self, front: Front) -> None:
        dice = random.Random(7)
        wires = front.wires(20)
        databases = [0] * len(wires)
        for _ in range(400):
            number = dice.randrange(len(wires))
            wire = wires[number]
            if dice.random() < 0.3:
                databases[number] = dice.randrange(16)
                wire.ok("SELECT", databases[number])
            value = f"{databases[number]}".encode()
            assert wire.ask_all(["SET", "mine", value], ["GET", "mine"])[1] == b"$%d\r\n%b\r\n" % (len(value), value)
        for number, wire in enumerate(wires):
            reply = parse(wire.ask("GET", "mine"))
            assert reply.value in (b"%d" % databases[number], None)

    def test_failed_select_stays_where_it_was(self, front: Front) -> None:
        wire = front.wire()
        wire.ok("SELECT", 2)
        wire.ok("SET", "k", "two")
        assert wire.ask("SELECT", 16) == b"-ERR DB index is out of range\r\n"
        assert wire.ask("SELECT", "x").startswith(b"-ERR")
        assert wire.ask("GET", "k") == b"$3\r\ntwo\r\n"

    def test_database_holds_for_transactions_and_blocking_commands(self, front: Front) -> None:
        wire = front.wire()
        wire.ok("SELECT", 4)
        assert wire.ask_all(["MULTI"], ["SET", "t", "1"], ["EXEC"])[2] == b"*1\r\n+OK\r\n"
        wire.ask("RPUSH", "list", "x")
        assert wire.ask("BLPOP", "list", 1) == b"*2\r\n$4\r\nlist\r\n$1\r\nx\r\n"
        front.wire().ask("RPUSH", "list", "in0")
        assert wire.ask("BLPOP", "list", 0.05) == b"*-1\r\n"
        assert wire.ask("GET", "t") == b"$1\r\n1\r\n"

    def test_select_inside_a_transaction_moves_the_client_afterwards(self, front: Front) -> None:
        wire = front.wire()
        wire.ask_all(["MULTI"], ["SELECT", 5], ["SET", "k", "five"], ["EXEC"])
        assert wire.ask("GET", "k") == b"$4\r\nfive\r\n"
        assert front.wire().ask("GET", "k") == b"$-1\r\n"

    def test_new_client_starts_in_db_0(self, front: Front) -> None:
        wire = front.wire()
        wire.ok("SELECT", 9)
        wire.ok("SET", "k", "nine")
        wire.close()
        assert front.wire().ask("GET", "k") == b"$-1\r\n"

    def test_reset_goes_back_to_db_0(self, front: Front) -> None:
        wire = front.wire()
        wire.ok("SELECT", 3)
        wire.ok("SET", "k", "three")
        assert wire.ask("RESET") == b"+RESET\r\n"
        assert wire.ask("GET", "k") == b"$-1\r\n"


class TestUsers:
    @pytest.fixture
    def users(self, front: Front) -> Front:
        """x may touch x:*, y may touch y:*, the default user may only PING and AUTH."""
        for name in ("x", "y"):
            front.server.command("ACL", "SETUSER", name, "on", f">{name}pw", f"~{name}:*", "&*", "+@all", "-@admin")
        front.server.command(
            "ACL", "SETUSER", "default", "resetkeys", "-@all", "+ping", "+hello", "+auth", "+get", "~open:*"
        )
        return front

    def test_clients_act_as_their_own_users(self, users: Front) -> None:
        x, y, nobody = users.wire(), users.wire(), users.wire()
        x.ok("AUTH", "x", "xpw")
        y.ok("AUTH", "y", "ypw")
        for _ in range(20):
            x.ok("SET", "x:1", "of x")
            y.ok("SET", "y:1", "of y")
            assert x.ask("GET", "y:1").startswith(b"-NOPERM")
            assert y.ask("GET", "x:1").startswith(b"-NOPERM")
            assert nobody.ask("GET", "x:1").startswith(b"-NOPERM")
            assert nobody.ask("GET", "open:1") == b"$-1\r\n"
            assert nobody.ask("SET", "open:1", "x").startswith(b"-NOPERM")
        assert x.ask("ACL", "WHOAMI") == b"$1\r\nx\r\n"

    def test_pipelines_of_different_users_do_not_mix(self, users: Front) -> None:
        wires = {name: [users.wire() for _ in range(5)] for name in ("x", "y")}
        for name, own in wires.items():
            for wire in own:
                wire.ok("AUTH", name, f"{name}pw")
        for own in wires.values():
            for wire in own:
                wire.send_raw(b"".join(encode("SET", f"{n}:k", n) for n in ("x", "y") * 20))
        for name, own in wires.items():
            for wire in own:
                replies = wire.replies(40)
                good, bad = (replies[0::2], replies[1::2]) if name == "x" else (replies[1::2], replies[0::2])
                assert set(good) == {b"+OK\r\n"}
                assert all(reply.startswith(b"-NOPERM") for reply in bad)

    def test_auth_in_a_pipeline_holds_for_what_follows(self, users: Front) -> None:
        wire = users.wire()
        replies = wire.ask_all(
            ["GET", "x:1"],
            ["AUTH", "x", "xpw"],
            ["SET", "x:1", "v"],
            ["AUTH", "y", "ypw"],
            ["GET", "x:1"],
            ["SET", "y:1", "v"],
        )
        assert [reply[:7] for reply in replies] == [
            b"-NOPERM",
            b"+OK\r\n",
            b"+OK\r\n",
            b"+OK\r\n",
            b"-NOPERM",
            b"+OK\r\n",
        ]

    def test_wrong_password_keeps_the_user(self, users: Front) -> None:
        wire = users.wire()
        wire.ok("AUTH", "x", "xpw")
        assert wire.ask("AUTH", "y", "wrong") == b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
        wire.ok("SET", "x:1", "still x")
        assert wire.ask("GET", "y:1").startswith(b"-NOPERM")

    def test_user_holds_for_transactions_and_blocking_commands(self, users: Front) -> None:
        wire = users.wire()
        wire.ok("AUTH", "x", "xpw")
        replies = wire.ask_all(["MULTI"], ["SET", "x:1", "1"], ["SET", "y:1", "1"], ["EXEC"])
        assert replies[:2] == [b"+OK\r\n", b"+QUEUED\r\n"]
        assert replies[2].startswith(b"-NOPERM")
        assert replies[3].startswith(b"-EXECABORT")
        wire.ask("RPUSH", "x:list", "e")
        assert wire.ask("BLPOP", "x:list", 1) == b"*2\r\n$6\r\nx:list\r\n$1\r\ne\r\n"
        assert wire.ask("BLPOP", "y:list", 1).startswith(b"-NOPERM")
        # The borrowed connections are back in their pool: the default user must not have become x.
        nobody = users.wire()
        assert nobody.ask("MULTI").startswith(b"-NOPERM")
        assert nobody.ask("BLPOP", "x:list", 1).startswith(b"-NOPERM")

    def test_reset_goes_back_to_the_default_user(self, users: Front) -> None:
        users.server.command("ACL", "SETUSER", "default", "+reset")
        wire = users.wire()
        wire.ok("AUTH", "x", "xpw")
        wire.ok("SET", "x:1", "v")
        assert wire.ask("RESET") == b"+RESET\r\n"
        assert wire.ask("GET", "x:1").startswith(b"-NOPERM")

    def test_password_of_the_default_user(self, front: Front) -> None:
        front.server.protect("secret")
        wire = front.wire()
        assert wire.ask("GET", "a") == b"-NOAUTH Authentication required.\r\n"
        # The proxy answers PING itself: it can't know what the server would say of a stranger.
        assert wire.ask("PING") in (
            b"-NOAUTH Authentication required.\r\n",
            *([b"+PONG\r\n"] if front.is_proxy else []),
        )
        assert wire.ask("AUTH", "wrong") == b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
        wire.ok("AUTH", "secret")
        assert wire.ask("GET", "a") == b"$-1\r\n"
        assert front.wire().ask("GET", "a") == b"-NOAUTH Authentication required.\r\n"

    def test_auth_without_a_password_set(self, front: Front) -> None:
        wire = front.wire()
        assert wire.ask("AUTH", "x").startswith(b"-ERR AUTH <password> called without any password configured")

    def test_deleted_user_loses_access(self, users: Front) -> None:
        """Redis closes connections of a deleted user; whatever the proxy does, it must not serve on as somebody else."""
        wire = users.wire()
        wire.ok("AUTH", "x", "xpw")
        wire.ok("SET", "x:1", "v")
        users.server.command("ACL", "DELUSER", "x")

        def refused() -> bool:
            try:
                return wire.ask("GET", "x:1").startswith(b"-")
            except (Closed, OSError):
                return True

        until(refused, "the deleted user to be refused", timeout=3)


class TestChangesWhileAConnectionIsBorrowed:
    """SELECT, AUTH and HELLO must also reach what the client has borrowed: a watched, subscribed or tracked connection."""

    def test_select_after_watch(self, front: Front) -> None:
        wire = front.wire()
        wire.ok("WATCH", "w")
        wire.ok("SELECT", 3)
        assert wire.ask_all(["MULTI"], ["SET", "k", "three"], ["EXEC"])[-1] == b"*1\r\n+OK\r\n"
        assert wire.ask("GET", "k") == b"$5\r\nthree\r\n"
        assert front.wire().ask("GET", "k") == b"$-1\r\n"

    def test_watch_holds_over_select(self, front: Front) -> None:
        wire, other = front.wires(2)
        wire.ok("WATCH", "w")
        wire.ok("SELECT", 3)
        other.ok("SET", "w", "changed")
        assert wire.ask_all(["MULTI"], ["SET", "k", "three"], ["EXEC"])[-1] == b"*-1\r\n"

    def test_select_while_subscribed(self, front: Front) -> None:
        wire, other = front.wire(3), front.wire()
        wire.ask("SUBSCRIBE", "ch")
        wire.ok("SET", "k", "zero")
        wire.ok("SELECT", 3)
        assert wire.ask("GET", "k") == b"_\r\n"
        wire.ok("SET", "k", "three")
        assert other.ask("GET", "k") == b"$4\r\nzero\r\n"
        assert other.ask("PUBLISH", "ch", "x") == b":1\r\n"
        assert b"message" in wire.reply()

    def test_select_while_tracking(self, front: Front) -> None:
        wire, other = front.wire(3), front.wire()
        other.ok("SET", "a", "zero")
        wire.ok("CLIENT", "TRACKING", "ON")
        wire.ok("SELECT", 3)
        assert wire.ask("GET", "a") == b"_\r\n"
        other.ok("SELECT", 3)
        other.ok("SET", "a", "three")
        assert wire.reply().startswith(b">2\r\n$10\r\ninvalidate")
        assert wire.ask("GET", "a") == b"$5\r\nthree\r\n"

    def test_hello_after_watch(self, front: Front) -> None:
        wire, other = front.wires(2)
        other.ask("HSET", "h", "f", "v")
        wire.ok("WATCH", "w")
        wire.hello(3)
        assert wire.ask_all(["MULTI"], ["HGETALL", "h"], ["EXEC"])[-1] == b"*1\r\n%1\r\n$1\r\nf\r\n$1\r\nv\r\n"

    def test_auth_after_watch(self, front: Front) -> None:
        front.server.command("ACL", "SETUSER", "x", "on", ">pw", "~x:*", "&*", "+@all")
        wire = front.wire()
        wire.ok("WATCH", "w")
        wire.ok("AUTH", "x", "pw")
        replies = wire.ask_all(["MULTI"], ["SET", "k", "1"], ["EXEC"])
        assert replies[1].startswith(b"-NOPERM")
        assert replies[2].startswith(b"-EXECABORT")

    def test_auth_while_subscribed(self, front: Front) -> None:
        front.server.command("ACL", "SETUSER", "x", "on", ">pw", "~x:*", "&*", "+@all")
        wire = front.wire(3)
        wire.ask("SUBSCRIBE", "ch")
        wire.ok("AUTH", "x", "pw")
        assert wire.ask("SET", "k", "1").startswith(b"-NOPERM")
        wire.ok("SET", "x:k", "1")


class TestClientCommands:
    def test_names_belong_to_clients(self, front: Front) -> None:
        wires = front.wires(5)
        for number, wire in enumerate(wires):
            wire.ok("CLIENT", "SETNAME", f"client-{number}")
        for number, wire in enumerate(wires):
            assert wire.ask("CLIENT", "GETNAME") == b"$8\r\nclient-%d\r\n" % number
            wire.ask("GET", "x")
        assert front.wire().ask("CLIENT", "GETNAME") == b"$-1\r\n"
        assert front.wire(3).ask("CLIENT", "GETNAME") == b"_\r\n"

    def test_id_is_constant_and_unique(self, front: Front) -> None:
        wires = front.wires(5)
        ids = [wire.ask("CLIENT", "ID") for wire in wires]
        assert len(set(ids)) == 5
        for wire, own in zip(wires, ids, strict=True):
            wire.ask_all(["MULTI"], ["EXEC"])
            assert wire.ask("CLIENT", "ID") == own

    def test_info_describes_the_asking_client(self, front: Front) -> None:
        wire = front.wire()
        wire.ok("CLIENT", "SETNAME", "me")
        wire.ok("SELECT", 3)
        host, port = wire.socket.getsockname()
        row = describe(wire.ask("CLIENT", "INFO"))
        assert row["addr"] == f"{host}:{port}"
        assert row["name"] == "me"
        assert row["db"] == "3"
        assert row["id"] == wire.ask("CLIENT", "ID")[1:-2].decode()
        assert row["user"] == "default"
        assert row["cmd"] == "client|info"

    def test_list_shows_the_fronts_own_clients(self, front: Front) -> None:
        wires = front.wires(4)
        for number, wire in enumerate(wires):
            wire.ok("CLIENT", "SETNAME", f"list-{number}")
        rows = [
            describe_line(line) for line in (parse(wires[0].ask("CLIENT", "LIST")).value or b"").decode().splitlines()
        ]
        names = {row["name"]: row for row in rows}
        for number, wire in enumerate(wires):
            host, port = wire.socket.getsockname()
            assert names[f"list-{number}"]["addr"] == f"{host}:{port}"

    def test_list_by_id_and_type(self, front: Front) -> None:
        first, second = front.wires(2)
        wanted = second.ask("CLIENT", "ID")[1:-2]
        rows = (parse(first.ask("CLIENT", "LIST", "ID", wanted)).value or b"").splitlines()
        assert len(rows) == 1
        assert rows[0].startswith(b"id=" + wanted + b" ")
        assert parse(first.ask("CLIENT", "LIST", "TYPE", "replica")).value == b""

    def test_info_and_list_have_the_fields_of_redis(self, front: Front) -> None:
        with Wire(front.server.address) as direct:
            expected = describe(direct.ask("CLIENT", "INFO"))
        fields = list(describe(front.wire().ask("CLIENT", "INFO")))
        assert fields[: len(expected)] == list(expected)  # newer ones (lib-name …) may follow

    @pytest.mark.parametrize("by", ["ID", "ADDR", "old form"])
    def test_kill_ends_another_client(self, front: Front, by: str) -> None:
        killer, victim, bystander = front.wires(3)
        host, port = victim.socket.getsockname()
        identity = victim.ask("CLIENT", "ID")[1:-2]
        if by == "ID":
            assert killer.ask("CLIENT", "KILL", "ID", identity) == b":1\r\n"
        elif by == "ADDR":
            assert killer.ask("CLIENT", "KILL", "ADDR", f"{host}:{port}") == b":1\r\n"
        else:
            killer.ok("CLIENT", "KILL", f"{host}:{port}")
        assert victim.rest() == b""
        assert bystander.ask("PING") == b"+PONG\r\n"

    def test_kill_of_oneself_answers_first(self, front: Front) -> None:
        wire = front.wire()
        identity = wire.ask("CLIENT", "ID")[1:-2]
        assert wire.ask("CLIENT", "KILL", "ID", identity, "SKIPME", "no") == b":1\r\n"
        assert wire.rest() == b""

    def test_kill_by_user(self, front: Front) -> None:
        front.server.command("ACL", "SETUSER", "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victim = front.wires(2)
        victim.ok("AUTH", "x", "pw")
        assert killer.ask("CLIENT", "KILL", "USER", "x") == b":1\r\n"
        assert victim.rest() == b""
        assert killer.ask("PING") == b"+PONG\r\n"

    def test_pause_holds_writes_until_unpause(self, front: Front) -> None:
        controller, writer = front.wires(2)
        controller.ok("CLIENT", "PAUSE", 20000, "WRITE")
        writer.send("SET", "a", "1")
        assert controller.ask("GET", "a") == b"$-1\r\n"
        assert writer.silent(0.1)
        controller.ok("CLIENT", "UNPAUSE")
        assert writer.reply() == b"+OK\r\n"

    def test_pause_ends_by_itself(self, front: Front) -> None:
        controller, other = front.wires(2)
        controller.ok("CLIENT", "PAUSE", 150, "ALL")
        assert other.ask("SET", "a", "1") == b"+OK\r\n"

    def test_unblock_from_another_client(self, front: Front) -> None:
        waiting, other = front.wires(2)
        identity = waiting.ask("CLIENT", "ID")[1:-2]
        waiting.send("BLPOP", "none", 0)
        until(lambda: other.ask("CLIENT", "UNBLOCK", identity) == b":1\r\n", "the client to be blocked")
        assert waiting.reply() == b"*-1\r\n"
        waiting.send("BLPOP", "none", 0)
        until(lambda: other.ask("CLIENT", "UNBLOCK", identity, "ERROR") == b":1\r\n", "the client to be blocked")
        assert waiting.reply() == b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"


class TestEndings:
    def test_quit_answers_and_closes(self, front: Front) -> None:
        wire = front.wire()
        wire.send_raw(encode("SET", "a", "1") + encode("QUIT") + encode("SET", "a", "2"))
        assert wire.rest() == b"+OK\r\n+OK\r\n"
        assert front.server.text("GET", "a") == "1"

    def test_reset_clears_everything(self, front: Front) -> None:
        wire = front.wire(3)
        wire.ok("CLIENT", "SETNAME", "me")
        wire.ok("MULTI")
        assert wire.ask("RESET") == b"+RESET\r\n"
        assert wire.ask("CLIENT", "GETNAME") == b"$-1\r\n"
        assert wire.ask("EXEC") == b"-ERR EXEC without MULTI\r\n"


def describe_line(line: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in line.strip().split(" "))


def describe(raw: bytes) -> dict[str, str]:
    return describe_line((parse(raw).value or b"").decode())
