"""The index of one module: what a registry lists for its name (`specs/index.md`)."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Self

import msgspec
from packaging.version import InvalidVersion, Version

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.digest import Digest, digest_file
from modpm.core.formats.distribution import SIGNATURE_FILE, Distribution
from modpm.core.formats.manifest import (
    FILE_NAMES,
    MANIFEST_FILE,
    ClassMetrics,
    Count,
    FileRecord,
    InputContract,
    Label,
    Licence,
    Manifest,
    Name,
    PositiveCount,
    Text,
)
from modpm.core.formats.names import ModuleName
from modpm.core.formats.records import Problem, Record, problems_error, read_record, to_plain
from modpm.core.formats.requirements import MAX_VERSION_LENGTH, Requirement
from modpm.registry.signing.verifying import claimed_signer, read_signature

FORMAT_VERSION = 1

Time = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$(?!\n)",
        description="a time in UTC, such as `2025-01-31T12:00:00Z`",
    ),
]


class Release(Record, frozen=True, kw_only=True):
    """One version of a module, as the index lists it.

    Attributes:
        version: The version, in canonical form.
        digest: The digest of the manifest, which names the release.
        manifest_size_bytes: The size of the manifest.
        files: Every other file.
        requires: Requirements on other modules.
        origin: The digest of the network it was cut from.
        label, summary, licence, input, metrics, n_parameters, macs: As in the manifest.
        published: When.
        yanked: Why nobody new should get it; None unless it is yanked.
        signature: The file `signature.json`; None unless it is signed.
        signer: The key that it is signed with (`sha256:` and 64 digits of its public part), as
            the signature says; None where it does not, or there is none.
    """

    version: Text
    digest: Digest
    manifest_size_bytes: PositiveCount
    files: dict[str, FileRecord]
    requires: list[Text] = msgspec.field(default_factory=list)
    origin: Digest
    label: Label
    summary: str = ""
    licence: Licence
    input: InputContract
    metrics: list[ClassMetrics] = msgspec.field(default_factory=list)
    n_parameters: Count
    macs: Count
    published: Time
    yanked: Text | None = None
    signature: FileRecord | None = None
    signer: Text | None = None

    @classmethod
    def of(cls, manifest: Manifest, manifest_file: FileRecord, published: str) -> Self:
        """Return the entry of a distribution."""
        return cls(
            version=manifest.version,
            digest=manifest_file.digest,
            manifest_size_bytes=manifest_file.size_bytes,
            files=manifest.files,
            requires=manifest.requires,
            origin=manifest.origin.digest,
            label=manifest.label,
            summary=manifest.summary,
            licence=manifest.licence,
            input=manifest.input,
            metrics=manifest.metrics,
            n_parameters=manifest.n_parameters,
            macs=manifest.macs,
            published=published,
        )

    @classmethod
    def of_distribution(cls, distribution: Distribution) -> Self:
        """Return the entry of a distribution that is published now, with its signature.

        Raises:
            ModpmError: `bad-signature`.
        """
        manifest = _record(distribution.folder / MANIFEST_FILE)
        release = cls.of(distribution.manifest, manifest, _now())
        signature = distribution.folder / SIGNATURE_FILE
        if not signature.is_file():
            return release
        signer = claimed_signer(read_signature(signature), str(signature))
        return msgspec.structs.replace(release, signature=_record(signature), signer=signer)

    @property
    def all_files(self) -> Mapping[str, FileRecord]:
        """Every file of the release, the manifest and the signature too."""
        manifest = FileRecord(size_bytes=self.manifest_size_bytes, digest=self.digest)
        signature = {SIGNATURE_FILE: self.signature} if self.signature is not None else {}
        return {MANIFEST_FILE: manifest, **self.files, **signature}

    @property
    def size_bytes(self) -> int:
        """What all files take."""
        return sum(file.size_bytes for file in self.all_files.values())


def _record(path: Path) -> FileRecord:
    return FileRecord(size_bytes=path.stat().st_size, digest=digest_file(path))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Index(Record, frozen=True, kw_only=True):
    """Everything a registry lists for one name.

    Attributes:
        format_version: The version of this format.
        name: The module.
        tags: Tag to version.
        releases: By version, ascending.
    """

    format_version: int = FORMAT_VERSION
    name: Name
    tags: dict[str, Text] = msgspec.field(default_factory=dict)
    releases: list[Release] = msgspec.field(default_factory=list)

    @classmethod
    def from_bytes(cls, data: bytes, module: ModuleName, where: str) -> Self:
        """Read the index of `module` from bytes that nobody has vouched for.

        Raises:
            ModpmError: `invalid-index`, naming every problem; `unknown-format-version`;
                `invalid-json` or `too-large`.
        """
        raw = canonical_json.decode(data, where)
        _check_format_version(raw, where)
        index, problems = read_record(cls, raw, _problems)
        if index is not None and index.name != str(module):
            problems = [Problem("name", f"is `{index.name}`")]
        if index is None or problems:
            raise problems_error(
                problems,
                what=f"the index of `{module}` cannot be used",
                code="invalid-index",
                where=where,
                hint="ask whoever keeps the registry to restore it",
            )
        return index

    def to_bytes(self) -> bytes:
        """Return the index as canonical JSON."""
        return canonical_json.encode(to_plain(self))

    def find(self, version: Version) -> Release | None:
        """Return the release of a version; 1.0 and 1.0.0 are one."""
        return next((r for r in self.releases if Version(r.version) == version), None)

    def with_release(self, release: Release) -> Self:
        """Return the index with one release more."""
        releases = sorted([*self.releases, release], key=lambda r: Version(r.version))
        return msgspec.structs.replace(self, releases=releases)


def _check_format_version(raw: canonical_json.Json, where: str) -> None:
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version != FORMAT_VERSION:
        raise ModpmError(
            f"the index has format version {version}",
            code="unknown-format-version",
            where=where,
            why=f"this version of modpm reads format version {FORMAT_VERSION}",
            hint="upgrade modpm" if version > FORMAT_VERSION else None,
        )


def _problems(index: Index) -> Iterator[Problem]:
    yield from _version_problems(index)
    for i, release in enumerate(index.releases):
        for name in release.files:
            if name not in FILE_NAMES:
                yield Problem(f"releases[{i}].files", f"{name[:100]!r} is not a file of a module")
        for j, requirement in enumerate(release.requires):
            if not _is_requirement(requirement):
                yield Problem(f"releases[{i}].requires[{j}]", "is not a requirement")


def _version_problems(index: Index) -> Iterator[Problem]:
    versions = [_canonical_version(release.version) for release in index.releases]
    for i, version in enumerate(versions):
        if version is None:
            yield Problem(f"releases[{i}].version", "is not a version in canonical form")
    known = [version for version in versions if version is not None]
    if any(a >= b for a, b in pairwise(known)):
        yield Problem("releases", "are not in ascending order, each version once")
    for tag, text in index.tags.items():
        if text not in {release.version for release in index.releases}:
            yield Problem(f"tags.{tag[:100]}", f"{text[:100]!r} is not a release")


def _canonical_version(text: str) -> Version | None:
    try:
        version = Version(text if len(text) <= MAX_VERSION_LENGTH else "")
    except InvalidVersion:
        return None
    return version if str(version) == text else None


def _is_requirement(text: str) -> bool:
    try:
        Requirement.parse(text, where="")
    except ModpmError:
        return False
    return True
