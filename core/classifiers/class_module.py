"""Class modules, and the networks with scores that classifiers are made of."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Self

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own name for it
from torch import Tensor, nn

from modpm.core.classifiers.preprocessing import Images, Preprocessing, image_batches
from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import verify_distribution
from modpm.core.formats.release_files import TENSOR_FILES
from modpm.core.graph import Cost, build, count, infer_shapes
from modpm.core.graph.stored_weights import restored
from modpm.core.tensors import decode_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from modpm.core.formats.manifest import InputContract, Manifest
    from modpm.core.formats.network_graph import Graph


class Scorer(nn.Module):
    """One network of a classifier: a class module, or several that were fused.

    Args:
        labels: What it scores, in the order of its outputs.
        contract: What an image must be.
        graph: The network.
        tensors: Every tensor that the graph names.

    Shapes:
        (N, C, H, W), normalized as the contract says → (N, len(labels))

    Raises:
        ModpmError: The graph or a tensor is invalid, or does not fit the labels or the contract
            (`invalid-graph`).
    """

    def __init__(
        self,
        labels: Sequence[str],
        contract: InputContract,
        graph: Graph,
        tensors: Mapping[str, Tensor],
    ) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.contract = contract
        _check_fit(self.labels, contract, graph)
        self.network = build(graph, tensors)
        self.eval()

    @property
    def graph(self) -> Graph:
        """The network as data."""
        return self.network.graph

    @property
    def cost(self) -> Cost:
        """What the network costs, counted."""
        return count(self.graph, self.network.state_dict())

    def forward(self, images: Tensor) -> Tensor:
        """Return a score for each image and label."""
        return precise(self.network.predict(images))


def precise(scores: Tensor) -> Tensor:
    """Return scores in single precision at least, whatever a network computes in."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def _check_fit(labels: tuple[str, ...], contract: InputContract, graph: Graph) -> None:
    shape = (contract.channels, contract.height, contract.width)
    if graph.input_shape != shape:
        raise _unfit(f"it reads images of {graph.input_shape}, not of {shape}")
    output = infer_shapes(graph)[graph.output]
    if output != (len(labels),):
        raise _unfit(f"it gives {output} numbers an image for {len(labels)} labels")


def _unfit(why: str) -> ModpmError:
    return ModpmError("the network graph is invalid", code="invalid-graph", why=why)


class ClassModule(nn.Module):
    """A network that says how likely an image shows one class.

    Args:
        manifest: What it is.
        tensors: Every tensor that the manifest's graph names.
        digest: What its release is known by, where it comes from a distribution.

    Shapes:
        forward: (N, C, H, W), normalized as the input contract says → (N,)

    Raises:
        ModpmError: The graph or a tensor is invalid (`invalid-graph`).
    """

    def __init__(
        self, manifest: Manifest, tensors: Mapping[str, Tensor], digest: str | None = None
    ) -> None:
        super().__init__()
        self.manifest = manifest
        self.digest = digest
        self.network = build(manifest.graph, tensors)
        self.preprocessing = Preprocessing(manifest.input)
        self.eval()

    @classmethod
    def from_folder(cls, folder: Path, digest: str | None = None) -> Self:
        """Read a class module from a distribution, all of which is checked first.

        Args:
            folder: The distribution.
            digest: What the release must be; None to take the manifest as it is.

        Raises:
            ModpmError: What `verify_distribution` raises; `is-composition`; `invalid-graph`;
                `invalid-tensors`, for a weight of 8 bits whose factors are none.
        """
        distribution = verify_distribution(folder, digest)
        manifest = distribution.module_manifest
        tensors: dict[str, Tensor] = {}
        for path in (folder / name for name in TENSOR_FILES if name in manifest.files):
            tensors |= decode_tensors(path.read_bytes(), str(path))
        return cls(manifest, restored(tensors, str(folder)), distribution.digest)

    @property
    def label(self) -> str:
        """What it recognizes: `cifar10/cat`."""
        return self.manifest.label

    @property
    def graph(self) -> Graph:
        """The network as data; its output is the score, (N, 1)."""
        return self.manifest.graph

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The network's tensors, by the names that the graph gives them."""
        return self.network.state_dict()

    @property
    def input(self) -> InputContract:
        """What an image must be before `forward` sees it."""
        return self.manifest.input

    def forward(self, images: Tensor) -> Tensor:
        """Return the calibrated log-odds, under even odds, that each image shows the class."""
        return precise(self.network.predict(images)).squeeze(1)

    @torch.inference_mode()
    def score_images(self, images: Images) -> Tensor:
        """Return the scores of images that are not prepared yet.

        Args:
            images: One or several of Pillow's, or a batch of pixels: bytes, or numbers in [0, 1].

        Shapes:
            pixels: (N, 1 or 3, height, width) → (N,)

        Raises:
            ModpmError: `bad-images`.
        """
        device = self.preprocessing.mean.device
        parts = [
            self(self.preprocessing(batch.to(device)))
            for (batch,) in image_batches(images, [self.input])
        ]
        return torch.cat(parts) if parts else torch.empty(0)


N_IMAGES = 16
MAX_PIXELS = 2**23
SEED = b"modpm probe batch 1"
BLOCKS = (1, 2, 4, 8)


def probe_batch(contract: InputContract) -> Tensor:
    """Return the probe batch of an input contract (V-10).

    Image i has blocks of 1, 2, 4 or 8 pixels a side, in turn, each of one color by chance: its
    bytes are those of SHAKE-256 of the seed and i. Large images are fewer.

    Args:
        contract: What an image must be.

    Shapes:
        → (N, channels, height, width), bytes
    """
    shape = (contract.channels, contract.height, contract.width)
    n = max(1, min(N_IMAGES, MAX_PIXELS // math.prod(shape)))
    return torch.stack([_image(i, *shape) for i in range(n)])


def score_difference(before: Path, after: Path) -> float:
    """Return by how much the scores of two class modules differ at most on the probe batch.

    Args:
        before: A distribution.
        after: Another, of the same input contract.

    Raises:
        ModpmError: What `ClassModule.from_folder` raises.
    """
    old, new = ClassModule.from_folder(before), ClassModule.from_folder(after)
    images = probe_batch(old.input)
    difference = (old.score_images(images) - new.score_images(images)).abs().max()
    # What is not a number is the same as nothing, and must not pass for no difference.
    return difference.item() if difference.isfinite() else math.inf


def _image(i: int, channels: int, height: int, width: int) -> Tensor:
    side = BLOCKS[i % len(BLOCKS)]
    rows, columns = math.ceil(height / side), math.ceil(width / side)
    chance = hashlib.shake_256(SEED + bytes([i])).digest(channels * rows * columns)
    blocks = torch.frombuffer(bytearray(chance), dtype=torch.uint8)
    image = F.interpolate(
        blocks.view(1, channels, rows, columns).float(), scale_factor=side, mode="nearest"
    )
    return image[0, :, :height, :width].to(torch.uint8)
