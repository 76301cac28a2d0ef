"""Ordinary weights load strictly, and only from safetensors."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from modpm.core.errors import ModpmError
from modpm.core.networks import create, load_initial_weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def _tensors(n_classes: int = 10) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return create("resnet20", n_classes, width=0.25).state_dict()


def _refusal(tensors: dict[str, Tensor], path: Path) -> ModpmError:
    save_file(tensors, path)
    network = create("resnet20", 10, width=0.25)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ModpmError) as caught:
        load_initial_weights(network, path)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    return caught.value


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("has_counters", [True, False])
def test_saved_weights_are_loaded(tmp_path: Path, prefix: str, has_counters: bool) -> None:
    tensors = _tensors()
    saved = {
        prefix + name: tensor
        for name, tensor in tensors.items()
        if has_counters or not name.endswith("num_batches_tracked")
    }
    save_file(saved, tmp_path / "w.safetensors")
    network = create("resnet20", 10, width=0.25)
    load_initial_weights(network, tmp_path / "w.safetensors")
    assert all(torch.equal(tensors[name], value) for name, value in network.state_dict().items())


def test_half_precision_weights_are_converted(tmp_path: Path) -> None:
    tensors = _tensors()
    halves = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    save_file(halves, tmp_path / "w.safetensors")
    network = create("resnet20", 10, width=0.25)
    load_initial_weights(network, tmp_path / "w.safetensors")
    assert network.state_dict()["conv1.weight"].dtype == torch.float32


def test_all_mismatches_are_listed_at_once(tmp_path: Path) -> None:
    tensors = _tensors(n_classes=7)
    del tensors["conv1.weight"]
    tensors["extra"] = torch.zeros(1)
    message = str(_refusal(tensors, tmp_path / "w.safetensors"))
    assert "not in the file: conv1.weight" in message
    assert "not in the network: extra" in message
    assert "linear.weight [7, 16] instead of [10, 16]" in message


def test_many_mismatches_are_shortened(tmp_path: Path) -> None:
    message = str(_refusal({"a": torch.zeros(1)}, tmp_path / "w.safetensors"))
    assert "and 91 more" in message


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    tensors = _tensors()
    tensors["linear.bias"][3] = torch.nan
    assert "`linear.bias`" in str(_refusal(tensors, tmp_path / "w.safetensors"))


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(_tensors(), path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ModpmError, match="cannot be read"):
        load_initial_weights(create("resnet20", 10, width=0.25), path)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("prefix", ["", "model.", "module.", "model.module.", "module.model."])
@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model"])
def test_checkpoints_of_tensors_are_loaded(
    tmp_path: Path, name: str, prefix: str, key: str | None
) -> None:
    network, other = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)
    state = {prefix + name: tensor for name, tensor in other.state_dict().items()}
    torch.save(state if key is None else {key: state, "epoch": 3, "lr": 0.1}, tmp_path / name)
    load_initial_weights(network, tmp_path / name)
    assert torch.equal(network.weight, other.weight)


@pytest.mark.parametrize("is_zip", [True, False])
def test_old_and_new_checkpoints_are_loaded(tmp_path: Path, is_zip: bool) -> None:
    network, other = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)
    path = tmp_path / "w.pth"
    torch.save(other.state_dict(), path, _use_new_zipfile_serialization=is_zip)
    load_initial_weights(network, path)
    assert torch.equal(network.weight, other.weight)


def test_a_prefix_that_the_network_has_itself_stays(tmp_path: Path) -> None:
    network, other = (nn.ModuleDict({"model": nn.Linear(2, 2)}) for _ in range(2))
    torch.save(other.state_dict(), tmp_path / "w.pth")
    load_initial_weights(network, tmp_path / "w.pth")
    assert torch.equal(*(one.state_dict()["model.weight"] for one in (network, other)))


class _Code:
    ran = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return setattr, (_Code, "ran", True)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("is_zip", [True, False])
def test_code_in_a_checkpoint_is_never_run(tmp_path: Path, name: str, is_zip: bool) -> None:
    content = {**_tensors(), "code": _Code()}
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(ModpmError, match="runs whatever code") as caught:
        load_initial_weights(create("resnet20", 10), tmp_path / name)
    assert caught.value.code == "pickled-weights"
    assert not _Code.ran


def test_a_whole_network_in_a_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Conv2d(1, 2, 3), tmp_path / "w.pth")
    with pytest.raises(ModpmError, match="more than weights"):
        load_initial_weights(nn.Conv2d(1, 2, 3), tmp_path / "w.pth")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {"weight": 1.0}}, 5])
def test_a_checkpoint_without_weights_is_told(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModpmError, match="holds no weights"):
        load_initial_weights(nn.Conv2d(1, 2, 3), tmp_path / "w.pth")


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_damaged_checkpoint_is_told(tmp_path: Path, is_zip: bool) -> None:
    path = tmp_path / "w.pth"
    torch.save(_tensors(), path, _use_new_zipfile_serialization=is_zip)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ModpmError) as caught:
        load_initial_weights(create("resnet20", 10, width=0.25), path)
    assert caught.value.code in {"bad-weights", "pickled-weights"}


def test_length_of_a_header_is_not_taken_for_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    # The lengths that read as the first bytes of a pickle and of a zip archive.
    for length in (int.from_bytes(b"\x80\x02", "little"), int.from_bytes(b"PK", "little")):
        header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
        path.write_bytes(length.to_bytes(8, "little") + header + bytes(4))
        with pytest.raises(ModpmError, match="not in the network: x"):
            load_initial_weights(create("resnet20", 10, width=0.25), path)


@pytest.mark.parametrize("make_folder", [True, False])
def test_missing_file_is_told(tmp_path: Path, make_folder: bool) -> None:
    if make_folder:
        (tmp_path / "w").mkdir()
    with pytest.raises(ModpmError, match="no weights file"):
        load_initial_weights(create("resnet20", 10), tmp_path / "w")


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
        self.second.weight = self.first.weight


def test_tied_weights_are_loaded_as_save_model_writes_them(tmp_path: Path) -> None:
    source, network = _Tied(), _Tied()
    save_model(source, str(tmp_path / "w.safetensors"))
    load_initial_weights(network, tmp_path / "w.safetensors")
    assert torch.equal(network.second.weight, source.first.weight)
    assert torch.equal(network.state_dict()["second.bias"], source.state_dict()["second.bias"])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
    ],
)
def test_what_stands_in_the_place_of_weights_is_named(
    tmp_path: Path, content: bytes, told: str
) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ModpmError, match=told):
        load_initial_weights(create("resnet20", 10, width=0.25), tmp_path / "w.safetensors")


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features, self.other = nn.Sequential(nn.Conv2d(4, 4, 3)), nn.Conv2d(4, 4, 3)
        self.other.weight = self.features[0].weight  # type: ignore[assignment]  # a parameter


@pytest.mark.parametrize("wrapper", ["module", "_orig_mod", "_orig_mod.module"])
def test_weights_of_a_network_of_which_a_part_was_wrapped_are_loaded(
    tmp_path: Path, wrapper: str
) -> None:
    source, target = (
        nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Linear(4, 2)) for _ in "ab"
    )
    tensors = source.state_dict()
    saved = {n.replace("0.0.", f"0.{wrapper}.0."): tensor for n, tensor in tensors.items()}
    save_file(saved, tmp_path / "w.safetensors")
    load_initial_weights(target, tmp_path / "w.safetensors")
    assert all(torch.equal(tensors[name], value) for name, value in target.state_dict().items())


def test_weights_are_loaded_into_a_network_that_is_wrapped_itself(tmp_path: Path) -> None:
    source, target = nn.Linear(4, 2), nn.DataParallel(nn.Linear(4, 2))
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    load_initial_weights(target, tmp_path / "w.safetensors")
    assert torch.equal(target.module.weight, source.weight)


def test_a_layer_called_module_is_no_wrapper(tmp_path: Path) -> None:
    def network() -> nn.Module:
        return nn.ModuleDict(
            {"module": nn.Linear(2, 2), "other": nn.ModuleDict({"a": nn.Linear(2, 2)})}
        )

    source, target = network(), network()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    load_initial_weights(target, tmp_path / "w.safetensors")
    assert all(torch.equal(target.state_dict()[n], t) for n, t in source.state_dict().items())


def test_a_tied_weight_may_be_in_the_file_once(tmp_path: Path) -> None:
    source, target = Tied(), Tied()
    tensors = source.state_dict()
    del tensors["other.weight"]
    save_file(tensors, tmp_path / "w.safetensors")
    load_initial_weights(target, tmp_path / "w.safetensors")
    assert torch.equal(target.other.weight, source.other.weight)


def test_a_tied_weight_that_the_file_has_twice_otherwise_is_refused(tmp_path: Path) -> None:
    tensors = {name: torch.rand(tensor.shape) for name, tensor in Tied().state_dict().items()}
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ModpmError) as caught:
        load_initial_weights(Tied(), tmp_path / "w.safetensors")
    assert caught.value.code == "weights-mismatch"
    assert "features.0.weight and other.weight" in str(caught.value.why)


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.bool])
def test_weights_that_are_no_real_numbers_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = _tensors()
    tensors["conv1.weight"] = torch.ones(tensors["conv1.weight"].shape, dtype=dtype)
    error = _refusal(tensors, tmp_path / "w.safetensors")
    assert error.code == "bad-weights"
    assert str(dtype).removeprefix("torch.") in error.what


def test_numbers_that_the_network_cannot_hold_are_refused(tmp_path: Path) -> None:
    tensors = {name: tensor.double() for name, tensor in _tensors().items()}
    tensors["conv1.weight"] *= 1e300
    assert "`conv1.weight`" in str(_refusal(tensors, tmp_path / "w.safetensors"))


def test_a_compressed_checkpoint_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1000, 1000)}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as whole,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
    with pytest.raises(ModpmError, match="compressed") as caught:
        load_initial_weights(nn.Linear(1000, 1000, bias=False), tmp_path / "small.pth")
    assert caught.value.code == "bad-weights"
    with torch.no_grad():
        loaded = nn.Linear(1000, 1000, bias=False)
    load_initial_weights(loaded, tmp_path / "w.pth")
    assert not loaded.weight.any()


@pytest.mark.parametrize("kind", ["meta", "sparse"])
def test_tensors_without_numbers_of_their_own_are_refused(tmp_path: Path, kind: str) -> None:
    weight = torch.ones(2, 2, device="meta") if kind == "meta" else torch.eye(2).to_sparse()
    torch.save({"weight": weight}, tmp_path / "w.pth")
    with pytest.raises(ModpmError) as caught:
        load_initial_weights(nn.Linear(2, 2, bias=False), tmp_path / "w.pth")
    assert caught.value.code == "bad-weights"


def test_weights_of_other_classes_leave_a_new_head(tmp_path: Path) -> None:
    tensors = _tensors(100)
    save_file(tensors, tmp_path / "w.safetensors")
    network = create("resnet20", 10, width=0.25)
    drawn = network.state_dict()["linear.weight"].clone()
    sentences: list[str] = []
    load_initial_weights(
        network, tmp_path / "w.safetensors", n_classes=10, on_new_head=sentences.append
    )
    loaded = network.state_dict()
    assert torch.equal(loaded.pop("linear.weight"), drawn)
    assert loaded.pop("linear.bias").shape == (10,)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in loaded.items())
    (sentence,) = sentences
    assert sentence.startswith(f"{tmp_path / 'w.safetensors'}: its weights are of 100 classes;")
    assert sentence.endswith("the last layer is new, for 10 classes")


def test_weights_of_the_same_classes_leave_no_new_head(tmp_path: Path) -> None:
    save_file(_tensors(), tmp_path / "w.safetensors")
    network, sentences = create("resnet20", 10, width=0.25), list[str]()
    load_initial_weights(
        network, tmp_path / "w.safetensors", n_classes=10, on_new_head=sentences.append
    )
    assert torch.equal(network.state_dict()["linear.weight"], _tensors()["linear.weight"])
    assert sentences == []


def test_weights_that_differ_before_the_head_are_of_another_network(tmp_path: Path) -> None:
    tensors = create("resnet20", 100, width=0.5).state_dict()
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ModpmError, match="of another network"):
        load_initial_weights(
            create("resnet20", 10, width=0.25), tmp_path / "w.safetensors", n_classes=10
        )
