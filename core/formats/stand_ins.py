"""What is sometimes saved under the name of a file in its place, told by its first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_LONGEST = 256
_POINTER = b"version https://git-lfs.github.com/spec/"
_PAGES = (b"<!doctype html", b"<html", b"<?xml")


def stand_in(source: Path | BinaryIO) -> tuple[str, str] | None:
    """Return what stands in the place of a file of bytes, and how to get the file itself.

    Args:
        source: A file that could not be read as what its name says.

    Returns:
        What it is and a hint, in words; None where it is neither a pointer of Git LFS nor a page.
    """
    try:
        start = _start(source).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    except OSError:
        return None
    if start.startswith(_POINTER):
        return (
            "it is a pointer of Git LFS, and not the file that it names",
            "run `git lfs pull` in its repository, or download the file itself",
        )
    if start.startswith(_PAGES):
        return (
            "it is a web page, and not a file that was downloaded",
            "download the file itself, by the address behind the page's download button",
        )
    return None


def _start(source: Path | BinaryIO) -> bytes:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return file.read(_LONGEST)
    source.seek(0)
    return source.read(_LONGEST)
