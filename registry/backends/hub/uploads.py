"""What a release adds to a repository, checked against its records before it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huggingface_hub import CommitOperationAdd

from modpm.core.formats.card import completed_card
from modpm.core.formats.manifest import CARD_FILE, TENSOR_FILE
from modpm.registry.system.transfer import receive, wrong_digest

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.formats.distribution import Distribution
    from modpm.core.formats.manifest import FileRecord
    from modpm.registry.index import Release


def additions(distribution: Distribution, release: Release) -> list[CommitOperationAdd]:
    """Return the files of a release, to be added to a repository.

    Raises:
        ModpmError: `truncated` or `wrong-digest`, if a file is not what was verified.
    """
    return [
        _addition(distribution.folder / name, name, record)
        for name, record in release.all_files.items()
    ]


def main_card(distribution: Distribution, release: Release) -> CommitOperationAdd:
    """Return the card of a release as `main` has it: with all that the Hub searches by (H-6)."""
    record = release.all_files.get(CARD_FILE)
    text = None
    if record is not None:
        path = distribution.folder / CARD_FILE
        with path.open("rb") as file:
            text = receive(file, record, str(path)).decode(errors="replace")
    card = completed_card(text, distribution.manifest)
    return CommitOperationAdd(CARD_FILE, card.encode())


def _addition(path: Path, name: str, record: FileRecord) -> CommitOperationAdd:
    if name != TENSOR_FILE:
        with path.open("rb") as file:
            return CommitOperationAdd(name, receive(file, record, str(path)))
    # Streamed from the disk: the server gets the digest with it, and refuses other bytes.
    addition = CommitOperationAdd(name, str(path))
    digest = f"sha256:{addition.upload_info.sha256.hex()}"
    if digest != record.digest:
        raise wrong_digest(digest, record, str(path))
    return addition
