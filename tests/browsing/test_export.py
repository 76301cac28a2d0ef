"""Pages as files: the same, and complete."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from tests.browsing.conftest import listing_of, listing_of_folder

from modpm.browsing.browse import browse
from modpm.browsing.export import export
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browsing.conftest import Client, Make


def test_every_link_of_the_files_leads_to_a_file(registry: Path, tmp_path: Path) -> None:
    said: list[str] = []
    site = tmp_path / "site"

    browse(registry=registry, export=site, report=said.append)

    pages = sorted(site.rglob("*.html"))
    assert [page.relative_to(site).as_posix() for page in pages] == [
        "basket.html",
        "index.html",
        *(f"m/{name}.html" for name in ("digits/7", "digits/8", "pets/pair")),
        f"o/{'a' * 64}.html",
    ]
    for page in pages:
        text = page.read_text()
        assert "Content-Security-Policy" in text
        assert "modpm-token" not in text
        body = text.partition("<template")[0]  # its link is filled in
        for link in re.findall(r'(?:src|href|action)="([^"#]+)"', body):
            assert (page.parent / link).is_file(), (page, link)
    assert said == [f"3 modules written to {site / 'index.html'}; any web server shows it"]


def test_the_files_say_what_the_server_says(
    registry: Path, tmp_path: Path, client_of: Client
) -> None:
    listing = listing_of(registry)
    export(listing, tmp_path / "site", lambda _: None)
    client = client_of(listing)

    rows = json.loads((tmp_path / "site" / "catalogue.json").read_bytes())["rows"]
    assert rows == client.get("/catalogue.json").json()["rows"]
    own = (tmp_path / "site" / "m" / "digits" / "7.html").read_text()
    main = re.compile(r"<main.*</main>", re.DOTALL)
    live = main.search(client.get("/m/digits/7.html").text)
    assert live is not None
    assert live[0] in own
    data = json.loads((tmp_path / "site" / "m" / "digits" / "7.json").read_bytes())
    assert data == client.get("/m/digits/7.json").json()
    assert (data["macs"], data["data"], data["input"]) == (
        1155,
        ["digits"],
        "gray, 8 \N{MULTIPLICATION SIGN} 8",
    )


def test_the_files_say_how_a_picture_is_judged(make: Make, dist: Path, tmp_path: Path) -> None:
    make("digits/7")
    export(listing_of_folder(dist), tmp_path / "site", lambda _: None)

    basket = (tmp_path / "site" / "basket.html").read_text()
    assert "modpm browse" in basket
    assert "data-drop" not in basket


def test_the_files_do_not_say_where_folders_are_on_the_machine(
    make: Make, dist: Path, tmp_path: Path
) -> None:
    make("digits/7")
    listing = listing_of_folder(dist)
    export(listing, tmp_path / "site", lambda _: None)

    assert listing.location == str(dist)
    pages = list((tmp_path / "site").rglob("*.html"))
    assert all('<span class="place">dist</span>' in page.read_text() for page in pages)
    assert not any(str(tmp_path) in page.read_text() for page in pages)


def test_a_folder_that_is_not_empty_is_left_as_it_is(registry: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "mine.txt").write_text("mine")

    with pytest.raises(ModpmError) as raised:
        browse(registry=registry, export=site)

    assert raised.value.code == "folder-not-empty"
    assert [path.name for path in site.iterdir()] == ["mine.txt"]


def test_a_module_that_cannot_be_shown_is_left_out_and_told(registry: Path, tmp_path: Path) -> None:
    manifest = next((registry / "digits" / "8").rglob("manifest.json"))
    manifest.write_bytes(manifest.read_bytes() + b" ")
    said: list[str] = []

    browse(registry=registry, export=tmp_path / "site", report=said.append)

    assert said[0].startswith("`digits/8` is left out:")
    rows = json.loads((tmp_path / "site" / "catalogue.json").read_bytes())["rows"]
    assert [row["name"] for row in rows] == ["7", "pair"]
    assert "m/digits/8" not in (tmp_path / "site" / "index.html").read_text()


def test_what_leads_to_a_module_that_is_left_out_leads_to_why(
    registry: Path, tmp_path: Path
) -> None:
    manifest = next((registry / "pets" / "pair").rglob("manifest.json"))
    manifest.write_bytes(manifest.read_bytes() + b" ")

    said: list[str] = []

    browse(registry=registry, export=tmp_path / "site", report=said.append)

    assert "m/pets/pair.html" in (tmp_path / "site" / "m" / "digits" / "7.html").read_text()
    page = (tmp_path / "site" / "m" / "pets" / "pair.html").read_text()
    assert 'href="../../index.html"' in page
    assert said[0].partition(": ")[2] in page


def test_the_files_have_the_pictures_that_can_be_shown(shown: Path, tmp_path: Path) -> None:
    (shown / "digits" / "7" / "1.0.0" / "example-2.png").unlink()

    browse(registry=shown, export=tmp_path / "site")

    page = tmp_path / "site" / "m" / "digits" / "7.html"
    (link,) = re.findall(r'<img src="([^"]+)"', page.read_text())
    picture = (page.parent / link).read_bytes()
    assert picture == (shown / "digits" / "7" / "1.0.0" / "example-1.png").read_bytes()
    assert "Example 2 is not here" in page.read_text()
