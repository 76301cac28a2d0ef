"""Whether a factory makes a network with trained weights of its own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def drawn_beside_loaded(make: Callable[[], nn.Module]) -> frozenset[str] | None:
    """Return which parameters of a network are drawn by chance beside weights that it loads.

    It is made, and where it loads weights made again by another chance: what is trained is the same
    both times, such as all of a network but for a new last layer.

    Args:
        make: Makes the network.

    Returns:
        Their names, none where all is loaded; None where less than half of it is.
    """
    with _noted_loads() as loads:
        first = _made(make, 0)
    if not loads:
        return None
    second = _made(make, 1)
    told = [name for name, x in first.items() if not bool((x == x.flatten()[:1]).all())]
    drawn = frozenset(name for name in told if not torch.equal(first[name], second[name]))
    n_drawn, n_told = (sum(first[name].numel() for name in names) for names in (drawn, told))
    return drawn if 2 * n_drawn < n_told else None


def _made(make: Callable[[], nn.Module], seed: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {name: x.detach() for name, x in make().named_parameters()}


@contextmanager
def _noted_loads() -> Iterator[list[str]]:
    """Note the kinds of networks and layers that weights are loaded into."""
    loads: list[str] = []
    load = nn.Module.load_state_dict

    def note(self: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- passed on
        loads.append(type(self).__name__)
        return load(self, *args, **kwargs)

    nn.Module.load_state_dict = note  # type: ignore[method-assign]  # torch has no hook of all
    try:
        yield loads
    finally:
        nn.Module.load_state_dict = load  # type: ignore[method-assign]  # as above
