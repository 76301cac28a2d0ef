"""Stratified splits that are the same on every machine and for every version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from modpm.core.data.image_data import N_HELD_OUT, ImageData, check_trainable
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HELD_OUT_FRACTION = 0.25
"""Share of each class that is the test split, where the data comes without one."""

SPLIT_SEED = 20240601
"""Seed of that split."""


def stratified_split(
    labels: NDArray[np.int64], fraction: float, seed: int, least: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide positions so that each class gives its fraction to the second part.

    Each class gives so many at least, but one image of each stays in the first part.

    Shapes:
        labels: (N,) → two ascending arrays of positions, together 0 to N - 1.
    """
    # The stream of RandomState is frozen for good (NEP 19), unlike that of a Generator.
    random = np.random.RandomState(seed)
    is_held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        n_held_out = min(max(least, round(len(members) * fraction)), len(members) - 1)
        is_held_out[random.permutation(members)[:n_held_out]] = True
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def deal(
    places: NDArray[np.float64], labels: NDArray[np.int64], fraction: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide positions by a place from 0 to 1 that each has by itself: below the fraction or not.

    So another image moves none from one part to the other, and equal ones are together. Where a
    class would have too few in a part, those nearest to it are in it: one image at least in the
    second, and half of all in the first, or as many as training needs.

    Shapes:
        places, labels: (N,) → two ascending arrays of positions, together 0 to N - 1.
    """
    is_held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        own = np.unique(places[members])
        if len(own) > 1:
            n_kept = min(max(N_HELD_OUT + 1, len(own) // 2), len(own) - 1)
            is_held_out[members] = places[members] < min(max(fraction, own[1]), own[-n_kept])
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def carve_validation(data: ImageData, fraction: float, seed: int) -> tuple[ImageData, ImageData]:
    """Hold out a fraction of each class of the training data.

    Two images of each at least are held out: scores are fitted on one and tried on the other.

    Returns:
        The training part and the validation part; every class is in both.

    Raises:
        ModpmError: The fraction is not between 0 and 1, there is one class only, or a class has
            fewer than three images.
    """
    if not 0 < fraction < 1:
        raise ModpmError(
            f"a validation fraction of {fraction} cannot be held out",
            code="bad-fraction",
            hint="take one between 0 and 1, for example `--val-fraction 0.1`",
            exit_code=2,
        )
    check_trainable(data)
    training, validation = stratified_split(data.labels.numpy(), fraction, seed, least=N_HELD_OUT)
    return data.select(torch.from_numpy(training)), data.select(torch.from_numpy(validation))
