"""No way back without a word: what a registry has said once, it cannot take back in silence."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest
from tests.registry.backends.kinds.kind import in_environment
from tests.registry.backends.kinds.oci import Oci
from tests.registry.backends.servers.static_files import StaticFiles

from modpm.cli.main import main
from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.installing.installation import install, sync, update
from modpm.registry.permissions import ROLLBACKS
from modpm.registry.pins.locking import lock
from modpm.registry.publication.changing import tag, untag, unyank, yank
from modpm.registry.publication.publishing import publish
from modpm.registry.seen import FILE, Seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.registry.conftest import MakeDistribution, Put

CAT = ModuleName("digits", "cat")


Elsewhere = Callable[[], AbstractContextManager[None]]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


class Run(Protocol):
    def __call__(self, *arguments: str | Path) -> Outcome: ...


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NO_COLOR", "1")
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_modpm(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run_modpm


@pytest.fixture
def elsewhere(tmp_path: Path) -> Elsewhere:
    """Let a block run as on another machine: what it does is not known on this one."""
    return lambda: in_environment({"MODPM_HOME": str(tmp_path / "another machine")})


def go_back(registry: Path, copy: Path) -> None:
    shutil.rmtree(registry)
    shutil.copytree(copy, registry)


def change_index(registry: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write an index as whoever keeps the registry can."""
    path = registry / "digits" / "cat" / "index.json"
    index = json.loads(path.read_bytes())
    change(index)
    path.chmod(0o644)
    path.write_text(json.dumps(index), encoding="utf-8")


def without_first(index: dict[str, Any]) -> None:
    index["releases"] = index["releases"][1:]
    index["serial"] += 1


def refused(work: Callable[[], object]) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        work()
    return caught.value


def versions(project: Path) -> list[str]:
    text = (project / "modpm.lock").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("version = ")]
    return [line.partition('"')[2].rstrip('"') for line in lines]


def test_an_older_copy_of_a_registry_is_refused(
    put: Put, registry: Path, run: Run, here: Path, tmp_path: Path
) -> None:
    put("digits/cat", "1.0.0")
    shutil.copytree(registry, tmp_path / "old")
    put("digits/cat", "1.1.0")
    assert run("install", "digits/cat", "--registry", registry).code == 0
    before = (here / "modpm.lock").read_bytes()
    go_back(registry, tmp_path / "old")

    for verb in ("lock", "update", "outdated"):
        outcome = run(verb)
        assert outcome.code == 1, verb
        assert "error: what a registry lists for `digits/cat` has gone back" in outcome.err
        assert "1.1.0 was listed from 20" in outcome.err
        assert "its count of changes was 2 on 20" in outcome.err
        assert "--accept-rollback" in outcome.err
    assert json.loads(run("update", "--json").out)["error"]["code"] == "rolled-back"
    assert (here / "modpm.lock").read_bytes() == before


def test_a_yank_that_is_taken_back_by_an_older_copy_is_missed(
    put: Put, registry: Path, here: Path, tmp_path: Path
) -> None:
    put("digits/cat")
    shutil.copytree(registry, tmp_path / "old")
    yank("digits/cat==1.0.0", "labels are swapped", registry)
    assert refused(lambda: install(["digits/cat"], here, registry)).code == "no-version-fits"
    go_back(registry, tmp_path / "old")

    assert refused(lambda: install(["digits/cat"], here, registry)).code == "rolled-back"


def test_syncing_misses_the_yank_too(
    put: Put, registry: Path, here: Path, tmp_path: Path, home: Path
) -> None:
    put("digits/cat")
    install(["digits/cat"], here, registry)
    shutil.copytree(registry, tmp_path / "old")
    yank("digits/cat==1.0.0", "labels are swapped", registry)
    go_back(registry, tmp_path / "old")
    shutil.rmtree(home / "blobs")
    shutil.rmtree(here / ".modpm")

    assert refused(lambda: sync(here)).code == "rolled-back"
    with ROLLBACKS.given():
        assert [one.version for one in sync(here).modules] == ["1.0.0"]


def test_a_release_that_was_seen_and_is_gone_is_missed(
    put: Put, registry: Path, here: Path
) -> None:
    put("digits/cat", "1.0.0")
    put("digits/cat", "1.1.0")
    install(["digits/cat"], here, registry)
    change_index(registry, without_first)

    error = refused(lambda: update((), here))

    assert error.code == "rolled-back"
    assert "1.0.0 was listed from 20" in str(error.why)


def test_a_name_of_which_nothing_is_left_is_missed_and_not_taken_from_another(
    put: Put, registry: Path, here: Path, tmp_path: Path
) -> None:
    put("digits/cat")
    put("digits/cat", "3.0.0", to=tmp_path / "other")
    install(["digits/cat"], here, registry)
    shutil.rmtree(registry / "digits")

    new = tmp_path / "new"
    new.mkdir()
    error = refused(lambda: install(["digits/cat"], new, [registry, tmp_path / "other"]))

    assert error.code == "rolled-back"


def test_a_release_that_was_seen_with_other_bytes_is_refused(
    *,
    put: Put,
    registry: Path,
    here: Path,
    tmp_path: Path,
    make_distribution: MakeDistribution,
    elsewhere: Elsewhere,
) -> None:
    first = put("digits/cat")
    install(["digits/cat"], here, registry)
    other = make_distribution("digits/cat", summary="other bytes")
    with elsewhere():
        shutil.rmtree(registry)
        publish([other.folder], registry)
    new = tmp_path / "new"
    new.mkdir()

    error = refused(lambda: install(["digits/cat"], new, registry))

    assert error.code == "release-changed"
    assert f"1.0.0 is {other.digest}, and was {first} on 20" in str(error.why)
    assert not (new / "modpm.lock").exists()


def test_a_tag_that_moved_back_is_refused(
    put: Put, registry: Path, here: Path, elsewhere: Elsewhere
) -> None:
    put("digits/cat", "1.0.0")
    put("digits/cat", "1.1.0")
    tag("digits/cat==1.1.0", "stable", registry)
    install(["digits/cat@stable"], here, registry)
    with elsewhere():
        tag("digits/cat==1.0.0", "stable", registry)

    error = refused(lambda: update((), here))

    assert error.code == "rolled-back"
    assert "`stable` stood for 1.1.0 on 20" in str(error.why)
    assert "and stands for 1.0.0" in str(error.why)
    with ROLLBACKS.given():
        update((), here)
    assert versions(here) == ["1.0.0"]


def test_a_tag_that_comes_back_lower_is_refused(
    put: Put, registry: Path, here: Path, elsewhere: Elsewhere
) -> None:
    put("digits/cat", "1.0.0")
    put("digits/cat", "1.1.0")
    tag("digits/cat==1.1.0", "stable", registry)
    with elsewhere():
        untag("digits/cat", "stable", registry)
        install(["digits/cat"], here, registry)
    lock(here)  # that a tag is gone is no way back
    with elsewhere():
        tag("digits/cat==1.0.0", "stable", registry)

    assert refused(lambda: lock(here)).code == "rolled-back"


def test_what_others_may_do_is_not_refused(
    put: Put, registry: Path, here: Path, elsewhere: Elsewhere
) -> None:
    put("digits/cat", "1.0.0")
    put("digits/cat", "1.1.0")
    tag("digits/cat==1.1.0", "stable", registry)
    install(["digits/cat@stable"], here, registry)
    with elsewhere():
        yank("digits/cat==1.1.0", "labels are swapped", registry)
        lock(here)
        tag("digits/cat==1.0.0", "stable", registry)  # the release that it stood for was yanked
    update((), here)
    assert versions(here) == ["1.0.0"]
    with elsewhere():
        unyank("digits/cat==1.1.0", registry)
        tag("digits/cat==1.1.0", "stable", registry)
    update((), here)
    assert versions(here) == ["1.1.0"]


def test_whoever_moves_a_tag_back_knows_that_it_moved(put: Put, registry: Path, here: Path) -> None:
    put("digits/cat", "1.0.0")
    put("digits/cat", "1.1.0")
    tag("digits/cat==1.1.0", "stable", registry)
    install(["digits/cat@stable"], here, registry)

    tag("digits/cat==1.0.0", "stable", registry)

    update((), here)
    assert versions(here) == ["1.0.0"]


def test_what_this_machine_has_published_cannot_be_lost(
    put: Put, registry: Path, here: Path, tmp_path: Path
) -> None:
    put("digits/cat", "1.0.0")
    shutil.copytree(registry, tmp_path / "old")
    put("digits/cat", "1.1.0")  # and nothing has been read since
    go_back(registry, tmp_path / "old")

    assert refused(lambda: install(["digits/cat"], here, registry)).code == "rolled-back"


def test_a_registry_that_is_made_anew_has_to_be_accepted_once(
    put: Put, registry: Path, run: Run, home: Path
) -> None:
    put("digits/cat", "1.0.0")
    put("digits/cat", "1.1.0")
    assert run("install", "digits/cat>=1", "--registry", registry).code == 0
    shutil.rmtree(registry)
    put("digits/cat", "1.0.0")

    outcome = run("update")
    assert outcome.code == 1
    assert "Where it was made anew or restored, and where you know" in outcome.err
    accepted = run("update", "--accept-rollback")
    assert accepted.code == 0
    assert "~ digits/cat 1.1.0 -> 1.0.0 (lowered: 1.1.0 is not listed)\n" in accepted.err
    assert run("update").code == 0
    with closing(sqlite3.connect(home / FILE)) as database:
        kept = database.execute("SELECT name, value FROM seen WHERE what <> 'release'").fetchall()
    assert kept == [("", 1)]


def test_a_copy_on_a_web_server_is_held_to_it_too(
    put: Put, registry: Path, run: Run, tmp_path: Path
) -> None:
    server = StaticFiles(tmp_path)
    server.start()
    try:
        url = f"http://127.0.0.1:{server.port}/registry"
        put("digits/cat", "1.0.0")
        shutil.copytree(registry, tmp_path / "old")
        put("digits/cat", "1.1.0")
        assert run("install", "digits/cat>=1", "--registry", url).code == 0
        go_back(registry, tmp_path / "old")

        outcome = run("update")

        assert outcome.code == 1
        assert "has gone back" in outcome.err
        assert url in outcome.err
        assert run("update", "--accept-rollback").code == 0
    finally:
        server.stop()


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Oci]:
    reason = Oci.unavailable()
    if reason is not None:
        pytest.skip(reason)
    kind = Oci(tmp_path)
    kind.renew()
    kind.start()
    try:
        yield kind
    finally:
        kind.stop()


def test_a_server_without_indexes_is_held_to_its_releases_and_tags(
    oci: Oci, make_distribution: MakeDistribution, here: Path, elsewhere: Elsewhere
) -> None:
    access = oci.access()
    folders = [make_distribution("digits/cat", one).folder for one in ("1.0.0", "1.1.0")]
    with in_environment(access.environment):
        publish(folders, access.url)
        tag("digits/cat==1.1.0", "stable", access.url)
        install(["digits/cat@stable"], here, access.url)
        with elsewhere():
            tag("digits/cat==1.0.0", "stable", access.url)
        error = refused(lambda: update((), here))
        assert error.code == "rolled-back"
        assert "`stable` stood for 1.1.0" in str(error.why)
        with elsewhere():
            tag("digits/cat==1.1.0", "stable", access.url)
        update((), here)

        for found in list(oci.storage.rglob("tags/1.0.0")):
            shutil.rmtree(found)
        error = refused(lambda: update((), here))
        assert error.code == "rolled-back"
        assert "1.0.0 was listed from 20" in str(error.why)


# Lowering


def test_a_lower_version_is_told_with_its_cause(put: Put, registry: Path, run: Run) -> None:
    put("digits/cat", "1.0.0")
    put("digits/cat", "1.1.0")
    toml = Path("modpm.toml")
    assert run("install", "digits/cat>=1", "--registry", registry).code == 0
    higher = Path("modpm.lock").read_bytes()

    toml.write_text(toml.read_text().replace("digits/cat>=1", "digits/cat<1.1"))
    words = "~ digits/cat 1.1.0 -> 1.0.0 (lowered: 1.1.0 does not fit what is asked for)\n"
    assert run("lock").err == words
    assert run("sync").err == "~ digits/cat 1.1.0 -> 1.0.0 (lowered: modpm.lock pins it)\n"

    toml.write_text(toml.read_text().replace("digits/cat<1.1", "digits/cat>=1"))
    Path("modpm.lock").write_bytes(higher)
    assert run("sync").err == "~ digits/cat 1.0.0 -> 1.1.0\n"
    yank("digits/cat==1.1.0", "labels are swapped", registry)
    told = "~ digits/cat 1.1.0 -> 1.0.0 (lowered: 1.1.0 was yanked: labels are swapped)\n"
    assert run("update", "--dry-run").err.startswith(told)
    outcome = run("update", "--json")
    assert outcome.err == told
    assert json.loads(outcome.out)["changes"] == [
        {
            "name": "digits/cat",
            "before": "1.1.0",
            "after": "1.0.0",
            "lowered": "1.1.0 was yanked: labels are swapped",
        }
    ]


def test_what_is_newer_than_asked_for_is_named_as_the_cause(
    put: Put, registry: Path, run: Run
) -> None:
    put("digits/cat", "1.0.0")
    put("digits/cat", "1.1.0")
    change_index(
        registry, lambda index: index["releases"][0].update(published="2020-01-01T00:00:00Z")
    )
    assert run("install", "digits/cat>=1", "--registry", registry).code == 0

    outcome = run("update", "--exclude-newer", "2021-01-01")

    cause = "1.1.0 was published later than asked for"
    assert outcome.err == f"~ digits/cat 1.1.0 -> 1.0.0 (lowered: {cause})\n"


def test_no_lower_release_takes_the_place_of_a_locked_one_that_is_gone(
    put: Put, registry: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("digits/cat", "1.0.0")
    shutil.copytree(registry, tmp_path / "old")
    put("digits/cat", "1.1.0")
    assert run("install", "digits/cat>=1", "--registry", registry).code == 0
    go_back(registry, tmp_path / "old")
    # Who clones the project has never seen the registry.
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "another"))

    for verb in ("lock", "update"):
        outcome = run(verb)
        assert outcome.code == 1
        assert "`digits/cat` 1.1.0 is locked, and its registry does not list it" in outcome.err
    accepted = run("update", "--accept-rollback")
    assert "~ digits/cat 1.1.0 -> 1.0.0 (lowered: 1.1.0 is not listed)\n" in accepted.err


# The record


@pytest.mark.parametrize("content", [b"no database", b"", b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_record_is_begun_anew(
    put: Put, registry: Path, run: Run, home: Path, content: bytes
) -> None:
    put("digits/cat")
    (home / FILE).write_bytes(content)
    for beside in ("-journal",):
        (home / f"{FILE}{beside}").unlink(missing_ok=True)

    outcome = run("install", "digits/cat", "--registry", registry)

    assert outcome.code == 0
    assert outcome.err.count("what was seen of registries is begun anew") == bool(content)
    shutil.rmtree(registry / "digits")
    assert "has gone back" in run("update").err


def test_tables_of_another_kind_are_begun_anew(
    put: Put, registry: Path, run: Run, home: Path
) -> None:
    put("digits/cat")
    (home / FILE).unlink()
    with closing(sqlite3.connect(home / FILE)) as database:
        database.execute("CREATE TABLE seen (other TEXT)")

    outcome = run("install", "digits/cat", "--registry", registry)

    assert outcome.code == 0
    assert "is begun anew" in outcome.err


def test_a_record_that_cannot_be_kept_is_said_once(
    put: Put, registry: Path, run: Run, home: Path
) -> None:
    put("digits/cat")
    put("digits/dog")
    (home / FILE).unlink()
    (home / FILE).mkdir()

    outcome = run("install", "digits/cat", "digits/dog", "--registry", registry)

    assert outcome.code == 0
    assert outcome.err.count("what was seen of registries is not known") == 1


def test_a_record_that_somebody_holds_is_done_without(
    put: Put, registry: Path, run: Run, home: Path
) -> None:
    put("digits/cat")
    with closing(sqlite3.connect(home / FILE, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")

        outcome = run("install", "digits/cat", "--registry", registry)

    assert outcome.code == 0
    assert outcome.err.count("what was seen of registries is not known") == 1


def test_readers_at_the_same_time_as_a_publisher_are_never_refused(
    registry: Path, make_distribution: MakeDistribution
) -> None:
    folders = [make_distribution("digits/cat", f"1.{i}.0").folder for i in range(12)]
    publish(folders[:1], registry)
    is_done = Event()

    def read() -> int:
        seen, n_read = Seen(), 0
        while not is_done.is_set() or n_read == 0:
            assert seen.index(DirectoryRegistry(registry), CAT) is not None
            n_read += 1
        return n_read

    with ThreadPoolExecutor(6) as pool:
        reading = [pool.submit(read) for _ in range(6)]
        try:
            for i, folder in enumerate(folders[1:], start=1):
                publish([folder], registry)
                tag(f"digits/cat==1.{i}.0", "stable", registry)
        finally:
            is_done.set()
        assert all(one.result() for one in reading)


def test_processes_share_one_record(put: Put, registry: Path, home: Path) -> None:
    put("digits/cat")
    for beside in ("", "-journal"):
        (home / f"{FILE}{beside}").unlink(missing_ok=True)
    command = [sys.executable, "-m", "modpm.cli", "info", "digits/cat", "--registry", str(registry)]

    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(5)
    ]
    told = [process.communicate()[1] for process in processes]

    assert [process.returncode for process in processes] == [0] * 5
    assert told == [b""] * 5
    with closing(sqlite3.connect(home / FILE)) as database:
        (n_releases,) = database.execute(
            "SELECT count(*) FROM seen WHERE what = 'release'"
        ).fetchone()
    assert n_releases == 1


def test_what_does_nothing_opens_no_record(put: Put, registry: Path, run: Run, home: Path) -> None:
    put("digits/cat")
    assert run("install", "digits/cat", "--registry", registry).code == 0
    for beside in ("", "-journal"):
        (home / f"{FILE}{beside}").unlink(missing_ok=True)

    for words in (("sync",), ("list",), ("install",), ("verify", "--offline")):
        assert run(*words).code == 0
    assert not (home / FILE).exists()
