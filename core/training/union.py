"""The union of class modules: the weights of a network that are in the module of some class.

A weight between two kernels that no class keeps together is in no module. Where training takes
such weights away, the network is what all of its modules make when they are joined again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modpm.core.graph import tensor_shapes
from modpm.core.slicing import placements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modpm.core.formats.network_graph import Graph


def weights_in_modules(graph: Graph, module_masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return, for each tensor of two dimensions or more, which of its numbers are in a module.

    Args:
        graph: The network.
        module_masks: For each masked convolution, the kernels that each class keeps.

    Shapes:
        module_masks: (n_classes, K) each, of 0 and 1; other convolutions are kept whole.
        returns: boolean, broadcastable to the tensor: its first two dimensions, then ones.
    """
    shapes = {name: shape for name, shape in tensor_shapes(graph).items() if len(shape) > 1}
    n_classes = len(next(iter(module_masks.values())))
    found = {name: torch.zeros(shape[:2], dtype=torch.bool) for name, shape in shapes.items()}
    for label in range(n_classes):
        retained = {layer: _kernels(masks[label]) for layer, masks in module_masks.items()}
        for name, place in placements(graph, retained, [label]).items():
            if name in found:
                _mark(found[name], place)
    return {
        name: part.reshape(*part.shape, *(1 for _ in shapes[name][2:]))
        for name, part in found.items()
    }


def _kernels(mask: Tensor) -> list[int]:
    return mask.nonzero()[:, 0].tolist()


def _mark(found: Tensor, place: Sequence[Sequence[int] | None]) -> None:
    rows, columns = (
        torch.arange(size) if kept is None else torch.tensor(list(kept), dtype=torch.int64)
        for kept, size in zip(place[:2], found.shape, strict=True)
    )
    found[rows[:, None], columns] = True
