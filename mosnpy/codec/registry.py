"""Finding codecs by name, without a list of them anywhere.

Three places, none of which has to be imported to be looked at: the folders of `mosnpy.codecs`, the entry points of the group
`mosnpy.codecs`, and a path in the configuration (`./acme.py:ACME`). A name that two places offer is an error that names
both: guessing would make the meaning of a configuration depend on what else is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from mosnpy.codec.description import Codec
from mosnpy.errors import MosnError

__all__ = ["GROUP", "CodecNotFoundError", "DuplicateCodecError", "InvalidCodecError", "find", "load", "names"]

GROUP = "mosnpy.codecs"
"""The entry point group, and the package whose folders are the built-in codecs."""


class CodecNotFoundError(MosnError):
    """No codec has that name, or nothing is at that path."""


class DuplicateCodecError(MosnError):
    """Two places offer a codec of the same name."""


class InvalidCodecError(MosnError):
    """What was found is no codec, or goes by another name."""


def _built_in() -> dict[str, str]:
    package = importlib.import_module(GROUP)
    found = pkgutil.iter_modules(package.__path__)
    return {module.name: f"{GROUP}.{module.name}" for module in found if not module.name.startswith("_")}


def places() -> dict[str, list[tuple[str, str]]]:
    """Name -> where it is offered: (reference "module:attribute", description of the place). Imports no codec."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, module in _built_in().items():
        found.setdefault(name, []).append((f"{module}:CODEC", f"the package {module}"))
    for point in entry_points(group=GROUP):
        source = f"the distribution {point.dist.name}" if point.dist else "an entry point"
        found.setdefault(point.name, []).append((point.value, f"{source} ({point.value})"))
    return found


def names() -> list[str]:
    """Every codec that is installed, sorted. Raises DuplicateCodecError."""
    found = places()
    for name, offers in found.items():
        _only(name, offers)
    return sorted(found)


def find(name: str) -> Codec:
    """The codec of that name. Raises CodecNotFoundError, DuplicateCodecError, InvalidCodecError."""
    found = places()
    if name not in found:
        raise CodecNotFoundError(f"no codec is called {name!r}; there are {', '.join(sorted(found))}")
    codec = _resolve(_only(name, found[name]))
    if codec.name != name:
        raise InvalidCodecError(f"the codec found as {name!r} calls itself {codec.name!r}")
    return codec


def load(reference: str, base: Path | None = None) -> Codec:
    """The codec at "<path>.py:<attribute>" (relative to `base`) or "<module>:<attribute>"; the attribute may be left out: CODEC."""
    target, _, attribute = reference.partition(":")
    if not target.endswith(".py"):
        return _resolve(reference)
    path = ((base or Path.cwd()) / target).resolve()
    return _codec_in(_module_at(path), attribute or "CODEC", str(path))


def _only(name: str, offers: list[tuple[str, str]]) -> str:
    if len(offers) > 1:
        raise DuplicateCodecError(f"two codecs are called {name!r}: " + " and ".join(place for _, place in offers))
    return offers[0][0]


def _resolve(reference: str) -> Codec:
    module_name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise CodecNotFoundError(f"there is no module {module_name}") from None
        raise
    return _codec_in(module, attribute or "CODEC", module_name)


def _module_at(path: Path) -> ModuleType:
    """Runs the file once; the same path gives the same module again."""
    name = f"mosnpy_codec_{path.stem}_{hash(str(path)) & 0xFFFFFFFF:08x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise CodecNotFoundError(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses of that file look themselves up here
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _codec_in(module: ModuleType, attribute: str, place: str) -> Codec:
    found = getattr(module, attribute, None)
    if not isinstance(found, Codec):
        what = "nothing" if found is None else f"a {type(found).__name__}"
        raise InvalidCodecError(f"{place} has {what} called {attribute}, where a mosnpy.codec.Codec is expected")
    return found
