"""What a route can do with HTTP: replies, redirects, other paths and hosts, edited fields."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from mosnpy.config.fields import Model, Text
from mosnpy.config.routes import Reply, RequestRoute

__all__ = ["Edits", "HttpReply", "HttpRoute", "Redirect", "Rewrite"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OWN = frozenset(
    "connection keep-alive proxy-connection transfer-encoding upgrade te trailer content-length http2-settings".split()
)
"""Fields about one connection or the length of a body: the proxy writes them itself."""


def _field_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} can't be the name of a header: letters, digits and !#$%&'*+.^_`|~- are possible")
    if name.lower() in _OWN:
        raise ValueError(f"{name!r} belongs to one connection or to the body's length: the proxy writes it itself")
    return name.lower()


def _request_field(name: str) -> str:
    if name.lower() == "host":
        raise ValueError("the Host sent upstream is set with `rewrite: {host: name}`")
    return _field_name(name)


def _field_value(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("the value of a header can't contain line breaks or other control characters")
    if value != value.strip(" \t"):
        raise ValueError("the value of a header can't begin or end with a space")
    return value


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"a path begins with '/', {text!r} does not")
    if re.search(r"[\x00-\x20\x7f#]", text):
        raise ValueError("a path can't contain spaces, '#' or control characters: write them percent-encoded")
    return text


def _host(text: str) -> str:
    if re.search(r"[\x00-\x20\x7f/?#@\\]", text):
        raise ValueError(f"{text!r} is no host: a name or an address, perhaps with :port, is expected here")
    return text


FieldName = Annotated[str, AfterValidator(_field_name)]
RequestFieldName = Annotated[str, AfterValidator(_request_field)]
FieldValue = Annotated[str, StringConstraints(max_length=8192), AfterValidator(_field_value)]
PathText = Annotated[str, StringConstraints(min_length=1, max_length=8192), AfterValidator(_path)]
HostText = Annotated[str, StringConstraints(min_length=1, max_length=512), AfterValidator(_host)]


class HttpReply(Reply):
    """An answer given by the proxy itself: a status with fields and a body, or `error` as for every protocol."""

    error: Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = (
        None  # type: ignore[assignment]  # one of two forms
    )
    """Text of an error: HTTP clients get 403 with it, gRPC clients grpc-status 7."""
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    """Status of the answer."""
    body: Annotated[str, StringConstraints(max_length=65_536)] | None = None
    """Its body, as UTF-8."""
    headers: dict[FieldName, FieldValue] | None = None
    """Its fields; %attribute% stands for an attribute of the request. content-type is text/plain in UTF-8 unless it is given."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.error is None) == (self.status is None):
            raise ValueError("a reply has either `status` (with `body` and `headers`) or `error`")
        if self.error is not None and (self.body is not None or self.headers):
            raise ValueError("`body` and `headers` belong to `status`, not to `error`")
        if self.body and self.status in (204, 304):
            raise ValueError(f"an answer with status {self.status} has no body")
        return self


class Redirect(Model):
    """Sends the client elsewhere. What is not given stays as it was requested."""

    status: Literal[301, 302, 303, 307, 308] = 302
    """301 and 308 are permanent: clients remember them. 307 and 308 keep the method."""
    scheme: Literal["http", "https"] | None = None
    """Other scheme; without `port` the port is left out then."""
    host: HostText | None = None
    """Other host; %attributes% are possible."""
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Other port."""
    path: PathText | None = None
    """Other path; %attributes% are possible."""
    prefix: PathText | None = None
    """Replaces what the route's path pattern ("/old/*") matched before the star."""
    strip_query: bool = False
    """Leaves the query out."""

    @model_validator(mode="after")
    def _elsewhere(self) -> Self:
        if self.path is not None and self.prefix is not None:
            raise ValueError("a redirect has either `path` or `prefix`")
        if all(getattr(self, name) is None for name in ("scheme", "host", "port", "path", "prefix")):
            raise ValueError("this redirect leads to where the client is: give scheme, host, port, path or prefix")
        return self


class Rewrite(Model):
    """Another path or host towards the upstream. The query stays."""

    prefix: PathText | None = None
    """Replaces what the route's path pattern ("/api/*") matched before the star."""
    path: PathText | None = None
    """The whole path; %attributes% are possible."""
    regex: Text | None = None
    """Regular expression: every part of the path that fits is replaced by `to`."""
    to: str | None = None
    """With regex: what it becomes; \\1 to \\9 are its groups, \\0 all of it."""
    host: HostText | None = None
    """Host sent upstream; %attributes% are possible."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [name for name in ("prefix", "path", "regex") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise ValueError(f"a path is rewritten in one way: prefix, path or regex, not {' and '.join(ways)}")
        if (self.regex is None) != (self.to is None):
            raise ValueError("`regex` and `to` belong together")
        if not ways and self.host is None:
            raise ValueError("nothing is rewritten: give prefix, path, regex or host")
        return self


class Edits(Model):
    """Changes to the fields of a message, in this order: remove, set, add. In values %attribute% stands for an attribute
    of the request, %% for a percent sign."""

    remove: list[FieldName] = Field(default_factory=list)
    """Names of fields to leave out."""
    set: dict[FieldName, FieldValue] = Field(default_factory=dict)
    """Fields that replace all of the same name."""
    add: dict[FieldName, FieldValue] = Field(default_factory=dict)
    """Fields to add beside those that are there."""


class RequestEdits(Edits):
    """Changes to the fields of requests."""

    remove: list[RequestFieldName] = Field(default_factory=list)
    """Names of fields to leave out."""
    set: dict[RequestFieldName, FieldValue] = Field(default_factory=dict)
    """Fields that replace all of the same name."""
    add: dict[RequestFieldName, FieldValue] = Field(default_factory=dict)
    """Fields to add beside those that are there."""


class HttpRoute(RequestRoute):
    """A route of HTTP. It has exactly one of `to`, `split`, `reply` and `redirect`; or it has `routes`."""

    ways: ClassVar[tuple[str, ...]] = ("to", "split", "reply", "redirect")

    reply: HttpReply | None = None
    """Answer instead of asking an upstream."""
    redirect: Redirect | None = None
    """Send the client elsewhere."""
    rewrite: Rewrite | None = None
    """Another path or host towards the upstream."""
    request_headers: RequestEdits | None = None
    """Changes to the request's fields."""
    response_headers: Edits | None = None
    """Changes to the response's fields."""

    @model_validator(mode="after")
    def _only_towards_upstreams(self) -> Self:
        if self.to is None and self.split is None:
            for name in ("rewrite", "request_headers"):
                if getattr(self, name) is not None:
                    way = "replies" if self.reply is not None else "redirects"
                    raise ValueError(f"a route that {way} asks no upstream: {name} has no meaning here")
        return self

    @property
    def only_http(self) -> str:
        for name in ("redirect", "rewrite", "request_headers", "response_headers"):
            if getattr(self, name) is not None:
                return name
        return "reply.status" if self.reply is not None and self.reply.status is not None else ""
