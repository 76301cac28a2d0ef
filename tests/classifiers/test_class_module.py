from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from tests.composition.tiny_origins import images, publish, tiny_origin

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from pathlib import Path


def photo(seed: int = 0, size: int = 8) -> Image.Image:
    return Image.fromarray(images(1, seed=seed, size=size)[0].permute(1, 2, 0).numpy())


def test_a_module_read_from_a_folder_scores_as_the_one_that_was_written(tmp_path: Path) -> None:
    module = tiny_origin().module("cat", tiny_origin().some(1))
    read = ClassModule.from_folder(publish(module, tmp_path / "cat"))
    assert torch.equal(read.score_images(images(5)), module.score_images(images(5)))
    assert read.label == "tiny/cat"
    assert read.digest is not None


def test_a_module_gives_one_score_an_image() -> None:
    module = tiny_origin().module("cat")
    assert module(torch.zeros(3, 3, 8, 8)).shape == (3,)
    assert module.score_images(images(0)).shape == (0,)


def test_bytes_numbers_in_unit_range_and_pillow_images_score_alike() -> None:
    module = tiny_origin().module("cat")
    of_bytes = module.score_images(images(1))
    assert torch.equal(of_bytes, module.score_images(images(1).float() / 255))
    assert torch.equal(of_bytes, module.score_images(images(1)[0]))
    assert torch.equal(of_bytes, module.score_images(photo()))
    assert torch.equal(of_bytes, module.score_images([photo()]))


def test_preprocessing_normalizes_as_the_input_contract_says() -> None:
    module = tiny_origin().module("cat")
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (module.input.mean, module.input.std))
    expected = (images(2).double() / 255 - mean) / std
    found = module.preprocessing(images(2).float() / 255)
    torch.testing.assert_close(found, expected.float())


def test_a_color_image_is_gray_to_a_gray_module_as_pillow_makes_it() -> None:
    module = tiny_origin(channels=1).module("cat")
    gray = torch.from_numpy(np.array(photo().convert("L")))[None, None]
    assert torch.equal(module.score_images(images(1)), module.score_images(gray))
    assert torch.equal(module.score_images(photo()), module.score_images(gray))


def test_a_gray_image_is_every_color_to_a_color_module() -> None:
    module = tiny_origin().module("cat")
    gray = images(2, channels=1)
    assert torch.equal(module.score_images(gray), module.score_images(gray.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(24, 24), (7, 8), (9, 5), (3, 50), (31, 17), (8, 9)])
def test_pixels_of_any_size_and_colors_score_as_the_image_of_pillow_does(
    size: tuple[int, int], channels: int
) -> None:
    chance = torch.Generator().manual_seed(sum(size))
    for read in (1, 3):
        module = tiny_origin(channels=read).module("cat")
        shape = (3, channels, *size)
        pixels = torch.randint(256, shape, generator=chance, dtype=torch.uint8)
        squeezed = [one.permute(1, 2, 0).numpy().squeeze() for one in pixels]
        expected = module.score_images([Image.fromarray(one) for one in squeezed])
        assert torch.equal(module.score_images(pixels), expected)
        assert torch.equal(module.score_images(pixels.float() / 255), expected)
        assert torch.equal(module.score_images(pixels.double() / 255), expected)


def test_a_long_batch_is_cut_in_the_middle_as_pillow_images_are() -> None:
    module = tiny_origin().module("cat")
    pixels = images(1, size=16)[:, :, 4:12, :]
    image = Image.fromarray(pixels[0].permute(1, 2, 0).numpy())
    assert torch.equal(module.score_images(pixels[..., 4:12]), module.score_images(image))
    assert torch.equal(module.score_images(pixels), module.score_images(image))


@pytest.mark.parametrize(
    "bad",
    [
        torch.zeros(2, 4, 8, 8),
        torch.zeros(8, 8),
        torch.full((1, 3, 8, 8), 2.0),
        torch.full((1, 3, 8, 8), float("nan")),
        torch.zeros(1, 3, 8, 8, dtype=torch.int64),
        torch.zeros(1, 3, 0, 8),
    ],
)
def test_what_are_no_images_is_refused(bad: torch.Tensor) -> None:
    with pytest.raises(ModpmError) as raised:
        tiny_origin().module("cat").score_images(bad)
    assert raised.value.code == "bad-images"


def test_a_module_of_another_digest_is_refused(tmp_path: Path) -> None:
    folder = publish(tiny_origin().module("cat"), tmp_path / "cat")
    with pytest.raises(ModpmError) as raised:
        ClassModule.from_folder(folder, "sha256:" + "0" * 64)
    assert raised.value.code == "wrong-digest"


def test_a_module_with_a_changed_tensor_file_is_refused(tmp_path: Path) -> None:
    folder = publish(tiny_origin().module("cat"), tmp_path / "cat")
    path = folder / "module.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModpmError) as raised:
        ClassModule.from_folder(folder)
    assert raised.value.code == "wrong-digest"
