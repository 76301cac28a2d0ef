"""What class modules cost, beside a network that is trained anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from modpm.core.costs import making as costs
from modpm.core.costs.making import Part, recorded_training, training_cost
from modpm.core.origins.trained_network import DataSet

if TYPE_CHECKING:
    from modpm.core.modularizing.modularization import Modularization
    from modpm.core.origins.origin import OriginNetwork
    from modpm.core.training.run import Run


def test_costs_stand_beside_the_distributions(made: Modularization, small_run: Run) -> None:
    assert made.costs is not None
    record: dict[str, Any] = json.loads((made.folder / "costs.json").read_bytes())
    assert record == made.costs.to_json()
    lines = small_run.metrics()
    assert record["training"]["seconds"] == pytest.approx(sum(one["seconds"] for one in lines))
    assert record["training"]["joules"] == pytest.approx(sum(one["joules"] for one in lines))
    assert record["training"]["is_measured"]
    assert (record["n_epochs"], record["n_classes"]) == (len(lines), 10)
    for part in (record["making"], record["composing"]):
        assert part["seconds"] > 0
        assert part["joules"] > 0
        assert part["device"] == "cpu"
    assert record["composing"]["seconds"] < record["making"]["seconds"]


def test_costs_are_said_with_how_energy_is_known(made: Modularization) -> None:
    assert made.costs is not None
    making, composing, training, *known = made.costs.sentences()
    assert making == f"making the modules took {made.costs.making}"
    assert composing.startswith("composing all 10 takes ")
    assert training.endswith(
        "as its run took: 8 epochs; for k of these 10 classes about k/10 of it"
    )
    assert known
    assert all(one.startswith("energy is an estimate, by ") for one in known)


def test_training_that_no_run_recorded_is_reckoned_by_passes(
    origin: OriginNetwork, small_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(origin), "seconds_a_pass", lambda _origin: 0.5)
    monkeypatch.setattr(costs, "Run", DataSet)  # so that it is none
    making = Part(10.0, 40.0, "cpu", ["nominal"])
    part, n_epochs = training_cost(origin, making)
    n_images = len(small_run.training_data())
    assert n_epochs == 30
    assert part.seconds == pytest.approx(0.5 * 3 * 30 * n_images)
    assert part.joules == pytest.approx(4.0 * part.seconds)  # the power of making
    assert not part.is_measured


def test_a_run_that_went_on_elsewhere_names_both_places(
    small_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = {"seconds": 2.0, "joules": 30.0, "device": "cuda", "energy_by": ["nominal", "nvml"]}
    other = {"seconds": 5.0, "joules": 50.0, "device": "cpu", "energy_by": ["nominal"]}
    monkeypatch.setattr(type(small_run), "metrics", lambda _run: [line, other])
    found = recorded_training(small_run)
    assert found == (Part(7.0, 80.0, "cuda, cpu", ["nominal", "nvml"]), 2)
    monkeypatch.setattr(type(small_run), "metrics", lambda _run: [line, {"seconds": 5.0}])
    assert recorded_training(small_run) is None
