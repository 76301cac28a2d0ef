"""Sets of versions of one module, as bits: the version at position i of a list is bit i.

What a specifier admits is computed once for a list of versions; from then on a set is one
integer, and union, intersection and complement are each one operation on it, however many
versions there are and however they lie.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from packaging.specifiers import Specifier


class Relation(NamedTuple):
    """How one set lies to another; a set without members is both within and apart."""

    is_subset: bool
    is_disjoint: bool


class VersionSet(msgspec.Struct, frozen=True, gc=False):
    """Positions in an ascending list of versions, as bits: the range type of the solver.

    A complement holds the positions beyond the end of the list too, as negative integers in two's
    complement do, so that all laws of sets hold without knowing how long the list is.
    """

    bits: int

    @classmethod
    def empty(cls) -> VersionSet:
        """Return the set without members."""
        return cls(0)

    @classmethod
    def full(cls) -> VersionSet:
        """Return the set of all positions there could be."""
        return cls(-1)

    @classmethod
    def singleton(cls, version: int) -> VersionSet:
        """Return the set of one position."""
        return cls(1 << version)

    @classmethod
    def of(cls, positions: Iterable[int]) -> VersionSet:
        """Return the set of positions, each given once."""
        return cls(sum([1 << position for position in positions]))

    @classmethod
    def first(cls, n_versions: int) -> VersionSet:
        """Return the set of the positions below `n_versions`."""
        return cls((1 << n_versions) - 1)

    @property
    def is_empty(self) -> bool:
        """Whether it has no members."""
        return not self.bits

    @property
    def last(self) -> int:
        """The highest position of a set that has one."""
        return self.bits.bit_length() - 1

    def is_subset(self, other: VersionSet) -> bool:
        """Say whether all members are members of the other."""
        return not self.bits & ~other.bits

    def is_superset(self, other: VersionSet) -> bool:
        """Say whether all members of the other are members."""
        return not other.bits & ~self.bits

    def is_disjoint(self, other: VersionSet) -> bool:
        """Say whether there is no common member."""
        return not self.bits & other.bits

    def relation(self, other: VersionSet) -> Relation:
        """Return how this set lies to the other."""
        common = self.bits & other.bits
        return Relation(common == self.bits, not common)

    def __contains__(self, version: int) -> bool:
        return bool(self.bits >> version & 1)

    def __iter__(self) -> Iterator[int]:
        """Give the members of a set that ends, ascending."""
        bits = self.bits
        while bits:
            lowest = bits & -bits
            yield lowest.bit_length() - 1
            bits ^= lowest

    def __len__(self) -> int:
        return self.bits.bit_count()

    def __bool__(self) -> bool:
        """Be true, empty or not: the solver tells an absent set by its truth."""
        return True

    def __and__(self, other: object) -> VersionSet:
        if not isinstance(other, VersionSet):
            return NotImplemented
        return VersionSet(self.bits & other.bits)

    def __or__(self, other: object) -> VersionSet:
        if not isinstance(other, VersionSet):
            return NotImplemented
        return VersionSet(self.bits | other.bits)

    def __sub__(self, other: object) -> VersionSet:
        if not isinstance(other, VersionSet):
            return NotImplemented
        return VersionSet(self.bits & ~other.bits)

    def __invert__(self) -> VersionSet:
        return VersionSet(~self.bits)


def version_set(constraint: object) -> VersionSet:
    """Return what the solver has from us."""
    assert isinstance(constraint, VersionSet)
    return constraint


# What operators say of all versions whose numbers begin lower, and higher, than their own.
_BELOW: Final = frozenset({"!=", "<", "<="})
_ABOVE: Final = frozenset({"!=", ">", ">="})


def satisfying(specifier: Specifier, versions: Sequence[Version]) -> VersionSet:
    """Return which of ascending versions satisfy a specifier, pre-releases as any other.

    Only the versions whose numbers begin as the specifier's do are compared one by one, by
    `packaging`, which knows of local, post- and development releases.
    """
    start, stop = _neighbors(specifier, versions)
    near = range(start, stop)
    inside = VersionSet.of(i for i in near if specifier.contains(versions[i], prereleases=True))
    below = (1 << start) - 1 if specifier.operator in _BELOW else 0
    above = (1 << len(versions)) - (1 << stop) if specifier.operator in _ABOVE else 0
    return VersionSet(inside.bits | below | above)


def _neighbors(specifier: Specifier, versions: Sequence[Version]) -> tuple[int, int]:
    """Return the run of versions whose numbers begin as the specifier's do."""
    if specifier.operator == "===":  # compares texts
        return 0, len(versions)
    own = Version(specifier.version.removesuffix(".*"))
    n_numbers = len(own.release) - (specifier.operator == "~=")

    def beginning(version: Version) -> tuple[int, tuple[int, ...]]:
        return version.epoch, (*version.release, *(0,) * n_numbers)[:n_numbers]

    start = bisect_left(versions, beginning(own), key=beginning)
    return start, bisect_right(versions, beginning(own), lo=start, key=beginning)
