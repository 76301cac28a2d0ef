"""The main job on the bundled 8x8 digits: train, cut, publish, install, compose, predict.

Every step is a command that a user types; this script runs them and tells what came of it.

Usage: python examples/digits_demo.py FOLDER
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pictures import draw_confusions, draw_overlap, draw_retained_kernels
from PIL import Image

from modpm.core.data import load_data
from modpm.core.shown_text import Percent

INSTALLED = ("digits/3", "digits/7", "digits/8")


class Story:
    """Runs commands in a folder and tells what they gave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start = time.monotonic()

    def tell(self, text: str = "") -> None:
        """Print a line of the story."""
        print(text, flush=True)

    def run(self, *arguments: str, cwd: Path | None = None) -> Any:  # noqa: ANN401 - the JSON of any verb
        """Run a command of modpm and return what it printed with `--json`.

        Raises:
            SystemExit: The command failed; it has said why.
        """
        self.tell(f"\n$ modpm {' '.join(arguments)}")
        done = subprocess.run(
            [sys.executable, "-m", "modpm.cli", *arguments, "--json"],
            cwd=cwd or self.folder,
            # Of its own: the registry, which is made anew each time, would look turned back.
            env={**os.environ, "MODPM_HOME": str(self.folder / "home")},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(done.stdout + f"\nmodpm {arguments[0]} failed")
        return json.loads(done.stdout)


def train_and_cut(story: Story) -> dict[str, Any]:
    """Train a network and cut it into ten class modules."""
    story.tell("1. Train a network so that each class uses few kernels, and cut it.")
    settings = "--epochs 40 --batch-size 32"
    story.run("train", "digits", *settings.split(), "-o", "run")
    cut: dict[str, Any] = story.run("modularize", "run", "--license", "Apache-2.0", "-o", "dist")
    origin, modules = cut["origin"], cut["modules"]
    sizes = [module["size_bytes"] for module in modules]
    story.tell(
        f"   The network is right on {Percent(origin['accuracy'])} of the test images. Its "
        f"{len(modules)} class modules keep {Percent(cut['kernel_retention_rate'])} of the kernels "
        f"on average: {min(sizes) / 1024:.0f} to {max(sizes) / 1024:.0f} KiB each, the network "
        f"{origin['size_bytes'] / 1024:.0f} KiB."
    )
    return cut


def publish_and_install(story: Story, project: Path) -> None:
    """Publish all modules to a registry folder, and install three into a new project."""
    story.tell("\n2. Publish the modules to a registry, here a folder.")
    published = story.run("publish", "dist", "--registry", "registry")
    story.tell(f"   {len(published['modules'])} releases, immutable, each known by its digest.")
    story.tell("\n3. In another project, install just the classes it needs.")
    installed = story.run("install", *INSTALLED, "--registry", "../registry", cwd=project)
    for module in installed["modules"]:
        size = module["size_bytes"] / 1024
        story.tell(
            f"   {module['name']} {module['version']}  {module['digest'][:19]}…  {size:.0f} KiB"
        )


def compose_and_use(story: Story, project: Path) -> None:
    """Compose a classifier of the three, measure it, and classify images."""
    story.tell("\n4. Compose a classifier from them, without training.")
    made = story.run("compose", "-o", "classifier", cwd=project)
    share = made["macs"] / made["origin_macs"]
    story.tell(
        f"   {', '.join(made['labels'])}; {made['strategy']}; {made['n_parameters']:,} parameters, "
        f"{Percent(share)} of the network's arithmetic."
    )
    names = ",".join(name.split("/")[1] for name in INSTALLED)
    before = story.run("evaluate", "../run", "digits", "--classes", names, cwd=project)
    after = story.run("evaluate", "classifier", "digits", cwd=project)
    story.tell(
        f"   On the {after['n']} test images of these classes: {Percent(after['accuracy'])}; the "
        f"whole network, asked for the same classes: {Percent(before['accuracy'])}."
    )
    story.tell("\n5. Classify images that it has not seen.")
    for prediction in story.run("predict", "classifier", *save_test_images(project), cwd=project):
        label = prediction["label"] or "none of the above"
        story.tell(f"   {prediction['image']}: {label} ({Percent(prediction['probability'])})")


def save_test_images(project: Path) -> list[str]:
    """Write the first test image of each installed class as a PNG."""
    data = load_data("digits", "test")
    names = []
    for name in INSTALLED:
        digit = name.split("/")[1]
        position = int((data.labels == data.classes.index(digit)).nonzero()[0, 0])
        names.append(f"a-{digit}.png")
        Image.fromarray(data.images[position, 0].numpy()).save(project / names[-1])
    return names


def compare_all_ten(story: Story) -> None:
    """Compose all ten modules in both ways and draw what changed."""
    story.tell("\n6. All ten modules together, still without training.")
    before = story.run("evaluate", "run", "digits")
    story.tell(f"   the modular network itself: {Percent(before['accuracy'])}")
    results = {"modular network": before}
    modules = sorted(str(path.parent) for path in story.folder.glob("dist/*/manifest.json"))
    relative = [str(Path(path).relative_to(story.folder)) for path in modules]
    for strategy in ("fused", "independent"):
        story.run("compose", *relative, "--strategy", strategy, "-o", strategy)
        results[strategy] = story.run("evaluate", strategy, "digits")
        story.tell(f"   composed {strategy}: {Percent(results[strategy]['accuracy'])}")
    draw_confusions(results, story.folder / "confusion.svg")


def main(folder: Path) -> None:
    """Tell the whole story in a folder, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    project = folder / "project"
    project.mkdir(parents=True)
    story = Story(folder)
    train_and_cut(story)
    publish_and_install(story, project)
    compose_and_use(story, project)
    compare_all_ten(story)
    draw_retained_kernels(folder / "dist", folder / "retained-kernels.svg")
    draw_overlap(folder / "dist", folder / "overlap.svg")
    story.tell("\nPictures: " + ", ".join(str(path) for path in sorted(folder.glob("*.svg"))))
    story.tell(f"Done in {time.monotonic() - story.start:.0f} seconds.")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
