"""What a lockfile says of how good classifiers of its pins are (clause L-10)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping  # noqa: TC003 -- msgspec reads the annotations
from typing import TYPE_CHECKING, Annotated

import msgspec

from modpm.core.formats.digest import Digest  # noqa: TC001 -- the same
from modpm.core.formats.release_files import Count, Name, Text  # noqa: TC001 -- the same
from modpm.core.system.durable import replace_files
from modpm.registry.projects.toml_file import toml_string

if TYPE_CHECKING:
    from modpm.registry.projects.project import Project

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
INSIDE = r"^(?!/)(?!(.*/)?\.\.(/|$))[^\\:\n]+$(?!\n)"
"""A path that leads out of no folder, on any system."""

Inside = Annotated[
    str,
    msgspec.Meta(
        max_length=10_000,
        pattern=INSIDE,
        description="the path of a folder, from that of the lockfile, which it is inside of",
    ),
]
PositiveCount = Annotated[int, msgspec.Meta(ge=1, le=2**53)]


class MeasuredClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many images showed a class, and which share of them was judged rightly."""

    n: PositiveCount
    recall: Share


class LockedMeasurement(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """What a classifier was measured at, as the lockfile writes it.

    Attributes:
        classifier: Its folder, from that of the lockfile.
        data_set, split, fingerprint, n, n_rejected, accuracy, calibration_error, open_set: As of a
            `Measurement`.
        modules: Its class modules, and the digests of their releases.
        classes: The classes of the images, as the data set names them.
    """

    classifier: Inside
    data_set: Text
    split: Text
    fingerprint: Text
    open_set: bool = False
    n: PositiveCount
    n_rejected: Count
    accuracy: Share
    calibration_error: Share | None = None
    modules: Annotated[dict[Name, Digest], msgspec.Meta(min_length=1)]
    classes: dict[Text, MeasuredClass] = {}

    @property
    def subject(self) -> tuple[str, str, bool]:
        """What can be measured once: a classifier on some images."""
        return self.classifier, self.fingerprint, self.open_set

    def holds(self, pinned: Mapping[str, str]) -> bool:
        """Tell whether names of modules mean the digests that were measured."""
        return self.modules.items() <= pinned.items()

    def lines(self) -> Iterator[str]:
        """Give the lines of the lockfile."""
        yield from ("", "[[measured]]")
        yield from (
            f"{key} = {toml_string(getattr(self, key))}"
            for key in ("classifier", "data_set", "split", "fingerprint")
        )
        yield from ["open_set = true"] if self.open_set else []
        yield from (f"{key} = {getattr(self, key)}" for key in ("n", "n_rejected"))
        yield f"accuracy = {float(self.accuracy)!r}"
        if self.calibration_error is not None:
            yield f"calibration_error = {float(self.calibration_error)!r}"
        yield from ("", "[measured.modules]")
        yield from (f'"{name}" = "{digest}"' for name, digest in sorted(self.modules.items()))
        yield from ("", "[measured.classes]") if self.classes else ()
        yield from (
            f"{toml_string(name)} = {{ n = {one.n}, recall = {float(one.recall)!r} }}"
            for name, one in self.classes.items()
        )


def keep_measurement(place: Project, measured: LockedMeasurement) -> bool:
    """Write down in `modpm.lock` what a classifier was measured at.

    An older measurement of the same images is replaced.

    Args:
        place: The project.
        measured: It.

    Returns:
        Whether it was: a lockfile that does not pin its class modules says nothing of it.

    Raises:
        ModpmError: `invalid-lock`; `busy`, `disk-full`, `permission-denied`.
    """
    if place.lock() is None:
        return False
    with place.exclusively():
        lock = place.locked()
        if not measured.holds(lock.digests):
            return False
        data = lock.measuring(measured).to_bytes()
        # What is installed goes on being what is locked.
        same = [p for p in (place.installed_path,) if place.installed() == lock]
        replace_files(dict.fromkeys((place.lock_path, *same), data), place.staging)
    return True
