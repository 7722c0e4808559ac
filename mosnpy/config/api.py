"""Loading and checking configurations: the stages in order."""

from __future__ import annotations

import contextlib
import gc
import re
from typing import TYPE_CHECKING, Any

import yaml

from mosnpy.config import installed, loader
from mosnpy.config.report import Fault, ordered
from mosnpy.config.scalars import resolve
from mosnpy.config.semantics import examine, examine_names
from mosnpy.config.validate import validate
from mosnpy.errors import ConfigErrors

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

    from mosnpy.config.attributes import Attributes
    from mosnpy.config.models import Config

__all__ = ["check", "check_text", "load", "load_mapping", "load_text", "to_yaml"]

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
    with _uncollected():
        return _loaded(loader.load_documents(_listed(paths), env), attributes)


def load_text(
    text: str, name: str = "<text>", *, attributes: Attributes | None = None, env: Mapping[str, str] | None = None
) -> Config:
    """The configuration in a string; `name` stands for the file in faults. Raises ConfigErrors."""
    with _uncollected():
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
    with _uncollected():
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
    return _checked(loader.load_text(text, name, env), attributes, resolve_names)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: nothing becomes garbage, and looking for it is a third of loading 10,000 routes."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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


# -- writing ---------------------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Writes what our loader reads back the same: a text is quoted wherever YAML 1.2 would take it for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_BARE = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*|[0-9]+(\.[0-9]+){3}:[0-9]+|:[0-9]+")


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    bare = _BARE.fullmatch(text) and isinstance(resolve(text), str)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if bare else '"')


_Dumper.add_representer(str, _text)


def to_yaml(data: Mapping[str, Any]) -> str:
    """Plain data as YAML in the order given; lists of short things on one line are left to PyYAML's taste."""
    text: str = yaml.dump(
        dict(data), Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=120, allow_unicode=True
    )
    return text
