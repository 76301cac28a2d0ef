"""What modules cost together that are of the origins of those that came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.composition.tiny_origins import publish as write_tiny
from tests.composition.tiny_origins import tiny_origin

from modpm.core.formats.distribution import read_distribution
from modpm.registry.installing.installation import install
from modpm.registry.installing.touched import cost_of_touched
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution


def test_a_module_that_only_names_an_origin_is_not_counted_as_cut_from_it(
    make_distribution: MakeDistribution, project: Path, tmp_path: Path
) -> None:
    seven, eight = make_distribution("digits/7"), make_distribution("digits/8")
    digest = seven.module_manifest.origin.digest
    tiny = tiny_origin()
    stranger = tiny.module("cat", tiny.some(1), slope=1.0, intercept=0.0, summary=f"as {digest}")
    other = read_distribution(write_tiny(stranger, tmp_path / "cat"))
    registry = tmp_path / "several"
    publish([seven.folder, eight.folder, other.folder], registry)
    install(["tiny/cat", "digits/8"], project, registry)

    found = cost_of_touched(install(["digits/7"], project, registry))

    assert found is not None
    assert (found.n_modules, found.n_origins) == (2, 1)
