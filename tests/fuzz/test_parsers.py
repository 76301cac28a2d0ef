"""Whatever strangers write, a parser gives a value or an error that says so, at once."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz import attacks
from tests.fuzz.parsers import OF_BYTES, OF_TEXT, TOML, goldens

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_SECONDS = 4.0
"""Of the processor, for one document: generous, since other processes disturb the clock."""

GOLDENS = goldens()


def survives(parse: Callable[..., object], document: object) -> bool:
    """Say whether a parser accepted a document; only a `ModpmError` may come out."""
    start = time.process_time()
    try:
        parse(document)
    except ModpmError as error:
        assert len(str(error)) < 20_000, "an error quotes an attack in full"  # noqa: PT017 - both
        accepted = False
    else:
        accepted = True
    assert time.process_time() - start < MAX_SECONDS
    return accepted


@pytest.mark.parametrize("parser", OF_BYTES)
def test_no_attack_gets_further_than_an_error(parser: str) -> None:
    for name, data in attacks.of_kind("toml" if parser in TOML else "json").items():
        try:
            survives(OF_BYTES[parser], data)
        except Exception as error:
            raise AssertionError(f"{name}: {error!r:.500}") from error


@pytest.mark.parametrize("parser", OF_BYTES)
def test_a_document_far_over_the_limit_is_not_looked_at(parser: str) -> None:
    for data in attacks.FAR_OVER.values():
        assert not survives(OF_BYTES[parser], data)


@pytest.mark.parametrize("parser", OF_TEXT)
def test_no_text_gets_further_than_an_error(parser: str) -> None:
    for name, text in attacks.TEXT.items():
        try:
            survives(OF_TEXT[parser], text)
        except Exception as error:
            raise AssertionError(f"{name}: {error!r:.500}") from error


@pytest.mark.parametrize("attack", attacks.TENSORS)
def test_every_attack_of_tensors_is_refused(attack: str) -> None:
    harmless = {"header of 8 MiB of spaces"}

    assert survives(OF_BYTES["tensor_file"], attacks.TENSORS[attack]) == (attack in harmless)


@pytest.mark.parametrize("parser", GOLDENS)
def test_the_documents_that_are_damaged_below_are_accepted_whole(parser: str) -> None:
    assert all(survives(OF_BYTES[parser], golden) for golden in GOLDENS[parser])


quickly = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("parser", OF_BYTES)
@quickly
@given(data=st.binary(max_size=200))
def test_any_bytes(parser: str, data: bytes) -> None:
    survives(OF_BYTES[parser], data)


@pytest.mark.parametrize("parser", OF_TEXT)
@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=80) | st.text("abAZ019-_./@=<>!~,* \n:#?[]%", max_size=40))
def test_any_text(parser: str, text: str) -> None:
    survives(OF_TEXT[parser], text)


@pytest.mark.parametrize("parser", GOLDENS)
@quickly
@given(data=st.data())
def test_a_good_document_with_bytes_changed(parser: str, data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(GOLDENS[parser])))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(0, min(len(damaged) - 1, 30_000))))
        piece = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"[", b"\\", b"-"]))
        damaged[place : place + data.draw(st.integers(0, 3))] = piece
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]

    survives(OF_BYTES[parser], bytes(damaged))


HOSTILE: list[object] = [
    None,
    True,
    -1,
    0,
    2**63,
    2**64 - 1,
    1e308,
    "",
    "../../etc/passwd",
    "/etc/passwd",
    "a\x00b",
    "x" * 10_000,
    "9" * 5000,
    [],
    {},
    [[]],
    {"": {}},
    [None] * 1000,
    "sha256:" + "0" * 64,
    "1!2.0",
    "digits/cat>=1",
]
OF_JSON = [parser for parser in GOLDENS if parser not in {"lockfile", "modpm.toml", "tensor_file"}]


def places(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Return where the values of a document are."""
    items = (
        value.items()
        if isinstance(value, dict)
        else list(enumerate(value))[:50]
        if isinstance(value, list)
        else ()
    )
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


def with_value(document: object, path: tuple[object, ...], value: object) -> object:
    """Return a document in which one value is another."""
    if not path:
        return value
    head, *rest = path
    if isinstance(document, dict):
        return {**document, head: with_value(document[head], tuple(rest), value)}
    assert isinstance(document, list)
    assert isinstance(head, int)
    return [with_value(v, tuple(rest), value) if i == head else v for i, v in enumerate(document)]


@pytest.mark.parametrize("parser", OF_JSON)
@settings(parent=quickly, max_examples=120)
@given(data=st.data())
def test_a_good_document_with_a_hostile_value(parser: str, data: st.DataObject) -> None:
    document: object = json.loads(data.draw(st.sampled_from(GOLDENS[parser])))
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(places(document)))
        document = with_value(document, place, data.draw(st.sampled_from(HOSTILE)))

    survives(OF_BYTES[parser], json.dumps(document).encode())
