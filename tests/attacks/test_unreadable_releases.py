"""One release, or index, that is newer or unreadable hides nothing else, and is told."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.attacks.web_servers import serving

from modpm.cli.main import main
from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.registry.publication.changing import reindex, tag, untag, yank
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.attacks.web_servers import Answer, Asked
    from tests.registry.conftest import MakeDistribution, Put

STEERING = "\x1b[2J"
NEWER: dict[str, Any] = {"version": "2.0.0", "format_version": 2, "later": [{"x": None}, 1]}


class Outcome(NamedTuple):
    """What a verb printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def project(here: Path) -> Path:
    """Return the folder that all attacks start from, as a project."""
    return here


@pytest.fixture(params=["folder", "web server"])
def source(
    request: pytest.FixtureRequest, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Give where a project has its registry, which is a folder or a web server for one."""

    def answer(asked: Asked) -> Answer:
        path = registry / asked.path.lstrip("/")
        return (200, [], path.read_bytes()) if path.is_file() else (404, [], b"")

    with serving(answer) as server:
        place = str(registry) if request.param == "folder" else f"http://127.0.0.1:{server.port}"
        monkeypatch.setenv("MODPM_REGISTRY", place)
        yield place


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], project: Path) -> Callable[..., Outcome]:
    assert project.is_dir()

    def run_verb(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = main(list(arguments))
        return Outcome(code, *capsys.readouterr())

    return run_verb


def index_of(registry: Path, name: str) -> Path:
    return registry / name / "index.json"


def add(registry: Path, name: str, entry: object, **tags: str) -> None:
    """List something more, by hand."""
    document = json.loads(index_of(registry, name).read_bytes())
    document["releases"].append(entry)
    document["tags"] |= tags
    index_of(registry, name).write_bytes(canonical_json.encode(document))


def listed(registry: Path, name: str) -> list[Any]:
    found: list[Any] = json.loads(index_of(registry, name).read_bytes())["releases"]
    return found


def pinned(project: Path) -> str:
    return (project / "modpm.lock").read_text()


@pytest.mark.parametrize(
    "case",
    [
        (NEWER, "2.0.0 has format version 2"),
        ({"version": "2.0.0", "kind": "ensemble"}, "2.0.0 is of the unknown kind 'ensemble'"),
        ({"version": "2.0.0"}, "2.0.0 is damaged: digest is missing"),
        (
            {"version": "2.0.0", "format_version": STEERING},
            "2.0.0 has format version \\u001b[2J",
        ),
    ],
)
@pytest.mark.usefixtures("source")
def test_one_release_hides_no_other_and_is_told_where_it_would_have_been_chosen(
    put: Put, registry: Path, project: Path, run: Callable[..., Outcome], case: tuple[object, str]
) -> None:
    put("digits/cat", "1.0.0")
    put("digits/cat", "1.1.0")
    entry, why = case
    add(registry, "digits/cat", entry, next="2.0.0")

    installed = run("install", "digits/cat")

    assert installed.code == 0, installed.err
    assert 'version = "1.1.0"' in pinned(project)
    assert installed.err.count("warning:") == 1
    assert why in installed.err
    (project / "modpm.toml").write_text(
        (project / "modpm.toml").read_text().replace("digits/cat~=1.1", "digits/cat>=1.0")
    )
    for verb in (
        ("update",),
        ("outdated",),
        ("info", "digits/cat>=1.0", "--registry", str(registry)),
    ):
        told = run(*verb)
        assert told.code == 0, told.err
        assert why in told.err, verb
    assert STEERING not in installed.err


@pytest.mark.usefixtures("source")
def test_who_asks_for_what_is_skipped_alone_is_told_why(
    put: Put, registry: Path, run: Callable[..., Outcome]
) -> None:
    put("digits/cat")
    add(registry, "digits/cat", NEWER, next="2.0.0")

    for asked in ("digits/cat>=2", "digits/cat==2.0.0", "digits/cat@next"):
        refused = run("install", asked)
        assert refused.code == 1
        assert "no release of `digits/cat` satisfies" in refused.err
        assert "2.0.0 has format version 2" in refused.err
        assert "upgrade modpm" in refused.err


@pytest.mark.usefixtures("source")
def test_what_would_not_have_been_chosen_is_not_told(
    put: Put, registry: Path, run: Callable[..., Outcome]
) -> None:
    put("digits/cat", "1.0.0")
    add(registry, "digits/cat", {**NEWER, "version": "2.0rc1"})
    add(registry, "digits/cat", NEWER)

    told = run("install", "digits/cat<2")

    assert told.code == 0
    assert "warning" not in told.err


@pytest.mark.parametrize("entry", [NEWER, {"version": "2.0.0", "kind": "ensemble", "x": [1.5]}])
def test_who_writes_an_index_loses_nothing_that_he_cannot_read(
    put: Put, registry: Path, entry: object
) -> None:
    put("digits/cat", "1.0.0")
    add(registry, "digits/cat", entry, next="2.0.0")
    add(registry, "digits/cat", None)

    put("digits/cat", "3.0.0")
    yank("digits/cat==1.0.0", "wrong labels", registry)
    tag("digits/cat==3.0.0", "stable", registry)
    untag("digits/cat", "stable", registry)

    document = json.loads(index_of(registry, "digits/cat").read_bytes())
    versions = [one and one["version"] for one in document["releases"]]
    assert versions == ["1.0.0", "2.0.0", "3.0.0", None]
    assert document["releases"][1] == entry
    assert document["tags"] == {"next": "2.0.0"}


def test_the_version_of_what_is_skipped_is_nobody_elses(
    put: Put, registry: Path, make_distribution: MakeDistribution
) -> None:
    put("digits/cat", "1.0.0")
    add(registry, "digits/cat", NEWER)
    before = index_of(registry, "digits/cat").read_bytes()
    for work in (
        lambda: publish([make_distribution("digits/cat", "2.0.0").folder], registry),
        lambda: publish([make_distribution("digits/cat", "2.0").folder], registry, dry_run=True),
        lambda: yank("digits/cat==2.0.0", "wrong", registry),
        lambda: tag("digits/cat==2.0.0", "stable", registry),
    ):
        with pytest.raises(ModpmError, match=r"2\.0\.0 has format version 2") as caught:
            work()
        assert caught.value.code == "skipped-release"
    assert index_of(registry, "digits/cat").read_bytes() == before
    assert not (registry / "digits" / "cat" / "2.0.0").exists()


@pytest.mark.parametrize("content", [b"{", b'{"format_version":9}'])
@pytest.mark.usefixtures("source")
def test_a_namespace_is_installed_but_for_what_cannot_be_read_which_is_told(
    put: Put, registry: Path, project: Path, run: Callable[..., Outcome], content: bytes
) -> None:
    put("digits/cat")
    put("digits/dog")
    put("digits/eel")
    index_of(registry, "digits/dog").write_bytes(content)

    installed = run("install", "digits/*")

    assert installed.code == 0, installed.err
    assert "digits/eel" in pinned(project)
    assert "digits/dog" not in pinned(project)
    assert installed.err.count("warning:") == 1
    assert "digits/dog" in installed.err


@pytest.mark.usefixtures("source")
def test_a_module_that_is_locked_is_not_left_out_of_its_namespace(
    put: Put, registry: Path, project: Path, run: Callable[..., Outcome]
) -> None:
    put("digits/cat")
    put("digits/dog")
    assert run("install", "digits/*").code == 0
    before = pinned(project)
    index_of(registry, "digits/dog").write_bytes(b"{")

    for verb in ("update", "lock"):
        refused = run(verb)
        assert refused.code == 1
        assert "digits/dog" in refused.err
    assert pinned(project) == before


@pytest.mark.usefixtures("source")
def test_outdated_tells_of_an_index_that_cannot_be_read_and_goes_on(
    put: Put, registry: Path, run: Callable[..., Outcome]
) -> None:
    put("digits/cat")
    put("digits/dog")
    assert run("install", "digits/cat", "digits/dog").code == 0
    index_of(registry, "digits/dog").write_bytes(b"{")

    nothing_newer = run("outdated", "--exit-code")
    assert nothing_newer.code == 1
    assert "digits/dog" in nothing_newer.err
    assert "everything" not in nothing_newer.err
    put("digits/cat", "1.1.0")
    told = run("outdated")

    assert told.code == 0
    assert "digits/cat" in told.out
    assert "digits/dog" not in told.out
    assert told.err.count("warning:") == 1


@pytest.mark.usefixtures("source")
def test_a_yank_is_told_beside_an_index_that_cannot_be_read(
    put: Put, registry: Path, project: Path, home: Path, run: Callable[..., Outcome]
) -> None:
    put("digits/cat")
    put("digits/dog")
    assert run("install", "digits/cat", "digits/dog").code == 0
    yank("digits/cat==1.0.0", "wrong labels", registry)
    index_of(registry, "digits/dog").write_bytes(b"{")
    shutil.rmtree(project / ".modpm")  # as in a fresh clone, on another machine
    shutil.rmtree(home)

    told = run("sync")

    assert "wrong labels" in told.err


def test_reindexing_tells_of_a_release_that_is_skipped_and_shows_the_others(
    put: Put, registry: Path, run: Callable[..., Outcome]
) -> None:
    put("digits/cat")
    add(registry, "digits/cat", NEWER)

    (shard,) = reindex(registry)

    assert "2.0.0 has format version 2" in str(shard.problem and shard.problem.why)
    assert "digits/cat" in run("search", "--registry", str(registry)).out
