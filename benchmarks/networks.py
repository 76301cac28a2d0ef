"""Which networks of timm and torchvision are traced, cut and exported, with random weights.

    python benchmarks/networks.py [NAME ...] [--markdown FILE]

Each network is made for five classes, read into a graph, and cut: of every convolution that can be
cut half of the kernels stay, drawn at random, and one output. The cut network is compared with the
masked one on random images, and ONNX Runtime's output of the cut network with its own. Without
names it takes the families that are downloaded most, of both libraries. `pip install --no-deps
timm torchvision` is enough: of torchvision's compiled part nothing is called.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from modpm.core.errors import ModpmError
from modpm.core.graph import build, count, trace
from modpm.core.networks import create
from modpm.core.slicing import cuttable_convolutions, mask_network, slice_graph

if TYPE_CHECKING:
    from torch import Tensor

N_CLASSES = 5
LARGEST_DIFFERENCE = 1e-4
"""Of the largest output: sums in single precision, in another order, differ by less."""

SIZES = {
    "torchvision:inception": 299, "inception": 128, "googlenet": 96, "xception": 96, "nasnet": 96,
    "vit": 224, "swin": 224,
}  # fmt: skip
"""Height and width of the images, by a part of the name, where 64 are too few."""

NETWORKS = (
    "timm:resnet18", "timm:mobilenetv3_small_100", "timm:efficientnet_b0", "timm:convnext_atto",
    "timm:resnet26d", "timm:mobilenetv2_100", "timm:regnety_002", "timm:densenet121",
    "timm:vgg11_bn", "timm:seresnet18", "timm:resnext50_32x4d", "timm:wide_resnet50_2",
    "timm:resnetv2_50", "timm:resnetblur18", "timm:mobilenetv4_conv_small",
    "timm:tf_efficientnetv2_b0", "timm:regnetx_002", "timm:darknet53", "timm:skresnet18",
    "timm:ecaresnet26t", "timm:vit_tiny_patch16_224", "timm:swin_tiny_patch4_window7_224",
    "timm:mobilevit_xxs", "timm:efficientvit_b0", "timm:dm_nfnet_f0", "timm:convnextv2_atto",
    "timm:resnetv2_50x1_bit", "torchvision:resnet18", "torchvision:mobilenet_v2",
    "torchvision:efficientnet_b0", "torchvision:convnext_tiny", "torchvision:mobilenet_v3_small",
    "torchvision:alexnet", "torchvision:vgg11_bn", "torchvision:squeezenet1_1",
    "torchvision:googlenet", "torchvision:inception_v3", "torchvision:shufflenet_v2_x1_0",
    "torchvision:mnasnet1_0", "torchvision:regnet_x_400mf",
)  # fmt: skip


class Row(NamedTuple):
    """What was found of one network.

    Attributes:
        name: The network.
        side: Height and width of the images.
        is_traced, is_cut, is_exported: Whether it was, and gave what it should.
        note: Of its layers, or why not.
        seconds: Of one processor.
    """

    name: str
    side: int
    is_traced: bool = False
    is_cut: bool = False
    is_exported: bool = False
    note: str = ""
    seconds: float = 0.0


def side_of(name: str) -> int:
    """Return the height and width of the images that a network is tried on."""
    return next((side for part, side in SIZES.items() if part in name), 64)


def tried(name: str, *, is_exported: bool = True) -> Row:
    """Trace, cut and export one network.

    Args:
        name: As `train --arch` takes it.
        is_exported: Whether to export it, which takes longest.
    """
    start, row = time.process_time(), Row(name, side_of(name))
    torch.manual_seed(0)
    images = torch.randn(2, 3, row.side, row.side)
    try:
        graph, tensors = trace(create(name, N_CLASSES), images)
    except ModpmError as error:
        note = ": ".join(part for part in (error.what, error.why) if part)
        return row._replace(note=note, seconds=time.process_time() - start)
    retained = drawn_kernels(graph.kernels(), list(cuttable_convolutions(graph)))
    sliced = slice_graph(graph, tensors, retained, [0])
    network = build(*sliced).eval()
    with torch.no_grad():
        expected = mask_network(graph, tensors, retained).eval()(images)[:, :1]
        is_cut = are_alike(network(images), expected)
    share = count(*sliced).macs / count(graph, tensors).macs
    return row._replace(
        is_traced=True,
        is_cut=is_cut,
        is_exported=is_exported and are_alike(by_onnx(network, images), expected),
        note=f"{len(retained)} of {len(graph.kernels())} convolutions cut, {100 * share:.0f} % of "
        "the arithmetic left",
        seconds=time.process_time() - start,
    )


def drawn_kernels(kernels: dict[str, int], layers: list[str]) -> dict[str, list[int]]:
    """Return half of the kernels of some convolutions."""
    chance, kept = torch.Generator().manual_seed(0), {}
    for layer in layers:
        order = torch.randperm(kernels[layer], generator=chance)
        kept[layer] = sorted(order[: kernels[layer] // 2].tolist())
    return kept


def are_alike(found: Tensor, expected: Tensor) -> bool:
    """Say whether two outputs are the same, but for rounding."""
    limit = LARGEST_DIFFERENCE * float(expected.abs().max().clamp(min=1e-6))
    return found.shape == expected.shape and float((found - expected).abs().max()) <= limit


def by_onnx(network: nn.Module, images: Tensor) -> Tensor:
    """Return what ONNX Runtime makes of images, for any number of which a network is exported."""
    import onnxruntime  # noqa: PLC0415 -- of the extra `onnx`

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    program = torch.onnx.export(
        network,
        (torch.zeros(3, *images.shape[1:]),),
        dynamo=True,
        input_names=["images"],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        verbose=False,
    )
    assert program is not None
    data = io.BytesIO()
    program.save(data)
    session = onnxruntime.InferenceSession(data.getvalue(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def prepare_torchvision() -> None:
    """Import torchvision beside a torch that its compiled part was not made for."""
    try:
        import_module("torchvision")
    except RuntimeError:
        for function in ("nms", "qnms"):
            schema = "(Tensor boxes, Tensor scores, float threshold) -> Tensor"
            torch.library.define(f"torchvision::{function}", schema)
    except ModuleNotFoundError:
        pass  # what needs it says so


def mark(*, is_so: bool) -> str:
    """Return what a table says of yes or no."""
    return "yes" if is_so else "no"


def markdown(rows: list[Row]) -> str:
    """Return a table of what was found."""
    lines = [
        "| network | pixels | traced | cut equals masked | exported | |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        marks = [mark(is_so=found) for found in (row.is_traced, row.is_cut, row.is_exported)]
        lines.append(f"| `{row.name}` | {row.side} | {' | '.join(marks)} | {row.note} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Try networks, and print what is found; exit with 1 where a traced one is not cut so."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=NETWORKS, metavar="NAME")
    parser.add_argument("--markdown", type=Path, help="write the table to this file, too")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    prepare_torchvision()
    rows = []
    for name in options.names:
        row = tried(name)
        rows.append(row)
        marks = " ".join(f"{mark(is_so=found):4}" for found in row[2:5])
        print(f"{name:40} {marks} {row.seconds:5.1f} s  {row.note}", flush=True)
        if options.markdown:
            options.markdown.write_text(markdown(rows))
    n_traced = sum(row.is_traced for row in rows)
    print(f"{n_traced} of {len(rows)} are traced, {sum(row.is_exported for row in rows)} exported")
    return int(any(row.is_traced and not (row.is_cut and row.is_exported) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
