"""Cutting kernels out of networks, exactly."""

from modpm.core.slicing.following import following, own_convolutions, own_kernels
from modpm.core.slicing.masking import mask_network
from modpm.core.slicing.retained import cuttable_convolutions
from modpm.core.slicing.slicing import placements, slice_graph

__all__ = [
    "cuttable_convolutions",
    "following",
    "mask_network",
    "own_convolutions",
    "own_kernels",
    "placements",
    "slice_graph",
]
