"""`mosnpy version`"""

from __future__ import annotations

import importlib.metadata
import platform
import sys

import click

from mosnpy import __version__

_LIBRARIES = ("uvloop", "pydantic", "PyYAML", "click", "msgpack", "aiohttp")


@click.command()
@click.option("-v", "--verbose", is_flag=True, help="Also libraries, codecs and limits.")
def version(verbose: bool) -> None:
    """Print the version; with -v what it is built from and what it can do."""
    click.echo(f"mosnpy {__version__}")
    if verbose:
        for name, value in _details():
            click.echo(f"  {name:<12} {value}")


def _details() -> list[tuple[str, str]]:
    found = [
        ("python", f"{platform.python_version()} {platform.python_compiler()}, {sys.executable}"),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
    ]
    for library in _LIBRARIES:
        try:
            found.append((library, importlib.metadata.version(library)))
        except importlib.metadata.PackageNotFoundError:
            found.append((library, "not installed"))
    try:
        import yaml

        found.append(("libyaml", "yes" if hasattr(yaml, "CSafeLoader") else "no: configurations load 5 times slower"))
    except ImportError:
        pass
    return found + _core()


def _core() -> list[tuple[str, str]]:
    try:
        from mosnpy import core
    except ImportError as error:
        return [("core", f"not built: {error}")]
    codecs = core.codecs()
    native = ", ".join(
        f"{name} ({len(attributes)} attributes)" for name, attributes in codecs.items() if name != "common"
    )
    file = getattr(sys.modules.get("mosnpy.core._core"), "__file__", None)
    return [("core", str(file)), ("codecs", native)]
