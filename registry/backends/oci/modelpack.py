"""A release as an OCI manifest in the layout of CNCF ModelPack (clauses O-3 to O-8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from modpm.core.formats import canonical_json
from modpm.core.formats.digest import Digest, digest_bytes
from modpm.core.formats.manifest import (
    CARD_FILE,
    LICENSE_FILE,
    Count,
    FileRecord,
    Manifest,
)
from modpm.core.formats.records import Problem, Record, problems_error, read_record, to_plain
from modpm.core.formats.release_files import PICTURE_FILES, WEIGHT_FILES
from modpm.registry.index import Release, Skipped, read_entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from modpm.core.errors import ModpmError
    from modpm.core.formats.composition_manifest import AnyManifest

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
MODEL_TYPE = "application/vnd.cncf.model.manifest.v1+json"
RECORD_TYPE = "application/vnd.modpm.record.v1+json"

RELEASE_ANNOTATION = "modpm.release"
PATH_ANNOTATION = "org.cncf.model.filepath"
TITLE_ANNOTATION = "org.opencontainers.image.title"

EMPTY = b"{}"
EMPTY_DESCRIPTOR = {
    "mediaType": "application/vnd.oci.empty.v1+json",
    "digest": digest_bytes(EMPTY),
    "size": len(EMPTY),
}

_CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
_CONFIGURATION_FILE = "application/vnd.cncf.model.weight.config.v1.raw"
_DOCUMENT = "application/vnd.cncf.model.doc.v1.raw"
_LAYER_TYPES = {
    **dict.fromkeys(WEIGHT_FILES, "application/vnd.cncf.model.weight.v1.raw"),
    **dict.fromkeys((CARD_FILE, LICENSE_FILE, *PICTURE_FILES), _DOCUMENT),
}


class Descriptor(Record, frozen=True, kw_only=True):
    """What an OCI manifest says of a blob."""

    mediaType: str  # noqa: N815 - the keys of the OCI format
    digest: Digest
    size: Count
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class OciManifest(Record, frozen=True, kw_only=True):
    """The part of an OCI manifest that is looked at."""

    artifactType: str  # noqa: N815 - as above
    config: Descriptor
    layers: list[Descriptor]
    annotations: dict[str, str]


@dataclass(frozen=True)
class Artifact:
    """A release, as an OCI manifest in a repository: its digest, its bytes, what it says."""

    digest: str
    data: bytes
    release: Release


def pack(manifest: AnyManifest, release: Release) -> tuple[Artifact, bytes]:
    """Return the artifact of a release that is about to be published, and its model config."""
    layers = [_layer(name, record) for name, record in release.all_files.items()]
    config = canonical_json.encode(_model_config(manifest, release))
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": MODEL_TYPE,
        "config": _descriptor(_CONFIG_TYPE, digest_bytes(config), len(config)),
        "layers": layers,
        "annotations": {
            "org.opencontainers.image.created": release.published,
            "org.opencontainers.image.description": release.summary,
            "org.opencontainers.image.licenses": release.license,
            "org.opencontainers.image.version": release.version,
            TITLE_ANNOTATION: manifest.name,
            RELEASE_ANNOTATION: canonical_json.encode(to_plain(release)).decode(),
        },
    }
    data = canonical_json.encode(document)
    return Artifact(digest_bytes(data), data, release), config


def unpack(data: bytes, where: str) -> Artifact | None:
    """Read an OCI manifest that nobody has vouched for; None if it is no release of a module.

    Raises:
        ModpmError: `invalid-index`, if what it says of the release cannot be used;
            `unknown-format-version`, if that is newer; `invalid-json` or `too-large`.
    """
    text = annotation(data, RELEASE_ANNOTATION, where)
    if text is None:
        return None
    oci_manifest, problems = read_record(OciManifest, canonical_json.decode(data, where))
    encoded = text.encode("utf-8", "surrogatepass")  # which `decode` refuses
    raw = canonical_json.decode(encoded, f"{where} {RELEASE_ANNOTATION}")
    release = read_entry(raw)
    if isinstance(release, Skipped):
        raise _unusable([*problems, Problem("", release.why)], where, is_newer=release.is_newer)
    if oci_manifest is None:
        raise _unusable(problems, where)
    problems = list(_file_problems(oci_manifest, release))
    if problems:
        raise _unusable(problems, where)
    return Artifact(digest_bytes(data), data, release)


def record(annotations: Mapping[str, str]) -> bytes:
    """Return an OCI manifest that says something by its annotations alone."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": RECORD_TYPE,
        "config": EMPTY_DESCRIPTOR,
        "layers": [EMPTY_DESCRIPTOR],
        "annotations": dict(annotations),
    }
    return canonical_json.encode(document)


def annotation(data: bytes, key: str, where: str) -> str | None:
    """Return an annotation of an OCI manifest; None if it has none of that name.

    Raises:
        ModpmError: `invalid-json` or `too-large`.
    """
    raw = canonical_json.decode(data, where)
    annotations = raw.get("annotations") if isinstance(raw, dict) else None
    text = annotations.get(key) if isinstance(annotations, dict) else None
    return text if isinstance(text, str) else None


def _file_problems(oci_manifest: OciManifest, release: Release) -> Iterator[Problem]:
    blobs = {
        layer.annotations.get(PATH_ANNOTATION): (layer.digest, layer.size)
        for layer in oci_manifest.layers
    }
    for name, file in release.all_files.items():
        if blobs.get(name) != (file.digest, file.size_bytes):
            yield Problem("layers", f"do not hold {name[:100]!r} as the release lists it")


def _unusable(problems: list[Problem], where: str, *, is_newer: bool = False) -> ModpmError:
    return problems_error(
        problems,
        what="the OCI manifest of a release cannot be used",
        code="unknown-format-version" if is_newer else "invalid-index",
        where=where,
        hint="upgrade modpm" if is_newer else "ask whoever keeps the registry to restore it",
    )


def _layer(name: str, file: FileRecord) -> dict[str, canonical_json.Json]:
    media_type = _LAYER_TYPES.get(name, _CONFIGURATION_FILE)
    layer = _descriptor(media_type, file.digest, file.size_bytes)
    return {**layer, "annotations": {PATH_ANNOTATION: name, TITLE_ANNOTATION: name}}


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, canonical_json.Json]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _model_config(manifest: AnyManifest, release: Release) -> canonical_json.Json:
    is_module = isinstance(manifest, Manifest)
    of = manifest if isinstance(manifest, Manifest) else manifest.composition
    return {
        "descriptor": {
            "createdAt": release.published,
            "authors": list(manifest.authors),
            "name": manifest.name,
            "version": manifest.version,
            "title": manifest.label if isinstance(manifest, Manifest) else manifest.name,
            "description": manifest.summary,
            "licenses": [manifest.license],
        },
        "config": {
            "architecture": "cnn",
            "format": "safetensors" if is_module else "composition",
            "paramSize": _parameter_size(of.n_parameters),
            "capabilities": {"inputTypes": ["image"]},
        },
        "modelfs": {
            "type": "layers",
            "diffIds": [file.digest for file in release.all_files.values()],
        },
    }


def _parameter_size(n_parameters: int) -> str:
    thousands = n_parameters / 1000
    return f"{thousands:.1f}K" if thousands < 1000 else f"{thousands / 1000:.1f}M"  # noqa: PLR2004 - a prefix
