from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.formats.picture import picture_problem
from modpm.core.formats.requirements import Requirement, parse_version
from modpm.registry.backends import layout, shards
from modpm.registry.index import Index
from modpm.registry.projects.lockfile import Lockfile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SEVEN = ModuleName("digits", "7")

TEXTS: dict[str, tuple[Callable[[str], object], str]] = {
    "names": (ModuleName.parse, "invalid-name"),
    "versions": (parse_version, "invalid-version"),
    "requirements": (Requirement.parse, "invalid-requirement"),
}


def cases(vectors: Path, kind: str, which: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((vectors / f"{kind}.json").read_bytes())[which]
    assert found
    return found


@pytest.mark.parametrize("kind", TEXTS)
def test_golden_texts_have_their_canonical_form(vectors: Path, kind: str) -> None:
    parse, _ = TEXTS[kind]
    for case in cases(vectors, kind, "valid"):
        assert str(parse(case["input"])) == case["canonical"]
        assert parse(case["canonical"]) == parse(case["input"])


@pytest.mark.parametrize("kind", TEXTS)
def test_golden_bad_texts_are_refused(vectors: Path, kind: str) -> None:
    parse, code = TEXTS[kind]
    for case in cases(vectors, kind, "invalid"):
        with pytest.raises(ModpmError) as caught:
            parse(case["input"])
        assert caught.value.code == case.get("code", code), case


def test_golden_lockfiles_are_read_and_written_alike(vectors: Path) -> None:
    for path in sorted((vectors / "lockfile" / "valid").iterdir()):
        data = path.read_bytes()
        assert Lockfile.from_bytes(data, path, "mend it").to_bytes() == data


def test_golden_bad_lockfiles_are_refused(vectors: Path) -> None:
    folder = vectors / "lockfile"
    expected = json.loads((folder / "expect.json").read_bytes())
    assert sorted(expected) == sorted(path.name for path in (folder / "invalid").iterdir())
    for name, case in expected.items():
        path = folder / "invalid" / name
        with pytest.raises(ModpmError) as caught:
            Lockfile.from_bytes(path.read_bytes(), path, "mend it")
        assert caught.value.code == case["code"], name


def test_golden_indexes_are_read_and_written_alike(vectors: Path) -> None:
    for path in sorted((vectors / "index" / "valid").iterdir()):
        data = path.read_bytes()
        assert Index.from_bytes(data, SEVEN, str(path)).to_bytes() == data


def test_golden_bad_indexes_are_refused(vectors: Path) -> None:
    folder = vectors / "index"
    expected = json.loads((folder / "expect.json").read_bytes())
    assert sorted(expected) == sorted(path.name for path in (folder / "invalid").iterdir())
    for name, case in expected.items():
        data = (folder / "invalid" / name).read_bytes()
        with pytest.raises(ModpmError) as caught:
            Index.from_bytes(data, SEVEN, name)
        assert caught.value.code == case["code"], name


def test_golden_indexes_are_used_but_for_what_is_skipped_and_stays(vectors: Path) -> None:
    folder = vectors / "index"
    expected = json.loads((folder / "skipped.json").read_bytes())
    assert sorted(expected) == sorted(path.name for path in (folder / "skipped").iterdir())
    for name, case in expected.items():
        data = (folder / "skipped" / name).read_bytes()
        index = Index.from_bytes(data, SEVEN, name)
        assert [release.version for release in index.releases] == case["releases"], name
        assert [one.text for one in index.skipped] == case["skipped"], name
        assert [one.is_newer for one in index.skipped] == case["newer"], name
        assert index.to_bytes() == data, name


def decode_layout(kind: str, data: bytes) -> Mapping[str, int | str | None]:
    if kind == "namespaces.json":
        return shards.decode_counts(data, kind)
    if kind == "catalogue.json":
        entries, _ = shards.read_entries(shards.decode_shard(data, kind))
        return {name: entry.version if entry else None for name, entry in entries.items()}
    layout.check_layout(data, kind)
    return {}


def layout_cases(vectors: Path, which: str) -> list[tuple[str, dict[str, Any]]]:
    documents = json.loads((vectors / "layout.json").read_bytes())
    assert set(documents) == {layout.REGISTRY_FILE, layout.NAMESPACES_FILE, "catalogue.json"}
    return [(kind, case) for kind, found in documents.items() for case in found[which]]


def test_golden_layouts_are_read(vectors: Path) -> None:
    for kind, case in layout_cases(vectors, "valid"):
        assert decode_layout(kind, case["input"].encode()) == case.get("names", {}), case


def test_golden_bad_layouts_are_refused(vectors: Path) -> None:
    for kind, case in layout_cases(vectors, "invalid"):
        with pytest.raises(ModpmError) as caught:
            decode_layout(kind, case["input"].encode())
        assert caught.value.code == case["code"], case


def test_golden_pictures_may_be_shown(vectors: Path) -> None:
    for path in sorted((vectors / "pictures" / "valid").iterdir()):
        assert picture_problem(path.read_bytes()) is None, path.name


def test_golden_bad_pictures_are_refused_without_decoding_them(vectors: Path) -> None:
    folder = vectors / "pictures"
    expected = json.loads((folder / "expect.json").read_bytes())
    assert sorted(expected) == sorted(path.name for path in (folder / "invalid").iterdir())
    for name in expected:
        assert picture_problem((folder / "invalid" / name).read_bytes()) is not None, name
