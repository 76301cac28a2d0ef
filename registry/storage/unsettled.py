"""Notes of the files that got their names before the disk had all of their bytes.

    .unsettled/<boot>/<16 digits>       digests, one a line

A note is down on the disk before the first of its files has a name. It is of one run of the
operating system: as long as that goes on, everybody reads what was written, whether the disk has
it or not. After another start, whatever a note names may be torn, and is read before it is
trusted (`specs/store.md`, S-14 to S-16).
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from modpm.core.formats.digest import DIGEST_PATTERN
from modpm.core.system.durable import entries_below, make_folders
from modpm.core.system.whole_files import sync_folder, write_new

if TYPE_CHECKING:
    from collections.abc import Iterable

_BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")
_BOOT = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def boot() -> str | None:
    """Return what this run of the operating system is called; None where it does not say so."""
    try:
        text = _BOOT_FILE.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if re.fullmatch(_BOOT, text) else None


class Notes:
    """The notes of one store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, digests: Iterable[str]) -> bool:
        """Note files that are about to get names; say whether that was possible."""
        this_boot = boot()
        if this_boot is None:
            return False
        folder = self._folder / this_boot
        make_folders(folder)
        lines = "".join(f"{digest}\n" for digest in sorted(set(digests)))
        write_new(folder / os.urandom(8).hex(), lines.encode())
        sync_folder(folder)
        return True

    def of_earlier_runs(self) -> list[Path]:
        """Return the notes of runs of the operating system that have ended."""
        if not self._folder.is_dir():
            return []
        this_boot = boot()
        return [note for note in self.all() if note.parent.name != this_boot]

    def all(self) -> list[Path]:
        """Return the notes of every run, the present one too."""
        return [path for path in entries_below(self._folder, 2) if path.parent != self._folder]


def digests_in(notes: Iterable[Path]) -> list[str]:
    """Return the digests in notes, sorted; what a crash has torn names nothing (S-16)."""
    texts = (note.read_text(encoding="ascii", errors="replace") for note in notes)
    lines = {line for text in texts for line in text.splitlines()}
    return sorted(line for line in lines if re.match(DIGEST_PATTERN, line))


def forget(notes: Iterable[Path]) -> None:
    """Remove notes: all that they name is settled."""
    for note in notes:
        note.unlink(missing_ok=True)
        if note.parent.name != boot():
            with suppress(OSError):  # there are others in it
                note.parent.rmdir()
