"""The page of an origin on the Hub: its class modules side by side (clause H-19).

It is made of the manifests of releases that are listed, and says nothing that these do not: no
release has it, and modpm reads nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from modpm.core.estimating.together import Member, cost_together, overlap
from modpm.core.formats.card_text import (
    hub_license,
    is_hub_id,
    plain,
    result,
    table,
    with_front_matter,
)
from modpm.core.formats.manifest import ComposedAccuracy, Confusion
from modpm.core.formats.names import ModuleName
from modpm.core.formats.release_files import PICTURE_FILE
from modpm.core.shown_text import Percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modpm.core.formats.hub_address import OnHub
    from modpm.core.formats.manifest import Manifest, Origin
    from modpm.registry.index import CompositionRelease, ListedComposition, Release

MAX_COMPARED = 20
"""Modules of which every two are compared."""

_SHOWN_CONFUSED = 3


class Listed(NamedTuple):
    """A class module that is listed.

    Attributes:
        release: As the index has it.
        manifest: What it says.
    """

    release: Release
    manifest: Manifest


class ListedTogether(NamedTuple):
    """A composition that is listed.

    Attributes:
        name: What it is called.
        release: As the index has it.
    """

    name: str
    release: CompositionRelease


def render_origin_card(
    members: Sequence[Listed], compositions: Sequence[ListedTogether], owner: OnHub
) -> str:
    """Return the text of the page; the same releases give the same text.

    Args:
        members: Class modules of one origin, one at least.
        compositions: Those of these class modules alone.
        owner: Where they are.
    """
    manifests = sorted((one.manifest for one in members), key=lambda one: one.output.class_index)
    measured = sorted(compositions, key=lambda one: (len(_listed(one).labels), one.name))
    parts = [
        _about(manifests, owner),
        _modules(manifests, owner),
        _confusion(manifests),
        _composed(manifests, measured, owner),
        _costs(members),
        _overlap(manifests),
        _limits(manifests[0]),
        _use(manifests),
        _source(manifests),
    ]
    return with_front_matter(_metadata(manifests, measured, owner), "\n".join(filter(None, parts)))


def _listed(one: ListedTogether) -> ListedComposition:
    return one.release.composition


def _metadata(
    manifests: Sequence[Manifest], compositions: Sequence[ListedTogether], owner: OnHub
) -> dict[str, Any]:
    # Without the name of the library, by which modules are listed (H-13).
    metadata: dict[str, Any] = {
        "pipeline_tag": "image-classification",
        "tags": ["modpm-origin"],
    }
    licenses = {one.license for one in manifests}
    if len(licenses) == 1:
        metadata |= hub_license(licenses.pop())
        metadata.pop("license_link", None)  # the texts are in the repositories of the modules
    data_sets = dict.fromkeys(one.provenance.data_set for one in manifests)
    if on_hub := list(filter(is_hub_id, data_sets)):
        metadata["datasets"] = on_hub
    if results := list(_results(manifests, compositions)):
        name = ModuleName.parse(manifests[0].name).namespace
        metadata["model-index"] = [{"name": name, "results": results}]
    pictured = [one for one in manifests if PICTURE_FILE in one.all_pictures]
    if pictured:
        metadata["thumbnail"] = _picture(pictured[0], owner)
    return metadata


def _results(
    manifests: Sequence[Manifest], compositions: Sequence[ListedTogether]
) -> Iterator[dict[str, Any]]:
    first = manifests[0]
    for way in ("fused", "independent"):
        if isinstance(first.composed, ComposedAccuracy):
            task = f"telling {len(first.origin.classes)} classes apart, {way}"
            accuracy = {"accuracy": getattr(first.composed, way)}
            yield result(task, first.provenance.data_set, first.composed.split, accuracy)
    for one in compositions:
        for measured in _listed(one).measured:
            accuracy = {"accuracy": measured.accuracy}
            yield result(one.name, measured.data_set, measured.split, accuracy)


def _picture(manifest: Manifest, owner: OnHub) -> str:
    return f"{owner.page(manifest.name)}/resolve/main/{PICTURE_FILE}"


def _class(manifest: Manifest) -> str:
    return plain(manifest.origin.classes[manifest.output.class_index])


def _about(manifests: Sequence[Manifest], owner: OnHub) -> str:
    origin, namespace = manifests[0].origin, ModuleName.parse(manifests[0].name).namespace
    pictured = [one for one in manifests if PICTURE_FILE in one.all_pictures]
    pictures = " ".join(
        f"[![{one.name}]({_picture(one, owner)})]({owner.page(one.name)})" for one in pictured[:1]
    )
    return (
        f"# {namespace}: class modules of one {plain(origin.architecture)}\n\n"
        + (f"{pictures}\n\n" if pictures else "")
        + f"A network that tells {len(origin.classes)} classes of "
        f"{plain(manifests[0].provenance.data_set)} apart (`{origin.digest}`) was cut into small "
        "networks by modpm, one for each class. Each is a release of its own: it recognizes its "
        "class and nothing else, and is composed with others, of this network or of any, without "
        "training. They are classifiers and no detectors: they say whether an image shows their "
        "class, and not where.\n"
    )


def _modules(manifests: Sequence[Manifest], owner: OnHub) -> str:
    rows = []
    for one in manifests:
        measured = one.metrics[0] if one.metrics else None
        precision, recall, images = ("", "", "not measured")
        if measured is not None:
            precision, recall = f"{measured.precision:.3f}", f"{measured.recall:.3f}"
            images = f"{plain(measured.split)}, {measured.n:,} images"
        rows.append(
            (
                _class(one),
                f"[{one.name}]({owner.page(one.name)}) {one.version}",
                *(precision, recall, images),
                str(Percent(one.kernel_retention_rate)),
                *(f"{getattr(one, field):,}" for field in ("n_parameters", "macs")),
            )
        )
    columns = (
        *("class", "module", "precision", "recall", "measured on", "kernels"),
        *("parameters", "multiply-accumulates"),
    )
    left = len(manifests[0].origin.classes) - len(manifests)
    rest = "" if left <= 0 else f"\n{left} more of its classes are not here.\n"
    return (
        f"## Class modules\n\nPrecision and recall at a score of 0.\n\n{table(columns, rows)}{rest}"
    )


def _confusion(manifests: Sequence[Manifest]) -> str:
    rows = []
    for one in manifests:
        if isinstance(one.confusion, Confusion):
            most = one.confusion.classes[:_SHOWN_CONFUSED]
            shown = ", ".join(f"{plain(other.name)} {Percent(other.share)}" for other in most)
            rows.append((_class(one), shown or "none"))
    if not rows:
        return ""
    return (
        "## What they confuse\n\nThe classes of which most images are taken for the class of a "
        "module, and the share of them.\n\n" + table(("class", "takes for its own"), rows)
    )


def _composed(
    manifests: Sequence[Manifest], compositions: Sequence[ListedTogether], owner: OnHub
) -> str:
    origin = manifests[0].origin
    rows: list[tuple[str, ...]] = []
    whole = len(origin.classes)
    for one in compositions:
        for measured in _listed(one).measured:
            n, strategy = len(_listed(one).labels), _listed(one).strategy
            name = f"[{one.name}]({owner.page(one.name)}) {one.release.version}"
            images = f"{plain(measured.split)}, {measured.n:,} images"
            rows.append((str(n), name, strategy, str(Percent(measured.accuracy)), images))
    known = manifests[0].composed
    if isinstance(known, ComposedAccuracy):
        images = f"{plain(known.split)}, {known.n:,} images"
        for way in ("fused", "independent"):
            share = str(Percent(getattr(known, way)))
            rows.append((str(whole), "all class modules", way, share, images))
    if origin.accuracy is not None:
        rows.append((str(whole), "the network itself", "", str(Percent(origin.accuracy)), "test"))
    if not rows:
        return ""
    columns = ("classes", "", "strategy", "accuracy", "measured on")
    return f"## Composed\n\n{table(columns, rows)}"


def _costs(members: Sequence[Listed]) -> str:
    known = cost_together([Member(one.manifest, one.release.installed_files) for one in members])
    rows = [
        (
            title,
            *(f"{getattr(one, field):,}" for one in (known.one_by_one, known.together)),
            f"{getattr(known.origins, field):,}",
        )
        for title, field in (
            ("bytes to download", "size_bytes"),
            ("parameters", "n_parameters"),
            ("multiply-accumulates an image", "macs"),
        )
    ]
    return (
        "## Size\n\nLayers that were not cut are downloaded, kept and computed once, however many "
        "of the modules are installed. Bytes are those of all files, and of the network its "
        "tensors.\n\n" + table(("", "one by one", "together", "the network"), rows)
    )


def _overlap(manifests: Sequence[Manifest]) -> str:
    some = manifests[:MAX_COMPARED]
    if len(some) < 2:  # noqa: PLR2004 -- one overlaps with none
        return ""
    rows = [(_class(a), *(f"{overlap(a, b):.2f}" for b in some)) for a in some]
    return (
        "## Kernels in common\n\nThe share of kernels that two modules both retain, of those that "
        "one of them does.\n\n" + table(("", *map(_class, some)), rows)
    )


def _limits(manifest: Manifest) -> str:
    return (
        "## Limits\n\n"
        f"- The network has seen images of {len(manifest.origin.classes)} classes of "
        f"{plain(manifest.provenance.data_set)}, and nothing else.\n"
        "- What was measured holds for images like those it was measured on.\n"
        f"- Modules read {manifest.input.height} by {manifest.input.width} pixels of the middle of "
        "an image: what is small, or at the border, may be lost.\n"
        "- They name no place in an image, and count nothing.\n"
    )


def _use(manifests: Sequence[Manifest]) -> str:
    some = " ".join(one.name for one in manifests[:2])
    namespace = ModuleName.parse(manifests[0].name).namespace
    return (
        "## Use\n\n"
        f'```shell\nmodpm install "{namespace}/*"  # or some of them: modpm install {some}\n'
        f"modpm compose {some} -o classifier\nmodpm predict classifier photo.png\n```\n"
    )


def _source(manifests: Sequence[Manifest]) -> str:
    first, origin = manifests[0], manifests[0].origin
    ways = dict.fromkeys(plain(one.modularizer.method) for one in manifests)
    versions = sorted(first.provenance.versions.items())
    rows = [
        ("network", _in_words(origin)),
        ("trained on", plain(first.provenance.data_set)),
        ("method", ", ".join(ways)),
        ("made with", ", ".join(f"{plain(name)} {plain(at)}" for name, at in versions) or "?"),
        ("license", ", ".join(dict.fromkeys(plain(one.license) for one in manifests))),
    ]
    return "## How they were made\n\n" + table(("", ""), rows)


def _in_words(origin: Origin) -> str:
    return (
        f"{plain(origin.architecture)}, {origin.n_parameters:,} parameters, "
        f"{origin.macs:,} multiply-accumulates an image"
    )
