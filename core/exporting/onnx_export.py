"""A classifier as one ONNX file, which runs without modpm or torch."""

from __future__ import annotations

import logging
import tempfile
import warnings
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from modpm.core.classifiers.classifier import probabilities
from modpm.core.errors import ModpmError
from modpm.core.exporting.onnx_resizing import read_any_size
from modpm.core.exporting.onnx_rounding import recorded_whole, store_weights
from modpm.core.graph.operators.rounding import Quantize
from modpm.core.system.whole_files import write_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modpm.core.classifiers.classifier import Classifier

INPUT, SCORES, PROBABILITIES = "images", "scores", "probabilities"

LARGEST_DIFFERENCE = 1e-3
"""Most by which a probability of the file may differ from the classifier's own.

Sums of some thousand float32 terms, added in another order, differ by less.
"""

LARGEST_DIFFERENCE_OF_LEVELS = 0.1
"""The same where values have 8 bits: rounding may tip one to its next level, and all after it."""

CHECKED_BATCHES = ((1, 1.0, 1.0), (5, 1.6, 2.7))
"""Batches of random images that the file is checked on: how many, and how many times as high and as
wide as loses nothing; the export saw neither."""


@dataclass(frozen=True)
class Export:
    """What was exported.

    Attributes:
        path: The file.
        size_bytes: Its size.
        input_shape: Channels, and the height and width that lose nothing: images of any other are
            brought to what the networks read within the file; the batch is of any size, too.
        max_difference: Largest difference of a probability to the classifier's own.
        labels: Of the outputs, in order.
    """

    path: Path
    size_bytes: int
    input_shape: tuple[int, int, int]
    max_difference: float
    labels: tuple[str, ...]


def export_onnx(classifier: Classifier, path: Path | str) -> Export:
    """Write a classifier as an ONNX file, once onnxruntime agrees with the classifier about it.

    The file reads `images`, float32 (N, 3, height, width) from 0 to 1, red, green and blue, of any
    size, and gives `scores` (N, K), log-odds under even odds, and `probabilities` (N, K), in single
    precision. Its metadata say so, and name the labels and the threshold for none of the above.
    Values and weights of 8 bits are pairs of QuantizeLinear and DequantizeLinear.

    Args:
        classifier: What to export.
        path: The file; what is there already is replaced.

    Raises:
        ModpmError: The extra `onnx` is not installed (`missing-extra`), torch has no ONNX for an
            operator (`cannot-export`), the file's outputs are not the classifier's
            (`export-differs`), or it cannot be written.
    """
    _check_extra()
    path = Path(path)
    _check_writable(path)
    classifier = deepcopy(classifier).float()  # onnxruntime convolves in no other precision
    data = onnx_bytes(classifier)
    difference = max_difference(classifier, data)
    most = LARGEST_DIFFERENCE_OF_LEVELS if _has_levels(classifier) else LARGEST_DIFFERENCE
    if not difference <= most:
        raise ModpmError(
            "the exported file does not compute what the classifier does",
            code="export-differs",
            where=str(path),
            why=f"a probability differs by {difference:.3g}; at most {most:g} is due to rounding",
        )
    write_file(path, data)
    shape = (3, *classifier.input_size)
    return Export(path, len(data), shape, difference, classifier.labels)


def _has_levels(classifier: Classifier) -> bool:
    return any(isinstance(layer, Quantize) for layer in classifier.modules())


class _WithProbabilities(nn.Module):
    """A classifier that gives its scores and their probabilities.

    Attributes:
        sizes: Height and width of the images that it reads, each once.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        read = [(contract.height, contract.width) for contract in classifier.contracts]
        self.sizes = list(dict.fromkeys(read))
        self._places = [self.sizes.index(size) for size in read]

    def forward(self, *images: Tensor) -> tuple[Tensor, Tensor]:
        """Return both of images in each of the sizes; (N, 3, H, W) → (N, K) and (N, K)."""
        scores = self.classifier.score([images[place] for place in self._places])
        return scores, probabilities(scores)


def onnx_bytes(classifier: Classifier) -> bytes:
    """Return the bytes of an ONNX file of a classifier; they hold no path of this machine."""
    network = _WithProbabilities(classifier).eval()
    examples = tuple(torch.zeros(2, 3, *size) for size in network.sizes)
    names = [f"{INPUT}_{height}x{width}" for height, width in network.sizes]
    batch = torch.export.Dim("N")
    with (
        _quiet_exporter(),
        tempfile.TemporaryDirectory() as folder,
        recorded_whole(network) as translations,
    ):
        try:
            program = torch.onnx.export(
                network,
                examples,
                dynamo=True,
                input_names=names,
                output_names=[SCORES, PROBABILITIES],
                dynamic_shapes={"images": tuple({0: batch} for _ in examples)},
                verbose=False,
                custom_translation_table=translations,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ModpmError(
                "torch cannot express the classifier in ONNX",
                code="cannot-export",
                why=str(error.__cause__ or error).splitlines()[0],
            ) from error
        assert program is not None
        file = Path(folder) / "classifier.onnx"
        program.save(str(file), external_data=False)
        return _described(file.read_bytes(), classifier)


def _described(data: bytes, classifier: Classifier) -> bytes:
    """Let the file read images of any size, name its labels, and take out what this machine is."""
    import onnx  # noqa: PLC0415 -- of the extra `onnx`

    model = onnx.load_model_from_string(data)
    parts = [model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output]
    for part in (*parts, *model.graph.value_info, *model.graph.initializer, *model.functions):
        del part.metadata_props[:]
    for part in (model.graph, *model.graph.node):
        part.doc_string = ""
    store_weights(model)
    read_any_size(model, INPUT)
    onnx.helper.set_model_props(model, _metadata(classifier))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _metadata(classifier: Classifier) -> dict[str, str]:
    # One label a line: a label holds no line break.
    sizes = dict.fromkeys(f"{one.height} x {one.width}" for one in classifier.contracts)
    metadata = {
        "modpm.labels": "\n".join(classifier.labels),
        "modpm.input": _READS.format(" and ".join(sizes)),
    }
    if classifier.reject is not None:
        metadata["modpm.reject"] = repr(classifier.reject)
    return metadata


_READS = (
    "float32 (N, 3, height, width), red, green and blue from 0 to 1, of any size: what stands over "
    "the shape of {} (height x width) is cut off evenly, and the rest scaled to it by antialiased "
    "bicubic interpolation, within this file"
)


@torch.inference_mode()
def max_difference(classifier: Classifier, data: bytes) -> float:
    """Return the largest difference of a probability between onnxruntime and the classifier.

    Infinite where onnxruntime gives another shape or something that is not a number.
    """
    import onnxruntime  # noqa: PLC0415 -- of the extra `onnx`

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    height, width = classifier.input_size
    for n, times_high, times_wide in CHECKED_BATCHES:
        size = round(times_high * height), round(times_wide * width)
        images = torch.rand(n, 3, *size, generator=generator)
        scores, shares = session.run([SCORES, PROBABILITIES], {INPUT: images.numpy()})
        expected = classifier(images)
        found = torch.from_numpy(shares)
        if scores.shape != expected.shape or not bool(found.isfinite().all()):
            return float("inf")
        difference = torch.maximum(
            (found - probabilities(expected)).abs(),
            (torch.from_numpy(scores).sigmoid() - expected.sigmoid()).abs(),
        )
        worst = max(worst, float(difference.max()))
    return worst


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep torch's exporter from telling users of its own deprecations and of torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _check_extra() -> None:
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ModpmError(
            "the packages that export to ONNX are not installed",
            code="missing-extra",
            why=f"there is no {', '.join(missing)}",
            hint="run `pip install modpm[onnx]`",
        )


def _check_writable(path: Path) -> None:
    """Refuse before the work what could not be written after it.

    Raises:
        ModpmError: The path is a folder, or in none (`cannot-write`).
    """
    if path.is_dir():
        why = "it is a folder"
    elif not path.absolute().parent.is_dir():
        why = "there is no such folder"
    else:
        return
    raise ModpmError(
        f"`{path.name}` cannot be written",
        code="cannot-write",
        where=str(path),
        why=why,
        hint="name a file, for example `-o classifier.onnx`",
    )
