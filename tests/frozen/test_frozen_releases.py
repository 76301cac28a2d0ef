"""What past releases of modpm wrote is read by this version, and means the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.formats.distribution import verify_distribution
from modpm.core.formats.manifest import Manifest
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.installing.installation import install
from modpm.registry.installing.verification import verify
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from typing import Any

FROZEN = sorted(path.parent for path in Path(__file__).parent.glob("*/scores.json"))
# Kernels of another processor, or of another torch, add in another order.
TOLERANCE = 1e-4


@pytest.fixture(params=FROZEN, ids=lambda folder: str(folder.name))
def frozen(request: pytest.FixtureRequest) -> Path:
    folder = request.param
    assert isinstance(folder, Path)
    return folder


def recorded(frozen: Path) -> Any:  # noqa: ANN401 - JSON
    return json.loads((frozen / "scores.json").read_bytes())


def distribution_of(frozen: Path) -> Path:
    return next(path for path in frozen.iterdir() if path.is_dir())


def test_there_is_a_frozen_release() -> None:
    assert FROZEN[0].name == "0.1"


def test_a_frozen_release_is_read_and_verified(frozen: Path) -> None:
    digest = recorded(frozen)["digest"]

    assert verify_distribution(distribution_of(frozen), digest).digest == digest


def test_a_frozen_manifest_is_written_again_as_it_was(frozen: Path) -> None:
    data = (distribution_of(frozen) / "manifest.json").read_bytes()

    assert Manifest.from_bytes(data).to_bytes() == data


def test_a_frozen_module_gives_the_scores_it_gave(frozen: Path) -> None:
    module = ClassModule.from_folder(distribution_of(frozen), recorded(frozen)["digest"])
    images = recorded(frozen)["images"]

    pixels = torch.tensor([image["pixels"] for image in images], dtype=torch.uint8)
    expected = torch.tensor([image["score"] for image in images])

    torch.testing.assert_close(
        module.score_images(pixels[:, None]), expected, rtol=TOLERANCE, atol=TOLERANCE
    )
    classes = torch.tensor([f"digits/{image['class']}" == module.label for image in images])
    assert torch.equal(expected > 0, classes)


def test_a_frozen_release_is_published_and_installed(
    frozen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    registry, project = tmp_path / "registry", tmp_path / "project"
    project.mkdir()
    publish([distribution_of(frozen)], registry=registry)

    install(["digits/7"], project=project, registry=registry)

    verify(project)
    index = DirectoryRegistry(registry).index(ModuleName("digits", "7"))
    assert index is not None
    assert index.releases[0].digest == recorded(frozen)["digest"]
