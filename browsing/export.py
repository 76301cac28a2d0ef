"""Pages as files, for any web server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from modpm.browsing import pages
from modpm.browsing.listing import PAGE_SIZE, Page
from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.system.whole_files import is_free, whole_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modpm.browsing.listing import Listing, Row


def export(listing: Listing, folder: Path, report: Callable[[str], None]) -> int:
    """Write a static site, whole or not at all.

    Args:
        listing: What it shows.
        folder: Where to; it must not exist, or be empty.
        report: Told of modules that cannot be shown.

    Returns:
        How many modules have a page.

    Raises:
        ModpmError: `folder-not-empty`; `disk-full`, `permission-denied` or `cannot-write`.
    """
    if not is_free(folder):
        raise ModpmError(
            "the folder is not empty",
            code="folder-not-empty",
            where=str(folder),
            hint="name a new folder, or remove this one",
        )
    site = pages.Site(listing)
    with whole_tree(folder) as new:
        for name in pages.STATIC:
            _write(new / "static" / name, pages.static_file(name))
        # What cannot be shown is not listed.
        rows = [row for row in listing.rows() if _write_module(site, new, row, report)]
        first = Page(rows[:PAGE_SIZE], len(rows), 1)
        for digest in {row["origin"] for row in rows} - {None}:
            page = pages.origin_page(site, listing.origin(digest))
            _write(new / "o" / f"{digest.removeprefix('sha256:')}.html", page.encode())
        _write(new / "catalogue.json", json.dumps({"rows": rows}).encode())
        _write(new / "index.html", pages.list_page(site, page=first).encode())
        _write(new / "basket.html", pages.basket_page(site).encode())
    return len(rows)


def _write_module(site: pages.Site, folder: Path, row: Row, report: Callable[[str], None]) -> bool:
    name = ModuleName(row["namespace"], row["name"])
    at = folder / "m" / name.namespace / f"{name.name}.html"
    try:
        module = site.listing.module(name)
    except ModpmError as error:
        report(f"`{name}` is left out: {error.what}")
        _write(at, pages.error_page(site, error, "../../").encode())  # others may lead to it
        return False
    for digest in module.pictures.values():
        picture = site.listing.picture(digest)
        assert picture is not None  # it was read for this page
        _write(folder / pages.picture_address(digest), picture)
    _write(at, pages.module_page(site, module).encode())
    _write(at.with_suffix(".json"), json.dumps(pages.module_data(module)).encode())
    return True


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
