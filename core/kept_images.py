"""The folder of decoded images under `MODPM_HOME`: what is in it, and how much there may be.

    images/<64 digits>.safetensors    one split of a data set, decoded
    images/<64 digits>.graph          a network that is shipped, traced for images of some size
    images/<64 digits>.lock           held while that is being written
    images/.<64 digits>.….new         what is being written, or was left by a crash

A file is decoded again when it is needed and has gone, so that anybody may remove it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.errors import ModpmError
from modpm.core.system.durable import locked
from modpm.core.system.home import home

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MAX_KEPT_BYTES = 32 * 2**30
"""How much is kept: what was not used for longest goes first."""

SPARE_BYTES = 2**30
"""How much of a disk decoded images leave free."""

_LEFT_AGE_SECONDS = 24 * 60 * 60.0
_VERSION = 2


class KeptImages(NamedTuple):
    """How many files of decoded images there are, and what they take."""

    n_files: int
    size_bytes: int


def folder() -> Path:
    """Return where decoded images are kept."""
    return home() / "images"


def path_for(files: Sequence[Path], asked: Sequence[object]) -> Path:
    """Return the file that keeps what is made of some files.

    Args:
        files: What it is made of: another name, size or time of one of them is another file.
        asked: What else decides what is made: numbers, texts, and lists of them.
    """
    states = [(str(file.absolute()), (s := file.stat()).st_size, s.st_mtime_ns) for file in files]
    text = json.dumps([_VERSION, asked, states])
    return folder() / f"{hashlib.sha256(text.encode()).hexdigest()}.safetensors"


def measure() -> KeptImages:
    """Return how much is kept."""
    sizes = [path.stat().st_size for path in _files("*.safetensors")]
    return KeptImages(len(sizes), sum(sizes))


def clean(*, dry_run: bool = False) -> KeptImages:
    """Remove all decoded images, and what crashes have left; who uses some keeps them until then.

    Args:
        dry_run: Remove nothing.
    """
    kept = measure()
    for path in () if dry_run else _files("*"):
        _remove(path)
    return kept


def make_room(for_bytes: int) -> None:
    """Remove what was not used for longest, until that much more may be kept."""
    for path in _files(".*.new"):
        if path.stat().st_mtime < time.time() - _LEFT_AGE_SECONDS:
            _remove(path)
    statuses = [(path.stat(), path) for path in _files("*.safetensors")]
    kept = sorted((status.st_atime_ns, status.st_size, path) for status, path in statuses)
    total = for_bytes + sum(size for _, size, _ in kept)
    for _, size, path in kept:
        if total <= MAX_KEPT_BYTES:
            return
        _remove(path)
        total -= size


def has_room(for_bytes: int) -> bool:
    """Say whether the disk and the most that is kept allow so much."""
    free = shutil.disk_usage(folder()).free - SPARE_BYTES
    return for_bytes <= min(MAX_KEPT_BYTES, free)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Let one process at a time decode for a file, where the file system has locks.

    Without one all decode, and each writes a whole file.
    """
    with ExitStack() as held:
        with suppress(OSError, ModpmError):
            held.enter_context(locked(path.with_suffix(".lock"), is_kept=False))
        yield


def _files(pattern: str) -> list[Path]:
    return [path for path in folder().glob(pattern) if path.is_file() and not path.is_symlink()]


def _remove(path: Path) -> None:
    with suppress(OSError):  # Windows removes nothing that is mapped into memory
        path.unlink(missing_ok=True)
