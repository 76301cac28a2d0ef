"""Methods of training: one file each, and where a name leads to one."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from modpm.core.training.methods.method import Method

DEFAULT_METHOD = "views"

ENTRY_POINTS = "modpm.methods"
"""Where other packages name their methods."""


class _Place(NamedTuple):
    module: str
    class_name: str


_SHIPPED = {
    "views": _Place("views", "Views"),
    "mwt": _Place("mwt", "Mwt"),
    "plain": _Place("plain", "Plain"),
}


def find_method(name: str) -> type[Method]:
    """Return a method of training.

    Args:
        name: `views`, `mwt`, `plain`, what another package calls its own, or
            `package.module:Class`.

    Raises:
        ModpmError: There is no such method (`unknown-method`).
    """
    if name in _SHIPPED:
        place = _SHIPPED[name]
        return _loaded(name, f"{__name__}.{place.module}", place.class_name)
    for entry in entry_points(group=ENTRY_POINTS, name=name):
        return _loaded(name, entry.module, entry.attr)
    module, _, class_name = name.partition(":")
    if module and class_name:
        return _loaded(name, module, class_name)
    raise _unknown(name, f"take {', '.join(_SHIPPED)}, or a class of yours, package.module:Class")


def _loaded(name: str, module: str, class_name: str) -> type[Method]:
    from modpm.core.training.methods.method import Method  # noqa: PLC0415 -- names need no torch

    try:
        found = getattr(import_module(module), class_name)
    except (ImportError, AttributeError) as error:
        raise _unknown(name, "is its package installed?", str(error)) from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise _unknown(name, "it must be a class made from `Method`", f"it is {found!r:.100}")
    return found


def _unknown(name: str, hint: str, why: str | None = None) -> ModpmError:
    return ModpmError(
        f"there is no method of training called `{name}`",
        code="unknown-method",
        why=why,
        hint=hint,
        exit_code=2,
    )
