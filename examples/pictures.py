"""Pictures of what a modularization gave, drawn from its distributions and evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modpm.core.formats.distribution import read_distribution
from modpm.core.reports.pictures import grid, side_by_side
from modpm.core.shown_text import Percent, short_labels

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.formats.manifest import Manifest


def read_manifests(folder: Path) -> list[Manifest]:
    """Return the manifest of each distribution in a folder, by class."""
    found = [
        read_distribution(path.parent).module_manifest for path in folder.glob("*/manifest.json")
    ]
    return sorted(found, key=lambda manifest: manifest.output.class_index)


def draw_retained_kernels(distributions: Path, path: Path) -> None:
    """Draw which share of each layer's kernels each class retains."""
    manifests = read_manifests(distributions)
    nodes = manifests[0].origin.graph.nodes
    layers = [node.name for node in nodes if node.name in manifests[0].retained]
    layers = [name for name in layers if "mask_generator" not in name]
    shares = [
        [len(m.retained[layer].retained) / m.retained[layer].total for layer in layers]
        for m in manifests
    ]
    title = "Share of kernels retained, per class and layer"
    path.write_text(grid(shares, _names(manifests), layers, title), "utf-8")


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
    overlap = [[len(a & b) / len(a | b) for b in kernels] for a in kernels]
    names = _names(manifests)
    title = "Overlap of the class modules (Jaccard index of retained kernels)"
    path.write_text(grid(overlap, names, names, title), "utf-8")


def _names(manifests: list[Manifest]) -> list[str]:
    labels = [manifest.label for manifest in manifests]
    return [short_labels(labels)[label] for label in labels]


def draw_confusions(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw the confusion matrices of several evaluations side by side.

    Args:
        results: Title to what `modpm evaluate --json` printed.
        path: The SVG file.
    """
    pictures = {}
    for name, result in results.items():
        confusion = result["confusion"]
        shares = [[n / max(1, sum(row)) for n in row] for row in confusion["counts"]]
        labels = [label or "none of the above" for label in confusion["labels"]]
        title = f"{name}: {Percent(result['accuracy'])}"
        pictures[title] = grid(shares, confusion["classes"], labels, title)
    path.write_text(side_by_side(pictures), "utf-8")
