"""What a classifier measured."""

from typing import Annotated

import msgspec

from modpm.core.formats.manifest import Count, PositiveCount, Share, Text
from modpm.core.formats.records import Record


class ClassShare(Record, frozen=True, kw_only=True):
    """How much of the images of one class was judged rightly.

    Attributes:
        n: How many images show the class.
        recall: Share of them that was judged rightly.
    """

    n: PositiveCount
    recall: Share


class Measurement(Record, frozen=True, kw_only=True):
    """What a classifier measured on one split of a data set.

    Attributes:
        data_set, split: The images.
        fingerprint: Names exactly these images and labels.
        classes: The classes of the images that were judged, as the data set names them; none if
            an earlier version of modpm did not write them down.
        n: How many were judged.
        n_rejected: How many were none of the above.
        accuracy: Share that was judged rightly.
        per_class: The same of each of `classes`, in their order.
        calibration_error: How far probabilities are from the share that is right at them, on
            average; of the images that a label meets.
        open_set: Whether images of other classes took part, and had to be none of the above.
        auroc: Then, the chance that the highest score of an image of the labels is above that of
            another, ties counting half.
        false_rejections: Then, the share of the images of the labels that were none of the above.
    """

    data_set: Text
    split: Text
    fingerprint: Text
    classes: Annotated[list[Text], msgspec.Meta(max_length=10_000)] = msgspec.field(
        default_factory=list
    )
    n: PositiveCount
    n_rejected: Count
    accuracy: Share
    per_class: Annotated[list[ClassShare], msgspec.Meta(max_length=10_000)] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    calibration_error: Share | msgspec.UnsetType = msgspec.UNSET
    open_set: bool = False
    auroc: Share | msgspec.UnsetType = msgspec.UNSET
    false_rejections: Share | msgspec.UnsetType = msgspec.UNSET
