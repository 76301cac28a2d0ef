"""JSON in one form only, so that equal documents have equal bytes, and strict reading of it."""

from __future__ import annotations

import re
from collections import Counter
from typing import NoReturn

from modpm.core.errors import ModpmError

MAX_SIZE_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

# Possessive, and a string may end with the document: each byte is looked at once.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKETS = b"[]{}"
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_TOO_DEEP = f"it is nested deeper than {MAX_DEPTH}"
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
_MAX_INTEGER_DIGITS = 20


def encode(value: object) -> bytes:
    """Return the canonical bytes of a JSON value (clauses J-1 to J-5).

    UTF-8, keys sorted by code point, no insignificant space, floats in the fewest digits that
    read back to the same number.

    Raises:
        ModpmError: `invalid-json`, for whatever `decode` would refuse.
    """
    try:
        _check_writable(value, 0)
        return _encoded(value)
    except UnicodeEncodeError:
        raise _invalid("a string holds half of a surrogate pair", None) from None
    except ValueError as error:
        raise _invalid(str(error), None) from None


def decode(data: bytes, where: str | None = None, max_size_bytes: int = MAX_SIZE_BYTES) -> Json:
    """Read JSON from bytes that nobody has vouched for (clauses J-6 to J-10).

    Args:
        data: The document.
        where: The file it is, for errors.
        max_size_bytes: The most bytes that are read at all.

    Raises:
        ModpmError: `too-large`, or `invalid-json` for anything that is not one JSON value, for
            a key given twice in an object, numbers that are not finite or that need more than
            64 bits, half of a surrogate pair, and nesting deeper than 64.
    """
    if len(data) > max_size_bytes:
        raise ModpmError(
            f"the document has {len(data)} bytes; at most {max_size_bytes} are read",
            code="too-large",
            where=where,
        )
    import json  # noqa: PLC0415 -- slow to import, and what is locked is not JSON

    try:
        _check_depth(data)
        value: Json = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _invalid("a string holds half of a surrogate pair", where) from None
    except ValueError as error:
        raise _invalid(str(error), where) from None
    return value


def is_canonical(data: bytes, value: Json) -> bool:
    """Say whether `data` is the canonical form of `value`, which was decoded from it."""
    return _encoded(value) == data  # what was decoded can be written


def _encoded(value: object) -> bytes:
    import json  # noqa: PLC0415 -- as above

    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")


def _check_writable(value: object, depth: int) -> None:
    if isinstance(value, dict | list | tuple):
        if depth == MAX_DEPTH:
            raise ValueError(_TOO_DEEP)
        for inner in value.values() if isinstance(value, dict) else value:
            _check_writable(inner, depth + 1)
    elif isinstance(value, int) and not _INT64_MIN <= value <= _UINT64_MAX:
        raise ValueError("a number needs more than 64 bits")


def _check_depth(data: bytes) -> None:
    depth = 0
    for bracket in _STRING.sub(b"", data).translate(None, delete=_ALL_BUT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(_TOO_DEEP)


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = max(counts, key=counts.__getitem__)
        raise ValueError(f"the key {twice[:100]!r} is given twice in one object")
    return members


def _integer(text: str) -> int:
    # Checked by length first: reading very many digits takes time that grows with their square.
    if len(text) > _MAX_INTEGER_DIGITS or not _INT64_MIN <= int(text) <= _UINT64_MAX:
        raise ValueError(f"the number {text[:30]} needs more than 64 bits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:30]} is too large")
    return value


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")


def _invalid(why: str, where: str | None) -> ModpmError:
    return ModpmError("it is not a valid JSON document", code="invalid-json", where=where, why=why)
