"""Small networks that are written as people of the model zoos write theirs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from modpm.core.graph import Graph, trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from modpm.core.formats.network_graph import AttributeValue

CHANNELS, SIZE, CLASSES = 3, 16, 5
CONV: dict[str, AttributeValue] = {
    "n_kernels": 4,
    "kernel_size": [3, 3],
    "stride": [1, 1],
    "padding": [1, 1],
    "dilation": [1, 1],
    "groups": 1,
}


def conv_bn(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    )


class Bottleneck(nn.Module):
    """DenseNet: normalize, activate, convolve; then join to what was there."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 2 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * growth)
        self.conv2 = nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.bn1(x)))
        out = self.conv2(F.relu(self.bn2(out)))
        return torch.cat([out, x], 1)


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(CHANNELS, 6, 3, padding=1, bias=False)
        self.dense1 = nn.Sequential(Bottleneck(6, 4), Bottleneck(10, 4))
        self.transition_bn, self.transition = nn.BatchNorm2d(14), nn.Conv2d(14, 7, 1, bias=False)
        self.dense2 = nn.Sequential(Bottleneck(7, 4), Bottleneck(11, 4))
        self.bn, self.linear = nn.BatchNorm2d(15), nn.Linear(15, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dense1(self.conv1(x))
        x = F.avg_pool2d(self.transition(F.relu(self.transition_bn(x))), 2)
        x = F.avg_pool2d(F.relu(self.bn(self.dense2(x))), 8)
        return self.linear(x.view(x.size(0), -1))  # type: ignore[no-any-return]  # calls of modules have no type


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int = 3) -> None:
        super().__init__()
        middle = inputs * expansion
        self.expand = nn.Sequential(*conv_bn(inputs, middle, 1), nn.ReLU6(inplace=True))
        self.depthwise = nn.Sequential(
            *conv_bn(middle, middle, 3, stride, groups=middle), nn.ReLU6(inplace=True)
        )
        self.project = conv_bn(middle, outputs, 1)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.is_residual else out


class MobileNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(CHANNELS, 8, stride=2), nn.ReLU6())
        self.blocks = nn.Sequential(
            InvertedResidual(8, 8, 1), InvertedResidual(8, 12, 2), InvertedResidual(12, 12, 1)
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(12, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        return self.classifier(x.mean([2, 3]))  # type: ignore[no-any-return]  # calls of modules have no type


def swish(x: Tensor) -> Tensor:
    return x * x.sigmoid()


class EfficientBlock(nn.Module):
    """EfficientNet: expanded, depthwise, squeezed and excited by 1 x 1 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = 2 * channels
        self.expand, self.project = conv_bn(channels, middle, 1), conv_bn(middle, channels, 1)
        self.depthwise = conv_bn(middle, middle, 5, groups=middle)
        self.se1, self.se2 = nn.Conv2d(middle, 3, 1), nn.Conv2d(3, middle, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = swish(self.depthwise(swish(self.expand(x))))
        gate = F.adaptive_avg_pool2d(out, (1, 1))
        out = out * self.se2(swish(self.se1(gate))).sigmoid()
        return self.project(out) + x  # type: ignore[no-any-return]  # calls of modules have no type


class EfficientNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(CHANNELS, 6, stride=2)
        self.blocks = nn.Sequential(EfficientBlock(6), EfficientBlock(6))
        self.linear = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(swish(self.stem(x)))
        x = F.dropout(F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1), 0.2, self.training)
        return self.linear(x)  # type: ignore[no-any-return]  # calls of modules have no type


class SqueezeExcite(nn.Module):
    """SENet: the gate by linear layers, spread over the image by `expand_as`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, 2, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(2, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        gate = self.fc(nn.AdaptiveAvgPool2d(1)(x).view(b, c)).view(b, c, 1, 1)
        return x * gate.expand_as(x)  # type: ignore[no-any-return]  # calls of modules have no type


class SENet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch = conv_bn(CHANNELS, 8), conv_bn(8, 8)
        self.se, self.linear = SqueezeExcite(8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.se(self.branch(x)) + x)
        return self.linear(F.avg_pool2d(x, SIZE).flatten(1))  # type: ignore[no-any-return]  # calls of modules have no type


class ShuffleNet(nn.Module):
    """Grouped 1 x 1 convolutions with a shuffle between them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(CHANNELS, 12, stride=2)
        self.conv1, self.conv2 = conv_bn(12, 12, 1, groups=3), conv_bn(12, 12, 3, groups=12)
        self.conv3, self.linear = conv_bn(12, 12, 1, groups=3), nn.Linear(12 * 16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        out = F.relu(self.conv1(x))
        n, c, h, w = out.size()
        out = out.view(n, 3, c // 3, h, w).permute(0, 2, 1, 3, 4).reshape(n, c, h, w)
        out = self.conv3(self.conv2(out))
        x = F.avg_pool2d(F.relu(out + x), 2)
        return self.linear(x.view(x.size(0), -1))  # type: ignore[no-any-return]  # calls of modules have no type


def shuffled(x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.view(batch, 2, channels // 2, height, width)
    return torch.transpose(x, 1, 2).contiguous().view(batch, -1, height, width)


class ShuffleV2Block(nn.Module):
    def __init__(self, channels: int, *, is_chunked: bool) -> None:
        super().__init__()
        half = channels // 2
        self.is_chunked, self.n_left = is_chunked, half
        self.branch = nn.Sequential(
            *conv_bn(half, half, 1),
            nn.ReLU(),
            *conv_bn(half, half, 3, groups=half),
            *conv_bn(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.is_chunked:
            left, right = x.chunk(2, dim=1)
        else:
            left, right = x[:, : self.n_left, :, :], x[:, self.n_left :, :, :]
        return shuffled(torch.cat([left, F.relu(self.branch(right))], 1))


class ShuffleNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(CHANNELS, 8, stride=2)
        self.blocks = nn.Sequential(
            *[ShuffleV2Block(8, is_chunked=chunked) for chunked in (True, False, True)]
        )
        self.head, self.linear = conv_bn(8, 10, 1), nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1)
        x = F.relu(self.head(self.blocks(x)))
        return self.linear(x.mean(3).mean(2))  # type: ignore[no-any-return]  # calls of modules have no type


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(CHANNELS, 8, 3, padding=1), nn.ReLU(True))
        self.branch1 = conv_bn(8, 3, 1)
        self.branch2 = nn.Sequential(*conv_bn(8, 4, 1), nn.ReLU(True), *conv_bn(4, 5, 3))
        self.branch3 = nn.Sequential(nn.MaxPool2d(3, 1, 1), *conv_bn(8, 4, 1), nn.ReLU(True))
        self.branch4 = nn.Sequential(
            nn.AvgPool2d(3, 1, 1, count_include_pad=False), *conv_bn(8, 2, 1)
        )
        self.linear = nn.Linear(14, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        branches = [self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)]
        x = F.max_pool2d(torch.cat(branches, dim=1), 3, stride=2, ceil_mode=True)
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))  # type: ignore[no-any-return]  # calls of modules have no type


class SqueezeNet(nn.Module):
    """The classifier is a convolution, and its features are squeezed to a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(CHANNELS, 8, 3, stride=2)
        self.squeeze = nn.Conv2d(8, 3, 1)
        self.left, self.right = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 3, padding=1)
        self.classifier = nn.Conv2d(12, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(F.relu(self.stem(x))))
        x = torch.cat([F.relu(self.left(x)), F.relu(self.right(x))], 1)
        x = F.avg_pool2d(F.relu(self.classifier(F.dropout(x, 0.5, self.training))), 7)
        return x.squeeze(3).squeeze(2)


class ResNeXt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = conv_bn(CHANNELS, 8), conv_bn(8, 12, 1, 2)
        self.block = nn.Sequential(
            *conv_bn(8, 12, 1),
            nn.ReLU(),
            *conv_bn(12, 12, 3, 2, groups=4),
            nn.ReLU(),
            *conv_bn(12, 12, 1),
        )
        self.linear = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = self.block(x).add_(self.down(x)).relu_()
        return self.linear(x.mean((-1, -2), keepdim=True)[:, :, 0, 0])  # type: ignore[no-any-return]  # calls of modules have no type


class PreActivation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(CHANNELS, 6, 3, padding=1, bias=False)
        self.bn1, self.conv1 = nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3, 2, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(6, 8, 1, 2, bias=False)
        self.bn, self.linear = nn.BatchNorm2d(8), nn.Linear(8 * 16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(x)
        out = F.relu(self.bn1(x))
        shortcut = self.shortcut(out)
        out = self.conv2(F.relu(self.bn2(self.conv1(out))))
        out += shortcut
        return self.linear(F.avg_pool2d(F.relu(self.bn(out)), 2).reshape(x.shape[0], -1))  # type: ignore[no-any-return]  # calls of modules have no type


class PaddedShortcut(nn.Module):
    """ResNet for CIFAR, option A: every second pixel, and channels of zeros."""

    def __init__(self, *, by_cat: bool) -> None:
        super().__init__()
        self.by_cat = by_cat
        self.stem, self.conv1, self.conv2 = (
            conv_bn(CHANNELS, 4),
            conv_bn(4, 8, stride=2),
            conv_bn(8, 8),
        )
        self.linear = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        out = self.conv2(F.relu(self.conv1(x)))
        even = x[:, :, ::2, ::2]
        if self.by_cat:
            shortcut = torch.cat([even, torch.zeros_like(even)], 1)
        else:
            shortcut = F.pad(even, (0, 0, 0, 0, 2, 2), "constant", 0)
        return self.linear(F.relu(out + shortcut).mean([2, 3]))  # type: ignore[no-any-return]  # calls of modules have no type


class Poolings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, 6, 3, padding="same", dilation=2)
        self.even = nn.Conv2d(6, 6, 4, padding="same", bias=False)
        self.valid = nn.Conv2d(6, 6, 3, padding="valid")
        self.pad = nn.ZeroPad2d((0, 1, 2, 1))
        self.linear = nn.Linear(6 * 4 + 12, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.even(self.conv(x)), 3, 2, 1, ceil_mode=True)
        x = F.avg_pool2d(self.pad(x), 3, 2, 1, ceil_mode=True, count_include_pad=True)
        x = self.valid(F.pad(x, (1, 2, 0, 1), value=0.5))
        both = torch.cat([F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)], 1).flatten(1)
        x = F.adaptive_avg_pool2d(x, (2, 2)) + F.adaptive_max_pool2d(x, (2, 2))
        return self.linear(torch.cat([x.flatten(1), both], 1))  # type: ignore[no-any-return]  # calls of modules have no type


class GlobalPoolings(nn.Module):
    """One vector, in all the ways to write it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, 4, 3)
        self.linear = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        n, c = x.shape[:2]
        total = x.mean([2, 3]) + x.view(n, c, -1).mean(2) + x.flatten(2).mean(-1)
        total = total + F.adaptive_avg_pool2d(x, 1).squeeze() + x.mean(-1).mean(-1)
        total = total + x.amax((2, 3)) + x.mean((2, 3), keepdim=True).view(n, -1)
        total = total + F.avg_pool2d(x, x.size()[2:]).view(-1, c) + x.sum((2, 3)) / 100
        total = total + F.max_pool2d(x, x.shape[2:])[..., 0, 0] + x.reshape(n, c, -1).max(-1).values
        return self.linear(total)  # type: ignore[no-any-return]  # calls of modules have no type


ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    F.relu, F.relu6, F.leaky_relu, F.elu, F.silu, F.mish, F.gelu, F.hardswish, F.hardsigmoid,
    torch.sigmoid, torch.tanh, F.softplus, F.hardtanh,
    lambda x: F.gelu(x, approximate="tanh"),
    lambda x: F.leaky_relu(x, 0.2, inplace=True),
    lambda x: x.clamp(0, 6),
    lambda x: torch.clamp(x, min=0),
    lambda x: x.clamp(max=0.5),
    lambda x: F.hardtanh(x, 0.0, 6.0),
    lambda x: x * F.relu6(x + 3) / 6,
    lambda x: x * torch.tanh(F.softplus(x)),
    lambda x: F.hardswish(x, inplace=True),
    lambda x: torch.fake_quantize_per_tensor_affine(x, 0.02, 100, 0, 255),
    lambda x: -x,
    lambda x: x**2,
    lambda x: 1 - x,
)  # fmt: skip


class Activations(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(CHANNELS, 3, 1, bias=False) for _ in range(len(ACTIVATIONS))
        )
        self.prelu, self.one_prelu = nn.PReLU(CHANNELS), nn.PReLU()
        self.linear = nn.Linear(CHANNELS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for conv, activate in zip(self.convs, ACTIVATIONS, strict=True):
            total = total + activate(conv(x))
        total = self.one_prelu(self.prelu(total))
        return self.linear(total.mean((2, 3)))  # type: ignore[no-any-return]  # calls of modules have no type


class Arithmetic(nn.Module):
    """Constants, buffers and layer scales."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.2, 0.3, 0.1]).view(3, 1, 1))
        self.conv, self.linear = nn.Conv2d(CHANNELS, 4, 3), nn.Linear(4, CLASSES)
        self.gamma = nn.Parameter(torch.tensor([0.1, 0.2, 0.3, 0.4]).view(1, 4, 1, 1))
        self.temperature = nn.Parameter(torch.tensor(0.7))
        self.scale, self.bias = nn.Parameter(torch.rand(CLASSES)), nn.Parameter(torch.rand(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.deviation * 2.0 + 1
        y = self.conv(x)
        y = y + self.gamma * y - 0.5 * y
        y = torch.sub(y, y.relu(), alpha=2) / 3
        logits = 3 - self.linear(y.mean((2, 3)))
        return logits * self.scale / self.temperature + self.bias  # type: ignore[no-any-return]  # calls of modules have no type


class ChannelsLastBlock(nn.Module):
    """ConvNeXt's shape without its norm: linear layers on channels that come last."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(CHANNELS, 6, 4, 4)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.wide, self.narrow = nn.Linear(6, 10), nn.Linear(10, 6)
        self.gamma, self.head = nn.Parameter(torch.rand(6)), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.depthwise(x).permute(0, 2, 3, 1)
        y = self.gamma * self.narrow(F.gelu(self.wide(y)))
        x = x + y.permute(0, 3, 1, 2)
        return self.head(x.flatten(2).transpose(1, 2).mean(1))  # type: ignore[no-any-return]  # calls of modules have no type


class Res2Net(nn.Module):
    """Slices of the channels, each added to what became of the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(CHANNELS, 12, stride=2)
        self.convs = nn.ModuleList(conv_bn(4, 4) for _ in range(2))
        self.linear = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        first, *others = torch.split(x, 4, 1)
        outputs, last = [first], first
        for part, conv in zip(others, self.convs, strict=True):
            last = F.relu(conv(part + last))
            outputs.append(last)
        x = torch.cat(outputs, 1)
        return self.linear(F.adaptive_avg_pool2d(x, 1).reshape(x.size(0), -1))  # type: ignore[no-any-return]  # calls of modules have no type


class SpaceToDepth(nn.Module):
    """Blocks of pixels as channels, written in two ways; features flattened channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(12, 4, 3, padding=1), nn.Conv2d(16, 4, 3, padding=1)
        self.linear = nn.Linear(4 * 16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        x = self.conv1(torch.cat(parts, 1))
        x = self.conv2(F.pixel_unshuffle(F.relu(x), 2))
        x = x.permute(0, 2, 3, 1).reshape(x.size(0), -1)
        return self.linear(x)  # type: ignore[no-any-return]  # calls of modules have no type


class Attention(nn.Module):
    """A gate of one channel over the image, and a highway between two paths."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.map = (
            conv_bn(CHANNELS, 6),
            nn.Conv2d(6, 6, 1),
            nn.Conv2d(6, 1, 3, padding=1),
        )
        self.other, self.linear = conv_bn(6, 6), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        gate = torch.sigmoid(self.gate(x))
        x = gate * self.other(x) + (1 - gate) * x
        x = torch.sigmoid(self.map(x)) * x
        return self.linear(x.mean((2, 3)))  # type: ignore[no-any-return]  # calls of modules have no type


class InPlace(nn.Module):
    """Values changed where they are, the results of the calls thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn, self.conv2 = (
            nn.Conv2d(CHANNELS, 6, 3),
            nn.BatchNorm2d(6),
            nn.Conv2d(6, 6, 1),
        )
        self.linear = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv1(x))
        F.relu(x, inplace=True)
        y = self.conv2(x)
        y += x
        y.mul_(0.5)
        F.hardswish(y, inplace=True)
        return self.linear(y.mean((2, 3)))  # type: ignore[no-any-return]  # calls of modules have no type


class Shared(nn.Module):
    """One convolution and one activation, used again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.act = (
            nn.Conv2d(CHANNELS, 5, 3),
            nn.Conv2d(5, 5, 3, padding=1),
            nn.ReLU(),
        )
        self.linear = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        for _ in range(3):
            x = self.act(self.conv(x) + x)
        return self.linear(x.mean((2, 3)))  # type: ignore[no-any-return]  # calls of modules have no type


class OddNames(nn.Module):
    """Layers whose names are those of attributes, digits and other layers."""

    def __init__(self) -> None:
        super().__init__()
        self.graph, self.run_1 = nn.Conv2d(CHANNELS, 4, 3), nn.Conv2d(4, 4, 3)
        self.relu, self.relu_1 = nn.ReLU(), nn.Conv2d(4, 4, 1)
        self.kernel = nn.Parameter(torch.rand(4, 4, 1, 1))
        self.linear = nn.Sequential(nn.Flatten(), nn.Linear(4 * 144, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.graph(x))
        x = self.relu(self.run_1(x))
        x = self.relu(self.relu_1(x))
        return self.linear(F.conv2d(x, self.kernel))  # type: ignore[no-any-return]  # calls of modules have no type


@dataclass
class Output:
    loss: Tensor | None
    logits: Tensor


class Wrapped(nn.Module):
    """A network that returns an object, a dictionary or a tuple."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.network = form, SENet()

    def forward(self, x: Tensor) -> object:
        logits = self.network(x)
        forms = {"object": Output(None, logits), "dictionary": {"logits": logits, "hidden": x}}
        return forms.get(self.form, (logits,))


class ConvolutionOnly(nn.Sequential):
    """Layers in a row, which have numbers for names."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(CHANNELS, 6, 3), nn.BatchNorm2d(6), nn.Hardswish(), nn.Identity(),
            nn.Dropout2d(0.1), nn.Conv2d(6, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.LogSoftmax(dim=1),
        )  # fmt: skip


class LayerNormOfChannels(nn.Module):
    """ConvNeXt with its norms, for channels that come first and that come last."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(CHANNELS, 6, 4, 4), nn.LayerNorm(6, eps=1e-6)
        self.depthwise, self.norm = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.LayerNorm(6)
        self.wide, self.narrow = nn.Linear(6, 10), nn.Linear(10, 6)
        self.group_norm, self.final_norm = nn.GroupNorm(2, 6), nn.LayerNorm(6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        x = x + self.narrow(F.gelu(self.wide(y))).permute(0, 3, 1, 2)
        x = self.group_norm(x)
        return self.head(self.final_norm(x.mean([-2, -1])))  # type: ignore[no-any-return]  # calls of modules have no type


class VectorNorm(nn.Module):
    """A classifier of several layers with batch normalization of vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(CHANNELS, 4, 5, 3), nn.GELU(), nn.MaxPool2d(2))
        self.classifier = nn.Sequential(
            nn.Linear(16, 8),
            nn.BatchNorm1d(8, affine=False),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(8, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return F.softmax(self.classifier(x.view(-1, 16)), dim=-1)


class Maxout(nn.Module):
    """LightCNN: the larger of two halves of the channels; and the smaller."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(CHANNELS, 12, 3), nn.Conv2d(6, 12, 3)
        self.linear = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.max(*self.conv1(x).chunk(2, 1))
        left, right = torch.split(self.conv2(x), 6, 1)
        x = torch.minimum(torch.maximum(left, right), x.mean((2, 3), keepdim=True))
        return self.linear(x.mean((2, 3)))  # type: ignore[no-any-return]  # calls of modules have no type


class ChannelConvolution(nn.Module):
    """ECA: a gate by a convolution along the channels."""

    def __init__(self, *, is_circular: bool) -> None:
        super().__init__()
        self.is_circular = is_circular
        self.conv = nn.Conv1d(1, 1, 3, padding=0 if is_circular else 1, bias=is_circular)

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3)).view(x.shape[0], 1, -1)
        if self.is_circular:
            y = F.pad(y, (1, 1), mode="circular")
        return x * self.conv(y).sigmoid().view(x.shape[0], -1, 1, 1).expand_as(x)  # type: ignore[no-any-return]  # calls of modules have no type


class SelectiveKernels(nn.Module):
    """SKNet and ResNeSt: paths weighed by shares that add up to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.paths = nn.ModuleList(conv_bn(CHANNELS, 6, size) for size in (3, 5))
        self.squeeze, self.select = nn.Conv2d(6, 4, 1), nn.Conv2d(4, 12, 1)
        self.split = conv_bn(6, 12, groups=2)
        self.attend = nn.Conv2d(6, 12, 1)
        self.gates = nn.Sequential(*(ChannelConvolution(is_circular=c) for c in (False, True)))
        self.linear = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.stack([path(x) for path in self.paths], dim=1)
        shares = self.select(F.relu(self.squeeze(x.sum(1).mean((2, 3), keepdim=True))))
        x = (x * shares.view(len(x), 2, 6, 1, 1).softmax(dim=1)).sum(dim=1)
        x = F.relu(self.split(x)).reshape(len(x), 2, 6, *x.shape[2:])
        shares = self.attend(x.mean(dim=1).amax((2, 3), keepdim=True)).view(len(x), 1, 2, -1)
        shares = F.softmax(shares.transpose(1, 2), dim=1).reshape(len(x), -1)
        x = (x * shares.view(len(x), 2, 6, 1, 1)).amax(dim=1)
        return self.linear(self.gates(x).mean((2, 3)))  # type: ignore[no-any-return]  # calls of modules have no type


def kept_by_chance(x: Tensor, rate: float, *, is_drawn_from_rates: bool) -> Tensor:
    """Stochastic depth, as torchvision and timm write it, and as others do."""
    shape = (len(x), 1, 1, 1)
    if is_drawn_from_rates:
        return x.div(rate) * torch.bernoulli(torch.full(shape, rate, dtype=x.dtype))
    return x * x.new_empty(shape).bernoulli_(rate).div_(rate)


class Pixels(nn.Module):
    """HRNet's upsampling, blurring with reflected borders, and constants of each position."""

    filter: Tensor
    ramp: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.low = conv_bn(CHANNELS, 6), conv_bn(6, 6, stride=2)
        self.lowest = conv_bn(6, 6, stride=3)
        self.position = nn.Parameter(torch.randn(1, 6, SIZE, SIZE))
        self.register_buffer("filter", torch.rand(1, 1, 3, 3))
        self.register_buffer("ramp", torch.linspace(0, 1, SIZE))
        self.linear = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        low = F.interpolate(self.low(x), scale_factor=2, mode="nearest")
        low = low + F.interpolate(self.lowest(x), x.shape[2:], mode="nearest-exact").flip(3)
        if self.training:
            low = kept_by_chance(low, 0.8, is_drawn_from_rates=False)
            low = kept_by_chance(low, 0.5, is_drawn_from_rates=True)
        x = F.relu(x + low) * self.ramp + self.position
        x, kernels = F.pad(x, (1, 1, 1, 1), mode="reflect"), self.filter.expand(6, 1, 3, 3)
        x = F.pad(F.conv2d(x, kernels, groups=6), (1, 1, 0, 0), mode="replicate")
        return self.linear(F.adaptive_max_pool2d(x, 1)[..., 0, 0])  # type: ignore[no-any-return]  # calls of modules have no type


ZOO: dict[str, Callable[[], nn.Module]] = {
    "densenet": DenseNet,
    "mobilenet_v2": MobileNetV2,
    "efficientnet": EfficientNet,
    "senet": SENet,
    "shufflenet": ShuffleNet,
    "shufflenet_v2": ShuffleNetV2,
    "inception": Inception,
    "squeezenet": SqueezeNet,
    "resnext": ResNeXt,
    "preactivation": PreActivation,
    "padded_shortcut": lambda: PaddedShortcut(by_cat=False),
    "padded_shortcut_by_cat": lambda: PaddedShortcut(by_cat=True),
    "poolings": Poolings,
    "global_poolings": GlobalPoolings,
    "activations": Activations,
    "arithmetic": Arithmetic,
    "channels_last": ChannelsLastBlock,
    "res2net": Res2Net,
    "space_to_depth": SpaceToDepth,
    "attention": Attention,
    "in_place": InPlace,
    "shared": Shared,
    "odd_names": OddNames,
    "object_output": lambda: Wrapped("object"),
    "dictionary_output": lambda: Wrapped("dictionary"),
    "tuple_output": lambda: Wrapped("tuple"),
    "convolution_only": ConvolutionOnly,
    "layer_norm": LayerNormOfChannels,
    "vector_norm": VectorNorm,
    "maxout": Maxout,
    "selective_kernels": SelectiveKernels,
    "pixels": Pixels,
}


def create(name: str) -> nn.Module:
    """Return a network in double precision whose normalizations are not trivial."""
    torch.manual_seed(0)
    network = ZOO[name]().double()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 1.5)
            if layer.affine:
                nn.init.normal_(layer.weight)
                nn.init.normal_(layer.bias)
    return network.eval()


def images(n: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, CHANNELS, SIZE, SIZE, generator=generator, dtype=torch.double)


@cache
def traced(name: str) -> tuple[Graph, dict[str, Tensor]]:
    """Trace each network once: reading it takes longer than all the rest."""
    return trace(create(name), images(1))
