"""Pictures that are dropped into the page, judged by what is installed."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from tests.browsing.conftest import TOKEN, listing_of

from modpm.browsing import server
from modpm.browsing.scoring import Scorer
from modpm.registry.installing.installation import install
from modpm.verbs.loading import load

if TYPE_CHECKING:
    from pathlib import Path

    from httpx2 import Response
    from starlette.testclient import TestClient
    from tests.browsing.conftest import Client


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def enormous() -> bytes:
    """Return a PNG of 100 megapixels that takes a hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


PICTURE = encoded(Image.linear_gradient("L").resize((20, 30)))


def judge(
    client: TestClient, picture: bytes = PICTURE, names: str = "", token: str = TOKEN
) -> Response:
    return client.post(
        "/scores", params={"names": names}, content=picture, headers={"X-Modpm-Token": token}
    )


@pytest.fixture
def client(client_of: Client, registry: Path) -> TestClient:
    return client_of(listing_of(registry))


@pytest.fixture
def installed(registry: Path, project: Path) -> Path:
    install(["digits/7", "digits/8"], project, registry)
    return project


def test_each_installed_module_gives_its_score(client: TestClient, installed: Path) -> None:
    scores = judge(client).json()["scores"]

    assert {one["name"] for one in scores} == {"digits/7", "digits/8"}
    with Image.open(io.BytesIO(PICTURE)) as image:
        for one in scores:
            own = load(one["name"], installed).score_images(image).item()
            assert one["score"] == pytest.approx(own)
            assert 0 <= one["probability"] <= 1
            assert (one["probability"] > 0.5) == (one["score"] > 0)
    assert scores == sorted(scores, key=lambda one: -one["score"])


@pytest.mark.usefixtures("installed")
def test_only_the_modules_of_the_basket_are_asked(client: TestClient) -> None:
    answer = judge(client, names="digits/8,digits/not-installed")

    assert [one["name"] for one in answer.json()["scores"]] == ["digits/8"]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("picture", "why"),
    [
        (b"", "known format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "known format"),
        (enormous(), "enormous (10000 x 10000)"),
        (PICTURE[:-60], "cannot be used"),
    ],
    ids=["empty", "a drawing", "a program", "100 megapixels", "truncated"],
)
def test_what_is_no_picture_is_refused_in_words(
    client: TestClient, picture: bytes, why: str
) -> None:
    answer = judge(client, picture)

    assert answer.status_code == 422
    assert why in answer.json()["error"]


def test_where_nothing_is_installed_it_is_said_how(client: TestClient) -> None:
    answer = judge(client)

    assert answer.status_code == 422
    assert "none of these modules is installed here" in answer.json()["error"]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("token", ["", "another"])
def test_nothing_is_done_without_the_token_of_the_page(
    client: TestClient, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scorer, "scores", lambda *_: pytest.fail("a picture is judged"))
    answer = judge(client, token=token)

    assert answer.status_code == 403
    assert "scores" not in answer.json()


def test_a_picture_of_too_many_bytes_is_not_read_to_its_end(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_PICTURE_BYTES", 100)

    assert judge(client, b"x" * 101).status_code == 413


def test_the_page_has_the_token_and_a_folder_of_pages_none(client: TestClient) -> None:
    assert f'name="modpm-token" content="{TOKEN}"' in client.get("/basket.html").text
