"""Networks of timm and torchvision come by their names there, with their own weights or anew."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.networks.other_libraries import library

from modpm.core.errors import ModpmError
from modpm.core.networks import check_network, create, own_normalization
from modpm.core.training.loop import train

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from modpm.core.formats.manifest import InputContract

SMALL = {"timm": "test_resnet", "torchvision": "shufflenet_v2_x0_5"}


def assert_alike(network: nn.Module, other: nn.Module, *, but_for: str) -> None:
    tensors, others = network.state_dict(), other.state_dict()
    assert tensors.keys() == others.keys()
    differing = {name for name, x in tensors.items() if not torch.equal(x, others[name])}
    assert {name.split(".")[0] for name in differing} == {but_for}


@pytest.mark.parametrize("name", SMALL)
def test_a_library_makes_a_network_for_the_classes(name: str) -> None:
    library(name)
    network = create(f"{name}:{SMALL[name]}", 7)
    check_network(network, (3, 64, 64), 7)


def test_a_network_of_timm_takes_gray_images() -> None:
    library("timm")
    check_network(create("timm:test_resnet.r160_in1k", 7, 1), (1, 64, 64), 7)


def test_pretrained_weights_of_timm_come_with_a_new_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library("timm")
    trained = create("timm:test_resnet", 1000)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    registry = sys.modules["timm.models._registry"]._model_pretrained_cfgs
    ours = replace(registry["test_resnet"], file=str(tmp_path / "w.safetensors"))
    monkeypatch.setitem(registry, "test_resnet", ours)
    heads: list[str] = []
    for n_classes in (5, 1000):
        network = create("timm:test_resnet", n_classes, pretrained=True, on_new_head=heads.append)
        if n_classes == 5:
            network.reset_classifier(1000)  # type: ignore[operator]  # timm's
            assert_alike(network, trained, but_for="fc")
        else:
            assert torch.equal(network.fc.weight, trained.fc.weight)  # type: ignore[union-attr,arg-type]  # timm's
    (sentence,) = heads
    assert sentence.startswith("timm:test_resnet: its weights are of 1000 classes")
    assert sentence.endswith("for 5 classes")


def test_pretrained_weights_of_torchvision_come_with_a_new_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = library("torchvision")
    trained = create("torchvision:shufflenet_v2_x0_5", 1000)
    url = models.get_model_weights("shufflenet_v2_x0_5").DEFAULT.url
    path = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(trained.state_dict(), path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    heads: list[str] = []
    network = create("torchvision:shufflenet_v2_x0_5", 5, pretrained=True, on_new_head=heads.append)
    assert network.fc.out_features == 5  # type: ignore[union-attr]  # torchvision's
    network.fc = torch.nn.Linear(1024, 1000)
    assert_alike(network, trained, but_for="fc")
    assert len(heads) == 1


IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("timm:test_resnet", ([0.5] * 3, [0.5] * 3)),
        ("timm:resnet18.a1_in1k", IMAGENET),
        ("torchvision:shufflenet_v2_x0_5", IMAGENET),
    ],
)
def test_a_library_says_what_images_of_its_weights_were_normalized_by(
    arch: str, expected: tuple[list[float], list[float]]
) -> None:
    library(arch.partition(":")[0])
    assert own_normalization(arch, 3) == expected
    assert own_normalization(arch, 1) is None  # of gray images it says nothing
    assert own_normalization("resnet20", 3) is None


def test_training_takes_over_the_normalization_of_pretrained_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library("timm")
    save_file(create("timm:test_resnet", 1000).state_dict(), tmp_path / "w.safetensors")
    registry = sys.modules["timm.models._registry"]._model_pretrained_cfgs
    ours = replace(registry["test_resnet"], file=str(tmp_path / "w.safetensors"))
    monkeypatch.setitem(registry, "test_resnet", ours)
    for name in ("cat", "dog"):
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
        for i in range(8):
            color = (40 * i, 10, 200 if name == "cat" else 0)
            image = Image.new("RGB", (32, 32), color)
            image.save(tmp_path / "data" / "train" / name / f"{i}.png")

    def trained(folder: str, said: list[str], **settings: Any) -> InputContract:  # noqa: ANN401 -- passed on
        run = train(
            tmp_path / "data", "timm:test_resnet", output=tmp_path / folder, method="plain",
            epochs=1, batch_size=8, report=said.append, **settings,
        )  # fmt: skip
        return run.input

    said: list[str] = []
    taken = trained("taken", said, pretrained=True)
    assert (taken.mean, taken.std) == ([0.5] * 3, [0.5] * 3)
    assert any("mean 0.5,0.5,0.5, std 0.5,0.5,0.5" in sentence for sentence in said)
    given = trained("given", [], pretrained=True, mean=[0.1, 0.2, 0.3], std=[0.4] * 3)
    assert (given.mean, given.std) == ([0.1, 0.2, 0.3], [0.4] * 3)
    anew = trained("anew", [])
    assert anew.mean[1] == pytest.approx(10 / 255)


@pytest.mark.parametrize(
    ("arch", "width", "code", "said"),
    [
        ("timm:test_resnet_", 1.0, "unknown-architecture", "test_resnet"),
        ("torchvision:shufflenet-v2", 1.0, "unknown-architecture", "shufflenet_v2_x1_0"),
        ("torchvision:fasterrcnn_resnet50_fpn", 1.0, "unknown-architecture", "no network called"),
        ("timm:test_resnet", 0.5, "factory-without-width", "names of their own in timm"),
        ("timm:resnet18.no_such_tag", 1.0, "factory-failed", "no_such_tag"),
    ],
)
def test_what_a_library_does_not_have_is_told(
    arch: str, width: float, code: str, said: str
) -> None:
    library(arch.partition(":")[0])
    with pytest.raises(ModpmError) as caught:
        create(arch, 5, width=width)
    assert caught.value.code == code
    assert said in str(caught.value)


def test_weights_that_a_library_does_not_have_are_told() -> None:
    library("timm")
    with pytest.raises(ModpmError) as caught:
        create("timm:selecsls84", 5, pretrained=True)
    assert caught.value.code == "no-pretrained-weights"


def test_a_library_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", ["/nowhere"])
    for module in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ModpmError) as caught:
        create("timm:resnet18", 5)
    assert caught.value.code == "missing-extra"
    assert caught.value.hint == 'install it with `pip install "modpm[timm]"`'


def test_a_library_that_cannot_be_imported_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "timm.py").write_text("import torch\nraise RuntimeError('made for another torch')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for module in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ModpmError, match="made for another torch") as caught:
        create("timm:resnet18", 5)
    assert caught.value.code == "factory-failed"
    assert caught.value.where == f"{tmp_path / 'timm.py'}:2"


def test_a_shipped_network_has_no_pretrained_weights() -> None:
    with pytest.raises(ModpmError) as caught:
        create("resnet20", 5, pretrained=True)
    assert caught.value.code == "no-pretrained-weights"
