"""Commands that are ended by `kill -9` at random moments of their work.

After each, the project is in its old state or its new one, the registry lists only whole
releases, every file of the store is intact, and the same command completes the work.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.registry.command_server import CommandServer
from tests.registry.outcomes import present_and_whole

from modpm.registry.backends.protocol import ReleaseFile
from modpm.registry.installing.installation import install
from modpm.registry.installing.verification import verify
from modpm.registry.publication.publishing import publish
from modpm.registry.storage.caching import prune, verify_store
from modpm.registry.storage.store import Store
from modpm.registry.storage.transfer import receive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.registry.backends.kinds.kind import Kind
    from tests.registry.command_server import Outcome
    from tests.registry.conftest import MakeDistribution

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or not hasattr(os, "pidfd_open"), reason="this system has no pidfd_open"
)

N_KILLS = 50
OLD = {"digits/cat": "1.0.0"}
NEW = {"digits/cat": "1.1.0", "digits/dog": "1.0.0", "digits/owl": "1.0.0"}
ASKED = ("digits/cat>1", "digits/dog", "digits/owl")


@dataclass
class Scene:
    """A registry, a project with an old release, and processes to work on them."""

    kind: Kind
    commands: CommandServer
    project: Path
    home: Path
    folder: Path

    def save(self) -> None:
        """Remember the project and the store as they are now."""
        for path in (self.project, self.home):
            shutil.copytree(path, self.folder / path.name, symlinks=True)

    def restore(self) -> None:
        """Make the project and the store what they were."""
        for path in (self.project, self.home):
            shutil.rmtree(path)
            shutil.copytree(self.folder / path.name, path, symlinks=True)


@pytest.fixture
def scene(kind_of_registry: Kind, project: Path, home: Path, tmp_path: Path) -> Iterator[Scene]:
    home.mkdir()
    with CommandServer(tmp_path) as commands:
        yield Scene(kind_of_registry, commands, project, home, tmp_path / "saved")


@pytest.fixture
def installable(scene: Scene, make_distribution: MakeDistribution) -> Scene:
    releases = [*OLD.items(), *NEW.items()]
    publish([make_distribution(name, version).folder for name, version in releases], scene.kind.url)
    install([f"{name}=={version}" for name, version in OLD.items()], scene.project, scene.kind.url)
    return scene


@dataclass
class Work:
    """A command, and what must be true of what it leaves.

    Attributes:
        restore: Makes everything as it was before.
        run: Runs the command; kills it after so many seconds.
        check_killed: What must be true whenever it was killed.
        check_complete: What must be true when it has ended by itself.
    """

    restore: Callable[[], object]
    run: Callable[[float | None], Outcome]
    check_killed: Callable[[], object]
    check_complete: Callable[[], object]

    def complete(self, kill_after_seconds: float | None = None) -> Outcome:
        """Run the command, which may be killed and may not fail."""
        outcome = self.run(kill_after_seconds)
        if outcome.code is None:
            self.check_killed()
        else:
            assert outcome.code == 0, outcome.output
            self.check_complete()
        return outcome

    def duration(self) -> float:
        """Return how long the command takes."""
        times = []
        for _ in range(3):
            self.restore()
            times.append(self.complete().seconds)
        return statistics.median(times)

    def kill(self) -> None:
        """Kill the command at random moments of its duration, again and again.

        It goes on with what the last one has left, until one has ended by itself.
        """
        longest, moments = self.duration(), random.Random(0)  # noqa: S311 - no secret
        self.restore()
        n_killed = 0
        for _ in range(10 * N_KILLS):
            if self.complete(moments.uniform(0, longest)).code is None:
                n_killed += 1
            else:
                self.restore()
            if n_killed == N_KILLS:
                break
        assert n_killed == N_KILLS
        self.complete()


def check_project(project: Path) -> None:
    assert present_and_whole(project) in (OLD, NEW)
    assert verify_store() == []


def check_new_project(project: Path) -> None:
    assert {str(module.name): module.version for module in verify(project)} == NEW


def check_leftovers(scene: Scene) -> None:
    """Nothing is left over of what was killed and completed."""
    prune()
    assert verify_store() == []
    names = {path.name for path in [*scene.project.rglob("*"), *scene.home.rglob("*")]}
    assert not [name for name in names if name.endswith((".part", "staging"))]
    assert not list((Store.of_user().folder / ".users").iterdir())


def kill_in_project(scene: Scene, *command: str) -> None:
    scene.save()
    Work(
        scene.restore,
        lambda seconds: scene.commands.run(*command, cwd=scene.project, kill_after_seconds=seconds),
        lambda: check_project(scene.project),
        lambda: check_new_project(scene.project),
    ).kill()
    check_leftovers(scene)


def test_a_killed_install_leaves_the_old_state_or_the_new(installable: Scene) -> None:
    kill_in_project(installable, "install", *ASKED)


def test_a_killed_sync_leaves_the_old_state_or_the_new(installable: Scene) -> None:
    scene = installable
    scene.save()
    install(ASKED, scene.project)
    locked = {path: path.read_bytes() for path in scene.project.glob("modpm.*")}
    scene.restore()
    for path, content in locked.items():
        path.write_bytes(content)
    shutil.rmtree(scene.folder)

    kill_in_project(scene, "sync")


def test_a_killed_publish_lists_only_whole_releases(
    scene: Scene, make_distribution: MakeDistribution
) -> None:
    folders = [make_distribution(name, version).folder for name, version in NEW.items()]
    old = [make_distribution(name, version).folder for name, version in OLD.items()]

    def restore() -> None:
        scene.kind.renew()
        publish(old, scene.kind.url)

    def run(seconds: float | None) -> Outcome:
        arguments: list[str | Path] = ["publish", *folders, "--registry", scene.kind.url]
        return scene.commands.run(*arguments, cwd=scene.project, kill_after_seconds=seconds)

    everything = {*OLD.items(), *NEW.items()}

    def check() -> None:
        assert {*OLD.items()} <= whole_releases(scene.kind) <= everything

    def check_complete() -> None:
        assert whole_releases(scene.kind) == everything

    Work(restore, run, check, check_complete).kill()


def whole_releases(kind: Kind) -> set[tuple[str, str]]:
    """Return the releases that a registry lists, every byte of them verified."""
    backend = kind.again()
    found: set[tuple[str, str]] = set()
    for name in backend.names():
        index = backend.index(name)
        assert index is not None
        for release in index.releases:
            for file, record in release.all_files.items():
                with backend.open_file(ReleaseFile(name, release.version, file)) as stream:
                    receive(stream, record, file)
            found.add((str(name), release.version))
    return found
