"""What a configuration means: references, protocols, ports, doubts."""

from __future__ import annotations

import textwrap

import pytest

from mosnpy.config import check_text, load_text
from mosnpy.config.report import Fault
from mosnpy.errors import ConfigErrors

GOOD = """
version: 1
listeners:
  cache:
    bind: 127.0.0.1:6380
    protocol: redis
    routes:
{routes}
upstreams:
  main: {{protocol: redis, endpoints: [127.0.0.1:6379]}}
  other: {{protocol: redis, endpoints: [127.0.0.1:6381]}}
  plain: {{protocol: tcp, endpoints: [127.0.0.1:9000]}}
"""


def routes(text: str) -> list[Fault]:
    """Errors of a configuration with these routes, places relative to the routes' first line."""
    body = textwrap.indent(textwrap.dedent(text).strip("\n"), "      ")
    return [f for f in check_text(GOOD.format(routes=body)) if f.severity == "error"]


def places(faults: list[Fault]) -> list[str]:
    return [f"{f.line - 7}:{f.column - 6} {f.message}" for f in faults]


def whole(text: str) -> list[str]:
    return [f"{f.line}:{f.column} {f.severity} {f.message}" for f in check_text(textwrap.dedent(text).lstrip("\n"))]


def test_unknown_upstreams_are_named_with_a_guess() -> None:
    found = routes("""
        - match: {key: a}
          to: mian
        - split: {main: 1, othr: 1}
        - to: main
          mirror: zzz
        """)
    assert places(found) == [
        "2:7 unknown upstream 'mian', did you mean 'main'?",
        "3:20 unknown upstream 'othr', did you mean 'other'?",
        "4:3 this route can never match: route 1 (line 10) before it takes everything",
        "5:11 unknown upstream 'zzz': there are main, other, plain",
    ]


def test_protocols_must_fit() -> None:
    assert places(routes("- to: plain")) == ["1:7 upstream 'plain' speaks tcp, this listener redis"]
    assert places(routes("- split: {plain: 1}")) == ["1:11 upstream 'plain' speaks tcp, this listener redis"]


@pytest.mark.parametrize(
    ("route", "sentence"),
    [
        ("{match: {key: a}}", "a route has exactly one of to, split and reply; this one has none"),
        ("{to: main, split: {main: 1}}", "this one has to and split"),
        ("{to: main, sticky: key}", "sticky only works with split"),
        ("{split: {main: 0}}", "all weights of split are 0"),
        ("{split: {}}", "at least one is needed here"),
        ("{split: {main: -1}}", "at least 0 is expected here, not -1"),
        ("{split: {main: 1.5}}", "a whole number is expected here, not 1.5"),
        ("{split: {main: 1}, sticky: kee}", "redis has no attribute 'kee', did you mean 'key'?"),
        ("{reply: {error: x}, timeout: 1s}", "a route that replies asks no upstream: timeout has no meaning here"),
        ('{reply: {error: "a\\nb"}}', "the text can't contain line breaks"),
        ("{reply: {error: 5}}", 'text is expected here, not 5, write "5" in quotes'),
        ("{reply: x}", "a mapping is expected here, not 'x'"),
        ("{to: main, timeout: 5}", "5 has no unit: write 5ms or 5s"),
        ("{to: main, match: }", "nothing stands here"),
        ("{to: main, match: x}", "a mapping is expected here, not 'x'"),
        ("{to: main, matches: {}}", "unknown key 'matches', did you mean 'match'?"),
        ("{to: main, mirror: {to: other, percnt: 5}}", "unknown key 'percnt', did you mean 'percent'?"),
        ("{to: main, name: a/b}", "a name has letters, digits"),
        ("{to: main, when: db}", "redis.db is no condition by itself"),
        ("{to: 5}", 'text is expected here, not 5, write "5" in quotes'),
    ],
)
def test_faulty_routes(route: str, sentence: str) -> None:
    found = routes(f"- {route}")
    assert len(found) == 1, [f.message for f in found]
    assert sentence in found[0].message


def test_a_name_of_a_route_is_used_once() -> None:
    found = routes("- {name: a, match: {key: x}, to: main}\n- {name: a, to: main}")
    assert places(found) == ["2:10 a route of this listener is already called 'a' at line 8"]


def test_an_expression_points_at_its_character() -> None:
    found = routes("""
        - when: access == "read" && redis.kye == "a"
          to: main
        - when: 'redis.db > "1"'
          to: main
        - when: >
            access == "read" &&
            redis.kye == "a"
          to: main
        """)
    assert [f"{f.line - 7}:{f.column - 6}" for f in found] == ["1:29", "3:21", "5:9"]
    assert "(at character 21 of" in found[2].message


def test_ports_clash() -> None:
    assert whole("""
        version: 1
        admin: 127.0.0.1:6380
        listeners:
          a: {bind: ":6380", protocol: redis, to: m}
          b: {bind: ["0.0.0.0:6381", "127.0.0.1:6381"], protocol: redis, to: m}
          c: {bind: unix:/tmp/x, protocol: redis, to: m}
          d: {bind: unix:/tmp/x, protocol: redis, to: m}
          e: {bind: [":0", ":0"], protocol: redis, to: m}
        upstreams: {m: {protocol: redis, endpoints: [127.0.0.1:6379]}}
        """) == [
        "4:13 error :6380 is already taken: the admin API listens on 127.0.0.1:6380 at line 2",
        "5:30 error 127.0.0.1:6381 is already taken: listener 'b' listens on 0.0.0.0:6381 at line 5",
        "7:13 error unix:/tmp/x is already taken: listener 'c' listens on unix:/tmp/x at line 6",
    ]


def test_doubts_are_warnings() -> None:
    assert whole("""
        version: 1
        admin: 0.0.0.0:9901
        listeners:
          a: {bind: 127.0.0.1:6380, protocol: redis, to: m}
        upstreams:
          m: {protocol: redis, endpoints: [127.0.0.1:6380]}
          unused: {protocol: redis, endpoints: [127.0.0.1:6379]}
        """) == [
        "2:8 warning the admin API on 0.0.0.0:9901 can be reached from other machines, and it asks for no password",
        "6:36 warning 127.0.0.1:6380 is listener 'a' itself, which sends to this upstream: a loop",
        "7:3 warning no route leads to upstream 'unused'",
    ]


@pytest.mark.parametrize(
    ("upstream", "sentence"),
    [
        ("{protocol: redis, endpoints: []}", "at least one is needed here"),
        ("{protocol: redis}", "'endpoints' is missing"),
        ("{endpoints: [127.0.0.1:1]}", "'protocol' is missing"),
        ("{protocol: redis, endpoints: 127.0.0.1:1}", "a list is expected here, not '127.0.0.1:1'"),
        (
            "{protocol: redis, endpoints: [127.0.0.1:1, 127.0.0.1:1]}",
            "127.0.0.1:1 is already listed: give it a higher weight instead",
        ),
        ("{protocol: redis, endpoints: [{adress: x}]}", "unknown key 'adress', did you mean 'address'?"),
        ("{protocol: redis, endpoints: [{address: 127.0.0.1:1, weight: 0}]}", "at least 1 is expected here, not 0"),
        (
            "{protocol: redis, endpoints: [127.0.0.1:1], lb: round-robin}",
            "unknown value 'round-robin', did you mean 'round_robin'?",
        ),
        (
            "{protocol: redis, endpoints: [127.0.0.1:1], lb: {policy: random, hash: key}}",
            "hash is for ring_hash and maglev; the policy is random",
        ),
        (
            "{protocol: redis, endpoints: [127.0.0.1:1], lb: {policy: maglev, table_size: 1000}}",
            "must be a prime, 1000 is none",
        ),
        (
            "{protocol: redis, endpoints: [127.0.0.1:1], lb: {policy: maglev, hash: kee}}",
            "redis has no attribute 'kee'",
        ),
        (
            "{protocol: tcp, endpoints: [127.0.0.1:1], lb: {policy: maglev, hash: operation}}",
            "tcp has no requests to look into",
        ),
        ("{protocol: tcp, endpoints: [127.0.0.1:1], auth: {password: x}}", "'auth' is only for redis"),
        (
            "{protocol: tcp, endpoints: [127.0.0.1:1], health: {type: redis}}",
            "unknown value 'redis': known are tcp",
        ),
        ("{protocol: redis, endpoints: [127.0.0.1:1], health: }", "nothing stands here"),
        ("{protocol: redis, endpoints: [127.0.0.1:1], health: {interval: 0s}}", "interval can't be 0s"),
        ("{protocol: redis, endpoints: [127.0.0.1:1], ejection: {base: 1m}}", "max (30s) is shorter than base (1m)"),
        ("{protocol: redis, endpoints: [127.0.0.1:1], connect_timeout: 0s}", "connect_timeout can't be 0s"),
        (
            "{protocol: redis, endpoints: [127.0.0.1:1], auth: {password: 5}}",
            'text is expected here, not 5, write "5" in quotes',
        ),
        ('{protocol: redis, endpoints: [127.0.0.1:1], auth: {password: ""}}', "this text is empty"),
        ("{protocol: redis, endpoints: [127.0.0.1:1], attempts: yes}", "a whole number is expected here, not 'yes'"),
        ("{protocol: http, endpoints: [127.0.0.1:1]}", "servers are asked in one version: write http1 or http2"),
        ("x", "a mapping is expected here, not 'x'"),
    ],
)
def test_faulty_upstreams(upstream: str, sentence: str) -> None:
    text = f"""
version: 1
listeners: {{a: {{bind: ":1", protocol: redis, to: good}}}}
upstreams:
  good: {{protocol: redis, endpoints: [127.0.0.1:2]}}
  x: {upstream}
"""
    found = [f for f in check_text(text) if f.severity == "error"]
    assert len(found) == 1, [f.message for f in found]
    assert sentence in found[0].message
    assert found[0].line == 6


@pytest.mark.parametrize(
    ("listener", "sentence"),
    [
        ('{bind: ":1", protocol: redis}', "this listener sends nothing anywhere"),
        ('{bind: ":1", protocol: redis, to: m, routes: [{to: m}]}', "a listener has either `to` or `routes`"),
        ('{bind: ":1", protocol: redis, routes: []}', "this listener sends nothing anywhere"),
        ("{protocol: redis, to: m}", "'bind' is missing"),
        ("{bind: [], protocol: redis, to: m}", "at least one is needed here"),
        ("{bind: 6380, protocol: redis, to: m}", '6380 is only a port: write ":6380"'),
        ('{bind: ":1", to: m}', "'protocol' is missing"),
        (
            '{bind: ":1", protocol: [tcp, redis], to: m}',
            "tcp takes whatever comes: redis behind it would never get its turn",
        ),
        ('{bind: ":1", protocol: reddis, to: m}', "unknown protocol 'reddis', did you mean 'redis'?"),
        ('{bind: ":1", protocol: redis, to: m, client_buffer: 1KiB}', "at least 64KiB is expected here, not 1KiB"),
        ('{bind: ":1", protocol: redis, to: m, max_connections: 0}', "at least 1 is expected here, not 0"),
        ('{bind: ":1", protocol: redis, to: m, auth: {}}', "auth needs a password or users"),
        (
            '{bind: ":1", protocol: redis, to: m, auth: {password: a, users: {default: b}}}',
            "`password` is that of the user `default`",
        ),
        ('{bind: ":1", protocol: redis, to: m, limits: {bulk: 5}}', "5 has no unit: write 5B, 5KiB or 5MiB"),
        ('{bind: ":1", protocol: redis, to: m, proxy_protocol: v2}', "unknown value 'v2': known are off, accept"),
        ('{bind: ":1", protocol: redis, to: m, socket_mode: 660}', "text is expected here, not 660"),
        ('{bind: ":1", protocol: redis, to: m, socket_mode: "999"}', "permissions are written in octal"),
        (
            '{bind: ":1", protocol: redis, to: m, filters: [{rate_limit: {}}]}',
            "unknown filter 'rate_limit': this version has no filters",
        ),
        (
            '{bind: ":1", protocol: redis, to: m, filters: [fault]}',
            "unknown filter 'fault': this version has no filters",
        ),
        ('{bind: ":1", protocol: tcp, routes: [{to: t, timeout: 1s}]}', "'timeout' has no meaning for this protocol"),
        ('{bind: ":1", protocol: tcp, to: t, limits: {}}', "'limits' is only for redis"),
        ('{bind: ":1", protocol: tcp, routes: [{match: {operation: GET}, to: t}]}', "tcp has no requests to look into"),
    ],
)
def test_faulty_listeners(listener: str, sentence: str) -> None:
    text = f"""
version: 1
listeners:
  x: {listener}
upstreams:
  m: {{protocol: redis, endpoints: [127.0.0.1:2]}}
  t: {{protocol: tcp, endpoints: [127.0.0.1:2]}}
"""
    found = [f for f in check_text(text) if f.severity == "error"]
    assert len(found) == 1, [f.message for f in found]
    assert sentence in found[0].message
    assert found[0].line == 4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("listeners: {}", "'version' is missing: start the file with `version: 1`"),
        ("version: 2", "1 is expected here, not 2"),
        ("version: 1", "'listeners' is missing"),
        ("version: 1\nlisteners:\n", "nothing stands here"),
        ("version: 1\nlisteners: {}\n", "at least one is needed here"),
        ("version: 1\nlisteners: []\n", "a mapping is expected here, not a list"),
        ("version: 1\nworkers: many\n", "a number from 1 to 1024, or auto, is expected here, not 'many'"),
        ("version: 1\nlistener: {}\n", "unknown key 'listener', did you mean 'listeners'?"),
        ("version: 1\nbusy_poll: 50\n", "50 has no unit"),
        ("version: 1\ncodecs: {acme: {use: x}}\n", "codec 'acme': this version can't load codecs"),
        ("version: 1\nlisteners: {'a b': {bind: ':1', protocol: tcp, to: x}}\n", "a name has letters, digits"),
    ],
)
def test_faults_at_the_top(text: str, sentence: str) -> None:
    assert any(sentence in f.message for f in check_text(text)), [f.message for f in check_text(text)]


def test_commands_nobody_knows() -> None:
    body = textwrap.indent(
        "- {match: {command: [get, flushal, FT.SEARCH, '!hgetal', 'CONFIG SET']}, to: main}\n"
        '- {when: \'operation in ["GET", "STE"]\', to: main}\n'
        "- {match: {operation: lrange*}, to: main}",
        "      ",
    )
    found = [f for f in check_text(GOOD.format(routes=body)) if "leads to" not in f.message]
    assert [f"{f.line - 7}:{f.column - 6} {f.severity} {f.message}" for f in found] == [
        "1:27 warning redis has no command 'FLUSHAL' unless a module brings it, did you mean 'FLUSHALL'?",
        "1:47 warning redis has no command 'HGETAL' unless a module brings it, did you mean 'HGETALL'?",
        "1:58 error 'CONFIG SET' is two words: match command CONFIG and subcommand SET",
        "2:10 warning redis has no command 'STE' unless a module brings it, did you mean 'SETEX'?",
    ]


def test_load_raises_what_check_finds() -> None:
    text = "version: 1\nlisteners: {a: {bind: 5, protocol: redis, to: x}}\n"
    with pytest.raises(ConfigErrors) as caught:
        load_text(text, "some.yaml")
    assert list(caught.value.faults) == check_text(text, "some.yaml")
    assert (caught.value.file, caught.value.line) == ("some.yaml", 2)
    assert "some.yaml:2:23: error: 5 is only a port" in str(caught.value)


def test_warnings_do_not_stop_loading() -> None:
    text = """
version: 1
listeners: {a: {bind: ":1", protocol: redis, to: m}}
upstreams: {m: {protocol: redis, endpoints: [x.invalid:1]}, n: {protocol: redis, endpoints: [127.0.0.1:1]}}
"""
    config = load_text(text)
    assert config.document is not None
    assert [f.severity for f in config.document.faults] == ["warning"]


def test_names_that_do_not_resolve_are_warnings_of_check(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def getaddrinfo(host: str, *_: object, **__: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    text = """
version: 1
listeners: {a: {bind: ":1", protocol: redis, to: m}}
upstreams: {m: {protocol: redis, endpoints: [127.0.0.1:1, cache.invalid:1]}}
"""
    (fault,) = check_text(text, resolve_names=True)
    assert fault.severity == "warning"
    assert fault.message == "can't resolve 'cache.invalid': Name or service not known"
    assert (fault.line, fault.column) == (4, 59)
    assert check_text(text) == []
