"""One split of a data set decoded to a file, and mapped into memory from there.

The file is in the format safetensors: `images`, `positions` (of the images that could be decoded),
`moments` (what their statistics are made of), `digests` (what tells them from others) and
`record`, which is JSON. Where the disk has no room for the images there are none, and they are
decoded as they are read; if their files cannot be read in any order, these are kept in `encoded`,
each from one of `starts` to the next.

The file is written whole under another name, and its time of writing is in the record: where it has
another one, somebody has written to it, and all of it is compared with its digest.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from io import BytesIO
from math import prod
from typing import TYPE_CHECKING, NamedTuple, cast
from uuid import uuid4

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from modpm.core import kept_images
from modpm.core.data.decoding import Form, Streamed
from modpm.core.data.image_data import Sizes, digest_of, digests_of, moments_of
from modpm.core.data.image_files import BadImageError, open_encoded, refusals_of_the_decoder
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

    from modpm.core.data.decoding import Decoding
    from modpm.core.data.image_data import Pixels
    from modpm.core.data.labeled_images import EncodedImages, EncodedPart

_TENSORS = {
    "images": "U8",
    "positions": "I64",
    "moments": "I64",
    "digests": "I64",
    "encoded": "U8",
    "starts": "I64",
    "record": "U8",
}
_HEADER_BYTES = 1024
_WHOLE_SECONDS = 2 * 10**9  # a time that every file system can write down exactly


class Decoded(NamedTuple):
    """Decoded images.

    Attributes:
        pixels: The images.
        positions: Which of the encoded images they are, ascending.
        moments: As `moments_of`.
        digests: As `digests_of`.
        digest: As `digest_of`.
        notes: What was done to them, in sentences.
        sizes: Those that they had.

    Shapes:
        pixels: (N, C, H, W); positions, digests: (N,); moments: (N, C, 2)
    """

    pixels: Pixels
    positions: Tensor
    moments: Tensor
    digests: Tensor
    digest: str
    notes: tuple[str, ...]
    sizes: Sizes | None


def kept(path: Path, encoded: EncodedImages) -> Decoded | None:
    """Return what a file keeps, mapped into memory; None where it is not there or damaged.

    Args:
        path: The file.
        encoded: What it was made of.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
        images, positions = tensors["images"], tensors["positions"]
        moments, digests = tensors["moments"], tensors["digests"]
        said = json.loads(tensors["record"].numpy().tobytes())
        n, form = len(positions), Form(**said["form"])
        first, end = positions.new_tensor([-1]), positions.new_tensor([len(encoded)])
        steps = torch.diff(positions, prepend=first, append=end)  # ascending, and images there are
        are_whole = len(images) in {0, n} and images.shape[1:] == form.shape
        are_known = moments.shape == (n, form.channels, 2) and digests.shape == (n,)
        if not (are_whole and are_known and bool((steps > 0).all())):
            return None
        pixels: Pixels = images
        if len(images) < n:
            files, starts = tensors["encoded"].numpy(), tensors["starts"].tolist()
            part = encoded.in_any_order() or _KeptFiles(files, starts)
            pixels = Streamed(part, positions, form)
        n_sizes, (width, height), (most_width, most_height) = said["sizes"]
        sizes = Sizes(n_sizes, (width, height), (most_width, most_height))
        known = moments, digests, said["digest"], tuple(said["notes"]), sizes
        found = Decoded(pixels, positions, *known)
        written = path.stat().st_mtime_ns
        if written != said["written"] and _is_damaged(found):
            return None
        os.utime(path, ns=(time.time_ns(), said["written"]))  # was used now
    except (OSError, RuntimeError, SafetensorError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return found


class _KeptFiles(NamedTuple):
    """Images as files, one after another.

    Attributes:
        encoded: The files.
        starts: Where each starts, and at last where the last one ends.
    """

    encoded: NDArray[np.uint8]
    starts: list[int]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def open(self, index: int) -> Image.Image:
        start, end = self.starts[index : index + 2]
        return open_encoded(BytesIO(self.encoded[start:end].tobytes()))

    def where(self, index: int) -> str:
        return f"row {index}"


def _is_damaged(found: Decoded) -> bool:
    try:
        pixels = found.pixels
        are_alike = torch.equal(moments_of(pixels), found.moments)
        are_alike = are_alike and torch.equal(digests_of(pixels), found.digests)
        return not are_alike or digest_of(pixels) != found.digest
    except ModpmError as error:
        if error.code != "data-changed":
            raise
        return True  # a file that is kept, and cannot be decoded any more


def keep(path: Path, decoding: Decoding, *, skip_bad: bool) -> None:
    """Decode images to a file, a few at a time.

    Raises:
        OSError: It cannot be written; there is none then.
        ModpmError: As `Decoding.check`.
    """
    has_room = kept_images.has_room(decoding.n_bytes)
    kept_images.make_room(decoding.n_bytes if has_room else 0)
    temporary = path.with_name(f".{path.stem}.{uuid4().hex}.new")
    try:
        with temporary.open("xb") as file:
            written = _write(file, decoding, has_images=has_room, skip_bad=skip_bad)
        os.utime(temporary, ns=(time.time_ns(), written))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(file: BinaryIO, decoding: Decoding, *, has_images: bool, skip_bad: bool) -> int:
    """Write the file down to the disk, and return the time of writing that it says."""
    file.write(b" " * _HEADER_BYTES)
    file.writelines(pixels.data if has_images else b"" for pixels in decoding)
    decoding.check(skip_bad=skip_bad)
    n, form, written = (
        len(decoding.kept),
        decoding.form,
        time.time_ns() // _WHOLE_SECONDS * _WHOLE_SECONDS,
    )
    said = {"digest": decoding.digest, "notes": decoding.notes, "form": form._asdict()}
    record = json.dumps(said | {"sizes": decoding.sizes, "written": written}).encode()
    file.write(np.array(decoding.kept, dtype="<i8").tobytes())
    file.write(decoding.moments.astype("<i8").tobytes())
    file.write(decoding.digests.astype("<i8").tobytes())
    starts = [0]
    if not has_images and decoding.encoded.in_any_order() is None:
        starts += itertools.accumulate(file.write(one) for one in _files(decoding.encoded))
    file.write(np.array(starts, dtype="<i8").tobytes())
    file.write(record)
    file.seek(0)
    images = [n if has_images else 0, *form.shape]
    of_files = [starts[-1]], [len(starts)]
    file.write(_header(images, [n], [n, form.channels, 2], [n], *of_files, [len(record)]))
    file.flush()
    os.fsync(file.fileno())
    return written


def _files(encoded: EncodedImages) -> Iterator[bytes]:
    """Give images as files; an empty one for an image that is none."""
    for part in encoded.parts():
        for index in range(len(part)):
            try:
                with refusals_of_the_decoder():
                    yield cast("EncodedPart", part).encoded(index)
            except BadImageError:
                yield b""


def _header(*shapes: list[int]) -> bytes:
    """Return the header of the file: its own length, and where each tensor is."""
    tensors, start = {}, 0
    for (name, dtype), shape in zip(_TENSORS.items(), shapes, strict=True):
        end = start + prod(shape) * (8 if dtype == "I64" else 1)
        tensors[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(tensors).encode().ljust(_HEADER_BYTES - 8)
    return len(text).to_bytes(8, "little") + text
