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

from modpm.core.composition.classifier import probabilities
from modpm.core.errors import ModpmError
from modpm.core.system.whole_files import write_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modpm.core.composition.classifier import Classifier

INPUT, SCORES, PROBABILITIES = "images", "scores", "probabilities"

LARGEST_DIFFERENCE = 1e-3
"""Most by which a probability of the file may differ from the classifier's own.

Sums of some thousand float32 terms, added in another order, differ by less.
"""

CHECKED_BATCHES = (1, 5)
"""Sizes of the batches of random images that the file is checked on: the export saw neither."""


@dataclass(frozen=True)
class Export:
    """What was exported.

    Attributes:
        path: The file.
        size_bytes: Its size.
        input_shape: Channels, height and width of one image; the batch is of any size.
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

    The file reads `images`, float32 (N, 3, H, W) from 0 to 1, red, green and blue, and gives
    `scores` (N, K), log-odds under even odds, and `probabilities` (N, K), in single precision. Its
    metadata name the labels and the threshold for none of the above.

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
    if not difference <= LARGEST_DIFFERENCE:
        raise ModpmError(
            "the exported file does not compute what the classifier does",
            code="export-differs",
            where=str(path),
            why=f"a probability differs by {difference:.3g}; at most {LARGEST_DIFFERENCE:g} is due "
            "to rounding",
        )
    write_file(path, data)
    shape = (3, *classifier.input_size)
    return Export(path, len(data), shape, difference, classifier.labels)


class _WithProbabilities(nn.Module):
    """A classifier that gives its scores and their probabilities."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return both; (N, 3, H, W) → (N, K) and (N, K)."""
        scores = self.classifier(images)
        return scores, probabilities(scores)


def onnx_bytes(classifier: Classifier) -> bytes:
    """Return the bytes of an ONNX file of a classifier; they hold no path of this machine."""
    network = _WithProbabilities(classifier).eval()
    example = torch.zeros(2, 3, *classifier.input_size)
    with _quiet_exporter(), tempfile.TemporaryDirectory() as folder:
        try:
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[SCORES, PROBABILITIES],
                dynamic_shapes=({0: torch.export.Dim("N")},),
                verbose=False,
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
    """Name the labels in the file, and take out what the exporter says of this machine."""
    import onnx  # noqa: PLC0415 -- of the extra `onnx`

    model = onnx.load_model_from_string(data)
    parts = [model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output]
    for part in (*parts, *model.graph.value_info, *model.graph.initializer, *model.functions):
        del part.metadata_props[:]
    for part in (model.graph, *model.graph.node):
        part.doc_string = ""
    onnx.helper.set_model_props(model, _metadata(classifier))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _metadata(classifier: Classifier) -> dict[str, str]:
    # One label a line: a label holds no line break.
    metadata = {"modpm.labels": "\n".join(classifier.labels)}
    if classifier.reject is not None:
        metadata["modpm.reject"] = repr(classifier.reject)
    return metadata


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
    for n in CHECKED_BATCHES:
        images = torch.rand(n, 3, *classifier.input_size, generator=generator)
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
