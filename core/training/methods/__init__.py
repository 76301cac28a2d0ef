"""Methods of training: one file each, and where a name leads to one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.named_classes import NamedClasses

if TYPE_CHECKING:
    from modpm.core.training.methods.method import Method

DEFAULT_METHOD = "views"

METHODS = NamedClasses(
    kind="method",
    what="method of training",
    group="modpm.methods",
    shipped={
        "views": f"{__name__}.views:Views",
        "mwt": f"{__name__}.mwt:Mwt",
        "moda": f"{__name__}.moda:Moda",
        "plain": f"{__name__}.plain:Plain",
    },
    base=f"{__name__}.method:Method",
)


def find_method(name: str) -> type[Method]:
    """Return a method of training.

    Args:
        name: `views`, `mwt`, `moda`, `plain`, what another package calls its own, or
            `package.module:Class`.

    Raises:
        ModpmError: There is no such method (`unknown-method`).
    """
    return METHODS.find(name)
