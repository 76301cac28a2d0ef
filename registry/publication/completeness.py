"""Whether a distribution has all that those who rely on it need (V-2 to V-7, V-14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import ComposedModule, CompositionManifest
from modpm.core.formats.manifest import CARD_FILE, LICENSE_FILE, Manifest, Variant
from modpm.core.formats.names import ModuleName
from modpm.core.formats.release_terms import UNSTATED_LICENSE
from modpm.registry.backends.publishing_plan import listed_index
from modpm.registry.index import CompositionRelease, Release, release_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from modpm.core.formats.distribution import Distribution
    from modpm.core.formats.manifest import ReleaseManifest
    from modpm.registry.backends.protocol import Backend
    from modpm.registry.backends.publishing_plan import Entry

TRAINING_SPLITS = ("train", "training")

_FRONT_MATTER = "---\n"
_LIBRARY = "\nlibrary_name: modpm\n"


def missing(distribution: Distribution) -> Iterator[str]:
    """Give what a distribution that was verified lacks, in words.

    Sizes, digests, types, input contract and tensors are what `verify_distribution` checks.
    """
    manifest = distribution.manifest
    yield from _license(manifest)
    yield from _card(manifest, distribution.folder)
    for name in manifest.all_pictures:
        if not (distribution.folder / name).is_file():
            yield f"its picture `{name}` is not there (an installed module has none)"
    if isinstance(manifest, Manifest):
        yield from _data(manifest)
        yield from _metrics(manifest)


def check_required(entries: Sequence[Entry], target: Backend) -> None:
    """Check that what compositions and variants are made of is in the registry, or comes along.

    What is there already, as it is, needs nothing: a module may have been yanked since (V-14,
    V-22).

    Raises:
        ModpmError: `incomplete-composition`, naming every module that is not there as it must be.
    """
    known: dict[tuple[str, str], Release | None] = {
        (str(entry.module), entry.release.version): entry.release for entry in entries
    }
    lines = [
        f"{entry.module} {entry.release.version}: {named.name} {named.version} {why}"
        for entry in entries
        if entry.is_new
        for named, why in _obstacles(entry, known, target)
    ]
    if lines:
        raise ModpmError(
            "the registry does not have what a composition or a variant is made of as it names it",
            code="incomplete-composition",
            where=f"registry {target.location}",
            why="\n".join(lines),
            hint="publish what is missing by the same command, or copy it with `modpm mirror`; "
            "where a release is yanked or another, make it again; nothing was published",
        )


def _license(manifest: ReleaseManifest) -> Iterator[str]:
    if manifest.license == UNSTATED_LICENSE:
        made_by = "modularize" if isinstance(manifest, Manifest) else "pack"
        yield f"no license is stated (`modpm {made_by} --license SPDX`)"
    else:
        try:
            canonicalize_license_expression(manifest.license)
        except InvalidLicenseExpression:
            yield f"`{manifest.license}` is no SPDX license expression"
    if LICENSE_FILE not in manifest.files:
        yield f"there is no `{LICENSE_FILE}`"


def _card(manifest: ReleaseManifest, folder: Path) -> Iterator[str]:
    if CARD_FILE not in manifest.files:
        yield f"there is no card, `{CARD_FILE}`"
        return
    text = (folder / CARD_FILE).read_bytes().decode("utf-8", errors="replace")
    head, _, _ = text.removeprefix(_FRONT_MATTER).partition(f"\n{_FRONT_MATTER}")
    if not text.startswith(_FRONT_MATTER) or _LIBRARY not in f"\n{head}\n":
        yield "the card has no front matter with `library_name: modpm`"


def _data(manifest: Manifest) -> Iterator[str]:
    named = {
        "the data set that it was trained on": manifest.provenance.data_set,
        "the fingerprint of its training data": manifest.provenance.fingerprint,
        "the split that its score was calibrated on": manifest.calibration.split,
    }
    for what, text in named.items():
        if not text.strip():
            yield f"{what} is not named"


def _metrics(manifest: Manifest) -> Iterator[str]:
    if not manifest.metrics:
        yield "it has no metrics"
        return
    clean = [m for m in manifest.metrics if not _has_decided(m.split, manifest)]
    if not clean:
        splits = ", ".join(f"`{metrics.split}`" for metrics in manifest.metrics)
        yield (
            f"all of its metrics are of {splits}, which the module was trained, cut or calibrated "
            "on; they must be of a split that decided nothing"
        )
    elif not any(0 < metrics.n_positive < metrics.n for metrics in clean):
        yield "none of its metrics is of a split with images both of its class and of others"


def _has_decided(split: str, manifest: Manifest) -> bool:
    """Tell whether a split, or the one that it is a part of, had a say in what the module is."""
    whole = split.partition(",")[0].strip().lower()
    return not split.strip() or split == manifest.calibration.split or whole in TRAINING_SPLITS


def _obstacles(
    entry: Entry, known: dict[tuple[str, str], Release | None], target: Backend
) -> Iterator[tuple[ComposedModule | Variant, str]]:
    for named in made_of(entry.distribution):
        key = named.name, named.version
        if key not in known:
            index = listed_index(target, ModuleName.parse(named.name))
            known[key] = release_in(index, named.version)
        why = _obstacle(named, known[key])
        if why is not None:
            yield named, why


def made_of(distribution: Distribution) -> Sequence[ComposedModule | Variant]:
    """Return the releases that a release is made of."""
    manifest = distribution.manifest
    if isinstance(manifest, CompositionManifest):
        return manifest.composition.modules
    variant = manifest.variant if isinstance(manifest, Manifest) else None
    return [variant] if isinstance(variant, Variant) else []


def _obstacle(named: ComposedModule | Variant, found: Release | None) -> str | None:
    kind = "variant" if isinstance(named, Variant) else "composition"
    if found is None:
        return "is not there"
    if isinstance(found, CompositionRelease):
        return "is a composition, and compositions are made of class modules"
    if found.digest != named.digest:
        return f"has digest {found.digest}, and the {kind} names {named.digest}"
    return None if found.yanked is None else f"is yanked: {found.yanked}"
