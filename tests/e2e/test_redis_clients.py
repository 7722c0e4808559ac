"""Real clients: redis-py, hiredis, redis-cli, redis-benchmark, ioredis. Each runs against both fronts."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import hiredis
import pytest
import redis
import redis.asyncio

from mosnpy.testing.front import Front
from mosnpy.testing.resp import encode

ROOT = Path(__file__).parents[2]


def host_and_port(front: Front) -> list[str]:
    assert not isinstance(front.address, str)
    return ["-h", front.address[0], "-p", str(front.address[1])]


def run(*words: str, stdin: bytes = b"", timeout: float = 60) -> str:
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed (Debian: apt install redis-tools)")
    done = subprocess.run(words, input=stdin, capture_output=True, timeout=timeout, check=False)
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout.decode()


class TestRedisPy:
    """Version 8 speaks RESP3 unless told otherwise."""

    @pytest.fixture(params=[2, 3])
    def client(self, front: Front, request: pytest.FixtureRequest) -> redis.Redis:
        return front.client(protocol=request.param, decode_responses=True)

    def test_types(self, client: Any) -> None:
        assert client.set("s", "v", ex=100) is True
        assert client.get("s") == "v"
        assert client.get("none") is None
        assert client.hset("h", mapping={"a": 1, "b": 2}) == 2
        assert client.hgetall("h") == {"a": "1", "b": "2"}
        assert client.sadd("set", "x", "y") == 2
        assert client.smembers("set") == {"x", "y"}
        assert client.zadd("z", {"m": 1.5, "n": 2}) == 2
        assert client.zscore("z", "m") == 1.5
        assert [(name, score) for name, score in client.zrange("z", 0, -1, withscores=True)] == [("m", 1.5), ("n", 2.0)]
        assert client.xadd("st", {"f": "v"}, id="1-1") == "1-1"
        assert client.geoadd("geo", (13.36, 38.11, "Palermo")) == 1
        assert client.exists("s", "h", "none") == 2
        assert client.config_get("maxmemory") == {"maxmemory": "0"}
        assert client.info("server")["redis_version"] == "7.0.15"
        assert client.time()[0] > 1_600_000_000

    def test_pipeline_and_transaction(self, client: Any) -> None:
        with client.pipeline(transaction=False) as pipe:
            for number in range(500):
                pipe.set(f"k{number}", number)
                pipe.get(f"k{number}")
            assert pipe.execute()[1::2] == [str(number) for number in range(500)]
        with client.pipeline(transaction=True) as pipe:
            pipe.incr("n").incr("n").get("n")
            assert pipe.execute() == [1, 2, "2"]

    def test_optimistic_lock(self, client: Any) -> None:
        client.set("n", 5)

        def raise_by_one(pipe: Any) -> None:
            current = int(pipe.get("n"))
            pipe.multi()
            pipe.set("n", current + 1)

        client.transaction(raise_by_one, "n")
        assert client.get("n") == "6"

    def test_error_inside_a_pipeline(self, client: Any) -> None:
        client.set("text", "x")
        with client.pipeline(transaction=False) as pipe:
            pipe.incr("text").get("text")
            results = pipe.execute(raise_on_error=False)
        assert isinstance(results[0], redis.ResponseError)
        assert results[1] == "x"

    def test_pubsub(self, client: Any) -> None:
        pubsub = client.pubsub()
        pubsub.subscribe("news")
        pubsub.psubscribe("n*")
        assert [pubsub.get_message(timeout=5)["type"] for _ in range(2)] == ["subscribe", "psubscribe"]
        assert client.publish("news", "extra") == 2
        assert sorted(pubsub.get_message(timeout=5)["type"] for _ in range(2)) == ["message", "pmessage"]
        pubsub.unsubscribe()
        pubsub.punsubscribe()
        pubsub.close()

    def test_scripts(self, client: Any) -> None:
        script = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
        assert script(keys=["n"], args=[5]) == 5
        assert script(keys=["n"], args=[5]) == 10

    def test_locks_and_blocking(self, client: Any) -> None:
        with client.lock("lock", timeout=10, blocking_timeout=5):
            assert client.get("lock")
        client.rpush("q", "a")
        assert list(client.blpop(["q"], timeout=1)) == ["q", "a"]
        assert client.blpop(["q"], timeout=0.05) is None

    def test_databases_and_names(self, front: Front) -> None:
        first = front.client(db=1, client_name="one", decode_responses=True)
        second = front.client(db=2, client_name="two", decode_responses=True)
        first.set("k", "1")
        assert second.get("k") is None
        assert (first.client_getname(), second.client_getname()) == ("one", "two")

    def test_streams_with_groups(self, client: Any) -> None:
        client.xgroup_create("st", "g", mkstream=True)
        client.xadd("st", {"f": "v"}, id="1-1")
        got = client.xreadgroup("g", "me", {"st": ">"}, count=1, block=10)
        assert got
        assert client.xack("st", "g", "1-1") == 1
        assert client.xinfo_stream("st")["length"] == 1

    def test_asyncio(self, front: Front) -> None:
        assert not isinstance(front.address, str)
        host, port = front.address

        async def many() -> list[int]:
            async with redis.asyncio.Redis(host=host, port=port) as client:
                return list(await asyncio.gather(*[client.incr("n") for _ in range(100)]))

        assert sorted(asyncio.run(many())) == list(range(1, 101))


def test_hiredis_parses_what_comes(front: Front) -> None:
    wire = front.wire(3)
    wire.send_raw(
        encode("HSET", "h", "a", "1")
        + encode("HGETALL", "h")
        + encode("ZADD", "z", "1.5", "m")
        + encode("ZSCORE", "z", "m")
        + encode("GET", "x")
    )
    reader, got = hiredis.Reader(), list[object]()
    while len(got) < 5:
        reader.feed(wire.socket.recv(7))
        while (reply := reader.gets()) is not False:
            got.append(reply)
    assert got == [1, {b"a": b"1"}, 1, 1.5, None]


class TestRedisCli:
    def test_commands(self, front: Front) -> None:
        assert run("redis-cli", *host_and_port(front), "SET", "a", "1") == "OK\n"
        assert run("redis-cli", *host_and_port(front), "-3", "HSET", "h", "f", "v") == "1\n"
        assert run("redis-cli", *host_and_port(front), "-3", "--json", "HGETALL", "h") == '{"f":"v"}\n'
        assert run("redis-cli", *host_and_port(front), "-n", "3", "GET", "a") == "\n"
        assert run("redis-cli", *host_and_port(front), "--no-raw", "LRANGE", "none", "0", "-1") == "(empty array)\n"
        assert run("redis-cli", *host_and_port(front), "-x", "SET", "stdin", stdin=b"from stdin") == "OK\n"

    def test_session_on_stdin(self, front: Front) -> None:
        script = b"SELECT 2\nMULTI\nSET a 1\nINCR a\nEXEC\nGET a\nSUBSCRIBE\n"
        out = run("redis-cli", *host_and_port(front), stdin=script)
        assert out.splitlines()[:6] == ["OK", "OK", "QUEUED", "QUEUED", "OK", "2"]

    def test_pipe(self, front: Front) -> None:
        """Mass insertion: everything in one stream, ended by an ECHO of a random text."""
        data = b"".join(encode("SET", f"key:{number}", "x" * (number % 300)) for number in range(20_000))
        out = run("redis-cli", *host_and_port(front), "--pipe", stdin=data)
        assert "errors: 0, replies: 20000" in out
        assert front.server.number("DBSIZE") == 20_000

    def test_scan_and_bigkeys(self, front: Front) -> None:
        front.wire().ask_all(*[("SET", f"key:{number}", "x") for number in range(500)])
        assert len(set(run("redis-cli", *host_and_port(front), "--scan", "--pattern", "key:*").split())) == 500
        assert "Sampled 500 keys" in run("redis-cli", *host_and_port(front), "--bigkeys")

    def test_latency_and_eval(self, front: Front) -> None:
        path = front.server.directory / "script.lua"
        path.write_text("return {KEYS[1], ARGV[1]}")
        assert run("redis-cli", *host_and_port(front), "--eval", str(path), "k", ",", "v") == "k\nv\n"


class TestRedisBenchmark:
    @pytest.mark.parametrize("depth", [1, 16])
    def test_default_tests_run_without_errors(self, front: Front, depth: int) -> None:
        out = run("redis-benchmark", *host_and_port(front), "-n", "5000", "-c", "20", "-P", str(depth), "-q")
        for name in (
            "PING_INLINE",
            "PING_MBULK",
            "SET",
            "GET",
            "INCR",
            "LPUSH",
            "LRANGE_600",
            "MSET",
            "SPOP",
            "ZADD",
            "HSET",
        ):
            assert re.search(rf"^{name}\b.*requests per second", out.replace("\r", "\n"), re.MULTILINE), (name, out)
        assert "rror" not in out

    def test_resp3_threads_and_random_keys(self, front: Front) -> None:
        out = run(
            "redis-benchmark",
            *host_and_port(front),
            "-n",
            "20000",
            "-c",
            "50",
            "-r",
            "1000",
            "-3",
            "-t",
            "set,get,hset",
            "--threads",
            "2",
            "-q",
        )
        assert "rror" not in out


def node_modules() -> Path:
    """Where `make test` puts ioredis; without it the test says how to get it."""
    folder = ROOT / "build" / "node" / "node_modules"
    if not (folder / "ioredis").is_dir():
        pytest.skip("ioredis is not installed (make node)")
    return folder


def test_ioredis(front: Front) -> None:
    assert not isinstance(front.address, str)
    if shutil.which("node") is None:
        pytest.skip("node is not installed (Debian: apt install nodejs)")
    script = Path(__file__).parents[1] / "data" / "redis" / "ioredis_client.js"
    done = subprocess.run(
        ["node", str(script), front.address[0], str(front.address[1])], capture_output=True, timeout=40, check=False,
        env={**os.environ, "NODE_PATH": str(node_modules())},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert json.loads(done.stdout) == {
        "get": "hello", "missing": None, "hash": {"a": "1", "b": "2"}, "pipeline": ",".join(str(number) for number in range(1, 101)),
        "multi": [[None, "OK"], [None, 2]], "script": [["key", 42], ["key", 8]], "buffer": "00ff0d0a", "scan": 50,
        "error": "ERR value is not an integer or out of range", "subscribed": 1, "receivers": 1, "message": ["news", "extra"],
        "after": "hello", "popped": ["queue", "job"], "databases": ["hello", "in three"],
    }  # fmt: skip
