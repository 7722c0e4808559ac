"""How verbs find and ask a running proxy, and how `run` becomes the supervisor."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mosnpy.cli import launch, remote
from mosnpy.cli.app import VERBS, app
from mosnpy.cli.run import sources
from mosnpy.server.options import Options
from mosnpy.testing.waiting import free_port


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        bodies = {
            "/json": (200, b'{"a": 1}'),
            "/text": (200, b"hello"),
            "/list": (200, b"[]"),
            "/no": (403, b'{"error": "not you"}'),
        }
        status, body = bodies[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "somebody"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=["tcp", "http", "unix"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    server: socketserver.BaseServer
    if request.param == "unix":
        server = socketserver.UnixStreamServer(str(tmp_path / "s"), _Answers)
        address = f"unix:{tmp_path / 's'}"
    else:
        server = http.server.HTTPServer(("127.0.0.1", 0), _Answers)
        address = f"{'http://' if request.param == 'http' else ''}127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield address
    server.shutdown()
    thread.join()
    server.server_close()


def test_answers(address: str) -> None:
    assert remote.ask(address, "/text") == (200, "hello")
    assert remote.ask_json(address, "/json") == (200, {"a": 1})


@pytest.mark.parametrize(
    ("path", "message"), [("/text", "is no mosnpy"), ("/list", "is no mosnpy"), ("/no", "refuses: not you")]
)
def test_answers_of_others(address: str, path: str, message: str) -> None:
    with pytest.raises(click.ClickException, match=message):
        remote.ask_json(address, path)


@pytest.mark.parametrize("where", ["127.0.0.1:{port}", "unix:{folder}/none", "127.0.0.1:nonsense"])
def test_nobody_there(where: str, tmp_path: Path) -> None:
    address = where.format(port=free_port(), folder=tmp_path)
    with pytest.raises(click.ClickException, match=r"no mosnpy answers at .*MOSNPY_ADMIN"):
        remote.ask(address, "/json")


def test_every_verb_can_be_imported_and_tells_what_it_does() -> None:
    runner = CliRunner()
    for verb in VERBS:
        done = runner.invoke(app, [verb, "--help"])
        assert done.exit_code == 0, done.output
        assert "Usage: app" in done.output or f" {verb} " in done.output


def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sources(("a", "b")) == ["a", "b"]
    with pytest.raises(click.UsageError, match="no configuration"):
        sources(())
    (tmp_path / "mosnpy.yaml").touch()
    assert sources(()) == ["mosnpy.yaml"]


def test_the_supervisors_command_shows_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program, arguments, environment = launch.command(Options(["a.yaml"], 3, pid_file="p"))
    assert arguments == [program, "-P", "-m", "mosnpy.server", "a.yaml"]
    chosen = json.loads(environment[launch.ENVIRONMENT])
    assert Options(["a.yaml"], **chosen) == Options(["a.yaml"], 3, pid_file="p")
