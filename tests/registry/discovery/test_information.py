from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest

from modpm.core.errors import ModpmError
from modpm.registry.addresses import Address
from modpm.registry.discovery.information import info
from modpm.registry.installing.installation import install
from modpm.registry.publication.changing import yank
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution


@pytest.fixture(autouse=True)
def releases(make_distribution: MakeDistribution, registry: Path) -> None:
    publish([make_distribution("digits/cat", v).folder for v in ("1.0.0", "1.1.0")], registry)


def test_the_installed_release_is_described(project: Path, registry: Path) -> None:
    (module,) = install(["digits/cat<1.1"], project, registry).modules

    information = info("digits/cat", project)

    assert information.manifest.version == "1.0.0"
    assert information.path == module.path
    assert (information.digest, information.size_bytes) == (module.digest, module.size_bytes)


def test_another_version_is_described_from_the_registry(project: Path, registry: Path) -> None:
    install(["digits/cat<1.1"], project, registry)

    for name, given in (("digits/cat==1.1.0", None), ("digits/cat", registry)):
        information = info(name, project, given)
        assert information.manifest.version == "1.1.0"
        assert information.path is None
        assert information.registry == str(registry)


def test_an_installed_release_that_was_yanked_since_says_why(project: Path, registry: Path) -> None:
    install(["digits/cat<1.1"], project, registry)
    assert info("digits/cat", project).yanked is None
    yank("digits/cat==1.0.0", "wrong labels", registry)

    information = info("digits/cat", project)

    assert information.path is not None
    assert information.yanked == "wrong labels"


@pytest.mark.usefixtures("registry_that_is_not_asked")
def test_offline_no_registry_is_asked_whether_a_release_is_yanked(project: Path) -> None:
    assert info("digits/cat", project, offline=True).yanked is None


@pytest.fixture
def registry_that_is_not_asked(
    project: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(["digits/cat"], project, registry)

    def open_none(address: Address, _base: Path) -> NoReturn:
        raise AssertionError(f"{address.url} is opened")

    monkeypatch.setattr(Address, "open", open_none)


def test_a_registry_that_is_away_is_not_missed_for_an_installed_release(
    project: Path, registry: Path
) -> None:
    install(["digits/cat"], project, registry)
    registry.rename(registry.with_name("elsewhere"))

    information = info("digits/cat", project)

    assert (information.manifest.version, information.yanked) == ("1.1.0", None)


def test_what_is_not_known_is_an_error(project: Path, registry: Path) -> None:
    for name, code in (
        ("digits/cta", "unknown-module"),
        ("digits/cat>2", "no-version-fits"),
        ("digits/cat@stable", "unknown-tag"),
        ("digits/*", "invalid-requirement"),
    ):
        with pytest.raises(ModpmError) as caught:
            info(name, project, registry)
        assert caught.value.code == code


def test_a_manifest_of_another_digest_is_refused(project: Path, registry: Path) -> None:
    folder = registry / "digits" / "cat"
    old = (folder / "1.0.0" / "manifest.json").read_bytes()
    (folder / "1.1.0" / "manifest.json").write_bytes(old)

    with pytest.raises(ModpmError) as caught:
        info("digits/cat", project, registry)
    assert caught.value.code in {"wrong-digest", "truncated"}
