"""What says which kernels a class retains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.modularizing.small_run import train_small

from modpm.core.errors import ModpmError
from modpm.core.modularizing.criterion import Criterion, candidates, given_criterion
from modpm.core.modularizing.modularize import modularize

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.training.run import Run


@pytest.fixture(scope="module")
def ranked_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run that has ranked its kernels."""
    folder = tmp_path_factory.mktemp("ranked") / "run"
    return train_small(folder, method="mwt+views", retention=0.5, epochs=3)


def test_a_run_is_cut_by_what_it_was_trained_for(small_run: Run, ranked_run: Run) -> None:
    assert given_criterion(small_run, None, None) == Criterion(threshold=0.9)
    assert given_criterion(ranked_run, None, None) == Criterion(retention=0.5)
    assert given_criterion(ranked_run, 0.7, None) == Criterion(threshold=0.7)


def test_candidates_begin_with_the_largest_modules_and_end_with_the_smallest(
    ranked_run: Run,
) -> None:
    rates = [candidate.retention for candidate in candidates(ranked_run)]
    assert rates[0] == 1.0
    assert rates[-1] == 0.5
    assert 0.75 in rates
    assert rates == sorted(rates, key=lambda rate: -(rate or 0))


@pytest.mark.parametrize("retention", [0.5, 0.75])
def test_modules_of_a_ranked_run_have_the_size_that_is_asked_for(
    ranked_run: Run, tmp_path: Path, retention: float
) -> None:
    made = modularize(
        ranked_run,
        output=tmp_path / "dist",
        retention=retention,
        calibration="platt",
        measure_on="held-out",
    )
    rates = {manifest.kernel_retention_rate for manifest in made.manifests}
    assert len(rates) == 1
    n_kernels = sum(made.origin.graph.kernels().values())
    n_layers = len(made.masks)
    assert retention - n_layers / n_kernels <= rates.pop() <= retention
    assert {m.modularizer.parameters["retention"] for m in made.manifests} == {retention}
    assert {m.modularizer.threshold for m in made.manifests} == {None}
    assert made.to_json()["threshold"] is None
    assert made.to_json()["retention"] == retention


def test_what_cannot_be_asked_for_is_refused(small_run: Run, ranked_run: Run) -> None:
    for run, threshold, retention in (
        (small_run, None, 0.5),
        (ranked_run, 0.9, 0.5),
        (ranked_run, None, 1.5),
        (ranked_run, None, 0.0),
    ):
        with pytest.raises(ModpmError) as refusal:
            given_criterion(run, threshold, retention)
        assert refusal.value.code == "bad-setting"
