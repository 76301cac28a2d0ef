"""The recipe of a classifier: which releases, put together how, and what it measured."""

from typing import Annotated

import msgspec

from modpm.core.formats.composition_manifest import (
    Adjustment,
    ComposedNetwork,
    FineTuning,
    LinearLayer,
    Strategy,
)
from modpm.core.formats.digest import Digest
from modpm.core.formats.manifest import Calibration, Count, FileRecord, Label, Share, Text
from modpm.core.formats.measurement import Measurement
from modpm.core.formats.records import Record

FORMAT_VERSION = 1

UNRELEASED = "unreleased"
"""The version of a class that is in no distribution."""


class Pin(Record, frozen=True, kw_only=True):
    """One class module of a composition.

    Attributes:
        label: What its score is called; the module's own label, or an alias.
        name, version: Its release.
        digest: The digest of its manifest, where it came from a distribution.
        origin: The digest of its origin.
        calibration: How its score was calibrated.
    """

    label: Label
    name: Text
    version: Text
    digest: Digest | None = None
    origin: Digest
    calibration: Calibration


class Composition(Record, frozen=True, kw_only=True):
    """What `composition.json` says.

    Attributes:
        format_version: The version of the classifier folder.
        strategy: How the modules are put together.
        modules: In the order of the classifier's labels; those of one label vote.
        networks: What runs; each module is in one of them.
        finetuned: How the networks were trained once they were composed, in this order.
        adjustments: What is made of the scores of modules of an origin, in this order.
        linear: What is made of the scores of all labels after that, where it is.
        false_rejections: The share of known images that its threshold was set for, where it was.
        origin_macs: Multiply-accumulates of the origins, each counted once.
        measured: What it was measured at, newest last.
        files: The files that it was saved with.
    """

    format_version: int = FORMAT_VERSION
    strategy: Strategy
    modules: Annotated[list[Pin], msgspec.Meta(min_length=1)]
    networks: Annotated[list[ComposedNetwork], msgspec.Meta(min_length=1)]
    finetuned: list[FineTuning] = msgspec.field(default_factory=list)
    adjustments: list[Adjustment] = msgspec.field(default_factory=list)
    linear: LinearLayer | msgspec.UnsetType = msgspec.UNSET
    false_rejections: Share | msgspec.UnsetType = msgspec.UNSET
    origin_macs: Count
    measured: list[Measurement] = msgspec.field(default_factory=list)
    files: dict[str, FileRecord] = msgspec.field(default_factory=dict)
