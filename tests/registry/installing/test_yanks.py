"""Who has a release learns that it was yanked, and waits for no registry."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.discovery.information import info
from modpm.registry.discovery.outdated import outdated
from modpm.registry.installing.installation import install, sync
from modpm.registry.installing.installed import installed
from modpm.registry.installing.verification import verify
from modpm.registry.installing.yanks import kept_path
from modpm.registry.projects.project import Project
from modpm.registry.publication.changing import unyank, yank
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution

    from modpm.core.formats.names import ModuleName
    from modpm.registry.index import Index

REASON = "labels are swapped"
SEVEN = "digits/7==1.0.0"


@pytest.fixture
def shop(make_distribution: MakeDistribution, registry: Path, project: Path) -> Path:
    """Return a project that has two releases of a registry in a folder."""
    publish([make_distribution(name).folder for name in ("digits/7", "digits/8")], registry)
    install(["digits/7", "digits/8"], project, registry)
    return project


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of modules whose indexes are read from here on."""
    names: list[str] = []
    read = DirectoryRegistry.index

    def index(self: DirectoryRegistry, module: ModuleName) -> Index | None:
        names.append(str(module))
        return read(self, module)

    monkeypatch.setattr(DirectoryRegistry, "index", index)
    return names


def reasons(project: Path) -> dict[str, str]:
    return {str(one.name): one.yanked for one in installed(project) if one.yanked is not None}


def test_a_complete_project_asks_nobody(shop: Path, asked: list[str]) -> None:
    assert sync(shop).yanked == {}
    assert install((), shop).yanked == {}
    assert reasons(shop) == {}
    assert asked == []


def test_a_changed_index_in_a_folder_is_read_once(
    shop: Path, registry: Path, asked: list[str]
) -> None:
    yank(SEVEN, REASON, registry)
    asked.clear()

    assert reasons(shop) == {}
    assert list(sync(shop).yanked.values()) == [REASON]
    assert set(asked) == {"digits/7", "digits/8"}
    asked.clear()
    assert list(sync(shop).yanked.values()) == [REASON]
    assert reasons(shop) == {"digits/7": REASON}
    assert asked == []


@pytest.mark.parametrize(
    "contact",
    [
        verify,
        lambda project: installed(project, ask=True),
        outdated,
        lambda project: info("digits/7", project),
        lambda project: install(["digits/9"], project),
    ],
    ids=["verify", "list --ask", "outdated", "info", "install"],
)
def test_what_one_verb_learns_all_tell(
    shop: Path,
    registry: Path,
    make_distribution: MakeDistribution,
    contact: Callable[[Path], object],
) -> None:
    yank(SEVEN, REASON, registry)
    publish([make_distribution("digits/9").folder], registry)

    contact(shop)
    registry.rename(registry.with_name("away"))

    assert reasons(shop) == {"digits/7": REASON}
    assert list(sync(shop).yanked.values()) == [REASON]
    assert [one.yanked for one in verify(shop) if one.yanked] == [REASON]
    assert info("digits/7", shop, offline=True).yanked == REASON


def test_a_yank_that_is_taken_back_is_forgotten(shop: Path, registry: Path) -> None:
    yank(SEVEN, REASON, registry)
    sync(shop)
    unyank(SEVEN, registry)

    assert sync(shop).yanked == {}
    assert reasons(shop) == {}


def test_offline_nobody_is_asked(shop: Path, registry: Path, asked: list[str]) -> None:
    yank(SEVEN, REASON, registry)
    asked.clear()

    assert sync(shop, offline=True).yanked == {}
    verify(shop, offline=True)
    assert asked == []


def test_a_dry_run_keeps_nothing(shop: Path, registry: Path) -> None:
    yank(SEVEN, REASON, registry)

    assert list(sync(shop, dry_run=True).yanked.values()) == [REASON]
    assert reasons(shop) == {}


def test_a_registry_that_went_back_is_told_of_and_stops_no_sync(shop: Path, registry: Path) -> None:
    path = registry / "digits" / "7" / "index.json"
    before = path.read_bytes()
    yank(SEVEN, REASON, registry)
    assert list(sync(shop).yanked.values()) == [REASON]
    path.write_bytes(before)
    os.utime(path, ns=(2**62, 2**62))

    again = sync(shop)

    assert [problem.code for problem in again.problems] == ["rolled-back"]
    assert list(again.yanked.values()) == [REASON]
    with pytest.raises(ModpmError) as caught:
        verify(shop)
    assert caught.value.code == "rolled-back"


@pytest.mark.parametrize(
    "content", [b"", b"asked = 3", b"[yanked", b"\xff", b'[yanked]\n"sha256:0" = 1']
)
def test_what_is_kept_may_be_lost(shop: Path, registry: Path, content: bytes) -> None:
    kept_path(Project(shop)).write_bytes(content)

    assert reasons(shop) == {}
    yank(SEVEN, REASON, registry)
    sync(shop)
    assert reasons(shop) == {"digits/7": REASON}


def test_a_registry_elsewhere_is_asked_a_day_after_the_last_time(
    shop: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    yank(SEVEN, REASON, registry)
    monkeypatch.setattr("modpm.registry.installing.yanks.is_remote", lambda _location: True)
    kept = kept_path(Project(shop))

    assert sync(shop).yanked == {}
    kept.unlink()
    assert sync(shop).yanked == {}
    old = datetime.now(UTC) - timedelta(hours=25)
    kept.write_text(f"asked = {old.isoformat()}\n")
    assert list(sync(shop).yanked.values()) == [REASON]
    assert str(datetime.now(UTC).date()) in kept.read_text()
