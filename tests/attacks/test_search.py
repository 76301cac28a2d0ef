"""Search: a catalogue is asked for little, believed little, and one bad part hides nothing else."""

from __future__ import annotations

import json
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest
from tests.attacks.web_servers import serving

from modpm.cli.main import main
from modpm.core.formats.distribution import read_distribution, write_distribution
from modpm.core.formats.names import ModuleName
from modpm.registry.backends import file_registry
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.discovery.searching import search

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.attacks.web_servers import Answer, Asked, WebServer

    from modpm.core.formats.distribution import Distribution

N_NAMESPACES, N_MODULES = 3, 4


class Outcome(NamedTuple):
    """What a verb printed."""

    code: int
    out: str
    err: str


pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def made(tmp_path: Path, repository: Path) -> Make:
    return Make(tmp_path / "dist", repository)


class Make:
    """Makes distributions that differ by name, version and summary."""

    def __init__(self, folder: Path, repository: Path) -> None:
        golden = read_distribution(repository / "specs" / "vectors" / "distribution" / "digits-7")
        self._folder, self._manifest = folder, golden.module_manifest
        self._files = {n: (golden.folder / n).read_bytes() for n in golden.manifest.files}

    def __call__(self, name: str, version: str = "1.0.0", summary: str = "") -> Distribution:
        manifest = msgspec.structs.replace(
            self._manifest, name=name, version=version, summary=summary, requires=[]
        )
        place = self._folder / f"{name.replace('/', '-')}-{version}"
        return write_distribution(place, manifest, self._files)


@pytest.fixture
def registry(tmp_path: Path, made: Make) -> Path:
    folder = tmp_path / "registry"
    names = [f"space-{i}/cat-{j}" for i in range(N_NAMESPACES) for j in range(N_MODULES)]
    DirectoryRegistry(folder).publish([made(name, summary=f"purrs {name}") for name in names])
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Outcome:
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    return Outcome(code, *capsys.readouterr())


def found(outcome: Outcome) -> list[str]:
    assert outcome.code == 0, outcome
    return [module["name"] for module in json.loads(outcome.out)["modules"]]


@contextmanager
def served(folder: Path, *, has_e_tags: bool) -> Iterator[WebServer]:
    """Serve a folder, with ETags or without, and without looking at what a client has."""

    def answer(asked: Asked) -> Answer:
        path = folder / asked.path.lstrip("/")
        if not path.is_file():
            return 404, [], b""
        data = path.read_bytes()
        return 200, [("ETag", f'"{sha256(data).hexdigest()}"')] if has_e_tags else [], data

    with serving(answer) as server:
        yield server


@pytest.mark.parametrize("has_e_tags", [True, False])
def test_a_search_over_the_web_reads_a_few_documents_and_no_index(
    registry: Path, capsys: pytest.CaptureFixture[str], has_e_tags: bool
) -> None:
    with served(registry, has_e_tags=has_e_tags) as server:
        url = f"http://127.0.0.1:{server.port}"
        for _ in range(2):
            server.asked.clear()
            modules = found(run(capsys, "search", "purrs", "--registry", url, "--json"))
            assert len(modules) == N_NAMESPACES * N_MODULES
            assert len(server.asked) <= 2 + N_NAMESPACES
            assert not [asked for asked in server.asked if asked.path.endswith("index.json")]


@pytest.mark.parametrize(
    ("document", "content"),
    [
        ("space-0/cat-0/index.json", b"{"),
        ("space-0/cat-0/index.json", b'{"format_version":9,"name":"space-0/cat-0"}'),
        ("space-0/cat-0/index.json", b" " * (4 * 1024 * 1024 + 1)),
        ("space-0/catalogue.json", b"{"),
        ("space-0/catalogue.json", b'{"format_version":9}'),
        ("space-0/catalogue.json", b'{"format_version":1,"modules":{"cat-0":{"labels":"\xff"}}}'),
        ("space-0/catalogue.json", b'{"format_version":1,"modules":{"cat-0":{"size_bytes":-1}}}'),
        ("namespaces.json", b'{"format_version":1,"namespaces":{"space-0":{"n_shards":1e999}}}'),
    ],
)
def test_one_bad_document_is_told_and_hides_no_other_part(
    registry: Path, capsys: pytest.CaptureFixture[str], document: str, content: bytes
) -> None:
    (registry / document).write_bytes(content)

    outcome = run(capsys, "search", "--registry", registry, "--json")
    others = [n for n in found(outcome) if not n.startswith("space-0/")]
    assert len(others) == (N_NAMESPACES - 1) * N_MODULES
    if "index" not in document:
        assert outcome.err.startswith("warning: ")
        assert document in outcome.err


@pytest.mark.parametrize("document", ["space-0/catalogue.json", "namespaces.json"])
def test_what_is_damaged_of_a_catalogue_is_made_anew_by_the_next_who_publishes(
    registry: Path, made: Make, capsys: pytest.CaptureFixture[str], document: str
) -> None:
    (registry / document).write_bytes(b"{")
    DirectoryRegistry(registry).publish([made("space-0/dog")])

    outcome = run(capsys, "search", "--registry", registry, "--json")
    assert len(found(outcome)) == N_NAMESPACES * N_MODULES + 1
    assert outcome.err == ""


def test_a_catalogue_that_lies_installs_nothing(
    registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = registry / "space-0" / "catalogue.json"
    document = json.loads(path.read_bytes())
    document["modules"]["cat-0"] |= {"version": "9.9.9", "digest": f"sha256:{'0' * 64}"}
    document["modules"]["trojan"] = document["modules"]["cat-0"]
    path.write_text(json.dumps(document))

    assert "space-0/trojan" in found(run(capsys, "search", "--registry", registry, "--json"))
    assert run(capsys, "install", "space-0/cat-0", "--registry", registry).code == 0
    listed = json.loads(run(capsys, "list", "--json").out)["modules"]
    assert [(one["name"], one["version"]) for one in listed] == [("space-0/cat-0", "1.0.0")]
    assert run(capsys, "install", "space-0/trojan", "--registry", registry).code == 1


def test_a_link_in_place_of_a_shard_is_not_followed(
    registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = registry / "space-0" / "catalogue.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")

    outcome = run(capsys, "search", "--registry", registry, "--json")
    assert len(found(outcome)) == (N_NAMESPACES - 1) * N_MODULES
    assert "symbolic link" in outcome.err


@pytest.mark.parametrize("by", ["publishing again", "reindex"])
def test_an_entry_that_a_crash_left_behind_is_mended(
    registry: Path, made: Make, capsys: pytest.CaptureFixture[str], by: str
) -> None:
    path = registry / "space-0" / "catalogue.json"
    before = path.read_bytes()
    newer = made("space-0/cat-0", "2.0.0", "meows")
    DirectoryRegistry(registry).publish([newer])
    path.write_bytes(before)  # the index was written, and the catalogue was not
    assert search("meows", ".", registry) == []

    if by == "reindex":
        assert run(capsys, "registry", "reindex", "--registry", registry).code == 0
    else:
        DirectoryRegistry(registry).publish([newer])
    assert [str(one.name) for one in search("meows", ".", registry)] == ["space-0/cat-0"]


def test_reindex_tells_what_it_cannot_read(
    registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (registry / "space-0" / "cat-0" / "index.json").write_bytes(b"{")

    outcome = run(capsys, "registry", "reindex", "--registry", registry, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out) == {
        "n_modules": N_NAMESPACES * N_MODULES,
        "n_unreadable": 1,
    }
    assert "space-0/cat-0/index.json" in outcome.err


def test_a_large_namespace_is_split_and_no_module_is_lost(
    registry: Path, made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_registry, "MAX_SHARD_BYTES", 3000)
    names = [f"space-0/dog-{i}" for i in range(30)]
    for name in names:
        DirectoryRegistry(registry).publish([made(name)])

    counts = json.loads((registry / "namespaces.json").read_bytes())["namespaces"]
    assert counts["space-0"]["n_shards"] > 1
    shards = [
        registry / "space-0" / f"catalogue-{i}-of-{counts['space-0']['n_shards']}.json"
        for i in range(counts["space-0"]["n_shards"])
    ]
    assert all(path.stat().st_size <= 3000 for path in shards)
    assert len(search("", ".", registry, namespace="space-0")) == N_MODULES + len(names)
    assert [str(one.name) for one in search("dog-17", ".", registry)] == ["space-0/dog-17"]
    DirectoryRegistry(registry).change(
        ModuleName("space-0", "dog-17"), lambda index: msgspec.structs.replace(index, releases=[])
    )
    assert search("dog-17", ".", registry) == []
