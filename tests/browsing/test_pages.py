"""What pages say, over HTTP and without a browser."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.browsing.conftest import listing_of, listing_of_folder
from tests.estimating.machines import made_up

from modpm.browsing import browse as verb
from modpm.browsing.browse import browse
from modpm.browsing.readme import render
from modpm.browsing.words import layers
from modpm.core.errors import ModpmError
from modpm.core.estimating.machine import keep_machine
from modpm.core.estimating.work import works
from modpm.core.formats import canonical_json
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.manifest import ConfusedClass, Confusion
from modpm.registry.installing.installation import install
from modpm.registry.publication.changing import yank
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.testclient import TestClient
    from tests.browsing.conftest import Client, Make

    from modpm.core.formats.manifest import Manifest

INLINE = re.compile(
    r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|=\W*javascript:", re.IGNORECASE
)


def names(client: TestClient, **query: str | float) -> list[str]:
    answer = client.get("/catalogue.json", params=query)
    assert answer.status_code == 200
    return [f"{row['namespace']}/{row['name']}" for row in answer.json()["rows"]]


def words(html: str) -> str:
    """Return what a page says, without its markup."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


@pytest.fixture
def client(client_of: Client, registry: Path) -> TestClient:
    return client_of(listing_of(registry))


@pytest.mark.parametrize("path", ["/", "/index.html"])
def test_the_list_has_the_newest_release_of_every_module(client: TestClient, path: str) -> None:
    said = words(client.get(path).text)

    assert "3 modules" in said
    for text in ("digits/ 7", "1.1.0", "The better seven", "digits/ 8", "pets/ pair", "0.900"):
        assert text in said
    assert "1.0.0" in said.partition("digits/ 8")[2]
    assert "1.0.0" not in said.partition("digits/ 8")[0]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["digits/7", "digits/8", "pets/pair"]),
        ({"q": "SEVEN"}, ["digits/7", "pets/pair"]),
        ({"q": "seven better"}, ["digits/7"]),
        ({"class": "8"}, ["digits/8"]),
        ({"namespace": "pets"}, ["pets/pair"]),
        ({"license": "CC0-1.0"}, ["digits/8"]),
        ({"min_recall": 0.9}, ["digits/7", "pets/pair"]),
        ({"min_recall": 0.91}, []),
        ({"max_mb": 0.001}, []),
        ({"max_mb": 1}, ["digits/7", "digits/8", "pets/pair"]),
        ({"origin": f"sha256:{'a' * 64}"}, ["digits/7", "digits/8", "pets/pair"]),
        ({"origin": f"sha256:{'b' * 64}"}, []),
        ({"signer": "none"}, ["digits/7", "digits/8", "pets/pair"]),
        ({"signer": "sha256:me"}, []),
        ({"sort": "recall"}, ["digits/7", "pets/pair", "digits/8"]),
        ({"page": 99}, ["digits/7", "digits/8", "pets/pair"]),
        ({"sort": "x", "page": "x", "min_recall": "x", "max_mb": "nan"}, None),
    ],
    ids=str,
)
def test_modules_are_looked_for_by_each_filter(
    client: TestClient, query: dict[str, str | float], found: list[str] | None
) -> None:
    assert names(client, **query) == (
        ["digits/7", "digits/8", "pets/pair"] if found is None else found
    )


def test_a_list_without_scripts_is_looked_through_by_its_form(client: TestClient) -> None:
    page = client.get("/", params={"q": "loops", "license": "CC0-1.0"}).text

    assert "1 module" in words(page)
    assert 'value="loops"' in page
    assert '<option value="CC0-1.0" selected>' in page


def test_a_module_says_what_it_is_how_well_and_at_what_cost(
    client: TestClient, registry: Path
) -> None:
    page = client.get("/m/digits/7.html").text

    said = words(page)
    for text in (
        *(
            "an image shows 7, and nothing else",
            "trained beside 1, 9",
            "gray, 8 \N{MULTIPLICATION SIGN} 8",
        ),
        *("90.00 %", "of 36 images of it", "95.00 %", "on 360 images, test", "0.969"),
        *("124 bytes", "268 bytes", "46.27 %", "50.00 % of the kernels of digits_cnn", "2 of 4"),
        *("Apache-2.0", "The modpm authors", "nobody", "digits_cnn of 3 classes", "97.50 %"),
        *("mwt, threshold 0.9", "180 images of validation", "modpm 0.1.0"),
        *(f"modpm install digits/7 --registry {registry}", "modpm.load("),
    ):
        assert text in said, text
    assert f'href="../../o/{"a" * 64}.html"' in page
    assert "M0 0h1v1h-1zM2 0h1v1h-1z" in page  # kernels 0 and 2 of 4
    assert "Required by" in said
    assert 'href="../../m/pets/pair.html"' in page
    assert "digits/7&lt;2" in client.get("/m/pets/pair.html").text


def test_a_module_without_metrics_says_so(make: Make, dist: Path, client_of: Client) -> None:
    make("digits/8", metrics=[])
    client = client_of(listing_of_folder(dist))
    said = words(client.get("/m/digits/8.html").text)

    assert "Nothing was measured: how well it recognizes its class is not known." in said
    assert "not measured" in said


def test_a_yanked_version_is_listed_with_its_reason(registry: Path, client_of: Client) -> None:
    yank("digits/7==1.1.0", "wrong <labels>", registry=registry)
    client = client_of(listing_of(registry))

    page = client.get("/m/digits/7.html").text

    assert "yanked wrong &lt;labels&gt;" in " ".join(re.sub(r"</?strong[^>]*>", " ", page).split())
    assert "1.1.0" not in words(client.get("/").text)
    yank("digits/7==1.0.0", "this too", registry=registry)
    answer = client.get("/m/digits/7.html")
    assert answer.status_code == 404
    assert "1.0.0 is yanked: this too" in words(answer.text)


@pytest.mark.parametrize("name", ["digits/9", "Digits/Seven", "con/cat", "a/..%2f..%2fetc"])
def test_a_module_that_is_not_there_is_told_in_words(client: TestClient, name: str) -> None:
    for address in (f"/m/{name}.html", f"/m/{name}.json", "/o/x.html", "/nothing"):
        answer = client.get(address)
        assert answer.status_code == 404
        assert "Traceback" not in answer.text
        assert "there is no" in words(answer.text) or "is not" in answer.text


def test_an_origin_shows_its_modules_side_by_side(
    make: Make, dist: Path, client_of: Client, golden: Manifest
) -> None:
    kept = golden.retained["conv1"]
    assert kept.retained == [0, 2]
    make("digits/7")
    make("digits/9", label="digits/9")
    composed = {"split": "test", "n": 360, "fused": 0.981, "independent": 0.972}
    from modpm.core.formats.manifest import ComposedAccuracy  # noqa: PLC0415 -- for this test
    from modpm.core.formats.records import convert  # noqa: PLC0415 -- as above

    make("digits/all", composed=convert(composed, ComposedAccuracy))
    client = client_of(listing_of_folder(dist))

    said = words(client.get(f"/o/{'a' * 64}.html").text)

    for text in ("A network of 3 classes: 1, 7, 9", "Modules here 3 of 3 classes", "1.00"):
        assert text in said, text
    assert "All 3 classes as one classifier: 98.10 % fused, 97.20 % side by side, on 360" in said


def test_a_folder_tells_of_what_it_cannot_read_and_shows_the_rest(
    make: Make, dist: Path, client_of: Client
) -> None:
    make("digits/7")
    (dist / "broken").mkdir()
    (dist / "broken" / "manifest.json").write_text("{")

    client = client_of(listing_of_folder(dist))

    assert names(client) == ["digits/7"]
    assert "manifest.json" in words(client.get("/").text)
    assert client.get("/m/digits/7.html").status_code == 200


def test_the_installed_project_is_shown(registry: Path, project: Path, client_of: Client) -> None:
    empty = client_of(verb._listing(None, project, None))
    assert "Nothing is installed in this project." in words(empty.get("/").text)
    install(["pets/pair"], project, registry)

    client = client_of(verb._listing(None, project, None))

    assert names(client) == ["digits/7", "pets/pair"]
    assert "modpm install digits/7 modpm compose" in words(client.get("/m/digits/7.html").text)


HOSTILE_README = """---
license: mit
---

# A card <script>alert(1)</script>&#x202e;&#8203;

[click](javascript:alert(1)) [data](data:text/html,x) <img src=x onerror=alert(1)>
![tracked](https://evil.example/pixel.png) <iframe src="https://evil.example"></iframe>

right-to-left \u202e and a bell \x07

| a | b |
|---|---|
| [fine](https://fine.example) | <style>body{display:none}</style> |
"""


def test_what_strangers_wrote_is_text_and_does_nothing(
    make: Make, dist: Path, client_of: Client
) -> None:
    make(
        "digits/7",
        summary="<script>alert(1)</script> \u202etxt.exe",
        authors=["<b onclick=alert(1)>me</b>"],
        label='digits/"><img src=x>',
        readme=HOSTILE_README,
    )
    client = client_of(listing_of_folder(dist))

    for address in ("/", "/m/digits/7.html", f"/o/{'a' * 64}.html", "/basket.html"):
        page = client.get(address).text
        shown = re.sub(r"&lt;.*?&gt;", "", page)
        assert not INLINE.search(shown), INLINE.search(shown)
        assert "<img" not in page
        assert "<iframe" not in page
        assert "\u202e" not in page
        assert "\x07" not in page
    page = client.get("/m/digits/7.html").text
    assert "\\u202e" in page
    assert 'href="https://fine.example"' in page
    assert "&lt;script&gt;" in page
    assert "license: mit" not in page
    (row,) = client.get("/catalogue.json").json()["rows"]
    assert row["summary"] == "<script>alert(1)</script> \\u202etxt.exe"


def test_a_huge_table_is_shown_as_it_is_written() -> None:
    wide = "|" * 30_000 + "\n" + "|-" * 30_000 + "|\n"

    assert "<table" not in render(wide)
    assert len(render(wide * 3)) < 10 * len(wide)


def test_no_page_loads_or_runs_anything_but_its_own_files(client: TestClient) -> None:
    for address in ("/", "/m/digits/7.html", f"/o/{'a' * 64}.html", "/basket.html", "/nothing"):
        answer = client.get(address)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert not INLINE.search(answer.text)
        for link in re.findall(r'(?:src|href|action)="([^"]+)"', answer.text):
            assert not link.startswith(("http", "//", "data:")), link
    for file in ("browse.js", "style.css", "icon.svg"):
        assert client.get(f"/static/{file}").status_code == 200
    assert client.get("/static/..%2fpages.py").status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "modpm.localhost.x"])
def test_another_host_gets_nothing(client: TestClient, host: str) -> None:
    answer = client.get("/", headers={"Host": host})

    assert answer.status_code == 400
    assert "digits" not in answer.text
    assert client.get("/", headers={"Host": "localhost:8765"}).status_code == 200


def test_a_registry_that_went_away_is_told_on_the_page(
    registry: Path, client_of: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = listing_of(registry)
    monkeypatch.setattr("modpm.browsing.listing._FRESH_SECONDS", -1)
    registry.rename(registry.with_name("elsewhere"))
    client = client_of(listing)

    said = words(client.get("/").text)

    assert "3 modules" in said  # what was seen
    assert "does not exist" in said
    answer = client.get("/m/digits/7.html")
    assert answer.status_code == 502
    assert "does not exist" in words(answer.text)


def test_what_was_published_meanwhile_is_shown(
    registry: Path, make: Make, client_of: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(listing_of(registry))
    assert len(names(client)) == 3
    publish([make("digits/nine", license="MIT")], registry)
    monkeypatch.setattr("modpm.browsing.listing._FRESH_SECONDS", -1)

    assert "4 modules" in words(client.get("/").text)
    assert '<option value="MIT">' in client.get("/").text


@pytest.mark.usefixtures("home")
def test_a_registry_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModpmError) as raised:
        browse(registry=tmp_path / "nowhere")
    assert raised.value.code == "registry-missing"


def test_a_folder_and_a_registry_are_not_shown_together(dist: Path, registry: Path) -> None:
    with pytest.raises(ModpmError) as raised:
        browse(dist, registry=registry)
    assert raised.value.code == "usage"


def test_without_the_extra_the_line_that_brings_it_is_said(
    dist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "find_spec", lambda name: None if name == "nh3" else object())

    with pytest.raises(ModpmError) as raised:
        browse(dist)
    assert raised.value.code == "missing-extra"
    assert "`nh3`" in raised.value.what
    assert raised.value.hint == "pip install 'modpm[browse]'"


def test_a_module_that_lies_of_its_origin_hides_no_other(
    make: Make, golden: Manifest, dist: Path, client_of: Client
) -> None:
    make("digits/7")
    origin = msgspec.structs.replace(golden.origin, classes=["a", "b", "c", "d", "e", "f"])
    output = msgspec.structs.replace(golden.output, class_index=5)
    make("evil/f", label="evil/f", origin=origin, output=output)

    page = client_of(listing_of_folder(dist)).get(f"/o/{golden.origin.digest[7:]}.html")

    assert page.status_code == 200
    assert 'href="../m/digits/7.html"' in page.text
    assert 'href="../m/evil/f.html"' in page.text


def test_layers_are_ordered_by_their_numbers_whatever_digits_they_have(golden: Manifest) -> None:
    kept = next(iter(golden.retained.values()))
    names = ["conv1²", "conv9", "conv10", f"conv{'1' * 5000}"]
    assert [layer.name for layer in layers(dict.fromkeys(reversed(names), kept))] == names


def test_a_registry_stands_quoted_in_what_is_copied(
    make: Make, dist: Path, tmp_path: Path, client_of: Client
) -> None:
    make("digits/7")
    publish([dist], registry=tmp_path / "my modules; echo hi")

    page = client_of(listing_of(tmp_path / "my modules; echo hi")).get("/m/digits/7.html").text

    assert "&#39;" in page.partition("--registry ")[2][:5]


def test_a_search_of_too_many_words_is_refused_in_words(client: TestClient) -> None:
    answer = client.get("/catalogue.json", params={"q": " ".join(map(str, range(1000)))})
    assert "1,000 words" in answer.json()["error"]


PICTURES = re.compile(r'<img src="../../(p/[0-9a-f]{64}\.png)"')


def test_a_module_is_shown_with_what_it_says_of_its_images(
    client_of: Client, shown: Path, repository: Path
) -> None:
    client = client_of(listing_of(shown))

    page = client.get("/m/digits/7.html").text

    said = words(page)
    assert "What it says of some images" in said
    assert "no 44.77 % score -0.21 yes 50.75 % score +0.03" in said
    assert said.index("some images") < said.index("How well")
    folder = repository / "specs" / "vectors" / "distribution" / "digits-7-shown"
    for file, path in zip(("example-1.png", "example-2.png"), PICTURES.findall(page), strict=True):
        answer = client.get(f"/{path}")
        assert answer.content == (folder / file).read_bytes()
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_no_other_picture_is_served(client_of: Client, shown: Path) -> None:
    client = client_of(listing_of(shown))
    client.get("/m/digits/7.html")

    for digits in ("0" * 64, "x", "..%2f..%2fregistry"):
        assert client.get(f"/p/{digits}.png").status_code == 404


@pytest.mark.parametrize("name", ["bomb", "svg", "after-the-end"])
def test_a_picture_of_a_stranger_that_is_none_is_neither_shown_nor_served(
    client_of: Client,
    shown: Path,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    name: str,
) -> None:
    hostile = (
        repository / "specs" / "vectors" / "pictures" / "invalid" / f"{name}.png"
    ).read_bytes()
    release = shown / "digits" / "7" / "1.0.0"
    digest = digest_bytes(hostile)
    record = {"digest": digest, "size_bytes": len(hostile)}
    manifest = json.loads((release / "manifest.json").read_bytes())
    manifest["pictures"]["example-1.png"] = record
    data = canonical_json.encode(manifest)
    (release / "manifest.json").write_bytes(data)
    (release / "example-1.png").write_bytes(hostile)
    index = json.loads((release.parent / "index.json").read_bytes())
    (listed,) = index["releases"]
    listed |= {"digest": digest_bytes(data), "manifest_size_bytes": len(data)}
    listed["pictures"]["example-1.png"] = record
    (release.parent / "index.json").write_bytes(canonical_json.encode(index))
    monkeypatch.setenv("MODPM_HOME", str(shown / "home of who never saw it before"))
    client = client_of(listing_of(shown))

    page = client.get("/m/digits/7.html")

    assert page.status_code == 200
    assert "a picture of the module is not shown" in words(page.text)
    assert "Example 1 is not here" in words(page.text)
    assert len(PICTURES.findall(page.text)) == 1
    assert client.get(f"/p/{digest[7:]}.png").status_code == 404


def test_a_picture_that_is_gone_or_changed_is_told(client_of: Client, shown: Path) -> None:
    release = shown / "digits" / "7" / "1.0.0"
    (release / "example-1.png").unlink()
    changed = (release / "example-2.png").read_bytes()
    (release / "example-2.png").write_bytes(changed[:-1] + b"\0")

    page = client_of(listing_of(shown)).get("/m/digits/7.html").text

    assert not PICTURES.findall(page)
    assert "example-2.png of digits/7 1.0.0" in words(page)
    assert "no 44.77 %" in words(page)


def test_what_is_installed_says_what_it_says_of_images_that_are_elsewhere(
    client_of: Client, shown: Path, project: Path
) -> None:
    install(["digits/7"], project, shown)
    listing = verb._listing(None, project, None)

    said = words(client_of(listing).get("/m/digits/7.html").text)

    assert "Example 1 is not here no 44.77 %" in said
    assert "its registry shows them" in said


def test_a_card_says_what_its_pictures_are_called() -> None:
    said = render("![A cat <b>](cat.png) ![](data:image/png;base64,AAAA)")

    assert said == "<p>A cat &lt;b&gt; </p>\n"


def test_a_module_is_shown_with_the_classes_that_it_confuses(
    client_of: Client, make: Make, dist: Path
) -> None:
    often = ConfusedClass(name="1", n=1200, share=0.25)
    make("digits/7", confusion=Confusion(split="test", classes=[often]))
    make("digits/8", confusion=Confusion(split="test", classes=[]))
    make("digits/9")
    client = client_of(listing_of_folder(dist))

    said = [words(client.get(f"/m/digits/{name}.html").text) for name in (7, 8, 9)]

    assert "What it confuses" in said[0]
    assert "1 1,200 25.00 %" in said[0]
    assert "It took no image of another class of its origin for 7" in said[1]
    assert "What it confuses" not in said[2]
    assert "does not find where" in said[2]


def test_the_basket_has_the_time_of_an_image_where_this_machine_was_measured(
    client: TestClient, golden: Manifest
) -> None:
    address, basket = "/m/digits/7.json", "/basket.html"
    assert client.get(address).json()["milliseconds"] is None
    assert "modpm benchmark --machine" in words(client.get(basket).text)

    keep_machine(made_up(start=1e-3))

    assert client.get(address).json()["milliseconds"] == pytest.approx(
        1 + len(works(golden.graph, 1))
    )
    assert "an image alone, estimated for 1 thread of" in words(client.get(basket).text)


def test_a_network_that_is_none_has_no_time(
    client_of: Client, make: Make, golden: Manifest, dist: Path
) -> None:
    keep_machine(made_up())
    node = msgspec.structs.replace(golden.graph.nodes[0], attributes={})
    graph = msgspec.structs.replace(golden.graph, nodes=(node, *golden.graph.nodes[1:]))
    make("digits/7", graph=graph)
    client = client_of(listing_of_folder(dist))
    assert client.get("/m/digits/7.json").json()["milliseconds"] is None
