"""Data as people and converters have them load as they are meant, or are refused in words."""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from modpm.core.classifiers.classifier import as_classifier
from modpm.core.classifiers.evaluation import evaluate
from modpm.core.data import carve_validation, load_data, open_image, prepare_image
from modpm.core.errors import ModpmError
from modpm.core.modularizing.modularize import modularize
from modpm.core.training.loop import train

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SIZE = (16, 16)


def pixels(seed: int, kind: int = 0) -> np.ndarray:
    """Return an image of one of a few classes that a network can tell apart."""
    noise = np.random.default_rng(seed).integers(0, 80, (*SIZE, 3))
    noise[:, 5 * kind : 5 * kind + 4] += 150
    return noise.astype(np.uint8)


def encoded(seed: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels(seed)).save(buffer, "PNG")
    return buffer.getvalue()


def write_classes(
    folder: Path, n: int, classes: Sequence[str] = ("cat", "dog"), mode: str = "RGB"
) -> Path:
    for kind, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for seed in range(n):
            image = Image.fromarray(pixels(100 * kind + seed, kind)).convert(mode)
            image.save(folder / name / f"{seed:02d}.png")
    return folder


def write_table(path: Path, labels: Sequence[Any] | pa.Array, images: object = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [encoded(seed) for seed in range(len(labels))] if images is None else images
    pq.write_table(pa.table({"image": rows, "label": labels}), path)
    return path


# Folders


@pytest.mark.parametrize("beside", ["annotations", "test1", "samples"])
def test_folder_beside_those_of_splits_is_no_class_and_is_told(tmp_path: Path, beside: str) -> None:
    for split in ("train", "test"):
        write_classes(tmp_path / split, 4)
    write_classes(tmp_path, 1, [beside])
    data = load_data(tmp_path, "train")
    assert (data.classes, len(data)) == (("cat", "dog"), 8)
    assert data.notes == (f"left alone beside the folders of splits: {beside}",)


def test_class_called_like_a_split_is_a_class(tmp_path: Path) -> None:
    write_classes(tmp_path, 4, ("bus", "train"))
    assert load_data(tmp_path, "train").classes == ("bus", "train")


def test_folder_that_may_be_a_split_or_a_class_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, 4, ("bus", "car"))
    write_classes(tmp_path / "train", 4, ("diesel", "steam"))
    with pytest.raises(ModpmError, match="may be splits or classes") as caught:
        load_data(tmp_path, "train")
    assert caught.value.code == "unclear-splits"
    assert caught.value.why == "`train` holds folders, and `bus` images"


def test_two_spellings_of_one_split_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "valid"):
        write_classes(tmp_path / name, 2)
    with pytest.raises(ModpmError, match="mean the same split"):
        load_data(tmp_path, "train")


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", "__MACOSX"])
def test_hidden_folder_inside_a_class_is_left_alone(tmp_path: Path, hidden: str) -> None:
    write_classes(tmp_path / "train", 3)
    write_classes(tmp_path / "train" / "cat", 2, [hidden])
    assert load_data(tmp_path, "train").counts() == [3, 3]


def test_files_that_are_no_images_by_their_suffix_are_counted(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 3)
    for name in ("a.raw", "b.raw", "c.txt"):
        (tmp_path / "train" / "cat" / name).write_bytes(b"")
    note = "3 files of classes are no images by their suffix: 2 .raw, 1 .txt"
    assert load_data(tmp_path, "train").notes == (note,)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_a_pipe_that_is_called_an_image_is_not_waited_for(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 3)
    os.mkfifo(tmp_path / "train" / "cat" / "pipe.png")
    data = load_data(tmp_path, "train")
    assert data.counts() == [3, 3]
    assert "1 pipe" in data.notes[0]


def test_images_that_are_left_out_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 3)
    bad = tmp_path / "train" / "cat" / "01.png"
    bad.write_bytes(b"no image")
    (note,) = load_data(tmp_path, "train", skip_bad=True).notes
    assert note.startswith(f"1 of 6 images cannot be decoded and were left out, the first {bad}: ")


def test_training_says_what_was_left_out(tmp_path: Path) -> None:
    write_classes(tmp_path / "d" / "train", 8)
    (tmp_path / "d" / "train" / "cat" / "x.png").write_bytes(b"no image")
    said: list[str] = []
    train_few(tmp_path / "d", tmp_path / "run", skip_bad=True, report=said.append)
    assert [line.partition(",")[0] for line in said[2:]] == [
        "1 of 17 images cannot be decoded and were left out"
    ]


# Parquet


@pytest.mark.parametrize(
    "layout",
    [
        "{}/0000.parquet",
        "default/{}/0000.parquet",
        "default/partial-{}/0000.parquet",
        "data/{}-00000-of-00001.parquet",
        "data/{}-00000-of-00001-0123456789abcdef.parquet",
        "{}_0.parquet",
    ],
)
def test_layouts_of_converters_are_one_data_set(tmp_path: Path, layout: str) -> None:
    write_table(tmp_path / layout.format("train"), [0, 1, 2])
    write_table(tmp_path / layout.format("test"), [0, 1])
    assert len(load_data(tmp_path, "train")) == 3
    assert load_data(tmp_path, "test").classes == ("0", "1", "2")


def test_part_of_a_split_is_told(tmp_path: Path) -> None:
    write_table(tmp_path / "default" / "partial-train" / "0000.parquet", [0, 1])
    (note,) = load_data(tmp_path, "train").notes
    assert note == "partial-train is the first part of its split alone"


def test_configurations_of_a_converter_are_several_data_sets(tmp_path: Path) -> None:
    for name in ("large", "small"):
        write_table(tmp_path / name / "train" / "0000.parquet", [0, 1])
    with pytest.raises(ModpmError, match="several data sets") as caught:
        load_data(tmp_path, "train")
    assert caught.value.hint == f"name one of them: {tmp_path / 'large'}"
    assert len(load_data(tmp_path / "large", "train")) == 2


def test_split_whose_name_ends_in_a_number_keeps_it(tmp_path: Path) -> None:
    for name in ("fold_1", "fold_2"):
        write_table(tmp_path / f"{name}.parquet", [0, 1])
    assert len(load_data(tmp_path, "fold_2")) == 2


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([5_000_000_001, 20_240_101], ("20240101", "5000000001")),
        ([1, 2], ("1", "2")),
        ([0, 7], ("0", "7")),
        ([False, True], ("0", "1")),
        (["n02", "n01"], ("n01", "n02")),
    ],
)
def test_labels_are_whatever_numbers_or_names_there_are(
    tmp_path: Path, labels: list[Any], classes: tuple[str, ...]
) -> None:
    write_table(tmp_path / "train.parquet", labels)
    data = load_data(tmp_path, "train")
    assert data.classes == classes
    assert [classes[label] for label in data.labels] == [
        str(int(label)) if isinstance(label, int) else label for label in labels
    ]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([[0], [0, 1]], "neither names nor numbers"),
        ([{"a": 0}, {"a": 1}], "neither names nor numbers"),
        ([-1, -1], "2 of 2 rows have no label"),
        (["", "cat"], "1 of 2 rows have no label"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, labels: list[Any], said: str) -> None:
    write_table(tmp_path / "train.parquet", labels)
    with pytest.raises(ModpmError, match=said) as caught:
        load_data(tmp_path, "train")
    assert caught.value.code == "bad-labels"


ARROW_TYPES: dict[str, Callable[[list[bytes]], pa.Array]] = {
    "binary_view": lambda files: pa.array(files, pa.binary_view()),
    "large_binary": lambda files: pa.array(files, pa.large_binary()),
    "dictionary": lambda files: pa.array(files, pa.binary()).dictionary_encode(),
    "list": lambda files: pa.array([list(file) for file in files], pa.list_(pa.uint8())),
    "large_list": lambda files: pa.array([list(f) for f in files], pa.large_list(pa.uint8())),
    "struct of views": lambda files: pa.array(
        [{"bytes": file, "path": "a.png"} for file in files],
        pa.struct({"bytes": pa.binary_view(), "path": pa.string_view()}),
    ),
    "pixels": lambda files: pa.array(
        [np.asarray(Image.open(BytesIO(file))).tolist() for file in files],
        pa.list_(pa.list_(pa.list_(pa.uint8(), 3), SIZE[0]), SIZE[1]),
    ),
}


@pytest.mark.parametrize("kind", ARROW_TYPES)
def test_images_are_read_from_every_type_of_arrow(tmp_path: Path, kind: str) -> None:
    files = [encoded(seed) for seed in range(3)]
    write_table(tmp_path / "train.parquet", [0, 1, 1], ARROW_TYPES[kind](files))
    images = load_data(tmp_path, "train").images.permute(0, 2, 3, 1).numpy()
    assert np.array_equal(images, np.stack([pixels(seed) for seed in range(3)]))


@pytest.mark.parametrize(
    "labels",
    [
        pa.array(["b", "a", "b"], pa.string_view()),
        pa.array(["b", "a", "b"], pa.large_string()),
        pa.array(["b", "a", "b"]).dictionary_encode(),
    ],
    ids=["string_view", "large_string", "dictionary"],
)
def test_labels_are_read_from_every_type_of_arrow(tmp_path: Path, labels: pa.Array) -> None:
    write_table(tmp_path / "train.parquet", labels)
    data = load_data(tmp_path, "train")
    assert (data.classes, data.labels.tolist()) == (("a", "b"), [1, 0, 1])


def test_address_in_the_place_of_an_image_is_named(tmp_path: Path) -> None:
    path = "hf://datasets/someone/pets@main/cat.png"
    row_type = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = pa.array([{"bytes": None, "path": path}] * 2, row_type)
    write_table(tmp_path / "train.parquet", [0, 1], images)
    with pytest.raises(ModpmError, match=f"the row has no image, only its address {path}"):
        load_data(tmp_path, "train")


@pytest.mark.parametrize(
    "address", ["hf://datasets/someone/pets", "https://huggingface.co/datasets/someone/pets/"]
)
def test_address_of_a_data_set_is_followed(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(name: str, _split: str) -> None:
        asked.append(name)
        raise ModpmError("asked", code="hub-unreachable")

    monkeypatch.setattr("modpm.core.data.load.open_hub_data", refuse)
    with pytest.raises(ModpmError, match="asked"):
        load_data(address, "train")
    assert asked == ["someone/pets"]


# Gray and color


def test_images_are_read_in_the_channels_that_are_asked_for(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "d" / "train", 2).parent
    color, gray = load_data(folder, "train"), load_data(folder, "train", channels=1)
    assert (color.image_shape, gray.image_shape) == ((3, *SIZE), (1, *SIZE))
    expected = np.asarray(Image.fromarray(pixels(0)).convert("L"))
    assert np.array_equal(gray.images[0, 0].numpy(), expected)
    assert gray.notes == ("4 of 4 images are in color and were read as gray ones",)


def test_mixed_images_are_told(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 2)
    Image.fromarray(pixels(0)).convert("L").save(tmp_path / "train" / "cat" / "gray.png")
    data = load_data(tmp_path, "train")
    assert data.image_shape == (3, *SIZE)
    assert data.notes == ("1 of 5 images are gray and were read as images in color",)


def test_network_of_gray_images_sees_all_as_gray_in_every_verb(tmp_path: Path) -> None:
    write_classes(tmp_path / "d" / "train", 8, mode="L")
    write_classes(tmp_path / "d" / "test", 8)
    run = train_few(tmp_path / "d", tmp_path / "run")
    assert run.input.channels == 1
    said: list[str] = []
    modularize(run, output=tmp_path / "dist", license="MIT", report=said.append)
    assert said == [
        "16 of 16 images are in color and were read as gray ones",
        "the network was trained with 16 of the 16 test images",  # read so, they are the same
    ]
    subject = as_classifier(run)
    judged = run.data("test")
    files = sorted((tmp_path / "d" / "test").rglob("*.png"))
    opened = torch.stack([prepare_image(open_image(file), run.input) for file in files])
    assert torch.equal(opened, judged.images)
    predictions = subject.predict(open_image(file) for file in files)
    right = sum(one.label == file.parent.name for file, one in zip(files, predictions, strict=True))
    assert evaluate(subject, judged).accuracy == right / len(files)


# Before training


def train_few(data: Path, output: Path, **settings: Any) -> Any:  # noqa: ANN401 -- any setting
    return train(str(data), "digits_cnn", output=output, width=0.25, epochs=1, **settings)


@pytest.mark.parametrize("n", [3, 5, 14])
def test_few_images_a_class_train_and_cut(tmp_path: Path, n: int) -> None:
    for split in ("train", "test"):
        write_classes(tmp_path / "d" / split, n)
    run = train_few(tmp_path / "d", tmp_path / "run")
    assert run.validation_data().counts() == [2, 2]
    made = modularize(run, output=tmp_path / "dist", license="MIT")
    assert len(made.distributions) == 2


def test_too_few_images_are_told_before_training(tmp_path: Path) -> None:
    data = load_data(write_classes(tmp_path / "train", 2).parent, "train")
    with pytest.raises(ModpmError, match="too few images") as caught:
        carve_validation(data, 0.1, seed=0)
    assert caught.value.why == "`cat` has 2, `dog` has 2"


def test_classes_of_one_module_name_are_told_before_training(tmp_path: Path) -> None:
    write_classes(tmp_path / "langs", 8, ("C#", "C++", "Go"))
    with pytest.raises(ModpmError, match="several classes would be called `langs/c`"):
        train_few(tmp_path / "langs", tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Memory


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError("out of memory error when reading image file")]
)
def test_memory_that_is_exhausted_is_no_bad_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    write_classes(tmp_path / "train", 2)

    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr("modpm.core.data.decoding.to_array", fail)
    with pytest.raises(ModpmError, match="not enough memory") as caught:
        load_data(tmp_path, "train", skip_bad=True)
    assert caught.value.code == "out-of-memory"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep to the limit")
def test_sound_images_are_not_called_bad_where_memory_is_short(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("RGB", (4096, 4096)).save(tmp_path / "train" / name / "0.png", compress_level=1)
    code = (
        "import resource, torch; from modpm.core.data import load_data\n"
        "from modpm.core.errors import ModpmError\n"
        "used = 4096 * int(open('/proc/self/statm').read().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (48 << 20),) * 2)\n"
        f"try: load_data({str(tmp_path)!r}, 'train', skip_bad=True)\n"
        "except ModpmError as error: print(error.code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in {"out-of-memory", "data-too-large"}
