"""Tensors, data sets and loaders of torch, as one data set."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from modpm.core.data import GivenImages, as_data, load_data, prepare_image
from modpm.core.data.given_images import images_of_folder
from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import InputContract
from modpm.core.system.whole_files import write_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

NAMES = ("cat", "dog", "owl")
SIZE = (5, 4)


def drawn(n: int = 9, channels: int = 3) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(n)
    images = torch.randint(256, (n, channels, *SIZE), generator=chance, dtype=torch.uint8)
    return images, torch.arange(n) % len(NAMES)


class Pairs(Dataset[Any]):
    """What a user's own data set is: anything, with a length."""

    def __init__(self, pairs: Sequence[object], classes: Sequence[str] | None = None) -> None:
        self.pairs = pairs
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> object:
        return self.pairs[index]


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        image, label = torch.zeros(1, *SIZE), torch.tensor(0)
        return itertools.repeat((image, label))


class SaysThree(Endless):
    def __len__(self) -> int:
        return 3


def picture(image: Tensor) -> Image.Image:
    array = image.permute(1, 2, 0).numpy()
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


FORMS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "bytes": lambda x, y: (x, y),
    "a list": lambda x, y: [x, y.to(torch.int32)],
    "arrays": lambda x, y: (x.numpy(), y.numpy()),
    "numbers to 1": lambda x, y: (x / 255, y),
    "half precision": lambda x, y: ((x / 255).half(), y),
    "channels last": lambda x, y: (x.contiguous(memory_format=torch.channels_last), y),
    "a Dataset of tensors": TensorDataset,
    "a Dataset of pictures": lambda x, y: Pairs([*zip(map(picture, x), y.tolist(), strict=True)]),
    "a DataLoader": lambda x, y: DataLoader(TensorDataset(x / 255, y), batch_size=4),
    "splits": lambda x, y: {"train": (x, y), "test": (x[:1], y[:1])},
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", FORMS)
def test_one_data_set_is_the_same_in_every_form(form: str, channels: int) -> None:
    images, labels = drawn(channels=channels)

    data = load_data(as_data(FORMS[form](images, labels), NAMES), "train")

    assert torch.equal(data.images, images)
    assert torch.equal(data.labels, labels)
    assert data.classes == NAMES


def test_a_name_stays_a_name(tmp_path: Path) -> None:
    assert as_data("digits", None) == "digits"
    assert as_data(tmp_path, None) == tmp_path


def test_a_data_set_names_its_classes_itself_also_through_what_is_around_it() -> None:
    images, labels = drawn()
    named = Pairs([*zip(images, labels, strict=True)], NAMES)
    loader = DataLoader(Subset(named, range(6)), batch_size=2)

    for data in (named, loader, {"test": loader}):
        found = as_data(data, None)
        assert isinstance(found, GivenImages)
        assert found.classes == NAMES


def test_names_that_are_given_win() -> None:
    images, labels = drawn()
    named = Pairs([*zip(images, labels, strict=True)], NAMES)

    assert load_data(as_data(named, ("a", "b", "c")), "train").classes == ("a", "b", "c")


def test_images_of_different_sizes_are_brought_to_one_as_files_are() -> None:
    chance = np.random.default_rng(0)
    sizes = [(8, 6), (5, 9), (7, 7)]
    pictures = [
        Image.fromarray(chance.integers(0, 256, (*size, 3), np.uint8, endpoint=False))
        for size in sizes
    ]
    pairs = Pairs([*zip(pictures, range(3), strict=True)])
    contract = InputContract(channels=3, height=4, width=6, mean=[0.5] * 3, std=[0.5] * 3)

    data = load_data(as_data(pairs, NAMES, (4, 6)), "train", image_size=(4, 6))

    expected = torch.stack([prepare_image(one, contract) for one in pictures])
    assert torch.equal(data.images, expected)


def test_gray_images_among_colored_ones_become_colored() -> None:
    gray, colored = drawn(1, 1)[0][0], drawn(1, 3)[0][0]

    data = load_data(as_data(Pairs([(gray, 0), (colored, 1)]), NAMES), "train")

    assert torch.equal(data.images, torch.stack([gray.expand(3, -1, -1), colored]))


def test_a_folder_keeps_a_data_set(tmp_path: Path) -> None:
    images, labels = drawn()
    given = as_data({"train": (images, labels), "val": (images[:2], labels[:2])}, NAMES)
    assert isinstance(given, GivenImages)

    write_folder(tmp_path / "run", given.files())

    folder = tmp_path / "run" / "data"
    kept = images_of_folder(folder)
    assert kept is not None
    assert given.is_same(kept)
    for split in ("train", "validation"):
        one, other = load_data(given, split), load_data(folder, split)
        assert one.fingerprint == other.fingerprint
    with pytest.raises(ModpmError, match="no split `test`") as caught:
        load_data(folder, "test")
    assert caught.value.code == "split-not-found"


@pytest.mark.parametrize("name", ["classes.json", "train.safetensors"])
def test_a_damaged_folder_is_our_error(tmp_path: Path, name: str) -> None:
    given = as_data(drawn(), NAMES)
    assert isinstance(given, GivenImages)
    write_folder(tmp_path, given.files())
    (tmp_path / "data" / name).write_bytes(b"{")

    with pytest.raises(ModpmError):
        load_data(tmp_path / "data", "train")


X, Y = drawn()
BAD: dict[str, tuple[Any, str, str]] = {
    "a label too many": ((X, Y + 1), "bad-labels", "labels are from 1 to 3, and 3 classes"),
    "a label below 0": ((X, Y - 1), "bad-labels", "from -1 to 1"),
    "labels one-hot": ((X, torch.eye(3)[Y]), "bad-labels", "(9, 3) of torch.float32"),
    "labels too few": ((X, Y[:4]), "bad-labels", "(4,)"),
    "normalized images": (((X / 255 - 0.5) / 0.2, Y), "bad-images", "numbers are from -2.5 to"),
    "numbers that are none": ((X / 0, Y), "bad-images", "numbers are from"),
    "whole numbers": ((X.int(), Y), "bad-images", "they are of torch.int32"),
    "no channels": ((X[:, 0], Y), "bad-images", "of shape (9, 5, 4)"),
    "channels last": ((X.permute(0, 2, 3, 1), Y), "bad-images", "of shape (9, 5, 4, 3)"),
    "words": ((X, ["cat"] * 9), "bad-images", "a list is no tensor"),
    "one tensor": (X, "bad-images", "a Tensor is no data set"),
    "a generator": ((pair for pair in [(X, Y)]), "bad-images", "a generator is no data set"),
    "three of them": (TensorDataset(X, Y, Y), "bad-images", "it gives a tuple, not a pair"),
    "dictionaries": (Pairs([{"image": X[0], "label": 0}]), "bad-images", "it gives a dict"),
    "two sizes": (Pairs([(X[0], 0), (X[0, :, 1:], 1)]), "bad-images", "2 sizes, such as 4 x 4"),
    "no range": (Pairs([(Image.new("F", (4, 4)), 0)]), "bad-images", "floating-point pixels"),
    "nothing": ((X[:0], Y[:0]), "no-images", ""),
    "an empty data set": (Pairs([]), "no-images", ""),
    "an empty loader": (DataLoader(Pairs([]), batch_size=2), "no-images", ""),
    "no end": (DataLoader(Endless(), batch_size=2), "bad-images", "may have no end"),
    "no end of images": (Endless(), "bad-images", "Endless has no length, and may have no end"),
    "more than is said": (SaysThree(), "bad-images", "its length is 3, and gives more"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_refused_with_its_reason(case: str) -> None:
    data, code, why = BAD[case]

    with pytest.raises(ModpmError) as caught:
        as_data(data, NAMES)

    assert caught.value.code == code
    assert why in (caught.value.why or "")


@pytest.mark.parametrize("names", [None, "cat", (), ("cat", 3, "owl"), ("cat", "cat", "owl")])
def test_classes_need_names_that_differ(names: Any) -> None:  # noqa: ANN401 -- whatever is given
    with pytest.raises(ModpmError) as caught:
        as_data(drawn(), names)

    assert caught.value.code == "bad-class-names"


def test_what_fails_in_the_code_of_a_user_names_its_line() -> None:
    class Failing(Pairs):
        def __getitem__(self, index: int) -> object:
            raise KeyError(f"no image {index}")

    with pytest.raises(ModpmError, match="data set fails") as caught:
        as_data(Failing([1, 2]), NAMES)

    assert caught.value.code == "bad-images"
    assert (caught.value.where or "").startswith(__file__)
    assert "no image 0" in (caught.value.why or "")
