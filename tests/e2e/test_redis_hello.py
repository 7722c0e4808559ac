"""HELLO and the two protocols side by side: every client of one listener chooses its own, and may change its mind.

Spec: https://redis.io/docs/latest/commands/hello/
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mosnpy.testing.front import Front
from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import Node, Wire, parse
from mosnpy.testing.waiting import free_port, until

FIELDS = ["server", "version", "proto", "id", "mode", "role", "modules"]


def fields(node: Node) -> dict[str, Node]:
    names = [(member.value or b"").decode() for member in node.members[::2]]
    return dict(zip(names, node.members[1::2], strict=True))


@pytest.mark.parametrize("protocol", [2, 3])
def test_hello_answers_in_the_protocol_it_asked_for(front: Front, protocol: int) -> None:
    wire = front.wire()
    node = wire.hello(protocol)
    answer = fields(node)
    assert node.kind == ("%" if protocol == 3 else "*")
    assert list(answer) == FIELDS
    assert answer["server"].value == b"redis"
    assert answer["version"].value == b"7.0.15"
    assert answer["proto"] == Node(":", str(protocol).encode())
    assert answer["mode"].value == b"standalone"
    assert answer["role"].value == b"master"


def test_hello_without_arguments_tells_the_current_protocol(front: Front) -> None:
    wire = front.wire()
    assert fields(parse(wire.ask("HELLO")))["proto"].value == b"2"
    wire.hello(3)
    assert fields(parse(wire.ask("HELLO")))["proto"].value == b"3"


def test_hello_switches_back_and_forth_within_one_session(front: Front) -> None:
    wire = front.wire()
    wire.ask("HSET", "h", "f", "v")
    assert wire.ask("HGETALL", "h") == b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
    wire.hello(3)
    assert wire.ask("HGETALL", "h") == b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n"
    assert wire.ask("GET", "missing") == b"_\r\n"
    wire.hello(2)
    assert wire.ask("HGETALL", "h") == b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
    assert wire.ask("GET", "missing") == b"$-1\r\n"


def test_hello_in_a_pipeline_holds_for_what_comes_after_it(front: Front) -> None:
    """The replies before the switch must not be re-shaped, those after it must be."""
    wire = front.wire()
    replies = wire.ask_all(
        ["GET", "x"], ["HELLO", 3], ["GET", "x"], ["HELLO", 2], ["GET", "x"], ["HELLO", "3"], ["ZSCORE", "z", "m"]
    )
    assert [replies[at] for at in (0, 2, 4, 6)] == [b"$-1\r\n", b"_\r\n", b"$-1\r\n", b"_\r\n"]
    assert [replies[at][:1] for at in (1, 3, 5)] == [b"%", b"*", b"%"]


def test_both_protocols_live_on_one_listener(front: Front) -> None:
    old, new = front.wire(), front.wire(3)
    old.ask("ZADD", "z", "1.5", "m")
    for _ in range(20):
        assert old.ask("ZSCORE", "z", "m") == b"$3\r\n1.5\r\n"
        assert new.ask("ZSCORE", "z", "m") == b",1.5\r\n"
        assert old.ask("SMEMBERS", "none") == b"*0\r\n"
        assert new.ask("SMEMBERS", "none") == b"~0\r\n"
        assert old.ask("HGETALL", "none") == b"*0\r\n"
        assert new.ask("HGETALL", "none") == b"%0\r\n"


def test_pipelines_of_both_protocols_interleave(front: Front) -> None:
    """Requests of RESP2 and RESP3 clients meet on shared upstream connections; each gets its own shapes in its own order."""
    wires = [(front.wire(protocol), protocol) for protocol in (2, 3, 2, 3, 2, 3)]
    wires[0][0].ask("HSET", "h", "a", "1")
    for wire, _ in wires:
        for _ in range(50):
            wire.send("HGETALL", "h")
            wire.send("GET", "missing")
    for wire, protocol in wires:
        expected = (
            [b"%1\r\n$1\r\na\r\n$1\r\n1\r\n", b"_\r\n"]
            if protocol == 3
            else [b"*2\r\n$1\r\na\r\n$1\r\n1\r\n", b"$-1\r\n"]
        )
        assert wire.replies(100) == expected * 50


def test_hello_sets_the_name(front: Front) -> None:
    wire = front.wire()
    assert wire.hello(3, "SETNAME", "fred").kind == "%"
    assert wire.ask("CLIENT", "GETNAME") == b"$4\r\nfred\r\n"


def test_hello_authenticates(front: Front) -> None:
    front.server.command("ACL", "SETUSER", "alice", "on", ">pw", "~*", "&*", "+@all")
    wire = front.wire()
    assert wire.hello(3, "AUTH", "alice", "pw", "SETNAME", "al").kind == "%"
    assert wire.ask("ACL", "WHOAMI") == b"$5\r\nalice\r\n"
    assert wire.ask("CLIENT", "GETNAME") == b"$2\r\nal\r\n"


def test_hello_with_a_wrong_password_changes_nothing(front: Front) -> None:
    wire = front.wire()
    assert (
        wire.ask("HELLO", 3, "AUTH", "default2", "nope")
        == b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
    )
    assert wire.ask("GET", "missing") == b"$-1\r\n"


def test_hello_before_auth_on_a_protected_server(front: Front) -> None:
    front.server.protect("secret")
    wire = front.wire()
    assert wire.ask("HELLO", 3) == (
        b"-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> "
        b"option can be used to authenticate the client and select the RESP protocol version at the same time\r\n"
    )
    assert wire.ask("GET", "a") == b"-NOAUTH Authentication required.\r\n"
    assert wire.hello(3, "AUTH", "default", "secret").kind == "%"
    assert wire.ask("GET", "a") == b"_\r\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["4"], b"-NOPROTO unsupported protocol version\r\n"),
        (["1"], b"-NOPROTO unsupported protocol version\r\n"),
        (["abc"], b"-ERR Protocol version is not an integer or out of range\r\n"),
        (["3", "NOSUCH"], b"-ERR Syntax error in HELLO option 'NOSUCH'\r\n"),
        (["3", "SETNAME"], b"-ERR Syntax error in HELLO option 'SETNAME'\r\n"),
        (["3", "AUTH", "default"], b"-ERR Syntax error in HELLO option 'AUTH'\r\n"),
        (["3", "SETNAME", "a b"], b"-ERR Client names cannot contain spaces, newlines or special characters.\r\n"),
    ],
)  # fmt: skip
def test_hello_errors_are_those_of_redis(front: Front, words: list[str], error: bytes) -> None:
    wire = front.wire()
    assert wire.ask("HELLO", *words) == error
    assert wire.ask("PING") == b"+PONG\r\n"


def test_setinfo_is_answered_as_this_redis_answers_it(front: Front) -> None:
    """7.0 has no CLIENT SETINFO; libraries send it and ignore the error. Text and framing must not differ."""
    wire = front.wire()
    reply = wire.ask("CLIENT", "SETINFO", "LIB-NAME", "redis-py")
    assert reply in (
        b"+OK\r\n",
        b"-ERR Unknown subcommand or wrong number of arguments for 'SETINFO'. Try CLIENT HELP.\r\n",
        b"-ERR unknown subcommand 'SETINFO'. Try CLIENT HELP.\r\n",
    )
    assert wire.ask("PING") == b"+PONG\r\n"


def test_reset_returns_to_resp2(front: Front) -> None:
    wire = front.wire(3)
    assert wire.ask("RESET") == b"+RESET\r\n"
    assert wire.ask("GET", "missing") == b"$-1\r\n"


def test_ids_of_clients_differ(front: Front) -> None:
    ids = [fields(wire.hello(3))["id"].value for wire in front.wires(5)]
    assert len(set(ids)) == 5


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_password_that_is_given_up_is_asked_for_no_longer(proxied: Front, protocol: int) -> None:
    """Redis goes on to refuse HELLO on connections it let in while there was one: those must not stay in the pool."""
    proxied.server.protect("secret")
    wire = proxied.wire()
    assert wire.ask("HELLO", protocol).startswith(b"-NOAUTH")
    proxied.server.command("ACL", "SETUSER", "default", "nopass")
    until(lambda: not parse(wire.ask("HELLO", protocol)).is_error, "HELLO to be welcome again")


class TestServerWithoutResp3:
    """A server that refuses HELLO behind the proxy: RESP3 clients are served all the same."""

    def test_client_gets_resp3(self, old_proxied: Front) -> None:
        wire = old_proxied.wire()
        assert fields(wire.hello(3))["proto"].value == b"3"
        wire.ask("HSET", "h", "f", "v")
        wire.ask("ZADD", "z", "1.5", "m")
        wire.ask("SADD", "s", "1")
        assert wire.ask("HGETALL", "h") == b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n"
        assert wire.ask("ZSCORE", "z", "m") == b",1.5\r\n"
        assert wire.ask("SMEMBERS", "s") == b"~1\r\n$1\r\n1\r\n"
        assert wire.ask("GET", "none") == b"_\r\n"
        assert wire.ask("ZRANGE", "z", 0, -1, "WITHSCORES") == b"*1\r\n*2\r\n$1\r\nm\r\n,1.5\r\n"

    def test_resp2_clients_are_not_touched(self, old_proxied: Front) -> None:
        new, old = old_proxied.wire(3), old_proxied.wire()
        new.ask("HSET", "h", "f", "v")
        assert old.ask("HGETALL", "h") == b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
        assert old.ask("GET", "none") == b"$-1\r\n"

    def test_large_map_is_streamed_with_its_resp3_head(self, old_proxied: Front) -> None:
        wire = old_proxied.wire(3)
        wire.ask_all(*[("HSET", "big", f"f{number}", "v" * 1000) for number in range(3000)])
        node = parse(wire.ask("HGETALL", "big"))
        assert (node.kind, len(node.members)) == ("%", 6000)

    def test_transaction_replies_are_shaped_by_the_queued_commands(self, old_proxied: Front) -> None:
        wire = old_proxied.wire(3)
        wire.ask_all(["HSET", "h", "f", "v"], ["ZADD", "z", "2.5", "m"])
        wire.ask_all(["MULTI"], ["HGETALL", "h"], ["GET", "none"], ["ZSCORE", "z", "m"])
        assert wire.ask("EXEC") == b"*3\r\n%1\r\n$1\r\nf\r\n$1\r\nv\r\n_\r\n,2.5\r\n"

    def test_commands_go_on_beside_a_subscription(self, old_proxied: Front) -> None:
        """The server's RESP2 mode refuses them on the subscribed connection: they need another."""
        wire, other = old_proxied.wire(3), old_proxied.wire()
        wire.ask("SUBSCRIBE", "ch")
        assert wire.ask("SET", "a", "1") == b"+OK\r\n"
        assert wire.ask("GET", "none") == b"_\r\n"
        assert wire.ask_all(["MULTI"], ["GET", "a"], ["EXEC"])[-1] == b"*1\r\n$1\r\n1\r\n"
        assert other.ask("PUBLISH", "ch", "hi") == b":1\r\n"
        assert wire.reply() == b">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$2\r\nhi\r\n"

    def test_hello_while_a_connection_is_borrowed(self, old_proxied: Front) -> None:
        wire = old_proxied.wire()
        wire.ok("WATCH", "w")
        wire.hello(3)
        assert wire.ask("GET", "none") == b"_\r\n"
        wire.hello(2)
        assert wire.ask_all(["GET", "none"], ["MULTI"], ["GET", "none"], ["EXEC"])[::3] == [
            b"$-1\r\n",
            b"*1\r\n$-1\r\n",
        ]

    def test_subscriptions_become_pushes(self, old_proxied: Front) -> None:
        wire, other = old_proxied.wire(3), old_proxied.wire()
        assert wire.ask("SUBSCRIBE", "ch") == b">3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n"
        assert other.ask("PUBLISH", "ch", "hi") == b":1\r\n"
        assert wire.reply() == b">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$2\r\nhi\r\n"

    def test_watch_and_subscription_side_by_side(self, old_proxied: Front) -> None:
        """Whichever comes first, each has its connection; the one that watches still does after the other has gone."""
        for first, second in (("WATCH", "SUBSCRIBE"), ("SUBSCRIBE", "WATCH")):
            wire, other = old_proxied.wire(3), old_proxied.wire()
            for word in (first, second):
                assert wire.ask(word, "w")[:1] in (b"+", b">")
            assert wire.ask("UNSUBSCRIBE", "w") == b">3\r\n$11\r\nunsubscribe\r\n$1\r\nw\r\n:0\r\n"
            other.ok("SET", "w", first)
            assert wire.ask_all(["MULTI"], ["GET", "w"], ["EXEC"])[-1] == b"_\r\n"
            assert wire.ask("GET", "none") == b"_\r\n"

    def test_a_pipeline_keeps_its_order_over_both_connections(self, old_proxied: Front) -> None:
        wire = old_proxied.wire(3)
        wire.ok("SELECT", 7)  # nothing is connected there yet: what the server speaks shows only later
        message = b">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$2\r\nhi\r\n"
        for _ in range(20):
            for words in (
                ["MULTI"], ["HGETALL", "none"], ["EXEC"], ["SUBSCRIBE", "ch"], ["PUBLISH", "ch", "hi"],
                ["MULTI"], ["HGETALL", "none"], ["EXEC"], ["UNSUBSCRIBE", "ch"], ["PUBLISH", "ch", "hi"],
            ):  # fmt: skip
                wire.send(*words)
            replies = wire.replies(11)
            assert replies.index(message) in range(4, 9)
            replies.remove(message)
            transaction = [b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n%0\r\n"]
            assert replies[:3] == replies[5:8] == transaction
            assert [replies[at] for at in (4, 9)] == [b":1\r\n", b":0\r\n"]

    def test_messages_keep_their_order_between_large_replies(self, old_proxied: Front) -> None:
        wire, other = old_proxied.wire(3), old_proxied.wire()
        wire.ok("SET", "big", "v" * 1_000_000)
        wire.ask("SUBSCRIBE", "ch")
        for _ in range(20):
            wire.send("GET", "big")
        assert other.ask_all(*[("PUBLISH", "ch", number) for number in range(300)]) == [b":1\r\n"] * 300
        seen = wire.replies(320)
        assert [parse(raw).members[2].value for raw in seen if raw[:1] == b">"] == [b"%d" % at for at in range(300)]

    def test_messages_come_before_the_end_of_the_session(self, old_proxied: Front) -> None:
        for _ in range(30):
            wire = old_proxied.wire(3)
            wire.ask("SUBSCRIBE", "ch")
            wire.send("PUBLISH", "ch", "hi")
            wire.send("RESET")
            replies = wire.replies(3)
            assert sorted(raw[:1] for raw in replies[:2]) == [b":", b">"]
            assert replies[2] == b"+RESET\r\n"
            wire.close()

    def test_hello_with_credentials_while_a_connection_is_borrowed(self, old_proxied: Front) -> None:
        """The server knows no HELLO, but the AUTH that is in it."""
        old_proxied.server.command("ACL", "SETUSER", "alice", "on", ">pw", "~*", "&*", "+@all")
        wire = old_proxied.wire()
        wire.ok("WATCH", "w")
        assert wire.ask("HELLO", 3, "AUTH", "alice", "wrong").startswith(b"-WRONGPASS")
        assert wire.ask("GET", "none") == b"$-1\r\n"
        assert fields(wire.hello(3, "AUTH", "alice", "pw"))["proto"].value == b"3"
        replies = wire.ask_all(["ACL", "WHOAMI"], ["MULTI"], ["ACL", "WHOAMI"], ["GET", "none"], ["EXEC"])
        assert [replies[0], replies[-1]] == [b"$5\r\nalice\r\n", b"*2\r\n$5\r\nalice\r\n_\r\n"]

    def test_a_subscriber_goes_back_to_resp2(self, old_proxied: Front) -> None:
        wire, other = old_proxied.wire(3), old_proxied.wire()
        wire.ask("SUBSCRIBE", "ch")
        wire.ok("SELECT", 1)
        assert wire.hello(2).kind == "*"
        assert other.ask("PUBLISH", "ch", "hi") == b":1\r\n"
        assert wire.reply() == b"*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$2\r\nhi\r\n"
        assert wire.ask("GET", "none").startswith(b"-ERR Can't execute 'get'")
        assert wire.ask("UNSUBSCRIBE", "ch") == b"*3\r\n$11\r\nunsubscribe\r\n$2\r\nch\r\n:0\r\n"
        assert wire.ask("GET", "none") == b"$-1\r\n"


def test_resp3_that_is_off_is_never_asked_for(
    start_proxy: Callable[..., ProxyProcess], main_server: RedisServer
) -> None:
    """HELLO 3 over a connection that others share, or that has been borrowed, would change what it speaks."""
    main_server.clean()
    port = free_port()
    start_proxy({
        "listeners": {"front": {"bind": f"127.0.0.1:{port}", "protocol": "redis", "to": "main"}},
        "upstreams": {"main": {"protocol": "redis", "endpoints": [main_server.endpoint], "resp3": "off"}},
    })  # fmt: skip
    wire, watcher = Wire(("127.0.0.1", port)), Wire(("127.0.0.1", port))
    watcher.ok("WATCH", "w")
    for one in (wire, watcher):
        answer = fields(one.hello(3))
        assert (answer["proto"].value, answer["version"].value) == (b"3", b"7.0.15")
        assert one.ask("HGETALL", "none") == b"%0\r\n"
    assert watcher.ask_all(["MULTI"], ["HGETALL", "none"], ["EXEC"])[-1] == b"*1\r\n%0\r\n"
    listed = main_server.command("CLIENT", "LIST").value or b""
    assert b" cmd=hgetall" in listed or b" cmd=exec" in listed
    assert all(b" resp=2" in line for line in listed.splitlines() if b" cmd=client|list" not in line)


def test_changes_hold_while_replies_are_off(front: Front) -> None:
    wire = front.wire()
    for words in (
        ["CLIENT", "REPLY", "OFF"],
        ["SELECT", 3],
        ["SET", "there", 1],
        ["HELLO", 3],
        ["CLIENT", "REPLY", "ON"],
    ):
        wire.send(*words)
    assert wire.reply() == b"+OK\r\n"
    assert wire.ask_all(["GET", "there"], ["GET", "none"], ["SELECT", 0], ["GET", "there"]) == [
        b"$1\r\n1\r\n", b"_\r\n", b"+OK\r\n", b"_\r\n"
    ]  # fmt: skip
