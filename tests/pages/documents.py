"""The documents of the repository, and their links."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDERS = ("docs", "specs", "benchmarks")
DOCUMENTS = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.md")),
    ]
)
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Link(NamedTuple):
    """A link of a document to another, or to a place in one."""

    document: Path
    target: str

    @property
    def path(self) -> Path:
        name = self.target.partition("#")[0]
        return (self.document.parent / name).resolve() if name else self.document

    @property
    def anchor(self) -> str:
        return self.target.partition("#")[2]

    def is_dead(self) -> bool:
        if not self.path.exists():
            return True
        return bool(self.anchor) and self.anchor not in anchors(self.path)


def links(document: Path) -> Iterator[Link]:
    """Give the links of a document to others of the repository."""
    text = _CODE.sub("", document.read_text("utf-8"))
    yield from (Link(document, target) for target in _LINK.findall(text) if ":" not in target)


def anchors(document: Path) -> set[str]:
    """Return the names of a document's headings, as GitHub and the site make them."""
    text = re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in _HEADING.findall(text)
    }
