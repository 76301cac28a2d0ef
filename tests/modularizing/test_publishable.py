"""What `modularize` makes can be published as soon as it has a license."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.registry.publication.completeness import missing

if TYPE_CHECKING:
    from modpm.core.modularizing.modularization import Modularization


def test_only_a_license_is_missing(made: Modularization) -> None:
    for distribution in made.distributions:
        assert list(missing(distribution)) == [
            "no license is stated (`modpm modularize --license SPDX`)"
        ]
