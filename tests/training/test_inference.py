"""One pass over many images: the values of one batch, whatever is asked besides."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modpm.core.data import normalize
from modpm.core.formats.manifest import InputContract
from modpm.core.graph import GraphNetwork, build, trace
from modpm.core.networks import create
from modpm.core.training import inference
from modpm.core.training.inference import accuracy, images_at_once, normalizing, predict, read

CONTRACT = InputContract(channels=1, height=8, width=8, mean=[0.3], std=[0.4])
ROUNDED = 1e-5


@pytest.fixture(scope="module")
def network() -> GraphNetwork:
    """Return a network in training mode."""
    return build(*trace(create("digits_cnn", 3, 1, 0.25), torch.zeros(2, 1, 8, 8))).train()


def some_images(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)


def test_batches_give_what_all_images_at_once_give(
    network: GraphNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "BATCH_SIZE", 7)
    images, told = some_images(17), []
    names = (network.graph.nodes[2].name, network.graph.output)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    values = read(
        network, images, normalizing(CONTRACT), names, progress=lambda *step: told.append(step)
    )
    assert network.training
    assert told == [(7, 17), (14, 17), (17, 17)]
    assert all(torch.equal(network.state_dict()[name], was) for name, was in before.items())
    with torch.no_grad():
        expected = network.eval().run(normalize(images, CONTRACT.mean, CONTRACT.std), names)
    network.train()
    for name in names:
        torch.testing.assert_close(values[name], expected[name], rtol=ROUNDED, atol=ROUNDED)
        assert not values[name].requires_grad
    outputs = predict(network, images, normalizing(CONTRACT))
    torch.testing.assert_close(outputs, expected[names[1]], rtol=ROUNDED, atol=ROUNDED)


@pytest.mark.parametrize(
    ("height", "width", "n"), [(8, 8, 100), (64, 64, 100), (224, 224, 8), (3000, 4000, 1)]
)
def test_a_batch_of_large_images_has_fewer_of_them(height: int, width: int, n: int) -> None:
    images = torch.empty(0, 3, height, width, dtype=torch.uint8)
    assert images_at_once(images, torch.device("cpu")) == n
    assert images_at_once(images, torch.device("meta")) >= n


def test_an_output_is_what_predicting_gives(network: GraphNetwork) -> None:
    outputs = predict(network, some_images(9), normalizing(CONTRACT))
    with torch.no_grad():
        batch = normalize(some_images(9), CONTRACT.mean, CONTRACT.std)
        predicted = network.eval().predict(batch)
        unfolded = network(batch)
    network.train()
    assert torch.equal(outputs, predicted)
    assert not torch.equal(predicted, unfolded)  # normalizations are folded


def test_what_is_kept_of_a_batch_comes_as_it_is(network: GraphNetwork) -> None:
    output = network.graph.output
    kept = read(
        network,
        some_images(5),
        normalizing(CONTRACT),
        (output,),
        kept=lambda values: {"best": values[output].argmax(1)},
    )
    assert kept["best"].dtype == torch.int64
    assert torch.equal(
        kept["best"], predict(network, some_images(5), normalizing(CONTRACT)).argmax(1)
    )


def test_a_pass_of_less_precision_gives_nearly_the_same_in_single_precision(
    network: GraphNetwork,
) -> None:
    images = some_images(40)
    exact = predict(network, images, normalizing(CONTRACT))
    near = predict(network, images, normalizing(CONTRACT), precision=torch.bfloat16)
    assert near.dtype == torch.float32
    assert not torch.equal(near, exact)
    assert float((near - exact).abs().max()) < 0.05 * float(exact.abs().max())  # 8 bits, 3 layers


def test_a_network_is_taken_to_the_device_that_is_asked_for(network: GraphNetwork) -> None:
    seen: list[str] = []

    def prepare(pixels: Tensor) -> Tensor:
        seen.append(pixels.device.type)
        return torch.empty(0, 1, 8, 8, device=pixels.device)

    taken = build(network.graph, network.state_dict())
    with pytest.raises(NotImplementedError, match="meta"):  # nothing comes back from there
        predict(taken, some_images(2), prepare, device=torch.device("meta"))
    assert seen == ["meta"]
    assert {tensor.device.type for tensor in taken.parameters()} == {"meta"}


def test_accuracy_of_no_images_is_0() -> None:
    assert accuracy(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)) == 0
