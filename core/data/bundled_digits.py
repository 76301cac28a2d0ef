"""The 8 x 8 digits that scikit-learn ships: real images without a network."""

from __future__ import annotations

import numpy as np

from modpm.core.data.labeled_images import (
    ArrayImages,
    LabeledImages,
    import_extra,
    missing_split,
)
from modpm.core.data.splitting import HELD_OUT_FRACTION, SPLIT_SEED, stratified_split

_WHITE = 16


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
    return LabeledImages(ArrayImages(pixels, "digit"), labels[indices], tuple("0123456789"))
