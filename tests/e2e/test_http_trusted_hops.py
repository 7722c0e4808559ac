"""`trusted_hops`: who the client is when known proxies stand in front."""

from __future__ import annotations

import pytest

from mosnpy.testing.http_stage import HttpStage, seen

WHO = {"request_headers": {"set": {"x-who": "%client_ip%"}}, "to": "back"}


@pytest.mark.parametrize(
    ("hops", "forwarded", "who"),
    [
        (0, ["203.0.113.9"], "127.0.0.1"),
        (1, ["203.0.113.9"], "203.0.113.9"),
        (1, ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        (2, ["198.51.100.1, 203.0.113.9"], "198.51.100.1"),
        (2, ["198.51.100.1", "203.0.113.9"], "198.51.100.1"),
        (2, ["203.0.113.9"], "127.0.0.1"),
        (1, [], "127.0.0.1"),
        (1, [" ,, 203.0.113.9 ,"], "203.0.113.9"),
        (1, ["2001:db8::1"], "2001:db8::1"),
    ],
)
def test_client_ip(http: HttpStage, hops: int, forwarded: list[str], who: str) -> None:
    http.server()
    http.start(routes=[WHO], listener={"http": {"forwarded": {"trusted_hops": hops}}})
    found = seen(http.wire().exchange("GET", "/", *(("X-Forwarded-For", value) for value in forwarded)))
    fields = [(name.lower(), value) for name, value in found["fields"]]
    assert [value for name, value in fields if name == "x-who"] == [who]
    assert [value for name, value in fields if name == "x-forwarded-for"][-1].endswith("127.0.0.1")
