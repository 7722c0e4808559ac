"""The admin API over HTTP, served by aiohttp in the controller.

It has no passwords and belongs on a loopback address or a Unix socket. Against web pages in a browser on the same machine
it defends itself: the Host header must be an IP address, localhost or the configured name (a page of evil.example whose
name was pointed at 127.0.0.1 still says evil.example), whatever changes something is a POST, and a POST that says it
comes from a page elsewhere (Origin) is refused.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from mosnpy.admin.state import AdminState, clusters_text
from mosnpy.observe.prometheus import CONTENT_TYPE, render
from mosnpy.observe.snapshot import as_json
from mosnpy.upstream.health import drain, undrain

STATE = web.AppKey("state", AdminState)

INDEX = """mosnpy admin API
  GET  /ready              200 when new clients are welcome, else 503 and the reasons
  GET  /status             processes, listeners, the latest reload
  GET  /stats              counters of all workers, JSON
  GET  /metrics            the same for Prometheus
  GET  /stats/prometheus   the same under its other name
  GET  /clusters           upstreams and their endpoints (?format=text)
  GET  /config             the configuration in force, defaults included, secrets not (?format=yaml)
  POST /reload             load the configuration anew; 422 and the faults when it can't be taken
  POST /drain              stop accepting, finish what is in flight, exit
  POST /health/fail        take an endpoint out: ?upstream=…&endpoint=…
  POST /health/ok          put it back
"""


def build(state: AdminState, own_host: str = "") -> web.Application:
    """`own_host`: the host part of the bind address, accepted in Host beside the usual ones."""
    app = web.Application(middlewares=[_guard(own_host)])
    app[STATE] = state
    app.router.add_get("/", _index)
    app.router.add_get("/ready", _ready)
    app.router.add_get("/status", _status)
    app.router.add_get("/stats", _stats)
    for path in ("/metrics", "/stats/prometheus"):
        app.router.add_get(path, _prometheus)
    app.router.add_get("/clusters", _clusters)
    app.router.add_get("/config", _config)
    app.router.add_post("/reload", _reload)
    app.router.add_post("/drain", _drain)
    app.router.add_post("/health/{verdict:ok|fail}", _health)
    return app


def _guard(own_host: str) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        if host and not _ours(host, own_host):  # browsers always send one; HTTP/1.0 and Unix sockets need not
            return _json({"error": f"this is not {host!r}"}, 403)
        origin = request.headers.get("Origin")
        if origin is not None and request.method != "GET" and not _ours(urlsplit(origin).netloc, own_host):
            return _json({"error": f"not from {origin!r}"}, 403)
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return web.Response(text=f"{request.path} is none of these\n\n{INDEX}", status=404)

    return guard


def _ours(netloc: str, own_host: str) -> bool:
    try:
        host = urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return False
    if host and host in ("localhost", own_host.lower()):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _json(value: object, status: int = 200) -> web.Response:
    return web.json_response(value, status=status, dumps=lambda each: json.dumps(each, indent=2) + "\n")


async def _index(request: web.Request) -> web.Response:
    return web.Response(text=INDEX)


async def _ready(request: web.Request) -> web.Response:
    state = request.app[STATE]
    ready, reasons = state.ready()
    body = {"ready": ready, "reasons": reasons, "generation": state.status.generation}
    return _json(body, 200 if ready else 503)


async def _status(request: web.Request) -> web.Response:
    return _json(request.app[STATE].status_json())


async def _stats(request: web.Request) -> web.Response:
    return _json(as_json(request.app[STATE].snapshot()))


async def _prometheus(request: web.Request) -> web.Response:
    state = request.app[STATE]
    text = render(state.snapshot(), state.gauges())
    return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})


async def _clusters(request: web.Request) -> web.Response:
    clusters = request.app[STATE].clusters()
    if request.query.get("format") == "text":
        return web.Response(text=clusters_text(clusters))
    return _json({"upstreams": clusters})


async def _config(request: web.Request) -> web.Response:
    effective = request.app[STATE].loaded.effective
    # In a thread, and for those who ask: for 100,000 routes it takes seconds, and 27 MB that nobody need keep.
    if request.query.get("format") == "yaml":
        return web.Response(text=await asyncio.to_thread(_as_yaml, effective))
    return web.Response(text=await asyncio.to_thread(_indented, effective), content_type="application/json")


def _indented(effective: str) -> str:
    return json.dumps(json.loads(effective), indent=2) + "\n"


def _as_yaml(effective: str) -> str:
    from mosnpy.config import to_yaml  # with PyYAML, which the controller needs for nothing else

    return to_yaml(json.loads(effective))


async def _reload(request: web.Request) -> web.Response:
    done = await request.app[STATE].reload()
    return _json({"ok": done.ok, "generation": done.generation, "faults": done.faults}, 200 if done.ok else 422)


async def _drain(request: web.Request) -> web.Response:
    request.app[STATE].drain()
    return _json({"ok": True, "draining": True}, 202)


async def _health(request: web.Request) -> web.Response:
    state = request.app[STATE]
    place = request.query.get("upstream", ""), request.query.get("endpoint", "")
    endpoint = state.find(*place)
    if endpoint is None:
        return _json({"ok": False, "error": f"no endpoint {place[1]!r} in upstream {place[0]!r}"}, 404)
    if request.match_info["verdict"] == "fail":
        drain(state.health, endpoint["slot"])
    else:
        undrain(state.health, endpoint["slot"], state.findings.get(place))
    return _json({"ok": True})
