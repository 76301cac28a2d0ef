"""No link of a document leads nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.conftest import REPOSITORY
from tests.pages.documents import DOCUMENTS, Link, links

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_link_between_documents_is_dead(document: Path) -> None:
    assert [link.target for link in links(document) if link.is_dead()] == []


def test_dead_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One place\n[a](other.md) [b](#one-place) [c](#two) `[d](code.md)`", "utf-8")

    assert [link.target for link in links(page) if link.is_dead()] == ["other.md", "#two"]
    assert not Link(page, "page.md#one-place").is_dead()
