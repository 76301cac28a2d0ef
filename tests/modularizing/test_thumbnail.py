"""The picture that stands for a release."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from PIL import Image

from modpm.core.formats.distribution import read_distribution
from modpm.core.formats.picture import picture_problem
from modpm.core.formats.release_files import MAX_PICTURE_BYTES
from modpm.core.reports.thumbnail import HEIGHT, WIDTH, thumbnail, with_picture

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from modpm.core.formats.composition_manifest import AnyManifest

DARK = 100


def dark(manifest: AnyManifest) -> NDArray[np.bool_]:
    """Return where the ink of the name is, (HEIGHT, WIDTH)."""
    pixels = np.asarray(Image.open(io.BytesIO(thumbnail(manifest))))
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    is_dark: NDArray[np.bool_] = pixels.max(2) < DARK
    return is_dark


@pytest.fixture(params=["digits-7", "sevens"])
def manifest(request: pytest.FixtureRequest, repository: Path) -> AnyManifest:
    return read_distribution(
        repository / "specs" / "vectors" / "distribution" / request.param
    ).manifest


@pytest.mark.parametrize("name", ["a/7", "digits/cat", "x/" + "w" * 64, "y" * 64 + "/" + "i" * 64])
def test_any_name_is_drawn_within_a_picture_that_may_be_shown(
    manifest: AnyManifest, name: str
) -> None:
    manifest = msgspec.structs.replace(manifest, name=name)
    data = thumbnail(manifest)
    assert picture_problem(data) is None
    assert len(data) <= MAX_PICTURE_BYTES
    columns = np.flatnonzero(dark(manifest).any(0))
    assert columns.min() > 0
    assert columns.max() < WIDTH - 1


def test_the_name_can_be_read_at_a_quarter_of_the_size(manifest: AnyManifest) -> None:
    rows = np.flatnonzero(dark(msgspec.structs.replace(manifest, name="pets/cat")).any(1))
    assert (rows.max() - rows.min()) / 4 >= 16  # pixels


def test_the_same_manifest_gives_the_same_picture(manifest: AnyManifest) -> None:
    named, files = with_picture(manifest)  # type: ignore[type-var]  # of either kind
    assert thumbnail(named) == files["picture.png"] == thumbnail(manifest)
    assert named.all_pictures["picture.png"].size_bytes == len(files["picture.png"])
    other = msgspec.structs.replace(manifest, name="pets/dog")
    assert thumbnail(other) != files["picture.png"]


def test_nothing_that_was_measured_is_no_obstacle(repository: Path) -> None:
    folder = repository / "specs" / "vectors" / "distribution" / "digits-7"
    bare = msgspec.structs.replace(
        read_distribution(folder).module_manifest, metrics=[], retained={}
    )
    assert picture_problem(thumbnail(bare)) is None
