"""The automatic choice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import ComposedAccuracy
from modpm.core.modularizing import choice
from modpm.core.modularizing.choice import TradeOff, choose
from modpm.core.modularizing.fitting import compose_all
from modpm.core.modularizing.modularize import modularize
from modpm.core.training import evidence
from modpm.core.training.inference import accuracy

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.origins.origin import OriginNetwork
    from modpm.core.training.run import Run


def point(threshold: float, n_parameters: float, lost: float, budget: float) -> TradeOff:
    return TradeOff(
        threshold=threshold,
        retention=None,
        kernel_retention_rate=0.5,
        n_parameters=n_parameters,
        macs=1.0,
        fused_accuracy=0.9,
        independent_accuracy=0.9,
        strategy="fused",
        accuracy=0.9 - lost / 100,
        accuracy_loss=lost,
        is_within_budget=lost <= budget,
    )


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.floats(-2, 4)), min_size=1, max_size=6),
    st.floats(0, 3),
)
def test_the_smallest_modules_within_the_budget_are_chosen(
    values: list[tuple[int, float]], budget: float
) -> None:
    curve = [point(0.5 + i / 20, size, lost, budget) for i, (size, lost) in enumerate(values)]
    within = [one for one in curve if one.accuracy_loss <= budget]
    if not within:
        with pytest.raises(ModpmError) as refusal:
            choose(curve, budget)
        assert refusal.value.code == "budget-not-met"
        return
    chosen = choose(curve, budget)
    assert chosen in within
    assert chosen.n_parameters == min(one.n_parameters for one in within)
    rivals = [one for one in within if one.n_parameters == chosen.n_parameters]
    assert chosen.accuracy == max(one.accuracy for one in rivals)


def test_a_budget_that_no_threshold_meets_is_explained_with_the_whole_curve() -> None:
    curve = [point(0.5, 9, 2.345, 1.0), point(0.9, 3, 7.0, 1.0)]
    with pytest.raises(ModpmError) as refusal:
        choose(curve, 1.0)
    assert refusal.value.why is not None
    assert "threshold 0.9: 7.00 points lost" in refusal.value.why
    assert refusal.value.hint is not None
    assert "--budget 2.35" in refusal.value.hint


def test_auto_chooses_on_held_out_images_without_reading_the_test_split(
    small_run: Run, origin: OriginNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "THRESHOLDS", (0.5, 0.9))
    read: list[str] = []
    load = type(small_run).data

    def remember(run: Run, split: str) -> object:
        read.append(split)
        return load(run, split)

    monkeypatch.setattr(type(small_run), "data", remember)
    made = modularize(
        small_run, output=tmp_path / "dist", threshold="auto", budget=100, measure_on="held-out"
    )
    assert "test" not in read
    assert made.cutoff.threshold in (0.5, 0.9)
    assert [one.threshold for one in made.curve] == [0.5, 0.9]
    labels = origin.validation.labels
    whole = accuracy(origin.validation_logits, labels)
    for one in made.curve:
        taken = one.fused_accuracy if one.strategy == "fused" else one.independent_accuracy
        assert one.accuracy == taken
        assert one.accuracy_loss == pytest.approx(100 * (whole - taken))
    sizes = [one.n_parameters for one in made.curve]
    chosen = (0.5, 0.9).index(made.cutoff.threshold or 0)
    assert min(sizes) == sizes[chosen]
    assert (tmp_path / "dist" / "modules.json").is_file()


@pytest.mark.parametrize("position", [0, 1])
def test_what_is_recorded_of_composing_is_of_the_size_that_was_chosen(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, position: int
) -> None:
    monkeypatch.setattr(evidence, "THRESHOLDS", (0.5, 0.9))
    given = [ComposedAccuracy(split="a", n=9, fused=share, independent=0.5) for share in (0.7, 0.8)]
    left = iter(given)
    monkeypatch.setattr(choice, "compose_all", lambda *of: (next(left), compose_all(*of)[1]))
    monkeypatch.setattr(choice, "choose", lambda curve, _budget: curve[position])
    made = modularize(small_run, output=tmp_path / "dist", threshold="auto", measure_on="held-out")
    assert [one.fused_accuracy for one in made.curve] == [0.7, 0.8]
    assert all(manifest.composed == given[position] for manifest in made.manifests)


def test_a_budget_that_is_not_met_leaves_nothing_behind(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "THRESHOLDS", (0.9,))
    losing = replace(point(0.9, 3, 7.0, 1.0), is_within_budget=False)
    monkeypatch.setattr(choice.Search, "_trade_off", lambda *_arguments: losing)
    with pytest.raises(ModpmError):
        modularize(small_run, output=tmp_path / "dist", threshold="auto")
    assert list(tmp_path.iterdir()) == []


def test_accuracy_of_no_images_is_a_number() -> None:
    assert accuracy(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)) == 0.0
