"""The repository itself: what must be there, what must not, and how large things may grow unnoticed."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mosnpy

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def tracked() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name]


@pytest.mark.parametrize(
    "name",
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "MANIFEST.in", ".ci/run"],
)
def test_the_papers_are_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0


def test_the_changelog_knows_this_version() -> None:
    assert f"## {mosnpy.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_one_version() -> None:
    assert mosnpy.__version__ == PROJECT["project"]["version"]


def test_the_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


def test_codecs_is_a_link_and_no_package() -> None:
    """See pyproject.toml: a codecs/__init__.py would shadow the standard library's codecs for some debuggers."""
    assert os.readlink(ROOT / "mosnpy" / "codecs") == "../codecs"
    assert not (ROOT / "codecs" / "__init__.py").exists()


@pytest.mark.may_skip
def test_no_packages_under_tests() -> None:
    """An __init__.py there would make tests/codecs shadow the standard library's codecs."""
    assert [name for name in tracked() if name.startswith("tests/") and name.endswith("__init__.py")] == []


def test_every_codec_has_its_papers_and_tests() -> None:
    for folder in sorted(path for path in (ROOT / "codecs").iterdir() if path.is_dir() and path.name != "__pycache__"):
        assert (folder / "__init__.py").is_file(), folder
        assert (folder / "SPEC.md").is_file(), folder


@pytest.mark.may_skip
def test_nothing_built_is_tracked() -> None:
    built = re.compile(
        r"\.(so|o|pyc|whl|a)$|^(mosnpy|codecs)/.*\.c$|__pycache__|\.egg-info/|^(build|dist|node_modules)/"
    )
    assert [name for name in tracked() if built.search(name)] == []


def test_scripts_can_be_run() -> None:
    for name in (".ci/run", ".ci/deps"):
        assert os.access(ROOT / name, os.X_OK), name


def test_what_the_makefile_must_offer() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "lint", "types", "bench", "asan", "fuzz", "ctest"} <= targets


def test_every_import_is_declared() -> None:
    """A library that happens to be installed on one machine is missing on the next."""
    runtime = set(map(_bare, PROJECT["project"]["dependencies"]))
    extras = PROJECT["project"]["optional-dependencies"].values()
    everything = runtime | {_bare(name) for extra in extras for name in extra}
    missing = []
    for folder in ("mosnpy", "codecs", "bench", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            # mosnpy.testing serves authors of codecs and our own tests, with the extra `test`.
            declared = runtime if folder in ("mosnpy", "codecs") and "testing" not in path.parts else everything
            missing += [f"{path.relative_to(ROOT)}: {name}" for name in sorted(_imported(path) - declared)]
    assert missing == []


def _imported(path: Path) -> set[str]:
    """The distributions a file imports from."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    ours = {"mosnpy", "bench", "tests", "conftest"} | {each.stem for each in path.parent.glob("*.py")}
    other_names = {"yaml": "pyyaml", "pydantic_core": "pydantic", "_pytest": "pytest", "grpc": "grpcio"}
    return {_bare(other_names.get(name, name)) for name in names - ours - sys.stdlib_module_names}


def _bare(requirement: str) -> str:
    return re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0].lower().replace("_", "-")


# Modules larger than the guide, with their lines now. Raise a figure, or the guide, only after
# asking what else the module does.
LARGE: dict[str, int] = json.loads((ROOT / "tests" / "data" / "large_modules.json").read_text())
GUIDE = {".py": 500, ".pyx": 800, ".c": 700, ".h": 400}


def test_modules_stay_readable() -> None:
    too_large = {}
    for folder in ("mosnpy", "codecs", "csrc", "bench"):
        for path in (ROOT / folder).rglob("*"):
            if "tests" in path.parts:
                continue
            if (
                path.suffix not in GUIDE
                or (path.suffix == ".c" and folder in ("mosnpy", "codecs"))
                or "build" in path.parts
            ):
                continue
            name = str(path.relative_to(ROOT))
            lines = path.read_text().count("\n")
            if lines > LARGE.get(name, GUIDE[path.suffix]):
                too_large[name] = lines
    assert too_large == {}, "split them, or enter them in tests/data/large_modules.json"
