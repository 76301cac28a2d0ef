"""What the tests of the registry make, for attacks on it."""

from tests.registry.conftest import (
    home,
    make_composition,
    make_distribution,
    put,
    registry,
    without_waiting_for_the_disk,
)

__all__ = [
    "home",
    "make_composition",
    "make_distribution",
    "put",
    "registry",
    "without_waiting_for_the_disk",
]
