"""Random clients of every kind at once, each reply predicted: whatever one does must never show at another."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from mosnpy.testing.front import Front
from mosnpy.testing.model_client import ModelClient
from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.waiting import free_port


def play(
    front: Front,
    seed: int,
    *,
    clients: int = 25,
    rounds: int = 40,
    vanish: float = 0.02,
    databases: int = 4,
    between: Callable[[], object] = lambda: None,
) -> None:
    """All clients write their pipelines before any reply is read, so they are under way together; `between` is called
    while they are."""
    dice = random.Random(seed)
    players = [ModelClient(front.address, f"c{number}", seed * 1000 + number, databases) for number in range(clients)]
    for _ in range(rounds):
        active = [player for player in players if dice.random() < 0.8]
        for player in active:
            player.send(dice.choice([1, 1, 2, 5, 12]))
        between()
        dice.shuffle(active)
        for player in active:
            player.receive()
        for player in players:
            if dice.random() < vanish:
                player.vanish()


@pytest.mark.parametrize("seed", range(6))
def test_random_clients_see_only_their_own_history(front: Front, seed: int) -> None:
    play(front, seed)


@pytest.mark.parametrize("seed", range(5))
def test_random_clients_over_shards(one_or_shards: Front, seed: int) -> None:
    play(one_or_shards, seed + 100)


@pytest.mark.parametrize("seed", range(2))
def test_random_clients_that_vanish_all_the_time(front: Front, seed: int) -> None:
    play(front, seed + 200, vanish=0.3)


def test_random_clients_with_long_pipelines(front: Front) -> None:
    dice = random.Random(5)
    players = [ModelClient(front.address, f"p{number}", number) for number in range(8)]
    for _ in range(6):
        for player in players:
            player.send(dice.choice([50, 150]))
        for player in players:
            player.receive()


@pytest.mark.parametrize("seed", range(2))
def test_random_clients_before_a_server_without_resp3(old_proxied: Front, seed: int) -> None:
    play(old_proxied, seed + 300)


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 2},
        {"pool": {"connections": 4}},
        {"pool": {"max_connections": 40}},
        {"resp3": "off"},
        {"busy_poll": "50us"},
    ],
    ids=["two workers", "four shared connections", "few connections", "RESP2 upstream", "busy poll"],
)
def test_random_clients_in_other_setups(
    start_proxy: Callable[..., ProxyProcess], main_server: RedisServer, options: dict[str, Any]
) -> None:
    main_server.clean()
    port = free_port()
    upstream = {key: value for key, value in options.items() if key in ("pool", "resp3")}
    proxy = start_proxy({
        **{key: value for key, value in options.items() if key not in upstream},
        "listeners": {"front": {"bind": f"127.0.0.1:{port}", "protocol": "redis", "to": "main"}},
        "upstreams": {"main": {"protocol": "redis", "endpoints": [main_server.endpoint], **upstream}},
    })  # fmt: skip
    play(Front(("127.0.0.1", port), [main_server], proxy), 400)


def test_random_clients_while_the_configuration_changes(
    start_proxy: Callable[..., ProxyProcess], main_server: RedisServer
) -> None:
    """Every round a new plan, alternating between two routings that lead to the same server: nobody notices."""
    main_server.clean()
    port = free_port()
    config: dict[str, Any] = {
        "listeners": {"front": {"bind": f"127.0.0.1:{port}", "protocol": "redis", "routes": [{"to": "main"}]}},
        "upstreams": {
            "main": {"protocol": "redis", "endpoints": [main_server.endpoint]},
            "same": {"protocol": "redis", "endpoints": [f"unix:{main_server.path}"]},
        },
    }
    proxy = start_proxy(config)
    turns = iter(range(1000))

    def reload() -> None:
        turn = next(turns)
        if turn % 4:
            return
        routes: list[dict[str, Any]] = [{"to": "main"}]
        if turn % 8:
            routes.insert(0, {"match": {"key": f"unused{turn}:*"}, "to": "same"})
        proxy.write({**proxy.config, "listeners": {"front": {**config["listeners"]["front"], "routes": routes}}})
        assert proxy.admin("/reload", "POST")[0] == 200

    play(Front(("127.0.0.1", port), [main_server], proxy), 500, rounds=60, between=reload)
