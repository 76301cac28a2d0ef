"""A machine is measured by layers of all kinds, each of which runs."""

from __future__ import annotations

import pytest
import torch

from modpm.core.costs import layers, machine
from modpm.core.estimating.machine import Machine, estimate, this_host
from modpm.core.estimating.work import BATCH_SIZES, kinds, works
from modpm.core.graph import infer_shapes


@pytest.mark.parametrize("size", BATCH_SIZES)
def test_layers_of_all_kinds_are_drawn_the_same_each_time(size: int) -> None:
    drawn = list(layers.stages(size))
    assert drawn == list(layers.stages(size))
    assert {kind for stage in drawn for kind in stage.kinds} == kinds(size) - {"image"}
    for stage in drawn:
        for graph in stage.graphs:
            infer_shapes(graph)
            steps = works(graph, size)
            assert steps[-1].kind in stage.kinds
            assert max(max(step.read, step.written) for step in steps) <= layers.LARGEST_VALUE


@pytest.mark.parametrize("size", BATCH_SIZES)
def test_what_a_stage_needs_was_fitted_before(size: int) -> None:
    known: set[str] = set()
    for stage in layers.stages(size):
        known |= {*stage.kinds}
        assert {step.kind for graph in stage.graphs for step in works(graph, size)} <= known


def test_a_measured_machine_gives_times_of_the_right_size(monkeypatch: pytest.MonkeyPatch) -> None:
    few = [(kind, min(n, 6), draw) for kind, n, draw in layers._KINDS]
    monkeypatch.setattr(layers, "_KINDS", few)
    monkeypatch.setattr(layers, "LARGEST_MACS", 2**24)
    monkeypatch.setattr(layers, "LARGEST_VALUE", 2**18)
    monkeypatch.setattr(machine, "LARGEST_VALUE", 2**18)
    monkeypatch.setattr(machine, "_SIDES", (4, 8, 16, 32))
    monkeypatch.setattr(machine, "ROUNDS", 1)
    monkeypatch.setattr(machine, "SECONDS", 0.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # the processor's time counts then
    found = Machine(host=this_host(), n_threads=1, rates=machine.measure_rates())
    graphs = [layers._convolution((256, 16, 16), n_kernels, 3, 1) for n_kernels in (4, 256)]
    quick, slow = (estimate([graph], found) for graph in graphs)
    for less, more in zip(quick, slow, strict=True):
        assert 0 < less.seconds < more.seconds
