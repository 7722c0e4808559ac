"""The plan: the form csrc/core/plan.c and csrc/route read."""

from __future__ import annotations

import socket
from typing import Any

import msgpack
import pytest

from mosnpy import core
from mosnpy.config import LocalRegistry, compile_config, compile_plan, load_mapping, load_text, to_yaml
from mosnpy.config.resolving import resolve_hosts
from mosnpy.errors import ConfigErrors

DESIGN = """
version: 1
workers: auto
admin: {bind: 127.0.0.1:9901}
listeners:
  cache:
    bind: 127.0.0.1:6380
    protocol: redis
    routes:
      - match: {redis.command: [KEYS, FLUSHALL]}
        reply: {error: "ERR disabled by the operator"}
      - match: {redis.key: "session:*"}
        to: sessions
        timeout: 250ms
        mirror: {to: sessions-new, percent: 10}
      - split: {main: 95, canary: 5}
upstreams:
  main:     {protocol: redis, endpoints: [127.0.0.1:6379], lb: least_request}
  canary:   {protocol: redis, endpoints: [127.0.0.1:6381]}
  sessions: {protocol: redis, endpoints: [{address: 127.0.0.1:6382, weight: 2, labels: {zone: a}}]}
  sessions-new: {protocol: redis, endpoints: [127.0.0.1:6383]}
"""


def plan_of(text: str, registry: LocalRegistry | None = None) -> dict[str, Any]:
    plan: dict[str, Any] = msgpack.unpackb(compile_plan(load_text(text), registry or LocalRegistry(), 7))
    return plan


def listener(body: str, upstreams: str = "m: {protocol: redis, endpoints: [127.0.0.1:6379]}") -> dict[str, Any]:
    plan = plan_of(f"version: 1\nlisteners:\n  l: {body}\nupstreams:\n  {upstreams}\n")
    found: dict[str, Any] = plan["listeners"][0]
    return found


def service(body: str, upstreams: str = "m: {protocol: redis, endpoints: [127.0.0.1:6379]}") -> dict[str, Any]:
    """The only protocol of a listener."""
    (found,) = listener(body, upstreams)["protocols"]
    return dict(found)


def routes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the only table."""
    (table,) = plan["tables"]
    found: list[dict[str, Any]] = table["routes"]
    return found


def upstream(body: str) -> dict[str, Any]:
    protocol = "tcp" if "tcp" in body else "redis"
    text = f"version: 1\nlisteners: {{l: {{bind: ':1', protocol: {protocol}, to: u}}}}\nupstreams: {{u: {body}}}\n"
    found: dict[str, Any] = plan_of(text)["upstreams"][0]
    return found


def test_the_example_of_the_design() -> None:
    registry = LocalRegistry()
    plan = plan_of(DESIGN, registry)
    assert (plan["version"], plan["generation"], plan["busy_poll_us"]) == (1, 7, 0)
    (cache,) = plan["listeners"]
    assert {key: cache[key] for key in ("name", "id", "stats", "proxy_protocol", "idle_timeout_ms", "tls")} == {
        "name": "cache",
        "id": registry.listener("127.0.0.1:6380"),
        "stats": registry.block("listener", "cache"),
        "proxy_protocol": False,
        "idle_timeout_ms": 0,
        "tls": None,
    }
    (redis,) = cache["protocols"]
    assert (redis["codec"], cache["chains"]) == ("redis", [])
    assert redis["options"] == {
        "limits": {"bulk": 512 << 20, "args": 1 << 20, "inline": 1 << 16, "collect": 64 << 20, "pipeline": 4096}
    }
    refused, sessions, rest = routes_of(plan)
    assert refused["when"] == ["in", "redis.command", ["KEYS", "FLUSHALL"]]
    assert refused["reply"] == {"error": "ERR disabled by the operator"}
    assert "to" not in refused
    assert sessions["when"] == ["prefix", "redis.key", "session:"]
    assert (sessions["to"], sessions["timeout_ms"], sessions["mirror"]) == (2, 250, {"to": 3, "percent": 10.0})
    assert (rest["when"], rest["split"], rest["timeout_ms"], rest["name"]) == (
        None,
        [[0, 95], [1, 5]],
        15000,
        "cache.2",
    )
    assert rest["stats"] == registry.block("route", "cache/cache.2")
    main, _, named, _ = plan["upstreams"]
    assert main["lb"] == {"policy": "least_request", "hash": None, "panic_percent": 50, "table_size": 0, "rehash": True}
    assert main["ejection"] == {"failures": 3, "base_ms": 1000, "max_ms": 30000}
    assert {key: main[key] for key in ("connect_timeout_ms", "idle_timeout_ms", "connections", "max_connections")} == {
        "connect_timeout_ms": 1000,
        "idle_timeout_ms": 60000,
        "connections": 1,
        "max_connections": 1024,
    }
    assert (main["max_pending"], main["attempts"], main["proxy_protocol"]) == (4096, 2, 0)
    assert main["options"] == {"resp3": True}
    assert named["endpoints"] == [
        {
            "name": "127.0.0.1:6382",
            "family": "ipv4",
            "host": "127.0.0.1",
            "port": 6382,
            "weight": 2,
            "slot": registry.health("sessions/127.0.0.1:6382"),
            "stats": registry.block("endpoint", "sessions/127.0.0.1:6382"),
            "labels": {"zone": "a"},
        }
    ]


def test_what_the_processes_need_beside_the_plan() -> None:
    compiled = compile_config(load_text(DESIGN), LocalRegistry(), 7)
    assert (compiled.generation, compiled.workers, compiled.drain_timeout_ms) == (7, "auto", 30_000)
    place = {"name": "cache", "family": "ipv4", "host": "127.0.0.1", "port": 6380, "backlog": 4096, "mode": None}
    assert compiled.listeners == [{"id": 1, **place}]
    assert compiled.admin is not None
    assert (compiled.admin["port"], compiled.checks) == (9901, [])
    assert [u["name"] for u in compiled.upstreams] == ["main", "canary", "sessions", "sessions-new"]


def test_every_address_of_a_listener_is_an_entry_with_its_own_id() -> None:
    text = """
version: 1
listeners:
  a: {bind: [":6380", "[::1]:6381", unix:/tmp/a], protocol: redis, to: m, socket_mode: "0660"}
  b: {bind: 127.0.0.1:6382, protocol: redis, to: m}
upstreams: {m: {protocol: redis, endpoints: ["unix:/run/r.sock", "[::1]:6379"]}}
"""
    registry = LocalRegistry()
    compiled = compile_config(load_text(text), registry, 1)
    assert [(s["id"], s["family"], s["host"], s["port"], s["mode"]) for s in compiled.listeners] == [
        (1, "any", "", 6380, None),
        (2, "ipv6", "::1", 6381, None),
        (3, "unix", "/tmp/a", 0, 0o660),
        (4, "ipv4", "127.0.0.1", 6382, None),
    ]
    plan = msgpack.unpackb(compiled.plan)
    assert [(entry["name"], entry["id"]) for entry in plan["listeners"]] == [("a", 1), ("a", 2), ("a", 3), ("b", 4)]
    assert len({entry["stats"] for entry in plan["listeners"]}) == 2
    assert [(e["name"], e["family"], e["host"], e["port"]) for e in plan["upstreams"][0]["endpoints"]] == [
        ("/run/r.sock", "unix", "/run/r.sock", 0),
        ("[::1]:6379", "ipv6", "::1", 6379),
    ]


CHAINS = """
version: 1
listeners:
  l:
    bind: [":1", ":2"]
    protocol: http
    tls: {certificate: a.pem, key: a.key}
    routes: &routes [{match: {path: /a}, to: web, NAME}]
    chains:
      - {name: x, sni: x.test, routes: *routes}
      - {name: y, sni: y.test, protocol: [http, redis], routes: [{match: {path: /a}, to: web, NAME}, {match: {key: k}, reply: {error: no}}]}
upstreams: {web: {protocol: http1, endpoints: [127.0.0.1:1]}}
"""


@pytest.mark.parametrize(("name", "places"), [("name: a", [0, 0, 0, 1]), ("timeout: 1s", [0, 1, 2, 3])])
def test_tables_are_shared(name: str, places: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """By protocols of one family, by the addresses of a listener, and by chains whose routes have the same names."""
    monkeypatch.setattr("mosnpy.config.semantics.check_tls", lambda *_: None)
    plan = plan_of(CHAINS.replace("NAME", name))
    first, second = plan["listeners"]
    assert {**first, "id": 0} == {**second, "id": 0}
    own, x, y = (dict.fromkeys(each["table"] for each in chain["protocols"]) for chain in (first, *first["chains"]))
    assert [*own, *x, *y] == places
    assert [table["codec"] for table in plan["tables"]] == ["http1"] * places[-1] + ["redis"]


def test_the_core_refuses_tables_of_other_protocols() -> None:
    plan = plan_of(DESIGN, LocalRegistry(core.block_sizes()))
    core.check_plan(msgpack.packb(plan))
    (redis,) = plan["listeners"][0]["protocols"]
    for place in (1, -1, None):
        listeners = [{**plan["listeners"][0], "protocols": [{**redis, "table": place}]}]
        with pytest.raises(ValueError, match="no such table"):
            core.check_plan(msgpack.packb({**plan, "listeners": listeners}))
    tcp = {"codec": "tcp", "routes": []}
    with pytest.raises(ValueError, match="a table of another protocol"):
        core.check_plan(msgpack.packb({**plan, "tables": [tcp]}))
    http = {"codec": "http1", "routes": [{"name": "r", "stats": 0, "to": 0}]}
    with pytest.raises(ValueError, match="speaks another protocol than the messages of route: r"):
        core.check_plan(msgpack.packb({**plan, "tables": [http]}))


def test_numbers_stay_over_reloads() -> None:
    registry = LocalRegistry()
    first = plan_of(DESIGN, registry)
    without = DESIGN.replace("        mirror: {to: sessions-new, percent: 10}\n", "").rsplit("  sessions-new", 1)[0]
    plan_of(without, registry)
    assert plan_of(DESIGN, registry) == first


def test_a_listener_of_redis_with_everything() -> None:
    found = listener(
        "{bind: ':1', protocol: redis, to: m, max_connections: 7, idle_timeout: 1m, client_buffer: 1MiB, proxy_protocol: accept,"
        " auth: {password: s, users: {bob: t}}, limits: {bulk: 1MiB, args: 100, inline: 1KiB, collect: 2MiB, pipeline: 9}}"
    )
    assert (found["max_connections"], found["idle_timeout_ms"], found["client_buffer"]) == (7, 60_000, 1 << 20)
    assert found["proxy_protocol"] is True
    (redis,) = found["protocols"]
    assert redis["options"] == {
        "auth": {"users": [{"name": "default", "password": "s"}, {"name": "bob", "password": "t"}]},
        "limits": {"bulk": 1 << 20, "args": 100, "inline": 1024, "collect": 2 << 20, "pipeline": 9},
    }


def test_routes_in_the_plan() -> None:
    plan = plan_of("""
version: 1
listeners:
  l:
    bind: ':1'
    protocol: redis
    routes:
      - {match: {key: "a*"}, when: db == 1, to: m, name: both, timeout: 0s}
      - {match: {key: "!*"}, split: {m: 1, n: 0}, sticky: user}
      - {to: m, mirror: n}
upstreams:
  m: {protocol: redis, endpoints: [127.0.0.1:1]}
  n: {protocol: redis, endpoints: [127.0.0.1:2]}
""")
    routes = routes_of(plan)
    assert (routes[0]["name"], routes[0]["timeout_ms"]) == ("both", 0)
    assert routes[0]["when"] == ["and", ["prefix", "redis.key", "a"], ["eq", "redis.db", 1]]
    assert (routes[1]["split"], routes[1]["sticky"]) == ([[0, 1]], "redis.user")
    assert routes[1]["when"] == ["not", ["exists", "redis.key"]]
    assert routes[2]["mirror"] == {"to": 1, "percent": 100.0}


def test_the_only_route_of_a_listener_with_to() -> None:
    plan = plan_of(
        "version: 1\nlisteners: {l: {bind: ':1', protocol: redis, to: m}}\n"
        "upstreams: {m: {protocol: redis, endpoints: [127.0.0.1:1]}}"
    )
    (route,) = routes_of(plan)
    assert isinstance(route.pop("stats"), int)
    assert route == {"name": "l.0", "when": None, "timeout_ms": 15000, "mirror": None, "to": 0}


def test_tcp_connections_have_no_request_timeout() -> None:
    plan = plan_of(
        "version: 1\nlisteners: {l: {bind: ':1', protocol: tcp, to: m}}\n"
        "upstreams: {m: {protocol: tcp, endpoints: [127.0.0.1:1]}}"
    )
    (found,) = plan["listeners"]
    (tcp,) = found["protocols"]
    assert routes_of(plan)[0]["timeout_ms"] == 0
    assert found["idle_timeout_ms"] == 3_600_000
    assert (tcp["codec"], tcp["options"]) == ("tcp", {})


@pytest.mark.parametrize(
    ("lb", "wanted"),
    [
        (
            "ring_hash",
            {"policy": "ring_hash", "hash": "redis.key", "table_size": 1024, "rehash": False, "panic_percent": 50},
        ),
        (
            "{policy: maglev, hash: user, on_unhealthy: rehash, panic_threshold: 0}",
            {"policy": "maglev", "hash": "redis.user", "table_size": 65537, "rehash": True, "panic_percent": 0},
        ),
        ("random", {"policy": "random", "hash": None, "table_size": 0, "rehash": True, "panic_percent": 50}),
    ],
)
def test_balancing_of_redis(lb: str, wanted: dict[str, Any]) -> None:
    assert upstream(f"{{protocol: redis, endpoints: [127.0.0.1:1], lb: {lb}}}")["lb"] == wanted


def test_a_hash_policy_of_tcp_goes_by_client_and_moves_on() -> None:
    found = upstream("{protocol: tcp, endpoints: [127.0.0.1:1], lb: maglev, proxy_protocol: v2}")
    assert (found["lb"]["hash"], found["lb"]["rehash"], found["proxy_protocol"]) == ("client_ip", True, 2)
    assert found["options"] == {}


def test_health_checks_know_slots_and_passwords() -> None:
    text = """
version: 1
listeners: {l: {bind: ':1', protocol: redis, to: u}}
upstreams: {u: {protocol: redis, endpoints: [127.0.0.1:1], health: {}, auth: {username: x, password: s}, resp3: off}}
"""
    compiled = compile_config(load_text(text), LocalRegistry(), 1)
    assert compiled.checks == [
        {
            "upstream": "u",
            "protocol": "redis",
            "type": "redis",
            "interval_ms": 5000,
            "timeout_ms": 1000,
            "healthy_after": 2,
            "unhealthy_after": 3,
            "username": "x",
            "password": "s",
            "tls": None,
            "ask": {},
            "endpoints": [{"name": "127.0.0.1:1", "family": "ipv4", "host": "127.0.0.1", "port": 1, "slot": 0}],
        }
    ]
    assert msgpack.unpackb(compiled.plan)["upstreams"][0]["options"] == {
        "username": "x",
        "password": "s",
        "resp3": False,
    }
    assert "options" not in compiled.upstreams[0]  # what the admin API shows carries no password


class TestNames:
    def fake(self, monkeypatch: pytest.MonkeyPatch, **answers: list[str]) -> None:
        def getaddrinfo(host: str, *_: object, **__: object) -> list[Any]:
            if host not in answers:
                raise socket.gaierror(-2, "Name or service not known")
            family = {True: socket.AF_INET6, False: socket.AF_INET}
            return [(family[":" in a], socket.SOCK_STREAM, 6, "", (a, 0)) for a in answers[host]]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    def endpoints(self, *names: str) -> list[tuple[str, str]]:
        body = ", ".join(f"{name}:6379" for name in names)
        return [(e["name"], e["host"]) for e in upstream(f"{{protocol: redis, endpoints: [{body}]}}")["endpoints"]]

    def test_one_address_keeps_the_name_it_is_known_by(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake(monkeypatch, shard=["10.0.0.5"])
        assert self.endpoints("shard") == [("shard:6379", "10.0.0.5")]

    def test_several_addresses_are_several_endpoints_in_a_stable_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake(monkeypatch, pods=["10.0.0.7", "10.0.0.5", "10.0.0.7"])
        assert self.endpoints("pods") == [("10.0.0.5:6379", "10.0.0.5"), ("10.0.0.7:6379", "10.0.0.7")]

    def test_a_host_with_both_families_is_one_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake(monkeypatch, localhost=["::1", "127.0.0.1"])
        assert self.endpoints("localhost") == [("localhost:6379", "127.0.0.1")]

    def test_the_same_address_by_two_names_is_one_endpoint(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake(monkeypatch, a=["10.0.0.1"], b=["10.0.0.1"])
        assert self.endpoints("a", "b") == [("a:6379", "10.0.0.1")]

    def test_what_does_not_resolve_is_an_error_when_a_plan_is_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake(monkeypatch)
        with pytest.raises(ConfigErrors) as caught:
            upstream("{protocol: redis, endpoints: [nowhere:6379, 127.0.0.1:1, neither:1]}")
        assert [f.message for f in caught.value.faults] == [
            "can't resolve 'nowhere': Name or service not known",
            "can't resolve 'neither': Name or service not known",
        ]
        assert all(f.line == 3 for f in caught.value.faults)

    def test_a_resolver_that_hangs_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import threading

        forever = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: forever.wait(60) and [])
        assert resolve_hosts(["x"], 0.05) == {"x": "no answer within 0.05 s"}
        forever.set()


def test_plain_data_compiles_like_a_file() -> None:
    mapping = {
        "version": 1,
        "listeners": {
            "on": {"bind": ":6380", "protocol": "redis", "routes": [{"match": {"key": "0o17"}, "to": "1e3"}]}
        },
        "upstreams": {"1e3": {"protocol": "redis", "endpoints": ["[::1]:6379"]}},
    }
    config = load_mapping(mapping)
    plan = msgpack.unpackb(compile_plan(config, LocalRegistry(), 1))
    assert routes_of(plan)[0]["when"] == ["eq", "redis.key", "0o17"]
    with pytest.raises(ConfigErrors) as caught:
        load_mapping({**mapping, "workrs": 1})
    assert caught.value.faults[0].message == "unknown key 'workrs', did you mean 'workers'?"


def test_the_effective_configuration_loads_again_and_hides_passwords() -> None:
    text = DESIGN.replace("protocol: redis\n", "protocol: redis\n    auth: {password: geheim}\n")
    config = load_text(text)
    effective = config.effective()
    assert effective["upstreams"]["main"]["lb"]["policy"] == "least_request"
    assert effective["upstreams"]["main"]["pool"]["idle_timeout"] == "1m"
    assert effective["listeners"]["cache"]["max_connections"] == 65536
    assert effective["listeners"]["cache"]["routes"][1]["mirror"] == {"to": "sessions-new", "percent": "10%"}
    written = to_yaml(effective)
    assert "geheim" not in written
    assert load_text(written).effective() == effective


def test_no_password_shows_in_what_python_prints() -> None:
    config = load_text(DESIGN.replace("protocol: redis\n", "protocol: redis\n    auth: {password: geheim}\n"))
    assert "geheim" not in repr(config)
