"""What `--locked`, `--frozen`, `--offline`, `--dry-run` and `--no-save` keep a command from."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, NoReturn

import pytest
from tests.registry.outcomes import present, refused
from tests.registry.owners import made_key

from modpm.registry.addresses import Address
from modpm.registry.installing.installation import install, remove, sync, update
from modpm.registry.pins.locking import lock
from modpm.registry.projects.project import Project
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution, Put


def files(project: Path) -> dict[str, bytes]:
    found = (path for path in project.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(project)): path.read_bytes() for path in found}


@pytest.fixture
def cat(put: Put, project: Path, registry: Path) -> Path:
    """A project with version 1.0.0 of a module that has a version 1.1.0."""
    put("digits/cat")
    put("digits/dog")
    install(["digits/cat"], project, registry)
    put("digits/cat", "1.1.0")
    return project


def test_while_the_lockfile_has_everything_no_registry_is_opened(cat: Path, registry: Path) -> None:
    shutil.rmtree(registry)

    for command in (
        lambda: install((), cat),
        lambda: install(["digits/cat"], cat),
        lambda: install(["digits/cat<2"], cat),
        lambda: install(["digits/cat"], cat, registry),
        lambda: sync(cat),
        lambda: install((), cat, frozen=True),
        lambda: lock(cat, offline=True),
    ):
        command()
        assert present(cat) == {"digits/cat": "1.0.0"}
    remove(["digits/cat"], cat)
    assert present(cat) == {}


def test_offline_refuses_what_only_registries_know(cat: Path) -> None:
    before = files(cat)

    for command in (
        lambda: install(["digits/dog"], cat, offline=True),
        lambda: install(["digits/cat>1.0"], cat, offline=True),
        lambda: install(["digits/cat@stable"], cat, offline=True),
        lambda: install(["digits/*"], cat, offline=True),
        lambda: update((), cat, offline=True),
    ):
        assert refused(command).code == "offline"
    assert files(cat) == before


def test_offline_with_a_cold_store_names_the_digests_that_are_missing(
    cat: Path, home: Path
) -> None:
    shutil.rmtree(home)
    shutil.rmtree(cat / ".modpm")

    error = refused(lambda: sync(cat, offline=True))

    assert error.code == "offline"
    (pin,) = Project(cat).lock().pins  # type: ignore[union-attr]  # it was just written
    assert {line.split()[0] for line in str(error.why).splitlines()} == {
        record.digest for record in pin.files.values()
    }


def test_offline_not_even_yanks_are_asked_about(
    cat: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_none(address: Address, _base: Path) -> NoReturn:
        raise AssertionError(f"{address.url} is opened")

    shutil.rmtree(cat / ".modpm")
    shutil.rmtree(home)
    monkeypatch.setattr(Address, "open", open_none)

    assert sync(cat, offline=True, dry_run=True).yanked == {}


def test_locked_refuses_whatever_would_change_the_lockfile(cat: Path) -> None:
    before = files(cat)

    for command, words in (
        (lambda: install(["digits/dog"], cat, locked=True), "`digits/dog` is asked for, and not"),
        (lambda: install(["digits/*"], cat, locked=True), "`digits/*` is asked for, and not"),
        (lambda: install((), cat, same_origin=True, locked=True), "`same-origin` is true now"),
    ):
        error = refused(command)
        assert error.code == "lock-out-of-date"
        assert words in str(error.why)
    assert files(cat) == before
    assert install((), cat, locked=True).changes == ()
    assert lock(cat, locked=True).changes == ()


def test_a_locked_lock_says_what_would_be_other(cat: Path, registry: Path) -> None:
    toml = cat / "modpm.toml"
    toml.write_text(toml.read_text().replace('"digits/cat~=1.0"', '"digits/cat>1.0", "digits/dog"'))

    error = refused(lambda: lock(cat, locked=True))

    assert str(error.why).splitlines() == [
        "`digits/cat>1.0` is asked for, and not locked",
        "`digits/dog` is asked for, and not locked",
        "`digits/cat~=1.0` is locked, and not asked for",
        "`digits/cat` 1.0.0 would be 1.1.0",
        "`digits/dog` 1.0.0 would come",
    ]
    assert registry.is_dir()


@pytest.mark.parametrize("command", [sync, lambda p: install((), p, frozen=True)])
def test_without_a_lockfile_there_is_nothing_to_sync(
    command: Callable[[Path], object], cat: Path
) -> None:
    (cat / "modpm.lock").unlink()

    assert refused(lambda: command(cat)).code == "lock-missing"
    assert refused(lambda: install((), cat, locked=True)).code == "lock-missing"


def test_frozen_installs_the_lockfile_whatever_the_project_asks(cat: Path) -> None:
    toml, before = cat / "modpm.toml", (cat / "modpm.lock").read_bytes()
    toml.write_text('requirements = ["digits/dog"]')
    shutil.rmtree(cat / ".modpm")

    assert refused(lambda: sync(cat)).code == "lock-out-of-date"
    install((), cat, frozen=True)

    assert present(cat) == {"digits/cat": "1.0.0"}
    assert toml.read_text() == 'requirements = ["digits/dog"]'
    assert (cat / "modpm.lock").read_bytes() == before
    assert sync(cat, frozen=True).changes == ()


def test_sync_makes_the_folder_exactly_what_is_locked(cat: Path) -> None:
    before = files(cat)
    lock_bytes = (cat / "modpm.lock").read_bytes()
    update((), cat)
    (cat / "modpm.lock").write_bytes(lock_bytes)
    (cat / ".modpm" / "modules" / "digits" / "bird" / "1.0.0-000000000000").mkdir(parents=True)

    (change,) = sync(cat).changes

    assert (change.before, change.after) == ("1.1.0", "1.0.0")
    assert files(cat) == before
    assert not (cat / ".modpm" / "modules" / "digits" / "bird").exists()


def test_a_dry_run_tells_the_changes_and_makes_none(cat: Path) -> None:
    before = files(cat)

    runs = [
        (install(["digits/dog"], cat, dry_run=True).changes, [(None, "1.0.0")]),
        (update((), cat, dry_run=True).changes, [("1.0.0", "1.1.0")]),
        (remove(["digits/cat"], cat, dry_run=True).changes, [("1.0.0", None)]),
        (lock(cat, dry_run=True).changes, []),
    ]

    for changes, expected in runs:
        assert [(change.before, change.after) for change in changes] == expected
    assert files(cat) == before


def test_a_dry_run_in_a_new_folder_leaves_it_empty(put: Put, project: Path, registry: Path) -> None:
    put("digits/cat")

    install(["digits/cat"], project, registry, dry_run=True)

    assert list(project.iterdir()) == []


def test_what_is_not_saved_is_installed_until_the_next_change(cat: Path) -> None:
    saved = {name: (cat / name).read_bytes() for name in ("modpm.toml", "modpm.lock")}

    install(["digits/dog"], cat, save=False)

    assert present(cat) == {"digits/cat": "1.0.0", "digits/dog": "1.0.0"}
    assert {name: (cat / name).read_bytes() for name in saved} == saved
    install((), cat)
    assert present(cat) == {"digits/cat": "1.0.0"}


def test_lock_writes_the_lockfile_and_installs_nothing(
    put: Put, project: Path, registry: Path, home: Path
) -> None:
    put("digits/cat")
    (project / "modpm.toml").write_text(
        f'requirements = ["digits/cat"]\nregistries = [{{ name = "r", url = "{registry}" }}]'
    )

    locking = lock(project)

    assert locking.is_changed
    assert [(c.before, c.after) for c in locking.changes] == [(None, "1.0.0")]
    assert (project / "modpm.lock").read_bytes() == locking.lock.to_bytes()
    assert present(project) == {}
    assert not (home / "blobs").exists()
    assert not lock(project).is_changed


def test_a_project_that_asks_for_nothing_is_told_so(project: Path) -> None:
    for command in (
        lambda: lock(project),
        lambda: update((), project),
        lambda: sync(project),
    ):
        assert refused(command).code in {"nothing-asked", "lock-missing"}
    assert list(project.iterdir()) == []


def test_what_sync_learns_of_signers_stays_out_of_the_lockfile(
    make_distribution: MakeDistribution, project: Path, registry: Path, tmp_path: Path
) -> None:
    alice = made_key(tmp_path / "alice.pem")
    publish([make_distribution("digits/cat").folder], registry, key=alice)
    (project / "modpm.toml").write_text(
        f'requirements = ["digits/cat"]\nregistries = [{{ name = "r", url = "{registry}" }}]'
    )
    before = lock(project).lock.to_bytes()

    for _ in range(2):
        sync(project)
        assert (project / "modpm.lock").read_bytes() == before
        known = Project(project).installed()
        assert known is not None
        assert known.signers == {"digits": alice.public.key_id}
    install((), project)
    locked = Project(project).lock()
    assert locked is not None
    assert locked.signers == {"digits": alice.public.key_id}
