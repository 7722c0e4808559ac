"""What the guides and the README show is true: configurations are valid, programs run, verbs, paths and links exist."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from mosnpy.cli.app import VERBS, app
from mosnpy.testing.certificates import Authority
from mosnpy.testing.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for number, text in enumerate(
            re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        ):
            found.append((f"{page.name}-{number}", text))
    return found


def everything() -> str:
    return "\n".join(page.read_text() for page in PAGES)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the guide's configurations name."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    authority.issue("example.com", "*.example.com", file="server")
    authority.issue("*.example.org", file="other")
    authority.revoke()
    return folder


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in blocks("yaml")])
def test_configurations_have_no_faults(text: str, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mosnpy.config import check_text, render

    monkeypatch.chdir(certificates)
    faults = check_text(text)
    assert not faults, render(faults)


def test_the_embedding_program_runs(main_server: RedisServer, capsys: pytest.CaptureFixture[str], built: None) -> None:
    [program] = [text for name, text in blocks("python") if name.startswith("embedding.md")]
    assert "127.0.0.1:6379" in program
    exec(compile(program.replace("127.0.0.1:6379", main_server.endpoint), "embedding.md", "exec"), {"asyncio": asyncio})
    assert capsys.readouterr().out.splitlines() == ["b'+PONG\\r\\n'", "1"]


def test_verbs_and_options_exist() -> None:
    used = set(re.findall(r"(?:^|`)mosnpy ([a-z]+)", everything(), re.MULTILINE))
    assert {"run", "check", "proxy"} <= used <= set(VERBS)
    for verb in VERBS:
        assert f"`{verb}`" in (ROOT / "CHANGELOG.md").read_text()
    options = set(re.findall(r"`(--[a-z-]+)", everything()))
    known = "".join(CliRunner().invoke(app, [verb, "--help"]).output for verb in VERBS)
    assert options
    for option in options:
        assert option in known, option


def test_admin_paths_exist() -> None:
    from mosnpy.admin.api import INDEX

    listed = set(re.findall(r"(?:GET|POST) +(/[a-z/]*)", INDEX))
    assert set(re.findall(r"`(?:GET|POST) (/[a-z/]*)", everything())) == listed - {"/"}


def test_metrics_exist() -> None:
    from mosnpy.core import stat_names
    from mosnpy.observe.layout import Stat
    from mosnpy.observe.prometheus import _metric

    names = {
        _metric(kind, Stat(name, flag == "G", ""))[0]
        for kind, rows in stat_names().items()
        if kind != "failure"
        for name, flag, _ in rows
    }
    more = {"ready", "config_last_reload_success", "worker_restarts", "endpoint_healthy", "listener_failures_total"}
    more |= {f"{kind}_tls_failures_total" for kind in ("listener", "upstream")}
    names |= {f"mosnpy_{name}" for name in more} | {"mosnpy_upstream_latency_seconds_bucket"}
    used = set(re.findall(r"\bmosnpy_[a-z_]+", everything()))
    assert used <= names, used - names


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
