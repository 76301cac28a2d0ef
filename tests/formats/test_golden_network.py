from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from modpm.core.estimating.cost import CONSTANT_ROLES
from modpm.core.formats.distribution import BUFFER_ROLES, Distribution, verify_distribution
from modpm.core.graph import build, count
from modpm.core.graph.cost import count_macs
from modpm.core.tensors import load_tensors

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def golden(vectors: Path) -> Distribution:
    return verify_distribution(vectors / "distribution" / "digits-7")


def test_the_golden_network_gives_one_score_an_image(golden: Distribution) -> None:
    tensors = load_tensors(golden.folder / "module.safetensors")
    network = build(golden.module_manifest.graph, tensors).eval()
    images = torch.linspace(-1, 1, 3 * 64).reshape(3, 1, 8, 8)
    output = golden.module_manifest.output
    values = network.run(images, [output.logit, output.score])
    assert values[output.score].shape == (3, 1)
    calibration = golden.module_manifest.calibration
    expected = calibration.slope * values[output.logit] + calibration.intercept
    torch.testing.assert_close(values[output.score], expected)


def test_the_golden_manifest_counts_what_the_network_counts(golden: Distribution) -> None:
    manifest = golden.module_manifest
    cost = count(manifest.graph, load_tensors(golden.folder / "module.safetensors"))
    assert (cost.n_parameters, cost.macs, cost.size_bytes) == (
        manifest.n_parameters,
        manifest.macs,
        manifest.size_bytes,
    )
    assert count_macs(manifest.origin.graph) == manifest.origin.macs


def test_both_sides_agree_on_what_is_no_parameter() -> None:
    assert BUFFER_ROLES == CONSTANT_ROLES
