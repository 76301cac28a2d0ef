"""Ordinary weights of a trained network, from a safetensors file or a checkpoint of torch."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from modpm.core.errors import ModpmError
from modpm.core.formats.stand_ins import stand_in

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import nn

_N_SHOWN = 6
_WRAPPERS = frozenset({"module", "_orig_mod"})
_STATE = ("state_dict", "model_state_dict", "model")
"""Where checkpoints keep the weights beside what else they hold."""


def silent(_sentence: str) -> None:
    """Tell nobody."""


def new_head(source: Path | str, n_trained: int, n_classes: int) -> str:
    """Return the sentence about weights of another number of classes than a network has."""
    return (
        f"{source}: its weights are of {n_trained} classes; the last layer is new, for "
        f"{n_classes} classes"
    )


def load_initial_weights(
    network: nn.Module,
    path: Path | str,
    *,
    n_classes: int | None = None,
    on_new_head: Callable[[str], None] = silent,
) -> None:
    """Load a network's parameters and buffers from a file, in place.

    It is a safetensors file, or a checkpoint of `torch.save` that holds tensors and plain values
    alone: nothing else of a pickle is opened. The weights are all of it, or its `state_dict`.

    Every tensor of the network must be in the file with its shape, and nothing else; counters
    of batch norm (`num_batches_tracked`) may be missing. Parts of names that `DataParallel`
    (`module.`) and `torch.compile` (`_orig_mod.`) put into them, before all or before those of a
    layer, are taken out, and `model.` before all. A tensor that the network has by two names may
    be there by one of them, and one that the file's metadata names as another name of one in it,
    as safetensors' `save_model` writes tied weights, is that one. Other precisions are converted;
    integers that stand for real numbers, and complex numbers, are refused.

    Args:
        network: Whose weights.
        path: The file.
        n_classes: Of the network, where its last layer may be another than the file's: one for
            another number of classes stays as it was drawn.
        on_new_head: Is told so, in a sentence.

    Raises:
        ModpmError: The file is missing, neither of the two, a pickle of more, or of another
            network, or holds values that are not finite. The network is unchanged.
    """
    path = Path(path)
    tensors = _unpickled(path) if _is_pickle(path) else _read(path)
    load_tensors(network, tensors, path, n_classes=n_classes, on_new_head=on_new_head)


def load_tensors(
    network: nn.Module,
    found: Mapping[str, Tensor],
    source: Path | str,
    *,
    n_classes: int | None = None,
    on_new_head: Callable[[str], None] = silent,
) -> None:
    """Load a network's parameters and buffers from tensors, as `load_initial_weights` does.

    Args:
        network: Whose weights.
        found: The tensors by name.
        source: What errors and sentences call the place that they are from.
        n_classes: As there.
        on_new_head: As there.

    Raises:
        ModpmError: As there, of the tensors.
    """
    expected = network.state_dict()
    tensors = _without_wrappers(_without_prefix(dict(found), expected), expected)
    tensors = _with_tied(tensors, expected)
    head = {} if n_classes is None else _head(tensors, expected, n_classes)
    tensors = {name: tensor for name, tensor in tensors.items() if name not in head}
    _check_tensors(tensors, {n: x for n, x in expected.items() if n not in head}, source)
    tensors.update({name: expected[name] for name in expected.keys() - tensors.keys()})
    network.load_state_dict(tensors)
    if n_classes is not None and head:
        on_new_head(new_head(source, next(iter(head.values())), n_classes))


def _head(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], n_classes: int
) -> dict[str, int]:
    """Return the tensors that are of another number of classes, with that number.

    None where others differ too, or otherwise: then the weights are of another network.
    """
    pairs = {
        name: (x.shape, expected[name].shape) for name, x in tensors.items() if name in expected
    }
    differing = {name: (found[:1], own[:1]) for name, (found, own) in pairs.items() if found != own}
    is_head = len(set(differing.values())) == 1 and all(
        own == (n_classes,) and pairs[name][0][1:] == pairs[name][1][1:]
        for name, (_, own) in differing.items()
    )
    return {name: found[0] for name, (found, _) in differing.items() if found} if is_head else {}


def _is_pickle(path: Path) -> bool:
    if not path.is_file():
        raise ModpmError(
            "there is no weights file",
            code="weights-not-found",
            where=str(path),
            why="it is a folder" if path.is_dir() else None,
            hint="--init takes one file, .safetensors or of `torch.save`",
        )
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors header comes after the 8 bytes of its length, which may be any.
    return start.startswith((b"PK", b"\x80")) and not start.endswith(b"{")


def _unpickled(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint by the reader of torch that makes nothing but tensors and plain values."""
    try:
        _refuse_compression(path)
        with path.open("rb") as file:  # by its name torch might take it for another format
            found: object = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ModpmError(
            "a pickle of more than weights is refused",
            code="pickled-weights",
            where=str(path),
            why="opening it runs whatever code its author put there",
            hint='save the weights alone: `torch.save(network.state_dict(), "weights.pth")`',
        ) from error
    except Exception as error:  # torch says in many ways that a file is damaged
        why = str(error).split("\n")[0]
        raise _bad(path, "the weights cannot be read", why) from error
    inner = [found[key] for key in _STATE if key in found] if isinstance(found, Mapping) else []
    weights = next((state for state in inner if isinstance(state, Mapping)), found)
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and _is_plain(value) for name, value in weights.items()
    ):
        raise _bad(path, "the checkpoint holds no weights", "it has no `state_dict` of tensors")
    return dict(weights)


def _refuse_compression(path: Path) -> None:
    """Refuse a checkpoint whose files are larger than it: torch compresses none.

    Raises:
        ValueError: They are.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(file.file_size for file in archive.infolist()) > path.stat().st_size:
                raise ValueError("its files are compressed, which those of torch are not")


def _is_plain(value: object) -> bool:
    if not isinstance(value, Tensor) or value.is_nested:
        return False
    return value.device.type == "cpu" and value.layout is torch.strided


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


def _without_prefix(tensors: dict[str, Tensor], expected: Collection[str]) -> dict[str, Tensor]:
    """Return tensors without the one word before all of their names that the network has not."""
    first = {name.partition(".")[0] for name in tensors}
    is_alone = len(first) == 1 and first <= {*_WRAPPERS, "model"}
    if not is_alone or any(name.partition(".")[0] in first for name in expected):
        return tensors
    return _without_prefix({n.partition(".")[2]: x for n, x in tensors.items()}, expected)


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


def _check_tensors(
    tensors: dict[str, Tensor], expected: dict[str, Tensor], source: Path | str
) -> None:
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
            where=str(source),
            why="\n".join(problems),
            hint="architecture, width and number of classes must be those of the weights",
        )
    for name, tensor in tensors.items():
        if expected[name].is_floating_point() and not tensor.is_floating_point():
            raise _bad(
                source,
                f"tensor `{name}` holds {str(tensor.dtype).removeprefix('torch.')} numbers",
                "a network's numbers are real: quantized weights are to be dequantized first",
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor.to(expected[name].dtype)).all():
            raise _bad(source, f"tensor `{name}` holds values that are not finite", None)


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


def _bad(source: Path | str, what: str, why: str | None) -> ModpmError:
    return ModpmError(what, code="bad-weights", where=str(source), why=why)


def _listed(what: str, items: list[str]) -> list[str]:
    if not items:
        return []
    more = f" and {len(items) - _N_SHOWN} more" if len(items) > _N_SHOWN else ""
    return [f"{what}: {', '.join(items[:_N_SHOWN])}{more}"]
