"""What is known of a channel whatever the image: zero, constant, or nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ZERO = 0
"""The channel is zero for every image and at every pixel."""

CONSTANT = 1
"""The channel has one value for every image and at every pixel, which may be zero."""

VARYING = 2
"""Nothing is known of the channel."""

Kinds = NDArray[np.int8]
"""The kind of every channel of a value, in order."""


def all_of(kind: int, n_channels: int) -> Kinds:
    """Return so many channels of one kind."""
    return np.full(n_channels, kind, dtype=np.int8)


def places(kinds: Kinds, *wanted: int) -> list[int]:
    """Return the channels that are of one of some kinds."""
    return [int(place) for place in np.flatnonzero(np.isin(kinds, wanted))]
