"""The golden distribution with changes to its manifest, as `specs/vectors/publishing.json` says."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from modpm.core.formats import canonical_json
from modpm.core.formats.distribution import (
    Distribution,
    verify_distribution,
    write_distribution,
)
from modpm.core.formats.manifest import Manifest, Variant
from modpm.core.tensors import decode_tensors, encode_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VECTORS = Path(__file__).parents[2] / "specs" / "vectors"
GOLDEN = VECTORS / "distribution" / "digits-7"


@cache
def publishing_cases(which: str) -> list[dict[str, Any]]:
    """Return the golden cases of one kind."""
    cases: list[dict[str, Any]] = json.loads((VECTORS / "publishing.json").read_bytes())[which]
    assert cases
    return cases


def in_two_files(made: Distribution) -> Distribution:
    """Write a distribution anew in its place, all tensors but the first in the shared file."""
    files = {name: (made.folder / name).read_bytes() for name in made.manifest.files}
    tensors = decode_tensors(files["module.safetensors"])
    first, *others = tensors
    files["module.safetensors"] = encode_tensors({first: tensors[first]})
    files["shared.safetensors"] = encode_tensors({name: tensors[name] for name in others})
    return write_distribution(made.folder, made.manifest, files, overwrite=True)


def variant_of(release: Distribution, folder: Path, digest: str | None = None) -> Distribution:
    """Write a distribution that says to be another form of a class module.

    Args:
        release: The class module, whose tensors it has.
        folder: Where to; it does not exist yet.
        digest: Which release it says it is made of; None for that.
    """
    manifest = release.module_manifest
    said = Variant(
        kind="int8",
        name=manifest.name,
        version=manifest.version,
        digest=digest or release.digest,
        n_images=8,
    )
    small = msgspec.structs.replace(manifest, name=f"{manifest.name}-int8", variant=said)
    files = {name: (release.folder / name).read_bytes() for name in manifest.files}
    return write_distribution(folder, small, files)


def write_changed(
    folder: Path, change: Mapping[str, object], without: Sequence[str] = ()
) -> Distribution:
    """Write the golden distribution anew.

    Args:
        folder: Where to; it does not exist yet.
        change: Path in the manifest (`provenance.data_set`) to what stands there.
        without: Files that are left out.
    """
    document = json.loads((GOLDEN / "manifest.json").read_bytes())
    for path, value in change.items():
        parent, _, last = path.partition(".")
        (document if not last else document[parent])[last or parent] = value
    for name in without:
        del document["files"][name]
    folder.mkdir(parents=True)
    for name in document["files"]:
        (folder / name).write_bytes((GOLDEN / name).read_bytes())
    data = canonical_json.encode(document)
    (folder / "manifest.json").write_bytes(Manifest.from_bytes(data).to_bytes())
    return verify_distribution(folder)
