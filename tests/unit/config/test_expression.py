"""`when:` expressions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosnpy.config import installed
from mosnpy.config.attributes import Scope
from mosnpy.config.expression import DEEPEST, ExpressionError, parse_expression
from mosnpy.config.predicate import TRUE, Predicate, evaluate

REDIS = Scope("redis", installed.attributes())
KEY = "redis.key"


@pytest.mark.parametrize(
    ("source", "predicate"),
    [
        ('redis.key == "a"', ("eq", KEY, "a")),
        ("key == 'a'", ("eq", KEY, "a")),
        ('"a" == key', ("eq", KEY, "a")),
        ('key != "a"', ("not", ("eq", KEY, "a"))),
        ("redis.db > 3", ("gt", "redis.db", 3)),
        ("3 < redis.db", ("gt", "redis.db", 3)),
        ("3 >= redis.db", ("le", "redis.db", 3)),
        ("redis.db <= -1", ("le", "redis.db", -1)),
        ("request_size > 1MiB", ("gt", "request_size", 1 << 20)),
        ("idempotent", ("eq", "idempotent", True)),
        ("!idempotent", ("not", ("eq", "idempotent", True))),
        ("idempotent == false", ("eq", "idempotent", False)),
        ('key.startsWith("a")', ("prefix", KEY, "a")),
        ('redis.key.endsWith("a")', ("suffix", KEY, "a")),
        ('key.contains("*")', ("contains", KEY, "*")),
        ('key.contains("")', ("exists", KEY)),
        (r'key.matches(r"^\d+$")', ("regex", KEY, r"^\d+$")),
        (r'key.matches("^\\d+$")', ("regex", KEY, r"^\d+$")),
        ('key in ["a", "b", "a"]', ("in", KEY, ("a", "b"))),
        ("redis.db in [1]", ("eq", "redis.db", 1)),
        ('"a" in redis.keys', ("eq", "redis.keys", "a")),
        ("has(redis.key)", ("exists", KEY)),
        ("true", TRUE),
        ("false", ("not", TRUE)),
        ('command == "get"', ("eq", "redis.command", "GET")),
        ('command.startsWith("z")', ("prefix", "redis.command", "Z")),
        (r'key == "a\"\x41é\n"', ("eq", KEY, 'a"Aé\n')),
        (r"key == r'a\n'", ("eq", KEY, r"a\n")),
        (
            'access == "read" && (key == "a" || redis.db > 1)',
            ("and", ("eq", "access", "read"), ("or", ("eq", KEY, "a"), ("gt", "redis.db", 1))),
        ),
        (
            'key == "a" || key == "b" && db == 1',
            ("or", ("eq", KEY, "a"), ("and", ("eq", KEY, "b"), ("eq", "redis.db", 1))),
        ),
        ('key == "a" || key == "b"', ("in", KEY, ("a", "b"))),
        ('!(key == "a") && !!idempotent', ("and", ("not", ("eq", KEY, "a")), ("eq", "idempotent", True))),
        (' key=="a"\n&&\tdb==1 ', ("and", ("eq", KEY, "a"), ("eq", "redis.db", 1))),
    ],
)
def test_expressions(source: str, predicate: Predicate) -> None:
    assert parse_expression(source, REDIS) == predicate


@pytest.mark.parametrize(
    ("source", "offset", "sentence"),
    [
        ('redis.kye == "a"', 0, "redis has no attribute 'redis.kye', did you mean 'redis.key'?"),
        ('key = "a"', 4, "unexpected '=', did you mean '=='?"),
        ('key == "a" & db == 1', 11, "unexpected '&', did you mean '&&'?"),
        ('key == "a" and db == 1', 11, "unexpected 'and', did you mean '&&'?"),
        ('key == "a" OR db == 1', 11, "unexpected 'OR', did you mean '||'?"),
        ('key == "a', 7, "this text is not closed"),
        ("(idempotent", 11, "')' is expected here: the parenthesis is not closed"),
        ("idempotent)", 10, "this ')' closes nothing"),
        ("", 0, "the expression ends here, something is missing"),
        ("idempotent &&", 13, "the expression ends here, something is missing"),
        ("idempotent && || idempotent", 14, "an attribute or a value is expected here, not '||'"),
        ("key == 5", 7, "redis.key is text"),
        ('db == "5"', 6, "redis.db is a whole number"),
        ("db == true", 6, "redis.db is a whole number"),
        ('key > "a"', 4, "> compares numbers, redis.key is text"),
        ("key", 0, "redis.key is no condition by itself: compare it, or ask has(key)"),
        ('"a"', 0, "a condition is expected here"),
        ("key == redis.user", 4, "one side is the name of an attribute, the other a value"),
        ("1 == 1", 2, "one side is the name of an attribute, the other a value"),
        ('key.startWith("a")', 4, "unknown function 'startWith', did you mean 'startsWith'?"),
        ('lower("a")', 0, "unknown function 'lower': there are startsWith"),
        ('redis.db.contains("1")', 9, "redis.db is no text"),
        ("key.startsWith(1)", 15, "startsWith() takes one text in quotes"),
        ('key.startsWith("a", "b")', 18, "')' is expected here: startsWith() takes one text"),
        ('key.matches("(")', 12, "regular expression: missing closing parenthesis"),
        (r'key.matches("\d")', 13, "unknown escape '\\d': a regular expression is best written r\"…\""),
        (r'key == "\ud800"', 8, "half of a surrogate pair"),
        ("has(1)", 4, "has() takes the name of an attribute"),
        ('key in "a"', 7, "'[' is expected here: 'in' takes a list"),
        ("key in [1]", 8, "redis.key is text"),
        ("db in [1, 2", 11, "']' is expected here: the list is not closed"),
        ("key in redis.keys", 7, "'in' takes a list"),
        ('access == "reed"', 10, "access is one of read, write, admin, session"),
        ("db == 1.5", 6, "only whole numbers can be compared"),
        ("db == 99999999999999999999", 6, "this number is too large"),
        ("db == 5x", 6, "unknown unit of size 'x'"),
        ("key @ 1", 4, "unexpected '@'"),
        ("(" * 100 + "idempotent" + ")" * 100, DEEPEST + 1, f"nested deeper than {DEEPEST} levels"),
        ("db == 1 || has(key) && (" * 20 + "idempotent" + ")" * 20, 0, "nested"),
        ("!" * 100_000 + "idempotent", DEEPEST + 1, f"nested deeper than {DEEPEST} levels"),
    ],
)
def test_faults_have_a_place_and_a_reason(source: str, offset: int, sentence: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_expression(source, REDIS)
    assert sentence in str(caught.value)
    assert caught.value.offset == offset


# -- any expression means what it says: a second reading, straight from the grammar, is the oracle --------------------

texts = st.text("abAB*\\\"'", max_size=3)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def method(name: str, text: str) -> tuple[str, Any]:
    test = {"startsWith": str.startswith, "endsWith": str.endswith, "contains": str.__contains__}[name]
    return f"redis.key.{name}({quoted(text)})", lambda m: "redis.key" in m and test(m["redis.key"], text)


def compared(sign: str, number: int) -> tuple[str, Any]:
    test = {"==": int.__eq__, "!=": int.__ne__, "<": int.__lt__, "<=": int.__le__, ">": int.__gt__, ">=": int.__ge__}[
        sign
    ]
    absent = sign == "!="
    return f"db {sign} {number}", lambda m: test(m["redis.db"], number) if "redis.db" in m else absent


leaves: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.builds(method, st.sampled_from(["startsWith", "endsWith", "contains"]), texts),
    st.builds(compared, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), st.integers(-2, 2)),
    texts.map(lambda t: (f"{quoted(t)} == key", lambda m: m.get("redis.key") == t)),
    st.lists(texts, min_size=1, max_size=3).map(
        lambda ts: (f"key in [{', '.join(map(quoted, ts))}]", lambda m: m.get("redis.key") in ts)
    ),
    texts.map(lambda t: (f"{quoted(t)} in redis.keys", lambda m: t in m.get("redis.keys", ()))),
    st.just(("has(key)", lambda m: "redis.key" in m)),
    st.just(("idempotent", lambda m: m.get("idempotent", False))),
    st.just(("true", lambda m: True)),
    st.just(("false", lambda m: False)),
)
expressions: st.SearchStrategy[tuple[str, Any]] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda p: (f"({p[0][0]}) && ({p[1][0]})", lambda m: p[0][1](m) and p[1][1](m))),
        st.tuples(inner, inner).map(lambda p: (f"({p[0][0]}) || ({p[1][0]})", lambda m: p[0][1](m) or p[1][1](m))),
        inner.map(lambda p: (f"!({p[0]})", lambda m: not p[1](m))),
    ),
    max_leaves=8,
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "redis.key": texts,
        "redis.keys": st.lists(texts, min_size=1, max_size=3),
        "redis.db": st.integers(-2, 2),
        "idempotent": st.booleans(),
    },
)


@settings(max_examples=400, deadline=None)
@given(expressions, messages)
def test_an_expression_means_what_it_says(expression: tuple[str, Any], message: dict[str, Any]) -> None:
    source, meaning = expression
    assert evaluate(parse_expression(source, REDIS), message) is bool(meaning(message))


@settings(max_examples=500, deadline=None)
@given(st.text("kedyb.=!<>&|()[]\"' \\n1KiBtrueinhas,rs", max_size=40))
def test_any_text_gives_a_predicate_or_an_error_inside_it(source: str) -> None:
    try:
        parse_expression(source, REDIS)
        offset = 0
    except ExpressionError as error:
        offset = error.offset
    assert 0 <= offset <= len(source)
