"""SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE: the mode of RESP2, the pushes of RESP3, and the way back to normal.

Spec: https://redis.io/docs/latest/develop/interact/pubsub/
"""

from __future__ import annotations

import threading

import pytest

from mosnpy.testing.front import Front
from mosnpy.testing.resp import Wire, encode, parse
from mosnpy.testing.waiting import until


def bulk(text: str) -> bytes:
    raw = text.encode()
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


def event(kind: str, channel: str | None, count: int, protocol: int = 2) -> bytes:
    """subscribe, unsubscribe and their kin."""
    name = bulk(channel) if channel is not None else (b"_\r\n" if protocol == 3 else b"$-1\r\n")
    return (b">" if protocol == 3 else b"*") + b"3\r\n" + bulk(kind) + name + b":%d\r\n" % count


def message(channel: str, text: str, protocol: int = 2, kind: str = "message") -> bytes:
    return (b">" if protocol == 3 else b"*") + b"3\r\n" + bulk(kind) + bulk(channel) + bulk(text)


@pytest.mark.parametrize("protocol", [2, 3])
class TestDelivery:
    def test_channel(self, front: Front, protocol: int) -> None:
        wire, other = front.wire(protocol), front.wire()
        assert wire.ask("SUBSCRIBE", "ch") == event("subscribe", "ch", 1, protocol)
        assert other.ask("PUBLISH", "ch", "hello") == b":1\r\n"
        assert wire.reply() == message("ch", "hello", protocol)

    def test_several_channels_in_one_command(self, front: Front, protocol: int) -> None:
        wire = front.wire(protocol)
        wire.send("SUBSCRIBE", "a", "b", "c", "a")
        assert wire.replies(4) == [
            event("subscribe", name, count, protocol) for name, count in (("a", 1), ("b", 2), ("c", 3), ("a", 3))
        ]

    def test_pattern(self, front: Front, protocol: int) -> None:
        wire, other = front.wire(protocol), front.wire()
        assert wire.ask("PSUBSCRIBE", "news.*") == event("psubscribe", "news.*", 1, protocol)
        assert other.ask("PUBLISH", "news.it", "x") == b":1\r\n"
        head = b">" if protocol == 3 else b"*"
        assert wire.reply() == head + b"4\r\n" + bulk("pmessage") + bulk("news.*") + bulk("news.it") + bulk("x")
        assert other.ask("PUBLISH", "other", "x") == b":0\r\n"

    def test_shard_channel(self, front: Front, protocol: int) -> None:
        wire, other = front.wire(protocol), front.wire()
        assert wire.ask("SSUBSCRIBE", "sch") == event("ssubscribe", "sch", 1, protocol)
        assert other.ask("SPUBLISH", "sch", "x") == b":1\r\n"
        assert wire.reply() == message("sch", "x", protocol, "smessage")
        assert wire.ask("SUNSUBSCRIBE", "sch") == event("sunsubscribe", "sch", 0, protocol)

    def test_unsubscribing_counts_down(self, front: Front, protocol: int) -> None:
        wire = front.wire(protocol)
        wire.send_raw(encode("SUBSCRIBE", "a", "b") + encode("PSUBSCRIBE", "p*"))
        wire.replies(3)
        assert wire.ask("UNSUBSCRIBE", "a") == event("unsubscribe", "a", 2, protocol)
        assert wire.ask("UNSUBSCRIBE", "not-subscribed") == event("unsubscribe", "not-subscribed", 2, protocol)
        assert wire.ask("PUNSUBSCRIBE") == event("punsubscribe", "p*", 1, protocol)
        assert wire.ask("UNSUBSCRIBE") == event("unsubscribe", "b", 0, protocol)
        assert wire.ask("UNSUBSCRIBE") == event("unsubscribe", None, 0, protocol)

    def test_back_to_normal_after_the_last_channel(self, front: Front, protocol: int) -> None:
        wire, other = front.wire(protocol), front.wire()
        for turn in range(3):
            wire.ask("SUBSCRIBE", "ch")
            wire.ask("UNSUBSCRIBE", "ch")
            assert wire.ask("SET", "a", turn) == b"+OK\r\n"
            assert wire.ask("GET", "a") == b"$1\r\n%d\r\n" % turn
            assert wire.ask_all(["MULTI"], ["GET", "a"], ["EXEC"])[-1] == b"*1\r\n$1\r\n%d\r\n" % turn
        assert other.ask("PUBLISH", "ch", "x") == b":0\r\n"
        assert wire.ask("PING") == b"+PONG\r\n"

    def test_many_subscribers_of_one_channel(self, front: Front, protocol: int) -> None:
        wires, other = front.wires(30, protocol), front.wire()
        for wire in wires:
            assert wire.ask("SUBSCRIBE", "ch") == event("subscribe", "ch", 1, protocol)
        assert other.ask("PUBLISH", "ch", "all") == b":30\r\n"
        assert {wire.reply() for wire in wires} == {message("ch", "all", protocol)}

    def test_messages_arrive_in_order_and_whole(self, front: Front, protocol: int) -> None:
        wire, other = front.wire(protocol, timeout=20), front.wire()
        wire.ask("SUBSCRIBE", "ch")
        texts = [str(number) + "x" * (number * 37 % 5000) for number in range(2000)]
        sender = threading.Thread(target=lambda: other.ask_all(*[("PUBLISH", "ch", text) for text in texts]))
        sender.start()
        for text in texts:
            assert wire.reply() == message("ch", text, protocol)
        sender.join()

    def test_subscriber_that_leaves_is_forgotten(self, front: Front, protocol: int) -> None:
        wire, other = front.wire(protocol), front.wire()
        wire.ask("SUBSCRIBE", "ch")
        wire.close()
        until(lambda: other.ask("PUBLISH", "ch", "x") == b":0\r\n", "the subscription to end with its client")


class TestModeOfResp2:
    REFUSED = b"-ERR Can't execute '%b': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\r\n"

    @pytest.fixture
    def subscriber(self, front: Front) -> Wire:
        wire = front.wire()
        wire.ask("SUBSCRIBE", "ch")
        return wire

    @pytest.mark.parametrize(
        "words",
        [
            ["GET", "a"],
            ["SET", "a", "1"],
            ["MULTI"],
            ["SELECT", "1"],
            ["PUBLISH", "ch", "x"],
            ["ECHO", "x"],
            ["CLIENT", "ID"],
        ],
    )
    def test_other_commands_are_refused(self, subscriber: Wire, words: list[str]) -> None:
        name = words[0].lower().encode()
        if words[0] == "CLIENT":
            name = b"client|id"
        assert subscriber.ask(*words) == self.REFUSED % name
        assert subscriber.ask("PING") == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"

    def test_ping_has_its_own_form(self, subscriber: Wire) -> None:
        assert subscriber.ask("PING") == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
        assert subscriber.ask("PING", "hi") == b"*2\r\n$4\r\npong\r\n$2\r\nhi\r\n"

    def test_unknown_command(self, subscriber: Wire) -> None:
        assert subscriber.ask("NOSUCH") == b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n"

    def test_quit(self, subscriber: Wire) -> None:
        assert subscriber.ask("QUIT") == b"+OK\r\n"
        assert subscriber.rest() == b""

    def test_reset_leaves_the_mode(self, subscriber: Wire, front: Front) -> None:
        assert subscriber.ask("RESET") == b"+RESET\r\n"
        assert subscriber.ask("PING") == b"+PONG\r\n"
        assert front.wire().ask("PUBLISH", "ch", "x") == b":0\r\n"

    def test_hello_is_refused(self, subscriber: Wire) -> None:
        assert subscriber.ask("HELLO", 3) == self.REFUSED % b"hello"


class TestPushesOfResp3:
    def test_commands_go_on_beside_the_subscription(self, front: Front) -> None:
        wire, other = front.wire(3), front.wire()
        wire.ask("SUBSCRIBE", "ch")
        wire.ok("SET", "a", "1")
        assert other.ask("PUBLISH", "ch", "x") == b":1\r\n"
        wire.send("GET", "a")
        got = [wire.reply(), wire.reply()]
        assert sorted(got) == sorted([message("ch", "x", 3), b"$1\r\n1\r\n"])
        assert wire.ask("PING") == b"+PONG\r\n"

    def test_pushes_never_tear_a_reply_or_change_the_order_of_replies(self, front: Front) -> None:
        wire, other = front.wire(3, timeout=20), front.wire()
        wire.ask("SUBSCRIBE", "ch")
        wire.ask("HSET", "h", *[word for number in range(100) for word in (f"f{number}", "v" * 50)])
        other.send_raw(b"".join(encode("PUBLISH", "ch", number) for number in range(500)))
        wire.send_raw(b"".join(encode("HGETALL", "h") + encode("INCR", "n") for _ in range(250)))
        pushes: list[bytes] = []
        replies: list[bytes] = []
        while len(pushes) < 500 or len(replies) < 500:
            raw = wire.reply()
            (pushes if raw[:1] == b">" else replies).append(raw)
        assert pushes == [message("ch", str(number), 3) for number in range(500)]
        assert replies[1::2] == [b":%d\r\n" % number for number in range(1, 251)]
        assert len(parse(replies[0]).members) == 200
        assert set(replies[0::2]) == {replies[0]}

    def test_publishing_to_oneself(self, front: Front) -> None:
        """Redis 7 sends the push of the publisher's own message after the reply… or before: both orders are legal RESP3."""
        wire = front.wire(3)
        wire.ask("SUBSCRIBE", "ch")
        wire.send("PUBLISH", "ch", "me")
        assert sorted([wire.reply(), wire.reply()]) == sorted([message("ch", "me", 3), b":1\r\n"])

    def test_transaction_beside_a_subscription(self, front: Front) -> None:
        wire = front.wire(3)
        wire.ask("SUBSCRIBE", "ch")
        assert wire.ask_all(["MULTI"], ["SET", "a", "1"], ["EXEC"]) == [b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n+OK\r\n"]

    def test_subscribing_inside_a_transaction(self, front: Front) -> None:
        wire = front.wire(3)
        wire.ok("MULTI")
        assert wire.ask("SUBSCRIBE", "ch") == b"+QUEUED\r\n"
        assert wire.ask("EXEC") == b"*1\r\n" + event(
            "subscribe", "ch", 1, 3
        )  # Redis puts the push where the reply would be
        assert front.wire().ask("PUBLISH", "ch", "x") == b":1\r\n"


def test_reset_behind_other_commands_lets_them_finish(front: Front) -> None:
    wire = front.wire(3)
    wire.ask("SUBSCRIBE", "ch")
    replies = wire.ask_all(["SET", "a", "1"], ["GET", "a"], ["RESET"], ["GET", "a"])
    assert replies == [b"+OK\r\n", b"$1\r\n1\r\n", b"+RESET\r\n", b"$1\r\n1\r\n"]


def test_database_and_user_outlive_a_subscription(front: Front) -> None:
    front.server.command("ACL", "SETUSER", "x", "on", ">pw", "~x:*", "&*", "+@all")
    wire = front.wire()
    wire.ok("AUTH", "x", "pw")
    wire.ok("SELECT", 3)
    wire.ok("SET", "x:k", "three")
    wire.ask("SUBSCRIBE", "ch")
    wire.ask("UNSUBSCRIBE")
    assert wire.ask("GET", "x:k") == b"$5\r\nthree\r\n"
    assert wire.ask("GET", "y").startswith(b"-NOPERM")


def test_channel_permissions_are_those_of_the_user(front: Front) -> None:
    front.server.command("ACL", "SETUSER", "x", "on", ">pw", "~*", "resetchannels", "&allowed", "+@all")
    wire = front.wire()
    wire.ok("AUTH", "x", "pw")
    assert wire.ask("SUBSCRIBE", "forbidden").startswith(b"-NOPERM")
    assert wire.ask("PUBLISH", "forbidden", "x").startswith(b"-NOPERM")
    assert wire.ask("SUBSCRIBE", "allowed") == event("subscribe", "allowed", 1)


def test_pubsub_command_sees_the_channels(front: Front) -> None:
    wire, other = front.wires(2)
    wire.send_raw(encode("SUBSCRIBE", "a", "b") + encode("PSUBSCRIBE", "p*") + encode("SSUBSCRIBE", "s"))
    wire.replies(4)
    assert sorted(member.value or b"" for member in parse(other.ask("PUBSUB", "CHANNELS")).members) == [b"a", b"b"]
    assert other.ask("PUBSUB", "NUMSUB", "a", "c") == b"*4\r\n$1\r\na\r\n:1\r\n$1\r\nc\r\n:0\r\n"
    assert other.ask("PUBSUB", "NUMPAT") == b":1\r\n"
    assert other.ask("PUBSUB", "SHARDCHANNELS") == b"*1\r\n$1\r\ns\r\n"


def test_subscriptions_do_not_pile_up_connections(proxied: Front) -> None:
    wire = proxied.wire()
    wire.ask("SUBSCRIBE", "ch")
    wire.ask("UNSUBSCRIBE")
    before = proxied.server.connections_received()
    for _ in range(100):
        wire.ask("SUBSCRIBE", "ch")
        wire.ask("UNSUBSCRIBE")
    assert proxied.server.connections_received() - before <= 1


def test_keyspace_notifications(front: Front) -> None:
    wire, other = front.wires(2)
    other.ok("CONFIG", "SET", "notify-keyspace-events", "KEA")
    try:
        wire.ask("PSUBSCRIBE", "__keyspace@0__:*")
        other.ok("SET", "a", "1")
        assert wire.reply() == b"*4\r\n" + bulk("pmessage") + bulk("__keyspace@0__:*") + bulk(
            "__keyspace@0__:a"
        ) + bulk("set")
    finally:
        other.ok("CONFIG", "SET", "notify-keyspace-events", "")
