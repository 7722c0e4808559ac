"""`match:` mappings to predicates, and what can be said about predicates.

A predicate is a tuple in the very form the plan carries and csrc/route reads:

    ("true",) · ("and", p…) · ("or", p…) · ("not", p) · ("eq", attribute, value) · ("in", attribute, (value…))
    ("prefix" | "suffix" | "contains" | "glob" | "regex", attribute, text) · ("lt" | "le" | "gt" | "ge", attribute, number)
    ("exists", attribute) · ("segments", attribute, pattern): "/users/{id}", where {id} is one segment, {id=**} all that follow

A comparison with an absent attribute is false, so its negation is true. On an attribute with several values a comparison
holds if any value satisfies it, so a negation says that none does.

Value forms, DESIGN §6: a value, [any of], "glob*", "~regex", "!not", ">10"; a list may mix them, and what is negated in it
must hold for none. A backslash takes a character's meaning away: "\\!x" is the text "!x".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mosnpy.config.glob import ACTIVE, glob_matches, glob_pieces
from mosnpy.config.regex import regex_fault
from mosnpy.config.report import did_you_mean, shown
from mosnpy.config.units import Size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mosnpy.config.attributes import AttributeInfo, Scope

__all__ = [
    "TRUE",
    "Predicate",
    "atom_implies",
    "both",
    "check_form",
    "check_regex",
    "check_text",
    "compare_text",
    "either",
    "evaluate",
    "glob_or_segments",
    "glob_predicate",
    "implies",
    "negated",
    "one_of",
    "parse_match",
    "parse_value",
    "segments_match",
    "segments_stem",
]

Predicate = tuple[Any, ...]

TRUE: Predicate = ("true",)

_COMPARISON = re.compile(r"(>=|<=|>|<)\s*(.*)", re.DOTALL)
_OPERATIONS = {">=": "ge", "<=": "le", ">": "gt", "<": "lt"}
_LONGEST = 16_384  # characters; csrc/route takes 64 KiB
_INT = re.compile(r"[-+]?[0-9]{1,19}")


# -- building ------------------------------------------------------------------------------------------------------


def both(*predicates: Predicate) -> Predicate:
    """All of them, flattened; TRUE for none."""
    parts: list[Predicate] = []
    for p in predicates:
        parts += p[1:] if p[0] == "and" else () if p == TRUE else (p,)
    return TRUE if not parts else parts[0] if len(parts) == 1 else ("and", *parts)


def either(*predicates: Predicate) -> Predicate:
    """Any of them, flattened. Equalities on one attribute become one `in`, which the core looks up in a hash."""
    parts: list[Predicate] = []
    for p in predicates:
        parts += p[1:] if p[0] == "or" else (p,)
    if TRUE in parts:
        return TRUE
    values: dict[str, list[Any]] = {}
    rest: list[Predicate] = []
    for p in parts:
        if p[0] in ("eq", "in"):
            mine = values.setdefault(p[1], [])
            mine += [v for v in (p[2] if p[0] == "in" else (p[2],)) if not _has(mine, v)]
        elif p not in rest:
            rest.append(p)
    joined = [one_of(name, found) for name, found in values.items()] + rest
    return joined[0] if len(joined) == 1 else ("or", *joined)


def negated(predicate: Predicate) -> Predicate:
    """The opposite; two negations cancel out."""
    inner: Predicate = predicate[1] if predicate[0] == "not" else ("not", predicate)
    return inner


def one_of(name: str, values: Sequence[Any]) -> Predicate:
    """The attribute equals one of the values (at least one is given)."""
    return ("eq", name, values[0]) if len(values) == 1 else ("in", name, tuple(values))


def _has(values: Sequence[Any], value: Any) -> bool:
    return any(v == value and type(v) is type(value) for v in values)


# -- match: --------------------------------------------------------------------------------------------------------


def parse_match(
    match: Mapping[str, Any], scope: Scope, fault: Callable[[tuple[str | int, ...], str, bool], None]
) -> Predicate | None:
    """The predicate of a `match:` mapping; None when a part of it is wrong.

    fault(path below match, sentence, at the key) is called for every fault.
    """
    parts: list[Predicate] = []
    good = True
    seen: dict[str, str] = {}
    for name, wanted in match.items():
        try:
            info = scope.find(name)
        except ValueError as error:
            fault((name,), str(error), True)
            good = False
            continue
        if info.name in seen:
            fault((name,), f"{seen[info.name]!r} and {name!r} are the same attribute: give one list of values", True)
            good = False
        seen[info.name] = name
        items = wanted if isinstance(wanted, list) else [wanted]
        if not items:
            fault((name,), "an empty list matches nothing: name at least one value", False)
            good = False
        positive: list[Predicate] = []
        for i, item in enumerate(items):
            try:
                negative, predicate = parse_value(item, info, scope)
            except ValueError as error:
                fault((name, i) if isinstance(wanted, list) else (name,), str(error), False)
                good = False
                continue
            if negative:
                parts.append(negated(predicate))
            else:
                positive.append(predicate)
        if positive:
            parts.append(either(*positive))
    return both(*parts) if good else None


def parse_value(value: object, info: AttributeInfo, scope: Scope) -> tuple[bool, Predicate]:
    """One value of a match: whether it is negated, and the predicate without the negation. ValueError with a sentence."""
    if not isinstance(value, str):
        return False, _plain_value(value, info, scope)
    key = info.name, value
    if key not in scope.parsed:
        scope.parsed[key] = _text_value(value, info, scope)
    return scope.parsed[key]


def _text_value(value: str, info: AttributeInfo, scope: Scope) -> tuple[bool, Predicate]:
    if not value.startswith("!"):
        return False, _plain_value(value, info, scope)
    if value.startswith("!!") or value == "!":
        raise ValueError("'!' stands before a value, once")
    return True, _plain_value(value[1:], info, scope)


def _plain_value(value: object, info: AttributeInfo, scope: Scope) -> Predicate:
    if isinstance(value, (dict, list)) or value is None:
        raise ValueError(f"a value or a list of values is expected here, not {shown(value)}")
    if info.type == "int":
        return _number(value, info)
    if info.type == "bool":
        wanted = {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
        if not isinstance(wanted, bool):
            raise ValueError(f"{info.name} is true or false, not {shown(value)}")
        return ("eq", info.name, wanted)
    if not isinstance(value, str):
        raise ValueError(f'{info.name} is text: write "{shown(value)}" in quotes')
    if len(value) > _LONGEST:
        raise ValueError(f"a text to compare with has at most {_LONGEST} characters, this one {len(value)}")
    if value.startswith("~"):
        check_regex(value[1:])
        return ("regex", info.name, value[1:])
    comparison = _COMPARISON.fullmatch(value)
    if comparison and _INT.fullmatch(comparison[2]):
        raise ValueError(
            f'{info.name} is text, {comparison[1]} compares numbers: write "\\{value}" for the text itself'
        )
    if info.form:
        return _formed(value, info)
    return glob_predicate(value.upper() if scope.upper(info) else value, info)


def _formed(text: str, info: AttributeInfo) -> Predicate:
    """A value of an attribute whose values have a certain look."""
    return glob_or_segments(check_form(text, info, glob=True), info)


def check_form(text: str, info: AttributeInfo, glob: bool = False) -> str:
    """The text in the form its attribute has; ValueError when the attribute can never look like this."""
    if info.form == "host":
        return _check_host(text, info, glob)
    if info.form == "method" and text != text.upper() and (not glob or not ACTIVE.intersection(text)):
        raise ValueError(f"methods are told apart by case: did you mean {text.upper()!r}?")
    if info.form == "path":
        _check_path(text, info, glob)
    return text


_ADDRESS = re.compile(r"\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]")


def _check_host(text: str, info: AttributeInfo, glob: bool) -> str:
    """In lower case and without the dot at the end of an absolute name, as messages have it."""
    if text.count(":") > 1 and "[" not in text:
        raise ValueError(f"an IPv6 address stands in brackets in {info.name}: write '[{text}]'")
    if re.search(r":[0-9]+$", text):
        raise ValueError(f"{info.name} has no port: write {text.rpartition(':')[0]!r}")
    text = text.lower()
    if _ADDRESS.fullmatch(text):
        return f"\\{text}" if glob else text  # brackets of an address, not of a set
    return text.removesuffix(".").removesuffix("\\" if glob else "") if len(text) > 1 and text[-1] == "." else text


def _check_path(text: str, info: AttributeInfo, glob: bool) -> None:
    if text[:1] not in ("/", "*", "?", "[", "\\") and not (not glob and not text):
        raise ValueError(f"a path begins with '/': write {'/' + text!r}")
    if re.search(r"\?[^/*?]*=", text):
        raise ValueError(f"{info.name} has no query: match query.NAME for its parameters")


_SEGMENT = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*(=\*\*?)?\}")


def glob_or_segments(text: str, info: AttributeInfo) -> Predicate:
    """A path with {names} in the place of segments, else a glob."""
    if info.form != "path" or "{" not in text:
        return glob_predicate(text, info)
    if text.endswith("/*"):
        text = f"{text[:-1]}{{rest=**}}"
    segments = text.split("/")
    for i, segment in enumerate(segments):
        if "{" not in segment and "}" not in segment:
            if ACTIVE.intersection(segment):
                raise ValueError(
                    f"{segment!r}: beside {{names}} a * is only possible as the last segment, for all that follow"
                )
        elif not _SEGMENT.fullmatch(segment):
            raise ValueError(
                f"{segment!r}: a {{name}} stands for a whole segment, and is made of letters, digits and '_'"
            )
        elif segment.endswith("=**}") and i < len(segments) - 1:
            raise ValueError(f"{segment!r} stands for all that follow: nothing can come behind it")
    return ("segments", info.name, text)


def _number(value: object, info: AttributeInfo) -> Predicate:
    if isinstance(value, (bool, float)):
        raise ValueError(f"{info.name} is a whole number, not {shown(value)}")
    if isinstance(value, int):
        return ("eq", info.name, _fits(value))
    text = str(value)
    if comparison := _COMPARISON.fullmatch(text):
        return (_OPERATIONS[comparison[1]], info.name, _int(comparison[2], info))
    if text == "*":
        return ("exists", info.name)
    return ("eq", info.name, _int(text, info))


def _int(text: str, info: AttributeInfo) -> int:
    if _INT.fullmatch(text):
        return _fits(int(text))
    if info.name.endswith("size") and text[:1].isdigit():
        return int(Size.parse(text))
    raise ValueError(f"{info.name} is a whole number, not {text!r}")


def _fits(number: int) -> int:
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{number} is too large")
    return number


def check_regex(pattern: str) -> None:
    """ValueError with the reason when the core could not compile it."""
    reason = regex_fault(pattern)
    if reason:
        raise ValueError(f"regular expression: {reason}")


def check_text(text: str, info: AttributeInfo) -> None:
    """ValueError when an attribute with a closed set of values can never have this one."""
    if info.values and text not in info.values:
        raise ValueError(
            f"{info.name} is one of {', '.join(info.values)}; not {text!r}{did_you_mean(text, info.values)}"
        )


def compare_text(text: str, info: AttributeInfo) -> Predicate:
    """The attribute equals this text, character by character."""
    check_text(text, info)
    if info.form:
        text = check_form(text, info)
    return ("eq", info.name, text)


def glob_predicate(pattern: str, info: AttributeInfo) -> Predicate:
    """A glob as the cheapest predicate that says the same: equality, prefix, suffix, contains, else glob."""
    pieces = glob_pieces(pattern) if ACTIVE.intersection(pattern) else [pattern]
    if "" in pieces and pattern:
        return ("glob", info.name, pattern)
    texts = [piece for piece in pieces if piece is not None]
    if None not in pieces:
        return compare_text("".join(texts), info)
    if not texts:
        return ("exists", info.name)
    if len(texts) > 1:
        return ("glob", info.name, pattern)
    if len(pieces) == 3:
        return ("contains", info.name, texts[0])
    return ("suffix" if pieces[0] is None else "prefix", info.name, texts[0])


# -- reasoning -----------------------------------------------------------------------------------------------------


def implies(p: Predicate, q: Predicate) -> bool:
    """Whether q certainly holds wherever p does. False means "not known", which is safe for every use here."""
    if p == q or q == TRUE:
        return True
    if p[0] == "not" and q[0] == "not":
        return implies(q[1], p[1])
    if p[0] == "or":
        return all(implies(each, q) for each in p[1:])
    if q[0] == "and":
        return all(implies(p, each) for each in q[1:])
    if q[0] == "or" and any(implies(p, each) for each in q[1:]):
        return True
    if p[0] == "and":
        return any(implies(each, q) for each in p[1:])
    if p[0] in ("true", "not") or q[0] in ("true", "not", "or") or p[1] != q[1]:
        return False
    return atom_implies(p, q)


def atom_implies(p: Predicate, q: Predicate) -> bool:
    """Both are comparisons of the same attribute."""
    if q[0] == "exists":
        return True
    if p[0] in ("eq", "in"):
        return all(_holds(q, value) for value in (p[2] if p[0] == "in" else (p[2],)))
    if p[0] in ("lt", "le", "gt", "ge") and q[0] in ("lt", "le", "gt", "ge"):
        upwards = p[0][0] == "g"
        if upwards != (q[0][0] == "g"):
            return False
        # Whole numbers: > 9 is >= 10.
        mine = p[2] + (p[0] == "gt") - (p[0] == "lt")
        theirs = q[2] + (q[0] == "gt") - (q[0] == "lt")
        return bool(mine >= theirs if upwards else mine <= theirs)
    if p[0] == "segments":
        return _segments_imply(p[2], q)
    if p[0] == "prefix":
        return q[0] in ("prefix", "contains") and _affix(p, q)
    if p[0] == "suffix":
        return q[0] in ("suffix", "contains") and _affix(p, q)
    return p[0] == q[0] == "contains" and q[2] in p[2]


def _segments_imply(pattern: str, q: Predicate) -> bool:
    if q[0] == "prefix":
        return segments_stem(pattern).startswith(q[2])
    if q[0] != "segments":
        return False
    mine, theirs = pattern.split("/"), q[2].split("/")
    open_end = theirs[-1].endswith("=**}")
    if open_end:
        theirs = theirs[:-1]
    if len(mine) < len(theirs) + open_end or (not open_end and (len(mine) != len(theirs) or mine[-1].endswith("=**}"))):
        return False
    return all(b == a if not b.startswith("{") else a != "" for a, b in zip(mine, theirs, strict=False))


def segments_stem(pattern: str) -> str:
    """What every path that fits begins with."""
    return pattern[: pattern.index("{")]


def segments_match(pattern: str, path: str) -> bool:
    """Whether a path fits a pattern with {names}."""
    wanted, given = pattern.split("/"), path.split("/")
    if wanted[-1].endswith("=**}"):
        wanted = wanted[:-1]
        if len(given) <= len(wanted):
            return False
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(
        bool(b) if a.startswith("{") else a == b for a, b in zip(wanted, given, strict=True)
    )


def _affix(p: Predicate, q: Predicate) -> bool:
    text, wanted = p[2], q[2]
    if q[0] == "contains":
        return wanted in text
    return bool(text.startswith(wanted) if q[0] == "prefix" else text.endswith(wanted))


# -- evaluation ----------------------------------------------------------------------------------------------------


def evaluate(predicate: Predicate, attributes: Mapping[str, Any]) -> bool:
    """Whether the predicate holds for these attributes (absent ones left out; several values as a list or tuple).

    What the core computes, said in Python: the oracle of tests, and for explaining a route to an operator.
    """
    operation = predicate[0]
    if operation == "true":
        return True
    if operation == "not":
        return not evaluate(predicate[1], attributes)
    if operation == "and":
        return all(evaluate(each, attributes) for each in predicate[1:])
    if operation == "or":
        return any(evaluate(each, attributes) for each in predicate[1:])
    if predicate[1] not in attributes:
        return False
    value = attributes[predicate[1]]
    if isinstance(value, (list, tuple)):
        return any(_holds(predicate, each) for each in value)
    return _holds(predicate, value)


def _holds(p: Predicate, value: Any) -> bool:
    """Whether a comparison holds for one value of its attribute."""
    operation = p[0]
    if operation == "exists":
        return True
    wanted = p[2]
    if operation == "eq":
        return _same(value, wanted)
    if operation == "in":
        return any(_same(value, each) for each in wanted)
    if operation in ("lt", "le", "gt", "ge"):
        if isinstance(value, str):
            return False
        return bool(
            {"lt": value < wanted, "le": value <= wanted, "gt": value > wanted, "ge": value >= wanted}[operation]
        )
    if not isinstance(value, str):
        return False
    if operation == "prefix":
        return value.startswith(wanted)
    if operation == "suffix":
        return value.endswith(wanted)
    if operation == "contains":
        return wanted in value
    if operation == "segments":
        return segments_match(wanted, value)
    if operation == "glob":
        return glob_matches(wanted, value)
    return re.search(wanted, value) is not None


def _same(value: Any, wanted: Any) -> bool:
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)
