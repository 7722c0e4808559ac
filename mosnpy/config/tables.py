"""Which routes a listener tries for which protocol, and what they ask: routes and rules to predicates.

A listener of one family of protocols tries all its routes for every message. One that tells several families apart has a
table for each: a route stands in those whose attributes it names and whose messages its upstream understands. A route
that fits none is a fault, one that fits some of them is left out of the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from mosnpy.config import installed
from mosnpy.config.actions import http_actions
from mosnpy.config.attributes import Scope, UnknownAttributeError
from mosnpy.config.expression import ExpressionError, parse_expression
from mosnpy.config.glob import ACTIVE
from mosnpy.config.http_routes import HttpRoute
from mosnpy.config.predicate import both, parse_match
from mosnpy.config.protocols import PROTOCOLS, Spoken
from mosnpy.config.report import did_you_mean

if TYPE_CHECKING:
    from mosnpy.config.attributes import Attributes
    from mosnpy.config.predicate import Predicate
    from mosnpy.config.routes import FlatRoute, RouteGroup, Rule

__all__ = ["Entry", "Said", "Table", "read_tables", "scopes_of"]

Path = tuple[str | int, ...]

_COUNTED = 1000  # routes of a listener that have statistics of their own without having a name


@dataclass(slots=True)
class Entry:
    """A route in the table of one family. actions: what HTTP does beside sending it on, as the plan has it. number: among
    the routes of its service, over all tables."""

    family: str
    flat: FlatRoute
    predicate: Predicate
    actions: Mapping[str, Any]
    number: int

    def name(self, stem: str) -> str:
        """Of the plan and statistics: the route's own, else stem.number."""
        return self.flat.name if self.flat.name is not None else f"{stem}.{self.number}"

    def counted_as(self, stem: str) -> str:
        """Its name in statistics: of many routes without a name, the later ones are counted together."""
        return self.name(stem) if self.flat.route.name is not None or self.number < _COUNTED else f"{stem}.others"


Table: TypeAlias = list[Entry]


@dataclass(slots=True)
class Said:
    """One fault of a route, before it has a place in a file. Arguments as Document.fault() has them."""

    path: Path
    message: str
    key: bool = False
    text: str = ""
    offset: int = 0
    warning: bool = False


@dataclass(slots=True)
class _Reading:
    """What became of a rule for one family: misfit says why it is none of its business."""

    predicate: Predicate | None
    faults: list[Said]
    misfit: str = ""


_NO_ACTIONS: Mapping[str, Any] = {}


def scopes_of(spoken: Spoken, attributes: Attributes) -> dict[str, Scope]:
    """The names that hold for each family."""
    return {
        family: Scope(family, attributes, any(p.family == family and p.connection_only for p in PROTOCOLS.values()))
        for family in spoken.families
    }


def read_tables(
    routes: Iterable[FlatRoute],
    spoken: Spoken,
    attributes: Attributes,
    upstreams: Mapping[str, str],
    say: Callable[[Said], None],
) -> dict[str, Table]:
    """Tables by family. upstreams: their protocols by name, "" for those that can't be read. say: told every fault."""
    reader = _Reader(scopes_of(spoken, attributes), upstreams, say)
    for number, flat in enumerate(routes):
        reader.place(flat, number)
    return reader.tables


class _Reader:
    """All tables of one service."""

    def __init__(self, scopes: Mapping[str, Scope], upstreams: Mapping[str, str], say: Callable[[Said], None]) -> None:
        self.scopes = scopes
        self.upstreams = upstreams
        self.say = say
        self.tables: dict[str, Table] = {family: [] for family in scopes}
        self.groups: dict[tuple[int, str], _Reading] = {}  # by id of the group

    def place(self, flat: FlatRoute, number: int) -> None:
        """Puts a route into every table it fits."""
        if len(self.scopes) == 1:
            ((family, scope),) = self.scopes.items()
            self._targets(flat, family)
            self._settle(flat, number, {family: self._read(flat, scope)})
            return
        readings: dict[str, _Reading] = {}
        for family, scope in self.scopes.items():
            why = self._stranger(flat, family)
            readings[family] = _Reading(None, [], why) if why else self._read(flat, scope)
        self._settle(flat, number, readings)

    def _settle(self, flat: FlatRoute, number: int, readings: Mapping[str, _Reading]) -> None:
        faulty = False
        fits = 0
        for family, reading in readings.items():
            if reading.misfit:
                continue
            fits += 1
            if not faulty:  # the other families would say the same in other words
                for said in reading.faults:
                    self.say(said)
                    faulty |= not said.warning
            if reading.predicate is not None and not faulty:
                actions = self._actions(flat, reading.predicate, family)
                self.tables[family].append(Entry(family, flat, reading.predicate, actions, number))
        if not fits:
            reasons = "; ".join(f"as {family}, {reading.misfit}" for family, reading in readings.items())
            self.say(Said(flat.steps, f"this route fits no protocol of this listener: {reasons}"))

    def _actions(self, flat: FlatRoute, predicate: Predicate, family: str) -> Mapping[str, Any]:
        route = flat.route
        if not isinstance(route, HttpRoute) or family != "http" or not (route.only_http):
            return _NO_ACTIONS

        def fault(below: Path, message: str, key: bool = False, text: str = "", offset: int = 0) -> None:
            self.say(Said((*flat.steps, *below), message, key, text, offset))

        return http_actions(route, predicate, self.scopes[family], fault)

    # -- targets ---------------------------------------------------------------------------------------------------

    def _families(self, flat: FlatRoute) -> Iterator[tuple[tuple[str, ...], str, str, str]]:
        """(place below the route, upstream, its protocol, its family) of every target that can be read."""
        for below, target in flat.route.targets:
            protocol = self.upstreams.get(target, "")
            if protocol:
                yield below, target, protocol, PROTOCOLS[protocol].family

    def _targets(self, flat: FlatRoute, family: str) -> None:
        for below, target, protocol, theirs in self._families(flat):
            if theirs != family:
                message = f"upstream {target!r} speaks {protocol}, this listener {family}"
                self.say(Said((*flat.steps, *below), message, key=below[0] == "split"))

    def _stranger(self, flat: FlatRoute, family: str) -> str:
        """Why messages of a family can't take this route at all, "" if they can."""
        for _, target, protocol, theirs in self._families(flat):
            if theirs != family:
                return f"upstream {target!r} speaks {protocol}"
        only = flat.route.only_http
        return f"{only} is for http alone" if only and family != "http" else ""

    # -- rules -----------------------------------------------------------------------------------------------------

    def _read(self, flat: FlatRoute, scope: Scope) -> _Reading:
        own = self._rule(flat.route, flat.steps, scope)
        route = flat.route
        if route.sticky is not None and not own.misfit:
            try:
                scope.find(route.sticky)
            except UnknownAttributeError as error:
                own.misfit = self._elsewhere(route.sticky, scope)
                own.faults.append(Said((*flat.steps, "sticky"), str(error)))
        if not flat.groups:
            return own
        parts = [self._group(group, flat.group_steps(i), scope) for i, group in enumerate(flat.groups)]
        misfit = next((each.misfit for each in (*parts, own) if each.misfit), "")
        found = [each.predicate for each in (*parts, own)]
        good = [each for each in found if each is not None]
        faults = own.faults
        for part in parts:
            faults = part.faults + faults
            if not misfit:
                part.faults = []  # said once, not for every route inside
        return _Reading(both(*good) if len(good) == len(found) else None, faults, misfit)

    def _group(self, group: RouteGroup, steps: Path, scope: Scope) -> _Reading:
        key = (id(group), scope.protocol)
        found = self.groups.get(key)
        if found is None:
            found = self.groups[key] = self._rule(group, steps, scope)
        return found

    def _rule(self, rule: Rule, steps: Path, scope: Scope) -> _Reading:
        """The predicate of `match` and `when`, None when it is faulty."""
        faults: list[Said] = []
        parts: list[Predicate | None] = []
        misfit = ""
        if rule.match is not None:
            if len(self.scopes) > 1:
                strange = (why for name in rule.match if (why := self._unknown(name, scope)))
                misfit = next(strange, "")

            def fault(below: Path, message: str, key: bool) -> None:
                faults.append(Said((*steps, "match", *below), message, key))

            parts.append(parse_match(rule.match, scope, fault))
            if parts[-1] is not None:
                faults += _match_operations(rule.match, (*steps, "match"), scope)
        if rule.when is not None:
            try:
                parsed = parse_expression(rule.when, scope)
                parts.append(parsed)
                for attribute, value in _equalities(parsed):
                    faults += _operation(attribute, value, (*steps, "when"), scope)
            except ExpressionError as error:
                if error.unknown and len(self.scopes) > 1:
                    misfit = misfit or self._elsewhere(error.unknown, scope)
                faults.append(Said((*steps, "when"), str(error), text=rule.when, offset=error.offset))
                parts.append(None)
        good = [part for part in parts if part is not None]
        return _Reading(both(*good) if len(good) == len(parts) else None, faults, misfit)

    def _unknown(self, name: str, scope: Scope) -> str:
        try:
            scope.find(name)
        except UnknownAttributeError:
            return self._elsewhere(name, scope)
        return ""

    def _elsewhere(self, name: str, scope: Scope) -> str:
        """Why a name that is unknown here is no slip: another family of the listener knows it. "" if none does."""
        for family, other in self.scopes.items():
            if other is scope:
                continue
            try:
                other.find(name)
            except UnknownAttributeError:
                continue
            return f"{name} is known to {family} alone" if len(self.scopes) == 2 else f"{name} is unknown"
        return ""


# -- names of operations -----------------------------------------------------------------------------------------------


def _match_operations(match: dict[str, Any], path: Path, scope: Scope) -> list[Said]:
    """Commands nobody knows, value by value."""
    if not installed.operations(scope.protocol):
        return []
    said: list[Said] = []
    for name, wanted in match.items():
        listed = isinstance(wanted, list)
        for i, value in enumerate(wanted if listed else [wanted]):
            if isinstance(value, str) and not ACTIVE.intersection(value) and not value.startswith("~"):
                below = (name, i) if listed else (name,)
                said += _operation(scope.find(name).name, value.removeprefix("!").upper(), (*path, *below), scope)
    return said


def _operation(attribute: str, value: Any, path: Path, scope: Scope) -> list[Said]:
    """Says what is odd about an operation a rule asks for. Modules bring their own, so only near misses are doubtful."""
    known = installed.operations(scope.protocol)
    if not known or attribute not in ("operation", f"{scope.protocol}.command") or value in known:
        return []
    first, *rest = re.split(r"[ |]", value)
    if rest and first in known:
        return [Said(path, f"{value!r} is two words: match command {first} and subcommand {rest[0]}")]
    if "." not in value and (hint := did_you_mean(value, known)):  # a module's commands have a dot
        message = f"{scope.protocol} has no command {value!r} unless a module brings it{hint}"
        return [Said(path, message, warning=True)]
    return []


def _equalities(predicate: Predicate) -> Iterator[tuple[str, Any]]:
    """(attribute, value) of every equality in a predicate."""
    if predicate[0] in ("and", "or", "not"):
        for each in predicate[1:]:
            yield from _equalities(each)
    elif predicate[0] == "eq":
        yield predicate[1], predicate[2]
    elif predicate[0] == "in":
        for value in predicate[2]:
            yield predicate[1], value
