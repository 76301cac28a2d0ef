"""`modpm check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modpm.cli.output import emit, say, show, table, warn

if TYPE_CHECKING:
    from modpm.core.checking import NetworkCheck
    from modpm.core.graph import Cost


def _list_operators(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    from modpm.core.graph.operators.table import calls  # noqa: PLC0415 -- it needs torch

    table([(kind, " ".join(names)) for kind, names in calls().items()], ("kind", "calls of torch"))
    context.exit()


@click.command("check", epilog="Example: modpm check my_networks:make --image-size 64 --classes 5")
@click.argument("network", metavar="NETWORK")
@click.option(
    "--image-size", default=32, show_default=True, metavar="N", help="Height and width of images."
)
@click.option("--channels", default=3, show_default=True, help="Of the images: 1, or 3.")
@click.option(
    "--classes", "n_classes", default=10, show_default=True, metavar="N", help="How many outputs."
)
@click.option(
    "--width", default=1.0, show_default=True, help="Factor on the channels of every layer."
)
@click.option("--init", type=click.Path(), help="Weights to start from, as `train` takes them.")
@click.option(
    "--pretrained",
    is_flag=True,
    help="Start from the weights that the library has of the network, or its factory loads.",
)
@click.option(
    "--retention",
    default=0.5,
    show_default=True,
    metavar="R",
    help="The share of kernels that the class module keeps which is cut to see.",
)
@click.option(
    "--operators",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_operators,
    help="List what a network may call, and exit.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(
    *,
    network: str,
    image_size: int,
    channels: int,
    n_classes: int,
    width: float,
    init: str | None,
    pretrained: bool,
    retention: float,
    as_json: bool,
) -> int:
    """Say what can be cut of a network, what it costs, and whether it fits every limit.

    NETWORK is what `train --arch` takes. Nothing is trained. Exits with 1 where a class module
    would not fit.
    """
    from modpm.core.checking import check  # noqa: PLC0415 -- so that --help needs no torch

    found = check(
        network,
        image_size,
        channels=channels,
        n_classes=n_classes,
        width=width,
        init=init,
        pretrained=pretrained,
        retention=retention,
        report=say,
    )
    if as_json:
        emit(_data(found))
    else:
        _print(found)
    for limit in found.beyond:
        warn(f"{limit.what}: {limit.found:,} are more than {limit.most:,}")
    return int(not found.fits)


def _print(found: NetworkCheck) -> None:
    rows = [
        (layer.name, str(layer.n_kernels), "cut" if layer.is_cut else "whole")
        for layer in found.layers
    ]
    table(rows, ("layer", "kernels", "in modules"))
    show(f"network: {_words(found.cost)}")
    show(f"a class module: about {_words(found.module_cost)}")
    table(
        [(limit.what, f"{limit.found:,}", f"{limit.most:,}") for limit in found.limits],
        ("limit", "found", "at most"),
    )


def _words(cost: Cost) -> str:
    return f"{cost.n_parameters:,} parameters, {cost.macs:,} multiply-accumulates an image"


def _data(found: NetworkCheck) -> dict[str, object]:
    return {
        "image_shape": list(found.image_shape),
        "n_classes": found.n_classes,
        "layers": [
            {"name": layer.name, "n_kernels": layer.n_kernels, "is_cut": layer.is_cut}
            for layer in found.layers
        ],
        "network": _cost(found.cost),
        "module": _cost(found.module_cost),
        "manifest_bytes": found.manifest_bytes,
        "limits": [
            {"what": limit.what, "found": limit.found, "at_most": limit.most}
            for limit in found.limits
        ],
        "fits": found.fits,
    }


def _cost(cost: Cost) -> dict[str, int]:
    return {
        "n_parameters": cost.n_parameters,
        "macs": cost.macs,
        "size_bytes": cost.size_bytes,
    }
