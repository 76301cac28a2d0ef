"""Images made what an input contract demands, within the graph of a network."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Self

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own name for it
from PIL import Image
from torch import Tensor, nn

from modpm.core.data import prepare_image
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from modpm.core.formats.manifest import InputContract

Images = Tensor | Image.Image | Iterable[Image.Image]
"""A batch of pixels, an image, or several images of any sizes."""

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in gray, as Pillow and JPEG have them (ITU-R BT.601)."""

IMAGES_AT_ONCE = 256
"""How many images are scored in one pass, so that memory does not grow with their number."""

_BATCH_RANK = 4  # images, channels, height, width


class Preprocessing(nn.Module):
    """Images in [0, 1] of any size and color made what a network was trained on.

    Args:
        contract: What an image must be.

    Shapes:
        (N, 1 or 3, any height, any width) → (N, channels, height, width), normalized.
    """

    mean: Tensor
    std: Tensor
    luma: Tensor

    def __init__(self, contract: InputContract) -> None:
        super().__init__()
        self.channels = contract.channels
        self.size = (contract.height, contract.width)
        for name, values in (("mean", contract.mean), ("std", contract.std), ("luma", LUMA)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the constants, but keep their precision: networks of less take the result."""
        super()._apply(lambda tensor: tensor.to(fn(tensor).device), recurse)  # type: ignore[no-untyped-call]  # torch's
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return the images in the network's colors and size, normalized."""
        images = images.to(torch.promote_types(images.dtype, self.mean.dtype))
        fitted = _fitted(self._in_colors(images), *self.size)
        normalized = (fitted - self.mean) / self.std
        # Convolutions on a CPU are up to twice as fast so.
        return normalized.contiguous(memory_format=torch.channels_last)

    def _in_colors(self, images: Tensor) -> Tensor:
        if images.shape[1] == self.channels:
            return images
        if self.channels == 1:
            return (images * self.luma).sum(1, keepdim=True)
        return images.expand(-1, self.channels, -1, -1)


def _fitted(images: Tensor, height: int, width: int) -> Tensor:
    """Scale images until they cover that size and cut what stands over, nearly as `prepare_image`.

    Within a graph nothing is rounded, and what is cut is whole rows and columns.
    """
    rows, columns = images.shape[-2:]
    if (rows, columns) == (height, width):
        return images
    kept_rows, kept_columns = rows, max(1, round(rows * width / height))
    if kept_columns > columns:
        kept_rows, kept_columns = max(1, round(columns * height / width)), columns
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    cut = images[:, :, top : top + kept_rows, left : left + kept_columns]
    scaled = F.interpolate(cut, (height, width), mode="bicubic", antialias=True)
    return scaled.clamp(0, 1)


def unit_pixels(pixels: Tensor) -> Tensor:
    """Return pixels as numbers in [0, 1]: bytes are divided by 255, numbers are left.

    Shapes:
        (N, C, H, W) → (N, C, H, W)
    """
    return pixels if pixels.is_floating_point() else pixels.float() / 255


def check_pixels(pixels: Tensor) -> Tensor:
    """Return a batch of pixels that is one, a single image as a batch of one.

    Shapes:
        (N, C, H, W) or (C, H, W) → (N, C, H, W)

    Raises:
        ModpmError: `bad-images`, for another number of dimensions or channels, for numbers that
            are not bytes, and for those that are not in [0, 1].
    """
    batch = pixels[None] if pixels.dim() == _BATCH_RANK - 1 else pixels
    if batch.dim() != _BATCH_RANK or batch.shape[1] not in (1, 3) or 0 in batch.shape[2:]:
        raise _bad_images(
            f"their shape is {tuple(pixels.shape)}", "give (N, 3, height, width), or 1 for gray"
        )
    if not batch.is_floating_point():
        if batch.dtype != torch.uint8:
            raise _bad_images(f"they are {batch.dtype}", "give torch.uint8, or numbers in [0, 1]")
    elif batch.numel() and not (batch.min() >= 0 and batch.max() <= 1):
        raise _bad_images("some numbers are not in [0, 1]", "give torch.uint8, or divide by 255")
    return batch


def image_batches(images: Images, contracts: Sequence[InputContract]) -> Iterator[list[Tensor]]:
    """Give the images in parts, each as one batch for every input contract.

    Images are prepared for each contract by itself, as the contract's module alone would see them,
    and pixels as the image of Pillow that has them: to be brought to another size or to gray,
    numbers are rounded to bytes. Pixels that are what the contract says are left as they are.

    Args:
        images: What to score.
        contracts: Of the networks that will see them.

    Shapes:
        each batch: (n, channels, height, width), in [0, 1].

    Raises:
        ModpmError: `bad-images`.
    """
    if isinstance(images, Tensor):
        for part in torch.split(check_pixels(images), IMAGES_AT_ONCE):
            yield [_prepared(part, contract) for contract in contracts]
        return
    every = iter([images] if isinstance(images, Image.Image) else images)
    # One decoded image at a time: they may be large, and what is made of them is small.
    while part_of_images := [
        [prepare_image(image, contract) for contract in contracts]
        for image in islice(every, IMAGES_AT_ONCE)
    ]:
        yield [unit_pixels(torch.stack(batch)) for batch in zip(*part_of_images, strict=True)]


def _prepared(pixels: Tensor, contract: InputContract) -> Tensor:
    """Return a batch of pixels as `prepare_image` makes it of images, in [0, 1]."""
    if pixels.shape[1:] == (contract.channels, contract.height, contract.width) or not len(pixels):
        return unit_pixels(pixels)
    whole = (255 * pixels.float()).round().to(torch.uint8) if pixels.is_floating_point() else pixels
    channels_last = whole.cpu().permute(0, 2, 3, 1).numpy()
    of_pillow = (
        Image.fromarray(one[..., 0] if one.shape[2] == 1 else one) for one in channels_last
    )
    return unit_pixels(torch.stack([prepare_image(image, contract) for image in of_pillow]))


def _bad_images(why: str, hint: str) -> ModpmError:
    return ModpmError("these are not images", code="bad-images", why=why, hint=hint)
