"""`match:` values, globs, and what predicates imply. The forms are those csrc/route/route.h reads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosnpy.config import installed
from mosnpy.config.attributes import Scope
from mosnpy.config.glob import glob_matches
from mosnpy.config.predicate import TRUE, Predicate, both, either, evaluate, implies, negated, parse_match

REDIS = Scope("redis", installed.attributes())
TCP = Scope("tcp", installed.attributes(), connection_only=True)


def parse(match: dict[str, Any], scope: Scope = REDIS) -> Predicate:
    def fault(path: tuple[str | int, ...], message: str, key: bool) -> None:
        raise AssertionError((path, message))

    predicate = parse_match(match, scope, fault)
    assert predicate is not None
    return predicate


def faults(match: dict[str, Any], scope: Scope = REDIS) -> list[tuple[tuple[str | int, ...], str, bool]]:
    found: list[tuple[tuple[str | int, ...], str, bool]] = []
    assert parse_match(match, scope, lambda *fault: found.append(fault)) is None
    return found


KEY = "redis.key"


@pytest.mark.parametrize(
    ("match", "predicate"),
    [
        ({}, TRUE),
        ({"redis.key": "a"}, ("eq", KEY, "a")),
        ({"key": "a"}, ("eq", KEY, "a")),
        ({"key": ["a", "b", "a"]}, ("in", KEY, ("a", "b"))),
        ({"key": ["a"]}, ("eq", KEY, "a")),
        ({"key": "a*"}, ("prefix", KEY, "a")),
        ({"key": "*a"}, ("suffix", KEY, "a")),
        ({"key": "*a*"}, ("contains", KEY, "a")),
        ({"key": "**a**"}, ("contains", KEY, "a")),
        ({"key": "*"}, ("exists", KEY)),
        ({"key": "a*b"}, ("glob", KEY, "a*b")),
        ({"key": "a?"}, ("glob", KEY, "a?")),
        ({"key": "*[ab]"}, ("glob", KEY, "*[ab]")),
        ({"key": "\\*a"}, ("eq", KEY, "*a")),
        ({"key": "\\!a"}, ("eq", KEY, "!a")),
        ({"key": "\\~a\\**"}, ("prefix", KEY, "~a*")),
        ({"key": "\\>10"}, ("eq", KEY, ">10")),
        ({"key": ""}, ("eq", KEY, "")),
        ({"key": "~^a[0-9]+$"}, ("regex", KEY, "^a[0-9]+$")),
        ({"key": "!a"}, ("not", ("eq", KEY, "a"))),
        ({"key": "!a*"}, ("not", ("prefix", KEY, "a"))),
        ({"key": "!~a"}, ("not", ("regex", KEY, "a"))),
        ({"key": "!*"}, ("not", ("exists", KEY))),
        ({"key": ["!a", "!b*"]}, ("and", ("not", ("eq", KEY, "a")), ("not", ("prefix", KEY, "b")))),
        (
            {"key": ["a*", "c", "d", "!ab"]},
            ("and", ("not", ("eq", KEY, "ab")), ("or", ("in", KEY, ("c", "d")), ("prefix", KEY, "a"))),
        ),
        ({"command": "get"}, ("eq", "redis.command", "GET")),
        ({"command": ["get", "m*"]}, ("or", ("eq", "redis.command", "GET"), ("prefix", "redis.command", "M"))),
        ({"operation": "get"}, ("eq", "operation", "GET")),
        ({"subcommand": "!get"}, ("not", ("eq", "redis.subcommand", "GET"))),
        ({"db": 3}, ("eq", "redis.db", 3)),
        ({"db": "3"}, ("eq", "redis.db", 3)),
        ({"db": ">10"}, ("gt", "redis.db", 10)),
        ({"db": [">= 10", "<2"]}, ("or", ("ge", "redis.db", 10), ("lt", "redis.db", 2))),
        ({"db": "!0"}, ("not", ("eq", "redis.db", 0))),
        ({"request_size": ">1MiB"}, ("gt", "request_size", 1 << 20)),
        ({"idempotent": True}, ("eq", "idempotent", True)),
        ({"idempotent": "!true"}, ("not", ("eq", "idempotent", True))),
        ({"access": ["read", "write"]}, ("in", "access", ("read", "write"))),
        ({"key": "a", "db": 1}, ("and", ("eq", KEY, "a"), ("eq", "redis.db", 1))),
    ],
)
def test_value_forms(match: dict[str, Any], predicate: Predicate) -> None:
    assert parse(match) == predicate


@pytest.mark.parametrize(
    ("match", "sentence"),
    [
        ({"kye": "a"}, "redis has no attribute 'kye', did you mean 'key'?"),
        ({"http.path": "/"}, "'http.path' is an attribute of http, this listener speaks redis"),
        ({"key": "a", "redis.key": "b"}, "'key' and 'redis.key' are the same attribute: give one list of values"),
        ({"key": 5}, 'redis.key is text: write "5" in quotes'),
        ({"key": True}, 'redis.key is text: write "true" in quotes'),
        ({"key": None}, "a value or a list of values is expected here, not nothing"),
        ({"key": {"a": 1}}, "a value or a list of values is expected here, not a mapping"),
        ({"key": [["a"]]}, "a value or a list of values is expected here, not a list"),
        ({"key": []}, "an empty list matches nothing"),
        ({"key": ">10"}, 'redis.key is text, > compares numbers: write "\\>10" for the text itself'),
        ({"key": "~a("}, "regular expression: missing closing parenthesis at character 3"),
        ({"key": "~"}, "regular expression: it is empty"),
        ({"key": "a[b"}, "'[' opens a set that has no ']'"),
        ({"key": "a\\"}, "'\\' at the end"),
        ({"key": "!!a"}, "'!' stands before a value, once"),
        ({"key": "!"}, "'!' stands before a value, once"),
        ({"db": "x"}, "redis.db is a whole number, not 'x'"),
        ({"db": 1.5}, "redis.db is a whole number, not 1.5"),
        ({"db": True}, "redis.db is a whole number, not true"),
        ({"db": "1KiB"}, "redis.db is a whole number, not '1KiB'"),
        ({"db": 1 << 63}, "9223372036854775808 is too large"),
        ({"request_size": ">1M"}, "unknown unit of size 'M', did you mean 1MiB?"),
        ({"idempotent": "maybe"}, "idempotent is true or false, not 'maybe'"),
        ({"access": "raed"}, "access is one of read, write, admin, session; not 'raed', did you mean 'read'?"),
    ],
)
def test_what_is_wrong_is_said(match: dict[str, Any], sentence: str) -> None:
    (found,) = faults(match)
    assert sentence in found[1]


def test_every_fault_of_a_match_is_reported_with_its_place() -> None:
    found = faults({"kye": 1, "key": ["a", 5, "~("], "db": "x"})
    assert [(path, key) for path, _, key in found] == [
        (("kye",), True),
        (("key", 1), False),
        (("key", 2), False),
        (("db",), False),
    ]


def test_tcp_only_knows_the_connection() -> None:
    assert parse({"client_ip": "10.*"}, TCP) == ("prefix", "client_ip", "10.")
    assert (
        "tcp has no requests to look into: only protocol, client_ip, listener, tls.sni, "
        "tls.san, tls.subject, tls.version, tls.alpn can be used, not 'operation'"
        in faults({"operation": "x"}, TCP)[0][1]
    )
    assert "'redis.key' is an attribute of redis, this listener speaks tcp" in faults({"redis.key": "x"}, TCP)[0][1]


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("a*c", "abbbc", True),
        ("a*c", "abbb", False),
        ("*a*b*", "xxaxxbxx", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("[a-c]x", "bx", True),
        ("[c-a]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[^a-c]x", "zx", True),
        ("[]x", "x", False),
        ("[^]x", "ax", True),
        ("[\\]a]x", "]x", True),
        ("\\*", "*", True),
        ("\\*", "a", False),
        ("", "", True),
        ("?", "é", False),  # bytes, not characters
        ("a*a*a*a*a*b", "a" * 2000, False),
    ],
)
def test_globs(pattern: str, text: str, fits: bool) -> None:
    assert glob_matches(pattern, text) is fits


@pytest.mark.parametrize(
    ("p", "q", "known"),
    [
        ({"key": "a"}, {"key": "a*"}, True),
        ({"key": "a*"}, {"key": "a"}, False),
        ({"key": "ab*"}, {"key": "a*"}, True),
        ({"key": "*ab"}, {"key": "*b"}, True),
        ({"key": "ab*"}, {"key": "*b*"}, True),
        ({"key": ["a", "b"]}, {"key": ["c", "b", "a"]}, True),
        ({"key": ["a", "d"]}, {"key": ["c", "b", "a"]}, False),
        ({"key": "a", "db": 1}, {"key": "a"}, True),
        ({"key": "a"}, {"key": "a", "db": 1}, False),
        ({"key": "!a*"}, {"key": "!ab"}, True),
        ({"key": "!ab"}, {"key": "!a*"}, False),
        ({"db": ">5"}, {"db": ">4"}, True),
        ({"db": ">5"}, {"db": ">=6"}, True),
        ({"db": ">=6"}, {"db": ">5"}, True),
        ({"db": ">=5"}, {"db": ">5"}, False),
        ({"db": "<5"}, {"db": "<=4"}, True),
        ({"db": 7}, {"db": ">5"}, True),
        ({"db": 7}, {"db": "*"}, True),
        ({"key": "~x"}, {"key": "*"}, True),
        ({"key": "ax"}, {"key": "~x$"}, True),
        ({"command": "GET"}, {"key": "*"}, False),
        ({}, {"key": "*"}, False),
        ({"key": "x"}, {}, True),
    ],
)
def test_implication(p: dict[str, Any], q: dict[str, Any], known: bool) -> None:
    assert implies(parse(p), parse(q)) is known


texts = st.text("ab", max_size=3)
atoms = st.one_of(
    st.tuples(st.sampled_from(["eq", "prefix", "suffix", "contains"]), st.sampled_from(["k", "l"]), texts),
    st.tuples(st.just("in"), st.sampled_from(["k", "l"]), st.lists(texts, min_size=1, max_size=3).map(tuple)),
    st.tuples(st.sampled_from(["lt", "le", "gt", "ge", "eq"]), st.just("n"), st.integers(0, 3)),
    st.tuples(st.just("exists"), st.sampled_from(["k", "l", "n"])),
    st.just(TRUE),
)
predicates: st.SearchStrategy[Predicate] = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: both(*parts)),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: either(*parts)),
        inner.map(negated),
    ),
    max_leaves=6,
)
messages = st.fixed_dictionaries(
    {}, optional={"k": texts, "l": st.lists(texts, min_size=1, max_size=3), "n": st.integers(0, 3)}
)


@settings(max_examples=400, deadline=None)
@given(predicates, predicates, messages)
def test_an_implication_that_is_claimed_holds(p: Predicate, q: Predicate, message: dict[str, Any]) -> None:
    if implies(p, q) and evaluate(p, message):
        assert evaluate(q, message)


@settings(max_examples=300, deadline=None)
@given(st.lists(predicates, min_size=1, max_size=4), messages)
def test_building_keeps_the_meaning(parts: list[Predicate], message: dict[str, Any]) -> None:
    assert evaluate(both(*parts), message) is all(evaluate(p, message) for p in parts)
    assert evaluate(either(*parts), message) is any(evaluate(p, message) for p in parts)
    assert evaluate(negated(parts[0]), message) is not evaluate(parts[0], message)
