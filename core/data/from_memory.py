"""Whatever a program has of images as a data set: tensors, a `Dataset` or a `DataLoader`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from modpm.core.data.given_images import GivenImages, Labeled
from modpm.core.data.image_files import BadImageError, refusals_of_the_decoder
from modpm.core.data.labeled_images import canonical_split
from modpm.core.data.pixels import fit, to_eight_bits, upright
from modpm.core.errors import ModpmError
from modpm.core.graph.guest import said, user_place
from modpm.core.named_classes import guest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_BATCH_RANK = 4
_N_CHANNELS = (1, 3)

Split: TypeAlias = tuple[Tensor, Tensor] | Dataset[Any] | DataLoader[Any]
"""Images with their labels, as torch has them."""

Data: TypeAlias = str | Path | Split | Mapping[str, Split] | GivenImages
"""A data set by its name, or in memory: the split `train`, or splits by their names."""


def as_data(
    data: Data,
    classes: Sequence[str] | None,
    image_size: int | Sequence[int] | None = None,
    split: str = "train",
) -> str | Path | GivenImages:
    """Return whatever a user gives as a data set that `load_data` takes.

    Args:
        data: A name, which is returned as it is; a pair of tensors, images and labels; a `Dataset`
            or a `DataLoader` that gives pairs of those; or such by the names of their splits.
            Images are PIL's, or (C, H, W) of uint8, or of floating-point numbers from 0 to 1.
        classes: Names of the classes, in the order of the labels; None for those that the
            `Dataset` has as `classes`.
        image_size: Height and width, or one number for both, to bring images of different sizes
            to.
        split: What images are called that no mapping names.

    Raises:
        ModpmError: Images or labels are not as that says (`bad-images`, `bad-labels`), there are
            none (`no-images`), or their classes have no names (`bad-class-names`).
    """
    if isinstance(data, str | Path | GivenImages):
        return data
    parts = data if isinstance(data, Mapping) else {split: data}
    names = _checked_names(classes or _own_names(parts.values()))
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    splits = {canonical_split(name): _read(part, size, name) for name, part in parts.items()}
    for name, (_, labels) in splits.items():
        _check_labels(labels, names, name)
    return GivenImages(splits, names)


def _own_names(parts: Iterable[object]) -> Sequence[str] | None:
    """Return the names that a `Dataset` has, or the one that it is made of."""
    for part in parts:
        while part is not None:
            if names := getattr(part, "classes", None):
                return [*names]
            part = getattr(part, "dataset", None)  # noqa: PLW2901 -- what is inside
    return None


def _checked_names(names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None or isinstance(names, str) or not all(isinstance(one, str) for one in names):
        raise ModpmError(
            "nobody says what the classes are called",
            code="bad-class-names",
            why="images in memory have numbers for labels",
            hint='give their names in the order of the labels: classes=["cat", "dog"]',
        )
    if len(set(names)) < len(names):
        raise ModpmError(
            "two classes are called alike",
            code="bad-class-names",
            why=", ".join(f"`{name}`" for name in sorted({n for n in names if names.count(n) > 1})),
        )
    return tuple(names)


def _read(part: object, size: Sequence[int] | None, name: str) -> Labeled:
    """Read all images of a split."""
    if isinstance(part, tuple | list) and len(part) == 2:  # noqa: PLR2004 -- images and labels
        found = Labeled(*_checked_batch(part, name))
    elif isinstance(part, DataLoader):
        found = _together([Labeled(*_checked_batch(x, name)) for x in _all_of(part, name)], name)
    elif isinstance(part, Dataset):
        ones = [_checked_pair(pair, size, name) for pair in _all_of(part, name)]
        found = _together(_in_one_form(ones, name), name)
    else:
        raise _bad_images(f"{_kind(part)} is no data set", name)
    if not len(found.labels):
        raise _empty(name)
    return found


def _empty(name: str) -> ModpmError:
    return ModpmError(
        "the data has no images",
        code="no-images",
        where=name,
        why="its length is 0",
        hint="give some images of each class",
    )


def _all_of(part: Dataset[Any] | DataLoader[Any], name: str) -> Iterator[Any]:
    """Give all that a data set has, which must say how much that is: it may have no end."""
    try:
        n = len(part)  # type: ignore[arg-type]  # it may have one
    except TypeError as error:
        raise _bad_images(f"{_kind(part)} has no length, and may have no end", name) from error
    if not hasattr(part, "__iter__"):
        for i in range(n):
            yield _of_user(partial(part.__getitem__, i), name)
        return
    given = _of_user(partial(iter, part), name)
    for _ in range(n):
        if (one := _of_user(partial(next, given, None), name)) is None:
            return
        yield one
    if _of_user(partial(next, given, None), name) is not None:
        raise _bad_images(f"{_kind(part)} says that its length is {n}, and gives more", name)


def _of_user(call: Callable[[], Any], name: str) -> Any:  # noqa: ANN401 -- whatever it gives
    """Call what is not ours.

    Raises:
        ModpmError: It fails (`bad-images`).
    """
    try:
        with guest():
            return call()
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        raise ModpmError(
            "the data set fails",
            code="bad-images",
            where=user_place(error) or name,
            why=said(error),
        ) from error


def _checked_batch(pair: object, name: str) -> tuple[Tensor, Tensor]:
    """Return images and labels of a batch, as bytes and whole numbers."""
    images, labels = (_tensor(one, name) for one in _two_of(pair, name))
    if images.dim() != _BATCH_RANK or images.shape[1] not in _N_CHANNELS:
        raise _bad_images(f"they are of shape {tuple(images.shape)}", name)
    if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ModpmError(
            "the labels are not one whole number for each image",
            code="bad-labels",
            where=name,
            why=f"they are {tuple(labels.shape)} of {labels.dtype}, the images {len(images)}",
        )
    return _as_bytes(images, name), labels.to(torch.int64)


def _two_of(pair: object, name: str) -> Sequence[object]:
    if isinstance(pair, tuple | list) and len(pair) == 2:  # noqa: PLR2004 -- as above
        return pair
    raise _bad_images(f"it gives {_kind(pair)}, not a pair of images and labels", name)


def _tensor(value: object, name: str) -> Tensor:
    try:
        return torch.as_tensor(value).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise _bad_images(f"{_kind(value)} is no tensor", name) from error


def _as_bytes(images: Tensor, name: str) -> Tensor:
    if images.dtype == torch.uint8:
        return images.contiguous()
    if not images.is_floating_point():
        raise _bad_images(f"they are of {images.dtype}", name)
    if images.numel() and not bool(((images >= 0) & (images <= 1)).all()):
        least, most = (f"{one.item():.4g}" for one in images.aminmax())
        raise _bad_images(f"their numbers are from {least} to {most}", name)
    return images.mul(255).round().to(torch.uint8)


def _checked_pair(pair: object, size: Sequence[int] | None, name: str) -> Labeled:
    """Return one image and its label as a batch of one."""
    image, label = _two_of(pair, name)
    if isinstance(image, Image.Image):
        pixels = _pixels_of(image, name)
    else:
        found = _tensor(image, name)
        pixels = found[None] if found.dim() == _BATCH_RANK - 1 else found
    images, labels = _checked_batch((pixels, _tensor(label, name).reshape(-1)), name)
    return Labeled(images if size is None else _brought_to(images, size), labels)


def _pixels_of(image: Image.Image, name: str) -> Tensor:
    try:
        with refusals_of_the_decoder():
            array = np.array(to_eight_bits(upright(image)))
    except BadImageError as error:
        raise _bad_images(f"one of mode {image.mode}: {error}", name) from error
    channels_last = torch.from_numpy(array).reshape(*array.shape[:2], -1)
    return channels_last.permute(2, 0, 1)[None]


def _brought_to(images: Tensor, size: Sequence[int]) -> Tensor:
    array = images[0].permute(1, 2, 0).numpy()
    image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    height, width = size
    found = torch.from_numpy(np.array(fit(image, width, height)))
    return found.reshape(height, width, -1).permute(2, 0, 1)[None]


def _in_one_form(ones: Sequence[Labeled], name: str) -> list[Labeled]:
    """Make images colored where some are and others gray; they must be of one size."""
    sizes = sorted({(one.images.shape[3], one.images.shape[2]) for one in ones})
    if len(sizes) > 1:
        some = ", ".join(f"{width} x {height}" for width, height in sizes[:3])
        raise _bad_images(
            f"they are of {len(sizes)} sizes, such as {some}",
            name,
            "bring them to one, such as by image_size=224",
        )
    n_channels = max((one.images.shape[1] for one in ones), default=1)
    return [Labeled(one.images.expand(-1, n_channels, -1, -1), one.labels) for one in ones]


def _together(some: Sequence[Labeled], name: str) -> Labeled:
    if not some:
        raise _empty(name)
    shapes = {tuple(one.images.shape[1:]) for one in some}
    if len(shapes) > 1:
        raise _bad_images(f"batches are of different shapes, {sorted(shapes)[:2]}", name)
    return Labeled(torch.cat([one.images for one in some]), torch.cat([one.labels for one in some]))


def _check_labels(labels: Tensor, names: Sequence[str], split: str) -> None:
    least, most = (int(one) for one in labels.aminmax())
    if least >= 0 and most < len(names):
        return
    raise ModpmError(
        "a label is none of the classes",
        code="bad-labels",
        where=split,
        why=f"labels are from {least} to {most}, and {len(names)} classes have a name: "
        f"from 0 to {len(names) - 1}",
        hint="name every class, in the order of the labels",
    )


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


_FORM = (
    "give images as (N, C, H, W) with 1 or 3 channels, of uint8 or of numbers from 0 to 1 before "
    "they are normalized, and labels as (N,); or a Dataset or DataLoader of a known length that "
    "gives pairs of them"
)


def _bad_images(why: str, where: str, hint: str = _FORM) -> ModpmError:
    return ModpmError(
        "these images cannot be used", code="bad-images", where=where, why=why, hint=hint
    )
