"""Variants beside their releases: published, yanked and installed with them (M-36, V-22, W-20)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.registry.changed_distributions import variant_of

from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import Distribution, read_distribution, write_distribution
from modpm.core.formats.manifest import Manifest
from modpm.registry.discovery.information import info
from modpm.registry.index import ModuleRelease
from modpm.registry.installing.installation import install
from modpm.registry.publication.changing import unyank, yank
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def release(tmp_path: Path, repository: Path) -> Distribution:
    """Return a distribution that is no variant."""
    golden = read_distribution(repository / "specs" / "vectors" / "distribution" / "digits-7")
    files = {name: (golden.folder / name).read_bytes() for name in golden.manifest.files}
    return write_distribution(tmp_path / "digits-7", golden.manifest, files)


@pytest.fixture
def variant(release: Distribution, tmp_path: Path) -> Distribution:
    """Return a distribution that says to be its variant."""
    return variant_of(release, tmp_path / "digits-7-int8", release.digest)


@pytest.fixture
def registry(release: Distribution, variant: Distribution, tmp_path: Path) -> Path:
    """Return a registry of both."""
    publish([variant.folder, release.folder], tmp_path / "registry")
    return tmp_path / "registry"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return an empty folder."""
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def names(project: Path) -> list[str]:
    text = (project / "modpm.lock").read_text(encoding="utf-8")
    return [name for name in ("digits/7-int8", "digits/7") if f'"{name}"' in text]


def test_a_variant_alone_is_refused(variant: Distribution, tmp_path: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        publish([variant.folder], tmp_path / "registry")
    assert caught.value.code == "incomplete-composition"
    assert "digits/7 1.0.0 is not there" in str(caught.value.why)


def test_a_variant_of_other_bytes_is_refused(release: Distribution, tmp_path: Path) -> None:
    other = variant_of(release, tmp_path / "other", "sha256:" + "0" * 64)
    with pytest.raises(ModpmError) as caught:
        publish([release.folder, other.folder], tmp_path / "registry")
    assert caught.value.code == "incomplete-composition"
    assert "the variant names sha256:000" in str(caught.value.why)


def test_a_variant_of_a_yanked_release_is_refused(
    release: Distribution, variant: Distribution, tmp_path: Path
) -> None:
    publish([release.folder], tmp_path / "registry")
    yank("digits/7==1.0.0", "labels swapped", tmp_path / "registry")
    with pytest.raises(ModpmError) as caught:
        publish([variant.folder], tmp_path / "registry")
    assert "is yanked: labels swapped" in str(caught.value.why)


def test_a_variant_is_installed_in_the_place_of_its_module(registry: Path, project: Path) -> None:
    made = install(["digits/7>=1"], project, [str(registry)], variant="int8")
    assert [str(module.name) for module in made.modules] == ["digits/7-int8"]
    assert names(project) == ["digits/7-int8"]
    assert "digits/7-int8>=1" in (project / "modpm.toml").read_text(encoding="utf-8")


def test_a_namespace_has_no_variants(registry: Path, project: Path) -> None:
    (described,) = info(["digits/*"], project, [str(registry)])
    assert described.manifest.name == "digits/7"
    made = install(["digits/*"], project, [str(registry)])
    assert [str(module.name) for module in made.modules] == ["digits/7"]


def test_a_yank_reaches_the_variant_and_no_other_module(
    registry: Path, release: Distribution, project: Path, tmp_path: Path
) -> None:
    manifest = msgspec.structs.replace(release.manifest, name="digits/8")
    files = {name: (release.folder / name).read_bytes() for name in manifest.files}
    eight = write_distribution(tmp_path / "eight", manifest, files)
    like_a_variant = msgspec.structs.replace(manifest, name="digits/8-int8")
    other = write_distribution(tmp_path / "like", like_a_variant, files)
    publish([eight.folder, other.folder], registry)
    for name in ("digits/7", "digits/8"):
        yank(f"{name}==1.0.0", "labels swapped", registry)
    with pytest.raises(ModpmError) as caught:
        install(["digits/7"], project, [str(registry)], variant="int8")
    assert "labels swapped" in str(caught.value)
    install(["digits/8-int8"], project, [str(registry)])
    unyank("digits/7==1.0.0", registry)
    made = install(["digits/7"], project, [str(registry)], variant="int8")
    assert [str(module.name) for module in made.modules] == ["digits/7-int8", "digits/8-int8"]


@pytest.mark.parametrize(("text", "kind"), [("digits/7", "int4"), ("digits/*", "int8")])
def test_what_has_no_variant_is_refused(text: str, kind: str, project: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        install([text], project, variant=kind)
    assert (caught.value.code, caught.value.exit_code) == ("unknown-variant", 2)


def test_an_index_says_what_a_variant_is_made_of(variant: Distribution) -> None:
    listed = ModuleRelease.of_distribution(variant)
    assert isinstance(listed, ModuleRelease)
    assert isinstance(variant.manifest, Manifest)
    assert listed.variant == variant.manifest.variant
