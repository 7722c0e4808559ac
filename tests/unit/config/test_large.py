"""Large configurations: the cost of checking grows with their size, not with its square."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from mosnpy.config import LocalRegistry, check_text, compile_plan, load_text


def routes(count: int) -> str:
    kinds = (
        '      - {{name: r{i}, match: {{redis.key: "tenant-{i}:*", access: read}}, to: main, timeout: 250ms}}',
        "      - {{match: {{key: [a{i}, b{i}], command: [GET, SET]}}, split: {{main: 95, canary: 5}}}}",
        '      - {{when: \'redis.key.startsWith("w{i}:") && (access == "write" || db > 1)\', to: main}}',
        '      - {{match: {{key: "~^x{i}-[0-9]+$"}}, to: canary, mirror: {{to: main, percent: 5}}}}',
    )
    rows = [kinds[i % 4].format(i=i) for i in range(count)]
    body = "\n".join(rows)
    return f"""version: 1
listeners:
  cache:
    bind: 127.0.0.1:6380
    protocol: redis
    routes:
{body}
      - to: main
upstreams:
  main: {{protocol: redis, endpoints: [127.0.0.1:6379]}}
  canary: {{protocol: redis, endpoints: [127.0.0.1:6381]}}
"""


def hosts(count: int) -> str:
    """Virtual hosts with ten routes each."""
    rows = []
    for i in range(count):
        rows.append(f"      - match: {{host: h{i}.example.com}}\n        routes:")
        rows += [f"          - {{match: {{path: /p{k}/*}}, to: main}}" for k in range(10)]
    body = "\n".join(rows)
    head = "version: 1\nlisteners:\n  web:\n    bind: 127.0.0.1:8080\n    protocol: http\n    routes:\n"
    return f"{head}{body}\n      - to: main\nupstreams:\n  main: {{protocol: http1, endpoints: [127.0.0.1:9000]}}\n"


def cpu(text: str) -> float:
    start = time.process_time()
    assert check_text(text) == []
    return time.process_time() - start


def test_a_thousand_routes_are_checked_in_well_under_a_second() -> None:
    cpu(routes(10))  # imports, caches
    assert cpu(routes(1000)) < 0.9


def test_ten_times_the_routes_take_about_ten_times_as_long() -> None:
    cpu(routes(10))
    small, large = min(cpu(routes(500)) for _ in range(2)), cpu(routes(5000))
    assert large < small * 25


def test_a_thousand_virtual_hosts_with_ten_routes_each() -> None:
    cpu(hosts(10))
    assert cpu(hosts(1000)) < 3.0
    small, large = (min(cpu(hosts(count)) for _ in range(2)) for count in (100, 1000))
    assert large < small * 25
    plan = compile_plan(load_text(hosts(1000)), LocalRegistry(), 1)
    assert len(plan) < 4_000_000


def test_many_routes_without_a_name_are_counted_together() -> None:
    registry = LocalRegistry({"route": 2, "worker": 0})
    compile_plan(load_text(hosts(200)), registry, 1)
    counted = [name for kind, name in registry.bases if kind == "route"]
    assert (len(counted), counted[-1]) == (1001, "web/web.others")


def test_ten_thousand_routes_compile() -> None:
    plan = compile_plan(load_text(routes(10_000)), LocalRegistry(), 1)
    assert 500_000 < len(plan) < 3_000_000


def test_faults_in_every_route_are_all_found() -> None:
    found = check_text(routes(400).replace("to: main,", "to: mian,"))
    assert sum("unknown upstream 'mian'" in f.message for f in found) == 200


@pytest.mark.parametrize("module", ["mosnpy.config", "mosnpy.errors", "mosnpy.config.report", "mosnpy.config.loader"])
def test_workers_may_import_it_without_paying_for_pydantic(module: str) -> None:
    code = f"import sys, {module}; print('pydantic' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
