"""The libraries of networks that a test needs, which are no dependencies."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from types import ModuleType

_COMPILED = ("nms", "qnms")
"""What importing torchvision asks of its compiled part, which no network calls."""


@cache
def library(name: str) -> ModuleType:
    """Import one, also beside a torch whose kind torchvision was not compiled for."""
    if find_spec("torchvision") is None or find_spec(name) is None:
        pytest.skip(f"{name} is not installed: `pip install --no-deps timm torchvision`")
    try:
        return import_module(f"{name}.models")
    except RuntimeError:
        for function in _COMPILED:
            schema = "(Tensor boxes, Tensor scores, float threshold) -> Tensor"
            torch.library.define(f"torchvision::{function}", schema)
        return import_module(f"{name}.models")
