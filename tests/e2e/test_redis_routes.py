"""Routes: which request goes where. Four real servers and a fake one tell by their keys who was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mosnpy.testing.fake_upstream import FakeUpstream, stall
from mosnpy.testing.front import Front
from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import Wire, encode, parse
from mosnpy.testing.waiting import free_port, until

NAMES = ["main", "sessions", "canary", "shadow"]


@dataclass
class Routed:
    """One proxy with a listener per set of routes. Server `main` holds who=main, and so on."""

    servers: dict[str, RedisServer]
    silent: FakeUpstream
    ports: dict[str, int]
    proxy: ProxyProcess

    def wire(self, routes: str, protocol: int = 2) -> Wire:
        wire = Wire(("127.0.0.1", self.ports[routes]))
        if protocol == 3:
            wire.hello(3)
        return wire


ROUTES: dict[str, list[dict[str, Any]]] = {
    "command": [
        {"match": {"redis.command": ["KEYS", "FLUSHALL"]}, "reply": {"error": "ERR disabled by the operator"}},
        {"match": {"command": "INCR"}, "to": "sessions"},
        {"match": {"command": "config", "subcommand": "GET"}, "to": "canary"},
        {"match": {"access": "write"}, "to": "shadow"},
        {"to": "main"},
    ],
    "key": [
        {"match": {"redis.key": "session:*"}, "to": "sessions"},
        {"match": {"redis.key": ["exact", "also"]}, "to": "canary"},
        {"match": {"key": "~^re[0-9]+$"}, "to": "shadow"},
        {"match": {"key": "glob:?:end*"}, "to": "shadow"},
        {"match": {"key": "!who*"}, "to": "canary"},
        {"to": "main"},
    ],
    "when": [
        {"when": 'redis.key.startsWith("a:") && access == "read"', "to": "sessions"},
        {"when": 'redis.argc > 4 || redis.command in ["ECHOX", "STRLEN"]', "to": "canary"},
        {"when": 'redis.db == 3', "to": "shadow"},
        {"match": {"redis.user": "alice"}, "to": "sessions"},
        {"to": "main"},
    ],
    "split": [{"split": {"main": 75, "canary": 25}}],
    "sticky": [{"split": {"main": 1, "canary": 1}, "sticky": "redis.key"}],
    "mirror": [{"to": "main", "mirror": {"to": "shadow", "percent": 100}}],
    "half-mirror": [{"to": "main", "mirror": {"to": "shadow", "percent": 50}}],
    "dead-mirror": [{"to": "main", "mirror": "nowhere"}],
    "stalled-mirror": [{"to": "main", "mirror": "silent"}],
    "timeout": [
        {"match": {"key": "slow*"}, "to": "silent", "timeout": "150ms"},
        {"to": "main"},
    ],
    "none": [{"match": {"key": "only:*"}, "to": "main"}],
    "many": [
        *[{"match": {"key": f"tenant{number}:*"}, "to": NAMES[number % 4]} for number in range(2000)],
        *[{"match": {"key": f"exact{number}"}, "to": NAMES[number % 4]} for number in range(2000)],
        {"to": "main"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def routed(built: None, short_tmp: Path, redis_servers: Any) -> Iterator[Routed]:
    servers = {name: redis_servers(f"routed-{name}") for name in NAMES}
    ports = {name: free_port() for name in ROUTES}
    with FakeUpstream(stall) as silent:
        upstreams = {name: {"protocol": "redis", "endpoints": [server.endpoint]} for name, server in servers.items()}
        upstreams["silent"] = {"protocol": "redis", "endpoints": [silent.endpoint]}
        upstreams["nowhere"] = {"protocol": "redis", "endpoints": [f"127.0.0.1:{free_port()}"]}
        listeners = {
            name: {"bind": f"127.0.0.1:{ports[name]}", "protocol": "redis", "routes": routes}
            for name, routes in ROUTES.items()
        }
        with ProxyProcess(short_tmp / "routed", {"listeners": listeners, "upstreams": upstreams}) as proxy:
            yield Routed(servers, silent, ports, proxy)


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> None:
    if "routed" in request.fixturenames:
        for name, server in request.getfixturevalue("routed").servers.items():
            server.clean()
            server.command("SET", "who", name)
            for key in ("a:1", "session:1", "exact", "also", "re12", "rex", "glob:x:end", "glob:xx:end", "plain"):
                server.command("SET", key, name)


def value(wire: Wire, *words: str) -> str:
    return (parse(wire.ask(*words)).value or b"").decode()


def test_reply_route(routed: Routed) -> None:
    wire = routed.wire("command")
    assert wire.ask("KEYS", "*") == b"-ERR disabled by the operator\r\n"
    assert wire.ask("flushall") == b"-ERR disabled by the operator\r\n"
    assert value(wire, "GET", "who") == "main"
    assert wire.ask_all(["GET", "who"], ["KEYS", "*"], ["GET", "who"])[1] == b"-ERR disabled by the operator\r\n"


def test_reply_route_inside_a_transaction_aborts_it(routed: Routed) -> None:
    wire = routed.wire("command")
    replies = wire.ask_all(["MULTI"], ["KEYS", "*"], ["EXEC"])
    assert replies[1] == b"-ERR disabled by the operator\r\n"
    assert replies[2].startswith(b"-EXECABORT")


def test_by_command_subcommand_and_access(routed: Routed) -> None:
    wire = routed.wire("command")
    wire.ask("INCR", "n")
    assert routed.servers["sessions"].text("GET", "n") == "1"
    wire.ask("Config", "Get", "maxmemory")
    assert routed.servers["canary"].calls("config|get") == 1
    wire.ok("SET", "w", "x")
    assert routed.servers["shadow"].text("GET", "w") == "x"
    assert value(wire, "GET", "who") == "main"


@pytest.mark.parametrize(
    ("key", "server"),
    [("session:1", "sessions"), ("exact", "canary"), ("also", "canary"), ("re12", "shadow"), ("rex", "canary"), ("glob:x:end", "shadow"),
     ("glob:xx:end", "canary"), ("who", "main")],
)  # fmt: skip
def test_by_key(routed: Routed, key: str, server: str) -> None:
    assert value(routed.wire("key"), "GET", key) == server


def test_key_of_commands_whose_key_is_not_first(routed: Routed) -> None:
    wire = routed.wire("key")
    assert value(wire, "EVAL", "return redis.call('GET','who')", "1", "session:9") == "sessions"
    assert value(wire, "EVAL", "return redis.call('GET','who')", "1", "exact") == "canary"
    assert value(wire, "OBJECT", "ENCODING", "session:1") == "embstr"
    wire.ask("XADD", "session:stream", "1-1", "f", "v")
    assert routed.servers["sessions"].number("EXISTS", "session:stream") == 1
    assert b"1-1" in wire.ask("XREAD", "COUNT", "1", "STREAMS", "session:stream", "0")


def test_pipeline_over_several_upstreams_keeps_its_order(routed: Routed) -> None:
    wire = routed.wire("key")
    keys = ["session:1", "exact", "re12", "who"] * 100
    got = [(parse(reply).value or b"").decode() for reply in wire.ask_all(*[("GET", key) for key in keys])]
    assert got == ["sessions", "canary", "shadow", "main"] * 100


def test_when_expressions(routed: Routed) -> None:
    wire = routed.wire("when")
    assert value(wire, "GET", "a:1") == "sessions"
    wire.ok("SET", "a:1", "new")
    assert routed.servers["main"].text("GET", "a:1") == "new"
    wire.ask("MSET", "k1", "1", "k2", "2")
    assert routed.servers["canary"].number("EXISTS", "k1", "k2") == 2
    assert value(wire, "GET", "who") == "main"
    wire.ok("SELECT", "3")
    wire.ok("SET", "in3", "x")
    assert routed.servers["shadow"].info("keyspace")["db3"].startswith("keys=1")


def test_by_user(routed: Routed) -> None:
    for server in routed.servers.values():
        server.command("ACL", "SETUSER", "alice", "on", ">pw", "~*", "&*", "+@all")
    wire = routed.wire("when")
    wire.ok("AUTH", "alice", "pw")
    assert value(wire, "GET", "who") == "sessions"


def test_split_is_exact(routed: Routed) -> None:
    wire = routed.wire("split")
    seen = Counter((parse(reply).value or b"").decode() for reply in wire.ask_all(*[["GET", "who"]] * 400))
    assert seen == {"main": 300, "canary": 100}


def test_sticky_split(routed: Routed) -> None:
    for server_name, server in routed.servers.items():
        for number in range(100):
            server.command("SET", f"k{number}", server_name)
    first = [value(routed.wire("sticky"), "GET", f"k{number}") for number in range(100)]
    assert first == [value(routed.wire("sticky"), "GET", f"k{number}") for number in range(100)]
    assert 25 <= Counter(first)["canary"] <= 75


def test_mirror_gets_a_copy_and_its_replies_are_dropped(routed: Routed) -> None:
    wire = routed.wire("mirror")
    replies = wire.ask_all(*[("INCR", "n") if number % 2 else ("GET", "who") for number in range(100)])
    assert set(replies[::2]) == {b"$4\r\nmain\r\n"}
    assert replies[-1] == b":50\r\n"
    until(lambda: routed.servers["shadow"].text("GET", "n") == "50", "the mirror to have got its copies")


def test_half_of_the_requests_is_mirrored(routed: Routed) -> None:
    wire = routed.wire("half-mirror")
    wire.ask_all(*[["INCR", "n"]] * 400)
    wire.ask_all(*[["INCR", "n"]] * 400)
    until(lambda: 300 <= int(routed.servers["shadow"].text("GET", "n") or 0) <= 500, "about half of 800 copies")


@pytest.mark.parametrize("routes", ["dead-mirror", "stalled-mirror"])
def test_mirror_that_fails_harms_nobody(routed: Routed, routes: str) -> None:
    wire = routed.wire(routes)
    for number in range(1, 200):
        assert wire.ask("INCR", "n") == b":%d\r\n" % number


def test_large_value_is_mirrored_whole(routed: Routed) -> None:
    wire = routed.wire("mirror")
    data = bytes(range(256)) * 8192
    wire.ok("SET", "big", data)
    until(lambda: routed.servers["shadow"].command("GET", "big").value == data, "the copy of 2 MiB")


def test_timeout_of_a_route(routed: Routed) -> None:
    """The client gets an error in its place, later replies stay right."""
    wire = routed.wire("timeout")
    replies = wire.ask_all(["GET", "who"], ["GET", "slow1"], ["GET", "who"], ["GET", "slow2"], ["INCR", "n"])
    assert replies[0] == replies[2] == b"$4\r\nmain\r\n"
    assert replies[4] == b":1\r\n"
    for reply in (replies[1], replies[3]):
        assert reply.startswith(b"-ERR")
        assert b"tim" in reply.lower()


def test_no_route(routed: Routed) -> None:
    wire = routed.wire("none")
    reply = wire.ask("GET", "elsewhere")
    assert reply.startswith(b"-ERR")
    assert wire.ask("SET", "only:1", "x") == b"+OK\r\n"
    assert wire.ask("PING") == b"+PONG\r\n"


def test_thousands_of_routes(routed: Routed) -> None:
    wire = routed.wire("many")
    for number in (0, 1, 2, 3, 777, 1998, 1999):
        for key in (f"tenant{number}:x", f"exact{number}"):
            wire.ok("SET", key, "1")
            assert routed.servers[NAMES[number % 4]].number("EXISTS", key) == 1, key
    assert value(wire, "GET", "who") == "main"


def test_split_commands_go_to_the_route_of_their_first_key(routed: Routed) -> None:
    wire = routed.wire("key")
    assert wire.ask("MGET", "session:1", "session:2") == b"*2\r\n$8\r\nsessions\r\n$-1\r\n"


def test_routes_count_in_the_statistics(routed: Routed) -> None:
    wire = routed.wire("command")
    wire.ask_all(*[["GET", "who"]] * 50)
    assert routed.proxy.stats()
    status, text = routed.proxy.admin("/stats/prometheus")
    assert status == 200
    assert "mosnpy" in text


@pytest.fixture(scope="module")
def guarded(built: None, short_tmp: Path, redis_servers: Any) -> Iterator[Front]:
    server = redis_servers("guarded")
    server.command("ACL", "SETUSER", "proxy", "on", ">inner", "~*", "&*", "+@all")
    server.command("ACL", "SETUSER", "default", "off")
    port = free_port()
    config = {
        "listeners": {"front": {"bind": f"127.0.0.1:{port}", "protocol": "redis", "to": "main",
                                "auth": {"password": "outer", "users": {"alice": "wonder"}}}},
        "upstreams": {"main": {"protocol": "redis", "endpoints": [server.endpoint], "auth": {"username": "proxy", "password": "inner"}}},
    }  # fmt: skip
    with ProxyProcess(short_tmp / "guarded", config) as proxy:
        yield Front(("127.0.0.1", port), [server], proxy)


class TestLoginAtTheProxy:
    """Passwords kept by the proxy; the upstream gets its own."""

    def test_without_a_password(self, guarded: Front) -> None:
        wire = guarded.wire()
        assert wire.ask("GET", "a") == b"-NOAUTH Authentication required.\r\n"
        assert wire.ask("AUTH", "wrong") == b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
        assert wire.ask("HELLO", 3).startswith(b"-NOAUTH HELLO must be called")
        wire.send_raw(b"*11\r\n")
        assert wire.rest() == b"-ERR Protocol error: unauthenticated multibulk length\r\n"

    @pytest.mark.parametrize("login", [["outer"], ["default", "outer"], ["alice", "wonder"]])
    def test_with_a_password(self, guarded: Front, login: list[str]) -> None:
        wire = guarded.wire()
        wire.ok("AUTH", *login)
        wire.ok("SET", "a", "1")
        assert wire.ask_all(["MULTI"], ["GET", "a"], ["EXEC"])[-1] == b"*1\r\n$1\r\n1\r\n"
        assert wire.ask("ACL", "WHOAMI") in (encode(login[0] if len(login) == 2 else "default")[4:], b"$5\r\nproxy\r\n")

    def test_hello_with_a_password(self, guarded: Front) -> None:
        wire = guarded.wire()
        assert wire.hello(3, "AUTH", "alice", "wonder").kind == "%"
        assert wire.ask("GET", "missing") == b"_\r\n"

    def test_another_clients_login_is_not_shared(self, guarded: Front) -> None:
        known, stranger = guarded.wires(2)
        known.ok("AUTH", "outer")
        known.ok("SET", "a", "1")
        assert stranger.ask("GET", "a") == b"-NOAUTH Authentication required.\r\n"
