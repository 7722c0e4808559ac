"""TLS in configurations: files that are not what they should be, and the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import pytest
from cryptography.hazmat.primitives import serialization

from mosnpy.config import LocalRegistry, check, check_text, compile_config, compile_plan, load, load_text
from mosnpy.config.report import Fault
from mosnpy.testing.certificates import Authority

CLIENTS = "{certificate: both.pem, client_certificate: required, client_ca: ca.pem, "
UPSTREAM = "upstreams: {web: {protocol: http1, endpoints: [127.0.0.1:9000]}}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, server.pem/.key, other.pem/.key and files that are none of these."""
    path = tmp_path_factory.mktemp("tls")
    authority = Authority(path)
    authority.issue("shop.example.com", file="server")
    authority.issue("*.example.com", "example.com", file="other", rsa_key=True)
    authority.issue("old.example.com", file="old", days=-0.5)
    authority.issue("soon.example.com", file="soon", days=3)
    both = (path / "server.pem").read_bytes() + (path / "server.key").read_bytes()
    (path / "both.pem").write_bytes(both)
    key = serialization.load_pem_private_key((path / "server.key").read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (path / "locked.key").write_bytes(key.private_bytes(pem, form, locked))
    authority.revoke()
    (path / "broken-crl.pem").write_text("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    (path / "text.pem").write_text("hello\n")
    (path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (path / "broken.key").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    return path


def faults(folder: Path, text: str) -> list[Fault]:
    file = folder / "mosnpy.yaml"
    file.write_text(text)
    return check(file, resolve_names=False)


def server(folder: Path, tls: str, more: str = "") -> list[Fault]:
    head = f"version: 1\nlisteners: {{l: {{bind: ':1', protocol: http, to: web, {more} tls: {tls}}}}}\n"
    return faults(folder, head + UPSTREAM)


def client(folder: Path, tls: str, endpoints: str = "127.0.0.1:1") -> list[Fault]:
    text = f"upstreams: {{web: {{protocol: http1, endpoints: [{endpoints}], tls: {tls}}}}}\n"
    return faults(folder, "version: 1\nlisteners: {l: {bind: ':1', protocol: http, to: web}}\n" + text)


@pytest.mark.parametrize(
    ("tls", "sentence"),
    [
        ("{}", "TLS needs a certificate: give `certificate` and `key`, or `certificates`"),
        ("{certificate: none.pem}", "none.pem: No such file or directory"),
        ("{certificate: ../tls-is-no-file-here}", "can't read"),
        ("{certificate: .}", "Is a directory"),
        ("{certificate: text.pem}", "text.pem has no certificate: it is not PEM"),
        ("{certificate: server.key}", "server.key has no certificate: it has a key"),
        ("{certificate: server.pem}", "server.pem has no private key: it has a certificate"),
        ("{certificate: server.pem, key: server.pem}", "server.pem has no private key: it has a certificate"),
        ("{certificate: server.pem, key: other.key}", "other.key is not the key of the certificate in"),
        ("{certificate: server.pem, key: locked.key}", "locked.key has a passphrase"),
        ("{certificate: server.pem, key: broken.key}", "broken.key can't be used"),
        ("{certificate: broken.pem, key: server.key}", "broken.pem has a broken certificate"),
        ("{key: server.key}", "TLS needs a certificate"),
        ("{key: server.key, certificates: [{certificate: both.pem}]}", "`key` belongs to `certificate`"),
        ("{certificate: both.pem, certificates: [{certificate: both.pem}]}", "either `certificate` (and `key`) or"),
        (
            "{certificates: [{certificate: both.pem}, {certificate: server.pem, key: other.key}]}",
            "other.key is not the key",
        ),
        (
            "{certificates: [{certificate: both.pem, names: ['a b']}]}",
            "a host name, or one with `*.` in front, is expected here",
        ),
        ("{certificate: both.pem, client_ca: ca.pem}", "client_ca has no effect while client_certificate is off"),
        ("{certificate: both.pem, client_names: [a]}", "client_names has no effect while client_certificate is off"),
        ("{certificate: both.pem, client_certificate: required}", "client_certificate: required needs client_ca"),
        ("{certificate: both.pem, client_certificate: optional, client_ca: text.pem}", "text.pem has no certificate"),
        ("{certificate: both.pem, client_crl: crl.pem}", "client_crl has no effect while client_certificate is off"),
        (CLIENTS + "client_crl: none.pem}", "none.pem: No such file or directory"),
        (CLIENTS + "client_crl: ca.pem}", "ca.pem has no list of revoked certificates: it has a certificate"),
        (CLIENTS + "client_crl: broken-crl.pem}", "broken-crl.pem has a broken list of revoked certificates"),
        (
            "{certificate: both.pem, min_version: '1.3', max_version: '1.2'}",
            "min_version (1.3) is newer than max_version",
        ),
        ("{certificate: both.pem, min_version: '1.1'}", "unknown value '1.1', did you mean"),
        ("{certificate: both.pem, ciphers: NOTHING}", "OpenSSL knows no cipher of 'NOTHING'"),
        ("{certificate: both.pem, mode: permisive}", "unknown value 'permisive', did you mean 'permissive'?"),
        ("{certificat: both.pem}", "unknown key 'certificat', did you mean 'certificate'?"),
    ],
)
def test_faulty_servers(folder: Path, tls: str, sentence: str) -> None:
    found = server(folder, tls)
    assert found, "no fault"
    assert any(sentence in fault.message for fault in found), [fault.message for fault in found]
    assert all(fault.line == 2 for fault in found)


def test_a_fault_of_a_file_stands_at_its_key(folder: Path) -> None:
    (found,) = server(folder, "{certificate: server.pem, key: other.key}")
    assert found.source[found.column - 1 :].startswith("other.key")


def test_dates_are_warnings(folder: Path) -> None:
    (old,) = server(folder, "{certificate: old.pem, key: old.key}")
    assert (old.severity, "this certificate has expired on" in old.message) == ("warning", True)
    (soon,) = server(folder, "{certificate: soon.pem, key: soon.key}")
    assert (soon.severity, "this certificate expires on" in soon.message) == ("warning", True)


@pytest.mark.parametrize(
    ("tls", "endpoints", "sentence"),
    [
        ("{}", "127.0.0.1:1", "the endpoints' certificates must be checked against a name: give `sni` or `names`"),
        ("{}", "a.example.com:1, b.example.com:1", "must be checked against a name"),
        ("{sni: a, ca: none.pem}", "127.0.0.1:1", "No such file"),
        ("{sni: a, key: server.key}", "127.0.0.1:1", "`key` belongs to `certificate`, which is missing"),
        ("{sni: a, certificate: server.pem, key: other.key}", "127.0.0.1:1", "other.key is not the key"),
        ("{verify: false, ca: ca.pem}", "127.0.0.1:1", "ca has no effect with verify: false"),
        ("{verify: false, names: [a]}", "127.0.0.1:1", "names has no effect with verify: false"),
        ("{sni: '*.a'}", "127.0.0.1:1", "a host name is expected here"),
    ],
)
def test_faulty_clients(folder: Path, tls: str, endpoints: str, sentence: str) -> None:
    found = [fault for fault in client(folder, tls, endpoints) if fault.severity == "error"]
    assert len(found) == 1, [fault.message for fault in found]
    assert sentence in found[0].message


def test_taking_any_certificate_is_doubtful(folder: Path) -> None:
    (found,) = client(folder, "{verify: false}")
    assert (found.severity, "verify: false takes any certificate" in found.message) == ("warning", True)


# -- the plan ------------------------------------------------------------------------------------------------------------


def plan_in(folder: Path, text: str) -> dict[str, Any]:
    file = folder / "mosnpy.yaml"
    file.write_text(text)
    plan: dict[str, Any] = msgpack.unpackb(compile_plan(load(file), LocalRegistry(), 1))
    return plan


def test_the_plan_of_a_server(folder: Path) -> None:
    text = f"version: 1\nlisteners: {{l: {{bind: ':1', protocol: http, to: web, tls: {{certificate: server.pem, key: server.key}}}}}}\n{UPSTREAM}"
    found = plan_in(folder, text)["listeners"][0]["tls"]
    found.pop("ticket_key", None)
    assert found == {
        "mode": "terminate",
        "certificates": [{"certificate": f"{folder}/server.pem", "key": f"{folder}/server.key", "names": []}],
        "client": "off",
        "client_ca": None,
        "client_crl": None,
        "client_names": [],
        "min": 0x0303,
        "max": 0x0304,
        "ciphers": None,
        "tickets": True,
        "alpn": ["h2", "http/1.1"],
    }


def test_the_plan_of_a_server_with_everything(folder: Path) -> None:
    tls = (
        "{certificates: [{certificate: both.pem}, {certificate: other.pem, key: other.key, names: ['*.Example.com']}], mode: permissive,"
        " client_certificate: required, client_ca: ca.pem, client_names: ['spiffe://td/*'], min_version: 1.2, max_version: '1.2',"
        " ciphers: ECDHE+AESGCM, session_tickets: false, alpn: [redis]}"
    )
    text = f"version: 1\nlisteners: {{l: {{bind: ':1', protocol: redis, to: web, tls: {tls}}}}}\n"
    found = plan_in(folder, text + UPSTREAM.replace("http1", "redis"))["listeners"][0]["tls"]
    assert found["mode"] == "permissive"
    assert found["certificates"][0]["key"] == f"{folder}/both.pem"
    assert found["certificates"][1]["names"] == ["*.example.com"]
    assert (found["client"], found["client_ca"], found["client_names"]) == (
        "required",
        f"{folder}/ca.pem",
        ["spiffe://td/*"],
    )
    assert (found["min"], found["max"], found["ciphers"], found["tickets"]) == (0x0303, 0x0303, "ECDHE+AESGCM", False)
    assert found["alpn"] == ["redis"]


@pytest.mark.parametrize(
    ("protocol", "tls", "endpoint", "wanted"),
    [
        (
            *("http2", "{}", "api.example.com:443"),
            {"ca": "system", "sni": "api.example.com", "names": ["api.example.com"], "verify": True, "alpn": ["h2"]},
        ),
        (
            *("http1", "{ca: ca.pem, names: ['*.example.com']}", "127.0.0.1:1"),
            {"sni": None, "names": ["*.example.com"], "alpn": ["http/1.1"]},
        ),
        (
            "redis",
            "{verify: false}",
            "127.0.0.1:1",
            {"ca": None, "sni": None, "names": [], "verify": False, "alpn": []},
        ),
        ("redis", "{sni: a, min_version: '1.3'}", "127.0.0.1:1", {"sni": "a", "names": ["a"], "min": 0x0304}),
    ],
)
def test_the_plan_of_a_client(
    folder: Path, protocol: str, tls: str, endpoint: str, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mosnpy.config import compile as compiling
    from mosnpy.config.resolving import ResolvedAddress

    monkeypatch.setattr(
        compiling, "resolve_hosts", lambda names: {n: [ResolvedAddress("ipv4", "10.0.0.1", 0)] for n in names}
    )
    listens = "redis" if protocol == "redis" else "http"
    text = f"version: 1\nlisteners: {{l: {{bind: ':1', protocol: {listens}, to: u}}}}\n"
    found = plan_in(
        folder, text + f"upstreams: {{u: {{protocol: {protocol}, endpoints: ['{endpoint}'], tls: {tls}}}}}\n"
    )
    shown = found["upstreams"][0]["tls"]
    assert {key: shown[key] for key in wanted} == wanted


def test_health_checks_and_watchers_know_the_files(folder: Path) -> None:
    file = folder / "mosnpy.yaml"
    (folder / "theirs.pem").write_bytes((folder / "crl.pem").read_bytes())
    file.write_text(
        f"version: 1\nlisteners: {{l: {{bind: ':1', protocol: http, to: web, tls: {CLIENTS}client_crl: theirs.pem}}}}}}\n"
        "upstreams: {web: {protocol: http1, endpoints: [127.0.0.1:1], health: {path: /},"
        " tls: {sni: a, ca: ca.pem, crl: crl.pem, certificate: server.pem, key: server.key}}}\n"
    )
    compiled = compile_config(load(file), LocalRegistry(), 1)
    assert compiled.checks[0]["tls"]["ca"] == f"{folder}/ca.pem"
    assert compiled.checks[0]["tls"]["crl"] == f"{folder}/crl.pem"
    names = ("both.pem", "ca.pem", "crl.pem", "server.key", "server.pem", "theirs.pem")
    assert compiled.files == [f"{folder}/{name}" for name in names]


def test_relative_paths_start_at_the_file_they_stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "conf.d").mkdir(exist_ok=True)
    (folder / "conf.d" / "tls.yaml").write_text(
        "listeners: {l: {bind: ':1', protocol: http, to: web, tls: {certificate: ../server.pem, key: ../server.key}}}\n"
    )
    monkeypatch.chdir("/")
    text = f"version: 1\ninclude: conf.d/tls.yaml\n{UPSTREAM}"
    assert plan_in(folder, text)["listeners"][0]["tls"]["certificates"][0]["key"] == f"{folder}/server.key"


class TestChains:
    def text(self, chains: str, listener: str = "tls: {certificate: both.pem},", protocol: str = "http") -> str:
        return (
            f"version: 1\nlisteners: {{l: {{bind: ':1', protocol: {protocol}, to: web, {listener} chains: {chains}}}}}\n"
            "upstreams:\n  web: {protocol: http1, endpoints: [127.0.0.1:9000]}\n"
            "  cache: {protocol: redis, endpoints: [127.0.0.1:6379]}\n"
        )

    def test_the_plan(self, folder: Path) -> None:
        chains = (
            "[{name: shop, sni: [Shop.example.com, '*.shop.example.com'], tls: {certificate: other.pem, key: other.key}, to: web},"
            " {name: cache, sni: cache.example.com, protocol: redis, limits: {pipeline: 5}, routes: [{name: all, to: cache}]},"
            " {name: api, sni: api.example.com, protocol: http1, http: {upgrade: false}, routes: [{match: {path: /x}, to: web}]}]"
        )
        found = plan_in(
            folder, self.text(chains, "http: {grpc_web: true}, tls: {certificate: both.pem, mode: permissive},")
        )
        listener = found["listeners"][0]
        shop, cache, api = listener["chains"]
        assert (shop["name"], shop["sni"]) == ("shop", ["shop.example.com", "*.shop.example.com"])
        assert [each["codec"] for each in shop["protocols"]] == ["http2", "http1"]
        assert shop["protocols"][0]["options"]["grpc_web"] is True
        assert (shop["tls"]["mode"], shop["tls"]["alpn"]) == ("permissive", ["h2", "http/1.1"])
        assert shop["tls"]["certificates"][0]["certificate"] == f"{folder}/other.pem"
        assert found["tables"][shop["protocols"][0]["table"]]["routes"][0]["name"] == "l.shop.0"
        assert [each["codec"] for each in cache["protocols"]] == ["redis"]
        assert cache["protocols"][0]["options"]["limits"]["pipeline"] == 5
        assert (cache["tls"]["alpn"], cache["tls"]["certificates"]) == ([], listener["tls"]["certificates"])
        assert found["tables"][cache["protocols"][0]["table"]]["routes"][0]["name"] == "all"
        assert (api["protocols"][0]["options"]["upgrade"], api["protocols"][0]["options"]["grpc_web"]) == (False, False)

    @pytest.mark.parametrize(
        ("chains", "sentence"),
        [
            ("[{sni: a.b, to: web}]", "'name' is missing"),
            ("[{name: a, to: web}]", "'sni' is missing"),
            ("[{name: a, sni: a.b}]", "this listener sends nothing anywhere"),
            ("[{name: a, sni: a.b, to: wbe}]", "unknown upstream 'wbe', did you mean 'web'?"),
            ("[{name: a, sni: a.b, to: cache}]", "upstream 'cache' speaks redis, this listener http"),
            (
                "[{name: a, sni: a.b, to: web}, {name: a, sni: b.b, to: web}]",
                "a chain of this listener is already called 'a'",
            ),
            (
                "[{name: a, sni: a.b, to: web}, {name: b, sni: A.B, to: web}]",
                "a.b is already a server name of chain 'a'",
            ),
            ("[{name: a, sni: 'a*.b', to: web}]", "a host name, or one with"),
            ("[{name: a, sni: a.b, protocol: [tls, http], to: web}]", "tls is of no use here"),
            ("[{name: a, sni: a.b, protocol: htp, to: web}]", "unknown protocol 'htp', did you mean 'http'?"),
            ("[{name: a, sni: a.b, to: web, auth: {password: x}}]", "'auth' is only for redis"),
            ("[{name: a, sni: a.b, to: web, tls: {mode: permissive, certificate: both.pem}}]", "unknown key 'mode'"),
            ("[{name: a, sni: a.b, to: web, tls: {certificate: text.pem}}]", "text.pem has no certificate"),
            ("[{name: a, sni: a.b, to: web, bind: ':2'}]", "unknown key 'bind'"),
            ("[5]", "a mapping is expected here, not 5"),
            ("5", "a list is expected here, not 5"),
        ],
    )
    def test_faulty_chains(self, folder: Path, chains: str, sentence: str) -> None:
        found = [fault.message for fault in faults(folder, self.text(chains)) if fault.severity == "error"]
        assert found, "no fault"
        assert sentence in found[0], found

    def test_chains_need_tls(self, folder: Path) -> None:
        found = faults(folder, self.text("[{name: a, sni: a.b, to: web}]", ""))
        assert "the listener itself needs `tls:`" in found[0].message
        plain = self.text("[{name: a, sni: a.b, to: web}]", "", "tcp").replace("http1", "tcp")
        assert "write routes that match tls.sni" in faults(folder, plain)[0].message


class TestDetection:
    UPSTREAMS = (
        "upstreams:\n  web: {protocol: http2, endpoints: [127.0.0.1:1]}\n  cache: {protocol: redis, endpoints: [127.0.0.1:2]}\n"
        "  rest: {protocol: tcp, endpoints: [127.0.0.1:3]}\n"
    )

    def text(self, protocol: str, routes: str, more: str = "") -> str:
        return f"version: 1\nlisteners: {{l: {{bind: ':1', protocol: {protocol}, {more} routes: [{routes}]}}}}\n{self.UPSTREAMS}"

    def tables(self, protocol: str, routes: str, more: str = "") -> dict[str, list[str]]:
        plan = msgpack.unpackb(compile_plan(load_text(self.text(protocol, routes, more)), LocalRegistry(), 1))
        return {
            each["codec"]: [route["name"] for route in plan["tables"][each["table"]]["routes"]]
            for each in plan["listeners"][0]["protocols"]
        }

    def test_each_protocol_has_the_routes_that_are_for_it(self) -> None:
        routes = (
            "{name: refuse, match: {client_ip: 10.0.0.1}, reply: {error: no}}, {name: path, match: {path: /a}, to: web},"
            " {name: key, match: {key: 'a:*'}, to: cache}, {name: status, match: {access: write}, reply: {status: 403}},"
            " {name: when, when: 'method == \"GET\"', reply: {error: x}}, {name: web, to: web}, {name: cache, to: cache}"
        )
        assert self.tables("[http, redis]", routes) == {
            "http2": ["refuse", "path", "status", "when", "web"],
            "http1": ["refuse", "path", "status", "when", "web"],
            "redis": ["refuse", "key", "cache"],
        }
        assert self.tables("[redis, http1, tcp]", routes + ", {name: rest, to: rest}") == {
            "redis": ["refuse", "key", "cache"],
            "http1": ["refuse", "path", "status", "when", "web"],
            "tcp": ["refuse", "rest"],
        }

    def test_groups_are_left_out_as_a_whole(self) -> None:
        routes = "{match: {host: a}, routes: [{name: x, reply: {error: a}}]}, {name: w, to: web}, {name: c, to: cache}"
        assert self.tables("[http1, redis]", routes) == {"http1": ["x", "w"], "redis": ["c"]}

    def test_names_without_a_route_name_count_all_routes(self) -> None:
        assert self.tables("[redis, http1]", "{to: web}, {to: cache}") == {"redis": ["l.1"], "http1": ["l.0"]}

    def test_tls_in_the_list_means_both(self, folder: Path) -> None:
        tls = "tls: {certificate: both.pem},"
        plan = plan_in(folder, self.text("[tls, http, redis]", "{to: web}, {to: cache}", tls))
        assert plan["listeners"][0]["tls"]["mode"] == "permissive"
        assert plan["listeners"][0]["tls"]["alpn"] == ["h2", "http/1.1"]

    @pytest.mark.parametrize(
        ("protocol", "routes", "more", "sentence"),
        [
            ("[]", "{to: web}", "", "an empty list: name at least one protocol"),
            ("[tls]", "{to: web}", "", "tls only carries another protocol: add it"),
            ("tls", "{to: web}", "", "tls only carries another protocol: write `protocol: http` and a `tls:` block"),
            ("[http, tls]", "{to: web}", "", "tls stands first in the list"),
            ("[tls, http]", "{to: web}", "", "tls is in the list, so TLS may come: it needs a `tls:` block"),
            ("[http, http1]", "{to: web}", "", "http1 is listed twice"),
            ("[http1, http]", "{to: web}", "", "http1 is listed twice (http stands for http2 and http1)"),
            ("[tcp, http]", "{to: web}", "", "tcp takes whatever comes: http behind it would never get its turn"),
            ("[http, 5]", "{to: web}", "", "unknown protocol 5: known are http, http1, http2, redis, tcp"),
            ("https", "{to: web}", "", "unknown protocol 'https', did you mean 'http'?"),
            ("grpc", "{to: web}", "", "unknown protocol 'grpc', did you mean 'http2'?"),
            ("[http, redis]", "{to: web}", "", "no route of this listener takes redis"),
            (
                "[http, redis]",
                "{to: web}, {match: {path: /a}, to: cache}",
                "",
                "this route fits no protocol of this listener",
            ),
            (
                "[http, redis]",
                "{to: web}, {to: rest}",
                "",
                "as http, upstream 'rest' speaks tcp; as redis, upstream 'rest'",
            ),
            (
                "[http, redis]",
                "{to: web}, {match: {kye: a}, to: cache}",
                "",
                "redis has no attribute 'kye', did you mean 'key'?",
            ),
            (
                "[http, redis]",
                "{match: {pth: a}, to: web}, {to: cache}",
                "",
                "http has no attribute 'pth', did you mean 'path'?",
            ),
            ("[http, redis]", "{match: {method: get}, to: web}, {to: cache}", "", "methods are told apart by case"),
            (
                "[http, redis]",
                "{to: web}, {match: {path: /a}, to: web}, {to: cache}",
                "",
                "this route can never match: route 0",
            ),
            ("[http, redis]", "{split: {web: 1, cache: 1}}", "", "this route fits no protocol of this listener"),
            ("[http, tcp]", "{to: web}, {to: rest}", "auth: {password: a},", "'auth' is only for redis"),
        ],
    )
    def test_faults(self, protocol: str, routes: str, more: str, sentence: str) -> None:
        found = [fault.message for fault in check_text(self.text(protocol, routes, more)) if fault.severity == "error"]
        assert found, "no fault"
        assert sentence in found[0], found
        assert len(found) == 1, found

    def test_terminate_and_tls_in_the_list_contradict_each_other(self, folder: Path) -> None:
        text = self.text("[tls, http]", "{to: web}", "tls: {certificate: both.pem, mode: terminate},")
        (found,) = [fault for fault in faults(folder, text) if fault.severity == "error"]
        assert "terminate says that it may not" in found.message


@pytest.mark.parametrize(
    ("protocol", "alpn", "sentence"),
    [
        ("http1", "[http/1.1, h2]", "h2 is http2, which is not spoken here: http1"),
        ("[http2, redis]", "[http/1.1]", "http/1.1 is http1, which is not spoken here: http2, redis"),
        ("http1", "[http/1.1, acme/1]", ""),
        ("tcp", "[h2]", ""),
    ],
)
def test_what_is_offered_must_be_spoken(folder: Path, protocol: str, alpn: str, sentence: str) -> None:
    tls = f"{{certificate: server.pem, key: server.key, alpn: {alpn}}}"
    text = f"version: 1\nlisteners: {{l: {{bind: ':1', protocol: {protocol}, tls: {tls}, routes: [{{to: web}}]}}}}\n"
    upstream = UPSTREAM.replace("http1", "tcp" if protocol == "tcp" else "http1")
    found = [fault.message for fault in faults(folder, text + upstream) if "spoken" in fault.message]
    assert found == ([sentence] if sentence else [])
