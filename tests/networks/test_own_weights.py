"""A factory that loads trained weights is told from one that draws them."""

from __future__ import annotations

import torch
from torch import nn

from modpm.core.networks import drawn_beside_loaded

TRAINED = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2)).state_dict()


def drawn() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))


def loaded() -> nn.Module:
    network = drawn()
    network.load_state_dict(TRAINED)
    return network


def loaded_but_for_its_head() -> nn.Module:
    network = loaded()
    network[1] = nn.Linear(8, 3)  # type: ignore[operator]  # a Sequential
    return network


def copied() -> nn.Module:
    network = drawn()
    network.load_state_dict(drawn().state_dict())
    return network


def seeded() -> nn.Module:
    torch.manual_seed(7)
    return drawn()


def test_weights_that_are_drawn_are_not_trained() -> None:
    assert drawn_beside_loaded(drawn) is None
    assert drawn_beside_loaded(copied) is None
    assert drawn_beside_loaded(seeded) is None


def test_weights_that_are_loaded_are_trained() -> None:
    assert drawn_beside_loaded(loaded) == frozenset()
    assert drawn_beside_loaded(loaded_but_for_its_head) == frozenset(("1.weight", "1.bias"))
