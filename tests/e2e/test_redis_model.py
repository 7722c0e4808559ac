"""Random clients of every kind at once, each reply predicted: whatever one does must never show at another."""

from __future__ import annotations

import random

import pytest

from mosnpy.testing.front import Front
from mosnpy.testing.model_client import ModelClient


def play(
    front: Front, seed: int, *, clients: int = 25, rounds: int = 40, vanish: float = 0.02, databases: int = 4
) -> None:
    """All clients write their pipelines before any reply is read, so they are under way together."""
    dice = random.Random(seed)
    players = [ModelClient(front.address, f"c{number}", seed * 1000 + number, databases) for number in range(clients)]
    for _ in range(rounds):
        active = [player for player in players if dice.random() < 0.8]
        for player in active:
            player.send(dice.choice([1, 1, 2, 5, 12]))
        dice.shuffle(active)
        for player in active:
            player.receive()
        for player in players:
            if dice.random() < vanish:
                player.vanish()


@pytest.mark.parametrize("seed", range(6))
def test_random_clients_see_only_their_own_history(front: Front, seed: int) -> None:
    play(front, seed)


@pytest.mark.parametrize("seed", range(3))
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
