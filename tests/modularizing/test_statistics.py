"""Statistics of batch normalizations, taken anew once a network is cut."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from tests.modularizing.calibrators import fit
from tests.modularizing.small_run import learn_in_few_steps

from modpm.core.calibrations.scores import FittedScore, is_clearly_better
from modpm.core.classifiers.class_module import ClassModule
from modpm.core.composition.compose import compose_modules
from modpm.core.graph import build
from modpm.core.modularizing import fitting, reading
from modpm.core.modularizing.cutting import (
    CutNetwork,
    Statistics,
    cut,
    norms_after_cuts,
    with_statistics,
)
from modpm.core.modularizing.modularize import modularize
from modpm.core.modularizing.reading import take_statistics
from modpm.core.training.inference import normalizing, read

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.modularizing.modularization import Modularization
    from modpm.core.origins.origin import OriginNetwork
    from modpm.core.training.run import Run

ROUNDED = 1e-4


@pytest.fixture(scope="module")
def networks(origin: OriginNetwork) -> list[CutNetwork]:
    """Return the networks of three classes, with random kernels of every layer."""
    chance = torch.Generator().manual_seed(0)
    masks = {layer: torch.rand(3, n, generator=chance) < 0.6 for layer, n in origin.kernels.items()}
    for mask in masks.values():
        mask[:, 0] = True
    return [cut(origin.graph, origin.tensors, masks, i) for i in range(3)]


def test_a_normalization_reads_other_values_after_a_layer_that_lacks_inputs(
    origin: OriginNetwork, networks: list[CutNetwork]
) -> None:
    norms = [node.name for node in origin.graph.nodes if node.operator == "batch_norm2d"]
    for network in networks:
        assert [node.name for node in norms_after_cuts(network, origin.graph)] == norms[1:]
    whole = {layer: torch.ones(3, n, dtype=torch.bool) for layer, n in origin.kernels.items()}
    uncut = cut(origin.graph, origin.tensors, whole, 0)
    assert norms_after_cuts(uncut, origin.graph) == []
    assert take_statistics([uncut], origin) == [{}]


def test_a_corrected_network_is_one_with_other_statistics(
    origin: OriginNetwork, networks: list[CutNetwork]
) -> None:
    network, chance = networks[0], torch.Generator().manual_seed(1)
    found, replaced = {}, dict(network.tensors)
    for norm in norms_after_cuts(network, origin.graph):
        size = network.tensors[norm.tensors["running_mean"]].shape
        mean, variance = torch.randn(size, generator=chance), torch.rand(size, generator=chance)
        found[norm.name] = Statistics(mean, variance)
        replaced |= {norm.tensors["running_mean"]: mean, norm.tensors["running_var"]: variance}
    corrected = with_statistics(network, found)
    assert replaced.keys() < corrected.tensors.keys()
    assert all(torch.equal(corrected.tensors[name], t) for name, t in network.tensors.items())
    images = torch.randn(5, *network.graph.input_shape, generator=chance)
    with torch.no_grad():
        expected = build(network.graph, replaced).eval()(images)
        given = build(corrected.graph, corrected.tensors).eval()(images)
    torch.testing.assert_close(given, expected, rtol=ROUNDED, atol=ROUNDED)


def test_statistics_are_those_of_training_images(
    origin: OriginNetwork, networks: list[CutNetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "N_STATISTICS_IMAGES", 300)  # three batches of a hundred
    found = take_statistics(networks, origin)
    data = origin.trained.images.training_data()
    positions = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:300]
    images = data.images[positions]
    for network, own in zip(networks, found, strict=True):
        norms = norms_after_cuts(network, origin.graph)
        assert [*own] == [norm.name for norm in norms]
        (source,) = norms[0].inputs  # nothing before it has other statistics
        values = read(
            build(network.graph, network.tensors), images, normalizing(origin.contract), [source]
        )[source]
        mean, variance = values.mean((0, 2, 3)), values.var((0, 2, 3))
        torch.testing.assert_close(own[norms[0].name].mean, mean, rtol=ROUNDED, atol=ROUNDED)
        torch.testing.assert_close(own[norms[0].name].variance, variance, rtol=0.1, atol=1e-3)


def test_one_image_alone_in_a_batch_gives_no_statistics(
    origin: OriginNetwork, networks: list[CutNetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for n in (100, 101):
        monkeypatch.setattr(reading, "N_STATISTICS_IMAGES", n)
        found.append(take_statistics(networks[:1], origin)[0])
    for name, statistics in found[0].items():
        assert torch.equal(found[1][name].mean, statistics.mean)


def fitted(scores: torch.Tensor) -> FittedScore:
    is_class = torch.arange(len(scores)) % 2 == 0
    calibrator = fit("platt", torch.zeros(len(scores), 0), scores, is_class)
    return FittedScore(calibrator, scores.double(), 0.0, 0.0)


def test_a_score_is_clearly_better_beyond_its_standard_error() -> None:
    is_class = torch.arange(4000) % 4 == 0
    chance = torch.Generator().manual_seed(0)
    scores = torch.randn(4000, generator=chance) + torch.where(is_class, 1.0, -1.0)
    better = fitted(1.2 * scores)
    noise = torch.randn(4000, generator=chance)
    for strength in (0.0, 0.05, 0.1, 0.2, 0.5):
        other = fitted(1.2 * scores + strength * noise)
        right, wrong = (
            torch.where(is_class, one.held_out_scores, -one.held_out_scores).sigmoid().log()
            for one in (better, other)
        )
        gains = right - wrong
        sides = [gains[is_class], gains[~is_class]]
        error = math.sqrt(sum(float(side.var()) / len(side) for side in sides)) / 2
        mean = float(sum(side.mean() for side in sides)) / 2
        assert is_clearly_better(better, other, is_class) == (mean > error)
        assert not is_clearly_better(other, better, is_class)
    assert is_clearly_better(better, other, is_class)


def test_no_score_is_clearly_better_by_one_image_of_a_class() -> None:
    scores = torch.linspace(-1, 1, 100)
    better, other = fitted(2 * scores), fitted(scores)
    assert is_clearly_better(better, other, scores > 0)
    assert not is_clearly_better(better, other, scores == 1)
    assert not is_clearly_better(better, other, scores > -1)


def made_with(
    run: Run,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_better: bool,
    effort: str | None = None,
) -> Modularization:
    monkeypatch.setattr(fitting, "is_clearly_better", lambda *_: is_better)
    return modularize(run, output=folder, calibration="platt", measure_on="held-out", effort=effort)


def test_fused_modules_keep_the_statistics_of_their_origin(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = made_with(small_run, tmp_path / "kept", monkeypatch, is_better=False)
    anew = made_with(small_run, tmp_path / "anew", monkeypatch, is_better=True)
    images, scores = small_run.validation_data().images[:50], {}
    for name, made in (("kept", kept), ("anew", anew)):
        modules = [ClassModule.from_folder(one.folder) for one in made.distributions[:3]]
        for strategy in ("fused", "independent"):
            scores[name, strategy] = compose_modules(modules, strategy).score_images(images)
        said = [m.modularizer.parameters.get("statistics_images") for m in made.manifests]
        n = min(reading.N_STATISTICS_IMAGES, small_run.record.n_training)
        assert said == [None if name == "kept" else n] * 10
    assert torch.equal(scores["kept", "fused"], scores["anew", "fused"])
    assert not torch.allclose(scores["kept", "independent"], scores["anew", "independent"])
    composed = anew.manifests[0].composed, kept.manifests[0].composed
    assert [one.fused for one in composed] == [composed[0].fused] * 2  # type: ignore[union-attr]  # measured


def test_corrections_that_are_learned_are_those_of_a_module_alone(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for n_steps in (0, 4):
        learn_in_few_steps(monkeypatch, n_steps)
        folder = tmp_path / f"after {n_steps}"
        found[n_steps] = made_with(
            small_run, folder, monkeypatch, is_better=True, effort="gradient"
        )
    nodes = found[0].manifests[0].origin.graph.nodes
    of_origin = {name for node in nodes for name in node.tensors.values()}
    for i, (anew, learned) in enumerate(zip(found[0].manifests, found[4].manifests, strict=True)):
        before, after = (anew.modularizer.parameters, learned.modularizer.parameters)
        assert after == {**before, "correction_steps": 4}
        folders = [found[n_steps].distributions[i].folder for n_steps in found]
        plain, taught = (ClassModule.from_folder(folder).tensors for folder in folders)
        changed = {name for name in plain if not torch.equal(plain[name], taught[name])}
        assert any(".anew." in name for name in changed)
        assert not changed & of_origin
