"""The card of a classifier, `README.md`: what it names, of which releases, and how well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from huggingface_hub.repocard_data import CardData

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modpm.core.composition.classifier import Classifier
    from modpm.core.composition.recipe import Composition, Pin
    from modpm.core.formats.measurement import Measurement


def render_card(classifier: Classifier) -> str:
    """Return the text of a composed classifier's card; equal classifiers give equal text."""
    composition = classifier.composition
    assert composition is not None
    metadata = CardData(**_front_matter(composition)).to_yaml(line_break="\n")
    sections = (
        _about(classifier, composition),
        _measured(composition.measured),
        _input(classifier),
        _use(),
    )
    return f"---\n{metadata}\n---\n\n" + "\n".join(sections)


def _front_matter(composition: Composition) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "library_name": "modpm",
        "pipeline_tag": "image-classification",
        "tags": ["modpm", "pytorch_model_hub_mixin"],
    }
    if composition.measured:
        results = [_result(measurement) for measurement in composition.measured]
        metadata["model-index"] = [{"name": "classifier", "results": results}]
    return metadata


def _result(measurement: Measurement) -> dict[str, Any]:
    data_set = measurement.data_set
    return {
        "task": {"type": "image-classification"},
        "dataset": {"type": data_set, "name": data_set, "split": measurement.split},
        "metrics": [{"type": "accuracy", "value": measurement.accuracy}],
    }


def _about(classifier: Classifier, composition: Composition) -> str:
    rejects = "It gives every image one of its labels."
    if classifier.reject is not None:
        rejects = (
            "An image for which no label's own probability reaches "
            f"{classifier.reject:g} is none of the above."
        )
    return (
        "# A classifier composed of class modules\n\n"
        "Composed by modpm without training. "
        f"{rejects} Strategy: {composition.strategy}; {classifier.n_parameters:,} parameters, "
        f"{classifier.macs:,} multiply-accumulates an image (the origins of its modules: "
        f"{composition.origin_macs:,}).\n\n"
        "Label, release and digest of each class module:\n\n"
        + _verbatim(_pin_line(pin) for pin in composition.modules)
    )


def _pin_line(pin: Pin) -> str:
    return f"{pin.label}  {pin.name} {pin.version}  {pin.digest or 'not published'}"


def _measured(measurements: list[Measurement]) -> str:
    lines = [
        f"{one.data_set}, split {one.split}: accuracy {one.accuracy:.2%} of {one.n:,} images, "
        f"{one.n_rejected:,} of them none of the above ({one.fingerprint})"
        for one in measurements
    ]
    return "## Measured\n\n" + (_verbatim(lines) if lines else "Nothing was measured.\n")


def _input(classifier: Classifier) -> str:
    height, width = classifier.input_size
    return (
        "## Input\n\n"
        f"Red, green and blue from 0 to 1, {height} by {width} pixels; every module scales and "
        "normalises them for itself.\n"
    )


def _use() -> str:
    return (
        "## Use\n\n"
        "```shell\nmodpm predict FOLDER photo.png\n```\n\n"
        "```python\nfrom modpm import Classifier\n"
        'classifier = Classifier.from_pretrained("FOLDER")  # a torch.nn.Module\n```\n'
    )


def _verbatim(lines: Iterable[str]) -> str:
    # An indented block shows whatever a label holds as it is.
    return "".join(f"    {' '.join(line.splitlines())}\n" for line in lines)
