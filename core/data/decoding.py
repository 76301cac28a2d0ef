"""Decoding a whole data set once, part by part, to bytes of one size and number of channels."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from math import prod
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch

from modpm.core.data.image_data import Sizes, digests_of, moments_of
from modpm.core.data.image_files import BadImageError, refusals_of_the_decoder
from modpm.core.data.pixels import is_gray, is_turned, to_array, upright_size
from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import MAX_IMAGE_SIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

    from modpm.core.data.labeled_images import EncodedImages, ImagePart

_WORTH_A_THREAD = 2**14
"""Pixels from which decoding, which runs beside other threads, outweighs opening, which cannot."""
MAX_IN_MEMORY_BYTES = 2**30
"""How much is decoded to memory, where it cannot be decoded to a file."""
_JOB_BYTES = 2**24
_N_SHOWN = 5
_Result = TypeVar("_Result")


class Form(NamedTuple):
    """What images are brought to.

    Attributes:
        channels: 1 for gray, 3 for color.
        width, height: In pixels.
    """

    channels: int
    width: int
    height: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.channels, self.height, self.width

    def pixels_of(self, image: Image.Image) -> NDArray[np.uint8]:
        """Decode an image to this form; uint8 (C, H, W)."""
        mode = "L" if self.channels == 1 else "RGB"
        array = to_array(image, mode, self.width, self.height)
        return array.reshape(self.height, self.width, self.channels).transpose(2, 0, 1)


class _Kind(NamedTuple):
    size: tuple[int, int]
    is_gray: bool
    is_turned: bool


class _Bad(NamedTuple):
    where: str
    why: str


class _Decoded(NamedTuple):
    """Pixels, (n, C, H, W), which images they are, and what those were like."""

    pixels: NDArray[np.uint8]
    moments: Tensor
    digests: Tensor
    positions: list[int]
    kinds: Counter[_Kind]
    bad: list[_Bad]


class _Job(NamedTuple):
    """Some images of a part, of which the first is at a position in the data set."""

    part: ImagePart
    indices: range
    first: int


@dataclass
class Decoding:
    """The decoding of a data set: iterate over it once, and it can tell what it has found.

    Attributes:
        encoded: The images.
        form: What they are brought to.
        source: The data set's name, for errors.
        is_size_asked: Whether the size was asked for, and is not the commonest.
        kept: Positions of the images that could be decoded, ascending.
    """

    encoded: EncodedImages
    form: Form
    source: str
    is_size_asked: bool
    kept: list[int] = field(default_factory=list)
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    _kinds: Counter[_Kind] = field(default_factory=Counter)
    _bad: list[_Bad] = field(default_factory=list)
    # Of all at once: memory between small parts that stay is not given back.
    _moments: NDArray[np.int64] = field(init=False)
    _digests: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self._moments = np.empty((len(self.encoded), self.form.channels, 2), np.int64)
        self._digests = np.empty(len(self.encoded), np.int64)

    @property
    def n_bytes(self) -> int:
        """What all images take, decoded."""
        return len(self.encoded) * prod(self.form.shape)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Give the pixels of the images that can be decoded, in order: (n, C, H, W) each.

        Raises:
            ModpmError: There is not enough memory (`out-of-memory`).
        """
        is_large = self.form.width * self.form.height >= _WORTH_A_THREAD
        for decoded in _in_order(self._decode, self._jobs(), (os.cpu_count() or 1) * is_large):
            own = slice(len(self.kept), len(self.kept) + len(decoded.positions))
            self._moments[own], self._digests[own] = decoded.moments, decoded.digests
            self.kept += decoded.positions
            self._digest.update(decoded.pixels.data)
            self._kinds += decoded.kinds
            self._bad += decoded.bad
            yield decoded.pixels

    def _jobs(self) -> Iterator[_Job]:
        """Divide the images so that what is decoded of each job takes little memory."""
        step, first = max(1, _JOB_BYTES // prod(self.form.shape)), 0
        for part in self.encoded.parts():
            for start in range(0, len(part), step):
                yield _Job(part, range(start, min(start + step, len(part))), first)
            first += len(part)

    def _decode(self, job: _Job) -> _Decoded:
        pixels = np.empty((len(job.indices), *self.form.shape), np.uint8)

        def decode(index: int) -> tuple[int, _Kind]:
            with job.part.open(index) as image:
                kind = _kind(image)
                pixels[index - job.indices.start] = self.form.pixels_of(image)
            return index, kind

        good, bad = _each(job.part, job.indices, decode)
        rows = [index - job.indices.start for index, _ in good]
        found = pixels if len(rows) == len(pixels) else pixels[rows]
        tensor = torch.from_numpy(found)
        return _Decoded(
            found,
            moments_of(tensor),
            digests_of(tensor),
            [job.first + index for index, _ in good],
            Counter(kind for _, kind in good),
            bad,
        )

    @property
    def moments(self) -> NDArray[np.int64]:
        """The moments of the images that could be decoded, as `moments_of`."""
        return self._moments[: len(self.kept)]

    @property
    def digests(self) -> NDArray[np.int64]:
        """The digests of the images that could be decoded, as `digests_of`."""
        return self._digests[: len(self.kept)]

    @property
    def digest(self) -> str:
        """The digest of the pixels, as `digest_of` gives it of all at once."""
        return self._digest.hexdigest()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the images, in sentences."""
        n, n_gray = self._kinds.total(), sum(self._count(lambda kind: kind.is_gray))
        n_turned = sum(self._count(lambda kind: kind.is_turned))
        size = self.form.width, self.form.height
        n_resized = sum(self._count(lambda kind: kind.size != size))
        notes = []
        if self._bad:
            where, why = self._bad[0]
            notes.append(
                f"{len(self._bad)} of {len(self.encoded)} images cannot be decoded and were left "
                f"out, the first {where}: {why}"
            )
        if n_resized and not self.is_size_asked:
            shown = f"{size[0]} x {size[1]}"
            notes.append(f"{n_resized} of {n} images were resized to {shown}, the commonest size")
        if n_turned:
            notes.append(f"{n_turned} of {n} images were turned as their cameras say")
        if self.form.channels == 1 and n_gray < n:
            notes.append(f"{n - n_gray} of {n} images are in color and were read as gray ones")
        elif self.form.channels != 1 and n_gray:
            notes.append(f"{n_gray} of {n} images are gray and were read as images in color")
        return tuple(notes)

    @property
    def sizes(self) -> Sizes | None:
        """The sizes that the images had; None of no images."""
        found = sorted({kind.size for kind in self._kinds}, key=lambda size: (prod(size), size))
        return Sizes(len(found), found[0], found[-1]) if found else None

    def _count(self, is_meant: Callable[[_Kind], bool]) -> Iterator[int]:
        return (n for kind, n in self._kinds.items() if is_meant(kind))

    def check(self, *, skip_bad: bool) -> None:
        """Check, at the end, that there are images, and no bad ones unless they are skipped.

        Raises:
            ModpmError: `bad-image`, naming the first, or `no-images`.
        """
        if self._bad and not skip_bad:
            raise _bad_images(self._bad, len(self.encoded), self.source)
        if not self.kept:
            raise _no_images(self.source, len(self._bad))


def form_of(
    encoded: EncodedImages, image_size: tuple[int, int] | None, channels: int | None
) -> Form:
    """Decide, before a pixel is decoded, what images are brought to.

    Args:
        encoded: The images.
        image_size: Width and height; without it, those that most of the images have.
        channels: 1 or 3; without it, 1 if every image is gray, and else 3.

    Raises:
        ModpmError: They would be larger than a module's images can be (`bad-image-size`).
    """
    if image_size is not None:
        _check_side(*image_size)
    if image_size is not None and channels is not None:
        return Form(channels, *image_size)
    kinds: Counter[_Kind] = Counter()
    for part in encoded.parts():
        kinds += Counter(_each(part, range(len(part)), partial(_kind_of, part))[0])
    sizes: Counter[tuple[int, int]] = Counter()
    for kind, n in kinds.items():
        sizes[kind.size] += n
    size = image_size or (sizes.most_common(1)[0][0] if sizes else (1, 1))
    _check_side(*size)
    return Form(channels or (1 if all(kind.is_gray for kind in kinds) else 3), *size)


def _check_side(width: int, height: int) -> None:
    if max(width, height) > MAX_IMAGE_SIDE:
        raise ModpmError(
            f"an image size of {height} x {width} is too large",
            code="bad-image-size",
            why=f"a module's images have at most {MAX_IMAGE_SIDE} pixels a side",
            hint="give a size that they are brought to: --image-size 224",
            exit_code=2,
        )


class Streamed:
    """Images that are decoded each time that they are read.

    Args:
        part: All images, in any order.
        positions: Those of them that are meant.
        form: What they are brought to.
    """

    def __init__(self, part: ImagePart, positions: Tensor, form: Form) -> None:
        self._part, self._positions, self._form = part, positions, form

    @property
    def shape(self) -> torch.Size:
        """Of all of them."""
        return torch.Size((len(self), *self._form.shape))

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, which: slice | Tensor, /) -> Tensor:
        """Decode some of them.

        Raises:
            ModpmError: One cannot be decoded any more (`data-changed`).
        """
        # For good, since threads share the filters: PIL's warnings of odd metadata.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        positions = self._positions[which].tolist()
        pixels = np.empty((len(positions), *self._form.shape), np.uint8)
        for i, image in enumerate(_decoders().map(self._decoded, positions)):
            pixels[i] = image
        return torch.from_numpy(pixels)

    def _decoded(self, position: int) -> NDArray[np.uint8]:
        try:
            with refusals_of_the_decoder(), self._part.open(position) as image:
                return self._form.pixels_of(image)
        except BadImageError as error:
            raise ModpmError(
                "an image cannot be decoded any more",
                code="data-changed",
                where=self._part.where(position),
                why=str(error),
                hint="restore the data, or train again on what there is now",
            ) from error


@cache
def _decoders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decoding")


if hasattr(os, "register_at_fork"):  # a child has none of the threads
    os.register_at_fork(after_in_child=_decoders.cache_clear)


def decoded_in_memory(decoding: Decoding) -> NDArray[np.uint8]:
    """Return all decoded images at once.

    Raises:
        ModpmError: They take more than may be held (`data-too-large`).
    """
    if decoding.n_bytes > MAX_IN_MEMORY_BYTES:
        raise _too_large(decoding)
    n = 0
    try:
        pixels = np.empty((len(decoding.encoded), *decoding.form.shape), np.uint8)
    except MemoryError as error:
        raise _too_large(decoding) from error
    for some in decoding:
        pixels[n : n + len(some)] = some
        n += len(some)
    return pixels[:n]


def _too_large(decoding: Decoding) -> ModpmError:
    form, gib = decoding.form, decoding.n_bytes / 2**30
    shown = f"{gib:.{0 if gib >= 10 else 1}f} GiB"  # noqa: PLR2004 -- two digits
    return ModpmError(
        "the images fit neither into memory nor on the disk",
        code="data-too-large",
        where=decoding.source,
        why=f"{len(decoding.encoded):,} images of {form.width} x {form.height} are {shown}",
        hint="free as much space where MODPM_HOME is, or ask for smaller images",
    )


def _kind_of(part: ImagePart, index: int) -> _Kind:
    """Read an image's size and mode, without decoding a pixel."""
    with part.open(index) as image:
        return _kind(image)


def _kind(image: Image.Image) -> _Kind:
    return _Kind(upright_size(image), is_gray(image), is_turned(image))


def _each(
    part: ImagePart, indices: range, function: Callable[[int], _Result]
) -> tuple[list[_Result], list[_Bad]]:
    """Call the function for some images of a part; return its results, and what was refused."""
    results: list[_Result] = []
    bad: list[_Bad] = []
    for index in indices:
        try:
            with refusals_of_the_decoder():
                results.append(function(index))
        except BadImageError as error:
            bad.append(_Bad(part.where(index), str(error)))
    return results, bad


def _in_order(
    function: Callable[[_Job], _Decoded], jobs: Iterable[_Job], n_threads: int
) -> Iterator[_Decoded]:
    """Give the function's results in order, from threads that are only a few jobs ahead."""
    if n_threads <= 1:
        yield from map(function, jobs)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        ahead: deque[Future[_Decoded]] = deque()
        for job in jobs:
            ahead.append(pool.submit(function, job))
            if len(ahead) > n_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _bad_images(bad: Sequence[_Bad], n: int, source: str) -> ModpmError:
    named = [f"{where}: {why}" for where, why in bad[:_N_SHOWN]]
    more = [f"and {len(bad) - _N_SHOWN} more"] if len(bad) > _N_SHOWN else []
    return ModpmError(
        f"{len(bad)} of {n} images cannot be decoded",
        code="bad-image",
        where=source,
        why="\n".join(named + more),
        hint="mend or remove them; `train` and `evaluate` leave them out with `--skip-bad`",
    )


def _no_images(source: str, n_bad: int) -> ModpmError:
    return ModpmError(
        "the data has no images",
        code="no-images",
        where=source,
        why=f"none of its {n_bad} images can be decoded" if n_bad else "it lists none",
        hint="give some images of each class",
    )
