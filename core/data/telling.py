"""What was read, in sentences for whoever is about to train on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.data.image_data import N_TO_ONE, imbalance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modpm.core.data.image_data import ImageData

_N_SHOWN, _LARGE = 10, 512


def tell(data: ImageData) -> Iterator[str]:
    """Give what there is, how it was brought to one form, and what was left out."""
    counts = data.counts()
    yield f"{len(data):,} images of {len(counts)} classes: {_in_words(data.classes, counts)}"
    yield _form_in_words(data)
    if max(data.image_shape[1:]) > _LARGE and data.sizes is not None:
        yield f"images of more than {_LARGE} pixels train slowly: --image-size 224 makes them less"
    yield from data.notes
    ratio = imbalance(counts)
    if ratio >= N_TO_ONE:
        most, least = max(counts), min(count for count in counts if count)
        frequent, rare = (data.classes[counts.index(count)] for count in (most, least))
        yield (
            f"warning: `{frequent}` has {ratio:.0f} times as many images as `{rare}`: judge by the "
            "balanced accuracy, which is the mean of the classes"
        )


def _in_words(classes: Sequence[str], counts: Sequence[int]) -> str:
    """Say how many images each class has, of many classes the most frequent and the rarest."""
    if len(classes) <= _N_SHOWN:
        return ", ".join(f"{name} {n:,}" for name, n in zip(classes, counts, strict=True))
    most, least = max(counts), min(counts)
    return (
        f"from {least:,} ({classes[counts.index(least)]}) to {most:,} "
        f"({classes[counts.index(most)]}) each"
    )


def _form_in_words(data: ImageData) -> str:
    channels, height, width = data.image_shape
    form = f"{width} x {height}, {'gray' if channels == 1 else 'in color'}"
    if data.sizes is None or data.sizes.n == 1:
        found = form if data.sizes is None else "{} x {}".format(*data.sizes.smallest)
        return f"images of {found}, read as {form}"
    least, most = ("{} x {}".format(*size) for size in (data.sizes.smallest, data.sizes.largest))
    return f"images of {data.sizes.n:,} sizes from {least} to {most}, read as {form}"
