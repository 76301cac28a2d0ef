"""What would become of a network, found before anything is trained."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import torch
from torch import nn

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.graph import Cost, count, infer_shapes, trace
from modpm.core.graph.shapes import LARGEST_GRAPH, LARGEST_TOTAL, LARGEST_VALUE
from modpm.core.modularizing.cutting import cut
from modpm.core.networks import check_network, create, load_initial_weights
from modpm.core.networks.initial_weights import silent
from modpm.core.slicing import cuttable_convolutions
from modpm.core.training.methods.method import nothing_to_cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

    from modpm.core.graph import Graph
    from modpm.core.modularizing.cutting import CutNetwork

OTHER_BYTES = 8192
"""What a manifest holds besides graphs and kernels, or less."""


@dataclass(frozen=True)
class Layer:
    """A convolution of a network.

    Attributes:
        name: Its path.
        n_kernels: How many it has.
        is_cut: Whether a class keeps some of them alone.
    """

    name: str
    n_kernels: int
    is_cut: bool


@dataclass(frozen=True)
class Limit:
    """A limit of the formats.

    Attributes:
        what: What is limited.
        found: How much there is.
        most: How much there may be.
    """

    what: str
    found: int
    most: int


@dataclass(frozen=True)
class NetworkCheck:
    """What was found of a network.

    Attributes:
        image_shape: Channels, height and width of the images it was read for.
        n_classes: Its outputs.
        layers: Its convolutions, in execution order.
        cost: What it costs.
        module_cost: What a class module costs, but for its score.
        manifest_bytes: About what the manifest of a class module weighs.
        limits: Of the formats.
    """

    image_shape: tuple[int, int, int]
    n_classes: int
    layers: tuple[Layer, ...]
    cost: Cost
    module_cost: Cost
    manifest_bytes: int
    limits: tuple[Limit, ...]

    @property
    def beyond(self) -> tuple[Limit, ...]:
        """The limits that it does not keep."""
        return tuple(limit for limit in self.limits if limit.found > limit.most)

    @property
    def fits(self) -> bool:
        """Whether its class modules can be published."""
        return not self.beyond


def check(
    network: str | nn.Module,
    image_size: int = 32,
    *,
    channels: int = 3,
    n_classes: int = 10,
    width: float = 1.0,
    init: Path | str | None = None,
    pretrained: bool = False,
    retention: float = 0.5,
    report: Callable[[str], None] = silent,
) -> NetworkCheck:
    """Say of a network what can be cut, what it costs, and whether it fits every limit.

    It is read as `train` reads it. A class module is cut out of it with kernels drawn at random,
    which breaks layers up more than kernels of a class do.

    Args:
        network: An architecture, `timm:NAME`, `torchvision:NAME`, `package.module:factory` for one
            of yours, or in Python an `nn.Module`.
        image_size: Height and width of the images.
        channels: Of the images: 1, or 3.
        n_classes: How many outputs it must have.
        width: Factor on the channels of every layer.
        init: Weights that it is to start from, which are loaded as `train` loads them.
        pretrained: Whether it is to start from the weights of its library, or its factory.
        retention: The share of the kernels of a layer that the class module keeps.
        report: Is told, in a sentence, where its last layer is new.

    Raises:
        ModpmError: As `train` of the network, before its first step; nothing can be cut
            (`nothing-to-modularize`); `bad-setting`.
    """
    if image_size < 1 or n_classes < 1 or not 0 < retention <= 1:
        raise ModpmError(
            f"{image_size} pixels, {n_classes} classes, retention {retention:g}: not possible",
            code="bad-setting",
            exit_code=2,
        )
    shape = channels, image_size, image_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if isinstance(network, str):
            network = create(
                network, n_classes, channels, width, pretrained=pretrained, on_new_head=report
            )
        check_network(network, shape, n_classes)
        if init is not None:
            network = deepcopy(network)
            load_initial_weights(network, init, n_classes=n_classes, on_new_head=report)
        graph, tensors = trace(network, torch.zeros(2, *shape))
    cuttable = cuttable_convolutions(graph)
    if not cuttable:
        raise nothing_to_cut()
    module = _drawn(graph, tensors, cuttable, retention)
    manifest_bytes = _manifest_bytes(graph, module, n_classes)
    kernels = graph.kernels()
    layers = [
        Layer(node.name, kernels[node.name], node.name in cuttable)
        for node in graph.nodes
        if node.operator == "conv2d"
    ]
    return NetworkCheck(
        shape,
        n_classes,
        tuple(layers),
        count(graph, tensors),
        count(module.graph, module.tensors),
        manifest_bytes,
        tuple(_limits(graph, module, manifest_bytes)),
    )


def _drawn(
    graph: Graph, tensors: Mapping[str, Tensor], cuttable: Mapping[str, str], retention: float
) -> CutNetwork:
    """Cut a class module whose kernels are drawn."""
    chance, masks = torch.Generator().manual_seed(0), {}
    for name in cuttable:
        n_kernels = graph.kernels()[name]
        order = torch.randperm(n_kernels, generator=chance)
        masks[name] = (order < max(1, round(retention * n_kernels)))[None]
    return cut(graph, tensors, masks, 0)


def _manifest_bytes(graph: Graph, module: CutNetwork, n_classes: int) -> int:
    kernels = graph.kernels()
    parts = {
        "graph": msgspec.to_builtins(module.graph),
        "origin": {"graph": msgspec.to_builtins(graph), "classes": ["a class"] * n_classes},
        "retained": {
            name: {"retained": module.retained[name], "total": kernels[name]}
            for name in module.cut_layers
        },
    }
    return len(msgspec.json.encode(parts)) + OTHER_BYTES


def _limits(graph: Graph, module: CutNetwork, manifest_bytes: int) -> Iterator[Limit]:
    sizes = [math.prod(shape) for shape in infer_shapes(graph).values()]
    yield Limit("nodes of the network", len(graph.nodes), LARGEST_GRAPH)
    yield Limit("nodes of a module", len(module.graph.nodes), LARGEST_GRAPH)
    yield Limit("numbers of a value", max(sizes), LARGEST_VALUE)
    yield Limit("numbers of all values", sum(sizes), LARGEST_TOTAL)
    yield Limit("bytes of a manifest", manifest_bytes, canonical_json.MAX_SIZE_BYTES)
