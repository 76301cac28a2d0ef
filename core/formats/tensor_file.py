"""The header of a safetensors file, read strictly and without torch (`specs/tensors.md`).

Source: the format of huggingface/safetensors; the limits are this project's.
"""

from __future__ import annotations

import os
from math import prod
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.records import Problem, convert, problems_error
from modpm.core.formats.stand_ins import stand_in
from modpm.core.system.whole_files import read_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAX_HEADER_BYTES = 8 * 1024 * 1024
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 32
METADATA_KEY = "modpm"

DTYPE_BYTES: Mapping[str, int] = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}

_INVALID = "the tensor file is not valid"
_LENGTH_BYTES = 8
_INT64_MAX = 2**63 - 1
_Unsigned = Annotated[int, msgspec.Meta(ge=0)]


class TensorInfo(NamedTuple):
    """One tensor of a file: its type, its shape, and where it lies in the data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def n_elements(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)


class TensorHeader(NamedTuple):
    """What a tensor file says of itself.

    Attributes:
        tensors: By name; `start` and `end` count from the end of the header.
        metadata: Text that the writer added.
        data_start: Where the data begin in the file.
    """

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    data_start: int

    @property
    def data_size_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(info.end - info.start for info in self.tensors.values())


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    dtype: str
    shape: Annotated[list[_Unsigned], msgspec.Meta(max_length=MAX_DIMENSIONS)]
    data_offsets: tuple[_Unsigned, _Unsigned]


def read_header(path: Path) -> TensorHeader:
    """Read the header of a tensor file; its data are not read.

    Raises:
        ModpmError: `unreadable-file`; `truncated-tensors`, if the file ends before its header
            or its data do; `invalid-tensors`, naming every problem, for anything else that
            clauses T-1 to T-9 forbid.
    """
    try:
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            head = file.read(_LENGTH_BYTES)
            head += file.read(_header_bytes(head, size_bytes, str(path)))
    except OSError as error:
        raise read_error(error, path) from error
    except ModpmError as error:
        if (found := stand_in(path)) is None:
            raise
        why, hint = found
        raise ModpmError(_INVALID, code=error.code, where=error.where, why=why, hint=hint) from None
    return parse_header(head, size_bytes, str(path))


def parse_header(data: bytes, size_bytes: int, where: str | None = None) -> TensorHeader:
    """Read a tensor file's header from its first bytes.

    Args:
        data: The file, or at least its header.
        size_bytes: The size of the whole file.
        where: The file, for errors.

    Raises:
        ModpmError: `truncated-tensors` or `invalid-tensors`, as for `read_header`.
    """
    data_start = _LENGTH_BYTES + _header_bytes(data[:_LENGTH_BYTES], size_bytes, where)
    entries = _decode(data[_LENGTH_BYTES:data_start], where)
    problems: list[Problem] = []
    metadata = _metadata(entries.pop("__metadata__", {}), problems)
    tensors = {
        name: info
        for name, entry in entries.items()
        if (info := _tensor_info(name, entry, problems)) is not None
    }
    if not problems:
        problems += _layout_problems(tensors)
    if problems:
        raise problems_error(problems, what=_INVALID, code="invalid-tensors", where=where)
    header = TensorHeader(tensors, metadata, data_start)
    _check_data_size(header, size_bytes - data_start, where)
    return header


def _header_bytes(length: bytes, size_bytes: int, where: str | None) -> int:
    if len(length) < _LENGTH_BYTES:
        raise _truncated(f"it has {size_bytes} bytes", where)
    n = int.from_bytes(length, "little")
    if n > MAX_HEADER_BYTES:
        raise _invalid(f"its header would have {n} bytes; at most {MAX_HEADER_BYTES}", where)
    if _LENGTH_BYTES + n > size_bytes:
        raise _truncated(f"its header has {n} bytes, the whole file {size_bytes}", where)
    return n


def _decode(header: bytes, where: str | None) -> dict[str, canonical_json.Json]:
    if not header.startswith(b"{"):
        raise _invalid("its header does not begin with `{`", where)
    try:
        entries = canonical_json.decode(header.rstrip(b" "), where, MAX_HEADER_BYTES)
    except ModpmError as error:
        raise _invalid(f"its header is not valid JSON: {error.why}", where) from None
    assert isinstance(entries, dict)
    if len(entries.keys() - {"__metadata__"}) > MAX_TENSORS:
        raise _invalid(f"it names {len(entries)} tensors; at most {MAX_TENSORS}", where)
    return entries


def _metadata(raw: canonical_json.Json, problems: list[Problem]) -> dict[str, str]:
    try:
        return convert(raw, dict[str, str])
    except msgspec.ValidationError:
        problems.append(Problem("__metadata__", "is not an object of strings"))
        return {}


def _tensor_info(name: str, raw: canonical_json.Json, problems: list[Problem]) -> TensorInfo | None:
    try:
        entry = convert(raw, _Entry)
    except msgspec.ValidationError as error:
        problems.append(Problem(name, str(error)))
        return None
    info = TensorInfo(entry.dtype, tuple(entry.shape), *entry.data_offsets)
    if info.dtype not in DTYPE_BYTES:
        problems.append(Problem(name, f"its dtype {info.dtype[:20]!r} is not known"))
        return None
    # Factors of nought are left out: a reader may multiply before it comes to them.
    if prod(filter(None, info.shape)) * DTYPE_BYTES[info.dtype] > _INT64_MAX:
        problems.append(Problem(name, "its shape has more elements than can be counted"))
        return None
    size_bytes = info.n_elements * DTYPE_BYTES[info.dtype]
    if info.end - info.start != size_bytes:
        n = info.end - info.start
        problems.append(Problem(name, f"has {n} bytes, its shape and dtype {size_bytes}"))
        return None
    return info


def _layout_problems(tensors: Mapping[str, TensorInfo]) -> Iterator[Problem]:
    end = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if info.start < end:
            yield Problem(name, f"begins at byte {info.start}, within another tensor")
        elif info.start > end:
            yield Problem(name, f"begins at byte {info.start}, after a gap from byte {end}")
        end = max(end, info.end)


def _check_data_size(header: TensorHeader, n_bytes: int, where: str | None) -> None:
    expected = header.data_size_bytes
    if n_bytes < expected:
        raise _truncated(f"its tensors have {expected} bytes, of which {n_bytes} are there", where)
    if n_bytes > expected:
        raise _invalid(f"{n_bytes - expected} bytes follow its last tensor", where)


def _invalid(why: str, where: str | None) -> ModpmError:
    return ModpmError(_INVALID, code="invalid-tensors", where=where, why=why)


def _truncated(why: str, where: str | None) -> ModpmError:
    return ModpmError(
        "the tensor file is truncated",
        code="truncated-tensors",
        where=where,
        why=why,
        hint="fetch or write it again",
    )
