"""Pictures of what a modularization gave, drawn from its distributions and evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from modpm.core.formats.distribution import read_distribution

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from modpm.core.formats.manifest import Manifest

mpl.use("agg")


def read_manifests(folder: Path) -> list[Manifest]:
    """Return the manifest of each distribution in a folder, by class."""
    found = [read_distribution(path.parent).manifest for path in folder.glob("*/manifest.json")]
    return sorted(found, key=lambda manifest: manifest.output.class_index)


def draw_retained_kernels(distributions: Path, path: Path) -> None:
    """Draw which share of each layer's kernels each class retains."""
    manifests = read_manifests(distributions)
    nodes = manifests[0].origin.graph.nodes
    layers = [node.name for node in nodes if node.name in manifests[0].retained]
    layers = [name for name in layers if "mask_generator" not in name]
    shares = np.array(
        [
            [len(m.retained[layer].retained) / m.retained[layer].total for layer in layers]
            for m in manifests
        ]
    )
    figure, axes = plt.subplots(figsize=(2 + 0.7 * len(layers), 5), layout="constrained")
    draw_matrix(axes, shares, [m.label for m in manifests], layers)
    axes.set_title("Share of kernels retained, per class and layer")
    save(figure, path)


def draw_overlap(distributions: Path, path: Path) -> None:
    """Draw the Jaccard index of the retained kernels of every pair of classes."""
    manifests = read_manifests(distributions)
    kernels = [
        {
            (layer, kernel)
            for layer, record in m.retained.items()
            if "mask_generator" not in layer
            for kernel in record.retained
        }
        for m in manifests
    ]
    overlap = np.array([[len(a & b) / len(a | b) for b in kernels] for a in kernels])
    labels = [m.label for m in manifests]
    figure, axes = plt.subplots(figsize=(7, 6), layout="constrained")
    draw_matrix(axes, overlap, labels, labels)
    axes.set_title("Overlap of the class modules (Jaccard index of retained kernels)")
    save(figure, path)


def draw_confusions(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw the confusion matrices of several evaluations side by side.

    Args:
        results: Title to what `modpm evaluate --json` printed.
        path: The PNG file.
    """
    figure, all_axes = plt.subplots(
        1, len(results), figsize=(5 * len(results), 5), layout="constrained", squeeze=False
    )
    for axes, (title, result) in zip(all_axes[0], results.items(), strict=True):
        confusion = result["confusion"]
        counts = np.array(confusion["counts"], dtype=float)
        shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
        labels = [label or "none of the above" for label in confusion["labels"]]
        draw_matrix(axes, shares, confusion["classes"], labels)
        axes.set(title=f"{title}: {result['accuracy']:.1%}", xlabel="predicted", ylabel="shown")
    save(figure, path)


def draw_matrix(axes: Axes, values: np.ndarray, rows: list[str], columns: list[str]) -> None:
    """Draw numbers in [0, 1] as a labeled grid."""
    axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    for (row, column), value in np.ndenumerate(values):
        color = "black" if value > 0.6 else "white"  # noqa: PLR2004 - where viridis turns bright
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6, color=color)


def save(figure: plt.Figure, path: Path) -> None:
    """Write a figure as a PNG file."""
    figure.savefig(path, dpi=120)
    plt.close(figure)
