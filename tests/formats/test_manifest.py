from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.manifest import (
    ClassMetrics,
    InputContract,
    Manifest,
    Provenance,
    RetainedKernels,
)
from modpm.core.formats.network_graph import Graph, Node

if TYPE_CHECKING:
    from pathlib import Path

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def refused(data: bytes) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        Manifest.from_bytes(data, "manifest.json")
    return caught.value


def test_golden_manifests_are_read_and_written_alike(vectors: Path) -> None:
    for path in sorted((vectors / "manifest" / "valid").iterdir()):
        data = path.read_bytes()
        manifest = Manifest.from_bytes(data, str(path))
        assert Manifest.from_bytes(manifest.to_bytes()) == manifest
        if path.name != "without-defaults.json":
            assert manifest.to_bytes() == data, path.name


def test_golden_bad_manifests_are_refused(vectors: Path) -> None:
    folder = vectors / "manifest"
    expected = json.loads((folder / "expect.json").read_bytes())
    assert sorted(expected) == sorted(path.name for path in (folder / "invalid").iterdir())
    for name, case in expected.items():
        error = refused((folder / "invalid" / name).read_bytes())
        assert error.code == case["code"], name
        assert error.where is not None
        assert error.where.startswith("manifest.json"), name


def test_every_problem_is_named_at_once(document: dict[str, Any]) -> None:
    document["name"] = "Digits/7"
    document["origin"]["classes"][2] = 9
    document["retained"]["conv1"]["total"] = "four"
    del document["label"]
    error = refused(canonical_json.encode(document))
    assert error.why is not None
    assert [line.partition(":")[0] for line in error.why.splitlines()] == [
        "label",
        "name",
        "origin.classes[2]",
        "retained.conv1.total",
    ]


def test_a_single_problem_has_its_path_in_where(document: dict[str, Any]) -> None:
    document["origin"]["classes"][2] = 9
    error = refused(canonical_json.encode(document))
    assert error.where == "manifest.json origin.classes[2]"
    assert error.why == "expected `str`, got `int`"


def test_many_problems_are_counted(document: dict[str, Any]) -> None:
    document["metrics"] = [{}] * 10
    why = refused(canonical_json.encode(document)).why
    assert why is not None
    assert why.splitlines()[-1] == "and 40 more"


def test_a_later_format_says_what_to_do(document: dict[str, Any]) -> None:
    document["format_version"] = 7
    error = refused(canonical_json.encode(document))
    assert error.code == "unknown-format-version"
    assert "7" in error.what
    assert error.hint == "upgrade modpm"


def test_keys_of_a_later_version_survive_changes(vectors: Path) -> None:
    data = (vectors / "manifest" / "valid" / "unknown-keys.json").read_bytes()
    manifest = Manifest.from_bytes(data)
    renamed = msgspec.structs.replace(manifest, version="1.0.1")
    expected = json.loads(data)
    expected["version"] = "1.0.1"
    assert renamed.to_bytes() == canonical_json.encode(expected)


def test_an_unknown_key_does_not_hide_a_known_one(complete: Manifest) -> None:
    manifest = msgspec.structs.replace(complete, unknown_keys={"name": "evil/x", "later": 1})
    written = Manifest.from_bytes(manifest.to_bytes())
    assert written.name == complete.name
    assert written.unknown_keys == {"later": 1}


def test_whole_numbers_become_real_where_the_format_has_real_ones(complete: Manifest) -> None:
    contract = InputContract(channels=1, height=8, width=8, mean=[0], std=[1])
    data = msgspec.structs.replace(complete, input=contract).to_bytes()
    assert b'"mean":[0.0],"std":[1.0]' in data


def test_an_invalid_manifest_is_not_written(complete: Manifest) -> None:
    manifest = msgspec.structs.replace(complete, version="newest", macs=-1)
    with pytest.raises(ModpmError) as caught:
        manifest.to_bytes()
    assert caught.value.code == "invalid-manifest"


def test_numbers_that_are_not_finite_are_not_written(complete: Manifest) -> None:
    contract = InputContract(channels=1, height=8, width=8, mean=[float("nan")], std=[1.0])
    with pytest.raises(ModpmError) as caught:
        msgspec.structs.replace(complete, input=contract).to_bytes()
    assert caught.value.code == "invalid-json"


def test_a_manifest_beyond_the_limit_is_neither_written_nor_read(complete: Manifest) -> None:
    manifest = msgspec.structs.replace(complete, unknown_keys={"x": "x" * (4 * 1024 * 1024)})
    with pytest.raises(ModpmError) as caught:
        manifest.to_bytes()
    assert caught.value.code == "too-large"
    assert refused(b" " * (4 * 1024 * 1024 + 1)).code == "too-large"


TEXT = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20)
SHARE = st.floats(0, 1)
PART = st.lists(st.text("az059", min_size=1, max_size=8), min_size=1, max_size=7).map("-".join)


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    n_kernels = draw(st.integers(1, 50))
    names = draw(st.lists(TEXT, min_size=1, max_size=6, unique=True))
    nodes = [
        Node(
            name,
            draw(TEXT),
            (names[draw(st.integers(0, i - 1))],) if i else ("input\n",),
            draw(
                st.dictionaries(
                    TEXT, st.integers(-9, 2**64 - 1) | st.floats(-9, 9) | st.booleans() | TEXT
                )
            ),
            draw(st.dictionaries(TEXT, TEXT)),
        )
        for i, name in enumerate(names)
    ]
    graph = Graph("input\n", (1, 8, 8), tuple(nodes), names[-1])
    n = draw(st.integers(1, 1000))
    return {
        "name": f"{draw(PART)}/{draw(PART)}",
        "version": f"{draw(st.integers(0, 99))}.{draw(st.integers(0, 99))}",
        "label": f"{draw(PART)}/{draw(TEXT)}",
        "summary": draw(st.text(max_size=50)),
        "authors": draw(st.lists(TEXT, max_size=3)),
        "graph": graph,
        "retained": {
            "conv1": RetainedKernels(
                total=4, retained=sorted(draw(st.sets(st.integers(0, 3), max_size=4)))
            )
        },
        "metrics": [
            ClassMetrics(
                split="test",
                n=n,
                n_positive=draw(st.integers(0, n)),
                precision=draw(SHARE),
                recall=draw(SHARE),
                average_precision=draw(SHARE),
            )
        ],
        "kernel_retention_rate": draw(SHARE),
        "n_parameters": n_kernels,
        "provenance": Provenance(
            data_set=draw(TEXT), fingerprint=draw(TEXT), versions=draw(st.dictionaries(TEXT, TEXT))
        ),
    }


@settings(max_examples=50, deadline=None)
@given(changed=changes())
def test_what_is_written_is_read(complete: Manifest, changed: dict[str, Any]) -> None:
    last = changed["graph"].output
    output = msgspec.structs.replace(complete.output, score=last, logit=last, features=None)
    manifest = msgspec.structs.replace(complete, output=output, **changed)
    data = manifest.to_bytes()
    assert Manifest.from_bytes(data) == manifest
    assert Manifest.from_bytes(data).to_bytes() == data


def _places(value: dict[str, Any] | list[Any], path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = [path]
    for key, inner in items:
        found += _places(inner, (*path, key)) if isinstance(inner, dict | list) else [(*path, key)]
    return found


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_nothing_but_a_modpm_error_comes_out(complete_bytes: bytes, data: st.DataObject) -> None:
    document = json.loads(complete_bytes)
    place = data.draw(st.sampled_from(_places(document)[1:]))
    changed = copy.deepcopy(document)
    at = changed
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = data.draw(JSON_VALUES)
    try:
        manifest = Manifest.from_bytes(json.dumps(changed).encode())
    except ModpmError as error:
        is_expected = error.code in {"invalid-manifest", "unknown-format-version"}
    else:
        is_expected = Manifest.from_bytes(manifest.to_bytes()) == manifest
    assert is_expected


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_no_manifest(data: bytes) -> None:
    assert refused(data).code in {"invalid-json", "invalid-manifest"}
