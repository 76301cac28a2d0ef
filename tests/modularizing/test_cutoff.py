"""What says which kernels a class retains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.modularizing.small_run import train_small

from modpm.core.errors import ModpmError
from modpm.core.modularizing.modularize import modularize

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.training.run import Run


@pytest.fixture(scope="module")
def ranked_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run that has ranked its kernels."""
    folder = tmp_path_factory.mktemp("ranked") / "run"
    return train_small(folder, method="views", retention=0.5, epochs=3)


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
    assert made.to_json()["cohesion"] is None
    assert made.to_json()["retention"] == retention


def test_a_plain_run_is_cut_by_what_its_kernels_are_worth(tmp_path: Path) -> None:
    run = train_small(tmp_path / "run", method="plain", epochs=1)
    made = modularize(run, output=tmp_path / "dist", retention=0.5, measure_on="held-out")
    assert made.kernel_retention_rate <= 0.5
    assert {m.modularizer.method for m in made.manifests} == {"plain"}


def test_a_threshold_and_a_retention_rate_exclude_each_other(
    ranked_run: Run, tmp_path: Path
) -> None:
    for threshold, retention in ((0.9, 0.5), (0.9, None)):
        with pytest.raises(ModpmError) as refusal:
            modularize(
                ranked_run, output=tmp_path / "dist", threshold=threshold, retention=retention
            )
        assert refusal.value.code == "bad-setting"
    assert not (tmp_path / "dist").exists()
