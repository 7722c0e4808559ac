"""Routes that can never match."""

from __future__ import annotations

from typing import Any

import pytest

from mosnpy.config import installed
from mosnpy.config.attributes import Scope
from mosnpy.config.expression import parse_expression
from mosnpy.config.predicate import TRUE, Predicate, parse_match
from mosnpy.config.reachability import Unreachable, unreachable

REDIS = Scope("redis", installed.attributes())


def found(*matches: dict[str, Any] | str) -> list[Unreachable]:
    predicates: list[Predicate | None] = []
    for match in matches:
        if isinstance(match, str):
            predicates.append(parse_expression(match, REDIS))
        else:
            predicates.append(parse_match(match, REDIS, lambda *_: None))
    return list(unreachable(predicates))


def test_what_stands_behind_a_catch_all() -> None:
    assert found({"key": "a"}, {}, {"key": "b"}, {"key": "c"}) == [Unreachable(2, 1, "everything", 1)]


def test_a_catch_all_at_the_end_is_fine() -> None:
    assert found({"key": "a"}, {}) == []


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({"key": "a*"}, {"key": "abc"}),
        ({"key": "a*"}, {"key": "ab*"}),
        ({"key": "*a"}, {"key": "*ba"}),
        ({"key": ["x", "y", "z"]}, {"key": ["y", "z"]}),
        ({"key": "a*"}, {"key": ["ab", "ac"]}),
        ({"command": "GET"}, {"key": "a", "command": "get"}),
        ({"db": ">5"}, {"db": 7}),
        ({"db": ">5"}, {"db": ">6"}),
        ({"key": "!a"}, {"key": "!a*", "db": 1}),
        ({"key": "~^a"}, {"key": "abc"}),
        ({"key": "*a*b*"}, {"key": "xaxbx"}),
        ('key == "a" || db == 1', 'key == "a"'),
        ('key == "a" || db == 1 && idempotent', 'db == 1 && idempotent && access == "read"'),
        ("has(key)", {"key": "x*"}),
        ({"access": "read", "key": "a*"}, {"access": "read", "key": "ab*", "command": "GET"}),
    ],
)
def test_what_an_earlier_route_takes_whole(earlier: dict[str, Any] | str, later: dict[str, Any] | str) -> None:
    assert found({"db": 12345}, earlier, {"user": "other"}, later) == [Unreachable(3, 1, "all this one asks for")]


def test_the_same_twice() -> None:
    assert found({"key": "a", "db": 1}, {"db": 1, "key": "a"})[0].by == 0
    assert found({"key": "a"}, {"key": "a"}) == [Unreachable(1, 0, "exactly the same")]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({"key": "ab*"}, {"key": "a*"}),
        ({"key": "a", "db": 1}, {"key": "a"}),
        ({"key": ["a", "b"]}, {"key": ["b", "c"]}),
        ({"db": ">6"}, {"db": ">5"}),
        ({"key": "a"}, {"redis.keys": "a"}),
        ("false", "false"),
    ],
)
def test_what_is_not_certain_is_not_said(earlier: dict[str, Any] | str, later: dict[str, Any] | str) -> None:
    assert found(earlier, later) == []


def test_a_route_that_is_not_understood_says_nothing() -> None:
    assert list(unreachable([None, ("eq", "redis.key", "a"), None, TRUE])) == []
