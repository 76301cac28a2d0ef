from __future__ import annotations

import base64
import json
import runpy
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [
    *("catalogue", "composition", "error", "index", "lockfile", "manifest", "project", "signature"),
    *("statement", "trust"),
]


@pytest.fixture(scope="module")
def validators(specs: Path) -> dict[str, Any]:
    found = {
        path.stem: Draft202012Validator(json.loads(path.read_bytes()))
        for path in sorted((specs / "schemas").iterdir())
    }
    assert list(found) == NAMES
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_schemas_are_those_of_the_code(specs: Path, name: str) -> None:
    write_schemas = runpy.run_path(str(specs / "write_schemas.py"))
    written = (specs / "schemas" / f"{name}.json").read_text(encoding="utf-8")
    assert write_schemas["text"](name) == written, "run `python specs/write_schemas.py`"


@pytest.mark.parametrize("name", NAMES)
def test_the_schemas_are_schemas(validators: dict[str, Any], name: str) -> None:
    Draft202012Validator.check_schema(validators[name].schema)


@pytest.mark.parametrize("kind", ["manifest", "composition"])
def test_golden_manifests_validate(validators: dict[str, Any], vectors: Path, kind: str) -> None:
    for path in sorted((vectors / kind / "valid").iterdir()):
        validators[kind].validate(json.loads(path.read_bytes()))


@pytest.mark.parametrize("kind", ["manifest", "composition"])
def test_manifests_that_break_the_schema_do_not_validate(
    validators: dict[str, Any], vectors: Path, kind: str
) -> None:
    folder = vectors / kind
    expected = json.loads((folder / "expect.json").read_bytes())
    names = [name for name, case in expected.items() if case["clause"] in {"M-2", "M-3", "M-4"}]
    assert names
    for name in names:
        with pytest.raises(ValidationError):
            validators[kind].validate(json.loads((folder / "invalid" / name).read_bytes()))


def test_golden_lockfiles_validate(validators: dict[str, Any], vectors: Path) -> None:
    for path in sorted((vectors / "lockfile" / "valid").iterdir()):
        validators["lockfile"].validate(tomllib.loads(path.read_text(encoding="utf-8")))


def test_golden_project_files_validate(validators: dict[str, Any], vectors: Path) -> None:
    for path in sorted((vectors / "project" / "valid").iterdir()):
        validators["project"].validate(tomllib.loads(path.read_text(encoding="utf-8")))


def test_golden_indexes_validate(validators: dict[str, Any], vectors: Path) -> None:
    for path in sorted((vectors / "index" / "valid").iterdir()):
        validators["index"].validate(json.loads(path.read_bytes()))


def test_golden_signatures_validate(validators: dict[str, Any], vectors: Path) -> None:
    for path in sorted((vectors / "signature" / "valid").iterdir()):
        bundle = json.loads(path.read_bytes())
        validators["signature"].validate(bundle)
        validators["statement"].validate(
            json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        )


def test_golden_trust_files_validate(validators: dict[str, Any], vectors: Path) -> None:
    for path in sorted((vectors / "trust" / "valid").iterdir()):
        validators["trust"].validate(json.loads(path.read_bytes()))
