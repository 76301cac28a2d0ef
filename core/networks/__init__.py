"""The networks of the papers as ordinary torch code, and users' own by name."""

from modpm.core.networks.architectures import (
    ARCHITECTURES,
    create,
    default_architecture,
    is_factory,
    own_normalization,
)
from modpm.core.networks.initial_weights import load_initial_weights
from modpm.core.networks.own_weights import drawn_beside_loaded
from modpm.core.networks.trial_run import check_network

__all__ = [
    "ARCHITECTURES",
    "check_network",
    "create",
    "default_architecture",
    "drawn_beside_loaded",
    "is_factory",
    "load_initial_weights",
    "own_normalization",
]
