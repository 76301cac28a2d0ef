"""Cutting kernels out of networks, exactly."""

from modpm.core.slicing.masking import mask_network
from modpm.core.slicing.slicing import placements, slice_graph

__all__ = ["mask_network", "placements", "slice_graph"]
