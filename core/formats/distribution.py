"""Distributions: the folder of files that is published as one release (`specs/distribution.md`)."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.composition_manifest import AnyManifest, manifest_of_json
from modpm.core.formats.digest import digest_bytes, digest_file
from modpm.core.formats.manifest import MANIFEST_FILE, TENSOR_FILE, FileRecord, Manifest
from modpm.core.formats.tensor_file import METADATA_KEY, TensorHeader, parse_header, read_header
from modpm.core.formats.whole_files import is_free, write_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

SIGNATURE_FILE = "signature.json"

BUFFER_ROLES = frozenset({"running_mean", "running_var", "fill", "offset"})
"""Roles of a node's tensors that are not counted as parameters (clause D-8)."""


@dataclass(frozen=True)
class Distribution:
    """The files of one release, in a folder.

    Attributes:
        folder: Where they are.
        manifest: What is in `manifest.json`.
        digest: The digest of the bytes of `manifest.json`; it names the release.
    """

    folder: Path
    manifest: AnyManifest
    digest: str

    @property
    def module_manifest(self) -> Manifest:
        """The manifest, of what must be a class module.

        Raises:
            ModpmError: It is a composition (`is-composition`).
        """
        if isinstance(self.manifest, Manifest):
            return self.manifest
        modules = self.manifest.composition.modules
        raise ModpmError(
            f"`{self.manifest.name}` is a composition, and not a class module",
            code="is-composition",
            where=str(self.folder),
            why=f"it is a classifier of {', '.join(module.name for module in modules[:5])}"
            + (" and others" if len(modules) > 5 else ""),  # noqa: PLR2004 -- as many as a line holds
            hint=f"`modpm compose {self.manifest.name} -o CLF` makes the classifier, and in Python "
            f'`modpm.compose(["{self.manifest.name}"])`',
        )


class DistributionProblem(NamedTuple):
    """What is wrong with a distribution: a code of `specs/errors.md`, a file, and words."""

    code: str
    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


def write_distribution(
    folder: Path, manifest: AnyManifest, files: Mapping[str, bytes], *, overwrite: bool = False
) -> Distribution:
    """Write a distribution, whole or not at all.

    Args:
        folder: Where to. If the same distribution is there already, nothing is written.
        manifest: Its `files` are filled in.
        files: The content of `module.safetensors`, of a class module, and, if wanted, `README.md`
            and `LICENSE`.
        overwrite: Replace what is in the folder.

    Raises:
        ModpmError: `invalid-manifest`; the codes of `verify_distribution` for tensors that are
            not those of the manifest; `distribution-exists`; what
            `write_folder` raises.
    """
    records = {
        name: FileRecord(size_bytes=len(data), digest=digest_bytes(data))
        for name, data in files.items()
    }
    manifest = msgspec.structs.replace(manifest, files=records)
    manifest_bytes = manifest.to_bytes()
    if isinstance(manifest, Manifest):
        header = parse_header(files[TENSOR_FILE], len(files[TENSOR_FILE]), TENSOR_FILE)
        _raise_first(list(tensor_problems(manifest, header)), folder)
    distribution = Distribution(folder, manifest, digest_bytes(manifest_bytes))
    if not overwrite and not is_free(folder):
        _check_same(distribution)
    else:
        write_folder(folder, {MANIFEST_FILE: manifest_bytes, **files})
    return distribution


def read_distribution(folder: Path) -> Distribution:
    """Read a distribution's manifest; its other files are not looked at.

    Raises:
        ModpmError: `not-a-distribution`, or what `parse_manifest` raises.
    """
    distribution, _, _ = _read(folder)
    return distribution


def verify_distribution(
    folder: Path, digest: str | None = None, *, digest_of: Callable[[Path], str] | None = None
) -> Distribution:
    """Check that a folder holds exactly what its manifest says (clauses D-1 to D-9).

    Args:
        folder: The distribution.
        digest: What the release is known by; None to take the manifest as it is.
        digest_of: Gives the digest of a file's bytes, for a caller that may know it already; by
            default they are read.

    Raises:
        ModpmError: `not-a-distribution`, or what `parse_manifest` raises; otherwise one
            error that names all problems and has the code of the first: `wrong-digest`,
            `not-canonical`, `not-a-regular-file`, `unexpected-file`, `missing-file`,
            `wrong-size`, `truncated-tensors`, `invalid-tensors`, `missing-tensor`,
            `unexpected-tensor`, `wrong-count`.
    """
    distribution, manifest_bytes, manifest_json = _read(folder)
    problems = list(_digest_problems(distribution, digest))
    if not canonical_json.is_canonical(manifest_bytes, manifest_json):
        message = "is not canonical JSON"
        problems.append(DistributionProblem("not-canonical", MANIFEST_FILE, message))
    problems += _folder_problems(distribution, digest_of or digest_file)
    broken = {problem.file for problem in problems}
    if isinstance(distribution.manifest, Manifest) and TENSOR_FILE not in broken:
        problems += _tensor_file_problems(folder, distribution.manifest)
    _raise_first(problems, folder)
    return distribution


def tensor_problems(manifest: Manifest, header: TensorHeader) -> Iterator[DistributionProblem]:
    """Give what is out of step between a manifest and its tensor file (clauses D-7 to D-9)."""
    roles = {name: role for node in manifest.graph.nodes for role, name in node.tensors.items()}
    for name in sorted(roles.keys() - header.tensors.keys()):
        yield _in_tensors("missing-tensor", f"the graph names the tensor `{name}`, which is absent")
    for name in sorted(header.tensors.keys() - roles.keys()):
        yield _in_tensors("unexpected-tensor", f"the graph does not name its tensor `{name}`")
    if header.metadata.keys() - {METADATA_KEY}:
        keys = ", ".join(sorted(header.metadata))
        yield _in_tensors("invalid-tensors", f"its metadata have other keys than `modpm`: {keys}")
    n_parameters = sum(
        info.n_elements
        for name, info in header.tensors.items()
        if roles.get(name) not in BUFFER_ROLES
    )
    counts = {"n_parameters": n_parameters, "size_bytes": header.data_size_bytes}
    for field, n in counts.items():
        if n != (said := getattr(manifest, field)):
            yield _in_tensors("wrong-count", f"the manifest says {field} {said}; there are {n}")


def _read(folder: Path) -> tuple[Distribution, bytes, canonical_json.Json]:
    path = folder / MANIFEST_FILE
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise _not_a_distribution(folder, "is a link, a folder or a device")
        with path.open("rb") as file:
            # One byte beyond the limit is enough for the parser to see that it is too large.
            data = file.read(canonical_json.MAX_SIZE_BYTES + 1)
    except OSError as error:
        raise _not_a_distribution(folder, error.strerror or "cannot be read") from error
    manifest_json = canonical_json.decode(data, str(path))
    manifest = manifest_of_json(manifest_json, str(path))
    return Distribution(folder, manifest, digest_bytes(data)), data, manifest_json


def _not_a_distribution(folder: Path, why: str) -> ModpmError:
    return ModpmError(
        f"`{folder.name}` is not a distribution",
        code="not-a-distribution",
        where=str(folder),
        why=f"{MANIFEST_FILE}: {why}",
        hint="give the folder that holds `manifest.json`",
    )


def _digest_problems(
    distribution: Distribution, digest: str | None
) -> Iterator[DistributionProblem]:
    if digest is not None and distribution.digest != digest:
        message = f"its digest is {distribution.digest}, not {digest}"
        yield DistributionProblem("wrong-digest", MANIFEST_FILE, message)


def _folder_problems(
    distribution: Distribution, digest_of: Callable[[Path], str]
) -> Iterator[DistributionProblem]:
    files = distribution.manifest.files
    found = {entry.name: entry for entry in os.scandir(distribution.folder)}
    for name in sorted(found):
        if not stat.S_ISREG(found[name].stat(follow_symlinks=False).st_mode):
            yield DistributionProblem("not-a-regular-file", name, "is a link, a folder or a device")
        elif name not in files and name not in (MANIFEST_FILE, SIGNATURE_FILE):
            yield DistributionProblem("unexpected-file", name, "is not in the manifest")
        elif name in files:
            yield from _file_problems(distribution.folder / name, files[name], digest_of)
    for name in sorted(files.keys() - found.keys()):
        yield DistributionProblem("missing-file", name, "is in the manifest, and absent")


def _file_problems(
    path: Path, record: FileRecord, digest_of: Callable[[Path], str]
) -> Iterator[DistributionProblem]:
    size_bytes = path.stat().st_size
    if size_bytes != record.size_bytes:
        message = f"has {size_bytes} bytes; the manifest says {record.size_bytes}"
        yield DistributionProblem("wrong-size", path.name, message)
        return
    try:
        digest = digest_of(path)
    except OSError as error:
        yield DistributionProblem("unreadable-file", path.name, f"{error.strerror}")
        return
    if digest != record.digest:
        message = f"its digest is {digest}; the manifest says {record.digest}"
        yield DistributionProblem("wrong-digest", path.name, message)


def _tensor_file_problems(folder: Path, manifest: Manifest) -> Iterator[DistributionProblem]:
    try:
        header = read_header(folder / TENSOR_FILE)
    except ModpmError as error:
        yield DistributionProblem(error.code, TENSOR_FILE, f"{error.what}: {error.why}")
    else:
        yield from tensor_problems(manifest, header)


def _in_tensors(code: str, message: str) -> DistributionProblem:
    return DistributionProblem(code, TENSOR_FILE, message)


def _raise_first(problems: list[DistributionProblem], folder: Path) -> None:
    if problems:
        raise ModpmError(
            f"the distribution `{folder.name}` is not what its manifest says",
            code=problems[0].code,
            where=str(folder),
            why="\n".join(map(str, problems)),
            hint="fetch or make it again",
        )


def _check_same(distribution: Distribution) -> None:
    try:
        verify_distribution(distribution.folder, distribution.digest)
    except ModpmError as error:
        raise ModpmError(
            f"`{distribution.folder.name}` exists and holds something else",
            code="distribution-exists",
            where=str(distribution.folder),
            why=error.why,
            hint="choose another folder, or remove this one",
        ) from error
