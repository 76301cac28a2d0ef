"""Writing a classifier as one ordinary file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modpm.core.classifiers.classifier import Classifier
from modpm.core.exporting.onnx_export import export_onnx

if TYPE_CHECKING:
    import os

    from modpm.core.exporting.onnx_export import Export


def export(
    classifier: str | os.PathLike[str] | Classifier,
    output: str | os.PathLike[str],
    *,
    format: Literal["onnx"] = "onnx",  # noqa: A002, ARG001 -- the option's name; there is one so far
) -> Export:
    """Write a classifier as one file, checked against the classifier's own outputs.

    Args:
        classifier: The folder of a classifier, or the classifier itself.
        output: The file; what is there already is replaced.
        format: What to write.

    Raises:
        ModpmError: What `Classifier.from_folder` and `export_onnx` raise.
    """
    if not isinstance(classifier, Classifier):
        classifier = Classifier.from_folder(Path(classifier))
    return export_onnx(classifier, Path(output))
