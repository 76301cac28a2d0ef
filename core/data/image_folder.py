"""A folder of class-named folders of images, with or without `train/` and `test/`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modpm.core.data.image_files import open_encoded
from modpm.core.data.labelled_images import LabelledImages, missing_split
from modpm.core.data.splitting import HELD_OUT_FRACTION, SPLIT_SEED, stratified_split
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from PIL import Image

_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
)
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}


@dataclass(frozen=True)
class _Files:
    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def open(self, index: int) -> Image.Image:
        return open_encoded(self.paths[index])

    def where(self, index: int) -> str:
        return str(self.paths[index])


def open_image_folder(folder: Path, split: str) -> LabelledImages:
    """Open a folder of class-named folders of images.

    The folder holds either one folder for each split (`train`, `test`, `validation` and their
    usual spellings) with the class-named folders in each, or the class-named folders themselves;
    then a quarter of each class, drawn once with a fixed seed, is the split `test`. Classes are
    all names found in any split, sorted. Files without the suffix of an image are left alone.

    Raises:
        ModpmError: The split does not exist, or there are no class-named folders or no images.
    """
    splits = _split_folders(folder)
    if splits and split not in splits:
        raise missing_split(str(folder), split, splits)
    if not splits and split not in {"train", "test"}:
        raise missing_split(str(folder), split, ("train", "test"))
    classes = _class_names(splits.values() if splits else [folder])
    root = splits.get(split, folder)
    paths, labels = _labelled_files(root, classes)
    if not paths:
        raise _no_class_folders(root)
    if not splits:
        train, test = stratified_split(labels, HELD_OUT_FRACTION, SPLIT_SEED)
        indices = train if split == "train" else test
        paths, labels = [paths[index] for index in indices], labels[indices]
    return LabelledImages(_Files(paths), labels, classes)


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))
    )


def _split_folders(folder: Path) -> dict[str, Path]:
    named = {path.name.lower(): path for path in _folders(folder)}
    if not named or not named.keys() <= _SPLIT_NAMES.keys():
        return {}
    return {_SPLIT_NAMES[name]: path for name, path in named.items()}


def _class_names(roots: Iterable[Path]) -> tuple[str, ...]:
    return tuple(sorted({path.name for root in roots for path in _folders(root)}))


def _labelled_files(root: Path, classes: tuple[str, ...]) -> tuple[list[Path], np.ndarray]:
    position = {name: index for index, name in enumerate(classes)}
    paths: list[Path] = []
    labels: list[int] = []
    for folder in _folders(root):
        files = _image_files(folder)
        paths += files
        labels += [position[folder.name]] * len(files)
    return paths, np.array(labels, dtype=np.int64)


def _image_files(folder: Path) -> list[Path]:
    return sorted(
        Path(root, name)
        for root, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and Path(name).suffix.lower() in _SUFFIXES
    )


def _no_class_folders(root: Path) -> ModpmError:
    n_beside = sum(path.suffix.lower() in _SUFFIXES for path in root.iterdir() if path.is_file())
    return ModpmError(
        "the folder has no images in class-named folders",
        code="no-images",
        where=str(root),
        why=f"{n_beside} images stand in it directly, without a class" if n_beside else None,
        hint="put the images of each class into a folder of its name: `cat/1.png`, `dog/1.png`",
    )
