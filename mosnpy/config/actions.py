"""What an HTTP route does beside sending a request on, in the plan's form (csrc/route/action.h): rewrites, edits, redirects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from mosnpy.config.predicate import check_regex
from mosnpy.config.regex import group_count
from mosnpy.config.templates import TemplateError, highest_group, matched_prefix, parse_template

if TYPE_CHECKING:
    from mosnpy.config.attributes import Scope
    from mosnpy.config.http_routes import Edits, HttpRoute, Redirect
    from mosnpy.config.predicate import Predicate

__all__ = ["http_actions"]

_PATH = "http.path"


class Fault(Protocol):
    """Takes one fault, by its place below the route."""

    def __call__(
        self, below: tuple[str | int, ...], message: str, key: bool = False, text: str = "", offset: int = 0
    ) -> None: ...


def http_actions(route: HttpRoute, predicate: Predicate, scope: Scope, fault: Fault) -> dict[str, Any]:
    """The route's keys in the plan. Faults are told, and what they are about is left out."""
    return _Actions(predicate, scope, fault).of(route)


class _Actions:
    def __init__(self, predicate: Predicate, scope: Scope, fault: Fault) -> None:
        self.predicate = predicate
        self.scope = scope
        self.fault = fault

    def of(self, route: HttpRoute) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if route.rewrite is not None:
            out["rewrite"] = self.rewrite(route)
            out["host"] = self.template(route.rewrite.host, ("rewrite", "host"))
        if route.request_headers is not None:
            out["request"] = self.edits(route.request_headers, "request_headers")
        if route.response_headers is not None:
            out["response"] = self.edits(route.response_headers, "response_headers")
        if route.redirect is not None:
            out["redirect"] = self.redirect(route.redirect)
        if route.reply is not None and route.reply.status is not None:
            headers = route.reply.headers or {}
            fields = [[name, self.template(value, ("reply", "headers", name))] for name, value in headers.items()]
            if route.reply.body and "content-type" not in headers:
                fields.append(["content-type", "text/plain; charset=utf-8"])
            out["reply"] = {"status": route.reply.status, "body": route.reply.body or "", "headers": fields}
        return out

    def template(self, text: str | None, below: tuple[str | int, ...]) -> str | list[Any] | None:
        if text is None:
            return None
        try:
            return parse_template(text, self.scope)
        except TemplateError as error:
            self.fault(below, str(error), text=text, offset=error.offset)
            return ""

    def rewrite(self, route: HttpRoute) -> dict[str, Any] | None:
        rewrite = route.rewrite
        assert rewrite is not None
        if rewrite.prefix is not None:
            replaced, to = self.prefix(rewrite.prefix, ("rewrite", "prefix"))
            return {"kind": "prefix", "from": replaced, "to": to}
        if rewrite.path is not None:
            return {"kind": "path", "to": self.template(rewrite.path, ("rewrite", "path"))}
        if rewrite.regex is None:
            return None
        assert rewrite.to is not None
        self.regex(rewrite.regex, rewrite.to)
        return {"kind": "regex", "from": rewrite.regex, "to": rewrite.to}

    def regex(self, pattern: str, to: str) -> None:
        try:
            check_regex(pattern)
        except ValueError as error:
            self.fault(("rewrite", "regex"), str(error))
            return
        try:
            highest = highest_group(to)
        except TemplateError as error:
            self.fault(("rewrite", "to"), str(error), text=to, offset=error.offset)
            return
        if re.search(r"[\x00-\x20\x7f]", to):
            self.fault(("rewrite", "to"), "a path can't contain spaces or control characters")
        known = group_count(pattern)
        if highest > known:
            there = {0: "none", 1: "one"}.get(known, str(known))
            self.fault(("rewrite", "to"), f"\\{highest} stands for a group, and the regular expression has {there}")

    def prefix(self, to: str, below: tuple[str, ...]) -> tuple[str, str]:
        """(what is replaced, what by): the prefix that the route matched, whose closing slash stays one."""
        matched = matched_prefix(self.predicate, _PATH)
        if matched is None:
            self.fault(below, 'there is no prefix to replace: the route must match one path such as "/api/*"')
            return "", to
        return matched, to + "/" if matched.endswith("/") and not to.endswith("/") else to

    def redirect(self, redirect: Redirect) -> dict[str, Any]:
        replaced, prefix = None, None
        if redirect.prefix is not None:
            replaced, prefix = self.prefix(redirect.prefix, ("redirect", "prefix"))
        return {
            "status": redirect.status,
            "scheme": redirect.scheme,
            "host": self.template(redirect.host, ("redirect", "host")),
            "port": redirect.port,
            "path": self.template(redirect.path, ("redirect", "path")),
            "prefix": prefix,
            "from": replaced,
            "strip_query": redirect.strip_query,
        }

    def edits(self, edits: Edits, name: str) -> dict[str, Any]:
        def fields(which: str, values: dict[str, str]) -> list[list[Any]]:
            return [[field, self.template(value, (name, which, field))] for field, value in values.items()]

        return {"remove": edits.remove, "set": fields("set", edits.set), "add": fields("add", edits.add)}
