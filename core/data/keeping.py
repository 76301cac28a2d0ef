"""One split of a data set decoded to a file, and mapped into memory from there.

The file is in the format safetensors: `images`, `positions` (of the images that could be decoded)
and `record`, which is JSON. It is written whole under another name, and its time of writing is in
the record: where it has another one, somebody has written to it, and all of it is compared with
its fingerprint.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from modpm.core import kept_images

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from torch import Tensor

    from modpm.core.data.decoding import Decoding

_HEADER_BYTES = 1024
_WHOLE_SECONDS = 2 * 10**9  # a time that every file system can write down exactly


class Decoded(NamedTuple):
    """Decoded images.

    Attributes:
        images: uint8.
        positions: Which of the encoded images they are, ascending.
        notes: What was done to them, in sentences.
        fingerprint: Of the images with their labels, where it is known.

    Shapes:
        images: (N, C, H, W); positions: (N,)
    """

    images: Tensor
    positions: Tensor
    notes: tuple[str, ...]
    fingerprint: str | None = None


Fingerprint = Callable[[Decoded], str]
"""Names decoded images with their labels."""


def kept(path: Path, fingerprint: Fingerprint) -> Decoded | None:
    """Return what a file keeps, mapped into memory; None where it is not there or damaged.

    Args:
        path: The file.
        fingerprint: Names the images with their labels.
    """
    try:
        with safe_open(path, "pt") as file:
            images, positions = file.get_tensor("images"), file.get_tensor("positions")
            record = json.loads(file.get_tensor("record").numpy().tobytes())
        found = Decoded(images, positions, tuple(record["notes"]), record["fingerprint"])
        written = path.stat().st_mtime_ns
        if written != record["written"] and fingerprint(found) != found.fingerprint:
            return None
        os.utime(path, ns=(time.time_ns(), record["written"]))  # was used now
    except (OSError, RuntimeError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    return found


def keep(path: Path, decoding: Decoding, fingerprint: Fingerprint, *, skip_bad: bool) -> None:
    """Decode images to a file, a few at a time.

    Raises:
        OSError: It cannot be written; there is none then.
        ModpmError: As `Decoding.check`.
    """
    n_bytes = decoding.n_bytes
    kept_images.make_room(n_bytes)
    temporary = path.with_name(f".{path.stem}.{uuid4().hex}.new")
    try:
        with temporary.open("xb") as file:
            written = _write(file, temporary, decoding, fingerprint, skip_bad=skip_bad)
        os.utime(temporary, ns=(time.time_ns(), written))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(
    file: BinaryIO,
    path: Path,
    decoding: Decoding,
    fingerprint: Fingerprint,
    *,
    skip_bad: bool,
) -> int:
    """Write the file down to the disk, and return the time of writing that it says."""
    file.write(b" " * _HEADER_BYTES)
    file.writelines(pixels.data for pixels in decoding)
    decoding.check(skip_bad=skip_bad)
    shape = (len(decoding.kept), *decoding.form.shape)
    positions = np.array(decoding.kept, dtype="<i8")
    file.write(positions.tobytes())
    file.flush()
    mapped = np.memmap(path, np.uint8, "c", offset=_HEADER_BYTES, shape=shape)
    found = Decoded(torch.from_numpy(mapped), torch.from_numpy(positions), decoding.notes)
    written = time.time_ns() // _WHOLE_SECONDS * _WHOLE_SECONDS
    plain = {"fingerprint": fingerprint(found), "notes": decoding.notes, "written": written}
    record = json.dumps(plain).encode()
    file.write(record)
    file.seek(0)
    file.write(_header(shape, len(record)))
    file.flush()
    os.fsync(file.fileno())
    return written


def _header(shape: tuple[int, ...], n_record: int) -> bytes:
    """Return the header of the file: its own length, and where each tensor is."""
    tensors, start = {}, 0
    for name, dtype, dimensions, size in (
        ("images", "U8", list(shape), 1),
        ("positions", "I64", [shape[0]], 8),
        ("record", "U8", [n_record], 1),
    ):
        end = start + int(np.prod(dimensions, dtype=np.int64)) * size
        tensors[name] = {"dtype": dtype, "shape": dimensions, "data_offsets": [start, end]}
        start = end
    text = json.dumps(tensors).encode().ljust(_HEADER_BYTES - 8)
    return len(text).to_bytes(8, "little") + text
