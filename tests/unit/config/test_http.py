"""HTTP in configurations: what is said of faults, and the plan of what is none."""

from __future__ import annotations

import textwrap
from typing import Any

import msgpack
import pytest

from mosnpy.config import LocalRegistry, check_text, compile_config, compile_plan, load_text, to_yaml
from mosnpy.config.report import Fault

UPSTREAMS = """
upstreams:
  web: {protocol: http1, endpoints: [127.0.0.1:9000]}
  api: {protocol: http2, endpoints: [127.0.0.1:9001]}
  redis: {protocol: redis, endpoints: [127.0.0.1:6379]}
"""


def errors(text: str) -> list[Fault]:
    return [fault for fault in check_text(text) if fault.severity == "error"]


def with_routes(routes: str) -> str:
    body = textwrap.indent(textwrap.dedent(routes).strip("\n"), "      ")
    return f"version: 1\nlisteners:\n  web:\n    bind: ':1'\n    protocol: http\n    routes:\n{body}{UPSTREAMS}"


def plan_of(text: str) -> dict[str, Any]:
    plan: dict[str, Any] = msgpack.unpackb(compile_plan(load_text(text), LocalRegistry(), 1))
    return plan


def routes_of(routes: str) -> list[dict[str, Any]]:
    plan = plan_of(with_routes(routes))
    http2, http1 = plan["listeners"][0]["protocols"]
    assert (http2["codec"], http1["codec"]) == ("http2", "http1")
    assert http1["table"] == http2["table"]
    assert http1["options"] == http2["options"]
    (table,) = plan["tables"]
    found: list[dict[str, Any]] = table["routes"]
    return found


def route_of(route: str) -> dict[str, Any]:
    (found,) = routes_of(f"- {route}")
    return found


@pytest.mark.parametrize(
    ("match", "when"),
    [
        ("{path: /a}", ["eq", "http.path", "/a"]),
        ('{http.path: "/a/*"}', ["prefix", "http.path", "/a/"]),
        ('{path: "*.php"}', ["suffix", "http.path", ".php"]),
        ('{path: "~^/u/[0-9]+$"}', ["regex", "http.path", "^/u/[0-9]+$"]),
        ('{path: "/users/{id}"}', ["segments", "http.path", "/users/{id}"]),
        ('{path: "/users/{id}/*"}', ["segments", "http.path", "/users/{id}/{rest=**}"]),
        ('{path: "/a/{b=*}/{c=**}"}', ["segments", "http.path", "/a/{b=*}/{c=**}"]),
        ("{host: Example.COM.}", ["eq", "http.host", "example.com"]),
        ('{host: "*.Example.COM."}', ["suffix", "http.host", ".example.com"]),
        ('{host: "[2001:DB8::1]"}', ["eq", "http.host", "[2001:db8::1]"]),
        ('{host: "[ab].test"}', ["glob", "http.host", "[ab].test"]),
        ('{path: ["/a", "/b/{x}"]}', ["or", ["eq", "http.path", "/a"], ["segments", "http.path", "/b/{x}"]]),
        ('{path: "!/a/{x}"}', ["not", ["segments", "http.path", "/a/{x}"]]),
        ("{host: Shop.Example.COM}", ["eq", "http.host", "shop.example.com"]),
        ('{host: "*.Example.com"}', ["suffix", "http.host", ".example.com"]),
        ('{host: "\\\\[::1\\\\]"}', ["eq", "http.host", "[::1]"]),
        ("{method: [GET, HEAD]}", ["in", "http.method", ["GET", "HEAD"]]),
        ("{method: PURGE}", ["eq", "http.method", "PURGE"]),
        ("{header.X-Tenant: Acme}", ["eq", "http.header.x-tenant", "Acme"]),
        ('{http.header.x: "*"}', ["exists", "http.header.x"]),
        ('{query.debug: "1"}', ["eq", "http.query.debug", "1"]),
        ('{query: "a=*"}', ["prefix", "http.query", "a="]),
        ('{cookie.Beta: "!yes"}', ["not", ["eq", "http.cookie.Beta", "yes"]]),
        ('{content_type: "application/json*"}', ["prefix", "http.content_type", "application/json"]),
        ("{scheme: https}", ["eq", "http.scheme", "https"]),
        ('{version: "2"}', ["eq", "http.version", "2"]),
        ("{grpc.service: shop.Cart}", ["eq", "grpc.service", "shop.Cart"]),
        ("{tls.sni: A.example.com}", ["eq", "tls.sni", "a.example.com"]),
        ('{tls.san: "spiffe://td/*"}', ["prefix", "tls.san", "spiffe://td/"]),
        ("{access: write}", ["eq", "access", "write"]),
    ],
)
def test_what_match_becomes(match: str, when: list[Any]) -> None:
    assert route_of(f"{{match: {match}, to: web}}")["when"] == when


@pytest.mark.parametrize(
    ("expression", "when"),
    [
        ('http.path.startsWith("/a")', ["prefix", "http.path", "/a"]),
        ('header.x-tenant == "a"', ["eq", "http.header.x-tenant", "a"]),
        ('header["X-Tenant"] == "a"', ["eq", "http.header.x-tenant", "a"]),
        ('header["x-a"].startsWith("b")', ["prefix", "http.header.x-a", "b"]),
        ('query["a b"].contains("c")', ["contains", "http.query.a b", "c"]),
        ('has(http.cookie.s) && method in ["GET"]', ["and", ["exists", "http.cookie.s"], ["eq", "http.method", "GET"]]),
        ('host == "A.example.com"', ["eq", "http.host", "a.example.com"]),
        ('"acme" in header.x', ["eq", "http.header.x", "acme"]),
    ],
)
def test_what_when_becomes(expression: str, when: list[Any]) -> None:
    assert route_of(f"{{when: '{expression}', to: web}}")["when"] == when


@pytest.mark.parametrize(
    ("route", "keys"),
    [
        ("{to: web}", {"to": 0}),
        ("{to: api, timeout: 2s}", {"to": 1, "timeout_ms": 2000}),
        ("{split: {web: 9, api: 1}, sticky: cookie.user}", {"split": [[0, 9], [1, 1]], "sticky": "http.cookie.user"}),
        (
            '{match: {path: "/api/*"}, to: web, rewrite: {prefix: /v2}}',
            {"rewrite": {"kind": "prefix", "from": "/api/", "to": "/v2/"}, "host": None},
        ),
        (
            '{match: {path: "/api*"}, to: web, rewrite: {prefix: /}}',
            {"rewrite": {"kind": "prefix", "from": "/api", "to": "/"}},
        ),
        (
            '{match: {path: "/api/*", method: GET}, to: web, rewrite: {prefix: /, host: internal}}',
            {"rewrite": {"kind": "prefix", "from": "/api/", "to": "/"}, "host": "internal"},
        ),
        (
            '{to: web, rewrite: {path: "/x%http.path%"}}',
            {"rewrite": {"kind": "path", "to": ["/x", {"attr": "http.path"}]}},
        ),
        (
            "{to: web, rewrite: {regex: '^/u/([0-9]+)', to: '/users/\\1'}}",
            {"rewrite": {"kind": "regex", "from": "^/u/([0-9]+)", "to": "/users/\\1"}},
        ),
        ('{to: web, rewrite: {host: "%tls.sni%"}}', {"rewrite": None, "host": [{"attr": "tls.sni"}]}),
        (
            '{to: web, request_headers: {set: {X-A: "%client_ip%, %header.X-B%"}, add: {b: 100%%}, remove: [C]}}',
            {
                "request": {
                    "remove": ["c"],
                    "set": [["x-a", [{"attr": "client_ip"}, ", ", {"attr": "http.header.x-b"}]]],
                    "add": [["b", "100%"]],
                }
            },
        ),
        (
            "{to: web, response_headers: {remove: [Server]}}",
            {"response": {"remove": ["server"], "set": [], "add": []}},
        ),
        ("{reply: {error: no}}", {"reply": {"error": "no"}, "timeout_ms": 0}),
        ("{reply: {status: 204}}", {"reply": {"status": 204, "body": "", "headers": []}}),
        (
            '{reply: {status: 403, body: "no\\n", headers: {Content-Type: text/plain, x: "%path%"}}}',
            {
                "reply": {
                    "status": 403,
                    "body": "no\n",
                    "headers": [["content-type", "text/plain"], ["x", [{"attr": "http.path"}]]],
                }
            },
        ),
        (
            "{redirect: {scheme: https}}",
            {
                "redirect": {
                    "status": 302,
                    "scheme": "https",
                    "host": None,
                    "port": None,
                    "path": None,
                    "prefix": None,
                    "from": None,
                    "strip_query": False,
                },
                "timeout_ms": 0,
            },
        ),
        (
            '{match: {path: "/old/*"}, redirect: {status: 308, host: new, port: 8443, prefix: /new, strip_query: true}}',
            {
                "redirect": {
                    "status": 308,
                    "scheme": None,
                    "host": "new",
                    "port": 8443,
                    "path": None,
                    "prefix": "/new/",
                    "from": "/old/",
                    "strip_query": True,
                }
            },
        ),
    ],
)
def test_what_routes_become(route: str, keys: dict[str, Any]) -> None:
    found = route_of(route)
    assert {key: found.get(key) for key in keys} == keys


@pytest.mark.parametrize(
    ("route", "sentence"),
    [
        ("{match: {pth: /a}, to: web}", "http has no attribute 'pth', did you mean 'path'?"),
        ("{match: {header: a}, to: web}", "http has no attribute 'header': name the one you mean, such as header.x"),
        ("{match: {header.a b: a}, to: web}", "'a b' can't be the name of a header"),
        ("{match: {redis.key: a}, to: web}", "'redis.key' is an attribute of redis, this listener speaks http"),
        ("{match: {path: users}, to: web}", "a path begins with '/': write '/users'"),
        ('{match: {path: "/search?q=*"}, to: web}', "http.path has no query: match query.NAME"),
        ('{match: {path: "/a/x{id}"}, to: web}', "'x{id}': a {name} stands for a whole segment"),
        ('{match: {path: "/a/{i-d}"}, to: web}', "'{i-d}': a {name} stands for a whole segment"),
        ('{match: {path: "/{a=**}/b"}, to: web}', "'{a=**}' stands for all that follow: nothing can come behind it"),
        ('{match: {path: "/*/{b}"}, to: web}', "'*': beside {names} a * is only possible as the last segment"),
        ("{match: {method: get}, to: web}", "methods are told apart by case: did you mean 'GET'?"),
        ("{match: {operation: get}, to: web}", "methods are told apart by case: did you mean 'GET'?"),
        ("{when: 'method == \"get\"', to: web}", "methods are told apart by case: did you mean 'GET'?"),
        ("{match: {host: 'a.example.com:8080'}, to: web}", "http.host has no port: write 'a.example.com'"),
        ("{match: {scheme: ftp}, to: web}", "http.scheme is one of http, https; not 'ftp'"),
        ("{match: {version: 2}, to: web}", 'http.version is text: write "2" in quotes'),
        ("{to: redis}", "upstream 'redis' speaks redis, this listener http"),
        ("{match: {path: /a}}", "a route has exactly one of to, split, reply and redirect; this one has none"),
        ("{to: web, redirect: {path: /a}}", "this one has to and redirect"),
        (
            "{redirect: {status: 301}}",
            "this redirect leads to where the client is: give scheme, host, port, path or prefix",
        ),
        ("{redirect: {path: /a, prefix: /b}}", "a redirect has either `path` or `prefix`"),
        ("{redirect: {status: 304, path: /a}}", "301, 302, 303, 307 or 308 is expected here, not 304"),
        ("{redirect: {prefix: /b}}", 'there is no prefix to replace: the route must match one path such as "/api/*"'),
        ("{redirect: {path: a}}", "a path begins with '/', 'a' does not"),
        ("{redirect: {host: 'a/b'}}", "'a/b' is no host"),
        ("{redirect: {path: /a}, timeout: 1s}", "a route that redirects asks no upstream: timeout has no meaning here"),
        (
            "{redirect: {path: /a}, rewrite: {path: /b}}",
            "a route that redirects asks no upstream: rewrite has no meaning",
        ),
        ("{reply: {status: 200}, request_headers: {}}", "a route that replies asks no upstream: request_headers"),
        ("{reply: {}}", "a reply has either `status` (with `body` and `headers`) or `error`"),
        ("{reply: {error: a, status: 200}}", "a reply has either `status`"),
        ("{reply: {error: a, body: b}}", "`body` and `headers` belong to `status`, not to `error`"),
        ("{reply: {status: 204, body: b}}", "an answer with status 204 has no body"),
        ("{reply: {status: 99}}", "at least 200 is expected here, not 99"),
        (
            "{reply: {status: 200, headers: {content-length: '5'}}}",
            "'content-length' belongs to one connection or to the body",
        ),
        ("{to: web, rewrite: {}}", "nothing is rewritten: give prefix, path, regex or host"),
        (
            "{to: web, rewrite: {prefix: /a, path: /b}}",
            "a path is rewritten in one way: prefix, path or regex, not prefix and",
        ),
        ("{to: web, rewrite: {prefix: /a}}", "there is no prefix to replace"),
        ('{match: {path: ["/a/*", "/b/*"]}, to: web, rewrite: {prefix: /a}}', "there is no prefix to replace"),
        ("{to: web, rewrite: {regex: a}}", "`regex` and `to` belong together"),
        ("{to: web, rewrite: {regex: '(', to: a}}", "regular expression: missing closing parenthesis"),
        ("{to: web, rewrite: {regex: 'a', to: '\\1'}}", "\\1 stands for a group, and the regular expression has none"),
        ("{to: web, rewrite: {regex: '(a)', to: '\\x'}}", "\\ stands before the number of a group"),
        ("{to: web, rewrite: {path: '/%http.pth%'}}", "'http.pth', did you mean 'http.path'?"),
        (
            "{to: web, request_headers: {set: {a: '%client_ip'}}}",
            "this % begins no %attribute%: write %% for a percent sign",
        ),
        ("{to: web, request_headers: {set: {a: '50% off, %clnt_ip%'}}}", "http has no attribute ' off, '"),
        (
            "{to: web, request_headers: {set: {a: '%clnt_ip%'}}}",
            "did you mean 'client_ip'? (write %% for a percent sign)",
        ),
        ("{to: web, request_headers: {set: {host: a}}}", "the Host sent upstream is set with `rewrite: {host: name}`"),
        ("{to: web, request_headers: {remove: [connection]}}", "'connection' belongs to one connection"),
        ("{to: web, request_headers: {set: {'a b': a}}}", "'a b' can't be the name of a header"),
        ('{to: web, request_headers: {set: {a: "b\\r\\nc"}}}', "the value of a header can't contain line breaks"),
        ("{to: web, request_headers: {sett: {a: b}}}", "unknown key 'sett', did you mean 'set'?"),
        ("{to: web, rewrites: {path: /a}}", "unknown key 'rewrites', did you mean 'rewrite'?"),
    ],
)
def test_faulty_routes(route: str, sentence: str) -> None:
    found = errors(with_routes(f"- {route}"))
    assert len(found) == 1, [fault.message for fault in found]
    assert sentence in found[0].message
    assert found[0].line == 7


def test_a_template_points_at_its_character() -> None:
    (found,) = errors(with_routes("- {to: web, request_headers: {set: {a: 'ab %clnt%'}}}"))
    assert (
        found.column
        == with_routes("- {to: web, request_headers: {set: {a: 'ab %clnt%'}}}").split("\n")[6].index("clnt") + 1
    )


class TestGroups:
    def test_a_group_is_flattened(self) -> None:
        found = routes_of("""
            - match: {host: [a.example.com, b.example.com]}
              name: shop
              routes:
                - {name: api, match: {path: "/api/*"}, to: api, rewrite: {prefix: /}}
                - when: method == "GET"
                  routes:
                    - {match: {path: /x}, to: web}
                - {to: web}
            - match: {host: c.example.com}
              routes: [{to: api}]
            - {to: web}
            """)
        hosts = ["in", "http.host", ["a.example.com", "b.example.com"]]
        assert [(each["name"], each["when"]) for each in found] == [
            ("shop.api", ["and", hosts, ["prefix", "http.path", "/api/"]]),
            ("shop.0", ["and", hosts, ["eq", "http.method", "GET"], ["eq", "http.path", "/x"]]),
            ("shop.2", hosts),
            ("web.3", ["eq", "http.host", "c.example.com"]),
            ("web.4", None),
        ]
        assert found[0]["rewrite"] == {"kind": "prefix", "from": "/api/", "to": "/"}
        assert [each["to"] for each in found] == [1, 0, 0, 1, 0]

    def test_the_prefix_of_a_group_is_replaced_too(self) -> None:
        (found,) = routes_of("""
            - match: {path: "/a/*"}
              routes: [{match: {method: GET}, to: web, rewrite: {prefix: /b}}]
            """)
        assert found["rewrite"] == {"kind": "prefix", "from": "/a/", "to": "/b/"}

    @pytest.mark.parametrize(
        ("group", "sentence"),
        [
            (
                "{match: {host: a}, to: web, routes: [{to: web}]}",
                "a group of routes has match, when and name; to belongs to",
            ),
            ("{match: {host: a}, routes: []}", "at least one is needed here"),
            ("{match: {host: a}, routes: 5}", "a list is expected here, not 5"),
            ("{match: {hst: a}, routes: [{to: web}, {match: {path: /a}, to: web}]}", "http has no attribute 'hst'"),
            ("{match: {host: a}, routes: [{match: {pth: a}, to: web}]}", "http has no attribute 'pth'"),
            ("{match: {host: a}, routs: [{to: web}]}", "unknown key 'routs', did you mean 'routes'?"),
            ("{match: {host: a}, timout: 1s, routes: [{to: web}]}", "unknown key 'timout'"),
            ("{match: {host: a}, routes: [{to: wbe}]}", "unknown upstream 'wbe', did you mean 'web'?"),
        ],
    )
    def test_faulty_groups(self, group: str, sentence: str) -> None:
        found = [fault.message for fault in errors(with_routes(f"- {group}")) if "exactly one of" not in fault.message]
        assert len(found) == 1, found
        assert sentence in found[0]

    def test_routes_within_groups_can_be_unreachable(self) -> None:
        found = errors(
            with_routes("""
            - match: {host: a.example.com}
              routes:
                - {match: {path: "/a/*"}, to: web}
                - {match: {path: "/a/b/{x}"}, to: web}
                - {match: {path: "/c/{x}"}, to: web}
                - {match: {path: /c/7}, to: web}
            - {match: {host: a.example.com, path: /a/1}, to: web}
            - {match: {host: a.example.com, path: /d}, to: web}
            """)
        )
        assert [(fault.line, fault.message) for fault in found] == [
            (10, "this route can never match: route 0 (line 9) before it takes all this one asks for"),
            (12, "this route can never match: route 2 (line 11) before it takes all this one asks for"),
            (13, "this route can never match: route 0 (line 9) before it takes all this one asks for"),
        ]

    def test_names_are_used_once(self) -> None:
        found = errors(
            with_routes("""
            - {name: a, match: {host: a}, routes: [{name: x, to: web}]}
            - {name: a.x, match: {host: b}, to: web}
            """)
        )
        assert [fault.message for fault in found] == ["a route of this listener is already called 'a.x' at line 7"]

    def test_the_effective_configuration_loads_again(self) -> None:
        text = with_routes("""
            - match: {host: a.example.com}
              routes: [{match: {path: /a}, reply: {status: 204}}, {redirect: {path: /x}}]
            - {to: web, request_headers: {set: {a: b}}}
            """)
        effective = load_text(text).effective()
        inner = effective["listeners"]["web"]["routes"][0]["routes"]
        assert "timeout" not in inner[0]
        assert load_text(to_yaml(effective)).effective() == effective


# -- listeners and upstreams -------------------------------------------------------------------------------------------


def listener(more: str) -> str:
    return f"version: 1\nlisteners: {{web: {{bind: ':1', protocol: http, to: web, {more}}}}}{UPSTREAMS}"


def upstream(body: str) -> str:
    protocol = "redis" if "protocol: redis" in body else "http"
    return f"version: 1\nlisteners: {{l: {{bind: ':1', protocol: {protocol}, to: u}}}}\nupstreams: {{u: {body}}}"


def test_the_options_of_a_listener() -> None:
    (http2, _) = plan_of(listener("http: {}"))["listeners"][0]["protocols"]
    assert http2["options"] == {
        "head_timeout_ms": 10_000,
        "body_timeout_ms": 60_000,
        "stream_idle_ms": 300_000,
        "limits": {"head": 65536, "fields": 100, "target": 16384, "chunk_line": 4096, "trailers": 16384, "body": 0},
        "path": {"normalize": True, "merge_slashes": False, "escaped_slashes": "keep"},
        "forwarded": {"x_forwarded": "append", "forwarded": False, "via": None, "trusted_hops": 0},
        "request_id": "keep",
        "upgrade": True,
        "grpc_web": False,
        "max_streams": 128,
        "stream_window": 262144,
        "connection_window": 1048576,
        "header_table": 4096,
        "settings_timeout_ms": 10_000,
        "keepalive_ms": 0,
        "keepalive_timeout_ms": 10_000,
    }
    (http2, _) = plan_of(
        listener(
            "http: {head_timeout: 1s, body_timeout: 0s, stream_idle: 1m, limits: {head: 8KiB, body: 1MiB, fields: 50},"
            " path: {merge_slashes: true, escaped_slashes: reject}, upgrade: false, grpc_web: true, request_id: off,"
            " forwarded: {x_forwarded: set, forwarded: append, via: edge, trusted_hops: 1},"
            " http2: {max_streams: 10, stream_window: 64KiB, connection_window: 2MiB, header_table: 0B,"
            " settings_timeout: 0s, keepalive: {interval: 30s, timeout: 5s}}}"
        )
    )["listeners"][0]["protocols"]
    options = http2["options"]
    assert (options["head_timeout_ms"], options["body_timeout_ms"], options["stream_idle_ms"]) == (1000, 0, 60_000)
    assert (options["limits"]["head"], options["limits"]["body"], options["limits"]["fields"]) == (8192, 1 << 20, 50)
    assert options["path"] == {"normalize": True, "merge_slashes": True, "escaped_slashes": "reject"}
    assert options["forwarded"] == {"x_forwarded": "set", "forwarded": True, "via": "edge", "trusted_hops": 1}
    assert (options["request_id"], options["upgrade"], options["grpc_web"]) == ("off", False, True)
    assert [options[key] for key in ("max_streams", "stream_window", "connection_window", "header_table")] == [
        *(10, 65536, 2 << 20, 0)
    ]
    assert [options[key] for key in ("settings_timeout_ms", "keepalive_ms", "keepalive_timeout_ms")] == [
        0,
        30_000,
        5_000,
    ]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("htp: {}", "unknown key 'htp', did you mean 'http'?"),
        ("http: {limits: {head: 1B}}", "at least 1KiB is expected here, not 1B"),
        ("http: {limits: {fields: 2000}}", "at most 1024 is expected here, not 2000"),
        ("http: {http2: {stream_window: 1KiB}}", "a window has 65535B (what HTTP/2 starts with) to 2GiB less a byte"),
        ("http: {http2: {keepalive: {timeout: 0s}}}", "a time to wait is expected here, not 0s"),
        ("http: {forwarded: {via: 'a b'}}", "the name of a proxy in Via has no spaces"),
        ("http: {path: {escaped_slashes: decoded}}", "unknown value 'decoded', did you mean 'decode'?"),
        ("http: {head_timeout: 5}", "5 has no unit"),
        ("auth: {password: a}", "'auth' is only for redis"),
    ],
)
def test_faulty_options(more: str, sentence: str) -> None:
    found = errors(listener(more))
    assert len(found) == 1, [fault.message for fault in found]
    assert sentence in found[0].message


def test_upstreams_of_http1() -> None:
    (found,) = plan_of(upstream("{protocol: http1, endpoints: [127.0.0.1:1]}"))["upstreams"]
    limits = {"head": 65536, "fields": 100, "chunk_line": 4096, "trailers": 16384}
    assert found["options"] == {"stream_idle_ms": 300_000, "pipeline": False, "limits": limits}
    assert (found["codec"], found["connections"], found["tls"]) == ("http1", 1, None)
    (found,) = plan_of(upstream("{protocol: http1, endpoints: [127.0.0.1:1], pipeline: 4, limits: {head: 1MiB}}"))[
        "upstreams"
    ]
    assert (found["options"]["pipeline"], found["connections"], found["options"]["limits"]["head"]) == (
        True,
        4,
        1 << 20,
    )


def test_upstreams_of_http2() -> None:
    body = (
        "{protocol: http2, endpoints: [127.0.0.1:1], pool: {connections: 2}, http2: {stream_window: 1MiB}, lb: maglev}"
    )
    (found,) = plan_of(upstream(body))["upstreams"]
    assert (found["codec"], found["connections"], found["lb"]["hash"]) == ("http2", 2, "client_ip")
    assert {key: found["options"][key] for key in ("stream_window", "connection_window", "header_table")} == {
        "stream_window": 1 << 20,
        "connection_window": 1 << 20,
        "header_table": 4096,
    }
    kept = "{protocol: http2, endpoints: [127.0.0.1:1], http2: {keepalive: {interval: 5m}}}"
    (found,) = plan_of(upstream(kept))["upstreams"]
    assert (found["options"]["keepalive_ms"], found["options"]["keepalive_timeout_ms"]) == (300_000, 10_000)
    hashed = "{protocol: http2, endpoints: [127.0.0.1:1], lb: {policy: ring_hash, hash: header.X-User}}"
    assert plan_of(upstream(hashed))["upstreams"][0]["lb"]["hash"] == "http.header.x-user"


@pytest.mark.parametrize(
    ("health", "type", "ask"),
    [
        ("{}", "tcp", {}),
        ("{path: /healthz}", "http", {"host": "", "path": "/healthz", "method": "GET", "expect": ["2xx"]}),
        (
            "{type: http, host: h, method: HEAD, expect: [200, 3xx]}",
            "http",
            {"host": "h", "path": "/", "method": "HEAD", "expect": ["200", "3xx"]},
        ),
        ("{type: grpc}", "grpc", {"host": "", "service": ""}),
        ("{service: shop.Cart}", "grpc", {"host": "", "service": "shop.Cart"}),
    ],
)
def test_health_checks(health: str, type: str, ask: dict[str, Any]) -> None:
    text = upstream(f"{{protocol: http2, endpoints: [127.0.0.1:1], health: {health}}}")
    (found,) = compile_config(load_text(text), LocalRegistry(), 1).checks
    assert (found["type"], found["ask"], found["protocol"], found["tls"]) == (type, ask, "http2", None)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("{protocol: http, endpoints: [127.0.0.1:1]}", "servers are asked in one version: write http1 or http2"),
        ("{protocol: https, endpoints: [127.0.0.1:1]}", "write http1 or http2, and `tls: {}`"),
        ("{protocol: [http1, http2], endpoints: [127.0.0.1:1]}", "speak one protocol: a list is for listeners"),
        ("{protocol: http3, endpoints: [127.0.0.1:1]}", "unknown protocol 'http3', did you mean"),
        ("{protocol: http2, endpoints: [127.0.0.1:1], pipeline: 2}", "'pipeline' is only for http1"),
        ("{protocol: http1, endpoints: [127.0.0.1:1], http2: {}}", "'http2' is only for http2"),
        (
            "{protocol: http1, endpoints: [127.0.0.1:1], health: {type: redis}}",
            "unknown value 'redis': known are tcp, http, grpc",
        ),
        (
            "{protocol: http1, endpoints: [127.0.0.1:1], health: {type: grpc}}",
            "gRPC needs HTTP/2: the endpoints speak http1",
        ),
        (
            "{protocol: http1, endpoints: [127.0.0.1:1], health: {type: tcp, path: /}}",
            "path is for checks of type http, this one is tcp",
        ),
        (
            "{protocol: http1, endpoints: [127.0.0.1:1], health: {type: tcp, host: a}}",
            "host is for checks of type http and grpc",
        ),
        (
            "{protocol: http2, endpoints: [127.0.0.1:1], health: {path: /, service: a}}",
            "path is for checks of type http, this one is grpc",
        ),
        (
            "{protocol: http2, endpoints: [127.0.0.1:1], health: {expect: [99]}}",
            "at least 100 is expected here, not 99",
        ),
        ("{protocol: redis, endpoints: [127.0.0.1:1], health: {path: /}}", "'path' is only for http1"),
    ],
)
def test_faulty_upstreams(body: str, sentence: str) -> None:
    found = errors(upstream(body))
    assert found, "no fault"
    assert sentence in found[0].message, [fault.message for fault in found]


@pytest.mark.parametrize(
    ("route", "sentence"),
    [
        ("match: {host: '::1'}", "an IPv6 address stands in brackets in http.host: write '[::1]'"),
        ("match: {host: '[::1]:80'}", "http.host has no port: write '[::1]'"),
        ("match: {host: '*:80'}", "http.host has no port: write '*'"),
        ("when: 'host == \"a:80\"'", "http.host has no port: write 'a'"),
    ],
)
def test_hosts_that_no_request_has(route: str, sentence: str) -> None:
    (fault,) = errors(with_routes(f"- {{{route}, to: web}}\n- to: web"))
    assert sentence in fault.message


def test_hosts_in_expressions_are_lower_case_as_well() -> None:
    whens = ('host == "A.b."', 'host.startsWith("Www.")', 'host.endsWith(".COM")', 'host.contains("Shop")')
    routes = routes_of("\n".join(f"- {{when: '{when}', to: web}}" for when in whens))
    assert [route["when"][2] for route in routes] == ["a.b", "www.", ".com", "shop"]
