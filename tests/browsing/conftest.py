"""Shelves to browse, and pages of them as a client gets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
import pytest
from starlette.testclient import TestClient

from modpm.browsing.listing import Listing
from modpm.browsing.scoring import Scorer
from modpm.browsing.server import application
from modpm.browsing.shelf import Folders
from modpm.core.formats.distribution import read_distribution, write_distribution
from modpm.registry.backends.opening import open_backend
from modpm.registry.publication.publishing import distribution_folders, publish

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.formats.manifest import Manifest

TOKEN = "the token of the tests"  # noqa: S105 -- no secret


class Make(Protocol):
    def __call__(
        self, name: str, version: str = ..., *, readme: str | None = ..., **changes: object
    ) -> Path: ...


class Client(Protocol):
    def __call__(self, listing: Listing) -> TestClient: ...


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MODPM_REGISTRY", raising=False)
    return tmp_path / "home"


@pytest.fixture
def project(home: Path) -> Path:
    folder = home.with_name("project")
    folder.mkdir()
    return folder


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    (tmp_path / "dist").mkdir()
    return tmp_path / "dist"


@pytest.fixture
def golden(repository: Path) -> Manifest:
    folder = repository / "specs" / "vectors" / "distribution" / "digits-7"
    return read_distribution(folder).module_manifest


@pytest.fixture
def make(repository: Path, golden: Manifest, dist: Path) -> Make:
    """Write distributions into `dist`."""
    folder = repository / "specs" / "vectors" / "distribution" / "digits-7"
    files = {name: (folder / name).read_bytes() for name in golden.files}

    def make_one(
        name: str, version: str = "1.0.0", *, readme: str | None = None, **changes: object
    ) -> Path:
        manifest = msgspec.structs.replace(golden, name=name, version=version, **changes)
        mine = files if readme is None else {**files, "README.md": readme.encode()}
        at = dist / f"{name.replace('/', '-')}-{version}"
        write_distribution(at, manifest, mine)
        return at

    return make_one


@pytest.fixture
def registry(make: Make, dist: Path, golden: Manifest, home: Path) -> Path:
    """Return a registry of three modules, one of them in two versions, and one that requires it."""
    make("digits/7", "1.0.0")
    make("digits/7", "1.1.0", summary="The better seven")
    worse = [msgspec.structs.replace(golden.metrics[0], recall=0.5)]
    make("digits/8", license="CC0-1.0", metrics=worse, label="digits/8", summary="Two loops")
    make("pets/pair", requires=["digits/7<2"], summary="Needs a seven")
    folder = home.with_name("registry")
    publish([dist], folder)
    return folder


@pytest.fixture
def shown(repository: Path, home: Path) -> Path:
    """Return a registry of one module, with two example images."""
    folder = home.with_name("shown")
    publish([repository / "specs" / "vectors" / "distribution" / "digits-7-shown"], folder)
    return folder


def listing_of(registry: Path | str) -> Listing:
    """Return what a registry has."""
    at = str(registry)
    return Listing(open_backend(at), "registry", lambda: open_backend(at))


def listing_of_folder(folder: Path) -> Listing:
    """Return what a folder of distributions has."""
    return Listing(Folders(str(folder), distribution_folders(folder)), "folder")


@pytest.fixture
def client_of(project: Path) -> Client:
    """Give a client of the pages of a listing."""

    def client(listing: Listing) -> TestClient:
        app = application(listing, Scorer(project), TOKEN)
        return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=True)

    return client
