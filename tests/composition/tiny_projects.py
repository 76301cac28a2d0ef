"""Projects with tiny class modules installed, and images to judge them by."""

from __future__ import annotations

import contextlib
import io
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image
from tests.composition.tiny_origins import CLASSES, images, publish, tiny_origin

from modpm.cli.main import main
from modpm.registry.installing.installation import install
from modpm.registry.publication.publishing import publish as publish_to_registry

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.classifiers.class_module import ClassModule


class Outcome(NamedTuple):
    """What a command did."""

    code: int
    stdout: str
    stderr: str

    @property
    def data(self) -> Any:  # noqa: ANN401 -- whatever the command prints
        """What it printed as JSON."""
        return json.loads(self.stdout)


def run(*arguments: str | Path) -> Outcome:
    """Run a command of modpm in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = main([str(argument) for argument in arguments])
    return Outcome(code, stdout.getvalue(), stderr.getvalue())


def tiny_modules() -> list[ClassModule]:
    """Return modules of three origins: color `tiny`, color `tiny5`, and gray `tiny4`."""
    near, far, gray = tiny_origin(), tiny_origin(5), tiny_origin(4, channels=1, size=6)
    return [
        near.module("cat", near.some(1)),
        near.module("dog", near.some(2)),
        far.module("cat", far.some(3)),
        gray.module("frog", gray.some(4)),
    ]


def make_project(folder: Path) -> Path:
    """Publish tiny modules, install them into a new project, and return the project."""
    modules = tiny_modules()
    distributions = [
        publish(module, folder / "dist" / module.label.replace("/", ".")) for module in modules
    ]
    publish_to_registry(distributions, folder / "registry")
    project = folder / "project"
    project.mkdir()
    install([module.manifest.name for module in modules], project, folder / "registry")
    return project


def make_image_folder(folder: Path, n: int = 3) -> Path:
    """Write class-named folders of PNG files under `test/`."""
    for i, name in enumerate(CLASSES):
        (folder / "test" / name).mkdir(parents=True)
        for j, pixels in enumerate(images(n, seed=i)):
            image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
            image.save(folder / "test" / name / f"{j}.png")
    return folder
