"""Random networks of every operator, and random kernels to retain, for hypothesis."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from hypothesis import strategies as st
from torch import Tensor

from modpm.core.graph import Graph, Node, infer_shapes, tensor_shapes
from modpm.core.graph.operators.table import OPERATORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from modpm.core.formats.network_graph import AttributeValue

SIZE = 6  # pixels of an image, each way

UNARY: dict[str, dict[str, AttributeValue]] = {
    "relu": {},
    "relu6": {},
    "quantize": {"scale": 0.02, "zero_point": 100},
    "leaky_relu": {"negative_slope": 0.1},
    "elu": {"alpha": 1.0},
    "silu": {},
    "mish": {},
    "gelu": {"approximate": "none"},
    "hardswish": {},
    "hardsigmoid": {},
    "sigmoid": {},
    "tanh": {},
    "softplus": {},
    "clamp": {"minimum": 0.1, "maximum": 0.9},
    "add_scalar": {"value": 0.5},
    "mul_scalar": {"value": -2.0},
    "dropout": {"p": 0.5},
    "dropout_channels": {"p": 0.5},
    "dropout_images": {"p": 0.5},
    "prelu": {},
    "channel_affine": {},
    "batch_norm2d": {"eps": 1e-5, "momentum": 0.1},
    "identity": {},
}
ROLES: dict[str, tuple[str, ...]] = {
    "prelu": ("weight",),
    "channel_affine": ("weight", "bias"),
    "batch_norm2d": ("weight", "bias", "running_mean", "running_var"),
}


@dataclass
class Builder:
    """A network while it is drawn."""

    draw: Callable[[st.SearchStrategy[int]], int]
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"input": (3, SIZE, SIZE)})

    def choose(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def chance(self) -> bool:
        return self.choose(0, 1) == 1

    def add(
        self,
        operator: str,
        *inputs: str,
        roles: tuple[str, ...] = (),
        **attributes: AttributeValue,
    ) -> str:
        name = f"n{len(self.nodes)}"
        tensors = {role: f"{name}.{role}" for role in roles}
        node = Node(name, operator, inputs, attributes, tensors)
        self.nodes.append(node)
        self.shapes[name] = OPERATORS[operator].output_shape(node, [self.shapes[i] for i in inputs])
        return name

    def image(self) -> str:
        """Return one of the newest images."""
        images = [name for name, shape in self.shapes.items() if len(shape) == 3][-4:]
        return images[self.choose(0, len(images) - 1)]

    def conv(self, value: str, n_kernels: int, *, kernel: int, stride: int, groups: int) -> str:
        padding = self.choose(0, 1) if kernel <= min(self.shapes[value][1:]) else kernel
        return self.add(
            "conv2d",
            value,
            roles=("weight", "bias") if self.chance() else ("weight",),
            n_kernels=n_kernels,
            kernel_size=[kernel, kernel],
            stride=[stride, stride],
            padding=[padding, padding],
            dilation=[1, 1],
            groups=groups,
        )

    def point(self, value: str, n_kernels: int) -> str:
        """Add a 1 x 1 convolution, which keeps the image's size."""
        return self.add(
            "conv2d",
            value,
            roles=("weight", "bias") if self.chance() else ("weight",),
            n_kernels=n_kernels,
            kernel_size=[1, 1],
            stride=[1, 1],
            padding=[0, 0],
            dilation=[1, 1],
            groups=1,
        )

    def unary(self, value: str, operator: str) -> str:
        return self.add(operator, value, roles=ROLES.get(operator, ()), **UNARY[operator])

    def any_unary(self, value: str) -> str:
        return self.unary(value, list(UNARY)[self.choose(0, len(UNARY) - 1)])

    def linear(self, value: str, n_features: int) -> str:
        roles = ("weight", "bias") if self.chance() else ("weight",)
        return self.add("linear", value, roles=roles, n_features=n_features)


def conv_block(b: Builder) -> None:
    value = b.image()
    kernel, stride = b.choose(1, 3), b.choose(1, 2)
    value = b.conv(value, b.choose(1, 5), kernel=kernel, stride=stride, groups=1)
    if b.chance():
        value = b.unary(value, "batch_norm2d")
    if b.chance():
        b.any_unary(value)


def grouped_block(b: Builder) -> None:
    groups = b.choose(1, 3)
    value = b.point(b.image(), groups * b.choose(1, 3))
    value = b.any_unary(value)
    value = b.conv(value, groups * b.choose(1, 2), kernel=3, stride=1, groups=groups)
    if b.chance():
        b.unary(value, "batch_norm2d")


def depthwise_block(b: Builder) -> None:
    value = b.any_unary(b.image())
    channels = b.shapes[value][0]
    value = b.conv(value, channels * b.choose(1, 2), kernel=3, stride=1, groups=channels)
    b.unary(value, "batch_norm2d")


def residual_block(b: Builder) -> None:
    value = b.image()
    branch = b.unary(b.point(value, b.shapes[value][0]), "batch_norm2d")
    joining = ("add", "sub", "maximum", "minimum")[b.choose(0, 3)]
    b.add(joining, *((value, branch) if b.chance() else (branch, value)))


def dense_block(b: Builder) -> None:
    value = b.image()
    branch = b.point(b.unary(value, "batch_norm2d"), b.choose(1, 3))
    joined = b.add("cat", value, branch, *([value] if b.chance() else []))
    b.any_unary(b.unary(joined, "batch_norm2d"))


def squeeze_block(b: Builder) -> None:
    value = b.image()
    channels = b.shapes[value][0] if b.chance() else 1
    if b.chance():
        gate = b.add("mean", value, keepdim=True)
        gate = b.point(b.any_unary(b.point(gate, b.choose(1, 3))), channels)
    else:
        gate = b.add("mean", value, keepdim=False)
        gate = b.linear(b.any_unary(b.linear(gate, b.choose(1, 3))), channels)
    gate = b.unary(gate, ("sigmoid", "relu")[b.choose(0, 1)])
    b.add("mul", *((value, gate) if b.chance() else (gate, value)))


def spatial_attention_block(b: Builder) -> None:
    value = b.image()
    b.add("mul", value, b.unary(b.point(value, 1), "sigmoid"))


def masked_block(b: Builder) -> None:
    value = b.image()
    n_kernels = b.choose(1, 5)
    hidden = b.linear(b.add("mean", value, keepdim=False), b.choose(1, 4))
    score = b.linear(b.unary(hidden, "relu"), n_kernels)
    mask = b.unary(b.unary(score, "tanh"), "relu")
    b.add("mul", b.unary(b.point(value, n_kernels), "batch_norm2d"), mask)


def moved_block(b: Builder) -> None:
    value = b.image()
    channels = b.shapes[value][0]
    order = [b.choose(0, channels - 1) for _ in range(b.choose(1, 4))]
    selected = b.add("select_channels", value, indices=order)
    others = b.add("select_channels", value, indices=list(range(channels))[::-1])
    if b.chance():
        selected = b.any_unary(b.point(selected, b.choose(1, 3)))
    b.add("cat", selected, others)


def scattered_block(b: Builder) -> None:
    value = b.image()
    channels = b.shapes[value][0]
    extra = b.choose(0, 2)
    places = list(range(extra, extra + channels))
    roles = ("fill",) if b.chance() else ()
    total = channels + extra + b.choose(0, 1)
    b.add("scatter_channels", value, roles=roles, indices=places, n_channels=total)


def pool_block(b: Builder) -> None:
    value = b.image()
    height = b.shapes[value][1]
    ceil_mode = b.chance()
    kernel_size, stride, padding = [2, 2], [1, 2], [1, 1]
    match b.choose(0, 6):
        case 0:
            b.add(
                "max_pool2d",
                value,
                kernel_size=kernel_size,
                stride=stride,
                padding=padding,
                ceil_mode=ceil_mode,
                dilation=[1, 1],
            )
        case 1:
            b.add(
                "avg_pool2d",
                value,
                kernel_size=kernel_size,
                stride=stride,
                padding=padding,
                ceil_mode=ceil_mode,
                count_include_pad=b.chance(),
            )
        case 2:
            b.add("adaptive_avg_pool2d", value, output_size=[2, 1])
        case 3:
            size = [(height + 1) // 2, 1]
            b.add("subsample", value, start=[0, 0], step=[2, 1], size=size)
        case 4:
            b.add("pixel_affine", value, roles=("weight", "bias") if b.chance() else ("weight",))
        case 5:
            rows = [row for row in range(height) for _ in range(2)]
            b.add("select_pixels", value, rows=rows, columns=[0] if b.chance() else [0, 0])
        case _:
            b.add("pad", value, padding=[0, 1, 1, 0], value=float(b.choose(0, 1)))


def normed_block(b: Builder) -> None:
    value = b.image()
    roles = ("weight", "bias") if b.chance() else ()
    if b.chance():
        b.add("channel_norm", value, roles=roles, eps=1e-5)
    else:
        n_groups = b.shapes[value][0] if b.chance() else 1
        b.add("group_norm", value, roles=roles, n_groups=n_groups, eps=1e-5)


def shared_block(b: Builder) -> None:
    value = b.image()
    first = b.point(value, b.shapes[value][0])
    node = b.nodes[-1]
    again = Node(f"n{len(b.nodes)}", "conv2d", (first,), node.attributes, node.tensors)
    b.nodes.append(again)
    b.shapes[again.name] = b.shapes[first]


def constant_block(b: Builder) -> None:
    value = b.image()
    shape = [b.shapes[value][0], 1, 1]
    constant = b.add("constant", value, roles=("fill",) if b.chance() else (), shape=shape)
    b.add(("add", "mul")[b.choose(0, 1)], value, constant)


def reshaped_block(b: Builder) -> None:
    value = b.image()
    channels, height, width = b.shapes[value]
    vector = b.add("flatten", value)
    vector = b.any_unary(vector) if b.chance() else vector
    b.add("unflatten", vector, shape=[height, channels, width])


BLOCKS = (
    conv_block, conv_block, grouped_block, depthwise_block, residual_block, residual_block,
    dense_block, squeeze_block, spatial_attention_block, masked_block, moved_block,
    scattered_block, pool_block, normed_block, shared_block, constant_block, reshaped_block,
)  # fmt: skip


def classifier(b: Builder) -> str:
    """End the network in one of the ways that networks end."""
    value, n_classes = b.image(), b.choose(1, 4)
    match b.choose(0, 4):
        case 0:
            return b.linear(b.add("mean", value, keepdim=False), n_classes)
        case 1:
            return b.linear(b.any_unary(b.linear(b.add("flatten", value), 3)), n_classes)
        case 2:
            return b.add("flatten", b.add("mean", b.point(value, n_classes), keepdim=True))
        case 3:
            pooled = b.add("adaptive_max_pool2d", value, output_size=[1, 1])
            joined = b.add("cat", b.add("mean", value, keepdim=True), pooled)
            return b.linear(b.add("flatten", joined), n_classes)
        case _:
            logits = b.linear(b.add("mean", value, keepdim=False), n_classes)
            return b.add(("softmax", "log_softmax")[b.choose(0, 1)], logits)


def random_tensors(graph: Graph, seed: int) -> dict[str, Tensor]:
    """Return tensors that keep a network's values of the order of 1."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in tensor_shapes(graph).items():
        tensor = torch.randn(shape, generator=generator, dtype=torch.double)
        if name.endswith("running_var"):
            tensor = tensor.abs() + 0.5
        tensors[name] = tensor / math.sqrt(math.prod(shape[1:]) or 1)
    return tensors


Network = tuple[Graph, dict[str, Tensor]]


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Draw a network."""
    builder = Builder(draw)
    conv_block(builder)
    for _ in range(builder.choose(1, 5)):
        BLOCKS[builder.choose(0, len(BLOCKS) - 1)](builder)
    output = classifier(builder)
    graph = Graph("input", (3, SIZE, SIZE), tuple(builder.nodes), output)
    infer_shapes(graph)
    return graph, random_tensors(graph, builder.choose(0, 2**16))


def cuttable(graph: Graph) -> dict[str, int]:
    """Return the sizes of the convolutions and of the linear layers that are not the output."""
    shapes = infer_shapes(graph)
    return {
        node.name: shapes[node.name][0]
        for node in graph.nodes
        if node.operator in {"conv2d", "linear"}
    }


@st.composite
def cut_networks(draw: st.DrawFn) -> tuple[Network, dict[str, list[int]]]:
    """Draw a network and kernels to retain: all, some or none, layer by layer."""
    graph, tensors = draw(networks())
    retained = {}
    for name, size in cuttable(graph).items():
        if draw(st.booleans()):
            retained[name] = [kernel for kernel in range(size) if draw(st.booleans())]
    return (graph, tensors), retained
