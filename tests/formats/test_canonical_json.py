from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json

if TYPE_CHECKING:
    from pathlib import Path

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(VALUES)
def test_what_is_encoded_is_decoded(value: object) -> None:
    data = canonical_json.encode(value)
    assert canonical_json.decode(data) == value
    assert canonical_json.is_canonical(data, value)


@given(st.dictionaries(st.text(), SCALARS))
def test_the_order_of_keys_does_not_matter(members: dict[str, object]) -> None:
    backwards = dict(reversed(members.items()))
    assert canonical_json.encode(backwards) == canonical_json.encode(members)


@given(VALUES)
def test_any_other_writer_is_read_the_same(value: object) -> None:
    pretty = json.dumps(value, indent=2, ensure_ascii=True).encode()
    decoded = canonical_json.decode(pretty)
    assert canonical_json.encode(decoded) == canonical_json.encode(value)


@given(st.binary(max_size=200) | st.text('[]{}",:\\u0019.eE-+ dntf', max_size=60).map(str.encode))
def test_nothing_but_a_modpm_error_comes_out(data: bytes) -> None:
    try:
        value = canonical_json.decode(data, "f")
    except ModpmError as error:
        is_expected = (error.code, error.where) == ("invalid-json", "f")
    else:
        is_expected = value == json.loads(data)
    assert is_expected


def test_golden_documents_have_their_canonical_form(vectors: Path) -> None:
    for case in json.loads((vectors / "json" / "canonical.json").read_bytes()):
        value = canonical_json.decode(case["input"].encode())
        assert canonical_json.encode(value).decode() == case["canonical"]


def test_golden_bad_documents_are_refused(vectors: Path) -> None:
    for case in json.loads((vectors / "json" / "refused.json").read_bytes()):
        data = case["input"].encode() if "input" in case else bytes.fromhex(case["input_hex"])
        with pytest.raises(ModpmError) as caught:
            canonical_json.decode(data)
        assert caught.value.code == "invalid-json", case


@pytest.mark.parametrize(
    "bomb",
    [
        b'"' + b'\\"' * 500_000,
        b"[" * 1_000_000,
        b'{"":' * 200_000,
        b'"' * 100_000,
        b"{" + b",".join(b'"%d":0' % i for i in range(100_000)) + b',"0":0}',
        b"1" * 1_000_000,
        b"1." + b"1" * 1_000_000 + b"e" + b"9" * 1000,
    ],
    ids=["unfinished string", "arrays", "objects", "quotes", "late duplicate", "digits", "real"],
)
def test_a_bomb_is_refused(bomb: bytes) -> None:
    with pytest.raises(ModpmError) as caught:
        canonical_json.decode(bomb)
    assert caught.value.code == "invalid-json"


def test_a_document_beyond_the_limit_is_refused_unparsed() -> None:
    with pytest.raises(ModpmError) as caught:
        canonical_json.decode(b"[" * 101, max_size_bytes=100)
    assert caught.value.code == "too-large"


def _nested(depth: int) -> object:
    value: object = []
    for _ in range(depth - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), "\ud800", {"a": [-float("inf")]}, [2**64], {"": -(2**63) - 1}, _nested(65)],
)
def test_what_would_not_be_read_is_not_encoded(value: object) -> None:
    with pytest.raises(ModpmError) as caught:
        canonical_json.encode(value)
    assert caught.value.code == "invalid-json"


def test_a_document_of_the_greatest_depth_is_written_and_read() -> None:
    assert canonical_json.decode(canonical_json.encode(_nested(64))) == _nested(64)
