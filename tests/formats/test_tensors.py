from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modpm.core.errors import ModpmError
from modpm.core.formats.tensor_file import parse_header
from modpm.core.tensors import decode_tensors, encode_tensors, load_tensors, save_tensors

if TYPE_CHECKING:
    from pathlib import Path

DTYPES = {
    "U64": torch.uint64,
    "I64": torch.int64,
    "F64": torch.float64,
    "F32": torch.float32,
    "U32": torch.uint32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "U16": torch.uint16,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

TENSORS = st.dictionaries(
    st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=5),
    st.builds(
        lambda dtype, shape: (
            torch.arange(1, 1 + torch.Size(shape).numel()).reshape(shape).to(dtype)
        ),
        st.sampled_from(list(DTYPES.values())),
        st.lists(st.integers(0, 3), max_size=4),
    ),
    max_size=5,
)


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype
        assert torch.equal(tensor.double(), right[name].double())


@settings(max_examples=50, deadline=None)
@given(TENSORS)
def test_what_is_encoded_is_decoded_by_name_in_order(tensors: dict[str, torch.Tensor]) -> None:
    decoded = decode_tensors(encode_tensors(tensors))
    assert_equal(decoded, tensors)
    assert [*decoded] == sorted(tensors)


@settings(max_examples=50, deadline=None)
@given(TENSORS)
def test_the_same_tensors_give_the_same_bytes_in_any_order(
    tensors: dict[str, torch.Tensor],
) -> None:
    data = encode_tensors(tensors)
    assert encode_tensors(dict(reversed(tensors.items()))) == data
    assert encode_tensors(decode_tensors(data)) == data


def test_tensors_are_written_by_dtype_and_then_by_name() -> None:
    tensors = {
        f"{letter}.{dtype}": torch.zeros(1, dtype=DTYPES[dtype])
        for letter in "ba"
        for dtype in reversed(DTYPES)
    }
    data = encode_tensors(tensors)
    header = json.loads(data[8 : parse_header(data, len(data)).data_start])
    assert list(header) == [f"{letter}.{dtype}" for dtype in DTYPES for letter in "ab"]
    assert parse_header(data, len(data)).data_start % 8 == 0


def test_memory_format_views_and_shared_memory_do_not_matter() -> None:
    plain = torch.arange(48.0).reshape(2, 3, 2, 4)
    last = plain.to(memory_format=torch.channels_last)
    whole = torch.arange(100.0)
    shared = {"a": last, "b": whole[:48].reshape(2, 3, 2, 4), "c": whole[10:20], "d": whole}
    apart = {"a": plain, "b": plain.clone(), "c": whole[10:20].clone(), "d": whole.clone()}
    assert encode_tensors(shared) == encode_tensors(apart)
    assert encode_tensors({"p": torch.nn.Parameter(plain)}) == encode_tensors({"p": plain})


def test_a_file_is_saved_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    for value in (1.0, 2.0):
        save_tensors(path, {"a": torch.full((3,), value)})
        loaded = load_tensors(path)
        loaded["a"] += 1
        assert torch.equal(load_tensors(path)["a"], torch.full((3,), value))
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.safetensors"]


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ModpmError) as caught:
        load_tensors(path)
    assert caught.value.code == "invalid-tensors"


def test_a_missing_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        load_tensors(tmp_path / "t.safetensors")
    assert caught.value.code == "unreadable-file"


def test_golden_files_are_loaded(vectors: Path) -> None:
    for path in sorted((vectors / "tensors" / "valid").iterdir()):
        data = path.read_bytes()
        assert decode_tensors(data).keys() == parse_header(data, len(data)).tensors.keys()
