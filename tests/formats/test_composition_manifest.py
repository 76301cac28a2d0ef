from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.composition_manifest import (
    ComposedModule,
    ComposedNetwork,
    CompositionManifest,
    parse_manifest,
    requires_of,
    strategy_of,
)
from modpm.core.formats.manifest import Manifest

if TYPE_CHECKING:
    from pathlib import Path

PART = st.lists(st.text("az059", min_size=1, max_size=8), min_size=1, max_size=4).map("-".join)
TEXT = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20)
HOSTILE: list[object] = [
    None,
    True,
    -1,
    0,
    2**63,
    1e308,
    "",
    "../x",
    "a\nb",
    "9" * 5000,
    [],
    {},
    [[]],
    [0, 0],
]


@pytest.fixture(scope="module")
def golden(vectors: Path) -> CompositionManifest:
    return CompositionManifest.from_bytes(bytes_of(vectors, "complete.json"))


def bytes_of(vectors: Path, name: str) -> bytes:
    return (vectors / "composition" / "valid" / name).read_bytes()


def refused(data: bytes) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        parse_manifest(data, "manifest.json")
    return caught.value


def test_golden_compositions_are_read_and_written_alike(vectors: Path) -> None:
    for path in sorted((vectors / "composition" / "valid").iterdir()):
        data = path.read_bytes()
        manifest = parse_manifest(data, str(path))
        assert isinstance(manifest, CompositionManifest)
        assert parse_manifest(manifest.to_bytes()) == manifest
        if path.name != "without-defaults.json":
            assert manifest.to_bytes() == data, path.name


def test_golden_bad_compositions_are_refused(vectors: Path) -> None:
    folder = vectors / "composition"
    expected = json.loads((folder / "expect.json").read_bytes())
    assert sorted(expected) == sorted(path.name for path in (folder / "invalid").iterdir())
    for name, case in expected.items():
        error = refused((folder / "invalid" / name).read_bytes())
        assert error.code == case["code"], name
        assert error.where is not None
        assert error.where.startswith("manifest.json"), name


def test_each_kind_is_read_as_what_it_is(vectors: Path, complete_bytes: bytes) -> None:
    assert isinstance(parse_manifest(complete_bytes), Manifest)
    composition = bytes_of(vectors, "complete.json")
    with pytest.raises(ModpmError) as caught:
        Manifest.from_bytes(composition)
    assert caught.value.code == "invalid-manifest"
    with pytest.raises(ModpmError) as caught:
        CompositionManifest.from_bytes(complete_bytes)
    assert caught.value.code == "invalid-manifest"


def test_the_format_version_of_the_other_kind_is_neither_written_nor_read(
    golden: CompositionManifest, complete: Manifest
) -> None:
    for manifest, version in ((golden, 1), (complete, 2)):
        with pytest.raises(ModpmError, match=f"is {version}, that of another kind") as caught:
            msgspec.structs.replace(manifest, format_version=version).to_bytes()
        assert caught.value.code == "invalid-manifest"
    document = json.loads(complete.to_bytes()) | {"format_version": 2, "kind": "composition"}
    with pytest.raises(ModpmError, match="is 2, that of another kind"):
        Manifest.from_bytes(canonical_json.encode(document))


@pytest.mark.parametrize(
    ("networks", "strategy"),
    [
        (["independent"], "independent"),
        (["independent", "independent"], "independent"),
        (["fused"], "fused"),
        (["fused", "fused"], "mixed"),
        (["independent", "fused"], "mixed"),
    ],
)
def test_the_strategy_is_that_of_the_networks(
    networks: list[Literal["independent", "fused"]], strategy: str
) -> None:
    made = [ComposedNetwork(strategy=one, modules=[i]) for i, one in enumerate(networks)]
    assert strategy_of(made) == strategy


def test_every_image_may_have_been_none_of_the_above(golden: CompositionManifest) -> None:
    (one,) = golden.composition.measured
    all_rejected = msgspec.structs.replace(one, n_rejected=one.n)
    record = msgspec.structs.replace(golden.composition, measured=[all_rejected])
    manifest = msgspec.structs.replace(golden, composition=record)
    assert parse_manifest(manifest.to_bytes()) == manifest


def test_every_problem_is_named_at_once(vectors: Path) -> None:
    document = json.loads(bytes_of(vectors, "complete.json"))
    document["composition"]["modules"][1]["name"] = "cifar10/cat"
    document["composition"]["networks"][0]["modules"] = [2, 0]
    document["requires"] = []
    why = refused(canonical_json.encode(document)).why
    assert why is not None
    assert [line.partition(":")[0] for line in why.splitlines()] == [
        "composition.modules[1].name",
        "requires",
        "composition.networks[0].modules",
    ]


def test_a_problem_in_a_module_has_its_path(vectors: Path) -> None:
    document = json.loads(bytes_of(vectors, "complete.json"))
    document["composition"]["modules"][2]["digest"] = 7
    error = refused(canonical_json.encode(document))
    assert error.where == "manifest.json composition.modules[2].digest"


def test_keys_of_a_later_version_survive_changes(vectors: Path) -> None:
    data = bytes_of(vectors, "unknown-keys.json")
    manifest = CompositionManifest.from_bytes(data)
    renamed = msgspec.structs.replace(manifest, version="1.0.1")
    expected = json.loads(data)
    expected["version"] = "1.0.1"
    assert renamed.to_bytes() == canonical_json.encode(expected)


@st.composite
def compositions(draw: st.DrawFn) -> tuple[list[ComposedModule], list[ComposedNetwork]]:
    names = draw(st.lists(st.tuples(PART, PART), min_size=1, max_size=6, unique=True))
    labels = draw(
        st.lists(st.tuples(PART, TEXT), min_size=len(names), max_size=len(names), unique=True)
    )
    modules = [
        ComposedModule(
            label="/".join(label),
            name=f"{space}x/{name}x",
            version=f"{draw(st.integers(0, 9))}.{draw(st.integers(0, 9))}",
            digest=f"sha256:{draw(st.integers(0, 2**64)):064x}",
        )
        for label, (space, name) in zip(labels, names, strict=True)
    ]
    left = draw(st.permutations(range(len(modules))))
    networks = []
    while left:
        n = draw(st.integers(1, len(left)))
        some, left = sorted(left[:n]), left[n:]
        is_fused = n > 1 or draw(st.booleans())
        strategy: Literal["fused", "independent"] = "fused" if is_fused else "independent"
        networks.append(ComposedNetwork(strategy=strategy, modules=some))
    return modules, networks


@settings(max_examples=60, deadline=None)
@given(made=compositions(), reject=st.none() | st.floats(0, 1))
def test_what_is_written_is_read(
    golden: CompositionManifest,
    made: tuple[list[ComposedModule], list[ComposedNetwork]],
    reject: float | None,
) -> None:
    modules, networks = made
    record = msgspec.structs.replace(
        golden.composition,
        modules=modules,
        networks=networks,
        strategy=strategy_of(networks),
        reject=reject,
    )
    manifest = msgspec.structs.replace(golden, composition=record, requires=requires_of(modules))
    data = manifest.to_bytes()
    assert parse_manifest(data) == manifest
    assert parse_manifest(data).to_bytes() == data


def _places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = list(value.items()) if isinstance(value, dict) else []
    items += list(enumerate(value)) if isinstance(value, list) else []
    return [path, *(place for key, inner in items for place in _places(inner, (*path, key)))]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_nothing_but_a_modpm_error_comes_out(vectors: Path, data: st.DataObject) -> None:
    changed = copy.deepcopy(json.loads(bytes_of(vectors, "complete.json")))
    *parents, last = data.draw(st.sampled_from(_places(changed)[1:]))
    at = changed
    for key in parents:
        at = at[key]
    at[last] = data.draw(st.sampled_from(HOSTILE))
    try:
        manifest = parse_manifest(json.dumps(changed).encode())
    except ModpmError as error:
        is_expected = error.code in {"invalid-manifest", "unknown-format-version"}
    else:
        is_expected = parse_manifest(manifest.to_bytes()) == manifest
    assert is_expected
