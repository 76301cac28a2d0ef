from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.system.home import home as home_folder
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.installing.fetching import fetch
from modpm.registry.installing.installation import install
from modpm.registry.installing.verification import verify
from modpm.registry.projects.project import Project
from modpm.registry.publication.changing import yank
from modpm.registry.publication.mirroring import mirror
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from tests.registry.conftest import MakeDistribution


@pytest.fixture
def locked(make_distribution: MakeDistribution, registry: Path, project: Path) -> Path:
    """The lockfile of a project with two of the three releases of a registry."""
    releases = [("digits/cat", "1.0.0"), ("digits/cat", "1.1.0"), ("digits/dog", "1.0.0")]
    publish([make_distribution(name, version).folder for name, version in releases], registry)
    install(["digits/cat==1.0.0", "digits/dog"], project, registry)
    return project / "modpm.lock"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an empty store."""
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "elsewhere"))
    return tmp_path / "elsewhere"


def releases(registry: Path) -> dict[str, str]:
    """Return the digest of each release."""
    backend = DirectoryRegistry(registry)
    found: dict[str, str] = {}
    for name in backend.names():
        index = backend.index(name)
        assert index is not None
        found |= {f"{name} {release.version}": release.digest for release in index.releases}
    return found


def test_a_mirror_has_what_the_lockfile_needs_and_nothing_else(
    locked: Path, registry: Path, tmp_path: Path, elsewhere: Path
) -> None:
    copied = mirror(tmp_path / "mirror", locked)

    of_registry = releases(registry)
    del of_registry["digits/cat 1.1.0"]
    assert releases(tmp_path / "mirror") == of_registry
    assert {f"{c.name} {c.version}": c.digest for c in copied} == of_registry
    assert all(c.is_new for c in copied)
    assert not (elsewhere / "mirroring").exists()


def test_a_project_installs_from_the_mirror_when_its_registry_has_gone(
    locked: Path, registry: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror(tmp_path / "mirror", locked)
    before = locked.read_bytes()
    registry.rename(tmp_path / "gone")
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("MODPM_REGISTRY", str(tmp_path / "mirror"))
    for path in sorted((project / ".modpm").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()

    install([], project)

    assert len(verify(project)) == 2
    assert locked.read_bytes() == before


def test_mirroring_again_copies_nothing(
    locked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror(tmp_path / "mirror", locked)
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "empty"))

    copied = mirror(tmp_path / "mirror", locked)

    assert not any(c.is_new for c in copied)
    assert not (tmp_path / "empty" / "blobs").exists()


def test_a_mirroring_that_was_interrupted_is_completed(locked: Path, tmp_path: Path) -> None:
    place = Project(locked.parent)
    lock = place.lock()
    assert lock is not None
    first = Path(lock.pins[0].registry.location(place.root)) / str(lock.pins[0].module) / "1.0.0"
    publish([first], tmp_path / "mirror")

    copied = mirror(tmp_path / "mirror", locked)

    assert [c.is_new for c in copied] == [False, True]
    assert len(releases(tmp_path / "mirror")) == 2


def test_a_dry_run_copies_nothing(locked: Path, tmp_path: Path) -> None:
    copied = mirror(tmp_path / "mirror", project=locked.parent, dry_run=True)

    assert [c.is_new for c in copied] == [True, True]
    assert not (tmp_path / "mirror").exists()


def test_other_bytes_under_a_version_are_refused_before_anything_is_copied(
    locked: Path, make_distribution: MakeDistribution, tmp_path: Path, elsewhere: Path
) -> None:
    other = make_distribution("digits/dog", summary="other", folder=tmp_path / "others")
    publish([other.folder], tmp_path / "mirror")

    with pytest.raises(ModpmError) as caught:
        mirror(tmp_path / "mirror", locked)

    assert caught.value.code == "version-taken"
    assert list(releases(tmp_path / "mirror")) == ["digits/dog 1.0.0"]
    assert not (elsewhere / "blobs").exists()


def test_a_file_that_is_damaged_everywhere_is_not_mirrored(
    locked: Path, registry: Path, tmp_path: Path, elsewhere: Path
) -> None:
    (registry / "digits" / "dog" / "1.0.0" / "manifest.json").write_text("other")

    with pytest.raises(ModpmError):
        mirror(tmp_path / "mirror", locked)

    assert not (tmp_path / "mirror").exists()
    assert elsewhere == home_folder()


def test_what_was_yanked_is_yanked_in_the_mirror(
    locked: Path, registry: Path, tmp_path: Path
) -> None:
    yank("digits/dog==1.0.0", "labels are swapped", registry)

    mirror(tmp_path / "mirror", locked)

    index = DirectoryRegistry(tmp_path / "mirror").index(ModuleName("digits", "dog"))
    assert index is not None
    assert [release.yanked for release in index.releases] == ["labels are swapped"]
    index = DirectoryRegistry(tmp_path / "mirror").index(ModuleName("digits", "cat"))
    assert index is not None
    assert [release.yanked for release in index.releases] == [None]


def test_a_missing_lockfile_is_explained(project: Path, tmp_path: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        mirror(tmp_path / "mirror", project=project)

    assert caught.value.code == "lock-missing"


def test_the_store_serves_a_mirror_without_the_registry(
    locked: Path, registry: Path, tmp_path: Path
) -> None:
    place = Project(locked.parent)
    lock = place.lock()
    assert lock is not None
    fetch(lock.pins, [], place.root)
    os.rename(registry, tmp_path / "gone")  # noqa: PTH104 - a folder, as a whole

    mirror(tmp_path / "mirror", locked)

    assert len(releases(tmp_path / "mirror")) == 2


@pytest.mark.usefixtures("elsewhere")
def test_a_mirror_has_the_pictures_of_a_release_that_nobody_installs(
    repository: Path, registry: Path, project: Path, tmp_path: Path
) -> None:
    shown = repository / "specs" / "vectors" / "distribution" / "digits-7-shown"
    (published,) = publish([shown], registry)
    install([str(published.name)], project, registry)
    assert not list(project.rglob("*.png"))

    mirror(tmp_path / "mirror", project / "modpm.lock")

    copy = tmp_path / "mirror" / "digits" / "7" / published.version
    assert {p.name: p.read_bytes() for p in copy.glob("*.png")} == {
        p.name: p.read_bytes() for p in shown.glob("*.png")
    }
    assert releases(tmp_path / "mirror") == releases(registry)
    assert verify(project)
