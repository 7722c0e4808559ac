"""Random routes and requests through the whole proxy, against the guide's rules said in plain Python.

The model shares no code with mosnpy: it reads the routes as they are written in the configuration, and requests as they
are sent. Whatever was merged, indexed or left out on the way, the first route that fits must answer.
"""

from __future__ import annotations

import fnmatch
import random
import re
from typing import Any
from urllib.parse import parse_qsl

import pytest

from mosnpy.config import check_text, to_yaml
from mosnpy.testing.http_stage import HttpStage, http_config

HOSTS = ("a.test", "b.test", "x.a.test", "A.Test.", "c.test:81", "[::1]", "[::1]:9")
PATHS = ("/", "/a", "/a/", "/a/b", "/a/b/c", "/b/7", "/b/7/x", "/a%2Fb", "/aa", "/b//7", "/c/../a/b", "/%61/./b")
NORMAL = {"/c/../a/b": "/a/b", "/%61/./b": "/a/b"}
VALUES = ("1", "2", "yes", "a b", "a+b", "é", "")
WANTED: dict[str, tuple[str, ...]] = {
    "host": ("a.test", "b.test", "*.test", "?.test", "*.a.test", "C.test", "~^[ab]", "!b.test", "!*.test", "[::1]", "[bc].test"),
    "path": (
        "/", "/a", "/a/*", "/b/*", "/*/b", "*/c", "*a*", "/?", "~/[0-9]+$", "~^/a", "/{x}", "/a/{x}", "/{x}/{y}", "/{x}/7/*",
        "/a/{x=**}", "/{x}/b", "!/a", "!/a/*", "!/{x}", "/a%2Fb",
    ),
    "method": ("GET", "PUT", "!GET", "P*", "~^P"),
    "header.x-t": ("1", "2", "*", "!*", "!1", "y*", "~^[12]$"),
    "query.q": ("1", "a b", "a+b", "é", "*", "!*", "!2", "", "y*"),
    "cookie.c": ("1", "yes", "*", "!*", "!2"),
}  # fmt: skip


def random_match(rng: random.Random, names: list[str]) -> dict[str, Any]:
    match: dict[str, Any] = {}
    for name in names:
        values = WANTED[name]
        match[name] = rng.sample(values, rng.randint(2, 3)) if rng.random() < 0.3 else rng.choice(values)
    return match


def random_routes(rng: random.Random, count: int) -> list[dict[str, Any]]:
    """Routes of two to four attributes, so that later ones have their turn; every fourth of them a group for two routes more."""
    routes: list[dict[str, Any]] = []
    for i in range(count):
        names = rng.sample(sorted(WANTED), rng.randint(2, 4))
        match = random_match(rng, names)
        if i % 4:
            routes.append({"match": match, "reply": {"status": 200, "body": f"{i}"}})
            continue
        left = [name for name in WANTED if name not in names]
        inner = [
            {"match": random_match(rng, [rng.choice(left)]), "reply": {"status": 200, "body": f"{i}.{k}"}} for k in "ab"
        ]
        routes.append({"match": match, "routes": inner})
    return routes


def without_faulty(stage: HttpStage, routes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those that can never match, which are refused."""
    while True:
        config = {"version": 1, **http_config(stage.servers[0], routes=[*routes, {"to": "back"}])}
        faults = [fault for fault in check_text(to_yaml(config)) if fault.severity == "error"]
        if not faults:
            return routes
        assert all("can never match" in fault.message for fault in faults), faults
        dead = {int(fault.path.split(".")[3]) for fault in faults}
        routes = [route for i, route in enumerate(routes) if i not in dead]


# -- the model ---------------------------------------------------------------------------------------------------------


def fits_one(name: str, wanted: str, value: str) -> bool:
    if wanted.startswith("~"):
        return re.search(wanted[1:].encode(), value.encode(), re.DOTALL) is not None
    if name == "path" and "{" in wanted:
        parts = wanted.split("/")
        rest = parts[-1] == "*" or parts[-1].endswith("=**}")
        pattern = "/".join(
            "[^/]+" if part.startswith("{") else re.escape(part) for part in (parts[:-1] if rest else parts)
        )
        return re.fullmatch(pattern + ("/.*" if rest else ""), value) is not None
    if name == "host":
        wanted = wanted.lower()
        if wanted == "[::1]":
            return value == wanted
    return fnmatch.fnmatchcase(value, wanted)


def fits(name: str, wanted: str | list[str], values: list[str]) -> bool:
    """Any of the values may fit; what is negated must hold for none."""
    listed = wanted if isinstance(wanted, list) else [wanted]
    positive = [each for each in listed if not each.startswith("!")]
    if any(fits_one(name, each[1:], value) for each in listed if each.startswith("!") for value in values):
        return False
    return not positive or any(fits_one(name, each, value) for each in positive for value in values)


def matches(match: dict[str, Any], request: dict[str, list[str]]) -> bool:
    return all(fits(name, wanted, request[name]) for name, wanted in match.items())


def answer(routes: list[dict[str, Any]], request: dict[str, list[str]]) -> str:
    for route in routes:
        if not matches(route["match"], request):
            continue
        if "routes" not in route:
            return str(route["reply"]["body"])
        inner = answer(route["routes"], request)
        if inner:
            return inner
    return ""


# -- requests ----------------------------------------------------------------------------------------------------------


def random_request(rng: random.Random) -> tuple[str, str, str, list[tuple[str, str]], dict[str, list[str]]]:
    """Method, host, target and fields to send, and what rules are to see of them."""
    method, host, path = rng.choice(("GET", "GET", "PUT", "POST")), rng.choice(HOSTS), rng.choice(PATHS)
    query = "&".join(
        rng.choice(("q=1", "q=2", "q=a+b", "q=a%2bb", "q=a%20b", "%71=%C3%A9", "q", "r=1", "q=yes", ""))
        for _ in range(rng.randint(0, 3))
    )
    headers = [rng.choice(("1", "2", "yes")) for _ in range(rng.choice((0, 0, 1, 2)))]
    cookies = [(rng.choice("cd"), rng.choice(("1", "2", "yes"))) for _ in range(rng.choice((0, 0, 1, 2)))]
    fields = [(rng.choice(("x-t", "X-T")), value) for value in headers]
    if cookies:
        fields.append(("cookie", "; ".join(f"{name}={value}" for name, value in cookies)))
    bare = host if host == "[::1]" else host.rsplit(":", 1)[0] if re.search(r":[0-9]+$", host) else host
    seen = {
        "method": [method],
        "host": [bare.lower().removesuffix(".")],
        "path": [NORMAL.get(path, path)],
        "header.x-t": headers,
        "query.q": [value for name, value in parse_qsl(query, keep_blank_values=True) if name == "q"],
        "cookie.c": [value for name, value in cookies if name == "c"],
    }
    return method, host, path + (f"?{query}" if query else ""), fields, seen


@pytest.mark.parametrize(("seed", "count"), [(1, 5), (2, 25), (3, 120), (4, 400)])
def test_the_first_route_that_fits_answers(http: HttpStage, seed: int, count: int) -> None:
    rng = random.Random(seed)
    http.server()
    routes = without_faulty(http, random_routes(rng, count))
    http.start(routes=[*routes, {"reply": {"status": 200, "body": "none"}}])
    wire, wire2 = http.wire(), http.wire2()
    for _ in range(150):
        method, host, target, fields, seen = random_request(rng)
        wanted = answer(routes, seen) or "none"
        first = wire.exchange(method, target, ("Host", host), *fields, body=b"" if method != "GET" else None)
        second = wire2.exchange(
            method, target, (":authority", host), *((name.lower(), value) for name, value in fields)
        )
        assert (first.text, bytes(second.body).decode()) == (wanted, wanted), (method, host, target, fields)
