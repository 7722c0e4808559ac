"""The verbs of the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import mosnpy as package
from mosnpy import __version__
from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import Wire
from mosnpy.testing.waiting import FACTOR, free_port, until

Start = Callable[..., ProxyProcess]
pytestmark = pytest.mark.usefixtures("built")

GOOD = """\
version: 1
listeners:
  cache: {bind: 127.0.0.1:6380, protocol: redis, to: main}
upstreams:
  main: {protocol: redis, endpoints: [127.0.0.1:6379], auth: {password: hush-hush}}
"""
BAD = GOOD.replace("to: main", "to: mian, timout: 3s")


def mosnpy(
    *arguments: str, timeout: float = 60, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mosnpy", *arguments], capture_output=True, text=True, timeout=timeout * FACTOR,
        env={**os.environ, "PYTHONPATH": str(Path(package.__file__).parent.parent), **environment}, cwd=cwd, check=False,
    )  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mosnpy.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def proxy(start_proxy: Start, main_server: RedisServer) -> ProxyProcess:
    main_server.clean()
    return start_proxy({
        "listeners": {"cache": {"bind": f"127.0.0.1:{free_port()}", "protocol": "redis", "to": "main"}},
        "upstreams": {"main": {"protocol": "redis", "endpoints": [main_server.endpoint]}},
    })  # fmt: skip


class TestCheck:
    def test_good(self, file: Path) -> None:
        done = mosnpy("check", str(file))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{file}: ok, 1 listener, 1 route, 1 upstream, 1 endpoint\n"

    def test_all_faults_at_once_with_place_and_caret(self, file: Path) -> None:
        file.write_text(BAD)
        done = mosnpy("check", str(file))
        assert done.returncode == 1
        assert f"{file}:3:" in done.stdout
        assert "unknown upstream 'mian', did you mean 'main'?" in done.stdout
        assert "unknown key 'timout'" in done.stdout
        assert re.search(r"\| +\^+\n", done.stdout)
        assert "2 errors" in done.stdout

    def test_json(self, file: Path) -> None:
        file.write_text(BAD)
        done = mosnpy("check", "-o", "json", str(file))
        shown = json.loads(done.stdout)
        assert (done.returncode, shown["ok"], len(shown["faults"])) == (1, False, 2)
        assert all(fault["line"] == 3 for fault in shown["faults"])

    def test_the_file_that_is_here(self, file: Path) -> None:
        assert mosnpy("check", cwd=file.parent).returncode == 0
        done = mosnpy("check", cwd=file.parent.parent)
        assert (done.returncode, "no configuration" in done.stderr) == (1, True)

    def test_effective(self, file: Path) -> None:
        done = mosnpy("check", "--show-effective", str(file))
        assert done.returncode == 0
        assert "drain_timeout: " in done.stdout
        assert "hush-hush" not in done.stdout
        effective = json.loads(mosnpy("check", "--show-effective", "-o", "json", str(file)).stdout)["effective"]
        assert effective["workers"] == 1

    def test_a_name_nobody_knows(self, file: Path) -> None:
        file.write_text(GOOD.replace("127.0.0.1:6379", "no-such-host.invalid:6379"))
        done = mosnpy("check", str(file))
        assert (done.returncode, "no-such-host.invalid" in done.stdout) == (1, True)


def test_schema() -> None:
    done = mosnpy("schema")
    assert done.returncode == 0
    assert "listeners" in json.loads(done.stdout)["properties"]


class TestVersion:
    def test_short(self) -> None:
        assert mosnpy("version").stdout == f"mosnpy {__version__}\n"
        assert mosnpy("--version").stdout.strip().endswith(__version__)

    def test_long(self) -> None:
        text = mosnpy("version", "-v").stdout
        for word in ("python", "uvloop", "pydantic", "libyaml", "codecs", "redis", "tcp", "_core"):
            assert word in text


class TestUsage:
    def test_help_names_every_verb_and_is_quick(self) -> None:
        started = time.process_time(), os.times().children_user
        done = mosnpy("--help")
        assert done.returncode == 0
        for verb in ("run", "proxy", "demo", "check", "schema", "status", "stats", "reload", "drain", "version"):
            assert re.search(rf"^  {verb} ", done.stdout, re.MULTILINE)
            assert mosnpy(verb, "--help").returncode == 0
        assert started[0] >= 0

    @pytest.mark.parametrize("verb", ["run", "stats", "reload"])
    def test_help_imports_nothing_heavy(self, verb: str) -> None:
        program = (
            "import sys; sys.argv = ['mosnpy', sys.argv[1], '--help']\n"
            "try:\n    import mosnpy.cli; mosnpy.cli.main()\n"
            "except SystemExit: pass\n"
            "print(sorted({'pydantic', 'yaml', 'aiohttp', 'asyncio', 'uvloop', 'msgpack'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, verb], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr

    def test_mistakes(self) -> None:
        done = mosnpy("relaod")
        assert (done.returncode, "did you mean 'reload'?" in done.stderr) == (1, True)
        assert mosnpy("run", "--wrokers", "3").returncode == 1

    def test_nobody_there(self) -> None:
        for verb in ("status", "stats", "reload", "drain"):
            done = mosnpy(verb, MOSNPY_ADMIN=f"127.0.0.1:{free_port()}")
            assert done.returncode == 1
            assert "no mosnpy answers at 127.0.0.1:" in done.stderr
            assert "Traceback" not in done.stderr


class TestRunning:
    def test_status(self, proxy: ProxyProcess) -> None:
        done = mosnpy("status", "--admin", f"127.0.0.1:{proxy.admin_port}")
        assert done.returncode == 0
        assert f"pid {proxy.pid}" in done.stdout
        assert "WORKER" in done.stdout
        assert "LISTENER" in done.stdout
        assert "ENDPOINT" in done.stdout
        shown = json.loads(mosnpy("status", "-o", "json", MOSNPY_ADMIN=f"127.0.0.1:{proxy.admin_port}").stdout)
        assert (shown["ready"], shown["upstreams"][0]["name"]) == (True, "main")

    def test_stats(self, proxy: ProxyProcess) -> None:
        host, port = proxy.config["listeners"]["cache"]["bind"].split(":")
        with Wire((host, int(port))) as wire:
            wire.ok("SET", "a", "b")
        admin = f"127.0.0.1:{proxy.admin_port}"
        done = mosnpy("stats", "--admin", admin)
        assert done.returncode == 0
        assert "redis.SET" in done.stdout
        assert (
            json.loads(mosnpy("stats", "-o", "json", "--admin", admin).stdout)["listeners"]["cache"]["requests_total"]
            == 1
        )
        assert (
            "# TYPE mosnpy_listener_requests_total counter"
            in mosnpy("stats", "-o", "prometheus", "--admin", admin).stdout
        )

    def test_reload(self, proxy: ProxyProcess) -> None:
        admin = f"127.0.0.1:{proxy.admin_port}"
        done = mosnpy("reload", "--admin", admin)
        assert (done.returncode, done.stdout) == (0, "generation 2 is in force\n")
        proxy.file.write_text(proxy.file.read_text().replace("to: main", "to: mian"))
        done = mosnpy("reload", "--admin", admin)
        assert done.returncode == 1
        assert "did you mean 'main'?" in done.stderr
        assert "generation 2 stays in force" in done.stderr

    def test_drain(self, proxy: ProxyProcess) -> None:
        done = mosnpy("drain", "--wait", "--admin", f"127.0.0.1:{proxy.admin_port}")
        assert (done.returncode, done.stdout) == (0, "draining\nended\n")
        assert proxy.process is not None
        assert proxy.process.wait(10) == 0


class TestOneLine:
    def test_it_prints_the_configuration_and_runs_it(self, main_server: RedisServer, tmp_path: Path) -> None:
        main_server.clean()
        port, admin = free_port(), free_port()
        with open(tmp_path / "out", "wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "mosnpy", "proxy", "--from", f"redis://127.0.0.1:{port}", "--to",
                 f"redis://harness:harness@{main_server.endpoint}", "--admin", f"127.0.0.1:{admin}"],
                stdout=out, stderr=out,
            )  # fmt: skip
        try:
            until(lambda: b"ready:" in (tmp_path / "out").read_bytes(), "the proxy")
            with Wire(("127.0.0.1", port)) as wire:
                wire.ok("SET", "a", "b")
            process.send_signal(signal.SIGHUP)  # its configuration is no file, and can still be read again
            until(lambda: b"reload done" in (tmp_path / "out").read_bytes(), "a reload")
        finally:
            process.terminate()
            assert process.wait(20) == 0
        printed = (tmp_path / "out").read_text()
        assert printed.startswith("version: 1\n")
        assert f"bind: 127.0.0.1:{port}" in printed
        assert "password: harness" not in printed

    def test_dry_run_can_be_checked(self, tmp_path: Path) -> None:
        done = mosnpy(
            "proxy",
            "-n",
            "--admin",
            "off",
            "--from",
            "redis://:6380",
            "--to",
            "redis://127.0.0.1:1",
            "--to",
            "redis://127.0.0.1:2",
        )
        assert done.returncode == 0
        (tmp_path / "a.yaml").write_text(done.stdout)
        assert mosnpy("check", str(tmp_path / "a.yaml")).returncode == 0

    def test_mistakes(self) -> None:
        done = mosnpy("proxy", "--from", "redis://:6380", "--to", "tcp://127.0.0.1:1")
        assert done.returncode == 1
        assert "the same protocol" in done.stderr


class TestDemo:
    def demo(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return mosnpy("demo", "--seconds", "2.5", *arguments, **environment)

    def check(self, done: subprocess.CompletedProcess[str]) -> None:
        assert done.returncode == 0, done.stdout + done.stderr
        found = re.search(r"(\d+) replies in .* every one checked: (\d+) wrong, (\d+) errors", done.stdout)
        assert found, done.stdout
        assert int(found[1]) > 1000
        assert (int(found[2]), int(found[3])) == (0, 0)
        for word in ("UPSTREAM", "P99", "sessions", "healthy", "MGET", "\x1b["):
            assert (word in done.stdout) == (word != "\x1b["), word  # no escape codes without a terminal
        for version in ("HTTP/1", "HTTP/2"):
            found_statuses = re.findall(rf"{version} /\S+ +(\d+) ", done.stdout)
            assert found_statuses == ["200", "200", "301", "403"]

    def test_with_real_servers(self, main_server: RedisServer) -> None:
        done = self.demo()
        self.check(done)
        assert "(redis-server)" in done.stdout

    def test_with_its_own_servers(self, tmp_path: Path) -> None:
        done = self.demo(PATH=str(tmp_path))
        self.check(done)
        assert "in-memory stand-ins" in done.stdout

    def test_nothing_is_left_behind(self, tmp_path: Path) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "mosnpy", "demo", "--seconds", "60"], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if "LISTENER" in line:
                break
        import psutil

        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 5
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0
        for each in family:
            assert not each.is_running() or each.status() == psutil.STATUS_ZOMBIE
        assert list(tmp_path.iterdir()) == []
