"""Routes that can never match, because an earlier one takes everything they could.

Exact for a catch-all; for the rest the easy cases: an earlier route asks for less than a later one does (the same, one of its
conditions left out, a wider value). Found through an index by one condition of the earlier route, so that 10,000 routes
take a moment and not the square of it. What isn't found is not wrong, only undetected.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mosnpy.config.predicate import TRUE, Predicate, atom_implies, implies, segments_stem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Unreachable", "unreachable"]

_MOST_UNINDEXED = 32
"""Earlier routes per attribute that can't be looked up (globs, comparisons) and are tried one by one; more are left out."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Route number `route` can never match because of number `by`; `others` behind it neither, for the same reason."""

    route: int
    by: int
    what: str
    others: int = 0


def unreachable(predicates: Sequence[Predicate | None]) -> Iterator[Unreachable]:
    """Routes that can never match, in order. None stands for a predicate that is not known: nothing is said about it."""
    index = _Index(predicates)
    for i, predicate in enumerate(predicates):
        if predicate is None:
            continue
        if predicate == ("not", TRUE):
            continue  # `when: false` switches a route off on purpose
        by = index.wider(predicate)
        if by is not None:
            same = index.predicates[by] == predicate
            yield Unreachable(i, by, "exactly the same" if same else "all this one asks for")
            continue
        if predicate == TRUE:
            if i + 1 < len(predicates):
                yield Unreachable(i + 1, i, "everything", len(predicates) - i - 2)
            return
        index.add(i, predicate)


_COMPOUND = frozenset({"and", "or", "not", "true"})


def _atoms(predicate: Predicate) -> dict[str, Predicate] | None:
    """The comparisons of a conjunction by attribute; None for anything else."""
    if predicate[0] != "and":
        return None
    found: dict[str, Predicate] = {}
    for part in predicate[1:]:
        if part[0] in _COMPOUND or part[1] in found:
            return None
        found[part[1]] = part
    return found


class _Index:
    """Earlier predicates, each filed under one of its conditions."""

    def __init__(self, every: Sequence[Predicate | None]) -> None:
        self.crowds = Counter(key for each in every if each is not None for key in _all_keys(each))
        self.predicates: dict[int, Predicate] = {}
        self.exact: dict[tuple[Any, ...], list[int]] = {}
        self.loose: dict[str, list[int]] = {}
        self.lengths: dict[
            tuple[str, str], set[int]
        ] = {}  # of the prefixes and suffixes filed, by operation and attribute

    def add(self, number: int, predicate: Predicate) -> None:
        self.predicates[number] = predicate
        # A disjunction is wider than each of its parts: it is found by any of them.
        alternatives = predicate[1:] if predicate[0] == "or" else (predicate,)
        for alternative in alternatives:
            condition = self._rarest(alternative[1:] if alternative[0] == "and" else (alternative,))
            self._file(number, condition)

    def _rarest(self, conditions: Sequence[Predicate]) -> Predicate:
        """The condition that fewest predicates have, earlier and later ones."""
        return min(
            conditions, key=lambda condition: max((self.crowds[key] for key in _keys(condition)), default=1 << 30)
        )

    def _file(self, number: int, condition: Predicate) -> None:
        filed = False
        for key in _keys(condition):
            filed = True
            self.exact.setdefault(key, []).append(number)
            if key[0] != "eq":
                self.lengths.setdefault((key[0], key[1]), set()).add(len(key[2]))
        if not filed:
            name = condition[1] if isinstance(condition[1], str) else ""
            waiting = self.loose.setdefault(name, [])
            if len(waiting) < _MOST_UNINDEXED:
                waiting.append(number)

    def wider(self, predicate: Predicate) -> int | None:
        """The first earlier predicate that holds wherever this one does, None when none is known."""
        candidates = sorted(set(self._candidates(predicate)))
        if not candidates:
            return None
        atoms = _atoms(predicate)
        if atoms is None:
            return next((n for n in candidates if implies(predicate, self.predicates[n])), None)
        return next((n for n in candidates if self._covers(n, predicate, atoms)), None)

    def _covers(self, number: int, predicate: Predicate, atoms: dict[str, Predicate]) -> bool:
        """implies(), for the predicates nearly every route has: comparisons of different attributes, all of which must hold."""
        earlier = self.predicates[number]
        if earlier[0] != "and":
            return implies(predicate, earlier)
        for atom in earlier[1:]:
            if atom[0] in _COMPOUND:
                return implies(predicate, earlier)
            mine = atoms.get(atom[1])
            if mine is None or (mine != atom and not atom_implies(mine, atom)):
                return False
        return True

    def _candidates(self, predicate: Predicate) -> Iterator[int]:
        if predicate[0] in ("and", "or"):
            for each in predicate[1:]:
                yield from self._candidates(each)
            return
        yield from self.loose.get("", ())
        if predicate[0] in ("not", "true"):
            yield from self.exact.get(predicate, ())
            return
        operation, name = predicate[0], predicate[1]
        yield from self.loose.get(name, ())
        if operation in ("eq", "in"):
            first = predicate[2][0] if operation == "in" else predicate[2]
            yield from self.exact.get(("eq", name, first), ())
            if isinstance(first, str):
                yield from self._affixes("prefix", name, first)
                yield from self._affixes("suffix", name, first)
        elif operation in ("prefix", "suffix", "segments"):
            yield from self._affixes(*_stem(predicate))

    def _affixes(self, operation: str, name: str, text: str) -> Iterator[int]:
        for length in self.lengths.get((operation, name), ()):
            if length <= len(text):
                part = text[:length] if operation == "prefix" else text[len(text) - length :]
                yield from self.exact.get((operation, name, part), ())


def _keys(condition: Predicate) -> Iterator[Predicate]:
    """What a comparison is filed under; nothing where it can't be looked up, and for a compound."""
    operation = condition[0]
    if operation in ("eq", "prefix", "suffix"):
        yield condition
    elif operation == "in":
        for value in condition[2]:
            yield ("eq", condition[1], value)
    elif operation == "segments":
        yield _stem(condition)


def _all_keys(predicate: Predicate) -> Iterator[Predicate]:
    """Of each of its comparisons that must or may hold."""
    if predicate[0] in ("and", "or"):
        for part in predicate[1:]:
            yield from _all_keys(part)
    else:
        yield from _keys(predicate)


def _stem(condition: Predicate) -> Predicate:
    """A pattern of segments is filed under the prefix of all that fit it."""
    return ("prefix", condition[1], segments_stem(condition[2])) if condition[0] == "segments" else condition
