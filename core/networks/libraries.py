"""Networks of `timm` and `torchvision`, by their names there."""

from __future__ import annotations

import warnings
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from modpm.core.errors import ModpmError, suggestion
from modpm.core.graph.guest import said, user_place
from modpm.core.named_classes import guest
from modpm.core.networks.initial_weights import load_tensors, new_head, silent
from modpm.core.networks.user_factory import called, without_pretrained, without_width

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


class _Wish(NamedTuple):
    """What is wanted of a library; the arguments of `create_from_library`."""

    arch: str
    name: str
    n_classes: int
    in_channels: int
    pretrained: bool
    on_new_head: Callable[[str], None]


def create_from_library(
    arch: str,
    n_classes: int,
    in_channels: int,
    width: float,
    *,
    pretrained: bool = False,
    on_new_head: Callable[[str], None] = silent,
) -> nn.Module:
    """Create a network that a library names, which is imported for it.

    Args:
        arch: `timm:NAME` or `torchvision:NAME`.
        n_classes: Number of outputs.
        in_channels: Channels of the input images.
        width: Must be 1: other widths have names of their own.
        pretrained: With the library's weights, which its own code fetches.
        on_new_head: Is told so, in a sentence.

    Raises:
        ModpmError: The library is not installed (`missing-extra`) or fails (`factory-failed`), it
            has no network of that name (`unknown-architecture`) or no weights of it
            (`no-pretrained-weights`), or another width is asked for (`factory-without-width`).
    """
    library, _, name = arch.partition(":")
    if width != 1.0:
        raise without_width(arch, f"networks of other widths have names of their own in {library}")
    wish = _Wish(arch, name, n_classes, in_channels, pretrained, on_new_head)
    return LIBRARIES[library](wish)


def _imported(arch: str, module: str) -> Any:  # noqa: ANN401 -- of a library without types
    """Import a library's module.

    Raises:
        ModpmError: It is not there (`missing-extra`), or cannot be imported (`factory-failed`).
    """
    library = arch.partition(":")[0]
    try:
        with guest():
            return import_module(module)
    except Exception as error:  # what a library raises is its own
        if isinstance(error, ModuleNotFoundError) and error.name == library:
            raise ModpmError(
                f"the package `{library}` is not installed",
                code="missing-extra",
                where=f"--arch {arch}",
                hint=f'install it with `pip install "modpm[{library}]"`',
            ) from error
        raise ModpmError(
            f"importing `{library}` failed",
            code="factory-failed",
            where=user_place(error) or f"--arch {arch}",
            why=said(error),
            hint="torch, torchvision and timm must be of versions that belong together",
        ) from error


def _of_timm(wish: _Wish) -> nn.Module:
    timm = _imported(wish.arch, "timm")
    if not timm.is_model(wish.name):
        raise _unknown(wish, timm.list_models())
    if wish.pretrained and not timm.is_model_pretrained(wish.name):
        raise without_pretrained(wish.arch, "timm has none of it")
    network: Any = called(
        wish.arch,
        lambda: timm.create_model(
            wish.name,
            pretrained=wish.pretrained,
            num_classes=wish.n_classes,
            in_chans=wish.in_channels,
        ),
    )
    n_trained = network.pretrained_cfg["num_classes"]
    if wish.pretrained and n_trained != wish.n_classes:
        wish.on_new_head(new_head(wish.arch, n_trained, wish.n_classes))
    return network  # type: ignore[no-any-return]  # timm has no types


def _of_torchvision(wish: _Wish) -> nn.Module:
    # Its networks take three channels; of others their trial run tells.
    models = _imported(wish.arch, "torchvision.models")
    names = models.list_models(module=models)
    if wish.name not in names:
        raise _unknown(wish, names)
    make = partial(models.get_model, wish.name, weights=None, num_classes=wish.n_classes)
    with warnings.catch_warnings():  # of what later releases will do
        warnings.simplefilter("ignore", FutureWarning)
        network: nn.Module = called(wish.arch, make)
    if wish.pretrained:
        weights = models.get_model_weights(wish.name).DEFAULT
        fetch = partial(weights.get_state_dict, progress=False, check_hash=True)
        load_tensors(
            network,
            called(wish.arch, fetch),
            wish.arch,
            n_classes=wish.n_classes,
            on_new_head=wish.on_new_head,
        )
    return network


LIBRARIES: dict[str, Callable[[_Wish], nn.Module]] = {
    "timm": _of_timm,
    "torchvision": _of_torchvision,
}
"""Their names, each the extra that installs it, and what makes a network of one."""


class Normalization(NamedTuple):
    """What images are normalized by, of pixels in [0, 1].

    Attributes:
        mean, std: One number per channel.
    """

    mean: list[float]
    std: list[float]


def normalization_of(arch: str, n_channels: int) -> Normalization | None:
    """Return what the images of a library's trained weights were normalized by.

    Args:
        arch: `timm:NAME` or `torchvision:NAME`, of which the library has weights.
        n_channels: Of the images that a network is for.

    Returns:
        None where the library does not say it, or of other channels.
    """
    library, _, name = arch.partition(":")
    found = _CONVENTIONS[library](arch, name)
    if found is None or not len(found.mean) == len(found.std) == n_channels:
        return None
    return found


def _convention_of_timm(arch: str, name: str) -> Normalization | None:
    said = _imported(arch, "timm").get_pretrained_cfg(name)
    return (
        None if said is None else Normalization([*map(float, said.mean)], [*map(float, said.std)])
    )


def _convention_of_torchvision(arch: str, name: str) -> Normalization | None:
    models = _imported(arch, "torchvision.models")
    prepare = models.get_model_weights(name).DEFAULT.transforms()
    mean, std = getattr(prepare, "mean", None), getattr(prepare, "std", None)
    return None if mean is None or std is None else Normalization([*mean], [*std])


_CONVENTIONS: dict[str, Callable[[str, str], Normalization | None]] = {
    "timm": _convention_of_timm,
    "torchvision": _convention_of_torchvision,
}


def _unknown(wish: _Wish, names: list[str]) -> ModpmError:
    library = wish.arch.partition(":")[0]
    listing = "timm.list_models()" if library == "timm" else "torchvision.models.list_models()"
    return ModpmError(
        f"{library} has no network called `{wish.name}`",
        code="unknown-architecture",
        hint=suggestion(
            wish.name.lower().replace("-", "_"),
            names,
            f"`{listing}` lists all of them",
            n=3,
            form=f"{library}:{{}}",
        ),
        exit_code=2,
    )
