"""Ordinary weights of a trained network, from a safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open

from modpm.core.errors import ModpmError
from modpm.core.formats.stand_ins import stand_in

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor, nn

_N_SHOWN = 6
_WRAPPERS = frozenset({"module", "_orig_mod"})
_PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"})
_CONVERSION = (
    "convert it once where you trust its author: `safetensors.torch.save_file("
    'torch.load("weights.pth", weights_only=True), "weights.safetensors")`'
)


def load_initial_weights(network: nn.Module, path: Path | str) -> None:
    """Load a network's parameters and buffers from a safetensors file, in place.

    Every tensor of the network must be in the file with its shape, and nothing else; counters
    of batch norm (`num_batches_tracked`) may be missing. Parts of names that `DataParallel`
    (`module.`) and `torch.compile` (`_orig_mod.`) put into them, before all or before those of a
    layer, are taken out. A tensor that the network has by two names may be there by one of
    them, and one that the file's metadata names as another name of one in it, as safetensors'
    `save_model` writes tied weights, is that one. Other precisions are converted; integers that
    stand for real numbers, and complex numbers, are refused.

    Raises:
        ModpmError: The file is missing, no safetensors file, a pickle, or of another network, or
            holds values that are not finite. The network is unchanged.
    """
    path = Path(path)
    _refuse_other_formats(path)
    expected = network.state_dict()
    tensors = _with_tied(_without_wrappers(_read(path), expected), expected)
    _check_tensors(tensors, expected, path)
    tensors.update({name: expected[name] for name in expected.keys() - tensors.keys()})
    network.load_state_dict(tensors)


def _refuse_other_formats(path: Path) -> None:
    if not path.is_file():
        raise ModpmError(
            "there is no weights file",
            code="weights-not-found",
            where=str(path),
            why="it is a folder" if path.is_dir() else None,
            hint="--init takes one .safetensors file",
        )
    with path.open("rb") as file:
        start = file.read(9)
    if start.endswith(b"{"):  # a safetensors header, after the 8 bytes of its length
        return
    if start.startswith((b"PK", b"\x80")) or path.suffix.lower() in _PICKLE_SUFFIXES:
        raise ModpmError(
            "weights in a pickle are refused",
            code="pickled-weights",
            where=str(path),
            why="opening a pickle runs whatever code its author put there",
            hint=_CONVERSION,
        )


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- it is no dict
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        why, hint = stand_in(path) or (str(error), None)
        raise ModpmError(
            "the weights cannot be read", code="bad-weights", where=str(path), why=why, hint=hint
        ) from error
    tied = {name: tensors[kept] for name, kept in metadata.items() if kept in tensors}
    return {**tied, **tensors}


def _without_wrappers(tensors: dict[str, Tensor], expected: Collection[str]) -> dict[str, Tensor]:
    """Return tensors by their names in the network that wrappers were put around."""
    own = {_bare(name): name for name in expected}
    bare = {_bare(name) for name in tensors}
    if len(own) < len(expected) or len(bare) < len(tensors):
        return tensors  # the parts tell tensors apart: they are no wrappers' alone
    return {own.get(_bare(name), name): tensor for name, tensor in tensors.items()}


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _with_tied(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by all names that the network has for each, the given ones first."""
    groups: dict[tuple[int, torch.Size], list[str]] = {}
    for name, tensor in expected.items():
        groups.setdefault((tensor.data_ptr(), tensor.shape), []).append(name)
    tied = {
        name: next(tensors[other] for other in names if other in tensors)
        for names in groups.values()
        if any(name in tensors for name in names)
        for name in names
    }
    return {**tied, **tensors}


def _check_tensors(tensors: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    missing = [
        name
        for name in expected
        if name not in tensors and not name.endswith("num_batches_tracked")
    ]
    unknown = [name for name in tensors if name not in expected]
    differing = [
        f"{name} {list(tensor.shape)} instead of {list(expected[name].shape)}"
        for name, tensor in tensors.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    problems = [
        *_listed("not in the file", missing),
        *_listed("not in the network", unknown),
        *_listed("of another shape", differing),
        *_listed("one tensor in the network, two in the file", _parted(tensors, expected)),
    ]
    if problems:
        raise ModpmError(
            "the weights are of another network",
            code="weights-mismatch",
            where=str(path),
            why="\n".join(problems),
            hint="--arch, --width and the number of classes must be those of the weights",
        )
    for name, tensor in tensors.items():
        if expected[name].is_floating_point() and not tensor.is_floating_point():
            raise _bad(
                path,
                f"tensor `{name}` holds {str(tensor.dtype).removeprefix('torch.')} numbers",
                "a network's numbers are real: quantised weights are to be dequantised first",
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor.to(expected[name].dtype)).all():
            raise _bad(path, f"tensor `{name}` holds values that are not finite", None)


def _parted(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    """Return names of tensors that the network has as one with another, and the file has not."""
    first: dict[tuple[int, torch.Size], str] = {}
    shared = {
        name: first.setdefault((tensor.data_ptr(), tensor.shape), name)
        for name, tensor in expected.items()
        if tensor.numel()
    }
    return [
        f"{other} and {name}"
        for name, other in shared.items()
        if {name, other} <= tensors.keys()
        and name != other
        and not torch.equal(tensors[name], tensors[other])
    ]


def _bad(path: Path, what: str, why: str | None) -> ModpmError:
    return ModpmError(what, code="bad-weights", where=str(path), why=why)


def _listed(what: str, items: list[str]) -> list[str]:
    if not items:
        return []
    more = f" and {len(items) - _N_SHOWN} more" if len(items) > _N_SHOWN else ""
    return [f"{what}: {', '.join(items[:_N_SHOWN])}{more}"]
