"""The clauses of `specs/`, and whoever cites them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEFINED = re.compile(r"^- \*\*([A-Z]-\d+)\*\*", re.MULTILINE)
CITED = re.compile(r"\b([A-Z]-\d+)\b")


@pytest.fixture(scope="module")
def defined(specs: Path) -> dict[str, list[str]]:
    """Return the clauses of each document."""
    return {
        path.name: DEFINED.findall(path.read_text(encoding="utf-8"))
        for path in sorted(specs.glob("*.md"))
    }


def clauses_of_vectors(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if "clause" in value:
            yield value["clause"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from clauses_of_vectors(inner)


def test_clauses_are_numbered_in_order(defined: dict[str, list[str]]) -> None:
    for name, clauses in defined.items():
        letters = {clause[0] for clause in clauses}
        assert len(letters) <= 1, name
        assert [int(clause[2:]) for clause in clauses] == list(range(1, len(clauses) + 1)), name


def test_no_two_documents_share_a_letter(defined: dict[str, list[str]]) -> None:
    letters = [clauses[0][0] for clauses in defined.values() if clauses]
    assert len(set(letters)) == len(letters)


def test_every_vector_names_a_clause(vectors: Path, defined: dict[str, list[str]]) -> None:
    known = {clause for clauses in defined.values() for clause in clauses}
    named = {
        clause
        for path in vectors.rglob("*.json")
        if not {"valid", "invalid", "skipped"} & set(path.parts)
        for clause in clauses_of_vectors(json.loads(path.read_bytes()))
    }
    assert named
    assert named <= known


def test_every_cited_clause_is_there(repository: Path, defined: dict[str, list[str]]) -> None:
    known = {clause for clauses in defined.values() for clause in clauses}
    letters = {clause[0] for clause in known}
    paths = [
        *(repository / "specs").glob("*.md"),
        *(path for top in ("core", "registry", "cli") for path in (repository / top).rglob("*.py")),
    ]
    unknown = {
        (path.name, clause)
        for path in paths
        for clause in CITED.findall(path.read_text(encoding="utf-8"))
        if clause[0] in letters and clause not in known
    }
    assert not unknown


def test_every_document_is_in_the_index(specs: Path, defined: dict[str, list[str]]) -> None:
    text = (specs / "README.md").read_text(encoding="utf-8")
    assert {name for name in defined if f"]({name})" not in text} == {"README.md"}
