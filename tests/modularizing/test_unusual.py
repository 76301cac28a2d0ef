"""What is taken off scores of images that are unlike all that an origin was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 -- torch's own name for it

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.composition.compose import compose_modules
from modpm.core.composition.fused import fuse
from modpm.core.data import ImageData
from modpm.core.formats.manifest import InputContract
from modpm.core.graph import build
from modpm.core.modularizing import fitting
from modpm.core.modularizing.cutting import cut
from modpm.core.origins.unusual import Penalty, fit_penalty

if TYPE_CHECKING:
    from torch import Tensor

    from modpm.core.modularizing.modularization import Modularization
    from modpm.core.origins.origin import OriginNetwork

PROCESSOR = torch.device("cpu")
ROUNDED = 1e-3


def contract(channels: int) -> InputContract:
    one, other = [0.4] * channels, [0.3] * channels
    return InputContract(channels=1 if channels == 1 else 3, height=9, width=7, mean=one, std=other)


def smooth(n: int, channels: int, seed: int = 0) -> Tensor:
    """Return images that vary slowly, as photos do."""
    chance = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 3, 3, generator=chance)
    return (F.interpolate(coarse, (9, 7), mode="bilinear") * 255).to(torch.uint8)


def fitted(images: Tensor) -> Penalty | None:
    data = ImageData(images, torch.zeros(len(images), dtype=torch.int64), ("a",), "made", "train")
    return fit_penalty(data, contract(images.shape[1]), "unusual", PROCESSOR)


def taken_off(penalty: Penalty, images: Tensor) -> Tensor:
    network = build(penalty.graph, penalty.tensors).eval()
    with torch.no_grad():
        return network.predict((images / 255 - 0.4) / 0.3).squeeze(1)


def expected(images: Tensor, known: Tensor) -> np.ndarray:
    """Return what is to be taken off, filter by filter, by the inverse of the covariances."""
    point, across, spot = np.zeros((3, 3, 3))
    point[1, 1] = 1
    across[1, 0], across[1, 2] = -1, 1
    spot[1, 1] = 2
    spot[0, 1] = spot[1, 0] = spot[1, 2] = spot[2, 1] = -0.5
    gray = [point, across, spot]
    filters = [[(1.0, one)] for one in gray]
    if images.shape[1] == 3:
        opponents = [(1.0, -1.0, 0.0), (0.5, 0.5, -1.0)]
        filters = [[(1 / 3, one)] * 3 for one in gray]
        filters += [[(share, point) for share in one] for one in opponents]
        filters.append([(share, spot) for share in opponents[0]])

    def numbers(pixels: Tensor) -> list[float]:
        image = np.pad((pixels.numpy() / 255 - 0.4) / 0.3, ((0, 0), (1, 1), (1, 1)))
        values = np.array(
            [
                [
                    sum(
                        share * (kernel * image[c, y : y + 3, x : x + 3]).sum()
                        for c, (share, kernel) in enumerate(one)
                    )
                    for y in range(0, 9, 2)
                    for x in range(0, 7, 2)
                ]
                for one in filters
            ]
        )
        return [*np.maximum(values, 0).mean(1), *(values**2).mean(1)]

    def distances(of: np.ndarray, others: np.ndarray) -> np.ndarray:
        covariance = np.cov(others.T, bias=True)
        shrunk = 0.9 * covariance + np.diag(0.1 * np.diag(covariance) + 1e-8)
        apart = of - others.mean(0)
        scaled = apart / apart.shape[1]
        found: np.ndarray = np.einsum("ni,ij,nj->n", apart, np.linalg.inv(shrunk), scaled)
        return found

    own = np.array([numbers(one) for one in known])
    halves = own[::2], own[1::2]
    crossed = [*distances(halves[0], halves[1]), *distances(halves[1], halves[0])]
    limit = np.quantile(crossed, 0.95)
    found = distances(np.array([numbers(one) for one in images]), own)
    taken: np.ndarray = np.clip(4 * (found / limit - 1), 0, 50)
    return taken


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_taken_off_is_what_a_loop_over_pixels_says(channels: int) -> None:
    known = smooth(60, channels)
    penalty = fitted(known)
    assert penalty is not None
    noise = torch.randint(0, 256, (5, channels, 9, 7), generator=torch.Generator().manual_seed(1))
    images = torch.cat([smooth(20, channels, seed=1), noise.to(torch.uint8) // 3])
    found = taken_off(penalty, images).numpy()
    np.testing.assert_allclose(found, expected(images, known), rtol=ROUNDED, atol=ROUNDED)
    assert (found == 0).any()
    assert ((found > 0) & (found < 50)).any()


def test_nothing_is_taken_off_nearly_all_images_like_the_held_out_ones() -> None:
    penalty = fitted(smooth(400, 3))
    assert penalty is not None
    assert (penalty.held_out == 0).double().mean() == pytest.approx(0.95)
    assert (taken_off(penalty, smooth(400, 3, seed=1)) == 0).double().mean() > 0.9
    noise = torch.randint(0, 256, (50, 3, 9, 7), generator=torch.Generator().manual_seed(1))
    assert taken_off(penalty, noise.to(torch.uint8)).min() > 10


def test_one_image_does_not_say_what_is_usual() -> None:
    assert fitted(smooth(1, 3)) is None


def test_of_images_that_never_vary_others_are_told_and_no_number_is_lost() -> None:
    same = torch.full((6, 1, 9, 7), 100, dtype=torch.uint8)
    penalty = fitted(same)
    assert penalty is not None
    found = taken_off(penalty, torch.cat([same[:1], smooth(3, 1)]))
    assert torch.isfinite(found).all()
    assert found[0] == 0
    assert (found[1:] == 50).all()


def modules_of(made: Modularization) -> list[ClassModule]:
    return [ClassModule.from_folder(one.folder) for one in made.distributions]


def noise_like(module: ClassModule) -> Tensor:
    shape = (8, module.input.channels, module.input.height, module.input.width)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_modules_take_it_off_their_scores_all_the_same(made: Modularization) -> None:
    images, seen = noise_like(modules_of(made)[0]), []
    for module in modules_of(made):
        name, score = module.manifest.output.penalty, module.manifest.output.score
        assert isinstance(name, str)
        before = module.graph.node(score).inputs[0]
        values = module.network.run(module.preprocessing(images), (before, name, score))
        torch.testing.assert_close(values[score], values[before] - values[name])
        seen.append(values[name])
        assert (values[name] > 0).all()
    assert all(torch.equal(one, seen[0]) for one in seen)


def test_fused_modules_take_it_off_once_for_every_label(made: Modularization) -> None:
    modules = modules_of(made)[:3]
    images = modules[0].preprocessing(noise_like(modules[0]))
    labels = [module.label for module in modules]
    plain = []
    for module in modules:
        output = msgspec.structs.replace(module.manifest.output, penalty=msgspec.UNSET)
        manifest = msgspec.structs.replace(module.manifest, output=output)
        plain.append(ClassModule(manifest, module.tensors))
    penalty = modules[0].manifest.output.penalty
    assert isinstance(penalty, str)
    taken = modules[0].network.run(images, (penalty,))[penalty]
    without = fuse(plain, labels)(images)
    torch.testing.assert_close(fuse(modules, labels)(images), without - taken)
    # One module that says it is enough: images of one origin are unusual for all its modules.
    torch.testing.assert_close(fuse([plain[0], *modules[1:]], labels)(images), without - taken)


def test_held_out_scores_are_less_it(
    origin: OriginNetwork, made: Modularization, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = made.masks
    with_it = fitting.fit_networks(origin, masks, "platt", lambda _done, _of: None)
    monkeypatch.setattr(fitting, "MOST_FOR_PENALTY", 0.0)
    without = fitting.fit_networks(origin, masks, "platt", lambda _done, _of: None)
    assert origin.penalty is not None
    assert (origin.penalty.held_out > 0).any()
    for one, other in zip(with_it, without, strict=True):
        assert (one.scored.penalty, other.scored.penalty) == ("unusual.penalty", None)
        less = other.fitted.held_out_scores - origin.penalty.held_out
        torch.testing.assert_close(one.fitted.held_out_scores, less)


def test_it_is_left_out_where_it_is_more_than_a_twentieth_of_the_smallest_module(
    origin: OriginNetwork,
) -> None:
    few = {layer: torch.zeros(1, n, dtype=torch.bool) for layer, n in origin.kernels.items()}
    for mask in few.values():
        mask[:, 0] = True
    network = cut(origin.graph, origin.tensors, few, 0)
    penalty = origin.penalty
    assert penalty is not None
    n_bytes = sum(tensor.nbytes for tensor in network.tensors.values())
    assert penalty.size_bytes > fitting.MOST_FOR_PENALTY * n_bytes
    assert fitting.affordable_penalty(origin, [network]) is None


def test_a_classifier_keeps_the_order_of_its_labels(made: Modularization) -> None:
    modules = modules_of(made)
    classifier = compose_modules(modules, "independent")
    images = noise_like(modules[0])
    scores = classifier.score_images(images)
    usual = []
    for module in modules:
        before = module.graph.node(module.manifest.output.score).inputs[0]
        usual.append(module.network.run(module.preprocessing(images), (before,))[before])
    assert torch.equal(scores.argsort(1), torch.cat(usual, 1).argsort(1))
    assert (scores < torch.cat(usual, 1)).all()
