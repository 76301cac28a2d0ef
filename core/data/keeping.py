"""One split of a data set decoded to a file, and mapped into memory from there.

The file is in the format safetensors: `images`, `positions` (of the images that could be decoded),
`moments` (what their statistics are made of) and `record`, which is JSON. It is written whole under
another name, and its time of writing is in the record: where it has another one, somebody has
written to it, and all of it is compared with its digest.
"""

from __future__ import annotations

import json
import os
import time
from math import prod
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from modpm.core import kept_images
from modpm.core.data.image_data import digest_of, moments_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from torch import Tensor

    from modpm.core.data.decoding import Decoding
    from modpm.core.data.image_data import Pixels

_TENSORS = {"images": "U8", "positions": "I64", "moments": "I64", "record": "U8"}
_HEADER_BYTES = 1024
_WHOLE_SECONDS = 2 * 10**9  # a time that every file system can write down exactly


class Decoded(NamedTuple):
    """Decoded images.

    Attributes:
        pixels: The images.
        positions: Which of the encoded images they are, ascending.
        moments: As `moments_of`.
        digest: As `digest_of`.
        notes: What was done to them, in sentences.

    Shapes:
        pixels: (N, C, H, W); positions: (N,); moments: (N, C, 2)
    """

    pixels: Pixels
    positions: Tensor
    moments: Tensor
    digest: str
    notes: tuple[str, ...]


def kept(path: Path) -> Decoded | None:
    """Return what a file keeps, mapped into memory; None where it is not there or damaged."""
    try:
        with safe_open(path, "pt") as file:
            images, positions, moments, record = map(file.get_tensor, _TENSORS)
        said = json.loads(record.numpy().tobytes())
        found = Decoded(images, positions, moments, said["digest"], tuple(said["notes"]))
        written = path.stat().st_mtime_ns
        if written != said["written"] and _is_damaged(found):
            return None
        os.utime(path, ns=(time.time_ns(), said["written"]))  # was used now
    except (OSError, RuntimeError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    return found


def _is_damaged(found: Decoded) -> bool:
    are_alike = torch.equal(moments_of(found.pixels), found.moments)
    return not are_alike or digest_of(found.pixels) != found.digest


def keep(path: Path, decoding: Decoding, *, skip_bad: bool) -> None:
    """Decode images to a file, a few at a time.

    Raises:
        OSError: It cannot be written; there is none then.
        ModpmError: As `Decoding.check`.
    """
    kept_images.make_room(decoding.n_bytes)
    temporary = path.with_name(f".{path.stem}.{uuid4().hex}.new")
    try:
        with temporary.open("xb") as file:
            written = _write(file, decoding, skip_bad=skip_bad)
        os.utime(temporary, ns=(time.time_ns(), written))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(file: BinaryIO, decoding: Decoding, *, skip_bad: bool) -> int:
    """Write the file down to the disk, and return the time of writing that it says."""
    file.write(b" " * _HEADER_BYTES)
    file.writelines(pixels.data for pixels in decoding)
    decoding.check(skip_bad=skip_bad)
    n, written = len(decoding.kept), time.time_ns() // _WHOLE_SECONDS * _WHOLE_SECONDS
    said = {"digest": decoding.digest, "notes": decoding.notes, "written": written}
    record = json.dumps(said).encode()
    file.write(np.array(decoding.kept, dtype="<i8").tobytes())
    file.write(decoding.moments.astype("<i8").tobytes())
    file.write(record)
    file.seek(0)
    shape = decoding.form.shape
    file.write(_header([n, *shape], [n], [n, shape[0], 2], [len(record)]))
    file.flush()
    os.fsync(file.fileno())
    return written


def _header(*shapes: list[int]) -> bytes:
    """Return the header of the file: its own length, and where each tensor is."""
    tensors, start = {}, 0
    for (name, dtype), shape in zip(_TENSORS.items(), shapes, strict=True):
        end = start + prod(shape) * (8 if dtype == "I64" else 1)
        tensors[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(tensors).encode().ljust(_HEADER_BYTES - 8)
    return len(text).to_bytes(8, "little") + text
