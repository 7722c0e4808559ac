"""Addresses: forms, refusals, clashes."""

from __future__ import annotations

import pytest

from mosnpy.config.address import Address, bind_address, endpoint_address


@pytest.mark.parametrize(
    ("text", "address", "family"),
    [
        ("127.0.0.1:6380", Address("127.0.0.1", 6380), "ipv4"),
        (":6380", Address("", 6380), "any"),
        ("[::1]:6380", Address("::1", 6380), "ipv6"),
        ("[0:0:0:0:0:0:0:1]:6380", Address("::1", 6380), "ipv6"),
        ("localhost:0", Address("localhost", 0), "name"),
        ("Cache.Example.com:6380", Address("cache.example.com", 6380), "name"),
        ("unix:/run/x.sock", Address(path="/run/x.sock"), "unix"),
        ("unix:///run/x.sock", Address(path="/run/x.sock"), "unix"),
    ],
)
def test_addresses_to_listen_on(text: str, address: Address, family: str) -> None:
    assert bind_address(text) == address
    assert address.family == family
    assert bind_address(str(address)) == address


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (6380, '6380 is only a port: write ":6380"'),
        ("6380", "'6380' has no port: write 6380:port"),
        ("localhost", "'localhost' has no port"),
        ("1.2.3.4:99999", "'99999' is no port"),
        ("1.2.3.4:x", "'x' is no port"),
        ("1.2.3:80", "'1.2.3' is no IPv4 address"),
        ("1.2.3.400:80", "'1.2.3.400' is no IPv4 address"),
        ("::1:80", "'::1:80' is ambiguous: write an IPv6 address in brackets"),
        ("[::1]", "write [v6-address]:port"),
        ("[zz]:80", "is no IPv6 address"),
        ("redis://x:1", "is a URL: write the address alone"),
        ("unix:x.sock", "starts with /"),
        ("unix:/" + "x" * 107, "at most 107 bytes, this one 108"),
        ("a b:1", "'a b' is no host name or address"),
        (True, "is expected here, not true"),
        (None, "is expected here"),
        ("x:１２", "is no port"),
    ],
)
def test_what_is_no_address_is_refused_with_a_reason(value: object, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        bind_address(value)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("text", [":6379", "0.0.0.0:6379", "[::]:6379", "127.0.0.1:0"])
def test_an_endpoint_needs_a_host_and_a_port(text: str) -> None:
    with pytest.raises(ValueError):
        endpoint_address(text)


@pytest.mark.parametrize(
    ("a", "b", "clash"),
    [
        (":80", "127.0.0.1:80", True),
        (":80", "[::1]:80", True),
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "[::1]:80", False),
        ("[::]:80", "[::1]:80", True),
        ("[::]:80", "127.0.0.1:80", False),
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("localhost:80", "0.0.0.0:80", True),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
        ("unix:/a", ":80", False),
    ],
)
def test_which_addresses_clash(a: str, b: str, clash: bool) -> None:
    assert bind_address(a).clashes(bind_address(b)) is clash
    assert bind_address(b).clashes(bind_address(a)) is clash


@pytest.mark.parametrize(
    ("text", "loopback"),
    [("127.0.0.9:1", True), ("[::1]:1", True), ("localhost:1", True), (":1", False), ("10.0.0.1:1", False)],
)
def test_which_addresses_only_this_machine_reaches(text: str, loopback: bool) -> None:
    assert bind_address(text).loopback is loopback
