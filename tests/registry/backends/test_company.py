"""The example of a company's registry, on a share and on S3, in a terminal of 80 columns."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.registry.backends.kinds.directory import Directory
from tests.registry.backends.kinds.object_store import ObjectStore

from modpm.registry.signing.keys import read_public_key

if TYPE_CHECKING:
    from tests.registry.backends.conftest import StartServer
    from tests.registry.backends.kinds.kind import Kind
    from tests.registry.conftest import MakeDistribution

GOLDEN = Path(__file__).with_name("company.txt")
RELEASES = {
    "first": [("digits/7", "1.0.0"), ("digits/8", "1.0.0")],
    "second": [("digits/7", "1.1.0")],
}
WIDTH = 80


@pytest.fixture
def here(tmp_path: Path, make_distribution: MakeDistribution) -> Path:
    """Return a folder with the distributions of two days."""
    folder = tmp_path / "here"
    for day, releases in RELEASES.items():
        for name, version in releases:
            make_distribution(name, version, folder=folder / day)
    return folder


def walked(repository: Path, here: Path, registry: str, environment: dict[str, str]) -> str:
    """Run the example, and return what it shows, with names for what is new each time."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", repository / "examples" / "company.sh", registry, "first", "second"],
        cwd=here,
        env=os.environ | environment | {"PATH": path, "COLUMNS": str(WIDTH), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    # A registry that keeps a command waiting is named, and on a busy machine any may.
    shown = re.sub(r"^waiting for .*\n", "", done.stdout, flags=re.MULTILINE)
    # Manifests name the versions that made them, and are as long as these.
    shown = re.sub(r"^bytes [ \d,]+$", "bytes BYTES", shown, flags=re.MULTILINE)
    shown = shown.replace(registry, "REGISTRY").replace(str(here), "HERE")
    for name in ("owner", "stranger"):
        key = read_public_key(here / f"{name}.pub").key_id.removeprefix("sha256:")
        shown = shown.replace(key, f"{name}-key-".ljust(64, "0"))
        shown = shown.replace(key[:12], f"{name}-key-".ljust(12, "0")[:12])
    return re.sub(r"\b[0-9a-f]{12}\b", "digest-digit", shown)


@pytest.mark.parametrize("place", [Directory, ObjectStore], ids=["share", "s3"])
def test_a_company_keeps_a_signed_registry(
    place: type[Kind], start_server: StartServer, repository: Path, here: Path
) -> None:
    server = start_server(place)
    server.renew()
    access = server.access()

    shown = walked(repository, here, access.url, dict(access.environment))

    assert shown == GOLDEN.read_text("utf-8")


def test_tables_of_the_example_fit_the_terminal() -> None:
    blocks = re.split(r"^\$ .*\n", GOLDEN.read_text("utf-8"), flags=re.MULTILINE)
    tables = [block for block in blocks if re.match(r"registry |name|namespace", block)]

    lines = [line for table in tables for line in table.splitlines()]
    assert len(tables) > 4
    assert max(map(len, lines)) <= WIDTH
