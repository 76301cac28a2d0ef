"""One trial run of a network, so that a mismatch with the data is told before training."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modpm.core.errors import ModpmError
from modpm.core.graph.guest import said, user_place

if TYPE_CHECKING:
    from torch import nn


def check_network(network: nn.Module, image_shape: tuple[int, int, int], n_classes: int) -> None:
    """Check that a network takes images of that shape and has one output for each class.

    A value that is no tensor but has `logits` (a mapping or an object), as networks of
    transformers return, is judged by those.

    Raises:
        ModpmError: It fails on such images, or its output is not (N, n_classes).
    """
    try:
        output = _logits(_run(network, torch.zeros(2, *image_shape)))
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        channels, height, width = image_shape
        raise ModpmError(
            f"the network does not take images of {channels} x {height} x {width}",
            code="network-refuses-images",
            where=user_place(error),
            why=said(error),
            hint="choose another network, or another image size or number of channels",
        ) from error
    if not isinstance(output, Tensor) or output.shape != (2, n_classes):
        found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModpmError(
            f"the network does not have one output for each of {n_classes} classes",
            code="outputs-mismatch",
            why=f"for a batch of 2 images it returned {found}, not [2, {n_classes}]",
            hint="let the factory take `n_classes` or `num_classes`, and make that many outputs",
        )


def _run(network: nn.Module, images: Tensor) -> object:
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), redirect_stdout(sys.stderr):
            output: object = network(images)
    finally:
        network.train(was_training)
    return output


def _logits(output: object) -> object:
    if isinstance(output, dict):
        return output.get("logits", output)
    return getattr(output, "logits", output)
