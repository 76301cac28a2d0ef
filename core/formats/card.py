"""The card of a distribution, `README.md`: what a person needs to choose a release.

Its front matter is what the Hugging Face Hub searches and shows (clauses D-10 to D-12).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modpm.core.formats import composition_card
from modpm.core.formats.card_text import (
    class_tag,
    hub_license,
    is_hub_id,
    line,
    picture,
    plain,
    result,
    table,
    with_front_matter,
)
from modpm.core.formats.manifest import ComposedAccuracy, Confusion, Manifest, Variant
from modpm.core.formats.names import ModuleName
from modpm.core.formats.release_files import PICTURE_FILE
from modpm.core.shown_text import Percent

if TYPE_CHECKING:
    from huggingface_hub import RepoCard
    from huggingface_hub.repocard_data import CardData

    from modpm.core.formats.composition_manifest import AnyManifest
    from modpm.core.formats.hub_address import OnHub

_LIBRARY = {"library_name": "modpm", "pipeline_tag": "image-classification"}
_OF_A_RELEASE = ("modpm-namespace:", "modpm-class:", "modpm-composition")


def render_card(manifest: AnyManifest, owner: OnHub | None = None) -> str:
    """Return the text of a release's card; the same manifest gives the same text.

    Args:
        manifest: A valid manifest; its `files` are not looked at, since the card is one of them.
        owner: Where it is on the Hub; None for the card that is part of the release.
    """
    if isinstance(manifest, Manifest):
        body = _body(manifest, owner)
    else:
        body = composition_card.body(manifest, owner)
    metadata = front_matter(manifest)
    if owner is not None:
        metadata |= _there(manifest, owner)
    return with_front_matter(metadata, body)


def _there(manifest: AnyManifest, owner: OnHub) -> dict[str, Any]:
    """Return the metadata that have addresses of the Hub (clause H-18)."""
    metadata: dict[str, Any] = {}
    if not isinstance(manifest, Manifest):
        modules = manifest.composition.modules
        metadata["base_model"] = [owner.repository(module.name) for module in modules]
        metadata["base_model_relation"] = "merge"
    if PICTURE_FILE in manifest.all_pictures:
        metadata["thumbnail"] = f"{owner.page(manifest.name)}/resolve/main/{PICTURE_FILE}"
    return metadata


def front_matter(manifest: AnyManifest) -> dict[str, Any]:
    """Return the metadata of a card as the Hub defines them."""
    metadata: dict[str, Any] = {
        **hub_license(manifest.license),
        **_LIBRARY,
        "tags": search_tags(manifest),
    }
    if isinstance(manifest, Manifest):
        data_sets, results = [manifest.provenance.data_set], _results(manifest)
    else:
        data_sets = [one.data_set for one in manifest.composition.measured]
        results = composition_card.results(manifest)
    if on_hub := list(dict.fromkeys(filter(is_hub_id, data_sets))):
        metadata["datasets"] = on_hub
    if results:
        metadata["model-index"] = [{"name": manifest.name, "results": results}]
    return metadata


def search_tags(manifest: AnyManifest) -> list[str]:
    """Return the tags that a release is found by on the Hub."""
    name = ModuleName.parse(manifest.name)
    of_namespace = ["modpm", f"modpm-namespace:{name.namespace}"]
    if isinstance(manifest, Manifest):
        return [*of_namespace, class_tag(manifest.label) or f"modpm-class:{name.name}"]
    classes = filter(None, map(class_tag, manifest.composition.labels))
    return [*of_namespace, "modpm-composition", *dict.fromkeys(classes)]


def card_with_examples(text: str, before: Manifest, after: Manifest) -> str:
    """Return a card for a release with example images.

    Args:
        text: The card of the release without them, which may be anybody's.
        before: The manifest of that.
        after: The manifest with what the module says of each.
    """
    if text == render_card(before):
        return render_card(after)
    return f"{text.rstrip()}\n\n{_examples(after)}"


def _body(manifest: Manifest, owner: OnHub | None) -> str:
    sections = (_about, _examples, _metrics, _confusion, _limits, _use, _input, _cost)
    parts = [section(manifest) for section in sections]
    return "\n".join(filter(None, (*parts, _source(manifest, owner), _license(manifest))))


def _sisters(manifest: Manifest, owner: OnHub) -> str:
    """Return the way to the page of the class modules of an origin."""
    namespace = ModuleName.parse(manifest.name).namespace
    page = owner.origin_repository(namespace, manifest.origin.digest)
    return f", [its class modules]({owner.endpoint}/{page})"


def _plain_data(data: CardData) -> dict[str, Any]:
    plain: dict[str, Any] = data.to_dict()  # type: ignore[no-untyped-call]  # the Hub's own
    return plain


def completed_card(text: str | None, manifest: AnyManifest, owner: OnHub | None = None) -> str:
    """Return a card with all that the Hub finds a module by (clauses D-11 and H-18).

    Args:
        text: The card of the release, which may be anybody's; None if it has none.
        manifest: The release's manifest.
        owner: As for `render_card`.

    Returns:
        The same text if it has it all; the text with its front matter completed; or the card
        that `render_card` makes, if it is that, there is none, or it cannot be read.
    """
    if text is None or text == render_card(manifest) or (card := _read(text)) is None:
        return render_card(manifest, owner)
    metadata = _plain_data(card.data)
    needed = {**_LIBRARY, "tags": _with_search_tags(metadata.get("tags"), manifest)}
    if needed.items() <= metadata.items():
        return text
    completed = {**front_matter(manifest), **metadata, **needed}
    return with_front_matter(completed, card.text.lstrip("\n"))


def _read(text: str) -> RepoCard | None:
    from huggingface_hub import RepoCard  # noqa: PLC0415 -- only a card to be completed needs it

    try:
        return RepoCard(text)
    except Exception:  # noqa: BLE001 -- of whatever kind PyYAML's errors are
        return None


def _with_search_tags(tags: object, manifest: AnyManifest) -> list[str]:
    """Return tags with those of the manifest, and without those of another release."""
    given = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    ours = search_tags(manifest)
    kept = [t for t in given if t in ours or not t.startswith(_OF_A_RELEASE)]
    return [*(tag for tag in ours if tag not in kept), *kept]


def _results(manifest: Manifest) -> list[dict[str, Any]]:
    fields = ("precision", "recall", "average_precision")
    return [
        result(
            f"recognizing {line(manifest.label)}",
            manifest.provenance.data_set,
            metrics.split,
            {field: getattr(metrics, field) for field in fields},
        )
        for metrics in manifest.metrics
    ]


def _about(manifest: Manifest) -> str:
    classes = manifest.origin.classes
    others = [name for i, name in enumerate(classes) if i != manifest.output.class_index]
    summary = f"{plain(manifest.summary)}\n\n" if manifest.summary else ""
    among = f" It was trained beside {', '.join(map(plain, others))}." if others else ""
    return (
        f"# {manifest.name} {manifest.version}\n\n{picture(manifest)}"
        f"{summary}A class module of modpm: a small network "
        f"that recognizes **{plain(manifest.label)}** and nothing else.{among} For each image it "
        "gives one score, the calibrated log-odds that the image shows its class, where half of "
        "all images do: above 0 means that the class is likelier than the rest if both come "
        "equally often. Where a share p of your images shows it, add ln(p / (1 - p)). It is a "
        "classifier and no detector: it says whether an image shows its class, and not where.\n"
        + _variant(manifest)
    )


def _variant(manifest: Manifest) -> str:
    variant = manifest.variant
    if not isinstance(variant, Variant):
        return ""
    before = ""
    if variant.before is not None:
        before = (
            f" On the images below that module has a precision of {variant.before.precision:.3f} "
            f"and a recall of {variant.before.recall:.3f}."
        )
    return (
        f"\nIt is {variant.name} {variant.version} with weights and values of 8 bits "
        f"(`{variant.digest}`); it is composed independently.{before}\n"
    )


def _examples(manifest: Manifest) -> str:
    if not manifest.all_examples:
        return ""
    images = [f"![Example {i}]({file})" for i, file in enumerate(manifest.all_examples, 1)]
    scores = [f"{one.score:+.2f}" for one in manifest.all_examples.values()]
    return (
        "## What it says of some images\n\nImages of its publisher's choosing, and below each the "
        "score that the module gives to it.\n\n" + table(images, [scores])
    )


def _input(manifest: Manifest) -> str:
    contract = manifest.input
    colors = "gray" if contract.channels == 1 else "red, green, blue"
    rows = [
        ("height by width", f"{contract.height} by {contract.width} pixels"),
        ("channels", f"{contract.channels} ({colors})"),
        ("mean", ", ".join(f"{value:.4g}" for value in contract.mean)),
        ("standard deviation", ", ".join(f"{value:.4g}" for value in contract.std)),
    ]
    return (
        "## Input\n\nmodpm prepares images by itself; other programs scale pixels to [0, 1], "
        "subtract the mean and divide by the standard deviation.\n\n"
        + table(("input", "value"), rows)
    )


def _metrics(manifest: Manifest) -> str:
    if not manifest.metrics:
        return "## Measured\n\nNothing was measured.\n"
    rows = [
        (
            plain(metrics.split),
            f"{metrics.n:,}",
            f"{metrics.n_positive:,}",
            f"{metrics.precision:.3f}",
            f"{metrics.recall:.3f}",
            f"{metrics.average_precision:.3f}",
        )
        for metrics in manifest.metrics
    ]
    columns = ("split", "images", "of the class", "precision", "recall", "average precision")
    return (
        f"## Measured\n\nOn {plain(manifest.provenance.data_set)} "
        f"({plain(manifest.provenance.fingerprint)}), at a score of 0. The score was calibrated "
        f"on {manifest.calibration.n:,} images of {plain(manifest.calibration.split)}.\n\n"
        + table(columns, rows)
    )


def _confusion(manifest: Manifest) -> str:
    confusion, own = manifest.confusion, plain(manifest.label)
    if not isinstance(confusion, Confusion):
        return ""
    title, split = "## What it confuses\n\n", plain(confusion.split)
    if not confusion.classes:
        return f"{title}On {split}, it took no image of another class of its origin for {own}.\n"
    rows = [(plain(one.name), f"{one.n:,}", str(Percent(one.share))) for one in confusion.classes]
    return (
        f"{title}Images of other classes of its origin that it takes for {own} most often, on "
        f"{split}, at a score of 0.\n\n"
        + table(("class", "images of it", f"taken for {own}"), rows)
    )


def _limits(manifest: Manifest) -> str:
    origin, height, width = manifest.origin, manifest.input.height, manifest.input.width
    beside = (
        "Images unlike all that its origin was trained on lose log-odds for it"
        if isinstance(manifest.output.penalty, str)
        else "An image that shows none of them may get any score"
    )
    return (
        "## Limits\n\n"
        f"- It has seen images of {len(origin.classes)} classes of "
        f"{plain(manifest.provenance.data_set)}, and nothing else. {beside}.\n"
        "- What was measured holds for images like those it was measured on; images of another "
        "kind may be judged worse.\n"
        f"- It reads {height} by {width} pixels of the middle of an image: what "
        "is small, or at the border, may be lost.\n"
        "- It names no place in an image, and counts nothing.\n"
    )


def _cost(manifest: Manifest) -> str:
    rows = [
        (title, f"{own:,}", f"{whole:,}", str(Percent(own / whole)) if whole else "")
        for title, own, whole in (
            ("parameters", manifest.n_parameters, manifest.origin.n_parameters),
            ("multiply-accumulates an image", manifest.macs, manifest.origin.macs),
            ("bytes of tensors", manifest.size_bytes, manifest.origin.size_bytes),
        )
    ]
    return (
        f"## Size\n\nIt retains {Percent(manifest.kernel_retention_rate)} of the kernels of its "
        f"origin, {plain(manifest.origin.architecture)} with "
        f"{len(manifest.origin.classes)} classes.\n\n"
        + table(("", "this module", "its origin", "share"), rows)
    )


def _use(manifest: Manifest) -> str:
    return (
        "## Use\n\n"
        f"```shell\nmodpm install {manifest.name}\nmodpm compose {manifest.name} -o classifier\n"
        "modpm predict classifier photo.png\n```\n\n"
        f'```python\nimport modpm\nmodule = modpm.load("{manifest.name}")  # a torch.nn.Module\n'
        f'classifier = modpm.compose(["{manifest.name}"])  # and others beside it\n```\n'
    )


def _source(manifest: Manifest, owner: OnHub | None) -> str:
    origin, provenance, calibration = manifest.origin, manifest.provenance, manifest.calibration
    accuracy = "not measured" if origin.accuracy is None else str(Percent(origin.accuracy))
    sisters = _sisters(manifest, owner) if owner is not None and owner.has_origins else ""
    rows = [
        ("origin", f"{plain(origin.architecture)}, `{origin.digest}`{sisters}"),
        ("trained on", plain(provenance.data_set)),
        ("accuracy of the origin", accuracy),
        ("method", plain(manifest.modularizer.method)),
        *_cutoff(manifest),
        *(
            (plain(key), plain(f"{value}"))
            for key, value in sorted(manifest.modularizer.parameters.items())
        ),
        ("score", f"{plain(calibration.kind)}, fitted on {calibration.n:,} held-out images"),
        *_composed(manifest),
        ("seed", "none" if provenance.seed is None else str(provenance.seed)),
        (
            "made with",
            ", ".join(f"{plain(k)} {plain(v)}" for k, v in sorted(provenance.versions.items())),
        ),
        ("authors", ", ".join(map(plain, manifest.authors)) or "not named"),
    ]
    return "## How it was made\n\n" + table(("", ""), rows)


def _cutoff(manifest: Manifest) -> list[tuple[str, str]]:
    threshold = manifest.modularizer.threshold
    return [] if threshold is None else [("threshold", f"{threshold:g}")]


def _composed(manifest: Manifest) -> list[tuple[str, str]]:
    composed = manifest.composed
    if not isinstance(composed, ComposedAccuracy):
        return []
    one, apart = Percent(composed.fused), Percent(composed.independent)
    words = f"{one} as one network, {apart} side by side, of {composed.n:,} held-out images"
    return [("all classes of the origin, composed", words)]


def _license(manifest: Manifest) -> str:
    return f"## License\n\n{plain(manifest.license)}\n"
