"""Who may import whom: the rules that keep the parts apart, walked by ast (Python) and by #include (C)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Path.rglob does not follow the link mosnpy/codecs, so codecs/ is walked under its own name.
SOURCES = {
    **{path.relative_to(ROOT).with_suffix(""): path for path in (ROOT / "mosnpy").rglob("*.py")},
    **{Path("mosnpy") / path.relative_to(ROOT).with_suffix(""): path for path in (ROOT / "codecs").rglob("*.py")},
}
MODULES = {".".join(where.parts).removesuffix(".__init__"): path for where, path in SOURCES.items()}

# Part -> the other parts of mosnpy it may import. `errors` may be imported by everyone, and stands alone itself.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "codec": {"core"},
    "codecs": {"codec"},
    "config": {"codec", "codecs"},  # the compiler asks codecs for their part of the plan
    "core": {"codec", "filters"},
    "filters": {"codec", "core"},
    "observe": {"core", "config"},
    "upstream": {"core", "config", "observe"},
    # These join things; nothing below may import them.
    "admin": {"server", "observe", "upstream", "config", "codec", "core"},
    "server": {"admin", "observe", "upstream", "config", "codec", "codecs", "core", "filters", "cli"},
    "cli": {"server", "admin", "observe", "upstream", "config", "codec", "codecs", "core", "proxy", "testing"},
    "proxy": {"server", "observe", "upstream", "config", "core"},
    "testing": {"codec", "codecs", "config", "core", "observe", "proxy", "server"},
    "__main__": {"cli"},
    "": {"proxy"},  # mosnpy/__init__.py
}


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(module: str) -> Iterator[tuple[str, int, bool]]:
    """(module imported, line, only for type checkers) of everything of mosnpy, imports inside functions included."""
    tree = ast.parse(MODULES[module].read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative imports hide who imports whom"
            if node.module == "mosnpy":
                for alias in node.names:
                    yield f"mosnpy.{alias.name}", node.lineno, id(node) in typing_only
            elif node.module and node.module.startswith("mosnpy."):
                yield node.module, node.lineno, id(node) in typing_only
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("mosnpy."):
                    yield alias.name, node.lineno, id(node) in typing_only


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_what_its_part_may(module: str) -> None:
    own = part(module)
    allowed = MAY_IMPORT.get(own)
    assert allowed is not None, f"{module}: say in MAY_IMPORT what the part {own!r} may import"
    for imported, line, typing_only in imports(module):
        other = part(imported)
        if other in ("", own, "errors", "__version__") or typing_only:
            continue
        assert other in allowed, (
            f"{module}:{line} imports {imported}; {own!r} may import {sorted(allowed) or 'nothing'}"
        )


def test_no_codec_imports_another() -> None:
    for module in MODULES:
        if part(module) != "codecs":
            continue
        own = module.split(".")[2]
        for imported, line, _ in imports(module):
            if part(imported) == "codecs":
                assert imported.split(".")[2:3] == [own], f"{module}:{line} imports {imported}"


def test_only_the_compiler_knows_codecs_by_name() -> None:
    """Anything else would need a change for every protocol that is added."""
    for module in MODULES:
        if part(module) in ("observe", "upstream", "admin", "server", "config", "codec"):
            named = [
                f"{module}:{line}" for imported, line, _ in imports(module) if imported.startswith("mosnpy.codecs.")
            ]
            assert named == []


# Third-party libraries that cost a worker memory. A worker imports what its own modules import, nothing more.
HEAVY = {"pydantic", "yaml", "aiohttp", "click", "prometheus_client", "numpy"}


def test_codecs_and_their_contract_import_nothing_heavy() -> None:
    for module, path in MODULES.items():
        if part(module) not in ("errors", "codec", "codecs", "core", "filters"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            roots = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            roots += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {root.split(".")[0] for root in roots} & HEAVY, f"{module}:{getattr(node, 'lineno', 0)}"


# ---- C -------------------------------------------------------------------------------------------------------------

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def c_files(folder: str) -> list[Path]:
    return sorted((ROOT / "csrc" / folder).glob("*.[ch]"))


def included(path: Path) -> list[str]:
    """Headers of csrc/ a file includes, as paths below csrc/ (where they exist)."""
    found = []
    for name in INCLUDE.findall(path.read_text()):
        for base in (path.parent, ROOT / "csrc"):
            target = (base / name).resolve()
            if target.is_file():
                found.append(str(target.relative_to(ROOT / "csrc")))
                break
    return found


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [("core", ("codecs/", "filters/")), ("route", ("codecs/", "filters/")), ("filters", ("codecs/",))],
)
def test_c_folders_do_not_look_downwards(folder: str, forbidden: tuple[str, ...]) -> None:
    for path in c_files(folder):
        # http.h is HTTP's words alone; what a route changes in a request is compiled with the route
        allowed = {"codecs/http.h"} if path.name == "action.c" else set()
        wrong = [name for name in included(path) if name.startswith(forbidden) and name not in allowed]
        assert wrong == [], f"{path.relative_to(ROOT)} includes {wrong}"


def test_the_c_side_knows_no_python() -> None:
    for path in (ROOT / "csrc").rglob("*.[ch]"):
        assert "Python.h" not in INCLUDE.findall(path.read_text()), path


def test_c_codecs_do_not_include_one_another() -> None:
    """A file's protocol is the word before the first _ or . of its name; resp is the wire format of redis, and HTTP has several."""
    family = {"resp": "redis"} | dict.fromkeys(("exchange", "grpc", "hpack", "http1", "http2"), "http")
    for path in c_files("codecs"):
        own = re.split(r"[_.]", path.name)[0]
        for name in included(path):
            if name.startswith("codecs/"):
                other = re.split(r"[_.]", name.removeprefix("codecs/"))[0]
                assert family.get(other, other) == family.get(own, own), f"{path.name} includes {name}"
