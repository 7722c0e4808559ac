"""What the sdist and the wheel hold. Built once, the wheel from the sdist: what the sdist lacks, the wheel can't have."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# may_skip: an unpacked sdist has no list of its files.
pytestmark = [pytest.mark.slow, pytest.mark.may_skip, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one sdist and the wheel made of it, without a network."""
    if not any((ROOT / "mosnpy" / "core").glob("*.pyx")):
        pytest.skip("mosnpy/core has no .pyx yet")
    out = tmp_path_factory.mktemp("dist")
    # A copy: building leaves an egg-info and generated C behind, and others may be working in this tree.
    source = tmp_path_factory.mktemp("source") / "mosnpy"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not names:
        pytest.skip("not a git checkout")
    for name in filter(None, names.split("\0")):
        if not os.path.lexists(ROOT / name):
            continue
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            target.symlink_to(os.readlink(ROOT / name))
        else:
            target.write_bytes((ROOT / name).read_bytes())
    result = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MOSNPY_LTO": "0"},  # the same files, linked in a moment
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    return out


@pytest.fixture(scope="module")
def sdist(built: Path) -> set[str]:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def wheel(built: Path) -> set[str]:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_the_sdist_can_build_and_test(sdist: set[str]) -> None:
    needed = {
        *("LICENSE", "README.md", "Makefile", "setup.py", "pyproject.toml", ".clang-format", ".ci/run", ".ci/deps"),
        *("csrc/codec.h", "csrc/core/core.c", "csrc/core/core.h", "csrc/codecs/all.c", "csrc/tests/check.h"),
        *("mosnpy/py.typed", "mosnpy/core/_core.pyx", "mosnpy/core/_core.pyi", "mosnpy/core/_core.c"),
        *("codecs/redis/__init__.py", "codecs/redis/SPEC.md", "codecs/tcp/__init__.py"),
        *("tests/conftest.py", "tests/unit/test_repository.py", "conftest.py"),
    }
    assert needed - sdist == set()


def test_the_sdist_holds_codecs_once(sdist: set[str]) -> None:
    assert [name for name in sdist if name.startswith("mosnpy/codecs/redis")] == []


def test_the_sdist_holds_nothing_built_by_a_compiler(sdist: set[str]) -> None:
    assert [name for name in sdist if name.endswith((".so", ".o", ".pyc")) or "__pycache__" in name] == []


def test_the_wheel_holds_python_the_extension_and_the_stubs(wheel: set[str]) -> None:
    needed = {
        *("mosnpy/__init__.py", "mosnpy/py.typed", "mosnpy/core/_core.pyi", "mosnpy/errors.py"),
        *("mosnpy/codecs/redis/__init__.py", "mosnpy/codecs/redis/commands.py", "mosnpy/codecs/redis/SPEC.md"),
        "mosnpy/codecs/tcp/__init__.py",
    }
    assert needed - wheel == set()
    assert len([name for name in wheel if name.startswith("mosnpy/core/_core.") and name.endswith(".so")]) == 1


def test_the_wheel_holds_every_python_module(wheel: set[str]) -> None:
    """A package forgotten by the finder shows only on the machine of the one who installed it."""
    tracked = subprocess.run(
        ["git", "ls-files", "mosnpy/*.py", "codecs/*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    expected = {f"mosnpy/{name}" if name.startswith("codecs/") else name for name in tracked.stdout.split()}
    assert {
        name for name in expected - wheel if (ROOT / name.removeprefix("mosnpy/")).exists() or (ROOT / name).exists()
    } == set()


def test_the_wheel_holds_neither_sources_nor_the_checkout(wheel: set[str]) -> None:
    assert [name for name in wheel if name.endswith((".c", ".h", ".pyx", ".pxd", ".o"))] == []
    assert {name.split("/")[0] for name in wheel if not name.startswith("mosnpy-")} == {"mosnpy"}


def test_the_wheel_brings_the_command(built: Path) -> None:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        (entry,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "mosnpy = mosnpy.cli:main" in archive.read(entry).decode()
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    assert "License-Expression: Apache-2.0" in text
    assert "Requires-Python: >=3.11" in text


def test_the_wheel_imports_without_the_checkout(built: Path, tmp_path: Path) -> None:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    code = (
        "import mosnpy.core, mosnpy.codecs.redis as r; print(mosnpy.core.__file__, len(r.plan_section({})['commands']))"
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(tmp_path))
