"""Three Redis behind one address: keys by consistent hash, multi-key commands split and merged, the rest refused clearly.

What must look like one Redis runs against one Redis too (`one_or_shards`).
"""

from __future__ import annotations

from collections import Counter

import pytest

from mosnpy.testing.front import Front
from mosnpy.testing.resp import Wire, encode, parse, texts
from mosnpy.testing.waiting import until

CROSSSLOT = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"


def keys_on_different_shards(front: Front, count: int = 2) -> list[str]:
    """Names of keys that lie on different shards, found by setting them and looking behind the proxy."""
    wire = front.wire()
    found: dict[int, str] = {}
    for number in range(200):
        key = f"spread:{number}"
        wire.ok("SET", key, "x")
        for index, server in enumerate(front.servers):
            if server.number("EXISTS", key):
                found.setdefault(index, key)
        wire.ask("DEL", key)
        if len(found) >= count:
            return list(found.values())[:count]
    raise AssertionError(f"200 keys lie on {len(found)} shards")


class TestOneRedis:
    """The same script on one server and on three."""

    def test_multi_key_commands(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        keys = [f"k{number}" for number in range(60)]
        wire.ok("MSET", *[word for key in keys for word in (key, f"v-{key}")])
        assert [member.value for member in parse(wire.ask("MGET", *keys)).members] == [
            f"v-{key}".encode() for key in keys
        ]
        assert texts(wire.ask("MGET", "k5", "none", "k3", "k5")) == ["v-k5", "", "v-k3", "v-k5"]
        assert wire.ask("MGET", "none") == b"*1\r\n$-1\r\n"
        assert wire.ask("EXISTS", *keys, "none", "k0") == b":61\r\n"
        assert wire.ask("TOUCH", *keys, "none") == b":60\r\n"
        assert wire.ask("DBSIZE") == b":60\r\n"
        assert wire.ask("UNLINK", *keys[:20], "none") == b":20\r\n"
        assert wire.ask("DEL", *keys) == b":40\r\n"
        assert wire.ask("DBSIZE") == b":0\r\n"

    def test_mget_nulls_in_resp3(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire(3)
        wire.ok("MSET", "a", "1", "b", "2", "c", "3")
        assert wire.ask("MGET", "a", "none", "b", "c") == b"*4\r\n$1\r\n1\r\n_\r\n$1\r\n2\r\n$1\r\n3\r\n"

    def test_repeated_keys_of_mset_keep_the_last_value(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        wire.ok("MSET", "a", "1", "b", "2", "a", "3")
        assert wire.ask("MGET", "a", "b") == b"*2\r\n$1\r\n3\r\n$1\r\n2\r\n"

    def test_mget_of_a_wrong_type_is_null(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        wire.ok("SET", "a", "1")
        wire.ask("LPUSH", "list", "x")
        assert wire.ask("MGET", "a", "list") == b"*2\r\n$1\r\n1\r\n$-1\r\n"

    @pytest.mark.parametrize(
        ("words", "name"),
        [(["MGET"], "mget"), (["MSET", "a"], "mset"), (["DEL"], "del"), (["MSET", "a", "1", "b"], "mset")],
    )
    def test_arity(self, one_or_shards: Front, words: list[str], name: str) -> None:
        assert one_or_shards.wire().ask(*words) == f"-ERR wrong number of arguments for '{name}' command\r\n".encode()

    def test_thousand_keys_in_one_command(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        keys = [f"key:{number}" for number in range(1000)]
        wire.ok("MSET", *[word for key in keys for word in (key, key * 20)])
        assert texts(wire.ask("MGET", *keys)) == [key * 20 for key in keys]
        assert wire.ask("DEL", *keys) == b":1000\r\n"

    def test_split_commands_in_a_pipeline(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        block = [
            ["MSET", "a", "1", "b", "2", "c", "3"],
            ["MGET", "c", "b", "a"],
            ["INCR", "n"],
            ["EXISTS", "a", "b", "c"],
            ["PING"],
            ["DEL", "a", "b"],
        ]
        replies = wire.ask_all(*(block * 50))
        for turn in range(50):
            assert replies[turn * 6 : turn * 6 + 6] == [
                b"+OK\r\n", b"*3\r\n$1\r\n3\r\n$1\r\n2\r\n$1\r\n1\r\n", b":%d\r\n" % (turn + 1), b":3\r\n", b"+PONG\r\n", b":2\r\n",
            ]  # fmt: skip

    def test_large_values_in_split_commands(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire(timeout=30)
        values = {f"big{number}": bytes([65 + number]) * 700_000 for number in range(6)}
        wire.ok("MSET", *[word for key, value in values.items() for word in (key, value)])
        assert [member.value for member in parse(wire.ask("MGET", *values)).members] == list(values.values())

    def test_keys(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        names = {f"user:{number}" for number in range(50)}
        wire.ask_all(*[("SET", name, "x") for name in names | {"other"}])
        assert set(texts(wire.ask("KEYS", "user:*"))) == names
        assert wire.ask("KEYS", "nothing*") == b"*0\r\n"

    @pytest.mark.parametrize("count", [1, 7, 1000])
    def test_scan_visits_every_key_once_when_nothing_changes(self, one_or_shards: Front, count: int) -> None:
        wire = one_or_shards.wire()
        names = {f"key:{number}" for number in range(300)}
        wire.ask_all(*[("SET", name, "x") for name in names])
        cursor, seen, turns = "0", list[str](), 0
        while True:
            node = parse(wire.ask("SCAN", cursor, "COUNT", count))
            cursor = (node.members[0].value or b"").decode()
            assert cursor.isdigit(), "clients parse the cursor as an unsigned number of 64 bits"
            assert int(cursor) < 1 << 64
            seen += [(member.value or b"").decode() for member in node.members[1].members]
            turns += 1
            if cursor == "0":
                break
            assert turns < 2000, "SCAN never ends"
        assert set(seen) == names

    def test_scan_with_match_and_type(self, one_or_shards: Front) -> None:
        client = one_or_shards.client()
        client.mset({f"s:{number}": "x" for number in range(100)})
        client.rpush("s:list", "x")
        assert len(set(client.scan_iter("s:1*"))) == 11
        assert list(client.scan_iter("s:*", _type="list")) == [b"s:list"]
        assert len(set(client.scan_iter("s:*"))) == 101

    def test_scan_of_nothing(self, one_or_shards: Front) -> None:
        client = one_or_shards.client()
        assert list(client.scan_iter()) == []

    @pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB"])
    def test_flush(self, one_or_shards: Front, command: str) -> None:
        wire = one_or_shards.wire()
        wire.ask_all(*[("SET", f"k{number}", "x") for number in range(50)])
        wire.ok(command)
        assert [server.number("DBSIZE") for server in one_or_shards.servers] == [0] * len(one_or_shards.servers)

    def test_flushdb_of_the_clients_own_database(self, one_or_shards: Front) -> None:
        first, second = one_or_shards.wires(2)
        second.ok("SELECT", 2)
        for number in range(30):
            first.ok("SET", f"k{number}", "x")
            second.ok("SET", f"k{number}", "x")
        second.ok("FLUSHDB")
        assert second.ask("DBSIZE") == b":0\r\n"
        assert first.ask("DBSIZE") == b":30\r\n"

    def test_scripts_are_known_everywhere(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        sha = (parse(wire.ask("SCRIPT", "LOAD", "return redis.call('INCR', KEYS[1])")).value or b"").decode()
        for number in range(30):
            assert wire.ask("EVALSHA", sha, 1, f"k{number}") == b":1\r\n"
        assert wire.ask("SCRIPT", "EXISTS", sha, "0" * 40) == b"*2\r\n:1\r\n:0\r\n"
        wire.ok("SCRIPT", "FLUSH")
        assert wire.ask("SCRIPT", "EXISTS", sha) == b"*1\r\n:0\r\n"
        assert wire.ask("EVALSHA", sha, 1, "k").startswith(b"-NOSCRIPT")

    def test_functions_are_known_everywhere(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        code = "#!lua name=lib\nredis.register_function('inc', function(keys, args) return redis.call('INCR', keys[1]) end)"
        assert wire.ask("FUNCTION", "LOAD", code) == b"$3\r\nlib\r\n"
        for number in range(30):
            assert wire.ask("FCALL", "inc", 1, f"k{number}") == b":1\r\n"
        assert wire.ask("FUNCTION", "LOAD", code) == b"-ERR Library 'lib' already exists\r\n"
        wire.ok("FUNCTION", "DELETE", "lib")
        assert wire.ask("FCALL", "inc", 1, "k") == b"-ERR Function not found\r\n"

    def test_config_set_reaches_all(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        wire.ok("CONFIG", "SET", "slowlog-max-len", "77")
        assert {
            server.command("CONFIG", "GET", "slowlog-max-len").members[1].value for server in one_or_shards.servers
        } == {b"77"}
        assert wire.ask("CONFIG", "GET", "slowlog-max-len") == b"*2\r\n$15\r\nslowlog-max-len\r\n$2\r\n77\r\n"
        wire.ok("CONFIG", "SET", "slowlog-max-len", "128")

    def test_info_is_one_text(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        wire.ask_all(*[("SET", f"k{number}", "x") for number in range(30)])
        text = (parse(wire.ask("INFO")).value or b"").decode()
        assert "redis_version:7.0.15" in text
        assert "# Keyspace" in text
        assert "keys=30" in text

    def test_randomkey_and_single_key_commands(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        assert wire.ask("RANDOMKEY") == b"$-1\r\n"
        for number in range(40):
            assert wire.ask("HSET", f"h{number}", "f", number) == b":1\r\n"
        for number in range(40):
            assert wire.ask("HINCRBY", f"h{number}", "f", 1) == b":%d\r\n" % (number + 1)

    def test_hash_tags_keep_keys_together(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        wire.ok("MSET", "{user1}:a", "1", "{user1}:b", "2", "x{user1}", "3")
        wire.ok("RENAME", "{user1}:a", "{user1}:c")
        assert (
            wire.ask_all(["MULTI"], ["GET", "{user1}:b"], ["GET", "{user1}:c"], ["EXEC"])[-1]
            == b"*2\r\n$1\r\n2\r\n$1\r\n1\r\n"
        )
        assert wire.ask("EVAL", "return redis.call('GET', KEYS[2])", 2, "{user1}:b", "x{user1}") == b"$1\r\n3\r\n"

    def test_pubsub(self, one_or_shards: Front) -> None:
        subscribers, other = one_or_shards.wires(6), one_or_shards.wire()
        for number, wire in enumerate(subscribers):
            assert wire.ask("SUBSCRIBE", f"ch{number}").endswith(b":1\r\n")
        for number, wire in enumerate(subscribers):
            assert other.ask("PUBLISH", f"ch{number}", "x") == b":1\r\n"
            assert texts(wire.reply()) == ["message", f"ch{number}", "x"]

    def test_one_subscriber_of_many_channels(self, one_or_shards: Front) -> None:
        """The channels may have different homes; the client sees one subscription, counted through."""
        wire, other = one_or_shards.wire(3), one_or_shards.wire()
        names = [f"channel-{number}" for number in range(12)]
        wire.send("SUBSCRIBE", *names)
        assert [parse(wire.reply()).members[2].value for _ in names] == [
            str(number).encode() for number in range(1, 13)
        ]
        for name in names:
            assert other.ask("PUBLISH", name, "x") == b":1\r\n"
            assert texts(wire.reply()) == ["message", name, "x"]

    def test_pattern_subscriber_sees_every_channel(self, one_or_shards: Front) -> None:
        wire, other = one_or_shards.wire(), one_or_shards.wire()
        wire.ask("PSUBSCRIBE", "ch*")
        for number in range(12):
            other.ask("PUBLISH", f"ch{number}", "x")
        assert sorted(texts(wire.reply())[2] for _ in range(12)) == sorted(f"ch{number}" for number in range(12))

    def test_transaction_on_one_key(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        for number in range(20):
            replies = wire.ask_all(["MULTI"], ["SET", f"k{number}", "1"], ["INCR", f"k{number}"], ["EXEC"])
            assert replies == [b"+OK\r\n", b"+QUEUED\r\n", b"+QUEUED\r\n", b"*2\r\n+OK\r\n:2\r\n"]

    def test_transactions_on_many_keys_in_one_write(self, one_or_shards: Front) -> None:
        """Each chooses its own shard, while the EXEC of the one before is not answered yet."""
        wire = one_or_shards.wire()
        commands = [word for number in range(40) for word in (["MULTI"], ["INCR", f"k{number}"], ["PING"], ["EXEC"])]
        assert wire.ask_all(*commands) == [b"+OK\r\n", b"+QUEUED\r\n", b"+QUEUED\r\n", b"*2\r\n:1\r\n+PONG\r\n"] * 40

    def test_transactions_without_a_key_in_one_write(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        commands = [
            word
            for number in range(20)
            for word in (["MULTI"], ["PING"], ["EXEC"], ["MULTI"], ["INCR", f"k{number}"], ["EXEC"])
        ]
        expected = [b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n+PONG\r\n", b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n:1\r\n"]
        assert wire.ask_all(*commands) == expected * 20

    def test_watches_on_many_keys_in_one_write(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        commands = [
            word
            for number in range(20)
            for word in (["WATCH", f"k{number}"], ["MULTI"], ["INCR", f"k{number}"], ["EXEC"])
        ]
        assert wire.ask_all(*commands) == [b"+OK\r\n", b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n:1\r\n"] * 20

    def test_watch_on_one_key(self, one_or_shards: Front) -> None:
        wire, other = one_or_shards.wires(2)
        for number in range(10):
            key = f"k{number}"
            wire.ok("WATCH", key)
            other.ok("SET", key, "x")
            assert wire.ask_all(["MULTI"], ["SET", key, "y"], ["EXEC"])[-1] == b"*-1\r\n"
            wire.ok("WATCH", key)
            assert wire.ask_all(["MULTI"], ["SET", key, "y"], ["EXEC"])[-1] == b"*1\r\n+OK\r\n"

    def test_blocking_on_one_key(self, one_or_shards: Front) -> None:
        wires, other = one_or_shards.wires(10), one_or_shards.wire()
        for number, wire in enumerate(wires):
            wire.send("BLPOP", f"q{number}", 0)
        until(
            lambda: sum(int(server.info("clients")["blocked_clients"]) for server in one_or_shards.servers) == 10,
            "ten blocked clients",
        )
        for number, wire in enumerate(wires):
            other.ask("RPUSH", f"q{number}", "x")
            assert wire.reply().endswith(b"$1\r\nx\r\n")

    def test_empty_and_odd_hash_tags(self, one_or_shards: Front) -> None:
        wire = one_or_shards.wire()
        for key in ("{}", "{}a", "a{", "a}b{", "{{a}}", "{a}{b}", "", "{"):
            wire.ok("SET", key, key)
            assert wire.ask("GET", key) == encode(key)[4:]


class TestShardsOnly:
    def test_keys_are_spread(self, shards: Front) -> None:
        wire = shards.wire()
        wire.ask_all(*[("SET", f"key:{number}", "x") for number in range(3000)])
        sizes = [server.number("DBSIZE") for server in shards.servers]
        assert sum(sizes) == 3000
        assert min(sizes) > 500, sizes

    def test_a_key_always_goes_to_the_same_shard(self, shards: Front) -> None:
        for wire in shards.wires(5):
            for number in range(50):
                wire.ask("INCR", f"n{number}")
        wire = shards.wire()
        assert {wire.ask("GET", f"n{number}") for number in range(50)} == {b"$1\r\n5\r\n"}

    @pytest.mark.parametrize(
        "words",
        [["RENAME", 0, 1], ["SUNION", 0, 1], ["SINTERSTORE", 0, 1, 1], ["BITOP", "AND", 0, 1], ["ZUNION", 2, 0, 1], ["EVAL", "return 1", 2, 0, 1],
         ["MSETNX", 0, "x", 1, "y"], ["LMOVE", 0, 1, "LEFT", "LEFT"], ["BLPOP", 0, 1, "1"], ["COPY", 0, 1], ["SMOVE", 0, 1, "x"],
         ["PFMERGE", 0, 1], ["LCS", 0, 1], ["XREAD", "STREAMS", 0, 1, "0", "0"], ["SORT", 0, "STORE", 1], ["GEORADIUS", 0, 1, 1, 1, "km", "STORE", 1]],
        ids=lambda words: words[0],
    )  # fmt: skip
    def test_keys_of_two_shards_are_refused(self, shards: Front, words: list[str | int]) -> None:
        keys = keys_on_different_shards(shards)
        position = {"EVAL": 3, "ZUNION": 2}.get(str(words[0]), 0)  # integers before it are counts, not keys
        if words[0] == "GEORADIUS":
            concrete: list[str | int] = ["GEORADIUS", keys[0], 1, 1, 1, "km", "STORE", keys[1]]
        else:
            concrete = [
                keys[word] if isinstance(word, int) and at >= position and word < 2 else word
                for at, word in enumerate(words)
            ]
        wire = shards.wire()
        assert wire.ask(*concrete) == CROSSSLOT
        assert wire.ask("PING") == b"+PONG\r\n"

    def test_transaction_over_two_shards_is_refused_and_aborts(self, shards: Front) -> None:
        first, second = keys_on_different_shards(shards)
        wire = shards.wire()
        replies = wire.ask_all(["MULTI"], ["SET", first, "1"], ["SET", second, "1"], ["EXEC"])
        assert replies[:2] == [b"+OK\r\n", b"+QUEUED\r\n"]
        assert replies[2] == CROSSSLOT
        assert replies[3].startswith(b"-EXECABORT")
        assert wire.ask("EXISTS", first, second) == b":0\r\n"

    def test_watch_over_two_shards_is_refused(self, shards: Front) -> None:
        first, second = keys_on_different_shards(shards)
        wire = shards.wire()
        assert wire.ask("WATCH", first, second) == CROSSSLOT
        assert wire.ask_all(["MULTI"], ["SET", first, "1"], ["EXEC"])[-1] == b"*1\r\n+OK\r\n"

    def test_dbsize_and_info_add_up(self, shards: Front) -> None:
        wire = shards.wire()
        wire.ask_all(*[("SET", f"k{number}", "x") for number in range(100)])
        assert wire.ask("DBSIZE") == b":100\r\n"
        sizes = [server.number("DBSIZE") for server in shards.servers]
        assert len([size for size in sizes if size]) == 3

    def test_channels_have_one_home(self, shards: Front) -> None:
        wire, other = shards.wires(2)
        wire.ask("SUBSCRIBE", "ch")
        homes = [server for server in shards.servers if server.command("PUBSUB", "CHANNELS").members]
        assert len(homes) == 1
        assert other.ask("PUBLISH", "ch", "x") == b":1\r\n"

    def test_pubsub_channels_are_those_of_all_shards(self, shards: Front) -> None:
        wire, other = shards.wires(2)
        names = sorted(f"ch{number}" for number in range(10))
        wire.send("SUBSCRIBE", *names)
        wire.replies(10)
        assert sorted(texts(other.ask("PUBSUB", "CHANNELS"))) == names

    def test_few_connections_per_shard(self, shards: Front) -> None:
        before = [server.connections_received() for server in shards.servers]
        for wire in shards.wires(50):
            wire.send_raw(b"".join(encode("SET", f"k{number}", "x") for number in range(20)))
            wire.replies(20)
        for server, count in zip(shards.servers, before, strict=True):
            assert server.connections_received() - count <= 8, server.clients()

    def test_databases_hold_on_every_shard(self, shards: Front) -> None:
        first, second = shards.wires(2)
        second.ok("SELECT", 5)
        for number in range(30):
            first.ok("SET", f"k{number}", "zero")
            second.ok("SET", f"k{number}", "five")
        for number in range(30):
            assert first.ask("GET", f"k{number}") == b"$4\r\nzero\r\n"
            assert second.ask("GET", f"k{number}") == b"$4\r\nfive\r\n"
        assert (
            Counter(server.info("keyspace").get("db5", "").split(",")[0] != "" for server in shards.servers)[True] == 3
        )

    def test_users_hold_on_every_shard(self, shards: Front) -> None:
        for server in shards.servers:
            server.command("ACL", "SETUSER", "x", "on", ">pw", "~x:*", "&*", "+@all")
        wire, other = shards.wires(2)
        wire.ok("AUTH", "x", "pw")
        for number in range(20):
            wire.ok("SET", f"x:{number}", "v")
            assert wire.ask("SET", f"y:{number}", "v").startswith(b"-NOPERM")
            other.ok("SET", f"y:{number}", "v")


class TestReplicas:
    """A plain list of endpoints with a balancer: every request may go to any of them."""

    def test_requests_are_spread(self, shard_servers: list, shared_proxies) -> None:  # type: ignore[no-untyped-def, type-arg]
        _, address = shared_proxies.get("replicas", shard_servers, lb="round_robin")
        for server in shard_servers:
            server.clean()
            server.command("SET", "who", server.port)
        with Wire(address) as wire:
            seen = Counter(wire.ask("GET", "who") for _ in range(90))
        assert len(seen) == 3
        assert min(seen.values()) >= 20, seen

    def test_a_pipeline_over_replicas_keeps_its_order(self, shard_servers: list, shared_proxies) -> None:  # type: ignore[no-untyped-def, type-arg]
        _, address = shared_proxies.get("replicas", shard_servers, lb="round_robin")
        with Wire(address) as wire:
            replies = wire.ask_all(*[("EVAL", "return ARGV[1]", 0, number) for number in range(1000)])
        assert replies == [encode(str(number))[4:] for number in range(1000)]

    def test_transactions_stay_on_one_replica(self, shard_servers: list, shared_proxies) -> None:  # type: ignore[no-untyped-def, type-arg]
        _, address = shared_proxies.get("replicas", shard_servers, lb="round_robin")
        with Wire(address) as wire:
            for number in range(30):
                wire.ok("WATCH", "k")
                replies = wire.ask_all(["MULTI"], ["SET", "k", number], ["GET", "k"], ["EXEC"])
                digits = str(number).encode()
                assert replies[-1] == b"*2\r\n+OK\r\n$%d\r\n%b\r\n" % (len(digits), digits)
