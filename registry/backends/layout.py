"""Where things are in a registry of files (`specs/backends.md`), and what is said of them.

    registry.json                       what makes it a registry
    namespaces.json                     its namespaces
    <namespace>/catalogue.json          what is shown of the modules of a namespace
    <namespace>/<name>/index.json       what is listed for a name
    <namespace>/<name>/<version>/…      the files of a release, where folders can be renamed
    files.sha256/<hex>                  or any file, by its digest, where they cannot

A folder, a bucket and a web server hold the same files, so that one can be copied to another.
"""

from __future__ import annotations

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.names import ModuleName, normalize

FORMAT_VERSION = 1
REGISTRY_FILE = "registry.json"
NAMESPACES_FILE = "namespaces.json"
INDEX_FILE = "index.json"
FILES_FOLDER = "files.sha256"

LAYOUT = canonical_json.encode({"format_version": FORMAT_VERSION})
"""What `registry.json` holds."""


def index_path(module: ModuleName) -> str:
    """Return where the index of a module is."""
    return f"{module}/{INDEX_FILE}"


def release_path(module: ModuleName, version: str, file: str = "") -> str:
    """Return where a file of a release is, or all are, in a registry with a folder for each."""
    return f"{module}/{version}/{file}"


def content_path(digest: str) -> str:
    """Return where a file is, in a registry that names files by their digests."""
    return f"{FILES_FOLDER}/{digest.removeprefix('sha256:')}"


def check_layout(data: bytes, location: str) -> None:
    """Check what `registry.json` holds.

    Raises:
        ModpmError: `not-a-registry`; `invalid-json` or `too-large`.
    """
    layout = canonical_json.decode(data, f"{location}/{REGISTRY_FILE}")
    if data != LAYOUT:
        raise not_a_registry(location, f"this modpm does not know its layout, {layout!r:.200}")


def is_name(text: str) -> bool:
    """Tell whether a text is one part of a module name, in normal form."""
    try:
        return normalize(text) == text
    except ModpmError:
        return False


def module_named(text: str) -> ModuleName | None:
    """Return the module that `namespace/name` names, in normal form; None for any other text."""
    namespace, _, name = text.partition("/")
    return ModuleName(namespace, name) if is_name(namespace) and is_name(name) else None


def missing_file(
    module: ModuleName,
    version: str,
    where: str,
    why: str = "the index lists it, and it is not there",
) -> ModpmError:
    """Return the error of a file that should be there."""
    return ModpmError(
        f"`{module}` {version} has lost a file",
        code="missing-file",
        where=where,
        why=why,
        hint="ask whoever keeps the registry to restore it",
    )


def not_a_registry(location: str, why: str) -> ModpmError:
    """Return the error of a place that holds something else."""
    return ModpmError(
        "this is not a registry",
        code="not-a-registry",
        where=location,
        why=why,
        hint="name the place that was published to, or a new one",
    )


def registry_missing(
    location: str,
    why: str,
    hint: str = "publish to it first (`modpm publish DIST --registry URL`), or correct the address",
) -> ModpmError:
    """Return the error of a place where nothing is."""
    return ModpmError(
        "there is no such registry",
        code="registry-missing",
        where=location,
        why=why,
        hint=hint,
    )
