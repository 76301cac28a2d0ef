from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import deserialize

from modpm.core.errors import ModpmError
from modpm.core.formats.tensor_file import MAX_TENSORS, TensorHeader, parse_header, read_header

if TYPE_CHECKING:
    from pathlib import Path

EXPECTED = {"invalid-tensors", "truncated-tensors"}


def file_of(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def accepted(data: bytes) -> TensorHeader | None:
    try:
        return parse_header(data, len(data))
    except ModpmError as error:
        if error.code not in EXPECTED:
            raise
        return None


def read_by_safetensors(data: bytes) -> dict[str, tuple[str, tuple[int, ...]]]:
    tensors = deserialize(data)  # type: ignore[no-untyped-call]  # it has no annotations
    return {name: (info["dtype"], tuple(info["shape"])) for name, info in tensors}


def as_read_by_us(header: TensorHeader) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (info.dtype, info.shape) for name, info in header.tensors.items()}


def test_golden_files_are_read_as_safetensors_reads_them(vectors: Path) -> None:
    for path in sorted((vectors / "tensors" / "valid").iterdir()):
        assert as_read_by_us(read_header(path)) == read_by_safetensors(path.read_bytes())


def test_golden_bad_files_are_refused(vectors: Path) -> None:
    folder = vectors / "tensors"
    expected = json.loads((folder / "expect.json").read_bytes())
    assert sorted(expected) == sorted(path.name for path in (folder / "invalid").iterdir())
    for name, case in expected.items():
        with pytest.raises(ModpmError) as caught:
            read_header(folder / "invalid" / name)
        assert caught.value.code == case["code"], name
        assert str(folder / "invalid" / name) in str(caught.value.where), name


def test_the_public_weights_are_accepted(shared_data: Path) -> None:
    paths = sorted((shared_data / "weights").rglob("*.safetensors"))
    assert paths
    for path in paths:
        header = read_header(path)
        assert header.data_start + header.data_size_bytes == path.stat().st_size


def test_every_problem_is_named_at_once() -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    data = file_of({"a": {**entry, "dtype": "X"}, "b": {**entry, "shape": [2]}, "c": 1}, bytes(4))
    with pytest.raises(ModpmError) as caught:
        parse_header(data, len(data))
    assert caught.value.why is not None
    assert [line[:2] for line in caught.value.why.splitlines()] == ["a:", "b:", "c:"]


def test_more_tensors_than_the_limit_are_refused() -> None:
    empty = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    data = file_of({str(i): 0 for i in range(MAX_TENSORS + 1)} | {"a": empty})
    with pytest.raises(ModpmError, match="not valid") as caught:
        parse_header(data, len(data))
    assert caught.value.why is not None
    assert str(MAX_TENSORS) in caught.value.why


def test_a_header_beyond_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 2**40))
        file.truncate(2**41)
    with pytest.raises(ModpmError) as caught:
        read_header(path)
    assert caught.value.code == "invalid-tensors"


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_what_is_no_file_is_said_so(tmp_path: Path, kind: str) -> None:
    path = tmp_path if kind == "folder" else tmp_path / "x"
    with pytest.raises(ModpmError) as caught:
        read_header(path)
    assert caught.value.code == "unreadable-file"


OFFSETS = st.lists(st.integers(-2, 12), min_size=1, max_size=3)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["U8", "F16", "F32", "I64", "f32", ""]),
        "shape": st.lists(st.integers(-1, 4), max_size=3),
        "data_offsets": OFFSETS,
    }
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(max_size=3), ENTRIES, max_size=3), st.integers(0, 20))
def test_whatever_is_accepted_safetensors_accepts_too(
    header: dict[str, object], n_bytes: int
) -> None:
    data = file_of(header, bytes(n_bytes))
    parsed = accepted(data)
    if parsed is not None:
        assert as_read_by_us(parsed) == read_by_safetensors(data)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["U8", "F16", "F64"]), st.integers(0, 3)), max_size=5),
    st.data(),
)
def test_a_changed_byte_is_refused_or_read_as_safetensors_reads_it(
    tensors: list[tuple[str, int]], data: st.DataObject
) -> None:
    header: dict[str, object] = {}
    end = 0
    for i, (dtype, n) in enumerate(tensors):
        start, end = end, end + n * {"U8": 1, "F16": 2, "F64": 8}[dtype]
        header[f"t{i}"] = {"dtype": dtype, "shape": [n], "data_offsets": [start, end]}
    content = bytearray(file_of(header, bytes(end)))
    assert accepted(bytes(content)) is not None
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    parsed = accepted(bytes(content))
    if parsed is not None:
        assert as_read_by_us(parsed) == read_by_safetensors(bytes(content))


@given(st.binary(max_size=100))
def test_nothing_but_a_modpm_error_comes_out(data: bytes) -> None:
    accepted(data)
    accepted(struct.pack("<Q", len(data)) + data)


def test_a_pointer_in_the_place_of_tensors_is_named(tmp_path: Path) -> None:
    path = tmp_path / "module.safetensors"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ModpmError, match="Git LFS"):
        read_header(path)
