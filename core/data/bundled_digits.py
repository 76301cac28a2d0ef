"""The 8 x 8 digits that scikit-learn ships: real images without a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from modpm.core.data.labeled_images import LabeledImages, import_extra, missing_split
from modpm.core.data.splitting import HELD_OUT_FRACTION, SPLIT_SEED, stratified_split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_WHITE = 16


@dataclass(frozen=True)
class _Arrays:
    """Images that are arrays already.

    Shapes:
        pixels: (N, H, W), uint8.
    """

    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.pixels)

    def parts(self) -> Iterator[_Arrays]:
        yield self

    def in_any_order(self) -> _Arrays:
        return self

    def open(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])

    def where(self, index: int) -> str:
        return f"digit {index}"


def open_digits(split: str) -> LabeledImages:
    """Open the digits: 1,797 gray images of 8 x 8, classes `0` to `9`.

    A quarter of each class, drawn once with a fixed seed, is the split `test`; the rest is
    `train`. Values 0 to 16 are scaled to 0 to 255.

    Source:
        Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI (CC BY 4.0), the
        test part, as `sklearn.datasets.load_digits` has it.

    Raises:
        ModpmError: scikit-learn is not installed, or the split is neither of the two.
    """
    digits = import_extra("sklearn.datasets").load_digits()
    labels = digits.target.astype(np.int64)
    train, test = stratified_split(labels, HELD_OUT_FRACTION, SPLIT_SEED)
    indices = {"train": train, "test": test}.get(split)
    if indices is None:
        raise missing_split("digits", split, ("train", "test"))
    pixels = np.rint(digits.images[indices] * (255 / _WHITE)).astype(np.uint8)
    return LabeledImages(_Arrays(pixels), labels[indices], tuple("0123456789"))
