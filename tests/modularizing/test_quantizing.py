"""Variants of 8 bits: what they compute, weigh and say, and what none can be made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import torch
from tests.composition.tiny_origins import TinyOrigin, publish
from tests.composition.tiny_projects import run

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.classifiers.classifier import Classifier
from modpm.core.composition.compose import compose_modules
from modpm.core.errors import ModpmError
from modpm.core.exporting.onnx_export import export_onnx
from modpm.core.formats.distribution import verify_distribution, write_distribution
from modpm.core.formats.manifest import TENSOR_FILE, Variant
from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph import build, count
from modpm.core.graph.stored_weights import (
    LARGEST_WEIGHT,
    from_levels,
    restored,
    stored,
    to_levels,
)
from modpm.core.quantizing.network import LAYERS, folded, round_network
from modpm.core.quantizing.variant import check_can_be_quantized
from modpm.core.tensors import decode_tensors, encode_tensors
from modpm.verbs.quantizing import quantize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from modpm.core.modularizing.modularization import Modularization
    from modpm.core.quantizing.variant import Quantization


@pytest.fixture(scope="module")
def variants(made: Modularization, tmp_path_factory: pytest.TempPathFactory) -> Quantization:
    """Return variants of the class modules of all digits."""
    return quantize([made.folder], tmp_path_factory.mktemp("int8") / "dist", data="digits")


def module_of(variants: Quantization, i: int) -> ClassModule:
    return ClassModule.from_folder(variants.variants[i].distribution.folder)


def refusal(modules: Sequence[Path], output: Path) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        quantize(modules, output, data="digits")
    assert not output.exists()
    return caught.value


def test_a_variant_has_a_quarter_of_the_bytes_and_the_accuracy(variants: Quantization) -> None:
    assert variants.before is not None
    assert variants.after is not None
    assert abs(variants.after - variants.before) <= 0.015
    for one in variants.variants:
        after, before = one.metrics
        assert after.split == before.split == variants.split
        assert abs(after.average_precision - before.average_precision) <= 0.03
        n_small = one.manifest.n_parameters
        assert one.manifest.size_bytes < 0.5 * one.release.size_bytes
        assert n_small < one.manifest.size_bytes < 4 * n_small


def test_a_variant_says_what_it_is_made_of(made: Modularization, variants: Quantization) -> None:
    for release, one in zip(made.distributions, variants.variants, strict=True):
        variant = one.manifest.variant
        assert isinstance(variant, Variant)
        assert (variant.name, variant.digest) == (release.manifest.name, release.digest)
        assert one.manifest.name == f"{release.manifest.name}-int8"
        assert one.manifest.version == release.manifest.version
        card = (one.distribution.folder / "README.md").read_text(encoding="utf-8")
        assert release.digest in card
        verify_distribution(one.distribution.folder, one.distribution.digest)


def test_variants_of_all_classes_publish_their_scores(variants: Quantization) -> None:
    modules = [module_of(variants, i) for i in range(len(variants.variants))]
    classifier = compose_modules(modules, reject="auto")
    assert classifier.reject is not None


def test_the_weights_of_its_layers_are_stored_in_8_bits(variants: Quantization) -> None:
    folder = variants.variants[0].distribution.folder
    written: dict[str, Tensor] = {}
    for path in folder.glob("*.safetensors"):
        written |= decode_tensors(path.read_bytes())
    module = module_of(variants, 0)
    own = set(module.manifest.origin.graph.kernels())
    layers = [n for n in module.graph.nodes if n.operator in LAYERS and n.name != "score"]
    kept = [n for n in layers if "unusual" not in n.name]
    assert len(kept) > len(own) - 1
    for node in kept:
        weight = written[node.tensors["weight"]]
        assert weight.dtype == torch.int8
        assert int(weight.abs().max()) == LARGEST_WEIGHT
    assert stored(module.graph, module.tensors).keys() == written.keys()


def test_it_computes_what_whole_numbers_compute(variants: Quantization) -> None:
    """Levels times levels, summed in whole numbers, are what its first layer gives."""
    module, image = module_of(variants, 3), torch.rand(4, 1, 8, 8)
    rounding, layer = module.graph.nodes[:2]
    assert (rounding.operator, layer.operator) == ("quantize", "conv2d")
    scale, zero = (float(rounding.attributes[name]) for name in ("scale", "zero_point"))  # type: ignore[arg-type]  # numbers
    whole = (image / scale).round().add(zero).clamp(0, 255) - zero
    weight, factor = to_levels(module.tensors[layer.tensors["weight"]])
    padding: Any = layer.attributes["padding"]
    summed = torch.nn.functional.conv2d(whole.double(), weight.double(), padding=padding)
    expected = summed * (factor * scale).view(1, -1, 1, 1)
    expected += module.tensors[layer.tensors["bias"]].view(1, -1, 1, 1)
    found = module.network.run(image, (layer.name,))[layer.name]
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_a_classifier_of_variants_is_saved_in_8_bits_and_the_same(
    variants: Quantization, made: Modularization, tmp_path: Path
) -> None:
    places = (0, 3, 7)
    classifier = compose_modules([module_of(variants, i) for i in places])
    assert classifier.strategy == "independent"
    classifier.save_pretrained(tmp_path / "clf")
    again = Classifier.from_folder(tmp_path / "clf")
    images = torch.rand(6, 3, 8, 8)
    with torch.inference_mode():
        assert torch.equal(classifier(images), again(images))
    assert again.cost == classifier.cost
    modules = [ClassModule.from_folder(made.distributions[i].folder) for i in places]
    plain = compose_modules(modules, "independent")
    plain.save_pretrained(tmp_path / "plain")
    assert classifier.cost.size_bytes < 0.5 * plain.cost.size_bytes
    small, large = (
        (tmp_path / name / "model.safetensors").stat().st_size for name in ("clf", "plain")
    )
    assert small < 0.6 * large


def test_a_variant_stands_beside_modules_of_single_precision(
    variants: Quantization, made: Modularization
) -> None:
    small, plain = module_of(variants, 1), ClassModule.from_folder(made.distributions[2].folder)
    classifier = compose_modules([small, plain])
    assert classifier.strategy == "independent"
    images = torch.rand(5, 3, 8, 8)
    with torch.inference_mode():
        found = classifier(images)
        alone = [compose_modules([one])(images)[:, 0] for one in (small, plain)]
    torch.testing.assert_close(found, torch.stack(alone, 1), rtol=1e-4, atol=1e-4)
    with pytest.raises(ModpmError) as caught:
        compose_modules([small, plain], "fused")
    assert caught.value.code == "cannot-fuse"
    assert "8 bits" in str(caught.value.why)


def test_the_command_tells_of_each_before_and_after(made: Modularization, tmp_path: Path) -> None:
    folders = [made.distributions[i].folder for i in (1, 4)]
    told = run("quantize", *folders, "--int8", "--data", "digits", "-o", tmp_path / "one")
    assert told.code == 0, told.stderr
    assert "digits/4-int8" in told.stdout
    assert "side by side they name" in told.stderr
    data = run("quantize", *folders, "--data", "digits", "-o", tmp_path / "two", "--json").data
    assert [one["name"] for one in data["variants"]] == ["digits/1-int8", "digits/4-int8"]
    for one in data["variants"]:
        assert one["digest"] == verify_distribution(Path(one["path"])).digest
        assert one["size_bytes"] < one["size_bytes_before"]
    assert data["accuracy"] > 0.9
    shown = run("info", tmp_path / "two" / "4-int8")
    assert "int8 of digits/4" in shown.stdout


def test_it_is_exported_as_pairs_of_whole_numbers(
    variants: Quantization, made: Modularization, tmp_path: Path
) -> None:
    """Every layer but those that make the score is one of whole numbers, and says the same."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    classifier = compose_modules([module_of(variants, i) for i in (2, 5)])
    written = export_onnx(classifier, tmp_path / "small.onnx")
    modules = [ClassModule.from_folder(made.distributions[i].folder) for i in (2, 5)]
    plain = export_onnx(compose_modules(modules, "independent"), tmp_path / "plain.onnx")
    assert written.size_bytes < 0.7 * plain.size_bytes
    graph = onnx.load(tmp_path / "small.onnx").graph
    kinds = {one.name: one.data_type for one in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    whole = [
        node
        for node in graph.node
        if node.op_type in {"Conv", "Gemm"}
        and getattr(made_by.get(node.input[1]), "op_type", "") == "DequantizeLinear"
    ]
    expected = [
        node
        for scorer in classifier.networks()
        for node in scorer.graph.nodes
        if node.operator in LAYERS and node.inputs[0].endswith(".rounded")
    ]
    assert len(whole) == len(expected) > 4
    for node in whole:
        assert [kinds[made_by[name].input[0]] for name in node.input[1:]] == [
            onnx.TensorProto.INT8, onnx.TensorProto.INT32,
        ]  # fmt: skip
        assert made_by[made_by[node.input[0]].input[0]].op_type == "QuantizeLinear"
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(tmp_path / "small.onnx", options)
    images = torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    (scores,) = session.run(["scores"], {"images": images.numpy()})
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(scores), classifier(images), rtol=0, atol=0.2)


def test_torch_records_it_as_what_it_computes(variants: Quantization) -> None:
    module = module_of(variants, 6)
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    recorded = torch.export.export(module, (images,)).module()
    with torch.no_grad():
        torch.testing.assert_close(recorded(images), module(images), rtol=0, atol=0.2)


def test_a_variant_of_a_variant_is_refused(variants: Quantization, tmp_path: Path) -> None:
    error = refusal([variants.variants[0].distribution.folder], tmp_path / "again")
    assert error.code == "cannot-quantize"
    assert "already" in str(error.why)


def test_data_without_the_class_are_refused(tmp_path: Path) -> None:
    folder = publish(TinyOrigin().module("cat"), tmp_path / "cat")
    error = refusal([folder], tmp_path / "out")
    assert error.code == "unknown-class"
    assert "cat" in error.what


def test_modules_of_two_origins_are_refused(made: Modularization, tmp_path: Path) -> None:
    folder = publish(TinyOrigin().module("cat"), tmp_path / "cat")
    error = refusal([made.distributions[0].folder, folder], tmp_path / "out")
    assert error.code == "different-origins"


def test_a_folder_that_is_not_free_is_refused(made: Modularization, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    with pytest.raises(ModpmError) as caught:
        quantize([made.folder], tmp_path / "out", data="digits")
    assert caught.value.code == "folder-exists"


def test_numbers_that_are_not_finite_are_refused() -> None:
    module = TinyOrigin().module("cat")
    with torch.no_grad():
        next(module.network.parameters()).fill_(torch.nan)
    released = ClassModule(module.manifest, module.tensors, "sha256:" + "0" * 64)
    with pytest.raises(ModpmError) as caught:
        check_can_be_quantized(released)
    assert caught.value.code == "cannot-quantize"
    assert "not finite" in str(caught.value.why)


def test_a_name_without_room_for_more_is_refused() -> None:
    module = TinyOrigin().module("cat")
    manifest = msgspec.structs.replace(module.manifest, name="tiny/" + "c" * 60)
    with pytest.raises(ModpmError) as caught:
        check_can_be_quantized(ClassModule(manifest, module.tensors, "sha256:" + "0" * 64))
    assert "longer than 64" in str(caught.value.why)


TAMPERED: dict[str, tuple[Any, str]] = {
    "nan": (lambda scale: scale * torch.nan, "no number above 0"),
    "negative": (lambda scale: -scale, "no number above 0"),
    "zero": (lambda scale: scale * 0, "no number above 0"),
    "infinite": (lambda scale: scale + torch.inf, "too large"),
    "too large": (lambda scale: scale * 0 + 3e38, "too large"),
    "one too few": (lambda scale: scale[1:], "for a weight of"),
    "double": (lambda scale: scale.double(), "for a weight of"),
    "of two dimensions": (lambda scale: scale[None], "for a weight of"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_tampered_factor_is_refused(how: str, variants: Quantization, tmp_path: Path) -> None:
    """Whoever makes a distribution can also make its digests fit."""
    one = variants.variants[0]
    files = {name: (one.distribution.folder / name).read_bytes() for name in one.manifest.files}
    change, why = TAMPERED[how]
    tensors = decode_tensors(files[TENSOR_FILE])
    name = next(name for name in tensors if name.endswith(".scale"))
    changed = change(tensors[name])
    files[TENSOR_FILE] = encode_tensors({**tensors, name: changed})
    more = changed.nbytes - tensors[name].nbytes
    size_bytes = one.manifest.size_bytes + more
    manifest = msgspec.structs.replace(one.manifest, size_bytes=size_bytes)
    folder = write_distribution(tmp_path / "dist", manifest, files).folder
    with pytest.raises(ModpmError) as caught:
        ClassModule.from_folder(folder)
    assert caught.value.code == "invalid-tensors"
    assert why in str(caught.value.why)


def test_a_weight_of_8_bits_without_factors_is_refused(
    variants: Quantization, tmp_path: Path
) -> None:
    one = variants.variants[0]
    files = {name: (one.distribution.folder / name).read_bytes() for name in one.manifest.files}
    tensors = decode_tensors(files[TENSOR_FILE])
    name = next(name for name in tensors if name.endswith(".scale"))
    files[TENSOR_FILE] = encode_tensors({n: t for n, t in tensors.items() if n != name})
    with pytest.raises(ModpmError) as caught:
        write_distribution(tmp_path / "dist", one.manifest, files)
    assert caught.value.code == "missing-tensor"
    with pytest.raises(ModpmError) as caught:
        restored({"a.weight": torch.ones(2, 2, dtype=torch.int8)})
    assert caught.value.code == "invalid-tensors"


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (4, 3, 3, 3)])
def test_whole_numbers_and_factors_are_the_weight_exactly(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    weight[0] *= 1e-6
    rounded = from_levels(*to_levels(weight))
    again, scale = to_levels(rounded)
    assert torch.equal(from_levels(again, scale), rounded)
    limit = scale.view(-1, *(1,) * (len(shape) - 1)) * (0.5 + 1e-3)
    assert bool(((rounded - weight).abs() <= limit).all())


def test_a_weight_that_is_not_of_8_bits_is_stored_as_it_is() -> None:
    nodes = (
        Node("q", "quantize", ("input",), {"scale": 0.1, "zero_point": 0}),
        Node("flat", "flatten", ("q",)),
        Node("rounded", "quantize", ("flat",), {"scale": 0.1, "zero_point": 3}),
        Node("a", "linear", ("rounded",), {"n_features": 2}, {"weight": "a.weight"}),
    )
    graph = Graph("input", (1, 2, 2), nodes, "a")
    weight = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    assert stored(graph, {"a.weight": weight}) == {"a.weight": weight}
    assert count(graph, {"a.weight": weight}).size_bytes == 32
    kept = stored(graph, {"a.weight": from_levels(*to_levels(weight))})
    assert {name: tensor.dtype for name, tensor in kept.items()} == {
        "a.weight": torch.int8, "a.weight.scale": torch.float32,
    }  # fmt: skip


def test_statistics_of_a_rounded_layer_are_those_that_it_had() -> None:
    origin = TinyOrigin()
    graph, tensors = folded(origin.graph, origin.tensors)
    images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    live = graph.live()
    layers = {n.name for n in graph.nodes if n.operator in LAYERS and n.name in live}
    rounded = round_network(graph, tensors, images, layers)
    before, after = build(graph, tensors).eval(), build(rounded.graph, rounded.tensors).eval()
    for name in ("bn1", "bn2", "bn3"):
        with torch.no_grad():
            (old,), (new,) = (one.run(images, (name,)).values() for one in (before, after))
        torch.testing.assert_close(new.mean((0, 2, 3)), old.mean((0, 2, 3)), rtol=0, atol=1e-3)
        torch.testing.assert_close(new.std((0, 2, 3)), old.std((0, 2, 3)), rtol=1e-2, atol=1e-3)
    assert sum(node.operator == "quantize" for node in rounded.graph.nodes) >= len(layers)
