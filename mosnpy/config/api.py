"""Loading and checking configurations: the stages in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mosnpy.config import installed, loader
from mosnpy.config.collecting import uncollected
from mosnpy.config.report import Fault, ordered
from mosnpy.config.semantics import examine, examine_names
from mosnpy.config.validate import validate
from mosnpy.config.writing import to_yaml
from mosnpy.errors import ConfigErrors

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    from mosnpy.config.attributes import Attributes
    from mosnpy.config.models import Config

__all__ = ["check", "check_text", "load", "load_mapping", "load_text"]

PATIENCE = 3.0
"""Seconds `check` waits for the resolver."""


def load(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    attributes: Attributes | None = None,
    env: Mapping[str, str] | None = None,
) -> Config:
    """The configuration in these files and folders. Raises ConfigErrors with all its faults, warnings included.

    attributes: names rules may use, by protocol (those of the installed codecs by default). env: for `${VAR}`, os.environ by default.
    """
    with uncollected():
        return _loaded(loader.load_documents(_listed(paths), env), attributes)


def load_text(
    text: str, name: str = "<text>", *, attributes: Attributes | None = None, env: Mapping[str, str] | None = None
) -> Config:
    """The configuration in a string; `name` stands for the file in faults. Raises ConfigErrors."""
    with uncollected():
        return _loaded(loader.load_text(text, name, env), attributes)


def load_mapping(
    mapping: Mapping[str, Any], name: str = "<mapping>", *, attributes: Attributes | None = None
) -> Config:
    """The configuration in plain data. Raises ConfigErrors, whose places are those of the data written as YAML."""
    return load_text(to_yaml(mapping), name, attributes=attributes)


def check(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    attributes: Attributes | None = None,
    env: Mapping[str, str] | None = None,
    resolve_names: bool = True,
) -> list[Fault]:
    """Everything wrong or doubtful with these files, by place; an empty list when all is well.

    resolve_names: also ask for the host names of endpoints (a warning when one is unknown now).
    """
    with uncollected():
        return _checked(loader.load_documents(_listed(paths), env), attributes, resolve_names)


def check_text(
    text: str,
    name: str = "<text>",
    *,
    attributes: Attributes | None = None,
    env: Mapping[str, str] | None = None,
    resolve_names: bool = False,
) -> list[Fault]:
    """As check(), for a string."""
    with uncollected():
        return _checked(loader.load_text(text, name, env), attributes, resolve_names)


def _listed(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str | os.PathLike[str]]:
    if isinstance(paths, str) or hasattr(paths, "__fspath__"):
        return [paths]  # type: ignore[list-item]  # mypy does not narrow by __fspath__
    return list(paths)


def _loaded(document: loader.Document, attributes: Attributes | None) -> Config:
    draft = validate(document)
    examine(document, draft, attributes or installed.attributes())
    faults = ordered(document.faults)
    if draft.config is None or any(f.severity == "error" for f in faults):
        raise ConfigErrors(faults or [Fault("there is no configuration")])
    return draft.config


def _checked(document: loader.Document, attributes: Attributes | None, resolve_names: bool) -> list[Fault]:
    draft = validate(document)
    examine(document, draft, attributes or installed.attributes())
    if resolve_names:
        examine_names(document, draft, PATIENCE)
    return ordered(document.faults)
