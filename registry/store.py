"""The store: every file that was ever installed, by digest, once for all projects of a user.

    blobs/sha256/<two digits>/<64 digits>

Files are read-only and verified whenever they are read; one that is not what its name says is
fetched again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from modpm.registry.durable import locked, move
from modpm.registry.home import home
from modpm.registry.materialising import materialise
from modpm.registry.transfer import is_intact, transfer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modpm.core.formats.manifest import FileRecord

_READ_ONLY = 0o444


class Store:
    """The content-addressed files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of_user(cls) -> Store:
        """Return the store under `MODPM_HOME`."""
        return cls(home() / "blobs")

    def path(self, digest: str) -> Path:
        """Return where the file of a digest is, or would be."""
        algorithm, _, digits = digest.partition(":")
        return self._folder / algorithm / digits[:2] / digits

    def has(self, record: FileRecord) -> bool:
        """Say whether a file is there and intact."""
        return is_intact(self.path(record.digest), record)

    def fetch(self, record: FileRecord, open_source: Callable[[], BinaryIO], where: str) -> None:
        """Make sure that a file is there and intact.

        Args:
            record: Its size and digest.
            open_source: Opens the bytes; called only if they are needed.
            where: Where they come from, for errors.

        Raises:
            ModpmError: `truncated` or `wrong-digest`; nothing has been stored then.
        """
        path = self.path(record.digest)
        if is_intact(path, record):
            return
        # One lock for each two digits: fetches wait for each other rarely, and seldom for long.
        with locked(path.parent / ".lock"):
            if is_intact(path, record):
                return
            part = path.with_name(f"{path.name}.part")
            part.unlink(missing_ok=True)  # left by a crash
            with open_source() as source:
                transfer(source, part, record, where)
            part.chmod(_READ_ONLY)
            move(part, path)

    def give(self, record: FileRecord, target: Path) -> None:
        """Make a file of the store appear elsewhere (`materialising`)."""
        materialise(self.path(record.digest), target)
