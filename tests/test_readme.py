"""Every line of code of the README runs, on small data in place of the real."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

CLASSES = (
    "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905 -- reads as a list of words
)
N_TRAINING, N_TEST = 16, 4  # images a class

NETWORK = """
from torch import nn

def make_network(n_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, n_classes),
    )
"""


def picture(label: int, chance: np.random.Generator) -> Image.Image:
    """Return an image whose colors tell its class."""
    color = np.array([25 * label, 255 - 25 * label, 128])
    noise = chance.integers(-20, 20, (32, 32, 3))
    return Image.fromarray((color + noise).clip(0, 255).astype(np.uint8))


def write_parquet(path: Path, n_images: int, chance: np.random.Generator) -> None:
    labels = [label for label in range(len(CLASSES)) for _ in range(n_images)]
    images = []
    for label in labels:
        png = io.BytesIO()
        picture(label, chance).save(png, "PNG")
        images.append({"bytes": png.getvalue(), "path": None})
    features = {"img": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": CLASSES}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("img", image_type), ("label", pa.int64())], metadata)
    pq.write_table(pa.table({"img": images, "label": labels}, schema), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that has what the README's reader has."""
    folder = tmp_path_factory.mktemp("readme")
    chance = np.random.default_rng(0)
    (folder / "cifar10").mkdir()
    write_parquet(folder / "cifar10" / "train-00000-of-00001.parquet", N_TRAINING, chance)
    write_parquet(folder / "cifar10" / "test-00000-of-00001.parquet", N_TEST, chance)
    picture(3, chance).save(folder / "photo.png")
    for label, name in enumerate(("tabby", "beagle")):
        (folder / "photos" / name).mkdir(parents=True)
        for index in range(20):
            picture(5 * label, chance).save(folder / "photos" / name / f"{index}.png")
    (folder / "mynetworks.py").write_text(NETWORK, "utf-8")
    return folder


def run(command: list[str], folder: Path, home: str = "home") -> subprocess.CompletedProcess[str]:
    binaries = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PATH": binaries + os.pathsep + os.environ["PATH"],
        "MODPM_HOME": str(folder / home),
        "HF_HUB_OFFLINE": "1",
    }
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def code_blocks(repository: Path, language: str) -> list[str]:
    text = (repository / "README.md").read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.slow
def test_every_line_of_shell_runs(repository: Path, folder: Path) -> None:
    for block in code_blocks(repository, "sh"):
        done = run(["sh", "-ec", block], folder)
        assert done.returncode == 0, done.stderr
    assert (folder / "pets.onnx").is_file()


@pytest.mark.slow
def test_every_line_of_python_runs(repository: Path, folder: Path) -> None:
    for block in code_blocks(repository, "python"):
        command = [sys.executable, "-W", "error::DeprecationWarning:modpm", "-c", block]
        # Somebody else's: the shell has installed signed releases of the namespace by now, and
        # whoever has takes no unsigned ones any more.
        done = run(command, folder, "other-home")
        assert done.returncode == 0, done.stderr
        assert "cifar10/" in done.stdout


def test_the_readme_has_both_commands_as_the_makefile_has_them(repository: Path) -> None:
    readme = (repository / "README.md").read_text("utf-8")
    targets = re.findall(r"^    make (\w+)", readme, re.MULTILINE)
    makefile = (repository / "Makefile").read_text("utf-8")
    assert targets == ["demo", "test"]
    assert all(f"\n{target}:" in makefile for target in targets)
