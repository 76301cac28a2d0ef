"""What a classifier measured."""

from typing import Annotated

import msgspec

from modpm.core.formats.manifest import Count, PositiveCount, Share, Text
from modpm.core.formats.records import Record


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
    open_set: bool = False
    auroc: Share | msgspec.UnsetType = msgspec.UNSET
    false_rejections: Share | msgspec.UnsetType = msgspec.UNSET
