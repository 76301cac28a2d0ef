from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.installing.installation import install
from modpm.registry.installing.installed import installed
from modpm.registry.publication.changing import unyank, yank
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution

SEVEN = ModuleName("digits", "7")


@pytest.fixture
def published(make_distribution: MakeDistribution, registry: Path) -> Path:
    versions = ("1.0.0", "1.1.0")
    publish([make_distribution("digits/7", version).folder for version in versions], registry)
    return registry


def reasons(registry: Path) -> dict[str, str | None]:
    index = DirectoryRegistry(registry).index(SEVEN)
    assert index is not None
    return {release.version: release.yanked for release in index.releases}


def test_a_yank_says_why_and_can_be_taken_back(published: Path) -> None:
    assert yank("digits/7==1.1", " labels are\n swapped ", published).yanked == "labels are swapped"
    assert reasons(published) == {"1.0.0": None, "1.1.0": "labels are swapped"}

    assert unyank("Digits/7==1.1.0", published).yanked is None
    assert reasons(published) == {"1.0.0": None, "1.1.0": None}


def test_yanking_again_changes_the_reason(published: Path) -> None:
    yank("digits/7==1.1.0", "one", published)
    yank("digits/7==1.1.0", "two", published)

    assert reasons(published)["1.1.0"] == "two"
    unyank("digits/7==1.1.0", published)
    assert unyank("digits/7==1.1.0", published).yanked is None


def test_nobody_new_gets_a_yanked_release(published: Path, project: Path) -> None:
    yank("digits/7==1.1.0", "labels are swapped", published)

    install(["digits/7"], project, published)

    assert [module.version for module in installed(project)] == ["1.0.0"]


def test_whoever_locked_a_release_keeps_it(published: Path, project: Path, home: Path) -> None:
    install(["digits/7"], project, published)
    yank("digits/7==1.1.0", "labels are swapped", published)
    install([], project)

    (module,) = installed(project)

    assert module.version == "1.1.0"
    assert module.path.is_relative_to(project)
    assert home.is_dir()


@pytest.mark.parametrize(
    ("release", "code"),
    [
        ("digits/7==1.2.0", "unknown-release"),
        ("digits/8==1.0.0", "unknown-module"),
        ("digits/7", "invalid-requirement"),
        ("digits/7>=1.0", "invalid-requirement"),
        ("digits/7==1.*", "invalid-version"),
        ("digits==1.0", "invalid-name"),
        ("digits/*==1.0", "invalid-name"),
    ],
)
def test_what_is_no_release_cannot_be_yanked(published: Path, release: str, code: str) -> None:
    before = reasons(published)

    with pytest.raises(ModpmError) as caught:
        yank(release, "why not", published)

    assert caught.value.code == code
    assert reasons(published) == before


@pytest.mark.parametrize("reason", ["", " \n", "a" * 501, "a\x1b[2Jb"])
def test_a_reason_is_one_line_that_can_be_shown(published: Path, reason: str) -> None:
    with pytest.raises(ModpmError) as caught:
        yank("digits/7==1.1.0", reason, published)

    assert caught.value.code == "bad-reason"
    assert reasons(published)["1.1.0"] is None


def test_a_registry_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        yank("digits/7==1.0", "why not", tmp_path / "none")

    assert caught.value.code == "registry-missing"
    assert not (tmp_path / "none").exists()
