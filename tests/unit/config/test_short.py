"""`mosnpy proxy --from … --to …`."""

from __future__ import annotations

from typing import Any

import pytest

from mosnpy.config import from_urls, load_mapping, load_text, to_yaml
from mosnpy.config.short import without_passwords
from mosnpy.errors import ConfigError


def sides(listen: str, *targets: str) -> tuple[dict[str, Any], dict[str, Any]]:
    mapping = from_urls(listen, targets)
    load_mapping(mapping)
    load_text(to_yaml(mapping))
    return mapping["listeners"]["front"], mapping["upstreams"]["main"]


def test_the_one_liner() -> None:
    front, main = sides("redis://:6380", "redis://127.0.0.1:6379")
    assert front == {"bind": ":6380", "protocol": "redis", "to": "main"}
    assert main == {"protocol": "redis", "endpoints": ["127.0.0.1:6379"]}


def test_the_port_of_redis_may_be_left_out() -> None:
    front, main = sides("redis://127.0.0.1", "redis://cache.example.com/")
    assert front["bind"] == "127.0.0.1:6379"
    assert main["endpoints"] == ["cache.example.com:6379"]


def test_several_targets_are_endpoints() -> None:
    assert sides("tcp://:5000", "tcp://10.0.0.1:1", "tcp://[::1]:2")[1]["endpoints"] == ["10.0.0.1:1", "[::1]:2"]


def test_http() -> None:
    front, main = sides("http://127.0.0.1:8080", "http://127.0.0.1:9000", "http://127.0.0.1")
    assert front["protocol"] == "http"
    assert main == {"protocol": "http1", "endpoints": ["127.0.0.1:9000", "127.0.0.1:80"]}
    assert sides("http://:1", "h2c://127.0.0.1:9000")[1]["protocol"] == "http2"
    secure = sides("http://:1", "https://www.example.com")[1]
    assert secure == {"protocol": "http1", "endpoints": ["www.example.com:443"], "tls": {}}
    assert sides("redis://:1", "rediss://cache.example.com")[1]["tls"] == {}
    assert sides("http://:1", "http+unix:///run/app.sock")[1]["endpoints"] == ["unix:/run/app.sock"]


def test_unix_sockets_take_the_other_sides_protocol() -> None:
    assert sides("redis://:1", "unix:///run/redis.sock")[1]["endpoints"] == ["unix:/run/redis.sock"]
    assert sides("redis+unix:///tmp/a.sock", "unix:///run/redis.sock")[0]["bind"] == "unix:/tmp/a.sock"


def test_logins() -> None:
    front, main = sides("redis://:front@:1", "redis://bob:p%40ss@10.0.0.1", "redis://bob:p%40ss@10.0.0.2")
    assert front["auth"] == {"password": "front"}
    assert main["auth"] == {"username": "bob", "password": "p@ss"}
    assert sides("redis://al:x@:1", "redis://h")[0]["auth"] == {"users": {"al": "x"}}


def test_what_is_shown_has_no_password_in_it() -> None:
    mapping = from_urls("redis://al:geheim@:1", ["redis://:geheim@h"])
    shown = to_yaml(without_passwords(mapping))
    assert "geheim" not in shown
    assert mapping["upstreams"]["main"]["auth"]["password"] == "geheim"
    load_text(shown, env={"AL_PASSWORD": "x", "UPSTREAM_PASSWORD": "y"})


def test_options_are_passed_on() -> None:
    mapping = from_urls("redis://:1", ["redis://h"], workers="auto", admin="127.0.0.1:9901", lb="ring_hash")
    config = load_mapping(mapping)
    assert config.workers == "auto"
    assert config.admin is not None
    assert config.upstreams["main"].lb.hash == "redis.key"


@pytest.mark.parametrize(
    ("listen", "target", "sentence"),
    [
        ("redis://:1", "redis://h/3", "a database can't be chosen for all clients"),
        (
            "rediss://:1",
            "redis://h",
            "rediss:// can't be listened on: TLS needs a certificate: write a configuration file",
        ),
        ("h2c://:1", "http://h", "h2c:// can't be listened on: HTTP/2 is part of http://"),
        ("redis://:1", "http://h", "all sides must speak the same protocol, these speak http and redis"),
        ("http://:1", "grpc://h", "write http:// on this side and h2c:// towards the servers"),
        ("http://:1", "http://h/path", "leave /path out"),
        ("http://a:b@:1", "http://h", "http has no user and password"),
        ("redis://:1", "redis-cluster://h", "Redis Cluster is not possible in this version"),
        ("redis://:1", "ftp://h", "known are redis://, rediss://, http://, https://, h2c://, tcp:// and unix://"),
        ("redis://:1", "tcp://h:1", "all sides must speak the same protocol, these speak redis and tcp"),
        ("redis://:1", "h:1", "'h:1' is no URL: write redis://h:1"),
        ("redis://:1", "redis://", "names no host"),
        ("redis://:1", "redis://h:x", "is no URL"),
        ("redis://:1", "redis://h?db=1", "options behind ? or # are not possible here"),
        ("redis://:1", "redis://bob@h", "a user but no password"),
        ("redis://:1", "unix://run/x", "with three slashes"),
        ("tcp://:1", "tcp://h", "has no port, and tcp has no usual one"),
        ("tcp://:1", "tcp://a:b@h:1", "tcp has no user and password"),
        ("unix:///a", "unix:///b", "unix:// doesn't say the protocol"),
    ],
)
def test_what_can_not_be_done_is_said(listen: str, target: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_urls(listen, [target])
    assert sentence in str(caught.value)


def test_endpoints_share_their_login() -> None:
    with pytest.raises(ConfigError, match="share user and password"):
        from_urls("redis://:1", ["redis://:a@h", "redis://:b@i"])
    with pytest.raises(ConfigError, match="at least one --to"):
        from_urls("redis://:1", [])
