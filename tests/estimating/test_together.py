"""What class modules cost together by their manifests is what they cost once composed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.composition.tiny_origins import CLASSES, TinyOrigin, dense_origin, publish, tiny_origin

from modpm.core.composition.compose import keep_independent
from modpm.core.estimating.together import Member, cost_together, described
from modpm.core.formats.release_files import FileRecord

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.classifiers.class_module import ClassModule
    from modpm.core.estimating.cost import Cost

ORIGINS = {
    "with mask generators": tiny_origin(),
    "all layers cut": TinyOrigin(has_generators=False),
    "constants": dense_origin(),
}


def composed(modules: list[ClassModule]) -> Cost:
    return keep_independent(modules, [module.label for module in modules]).cost


@pytest.mark.parametrize("kind", ORIGINS)
@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("is_whole", [True, False])
def test_it_is_counted_as_modules_side_by_side_are(kind: str, n: int, is_whole: bool) -> None:
    origin = ORIGINS[kind]
    modules = [
        origin.module(name, None if is_whole else origin.some(i))
        for i, name in enumerate(CLASSES[:n])
    ]
    found = cost_together([Member(module.manifest, {}) for module in modules])
    expected, alone = composed(modules), [module.manifest for module in modules]

    assert (found.n_modules, found.n_origins) == (n, 1)
    assert found.together.n_parameters == expected.n_parameters
    assert found.together.macs == expected.macs
    assert found.one_by_one.n_parameters == sum(one.n_parameters for one in alone)
    assert found.one_by_one.macs == sum(one.macs for one in alone)


def test_modules_of_two_origins_share_nothing() -> None:
    ours = [tiny_origin().module(name) for name in CLASSES[:2]]
    theirs = [tiny_origin(5).module(name) for name in CLASSES[:3]]
    found = cost_together([Member(one.manifest, {}) for one in (*ours, *theirs)])

    assert found.n_origins == 2
    assert found.together.macs == composed(ours).macs + composed(theirs).macs
    assert found.origins.macs == 2 * ours[0].manifest.origin.macs


def test_a_file_of_equal_bytes_counts_once() -> None:
    module = tiny_origin().module("cat")
    own, license_text = (FileRecord(size_bytes=n, digest=f"sha256:{n:064x}") for n in (70, 5))
    other = FileRecord(size_bytes=90, digest=f"sha256:{9:064x}")
    members = [
        Member(module.manifest, {"module.safetensors": file, "LICENSE": license_text})
        for file in (own, other)
    ]
    found = cost_together(members)

    assert found.one_by_one.size_bytes == 70 + 90 + 2 * 5
    assert found.together.size_bytes == 70 + 90 + 5


def test_as_much_of_a_manifest_is_read_as_counting_needs(tmp_path: Path) -> None:
    module = tiny_origin().module("cat", tiny_origin().some(1))
    folder = publish(module, tmp_path / "cat")
    read = described((folder / "manifest.json").read_bytes())

    assert cost_together([Member(read, {})]) == cost_together([Member(module.manifest, {})])
