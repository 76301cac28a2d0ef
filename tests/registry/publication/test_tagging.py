from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.registry.installing.installation import install
from modpm.registry.installing.installed import installed
from modpm.registry.publication.changing import tag, untag
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution


@pytest.fixture
def published(make_distribution: MakeDistribution, registry: Path) -> Path:
    versions = ("1.0.0", "1.1.0")
    publish([make_distribution("digits/7", version).folder for version in versions], registry)
    return registry


def test_a_tag_asks_for_a_release_and_can_move(published: Path, project: Path) -> None:
    tag("digits/7==1.0", "stable", published)
    install(["digits/7@stable"], project, published)
    assert [module.version for module in installed(project)] == ["1.0.0"]

    assert tag("digits/7==1.1.0", "stable", published).tags == {"stable": "1.1.0"}
    install([], project)
    assert [module.version for module in installed(project)] == ["1.0.0"]


def test_tags_can_be_deleted(published: Path) -> None:
    tag("digits/7==1.0.0", "stable", published)
    tag("digits/7==1.1.0", "next", published)

    assert untag("digits/7", "stable", published).tags == {"next": "1.1.0"}
    assert untag("digits/7==1.1", "next", published).tags == {}


@pytest.mark.parametrize("release", ["digits/7", "digits/7==1.0.0"])
def test_what_is_not_tagged_cannot_be_untagged(published: Path, release: str) -> None:
    tag("digits/7==1.1.0", "next", published)

    with pytest.raises(ModpmError) as caught:
        untag(release, "stable" if release == "digits/7" else "next", published)

    assert (caught.value.code, caught.value.why) == (
        "unknown-tag",
        "the tags of the module are next (1.1.0)",
    )


@pytest.mark.parametrize("name", ["1.0", "v1", "-stable", "", "a b", "a" * 65, "a/b", "é"])
def test_what_is_no_tag_is_refused(published: Path, name: str) -> None:
    for call in (tag, untag):
        with pytest.raises(ModpmError) as caught:
            call("digits/7==1.0.0", name, published)
        assert caught.value.code == "invalid-tag"


def test_a_release_that_is_not_listed_gets_no_tag(published: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        tag("digits/7==3.0", "stable", published)

    assert (caught.value.code, caught.value.why) == (
        "unknown-release",
        "its releases are 1.0.0, 1.1.0",
    )
