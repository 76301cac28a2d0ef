"""Every parser of bytes and of text that strangers may have written."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from modpm.core.classifiers import saving
from modpm.core.classifiers.recipe import Composition
from modpm.core.formats import canonical_json
from modpm.core.formats.composition_manifest import parse_manifest
from modpm.core.formats.digest import digest_bytes, parse_digest
from modpm.core.formats.manifest import FileRecord
from modpm.core.formats.names import ModuleName
from modpm.core.formats.requirements import Requirement, parse_version
from modpm.core.formats.tensor_file import parse_header
from modpm.core.training.run import Run
from modpm.registry.backends import layout, opening, shards
from modpm.registry.backends.oci import naming
from modpm.registry.backends.oci.modelpack import pack, unpack
from modpm.registry.index import Index, Release
from modpm.registry.projects.lockfile import Lockfile
from modpm.registry.projects.project import Project
from modpm.registry.projects.request import parse_selection
from modpm.registry.publication.changing import ReleaseName
from modpm.registry.signing.signature import Bundle, Statement, claimed_signer, read_strictly
from modpm.registry.signing.trusted_keys import TrustFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modpm.core.training.run import RunRecord

VECTORS = Path(__file__).parents[2] / "specs" / "vectors"
FROZEN = Path(__file__).parents[1] / "frozen" / "0.1"
CAT = ModuleName("digits", "7")


def _run_json(data: bytes) -> object:
    return _with_file("run.json", data, Run.open)


def _graph_json(data: bytes) -> object:
    # The run's record is not looked at.
    return _with_file("graph.json", data, lambda folder: Run(folder, cast("RunRecord", None)).graph)


def _with_file(name: str, data: bytes, read: Callable[[Path], object]) -> object:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(data)
        return read(Path(folder))


def _tensor_file(data: bytes) -> object:
    return parse_header(data, len(data))


def _lockfile(data: bytes) -> object:
    return Lockfile.from_bytes(data, Path("modpm.lock"), "mend it")


def _project(data: bytes) -> object:
    return Project(Path("/project")).parse_wishes(data)


def _composition(data: bytes) -> object:
    return saving._parse(Composition, data, Path("composition.json"))


def _config(data: bytes) -> object:
    return saving._parse(saving.ClassifierConfig, data, Path("config.json"))


def _catalogue(data: bytes) -> object:
    return shards.read_entries(shards.decode_shard(data, "catalogue.json"))


OF_BYTES: Mapping[str, Callable[[bytes], object]] = {
    "canonical_json": canonical_json.decode,
    "manifest": parse_manifest,
    "tensor_file": _tensor_file,
    "index": partial(Index.from_bytes, module=CAT, where="index.json"),
    "lockfile": _lockfile,
    "modpm.toml": _project,
    "registry.json": partial(layout.check_layout, location="here"),
    "namespaces.json": partial(shards.decode_counts, where="namespaces.json"),
    "catalogue.json": _catalogue,
    "signature": partial(claimed_signer, where="signature.json"),
    "bundle": partial(read_strictly, Bundle, where="signature.json"),
    "statement": partial(read_strictly, Statement, where="signature.json"),
    "trust.json": partial(TrustFile.from_bytes, where="trust.json"),
    "oci_manifest": partial(unpack, where="oci://here"),
    "composition.json": _composition,
    "config.json": _config,
    "run.json": _run_json,
    "graph.json": _graph_json,
}

TOML = {"lockfile", "modpm.toml"}
"""Of the documents that are TOML."""

OF_TEXT: Mapping[str, Callable[[str], object]] = {
    "name": ModuleName.parse,
    "version": parse_version,
    "requirement": Requirement.parse,
    "digest": parse_digest,
    "release": ReleaseName.parse,
    "selection": parse_selection,
    "registry": partial(opening.locate, base=Path("/project")),
    "oci_version": naming.version_of_tag,
    "oci_tag": naming.is_module_tag,
}


def goldens() -> dict[str, list[bytes]]:
    """Return documents that the parsers accept, by parser."""
    frozen = FROZEN / "digits-7"
    tensors = (frozen / "module.safetensors").read_bytes()
    manifest = (frozen / "manifest.json").read_bytes()
    composition = (VECTORS / "composition" / "valid" / "complete.json").read_bytes()
    return {
        "manifest": [manifest, *_valid("manifest"), *_valid("composition")],
        "tensor_file": [tensors],
        "index": _valid("index"),
        "lockfile": _valid("lockfile"),
        "modpm.toml": _valid("project"),
        "trust.json": _valid("trust"),
        "signature": _valid("signature"),
        "bundle": _valid("signature"),
        "registry.json": [layout.LAYOUT],
        "namespaces.json": [shards.encode_counts({"digits": 1, "cifar10": 4})],
        "catalogue.json": [_shard()],
        "oci_manifest": [_oci_manifest(manifest), _oci_manifest(composition)],
    }


def _oci_manifest(data: bytes) -> bytes:

    manifest = parse_manifest(data)
    record = FileRecord(size_bytes=len(data), digest=digest_bytes(data))
    return pack(manifest, Release.of(manifest, record, "2026-01-01T00:00:00Z"))[0].data


def _shard() -> bytes:
    indexes = [Index.from_bytes(data, CAT, "index.json") for data in _valid("index")]
    entries = {f"module-{i}": shards.Entry.of(index) for i, index in enumerate(indexes)}
    return shards.encode_shard(shards.plain(entries))


def _valid(kind: str) -> list[bytes]:
    return [
        path.read_bytes()
        for path in sorted((VECTORS / kind / "valid").rglob("*"))
        if path.is_file()
    ]
