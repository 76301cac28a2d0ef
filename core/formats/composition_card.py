"""The parts of a composition's card: what it tells apart, of which class modules, how well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UnsetType

from modpm.core.formats.card_text import picture, plain, result, table
from modpm.core.shown_text import Percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.formats.composition_manifest import (
        Adjustment,
        CompositionManifest,
        FineTuning,
        LinearLayer,
    )
    from modpm.core.formats.hub_address import OnHub
    from modpm.core.formats.measurement import Measurement

VOTING = "Class modules of one label vote: its score is the mean of theirs."

ON_THE_HUB = """A classifier can be kept on the Hub with its weights, for who has no registry:

```python
from modpm import Classifier

classifier.push_to_hub("OWNER/NAME")
classifier = Classifier.from_pretrained("OWNER/NAME")
```
"""

_SHOWN_DIGITS = 12
_MAX_CLASSES = 20


def body(manifest: CompositionManifest, owner: OnHub | None = None) -> str:
    """Return the text of a composition's card below its front matter.

    Args:
        manifest: What it says.
        owner: Where its modules are on the Hub, to be led to; None where nobody knows.
    """
    parts = [section(manifest) for section in (_about, _measured, _limits, _use, _cost, _source)]
    parts.insert(1, _modules(manifest, owner))
    return "\n".join(parts)


def results(manifest: CompositionManifest) -> list[dict[str, Any]]:
    """Return the results of the `model-index`."""
    return [
        result(_task(one), one.data_set, one.split, {"accuracy": one.accuracy})
        for one in manifest.composition.measured
    ]


def _task(measurement: Measurement) -> str:
    others = ", with images of other classes" if measurement.open_set else ""
    return f"telling the classes of its labels apart{others}"


def _about(manifest: CompositionManifest) -> str:
    record = manifest.composition
    summary = f"{plain(manifest.summary)}\n\n" if manifest.summary else ""
    rejects = "It gives every image one of its labels."
    if record.reject is not None:
        rejects = (
            f"An image for which no label's own probability reaches {record.reject:g} is none of "
            "the above."
        )
    n, trainings = len(record.modules), finetuned_in_words(record.trainings)
    weights = (
        "It holds the weights that it was trained to: installing it installs its class modules, "
        "too, whose networks these are of"
        if trainings
        else "It holds no weights of its own: installing it installs its class modules"
    )
    return (
        f"# {manifest.name} {manifest.version}\n\n{picture(manifest)}"
        f"{summary}A composition of modpm: a classifier of {n} class module{'s' * (n > 1)}, "
        f"composed without training (strategy: {record.strategy}). {trainings}{rejects} {weights}, "
        "and composing it makes the same classifier everywhere. It is no detector: it says what an "
        "image shows, and not where.\n"
    )


def _modules(manifest: CompositionManifest, owner: OnHub | None) -> str:
    rows = [
        (
            plain(module.label),
            module.name if owner is None else f"[{module.name}]({owner.page(module.name)})",
            plain(module.version),
            f"`{module.digest.partition(':')[2][:_SHOWN_DIGITS]}`",
        )
        for module in manifest.composition.modules
    ]
    columns = ("label", "class module", "version", "digest")
    voting = f"{VOTING}\n\n" if len(manifest.composition.labels) < len(rows) else ""
    record = manifest.composition
    adjusted = adjusted_in_words(record.adjustments) + linear_in_words(record.linear)
    return f"## Labels\n\n{voting}{adjusted}" + table(columns, rows)


def finetuned_in_words(trainings: Sequence[FineTuning]) -> str:
    """Return a sentence for each training of a classifier once it was composed."""
    return "".join(
        f"Then its networks were trained on {one.n:,} images of {plain(one.data_set)}, "
        f"{one.epoch} epoch{'s' * (one.epoch > 1)}: accuracy {Percent(one.accuracy_before)} "
        f"before and {Percent(one.accuracy_after)} after, of {one.n_held_out:,} others of them. "
        for one in trainings
    )


def adjusted_in_words(adjustments: Sequence[Adjustment]) -> str:
    """Return a paragraph for each fitting of a classifier's origins; nothing where none was."""
    fittings = {one.how: one for one in adjustments}
    return "".join(
        f"The scores of each origin's modules were adjusted on {one.n:,} {how} images of "
        f"{plain(one.data_set)}.\n\n"
        for how, one in fittings.items()
        if any(not other.is_identity for other in adjustments if other.how == how)
    )


def linear_in_words(linear: LinearLayer | UnsetType) -> str:
    """Return a paragraph for the linear layer of a classifier; nothing where there is none."""
    if isinstance(linear, UnsetType):
        return ""
    return (
        f"One linear layer makes its scores of those of all labels. It was fitted to {linear.n:,} "
        f"labeled images of {plain(linear.data_set)}: accuracy {Percent(linear.accuracy_before)} "
        f"before and {Percent(linear.accuracy_after)} after, by cross-validation.\n\n"
    )


def _measured(manifest: CompositionManifest) -> str:
    measured = manifest.composition.measured
    if not measured:
        return "## Measured\n\nNothing was measured.\n"
    rows = [
        (
            plain(one.data_set),
            plain(one.split),
            _classes(one),
            f"{one.n:,}",
            f"{one.n_rejected:,}",
            str(Percent(one.accuracy)),
        )
        for one in measured
    ]
    columns = ("data set", "split", "classes", "images", "none of the above", "accuracy")
    return "## Measured\n\n" + table(columns, rows)


def _classes(measurement: Measurement) -> str:
    shown = ", ".join(map(plain, measurement.classes[:_MAX_CLASSES])) or "not named"
    n_more = len(measurement.classes) - _MAX_CLASSES
    others = " (some are of no label)" if measurement.open_set else ""
    return f"{shown}{f' and {n_more} more' if n_more > 0 else ''}{others}"


def _limits(manifest: CompositionManifest) -> str:
    reject = manifest.composition.reject
    where = "all the same" if reject is None else f"where its probability reaches {reject:g}"
    return (
        "## Limits\n\n"
        f"- What shows none of its labels is named as one of them {where}.\n"
        "- What was measured holds for images like those it was measured on; images of another "
        "kind may be judged worse.\n"
        "- It gives one label an image: it names no place in it, and counts nothing.\n"
    )


def _cost(manifest: CompositionManifest) -> str:
    record = manifest.composition
    rows = [
        ("parameters", f"{record.n_parameters:,}"),
        ("multiply-accumulates an image", f"{record.macs:,}"),
        ("multiply-accumulates of the modules' origins", f"{record.origin_macs:,}"),
        ("bytes of tensors", f"{record.size_bytes:,}"),
    ]
    return "## Size\n\nOf the classifier, once it is composed.\n\n" + table(("", ""), rows)


def _use(manifest: CompositionManifest) -> str:
    return (
        "## Use\n\n"
        f"```shell\nmodpm install {manifest.name}\nmodpm compose {manifest.name} -o classifier\n"
        "modpm predict classifier photo.png\n```\n\n"
        f'```python\nimport modpm\nclassifier = modpm.compose(["{manifest.name}"])'
        "  # a torch.nn.Module\n```\n\n"
        f"{ON_THE_HUB}"
    )


def _source(manifest: CompositionManifest) -> str:
    authors = ", ".join(map(plain, manifest.authors)) or "not named"
    return (
        f"## License\n\n{plain(manifest.license)}, for the composition; each class module has a "
        f"license of its own.\n\nAuthors: {authors}\n"
    )
