"""Distributions: the folder of files that is published as one release (`specs/distribution.md`)."""

from __future__ import annotations

import errno
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
from modpm.core.formats.picture import picture_problem
from modpm.core.formats.release_files import PICTURE_FILES, SIGNATURE_FILE, WEIGHT_FILES
from modpm.core.formats.tensor_file import (
    METADATA_KEY,
    TensorHeader,
    parse_header,
    read_header,
)
from modpm.core.system.whole_files import is_free, write_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

__all__ = ["SIGNATURE_FILE"]

LEVELS_DTYPE, SCALE_ROLE = "I8", "scale"
"""Of a stored weight of 8 bits, and what its name is followed by in that of its factors (T-11)."""

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
        manifest: Its `files` and `pictures` are filled in.
        files: The content of `module.safetensors`, of a class module, or of `weights.safetensors`,
            of a composition with weights of its own, and, if wanted, `shared.safetensors`,
            `README.md`, `LICENSE` and pictures.
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
    pictures = {name: records.pop(name) for name in PICTURE_FILES if name in records}
    manifest = msgspec.structs.replace(manifest, files=records, pictures=pictures or msgspec.UNSET)
    manifest_bytes = manifest.to_bytes()
    headers = {
        name: parse_header(data, len(data), name)
        for name, data in files.items()
        if name in WEIGHT_FILES
    }
    _raise_first(list(tensor_problems(manifest, headers)), folder.name, str(folder))
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
    manifest, data, _ = _read(folder / MANIFEST_FILE, folder.name, str(folder))
    return Distribution(folder, manifest, digest_bytes(data))


def verify_distribution(
    folder: Path,
    digest: str | None = None,
    besides: Mapping[str, FileRecord] | None = None,
    *,
    digest_of: Callable[[Path], str] | None = None,
) -> Distribution:
    """Check that a folder holds exactly what its manifest says (clauses D-1 to D-9, D-13).

    Pictures may be absent.

    Args:
        folder: The distribution.
        digest: What the release is known by; None to take the manifest as it is.
        besides: The files that no manifest names, which is the signature if there is one, as they
            are pinned; None to take them as they are.
        digest_of: Gives the digest of a file's bytes, for a caller that may know it already; by
            default they are read.

    Raises:
        ModpmError: `not-a-distribution`, or what `parse_manifest` raises; otherwise one
            error that names all problems and has the code of the first: `wrong-digest`,
            `not-canonical`, `not-a-regular-file`, `unexpected-file`, `missing-file`,
            `wrong-size`, `invalid-picture`, `truncated-tensors`, `invalid-tensors`,
            `missing-tensor`, `unexpected-tensor`, `wrong-count`.
    """
    try:
        files = {path.name: path for path in folder.iterdir()}
    except OSError as error:
        raise _not_a_distribution(folder.name, str(folder), _why(error)) from error
    manifest, digest = verify_files(
        files, digest, besides, digest_of=digest_of, name=folder.name, where=str(folder)
    )
    return Distribution(folder, manifest, digest)


def verify_files(
    files: Mapping[str, Path],
    digest: str | None = None,
    besides: Mapping[str, FileRecord] | None = None,
    *,
    digest_of: Callable[[Path], str] | None = None,
    name: str,
    where: str,
) -> tuple[AnyManifest, str]:
    """Check that files are a distribution, as `verify_distribution`, wherever each of them lies.

    Args:
        files: By their names in the distribution.
        digest: As for `verify_distribution`.
        besides: As for `verify_distribution`.
        digest_of: As for `verify_distribution`.
        name: What the distribution is called in errors.
        where: Where it is, for errors.

    Returns:
        The manifest, and its digest.

    Raises:
        ModpmError: As `verify_distribution`.
    """
    manifest, manifest_bytes, manifest_json = _read(files.get(MANIFEST_FILE), name, where)
    found = digest_bytes(manifest_bytes)
    problems = list(_digest_problems(found, digest))
    if not canonical_json.is_canonical(manifest_bytes, manifest_json):
        message = "is not canonical JSON"
        problems.append(DistributionProblem("not-canonical", MANIFEST_FILE, message))
    problems += _all_file_problems(manifest, files, besides, digest_of or digest_file)
    broken = {problem.file for problem in problems}
    if not broken.intersection(WEIGHT_FILES):
        problems += _tensor_file_problems(files, manifest)
    _raise_first(problems, name, where)
    return manifest, found


def tensor_problems(
    manifest: AnyManifest, headers: Mapping[str, TensorHeader]
) -> Iterator[DistributionProblem]:
    """Give what is out of step between a manifest and its tensor files (clauses D-7 to D-9).

    Args:
        manifest: Of either kind; what the tensors of a composition are of, its class modules say.
        headers: Of its tensor files, by their names.
    """
    if isinstance(manifest, Manifest):
        yield from _module_tensor_problems(manifest, headers)
        return
    for file, header in headers.items():
        if header.metadata.keys() - {METADATA_KEY}:
            yield _other_metadata(file, header)


def _module_tensor_problems(
    manifest: Manifest, headers: Mapping[str, TensorHeader]
) -> Iterator[DistributionProblem]:
    roles = {name: role for node in manifest.graph.nodes for role, name in node.tensors.items()}
    infos = {name: info for one in headers.values() for name, info in one.tensors.items()}
    roles |= {
        f"{name}.{SCALE_ROLE}": SCALE_ROLE
        for name in roles.keys() & infos.keys()
        if infos[name].dtype == LEVELS_DTYPE
    }
    for name in sorted(roles.keys() - infos.keys()):
        message = f"the graph names the tensor `{name}`, which is absent"
        yield DistributionProblem("missing-tensor", TENSOR_FILE, message)
    seen: set[str] = set()
    for file, header in headers.items():
        for name in sorted(header.tensors.keys() - roles.keys()):
            message = f"the graph does not name its tensor `{name}`"
            yield DistributionProblem("unexpected-tensor", file, message)
        for name in sorted(header.tensors.keys() & seen):
            message = f"its tensor `{name}` is in another file too"
            yield DistributionProblem("unexpected-tensor", file, message)
        if header.metadata.keys() - {METADATA_KEY}:
            yield _other_metadata(file, header)
        seen |= header.tensors.keys()
    constants = {*BUFFER_ROLES, SCALE_ROLE}
    n_parameters = sum(
        info.n_elements for name, info in infos.items() if roles.get(name) not in constants
    )
    size_bytes = sum(header.data_size_bytes for header in headers.values())
    for field, n in (("n_parameters", n_parameters), ("size_bytes", size_bytes)):
        if n != (said := getattr(manifest, field)):
            message = f"the manifest says {field} {said}; there are {n}"
            yield DistributionProblem("wrong-count", TENSOR_FILE, message)


def _other_metadata(file: str, header: TensorHeader) -> DistributionProblem:
    keys = ", ".join(sorted(header.metadata))
    message = f"its metadata have other keys than `modpm`: {keys}"
    return DistributionProblem("invalid-tensors", file, message)


def _read(
    path: Path | None, name: str, where: str
) -> tuple[AnyManifest, bytes, canonical_json.Json]:
    if path is None:
        raise _not_a_distribution(name, where, os.strerror(errno.ENOENT))
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise _not_a_distribution(name, where, "is a link, a folder or a device")
        with path.open("rb") as file:
            # One byte beyond the limit is enough for the parser to see that it is too large.
            data = file.read(canonical_json.MAX_SIZE_BYTES + 1)
    except OSError as error:
        raise _not_a_distribution(name, where, _why(error)) from error
    manifest_json = canonical_json.decode(data, str(path))
    return manifest_of_json(manifest_json, str(path)), data, manifest_json


def _why(error: OSError) -> str:
    return error.strerror or "cannot be read"


def _not_a_distribution(name: str, where: str, why: str) -> ModpmError:
    return ModpmError(
        f"`{name}` is not a distribution",
        code="not-a-distribution",
        where=where,
        why=f"{MANIFEST_FILE}: {why}",
        hint="give the folder that holds `manifest.json`",
    )


def _digest_problems(found: str, digest: str | None) -> Iterator[DistributionProblem]:
    if digest is not None and found != digest:
        message = f"its digest is {found}, not {digest}"
        yield DistributionProblem("wrong-digest", MANIFEST_FILE, message)


def _all_file_problems(
    manifest: AnyManifest,
    files: Mapping[str, Path],
    besides: Mapping[str, FileRecord] | None,
    digest_of: Callable[[Path], str],
) -> Iterator[DistributionProblem]:
    needed = {**(besides or {}), **manifest.files}
    records = {**needed, **manifest.all_pictures}
    for name in sorted(files):
        status = files[name].lstat()
        if not stat.S_ISREG(status.st_mode):
            yield DistributionProblem("not-a-regular-file", name, "is a link, a folder or a device")
        elif name in records:
            said = "the pin says" if name in (besides or {}) else "the manifest says"
            problem = _file_problem(files[name], status.st_size, records[name], said, digest_of)
            if problem is None and name in PICTURE_FILES:
                problem = _picture_problem(files[name])
            if problem is not None:
                yield DistributionProblem(problem[0], name, problem[1])
        elif name == SIGNATURE_FILE and besides is not None:
            yield DistributionProblem("unexpected-file", name, "the release is not signed")
        elif name not in (MANIFEST_FILE, SIGNATURE_FILE):
            yield DistributionProblem("unexpected-file", name, "is not in the manifest")
    for name in sorted(needed.keys() - files.keys()):
        place = "in the manifest" if name in manifest.files else "pinned"
        yield DistributionProblem("missing-file", name, f"is {place}, and absent")


def _file_problem(
    path: Path, size_bytes: int, record: FileRecord, said: str, digest_of: Callable[[Path], str]
) -> tuple[str, str] | None:
    """Return a code and words for what is wrong with a file, if anything is."""
    if size_bytes != record.size_bytes:
        return "wrong-size", f"has {size_bytes} bytes; {said} {record.size_bytes}"
    try:
        digest = digest_of(path)
    except OSError as error:
        return "unreadable-file", f"{error.strerror}"
    if digest != record.digest:
        return "wrong-digest", f"its digest is {digest}; {said} {record.digest}"
    return None


def _picture_problem(path: Path) -> tuple[str, str] | None:
    """Return the same for a picture, whose size and digest are right."""
    why = picture_problem(path.read_bytes())
    return None if why is None else ("invalid-picture", why)


def _tensor_file_problems(
    files: Mapping[str, Path], manifest: AnyManifest
) -> Iterator[DistributionProblem]:
    headers: dict[str, TensorHeader] = {}
    for name in WEIGHT_FILES:
        if name in manifest.files:
            try:
                headers[name] = read_header(files[name])
            except ModpmError as error:
                yield DistributionProblem(error.code, name, f"{error.what}: {error.why}")
                return
    yield from tensor_problems(manifest, headers)


def _raise_first(problems: list[DistributionProblem], name: str, where: str) -> None:
    if problems:
        raise ModpmError(
            f"the distribution `{name}` is not what its manifest says",
            code=problems[0].code,
            where=where,
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
