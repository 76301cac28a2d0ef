"""What is installed is what the tree holds."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

import modpm

if TYPE_CHECKING:
    from pathlib import Path


def tracked_sources(repository: Path) -> set[str]:
    """Return the modules that the tree holds, as the names they install under."""
    names = set()
    for folder in ("core", "registry", "verbs", "browsing", "cli"):
        for path in (repository / folder).rglob("*"):
            if path.suffix in {".py", ".html", ".css", ".js", ".svg"}:
                names.add("modpm/" + path.relative_to(repository).as_posix())
    for path in (repository / "src" / "modpm").iterdir():
        if path.is_file():
            names.add(f"modpm/{path.name}")
    return names


@pytest.mark.slow
def test_the_wheel_holds_every_module_of_the_tree_and_nothing_else(
    repository: Path, tmp_path: Path
) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, repository],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == tracked_sources(repository)


def test_importing_modpm_imports_neither_torch_nor_click() -> None:
    code = "import sys, modpm; print('torch' in sys.modules, 'click' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_every_public_name_can_be_reached() -> None:
    assert all(getattr(modpm, name) is not None for name in modpm.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = modpm.no_such_name
