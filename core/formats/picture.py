"""The pictures of a release: PNG without anything but pixels, told by its bytes (clause D-13).

Nothing here decodes a picture: what a stranger's registry gives is checked before anything does.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SIDE = 640
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")
_CHANNELS = {0: 1, 2: 3}
"""By the color type of the format: gray, or red, green and blue."""


class _Chunk(NamedTuple):
    kind: bytes
    data: bytes
    is_whole: bool


def picture_problem(data: bytes) -> str | None:
    """Return what is wrong with the bytes of a picture, in words; None if nothing is."""
    if not data.startswith(_SIGNATURE):
        return "is no PNG"
    chunks = list(_chunks(data))
    if not all(chunk.is_whole for chunk in chunks) or len(chunks) < len(("IHDR", "IDAT", "IEND")):
        return "is a damaged PNG"
    header, *pixels, end = chunks
    if (header.kind, len(header.data)) != (b"IHDR", _HEADER.size) or end[:2] != (b"IEND", b""):
        return "is a damaged PNG"
    if any(chunk.kind != b"IDAT" for chunk in pixels):
        return "holds something else than pixels"
    return _pixel_problem(header.data, b"".join(chunk.data for chunk in pixels))


def _pixel_problem(header: bytes, packed: bytes) -> str | None:
    width, height, depth, color, *others = _HEADER.unpack(header)
    if depth != 8 or color not in _CHANNELS or any(others):  # noqa: PLR2004 -- bits
        return "is neither gray nor color of 8 bits"
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        return f"has {width} by {height} pixels; at most {MAX_SIDE} by {MAX_SIDE} are shown"
    if not _unpacks_to(packed, height * (1 + width * _CHANNELS[color])):
        return "has other pixels than its header says"
    return None


def _chunks(data: bytes) -> Iterator[_Chunk]:
    at = len(_SIGNATURE)
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4].ljust(4, b"\xff"))
        body, end = data[at + 4 : at + 8 + size], at + 12 + size
        check = zlib.crc32(body).to_bytes(4, "big")
        yield _Chunk(body[:4], body[4:], data[end - 4 : end] == check)
        at = end


def _unpacks_to(packed: bytes, n_bytes: int) -> bool:
    """Tell whether compressed bytes are so many; of a bomb, no more than that is unpacked."""
    unpacking = zlib.decompressobj()
    try:
        unpacked = unpacking.decompress(packed, n_bytes + 1)
    except zlib.error:
        return False
    return len(unpacked) == n_bytes and unpacking.eof and not unpacking.unused_data
