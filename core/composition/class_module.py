"""A class module: the small network that was cut out for one class, with its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from modpm.core.composition.preprocessing import Images, Preprocessing, image_batches
from modpm.core.composition.scorer import precise
from modpm.core.formats.distribution import verify_distribution
from modpm.core.formats.manifest import TENSOR_FILE
from modpm.core.graph.interpreter import build
from modpm.core.tensors import decode_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from modpm.core.formats.manifest import InputContract, Manifest
    from modpm.core.formats.network_graph import Graph


class ClassModule(nn.Module):
    """A network that says how likely an image shows one class.

    Args:
        manifest: What it is.
        tensors: Every tensor that the manifest's graph names.
        digest: What its release is known by, where it comes from a distribution.

    Shapes:
        forward: (N, C, H, W), normalised as the input contract says → (N,)

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
            ModpmError: What `verify_distribution` raises; `is-composition`; `invalid-graph`.
        """
        distribution = verify_distribution(folder, digest)
        manifest = distribution.module_manifest
        path = folder / TENSOR_FILE
        tensors = decode_tensors(path.read_bytes(), str(path))
        return cls(manifest, tensors, distribution.digest)

    @property
    def label(self) -> str:
        """What it recognises: `cifar10/cat`."""
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
        """Return the calibrated log-odds that each image shows the class."""
        return precise(self.network(images)).squeeze(1)

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
