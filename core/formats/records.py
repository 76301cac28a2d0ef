"""Records: the typed objects of a format, read with all problems at once.

A `Record` keeps the keys that this version does not know, so that a document written by a later
version survives being read and written by this one (clause J-11).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from threading import Lock
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    NamedTuple,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json

_MAX_SHOWN_PROBLEMS = 20

T = TypeVar("T")
R = TypeVar("R", bound="Record")

_BUILDING = Lock()


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A typed JSON object.

    Attributes:
        unknown_keys: What the object held besides the keys that its type names.
    """

    unknown_keys: dict[str, Any] = {}

    @classmethod
    def kind_of(cls, raw: Mapping[str, Any]) -> type[Self]:  # noqa: ARG003 -- for those with kinds
        """Return the type that an object is read as: this one, unless it has kinds.

        Args:
            raw: The object, of which nothing was checked.
        """
        return cls


def convert(raw: object, kind: type[T]) -> T:
    """Make a typed object of decoded JSON or TOML, in any thread.

    Args:
        raw: What was decoded.
        kind: The type.

    Raises:
        msgspec.ValidationError: It is not of the type.
    """
    _build(kind)  # type: ignore[arg-type]  # types have hashes, whatever mypy says
    return msgspec.convert(raw, kind)  # noqa: TID251 -- this is the place


def said_in(data: bytes, kind: type[T]) -> T:
    """Read what a type names of a document that was read whole before, and passed; in any thread.

    Args:
        data: The JSON document.
        kind: The type; keys that it does not name are passed over.

    Raises:
        msgspec.DecodeError: It was not.
    """
    _build(kind)  # type: ignore[arg-type]  # as above
    return msgspec.json.decode(data, type=kind)


@cache
def _build(kind: object) -> None:
    """Let msgspec learn a type, and all that it holds, before any thread goes by it.

    It does so at the first use, and another thread that uses the type meanwhile sees one half of
    it: the process dies.
    """
    with _BUILDING:
        msgspec.json.Decoder(kind)  # noqa: TID251 -- this is the place


class Problem(NamedTuple):
    """What is wrong with a document, and the path in it (`origin.classes[3]`)."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def read_record(
    kind: type[R], raw: object, check: Callable[[R], Iterator[Problem]] | None = None
) -> tuple[R | None, list[Problem]]:
    """Make a record of decoded JSON.

    Args:
        kind: The record's type.
        raw: What `canonical_json.decode` gave.
        check: Gives what is wrong with a record whose fields have the right types each.

    Returns:
        The record and no problems, or None and every problem that was found.
    """
    problems: list[Problem] = []
    record = _read_record(kind, raw, "", problems)
    if record is None or problems:
        return None, problems
    problems += check(record) if check is not None else ()
    return (None if problems else record), problems


def said_alike(kind: type[Record], other: object) -> dict[str, Any]:
    """Return what an object says under the names of a record's fields, to make a record of it."""
    names = set(kind.__struct_fields__) - {"unknown_keys"}
    return {name: getattr(other, name) for name in names if hasattr(other, name)}


def to_plain(value: object) -> canonical_json.Json:
    """Return the JSON value of a record, its unknown keys in their places."""
    plain = msgspec.to_builtins(value, enc_hook=_plain_sequence)
    restored: canonical_json.Json = _restore(value, plain)
    return restored


def parse_record(
    kind: type[R],
    data: bytes,
    *,
    what: str,
    code: str,
    where: str | None,
    check: Callable[[R], Iterator[Problem]] | None = None,
    hint: str | None = None,
) -> R:
    """Read a record from the bytes of a JSON document.

    Args:
        kind: The record's type.
        data: The document.
        what: The sentence of the error.
        code: The code of the error.
        where: The file that is read.
        check: As in `read_record`.
        hint: What to do about an error.

    Raises:
        ModpmError: `code`, naming every problem; `invalid-json` or `too-large`.
    """
    record, problems = read_record(kind, canonical_json.decode(data, where), check)
    if record is None:
        raise problems_error(problems, what=what, code=code, where=where, hint=hint)
    return record


def check_format_version(raw: object, latest: int, *, what: str, where: str | None) -> None:
    """Refuse a document of another version than those that this modpm reads.

    Called before anything else is looked at, since a later version may mean anything by the rest.

    Args:
        raw: The decoded document; one without a version is left to the record's reader.
        latest: The latest version that is read; all from 1 on are.
        what: What the document is (`the manifest`).
        where: The file, for errors.

    Raises:
        ModpmError: `unknown-format-version`.
    """
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if type(version) is int and not 1 <= version <= latest:
        raise ModpmError(
            f"{what} has format version {version}",
            code="unknown-format-version",
            where=where,
            why=f"this version of modpm reads format {_numbers(latest)}",
            hint="upgrade modpm" if version > latest else None,
        )


def _numbers(latest: int) -> str:
    return "version 1" if latest == 1 else f"versions 1 to {latest}"


def problems_error(
    problems: Sequence[Problem], *, what: str, code: str, where: str | None, hint: str | None = None
) -> ModpmError:
    """Return one error that names all problems.

    Args:
        problems: At least one.
        what: The sentence of the error.
        code: The code of the error.
        where: The file the problems are in; a single problem's path is added to it.
        hint: What to do about it.
    """
    if len(problems) == 1:
        path, message = problems[0]
        at = " ".join(part for part in (where, path) if part)
        return ModpmError(what, code=code, where=at or None, why=message, hint=hint)
    lines = [str(problem) for problem in problems[:_MAX_SHOWN_PROBLEMS]]
    if len(problems) > _MAX_SHOWN_PROBLEMS:
        lines.append(f"and {len(problems) - _MAX_SHOWN_PROBLEMS} more")
    return ModpmError(what, code=code, where=where, why="\n".join(lines), hint=hint)


@cache
def known_keys(kind: type[Record]) -> Mapping[str, Any]:
    """Return the keys that a record's type names, with their types."""
    hints = get_type_hints(kind, include_extras=True)
    hints.pop("unknown_keys")
    return {field: hints[field] for field in kind.__struct_fields__ if field in hints}


def _read_record(kind: type[R], raw: object, path: str, problems: list[Problem]) -> R | None:
    if not isinstance(raw, dict):
        problems.append(Problem(path, f"expected an object, found {_name(raw)}"))
        return None
    kind = kind.kind_of(raw)
    known = known_keys(kind)
    required = known.keys() - _optional(kind)
    plain = _plain_keys(kind)
    if len(plain) == len(known) and required <= raw.keys() <= known.keys():
        with suppress(msgspec.ValidationError):  # what is wrong is named below, key by key
            return convert(raw, kind)
    problems += [Problem(_at(path, key), "is missing") for key in sorted(required - raw.keys())]
    n_problems = len(problems)
    values = {
        key: (_convert if key in plain else _read)(known[key], value, _at(path, key), problems)
        for key, value in raw.items()
        if key in known
    }
    if len(problems) > n_problems or not required <= raw.keys():
        return None
    unknown = {key: value for key, value in raw.items() if key not in known}
    return kind(**values, unknown_keys=unknown)


# The value has whatever type `annotation` says, which Python cannot express.
def _read(annotation: Any, raw: object, path: str, problems: list[Problem]) -> Any:  # noqa: ANN401 -- what a type may be is known when it runs
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return _read_record(annotation, raw, path, problems)
    if origin in (Union, UnionType) and any(map(_holds_records, arguments)):
        inner = next(argument for argument in arguments if argument is not NoneType)
        return None if raw is None else _read(inner, raw, path, problems)
    if origin is Annotated and _holds_records(arguments[0]):
        items = Annotated.__class_getitem__((list[Any], *arguments[1:]))
        return _read_several(arguments[0], items, raw, path, problems)
    if origin is list and _holds_records(arguments[0]) and isinstance(raw, list):
        return [_read(arguments[0], raw[i], f"{path}[{i}]", problems) for i in range(len(raw))]
    if origin is dict and _holds_records(arguments[1]) and isinstance(raw, dict):
        return {key: _read(arguments[1], raw[key], _at(path, key), problems) for key in raw}
    return _convert(annotation, raw, path, problems)


# The value has whatever type `annotation` says, which Python cannot express.
def _read_several(
    annotation: Any,  # noqa: ANN401 - as above
    items: Any,  # noqa: ANN401 - as above
    raw: object,
    path: str,
    problems: list[Problem],
) -> Any:  # noqa: ANN401 - as above
    """Read an array of records of which the number is limited, and counted first."""
    n_problems = len(problems)
    _convert(items, raw, path, problems)
    return None if len(problems) > n_problems else _read(annotation, raw, path, problems)


def _convert(annotation: Any, raw: object, path: str, problems: list[Problem]) -> Any:  # noqa: ANN401 - as above
    try:
        return convert(raw, annotation)
    except msgspec.ValidationError as error:
        message, _, inner = str(error).partition(" - at `$")
        expected = get_args(annotation)[1].description if _is_annotated(annotation) else None
        if "regex" in message and expected is not None:
            message = f"expected {expected}, found {str(raw)[:100]!r}"
        problems.append(Problem(path + inner.rstrip("`"), message[:1].lower() + message[1:]))
        return None


def _is_annotated(annotation: object) -> bool:
    return get_origin(annotation) is Annotated


def _holds_records(annotation: object) -> bool:
    if isinstance(annotation, type):
        return issubclass(annotation, Record)
    return any(map(_holds_records, get_args(annotation)))


@cache
def _optional(kind: type[Record]) -> frozenset[str]:
    optional = {field.name for field in msgspec.structs.fields(kind) if not field.required}
    # The default of a format's version is for those who write it, not for those who read it.
    return frozenset(optional - {"format_version"})


@cache
def _plain_keys(kind: type[Record]) -> frozenset[str]:
    """Return the keys whose values hold no records, which most do: they are read at once."""
    known = known_keys(kind)
    return frozenset(key for key in known if not _holds_records(known[key]))


def _at(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _name(raw: object) -> str:
    names = {NoneType: "null", bool: "a boolean", str: "a string", list: "an array"}
    return names.get(type(raw), "a number")


def _plain_sequence(value: object) -> object:
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _restore(value: object, plain: Any) -> Any:  # noqa: ANN401 - JSON in, JSON out
    if isinstance(value, Record):
        unknown = plain.pop("unknown_keys")
        known = {key: _restore(getattr(value, key), plain[key]) for key in plain}
        return unknown | known
    if isinstance(value, dict):
        return {key: _restore(value[key], plain[key]) for key in value}
    if isinstance(value, list | tuple) and value and isinstance(value[0], Record):
        return [_restore(item, plain[i]) for i, item in enumerate(value)]
    return plain
