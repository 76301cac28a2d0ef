"""A folder of class-named folders of images, with or without `train/` and `test/`."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modpm.core.data.image_files import open_encoded, suffixes
from modpm.core.data.labeled_images import (
    IMAGES_AT_ONCE,
    SPLIT_NAMES,
    LabeledImages,
    canonical_split,
    missing_split,
)
from modpm.core.data.splitting import HELD_OUT_FRACTION, deal
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from PIL import Image

_SAMPLE_BYTES, _N_SAMPLES = 4096, 8  # of a file that is larger than these together


@dataclass(frozen=True)
class _Files:
    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def parts(self) -> Iterator[_Files]:
        for start in range(0, len(self), IMAGES_AT_ONCE):
            yield _Files(self.paths[start : start + IMAGES_AT_ONCE])

    def in_any_order(self) -> _Files:
        return self

    def open(self, index: int) -> Image.Image:
        return open_encoded(self.paths[index])

    def where(self, index: int) -> str:
        return str(self.paths[index])


def open_image_folder(folder: Path, split: str) -> LabeledImages:
    """Open a folder of class-named folders of images.

    The folder holds either one folder for each split (`train`, `test`, `validation` and their
    usual spellings) with the class-named folders in each, or the class-named folders themselves;
    then about a quarter of each class is the split `test`: what is in a file says which split it
    is in, so that another file moves none, and copies of one are together. Classes are all names
    found in any split, sorted. Hidden folders are left alone, and so are files without the suffix
    of an image and folders beside those of splits, which the notes tell.

    Raises:
        ModpmError: The split does not exist, there are no class-named folders or no images, or
            folders may be splits or classes.
    """
    split = canonical_split(split)
    splits, beside = _split_folders(folder)
    if splits and split not in splits:
        raise missing_split(str(folder), split, splits)
    if not splits and split not in {"train", "test"}:
        raise missing_split(str(folder), split, ("train", "test"))
    classes = _class_names(splits.values() if splits else [folder])
    root = splits.get(split, folder)
    paths, labels, others = _labeled_files(root, classes)
    if not paths:
        raise _no_class_folders(root)
    if not splits:
        places = np.array([_place(path) for path in paths])
        train, test = deal(places, labels, HELD_OUT_FRACTION)
        indices = train if split == "train" else test
        paths, labels = [paths[index] for index in indices], labels[indices]
    return LabeledImages(_Files(paths), labels, classes, _notes(beside, others), tuple(paths))


def _place(path: Path) -> float:
    """Return a number from 0 to 1 that a file has by what is in it, of a large one in samples."""
    try:
        with path.open("rb") as file:
            n_bytes = file.seek(0, os.SEEK_END)
            digest = hashlib.sha256(str(n_bytes).encode())
            for start in _sampled(n_bytes):
                file.seek(start)
                digest.update(file.read(_SAMPLE_BYTES))
    except OSError:  # which decoding will tell
        return 1.0
    return int.from_bytes(digest.digest()[:6], "big") / 2**48


def _sampled(n_bytes: int) -> Iterable[int]:
    """Return where samples of a file start, the last of which ends with it."""
    last = n_bytes - _SAMPLE_BYTES
    if n_bytes <= _N_SAMPLES * _SAMPLE_BYTES:
        return range(0, n_bytes, _SAMPLE_BYTES)
    return [last * i // (_N_SAMPLES - 1) for i in range(_N_SAMPLES)]


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__"))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path.name))


def _split_folders(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the folder of each split, and the names of folders beside them that are none.

    A name alone does not make a split: `train` may be a class of vehicles. Beside other folders,
    splits are those that hold folders, and a single one only beside folders without images.

    Raises:
        ModpmError: `unclear-splits`.
    """
    folders = _folders(folder)
    named = [path for path in folders if path.name.lower() in SPLIT_NAMES]
    others = [path for path in folders if path not in named]
    if others:
        named = [path for path in named if _folders(path) and not _holds_images(path)]
    if not named:
        return {}, []
    splits: dict[str, Path] = {}
    for path in named:
        other = splits.setdefault(canonical_split(path.name), path)
        if other != path:
            raise _unclear(folder, f"`{other.name}` and `{path.name}` mean the same split")
    images = next((path for path in others if image_files(path)[0]), None)
    if images is not None and len(splits) == 1:
        raise _unclear(folder, f"`{named[0].name}` holds folders, and `{images.name}` images")
    return splits, [path.name for path in others]


def _holds_images(folder: Path) -> bool:
    return any(_is_image(path.name) for path in folder.iterdir())


def _unclear(folder: Path, why: str) -> ModpmError:
    return ModpmError(
        "the folder's folders may be splits or classes",
        code="unclear-splits",
        where=str(folder),
        why=why,
        hint="have one folder for each split with the classes in it, or the classes alone",
    )


def _class_names(roots: Iterable[Path]) -> tuple[str, ...]:
    return tuple(sorted({path.name for root in roots for path in _folders(root)}))


def _labeled_files(
    root: Path, classes: tuple[str, ...]
) -> tuple[list[Path], np.ndarray, Counter[str]]:
    """Return the images of each class, their labels, and how many other files are beside them."""
    position = {name: index for index, name in enumerate(classes)}
    paths: list[Path] = []
    labels: list[int] = []
    others: Counter[str] = Counter()
    for folder in _folders(root):
        files, other = image_files(folder)
        paths += files
        labels += [position[folder.name]] * len(files)
        others += other
    return paths, np.array(labels, dtype=np.int64), others


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes()  # noqa: PTH122 -- ten times faster than a Path


def image_files(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return the images in a folder and in those below, and the suffixes of what else is there."""
    files: list[Path] = []
    others: Counter[str] = Counter()
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        # To open a pipe would be to wait for whoever writes to it.
        pipes = {n for n in names if Path(root, n).exists() and not Path(root, n).is_file()}
        files += [Path(root, name) for name in names if _is_image(name) and name not in pipes]
        others.update(
            "pipe" if name in pipes else Path(name).suffix.lower() or name
            for name in names
            if not name.startswith(".") and (name in pipes or not _is_image(name))
        )
    return sorted(files), others


def files_of(path: Path, report: Callable[[str], None]) -> list[Path]:
    """Return the images in a folder and below; of what is no folder itself.

    Args:
        path: The folder, or else a file.
        report: Is told how many files were left out, in a sentence.

    Raises:
        ModpmError: The folder has none (`no-images`).
    """
    return images_in(path, report) if path.is_dir() else [path]


def images_in(folder: Path, report: Callable[[str], None]) -> list[Path]:
    """Return the images in a folder and below.

    Args:
        folder: The folder.
        report: Is told how many files were left out, in a sentence.

    Raises:
        ModpmError: It has none, or is none (`no-images`).
    """
    files, others = image_files(folder)
    if not files:
        raise _no_images(folder, others)
    if others:
        report(f"{others.total()} files in {folder} {no_images(others)}")
    return files


def _no_images(folder: Path, others: Counter[str]) -> ModpmError:
    if folder.is_dir():
        what = "the folder has no images"
        why = f"its {others.total()} files {no_images(others)}" if others else "it holds no files"
    else:
        what = "there is no such folder of images"
        why = "it is a file" if folder.exists() else "nothing is there"
    return ModpmError(
        what,
        code="no-images",
        where=str(folder),
        why=why,
        hint="name a folder with images in it or below, such as .png, .jpg or .webp",
    )


def _notes(beside: Sequence[str], others: Counter[str]) -> tuple[str, ...]:
    notes = []
    if beside:
        notes.append(f"left alone beside the folders of splits: {', '.join(beside)}")
    if others:
        notes.append(f"{others.total()} files of classes {no_images(others)}")
    return tuple(notes)


def no_images(others: Counter[str]) -> str:
    """Say of files with some suffixes that they are left alone."""
    kinds = ", ".join(f"{n} {suffix}" for suffix, n in others.most_common(5))
    unread = [package for suffix, package in _READ_BY.items() if suffix in others]
    hint = f"; what reads some of them is missing here: {', '.join(unread)}" if unread else ""
    return f"are no images by their suffix: {kinds}{hint}"


_READ_BY = {".heic": "pillow-heif", ".avif": "a Pillow that has AVIF"}


def _no_class_folders(root: Path) -> ModpmError:
    n_beside = sum(path.suffix.lower() in suffixes() for path in root.iterdir() if path.is_file())
    empty = ", ".join(path.name for path in _folders(root)[:5])
    why = f"none of its folders has any: {empty}" if empty else "it has no folders"
    return ModpmError(
        "the folder has no images in class-named folders",
        code="no-images",
        where=str(root),
        why=f"{n_beside} images stand in it directly, without a class" if n_beside else why,
        hint="put the images of each class into a folder of its name: `cat/1.png`, `dog/1.png`",
    )
