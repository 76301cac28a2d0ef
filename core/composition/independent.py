"""Independent composition: each class module runs as it is, beside the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.composition.scorer import Scorer

if TYPE_CHECKING:
    from modpm.core.composition.class_module import ClassModule


def keep_independent(module: ClassModule, label: str) -> Scorer:
    """Return a class module as a scorer of one label; its scores are those of the module alone.

    Args:
        module: Of any origin and architecture.
        label: What its score is called in the classifier.
    """
    return Scorer((label,), module.input, module.graph, module.tensors)
