"""The documentation as a site: complete, without dead links, and nothing of it from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
from tests.cli.commands import COMMANDS

import modpm

if TYPE_CHECKING:
    from pathlib import Path

LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
"""Elements that a browser loads something for without being asked, and where they name it."""


class Page(HTMLParser):
    """What a page of the site leads to, loads, and has a name for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.names |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if LOADING.get(tag) in given:
            self.loads.append(given[LOADING[tag]])


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    mkdocs = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        mkdocs, cwd=repository, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    # Whoever answers with it knows at which address: its links begin at the root.
    found = [path for path in site.rglob("*.html") if path.name != "404.html"]
    return {path: Page(path) for path in found}


def is_elsewhere(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme in ("http", "https") or bool(parts.netloc)


@pytest.mark.slow
def test_no_link_of_the_site_is_dead(pages: dict[Path, Page]) -> None:
    dead = []
    for page in pages.values():
        for link in (*page.links, *page.loads):
            parts = urlsplit(link)
            if is_elsewhere(link) or parts.scheme:
                continue
            path = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            known = pages[path].names if path in pages else set()
            if not path.exists() or (parts.fragment and unquote(parts.fragment) not in known):
                dead.append(f"{page.path.name}: {link}")
    assert dead == []


@pytest.mark.slow
def test_nothing_is_loaded_from_another_server(site: Path, pages: dict[Path, Page]) -> None:
    assert [load for page in pages.values() for load in page.loads if is_elsewhere(load)] == []
    for sheet in site.rglob("*.css"):
        addresses = re.findall(r"(?:url\(|@import )[\"']?([^\"')]+)", sheet.read_text("utf-8"))
        assert [address for address in addresses if is_elsewhere(address)] == []
    # The theme draws diagrams by a script of another server, where a page has any.
    assert not any("mermaid" in page.path.read_text("utf-8") for page in pages.values())


@pytest.mark.slow
def test_every_command_function_code_and_format_has_its_place(
    repository: Path, site: Path, pages: dict[Path, Page]
) -> None:
    reference = site / "reference"
    commands = {f"modpm-{'-'.join(words)}" for words in COMMANDS}
    codes = re.findall(
        r"^\| `([a-z-]+)`", (repository / "specs/errors.md").read_text(), re.MULTILINE
    )
    functions = {f"modpm{name}".lower() for name in modpm.__all__ if not name.startswith("__")}

    assert commands <= pages[reference / "commands.html"].names
    assert functions <= pages[reference / "python.html"].names
    assert set(codes) <= pages[reference / "errors.html"].names
    for path in (repository / "specs").glob("*.md"):
        name = "index" if path.stem == "README" else path.stem
        assert reference / "formats" / f"{name}.html" in pages


@pytest.mark.slow
def test_hints_stand_with_their_errors(site: Path) -> None:
    text = (site / "reference/errors.html").read_text("utf-8")
    of_digest = text.partition('id="invalid-digest"')[2].partition("<h3")[0]

    assert "64 lower-case hexadecimal digits" in of_digest
    assert "Exit code" in of_digest
