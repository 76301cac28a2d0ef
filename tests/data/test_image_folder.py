"""Folders of images load, and what is wrong with one is told."""

from __future__ import annotations

import shutil
import struct
import zlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, features

from modpm.core.data import load_data
from modpm.core.data.telling import tell
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CLASSES = ("ant", "bee", "cow")


def _random_image(seed: int, size: tuple[int, int] = (6, 5), mode: str = "RGB") -> Image.Image:
    width, height = size
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    pixels = np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)
    return Image.fromarray(pixels)


def _claiming(width: int, height: int) -> bytes:
    """Return a PNG file whose header says that it is that large."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT"


def _write(folder: Path, classes: Sequence[str] = CLASSES, n: int = 8) -> Path:
    for index, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(n):
            _random_image(100 * index + number).save(folder / name / f"{number:02d}.png")
    return folder


def test_folder_without_splits_is_divided_once_and_for_all(tmp_path: Path) -> None:
    folder = _write(tmp_path / "pets")
    train, test = load_data(folder, "train"), load_data(folder, "test")
    assert train.classes == test.classes == CLASSES
    assert [a + b for a, b in zip(train.counts(), test.counts(), strict=True)] == [8, 8, 8]
    assert min(train.counts()) >= 4
    assert min(test.counts()) >= 1
    assert train.image_shape == (3, 5, 6)
    expected = {
        np.asarray(_random_image(100 * i + k)).tobytes() for i in range(3) for k in range(8)
    }
    parts = torch.cat([train.images, test.images]).permute(0, 2, 3, 1)
    assert {image.numpy().tobytes() for image in parts.contiguous()} == expected
    assert test.fingerprint == load_data(str(folder), "test").fingerprint


def test_another_image_moves_none_and_a_copy_is_with_what_it_copies(tmp_path: Path) -> None:
    def of_a_split(split: str) -> set[bytes]:
        return {image.numpy().tobytes() for image in load_data(folder, split).images}

    folder = _write(tmp_path / "pets", n=40)
    before = of_a_split("train"), of_a_split("test")
    assert min(map(len, before)) > 20
    _random_image(1000).save(folder / "ant" / "0 is the first.png")
    for i, path in enumerate(sorted((folder / "bee").iterdir())):
        shutil.copy(path, folder / "cow" / f"copy {i}.png")
    train, test = of_a_split("train"), of_a_split("test")
    assert before[0] <= train
    assert before[1] <= test
    assert not train & test
    assert len(train) + len(test) == 121


def test_large_files_that_differ_in_the_middle_are_dealt_apart(tmp_path: Path) -> None:
    for name in CLASSES:
        (tmp_path / name).mkdir()
        for i in range(20):
            image = Image.new("RGB", (120, 120), "white")
            image.paste(_random_image(i, (60, 60)), (30, 30))
            image.save(tmp_path / name / f"{i}.bmp")
    assert (tmp_path / "ant" / "0.bmp").stat().st_size > 2**15
    counts = [load_data(tmp_path, split).counts() for split in ("train", "test")]
    # Written down once: a published fingerprint or accuracy must stay reproducible.
    assert counts == [[16, 16, 16], [4, 4, 4]]


def test_image_and_label_belong_together(tmp_path: Path) -> None:
    train = load_data(_write(tmp_path / "pets"), "train")
    for image, label in zip(train.images, train.labels.tolist(), strict=True):
        members = [_random_image(100 * label + k) for k in range(8)]
        pixels = image.permute(1, 2, 0).numpy()
        assert any(np.array_equal(pixels, np.asarray(member)) for member in members)


@pytest.mark.parametrize("spelling", ["val", "valid", "Validation"])
def test_folders_of_splits_are_recognized(tmp_path: Path, spelling: str) -> None:
    for name, n in (("train", 4), ("test", 3), (spelling, 2)):
        _write(tmp_path / "pets" / name, n=n)
    loaded = [load_data(tmp_path / "pets", name) for name in ("train", "test", "validation")]
    assert [len(data) for data in loaded] == [12, 9, 6]


def test_class_that_only_one_split_has_keeps_the_numbering(tmp_path: Path) -> None:
    _write(tmp_path / "train", ["ant", "cow"])
    _write(tmp_path / "test", ["bee", "cow"])
    train, test = load_data(tmp_path, "train"), load_data(tmp_path, "test")
    assert train.classes == test.classes == CLASSES
    assert (train.counts(), test.counts()) == ([8, 0, 8], [0, 8, 8])


def test_nested_folders_belong_to_their_class(tmp_path: Path) -> None:
    folder = _write(tmp_path / "pets")
    (folder / "ant" / "more").mkdir()
    _random_image(7).save(folder / "ant" / "more" / "x.PNG")
    n = [load_data(folder, split).counts()[0] for split in ("train", "test")]
    assert sum(n) == 9


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    folder = _write(tmp_path / "pets")
    (folder / "ant" / "notes.txt").write_text("not an image")
    (folder / "ant" / ".hidden.png").write_text("not an image")
    (folder / ".cache").mkdir()
    (folder / "README.md").write_text("pets")
    data = load_data(folder, "train")
    assert (data.classes, data.n_skipped) == (CLASSES, 0)


def test_missing_split_lists_those_found(tmp_path: Path) -> None:
    _write(tmp_path / "pets" / "train")
    with pytest.raises(ModpmError, match="the splits found are `train`"):
        load_data(tmp_path / "pets", "test")
    with pytest.raises(ModpmError, match="the splits found are `test`, `train`"):
        load_data(_write(tmp_path / "birds"), "validation")


@pytest.mark.parametrize("name", ["./absent", "a/b/c", "/absent", "~/absent/", "absent/"])
def test_missing_folder_is_told(name: str) -> None:
    with pytest.raises(ModpmError, match="no such folder") as caught:
        load_data(name, "train")
    assert caught.value.where == name


def test_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"")
    with pytest.raises(ModpmError, match="not a file"):
        load_data(tmp_path / "train.parquet", "train")


def test_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModpmError, match="no images in class-named folders"):
        load_data(tmp_path, "train")


def test_images_without_class_folders_are_told(tmp_path: Path) -> None:
    _random_image(0).save(tmp_path / "a.png")
    with pytest.raises(ModpmError, match="1 images stand in it directly"):
        load_data(tmp_path, "train")


def test_folder_called_digits_is_reached_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "digits")
    assert load_data("digits", "train").classes == tuple("0123456789")
    assert load_data("./digits", "train").classes == CLASSES


def test_local_folder_wins_over_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "cifar10")
    assert load_data("cifar10", "train").classes == CLASSES


def test_damaged_images_are_all_named(tmp_path: Path) -> None:
    folder = _write(tmp_path / "pets" / "train").parent
    truncated, text = folder / "train" / "ant" / "03.png", folder / "train" / "cow" / "05.png"
    truncated.write_bytes(truncated.read_bytes()[:-40])
    text.write_text("this is not an image")
    with pytest.raises(ModpmError, match="2 of 24 images cannot be decoded") as caught:
        load_data(folder, "train")
    assert caught.value.why is not None
    assert f"{truncated}: " in caught.value.why
    assert f"{text}: it is not an image of a known format" in caught.value.why
    assert "--skip-bad" in str(caught.value.hint)


def test_damaged_images_are_skipped_and_counted(tmp_path: Path) -> None:
    folder = _write(tmp_path / "train").parent
    whole = load_data(folder, "train")
    for name in ("ant/03.png", "cow/05.png"):
        path = folder / "train" / name
        path.write_bytes(path.read_bytes()[:-40])
    data = load_data(folder, "train", skip_bad=True)
    assert (data.n_skipped, data.counts()) == (2, [7, 8, 7])
    assert data.fingerprint == whole.select([i for i in range(24) if i not in (3, 21)]).fingerprint


def test_nothing_but_damaged_images_is_told(tmp_path: Path) -> None:
    for name in CLASSES:
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "0.png").write_text("no")
    with pytest.raises(ModpmError, match="none of its 3 images"):
        load_data(tmp_path, "train", skip_bad=True)


def test_other_sizes_become_the_commonest(tmp_path: Path) -> None:
    folder = _write(tmp_path / "train").parent
    _random_image(5, size=(60, 50)).save(folder / "train" / "ant" / "big.png")
    data = load_data(folder, "train")
    assert data.image_shape == (3, 5, 6)
    assert data.notes == ("1 of 25 images were resized to 6 x 5, the commonest size",)


def test_what_was_read_is_told(tmp_path: Path) -> None:
    folder = _write(tmp_path / "train", n=20).parent
    cat = folder / "train" / "ant"
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    _random_image(5, size=(60, 50)).save(cat / "big.png")
    _random_image(6, size=(5, 6)).save(cat / "turned.jpg", exif=turned)
    _random_image(7, mode="L").save(cat / "gray.png")
    (cat / "notes.txt").write_text("")
    (folder / "train" / "elk").mkdir()
    _random_image(8).save(folder / "train" / "elk" / "0.png")
    assert list(tell(load_data(folder, "train"))) == [
        "64 images of 4 classes: ant 23, bee 20, cow 20, elk 1",
        "images of 2 sizes from 6 x 5 to 60 x 50, read as 6 x 5, in color",
        "1 files of classes are no images by their suffix: 1 .txt",
        "1 of 64 images were resized to 6 x 5, the commonest size",
        "1 of 64 images were turned as their cameras say",
        "1 of 64 images are gray and were read as images in color",
        (
            "warning: `ant` has 23 times as many images as `elk`: judge by the balanced accuracy, "
            "which is the mean of the classes"
        ),
    ]


def test_a_size_that_trains_slowly_is_told(tmp_path: Path) -> None:
    for name in CLASSES:
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (520, 400), (i, 0, 0)).save(tmp_path / "train" / name / f"{i}.png")
    *_, last = tell(load_data(tmp_path, "train"))
    assert last == "images of more than 512 pixels train slowly: --image-size 224 makes them less"
    asked = tell(load_data(tmp_path, "train", image_size=512))
    assert not any("slowly" in sentence for sentence in asked)


@pytest.mark.skipif(find_spec("pillow_heif") is not None, reason="HEIC is read here")
def test_heic_is_counted_where_nothing_reads_it(tmp_path: Path) -> None:
    folder = _write(tmp_path / "train").parent
    (folder / "train" / "ant" / "photo.HEIC").write_text("")
    assert load_data(folder, "train").notes == (
        (
            "1 files of classes are no images by their suffix: 1 .heic; what reads some of them is "
            "missing here: pillow-heif"
        ),
    )


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read_where_pillow_can(tmp_path: Path) -> None:
    folder = _write(tmp_path / "train").parent
    Image.new("RGB", (6, 5), (250, 10, 10)).save(folder / "train" / "ant" / "99.avif", quality=100)
    data = load_data(folder, "train")
    assert data.counts() == [9, 8, 8]
    assert abs(int(data.images[8, 0].float().mean()) - 250) < 10


def test_size_that_is_asked_for_is_given_without_a_note(tmp_path: Path) -> None:
    folder = _write(tmp_path / "train").parent
    assert load_data(folder, "train", image_size=4).image_shape == (3, 4, 4)
    data = load_data(folder, "train", image_size=(4, 7))
    assert (data.image_shape, data.notes) == ((3, 4, 7), ())
    with pytest.raises(ModpmError, match="image size of 0 x 4"):
        load_data(folder, "train", image_size=(0, 4))
    with pytest.raises(ModpmError, match="image size of 4 x 4 x 3"):
        load_data(folder, "train", image_size=[4, 4, 3])


def test_gray_images_have_one_channel_only_if_all_are_gray(tmp_path: Path) -> None:
    for name in CLASSES:
        (tmp_path / "train" / name).mkdir(parents=True)
        _random_image(1, mode="L").save(tmp_path / "train" / name / "0.png")
        sixteen_bits = np.asarray(_random_image(2, mode="L")).astype(np.uint16) * 257
        Image.fromarray(sixteen_bits).save(tmp_path / "train" / name / "1.png")
    gray = load_data(tmp_path, "train")
    assert gray.image_shape == (1, 5, 6)
    assert np.array_equal(gray.images[1, 0].numpy(), np.asarray(_random_image(2, mode="L")))
    _random_image(3).save(tmp_path / "train" / "ant" / "2.png")
    mixed = load_data(tmp_path, "train")
    assert mixed.image_shape == (3, 5, 6)
    assert torch.equal(mixed.images[0], gray.images[0].expand(3, 5, 6))


def test_enormous_images_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    folder = _write(tmp_path / "train", n=2).parent
    for name, width in (("bomb.png", 10_000), ("bomb2.png", 30_000)):
        (folder / "train" / "ant" / name).write_bytes(_claiming(width, 9_000))
    with pytest.raises(ModpmError, match=r"enormous \(10000 x 9000\)") as caught:
        load_data(folder, "train")
    assert "2 of 8 images" in caught.value.what


def test_images_larger_than_a_module_reads_are_refused_before_any_is_decoded(
    tmp_path: Path,
) -> None:
    folder = _write(tmp_path / "pets")
    with pytest.raises(ModpmError, match="at most 4096 pixels") as caught:
        load_data(folder, "train", image_size=99_999_999_999)
    assert caught.value.code == "bad-image-size"
    wide = tmp_path / "wide"
    for name in CLASSES:
        (wide / name).mkdir(parents=True)
        for number in range(3):
            _random_image(number, (4200, 2)).save(wide / name / f"{number}.png")
    with pytest.raises(ModpmError, match="2 x 4200"):
        load_data(wide, "train")
    assert load_data(wide, "train", image_size=(4, 4)).image_shape == (3, 4, 4)
