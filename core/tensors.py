"""Tensors to and from safetensors bytes: the same tensors give the same bytes, never pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors.torch import load, save

from modpm.core.formats.tensor_file import parse_header
from modpm.core.system.whole_files import read_error, write_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from torch import Tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; what the device is doing is not waited for."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        tensor = tensor.pin_memory()  # from other memory a copy waits all the same
    return tensor.to(device, non_blocking=True)


def encode_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the bytes of a tensor file (clause T-10).

    Tensors may share memory, lie on any device and have any memory format: each is written by
    itself, in row-major order.

    Args:
        tensors: By name.
    """
    # A clone, because safetensors refuses tensors that share memory.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return save(plain)


def decode_tensors(data: bytes, where: str | None = None) -> dict[str, Tensor]:
    """Read tensors from the bytes of a tensor file that nobody has vouched for, by name in order.

    Args:
        data: The whole file.
        where: The file, for errors.

    Raises:
        ModpmError: `truncated-tensors` or `invalid-tensors`.
    """
    parse_header(data, len(data), where)
    return dict(sorted(load(data).items()))  # the library's order changes from call to call


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a tensor file, so that there is at any moment the old file or the new one.

    Args:
        path: The file; what is there already is replaced.
        tensors: By name.

    Raises:
        ModpmError: What `write_file` raises.
    """
    write_file(path, encode_tensors(tensors))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a tensor file.

    The file is read once and then checked, so that what was checked is what is used, whatever
    becomes of the file.

    Raises:
        ModpmError: `unreadable-file`, `truncated-tensors` or `invalid-tensors`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise read_error(error, path) from error
    return decode_tensors(data, str(path))
