"""Write `specs/schemas/*.json` from the types of the code: `python specs/write_schemas.py`."""  # noqa: INP001 -- a script

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from modpm.cli.error_document import ErrorDocument
from modpm.core.formats.composition_manifest import CompositionManifest
from modpm.core.formats.manifest import Manifest
from modpm.registry.backends.shards import Entry
from modpm.registry.index import CompositionRelease, IndexDocument, ModuleRelease
from modpm.registry.projects.lockfile import LockDocument
from modpm.registry.projects.project import Wishes
from modpm.registry.signing.signature import Bundle, Statement
from modpm.registry.signing.trusted_keys import TrustFile

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).parent / "schemas"

TYPES: dict[str, type] = {
    "manifest": Manifest,
    "composition": CompositionManifest,
    "index": IndexDocument,
    "catalogue": Entry,
    "lockfile": LockDocument,
    "signature": Bundle,
    "statement": Statement,
    "trust": TrustFile,
    "project": Wishes,
    "error": ErrorDocument,
}


KINDS = {"Release": (ModuleRelease, CompositionRelease)}
"""Types that stand for several."""

FORMAT_VERSIONS: dict[str, dict[str, Any]] = {
    "CompositionManifest": {"const": 2},
}
"""Of formats that have others than the first."""


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a format.

    Args:
        name: A key of `TYPES`.
    """
    (top,), definitions = _components([TYPES[name]])
    for common in KINDS.keys() & definitions.keys():
        references, kinds = _components(KINDS[common])
        definitions = {**definitions, **kinds, common: {"anyOf": references}}
    for title, definition in definitions.items():
        _mend(definition, FORMAT_VERSIONS.get(title, {"const": 1}))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        **top,
        "$defs": dict(sorted(definitions.items())),
    }


def text(name: str) -> str:
    """Return what stands in `specs/schemas/<name>.json`."""
    return json.dumps(schema(name), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _components(types: Sequence[type]) -> tuple[Sequence[dict[str, Any]], dict[str, Any]]:
    return msgspec.json.schema_components(types, ref_template="#/$defs/{name}")


def _mend(definition: dict[str, Any], format_version: dict[str, Any]) -> None:
    # `unknown_keys` is how Python holds the keys that a schema leaves open.
    properties = definition.get("properties", {})
    properties.pop("unknown_keys", None)
    # The version of a format has a default for those who write it, not for those who read it.
    if "format_version" in properties:
        properties["format_version"] = format_version
        required = {*definition.get("required", []), "format_version"}
        definition["required"] = sorted(required)
    # A name is a check, a docstring is not.
    definition.pop("description", None)


def main() -> None:
    """Write every schema."""
    FOLDER.mkdir(exist_ok=True)
    for name in TYPES:
        (FOLDER / f"{name}.json").write_text(text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
