"""A power cut: names, sizes and times are there, and bytes are not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes, digest_file
from modpm.core.formats.manifest import MANIFEST_FILE
from modpm.registry.installing.installation import install, sync
from modpm.registry.installing.installed import installed
from modpm.registry.installing.module_folders import SEAL_TIME_NS
from modpm.registry.installing.verification import verify
from modpm.registry.projects.project import Project
from modpm.registry.publication.publishing import publish
from modpm.registry.storage import store as store_module
from modpm.registry.storage import unsettled
from modpm.registry.storage.caching import verify_store
from modpm.registry.storage.store import Store
from modpm.registry.storage.unsettled import Notes, boot, digests_in

if TYPE_CHECKING:
    from tests.registry.conftest import MakeDistribution

THIS_BOOT = "11111111-2222-3333-4444-555555555555"
NEXT_BOOT = "99999999-2222-3333-4444-555555555555"
DIGESTS = [digest_bytes(b"one"), digest_bytes(b"two")]


@pytest.fixture(autouse=True)
def boot_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "boot_id"
    path.write_text(f"{THIS_BOOT}\n")
    monkeypatch.setattr(unsettled, "_BOOT_FILE", path)
    return path


@pytest.fixture
def notes(home: Path) -> Path:
    return home / "blobs" / ".unsettled"


@pytest.fixture
def new_project(make_distribution: MakeDistribution, registry: Path, project: Path) -> Path:
    """A project with two modules, installed in this run of the system."""
    publish([make_distribution(name).folder for name in ("digits/cat", "digits/dog")], registry)
    install(["digits/*"], project, registry)
    return project


def manifest_of(project: Path, name: str) -> Path:
    place = Project(project)
    lock = place.installed()
    assert lock is not None
    pin = next(pin for pin in lock.pins if str(pin.module) == name)
    return place.module_path(pin) / MANIFEST_FILE


def tear(path: Path) -> None:
    """Lose the bytes of a file that the disk did not have, and nothing else of it."""
    content = path.read_bytes()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(bytes(len(content)))
    path.chmod(0o444)
    os.utime(path, ns=(SEAL_TIME_NS, SEAL_TIME_NS))


def test_what_is_installed_is_noted_before_the_disk_has_it(new_project: Path, notes: Path) -> None:
    lock = Project(new_project).installed()
    assert lock is not None
    digests = {record.digest for pin in lock.pins for record in pin.files.values()}

    assert set(digests_in((notes / THIS_BOOT).iterdir())) == digests


@pytest.mark.usefixtures("new_project")
def test_what_the_store_has_is_not_noted_again(registry: Path, tmp_path: Path, notes: Path) -> None:
    before = sorted(notes.glob("*/*"))
    other = tmp_path / "other"
    other.mkdir()

    install(["digits/cat"], other, registry)

    assert sorted(notes.glob("*/*")) == before


def test_nothing_has_its_name_before_its_note_is_on_the_disk(
    make_distribution: MakeDistribution,
    registry: Path,
    project: Path,
    notes: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish([make_distribution("digits/cat").folder], registry)
    synced: set[str] = set()
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        fsync(descriptor)
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    n_named = 0
    replace = os.replace

    def watched(part: Path, path: Path) -> None:
        nonlocal n_named
        if path.parent.parent.name == "sha256":
            n_named += 1
            (note,) = (notes / THIS_BOOT).iterdir()
            assert path.name in note.read_text()
            assert {str(note), *map(str, list(note.parents)[:3])} <= synced
        replace(part, path)

    monkeypatch.setattr(os, "fsync", spy)
    monkeypatch.setattr(os, "replace", watched)

    install(["digits/cat"], project, registry)

    assert len(verify(project)) == 1
    assert n_named == 4
    assert not any("/sha256/" in path for path in synced)  # none of them waited for the disk


def test_a_torn_file_is_noticed_after_a_power_cut_and_mended(
    new_project: Path, boot_file: Path, notes: Path
) -> None:
    path = manifest_of(new_project, "digits/cat")
    content = path.read_bytes()
    tear(path)
    assert sync(new_project).mended == ()  # whoever keeps times deceives the seal (W-12)

    boot_file.write_text(NEXT_BOOT)
    outcome = sync(new_project)

    assert [str(name) for name in outcome.mended] == ["digits/cat"]
    assert path.read_bytes() == content
    assert len(verify(new_project)) == 2
    assert [folder.name for folder in notes.iterdir()] == [NEXT_BOOT]


def test_a_project_that_shares_a_torn_file_notices_it_too(
    new_project: Path, registry: Path, tmp_path: Path, boot_file: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    install(["digits/cat"], other, registry)
    tear(manifest_of(other, "digits/cat"))
    boot_file.write_text(NEXT_BOOT)

    sync(new_project)

    assert len(sync(other).mended) == 1
    assert len(verify(other)) == 1


@pytest.mark.parametrize("is_dry_run", [False, True])
def test_a_torn_file_is_not_taken_for_installed_without_a_registry(
    new_project: Path, registry: Path, boot_file: Path, *, is_dry_run: bool
) -> None:
    tear(manifest_of(new_project, "digits/dog"))
    boot_file.write_text(NEXT_BOOT)
    registry.rename(registry.with_name("gone"))

    if is_dry_run:
        assert len(sync(new_project, dry_run=True).mended) == 1
    else:
        with pytest.raises(ModpmError) as caught:
            sync(new_project, offline=True)
        assert caught.value.code == "offline"


def test_a_module_whose_name_was_lost_is_made_anew(new_project: Path, boot_file: Path) -> None:
    path = manifest_of(new_project, "digits/cat")
    path.unlink()
    boot_file.write_text(NEXT_BOOT)

    assert len(sync(new_project).mended) == 1
    assert len(verify(new_project)) == 2


def test_whole_files_are_read_once_and_stay_trusted(
    new_project: Path, boot_file: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_read = 0

    def counted(path: Path) -> str:
        nonlocal n_read
        n_read += 1
        return digest_file(path)

    monkeypatch.setattr(store_module, "digest_file", counted)
    sync(new_project)
    assert n_read == 0
    boot_file.write_text(NEXT_BOOT)
    n_files = len(digests_in((notes / THIS_BOOT).iterdir()))

    for _ in range(2):
        assert sync(new_project).mended == ()

    assert n_read == n_files
    assert not list(notes.iterdir())
    assert manifest_of(new_project, "digits/cat").stat().st_mtime_ns == SEAL_TIME_NS


def test_whole_files_are_on_the_disk_before_their_note_is_removed(
    new_project: Path, boot_file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path) -> None:
        raise OSError

    boot_file.write_text(NEXT_BOOT)
    monkeypatch.setattr(store_module, "sync_file", fail)

    with pytest.raises(ModpmError):
        sync(new_project)

    assert Notes(home / "blobs" / ".unsettled").of_earlier_runs() != []


def test_where_the_system_does_not_name_its_run_each_file_is_waited_for(
    make_distribution: MakeDistribution,
    registry: Path,
    notes: Path,
    boot_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boot_file.unlink()
    project = registry.with_name("project")
    project.mkdir()
    publish([make_distribution("digits/cat").folder], registry)
    synced: list[int] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    install(["digits/cat"], project, registry)

    (module,) = installed(project)
    assert {path.stat().st_ino for path in module.path.iterdir()} <= set(synced)
    assert {module.path.stat().st_ino, module.path.parent.stat().st_ino} <= set(synced)
    stored = {Store.of_user().path(digest_file(path)).parent for path in module.path.iterdir()}
    assert {folder.stat().st_ino for folder in stored} <= set(synced)
    assert not notes.exists()


@pytest.mark.parametrize("text", ["", "../../etc", "0" * 36, THIS_BOOT.upper() + "A", "é"])
def test_what_is_no_name_of_a_run_is_not_taken_for_one(boot_file: Path, text: str) -> None:
    boot_file.write_text(text)

    assert boot() is None


def test_verifying_the_store_leaves_nothing_unsettled(
    new_project: Path, notes: Path, boot_file: Path
) -> None:
    assert digests_in(notes.glob("*/*"))

    verify_store()
    assert (notes / THIS_BOOT).is_dir()  # somebody may be about to write a note there
    boot_file.write_text(NEXT_BOOT)

    assert not list(notes.glob("*/*"))
    assert sync(new_project).mended == ()


def test_what_is_damaged_stays_noted_until_it_is_repaired(new_project: Path, notes: Path) -> None:
    tear(manifest_of(new_project, "digits/cat"))

    with pytest.raises(ModpmError):
        verify_store()
    assert list(notes.glob("*/*"))

    verify_store(repair=True)
    assert not list(notes.glob("*/*"))


def test_notes_say_what_was_noted(tmp_path: Path) -> None:
    notes = Notes(tmp_path)

    assert notes.add([*DIGESTS, DIGESTS[0]])
    assert notes.add(DIGESTS[:1])

    assert digests_in((tmp_path / THIS_BOOT).iterdir()) == sorted(DIGESTS)
    assert notes.of_earlier_runs() == []


@pytest.mark.parametrize("torn", [b"\0" * 72, b"sha256:12", b"\xff\n", b"/etc/passwd\n"])
def test_a_torn_note_names_nothing(tmp_path: Path, torn: bytes) -> None:
    Notes(tmp_path).add(DIGESTS)
    (tmp_path / THIS_BOOT / "torn").write_bytes(torn)

    assert digests_in((tmp_path / THIS_BOOT).iterdir()) == sorted(DIGESTS)


def test_a_noted_file_that_never_got_its_name_is_no_trouble(home: Path, boot_file: Path) -> None:
    store = Store(home / "blobs")
    store.announce(DIGESTS)
    boot_file.write_text(NEXT_BOOT)

    store.settle()

    assert not list((home / "blobs" / ".unsettled").iterdir())
