"""A network by its name: one that is shipped, a library's, or `package.module:factory`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError, suggestion
from modpm.core.networks.digits import DigitsCNN
from modpm.core.networks.initial_weights import silent
from modpm.core.networks.libraries import LIBRARIES, create_from_library, normalization_of
from modpm.core.networks.mobilenet import MobileNetV2
from modpm.core.networks.rescnn import ResCNN
from modpm.core.networks.resnet import LargeResNet18, ResNet18, ResNet20
from modpm.core.networks.simcnn import SimCNN
from modpm.core.networks.user_factory import create_from_factory, without_pretrained
from modpm.core.networks.vgg import VGG16, SmallVGG

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from modpm.core.networks.libraries import Normalization

ARCHITECTURES: dict[str, Callable[[int, int, float], nn.Module]] = {
    "digits_cnn": DigitsCNN,
    "mobilenet_v2": MobileNetV2,
    "rescnn": ResCNN,
    "resnet18": ResNet18,
    "resnet18_large": LargeResNet18,
    "resnet20": ResNet20,
    "simcnn": SimCNN,
    "small_vgg": SmallVGG,
    "vgg16": VGG16,
}


_SMALLEST_SIDE = 16  # below it, three poolings leave nothing
_LARGEST_SIDE = 64  # beyond, a network must begin with fewer pixels
_FEW_CLASSES = 20  # beyond, a small network is too small


def default_architecture(image_shape: tuple[int, int, int], n_classes: int) -> str:
    """Return the architecture that suits images and classes where the user names none.

    Args:
        image_shape: Channels, height and width.
        n_classes: How many classes there are.
    """
    side = min(image_shape[1:])
    if side < _SMALLEST_SIDE:
        return "digits_cnn"
    if side > _LARGEST_SIDE:
        return "resnet18_large"
    return "small_vgg" if n_classes <= _FEW_CLASSES else "resnet18"


def create(
    arch: str,
    n_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    *,
    pretrained: bool = False,
    on_new_head: Callable[[str], None] = silent,
) -> nn.Module:
    """Create a network, with newly drawn weights unless it brings its own.

    Args:
        arch: One of `ARCHITECTURES`, `timm:NAME`, `torchvision:NAME` or `package.module:factory`.
        n_classes: Number of outputs.
        in_channels: Channels of the input images.
        width: Factor on the channels of every layer.
        pretrained: With the trained weights that the library has of it, or the factory loads
            where it is told to, and a new head where they are of another number of classes.
        on_new_head: Is told so, in a sentence.

    Raises:
        ModpmError: No such architecture, a width that is not positive, a factory that cannot
            be imported or does not make an `nn.Module`, a library that is not installed, or no
            trained weights.
    """
    if not 0 < width <= 64:  # noqa: PLR2004 - beyond is a slip of the keyboard, and no memory
        raise ModpmError(
            f"a width factor of {width} cannot be built",
            code="bad-width",
            hint="take a factor above 0 and at most 64, for example `--width 0.5`",
            exit_code=2,
        )
    place, colon, _ = arch.partition(":")
    if place in LIBRARIES and colon:
        return create_from_library(
            arch, n_classes, in_channels, width, pretrained=pretrained, on_new_head=on_new_head
        )
    if colon:
        return create_from_factory(arch, n_classes, in_channels, width, pretrained=pretrained)
    if arch not in ARCHITECTURES:
        raise _unknown_architecture(arch)
    if pretrained:
        raise without_pretrained(arch, "networks that are shipped are published without weights")
    return ARCHITECTURES[arch](n_classes, in_channels, width)


def own_normalization(arch: str, n_channels: int) -> Normalization | None:
    """Return what the images of an architecture's trained weights were normalized by.

    Args:
        arch: As of `create`; a library's says it.
        n_channels: Of the images.
    """
    place, colon, _ = arch.partition(":")
    return normalization_of(arch, n_channels) if place in LIBRARIES and colon else None


def is_factory(arch: str) -> bool:
    """Whether an architecture is named by its factory, which may be a user's own."""
    place, colon, _ = arch.partition(":")
    return bool(colon) and place not in LIBRARIES


def _unknown_architecture(arch: str) -> ModpmError:
    normalized = arch.lower().replace("-", "_")
    meant = suggestion(normalized, ARCHITECTURES)
    own = "your own network is named as `package.module:factory`, others as `timm:NAME`"
    return ModpmError(
        f"no architecture is called `{arch}`",
        code="unknown-architecture",
        why=f"the architectures are {', '.join(ARCHITECTURES)}",
        hint=f"{meant} {own}" if meant else own,
        exit_code=2,
    )
