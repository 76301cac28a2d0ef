"""Releases that were published after a given time are as if absent (W-15)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.registry.discovery.outdated import outdated
from modpm.registry.installing.installation import install, update
from modpm.registry.pins.locking import lock
from modpm.registry.projects.request import Bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.registry.conftest import Put

    from modpm.registry.projects.lockfile import Pin


@pytest.fixture
def put_at(put: Put, registry: Path) -> Callable[..., None]:
    """Publish a release, and have the registry say that it was published at a time."""

    def published(name: str, version: str, time: str, requires: tuple[str, ...] = ()) -> None:
        put(name, version, requires=requires)
        path = registry / name / "index.json"
        index = json.loads(path.read_bytes())
        (release,) = [one for one in index["releases"] if one["version"] == version]
        release["published"] = time
        path.chmod(0o644)
        path.write_text(json.dumps(index))

    return published


@pytest.fixture
def three(put_at: Callable[..., None], registry: Path) -> Path:
    """Return a registry with one release each on three days of January 2026."""
    for day, version in ((10, "1.0.0"), (20, "1.1.0"), (30, "1.2.0")):
        put_at("digits/cat", version, f"2026-01-{day}T12:00:00Z")
    return registry


def versions(pins: Iterable[Pin]) -> dict[str, str]:
    return {str(pin.module): pin.version for pin in pins}


@pytest.mark.parametrize(
    ("given", "version"),
    [
        ("2026-01-19", "1.0.0"),
        ("2026-01-20", "1.1.0"),
        ("2026-01-20T11:59:59Z", "1.0.0"),
        ("2026-01-20T12:00:00Z", "1.1.0"),
        ("2026-01-20 11:59:59.999z", "1.0.0"),
        ("2026-01-20T13:00:00+01:00", "1.1.0"),
        ("2026-01-20T12:30:00+01:00", "1.0.0"),
        ("2100-01-01", "1.2.0"),
    ],
)
def test_the_newest_release_of_that_time_is_chosen(
    given: str, version: str, project: Path, three: Path
) -> None:
    install(["digits/cat"], project, three, exclude_newer=given)

    assert versions(lock(project, locked=True).lock.pins) == {"digits/cat": version}


def test_what_was_chosen_stays_for_commands_that_are_not_told_the_time(
    project: Path, three: Path
) -> None:
    install(["digits/cat"], project, three, exclude_newer="2026-01-20")
    before = (project / "modpm.lock").read_bytes()

    lock(project, locked=True)
    install([], project, locked=True)
    lock(project)

    assert (project / "modpm.lock").read_bytes() == before
    assert b"2026" not in before


def test_what_is_locked_stays_however_new_until_it_is_updated(project: Path, three: Path) -> None:
    install(["digits/cat"], project, three)

    lock(project, exclude_newer="2026-01-20", locked=True)
    assert not install(["digits/cat>=1"], project, exclude_newer="2026-01-20").changes

    moved = update(["digits/cat"], project, exclude_newer="2026-01-20")

    assert [(c.before, c.after) for c in moved.changes] == [("1.2.0", "1.1.0")]


def test_a_refusal_names_what_was_left_out(project: Path, three: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        install(["digits/cat>=1.1"], project, three, exclude_newer="2026-01-15")

    error = caught.value
    assert error.code == "no-version-fits"
    assert "1.0.0 (1.1.0, 1.2.0 newer than 2026-01-15T23:59:59Z)" in str(error.why)
    assert "--exclude-newer" in str(error.hint)


def test_what_a_release_requires_is_left_out_too(
    put_at: Callable[..., None], project: Path, three: Path
) -> None:
    put_at("digits/pets", "1.0.0", "2026-01-10T12:00:00Z", ("digits/cat>=1.2",))

    with pytest.raises(ModpmError) as caught:
        install(["digits/pets"], project, three, exclude_newer="2026-01-20")

    assert "1.0.0, 1.1.0 (1.2.0 newer than 2026-01-20T23:59:59Z)" in str(caught.value.why)


def test_a_namespace_has_no_module_that_came_later(
    put_at: Callable[..., None], project: Path, three: Path
) -> None:
    put_at("digits/dog", "1.0.0", "2026-01-25T12:00:00Z")

    chosen = install(["digits/*"], project, three, exclude_newer="2026-01-20", dry_run=True)
    assert {str(module.name) for module in chosen.modules} == {"digits/cat"}

    with pytest.raises(ModpmError, match="newer than 2026-01-01T23:59:59Z"):
        install(["digits/*"], project, three, exclude_newer="2026-01-01")


def test_a_tag_of_a_later_release_is_explained(project: Path, three: Path) -> None:
    path = three / "digits" / "cat" / "index.json"
    index = json.loads(path.read_bytes())
    index["tags"] = {"stable": "1.2.0"}
    path.write_text(json.dumps(index))

    with pytest.raises(ModpmError, match=r"1\.2\.0 newer than") as caught:
        install(["digits/cat@stable"], project, three, exclude_newer="2026-01-20")
    assert caught.value.code == "no-version-fits"


def test_outdated_is_what_was_behind_at_that_time(project: Path, three: Path) -> None:
    install(["digits/cat==1.1"], project, three)

    def standing(exclude_newer: str | None) -> tuple[str | None, bool]:
        (one,) = outdated(project, exclude_newer=exclude_newer)
        return one.newest, one.is_outdated

    assert standing(None) == ("1.2.0", True)
    assert standing("2026-01-25") == ("1.1.0", False)
    assert standing("2026-01-15") == ("1.1.0", False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "20260120",
        "2026-W04",
        "2026-02-30",
        "2026-01-20T12:00:00",
        "2026-01-20T25:00:00Z",
        "0001-01-01T00:00:00+23:00",
        "٢٠٢٦-01-20",
    ],
)
def test_what_is_no_time_is_refused_before_anything_is_asked(text: str, project: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        install(["digits/cat"], project, "https://nowhere.invalid", exclude_newer=text)

    assert (caught.value.code, caught.value.exit_code) == ("bad-setting", 2)
    assert not (project / "modpm.toml").exists()


def test_a_year_has_four_digits() -> None:
    assert Bounds.of("0900-01-01").until == "0900-01-01T23:59:59Z"
