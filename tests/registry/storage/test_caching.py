from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.core.system.durable import make_folders
from modpm.registry.installing.installation import install
from modpm.registry.installing.verification import verify
from modpm.registry.publication.publishing import publish
from modpm.registry.storage import store as store_module
from modpm.registry.storage.caching import PARTIAL_AGE_SECONDS, Share, measure, prune, verify_store
from modpm.registry.storage.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution

DIGEST = "sha256:" + 64 * "0"


@pytest.fixture
def used(make_distribution: MakeDistribution, registry: Path, project: Path) -> list[Path]:
    """The files of the store that a project uses."""
    publish(
        [make_distribution("digits/cat").folder, make_distribution("digits/dog").folder], registry
    )
    install(["digits/cat", "digits/dog"], project, registry)
    return stored()


def stored() -> list[Path]:
    return sorted(Store.of_user().folder.glob("sha256/??/" + "?" * 64))


def leave_partial(age_seconds: float) -> Path:
    path = Store.of_user().path(DIGEST).with_name(64 * "0" + ".part")
    make_folders(path.parent)
    path.write_bytes(b"part")
    then = time.time() - age_seconds
    os.utime(path, (then, then))
    return path


def test_a_store_is_measured(used: list[Path]) -> None:
    leave_partial(0)
    measured = measure()

    assert measured.folder == Store.of_user().folder
    assert measured.used == Share(len(used), sum(path.stat().st_size for path in used))
    assert measured.unused == Share(0, 0)
    assert measured.partial == Share(1, 4)


def test_where_there_is_no_store_there_is_nothing(home: Path) -> None:
    nothing = Share(0, 0)
    assert (measure().used, measure().unused, measure().partial) == (nothing, nothing, nothing)
    assert prune().files == nothing
    assert verify_store() == []
    assert not home.exists()


def test_only_what_no_project_uses_is_pruned(used: list[Path], project: Path) -> None:
    assert prune().files == Share(0, 0)
    assert stored() == used

    ask_for_a_cat_alone(project)
    before = verify_after_install(project)
    pruned = prune()

    assert pruned.files.n_files == len(used) - len(stored()) > 0
    assert measure().unused == Share(0, 0)
    assert before == ["digits/cat"]
    assert len(verify(project)) == 1


def ask_for_a_cat_alone(project: Path) -> None:
    toml = project / "modpm.toml"
    rest = toml.read_text().partition("]\n")[2]
    toml.write_text('requirements = ["digits/cat"]\n' + rest)


def verify_after_install(project: Path) -> list[str]:
    return [str(module.name) for module in install([], project).modules]


def test_a_dry_run_removes_nothing(used: list[Path], project: Path) -> None:
    ask_for_a_cat_alone(project)
    install([], project)

    foreseen = prune(dry_run=True)

    assert foreseen.files.n_files > 0
    assert stored() == used
    assert prune() == foreseen


def test_a_project_with_copies_keeps_them(
    make_distribution: MakeDistribution,
    registry: Path,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for way in ("_reflink", "_hard_link"):
        monkeypatch.setattr(store_module, way, lambda _source, _target: False)
    publish([make_distribution("digits/cat").folder], registry)
    install(["digits/cat"], project, registry)

    assert prune().files.n_files > 0
    assert stored() == []
    assert len(verify(project)) == 1


@pytest.mark.parametrize(("age", "is_pruned"), [(0, False), (PARTIAL_AGE_SECONDS + 60, True)])
def test_old_partial_files_are_pruned(home: Path, age: float, is_pruned: bool) -> None:
    assert home is not None
    path = leave_partial(age)

    assert prune().partial == (Share(1, 4) if is_pruned else Share(0, 0))
    assert path.exists() != is_pruned


def test_pruning_waits_for_whoever_takes_files(used: list[Path], project: Path) -> None:
    ask_for_a_cat_alone(project)
    install([], project)
    store = Store.of_user()

    with store.in_use():
        pruning = threading.Thread(target=prune)
        pruning.start()
        pruning.join(0.3)
        assert pruning.is_alive()
        assert stored() == used
    pruning.join(30)

    assert len(stored()) < len(used)
    assert list((store.folder / ".users").iterdir()) == []


def test_whoever_died_while_taking_files_is_not_waited_for(used: list[Path]) -> None:
    users = Store.of_user().folder / ".users"
    (users / "dead").touch()

    prune()

    assert list(users.iterdir()) == []
    assert stored() == used


def test_a_damaged_file_is_named_and_removed_and_fetched_again(
    used: list[Path], project: Path, tmp_path: Path
) -> None:
    path = used[0]
    content = path.read_bytes()
    path.unlink()  # so that the project's file is not damaged, too
    path.write_bytes(content[:-1] + b"?")

    with pytest.raises(ModpmError) as caught:
        verify_store()
    assert caught.value.code == "damaged-store"
    assert (caught.value.why or "").startswith(f"sha256:{path.name} ")
    assert path.exists()

    assert [file.path for file in verify_store(repair=True)] == [path]
    assert stored() == used[1:]
    assert verify_store() == []

    other = tmp_path / "other"
    other.mkdir()
    for name in ("modpm.toml", "modpm.lock"):
        (other / name).write_bytes((project / name).read_bytes())
    install([], other)
    assert stored() == used
    assert verify_store() == []
