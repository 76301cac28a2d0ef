"""Each operator is one place, and is tried where all are."""

from __future__ import annotations

import inspect
from collections import Counter

import torch
from tests.graph import zoo
from tests.slicing import random_networks

from modpm.core.graph.operators import (
    activation,
    arithmetic,
    convolution,
    normalization,
    pooling,
    reshaping,
    rounding,
)
from modpm.core.graph.operators.table import ATEN, OPERATORS

FAMILIES = (convolution, normalization, activation, arithmetic, pooling, reshaping, rounding)

WRITTEN_BY_CUTTING = {"constant", "identity"}
"""What stands for what was cut, and no call of torch is."""


def test_an_operator_and_a_call_belong_to_one_family_alone() -> None:
    for table in ("OPERATORS", "ATEN"):
        names = Counter(name for family in FAMILIES for name in getattr(family, table))
        assert set(names.values()) == {1}
    assert len(OPERATORS) == sum(len(family.OPERATORS) for family in FAMILIES)


def test_every_call_that_is_read_is_one_of_torchs_own() -> None:
    assert [name for name in ATEN if not hasattr(torch.ops.aten, name)] == []


def test_every_operator_is_cut_in_random_networks() -> None:
    source = inspect.getsource(random_networks)
    assert [name for name in OPERATORS if f'"{name}"' not in source] == []


def test_every_operator_is_read_from_a_network_of_the_zoo() -> None:
    read = {node.operator for name in zoo.ZOO for node in zoo.traced(name)[0].nodes}
    assert set(OPERATORS) - read <= WRITTEN_BY_CUTTING
