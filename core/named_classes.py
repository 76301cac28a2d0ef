"""Classes that a name leads to: of this package, of another one, or a user's own."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class NamedClasses:
    """Classes of one kind.

    Attributes:
        kind: One of them, in a word: with `unknown-` before it, the code of an error.
        what: The same for people.
        group: Of the entry points by which other packages name theirs.
        shipped: Those of this package: name to `package.module:Class`.
        base: What all of them are made from, written so too.
    """

    kind: str
    what: str
    group: str
    shipped: Mapping[str, str]
    base: str

    def find(self, name: str) -> type[Any]:
        """Return the class of a name.

        Args:
            name: A shipped one, what another package calls its own, or `package.module:Class`.

        Raises:
            ModpmError: There is none, or it is not of this kind (`unknown-` and the kind).
        """
        if name in self.shipped:
            return self._loaded(name, self.shipped[name])
        for entry in entry_points(group=self.group, name=name):
            return self._loaded(name, entry.value)
        if all(name.partition(":")):
            return self._loaded(name, name)
        names = ", ".join(self.shipped)
        raise self._unknown(name, f"take {names}, or a class of yours, package.module:Class")

    def _loaded(self, name: str, place: str) -> type[Any]:
        try:
            found = _class_at(place)
        except (ImportError, AttributeError) as error:
            raise self._unknown(name, "is its package installed?", str(error)) from error
        base = _class_at(self.base)
        if not (isinstance(found, type) and issubclass(found, base)):
            hint = f"it must be a class made from `{base.__name__}`"
            raise self._unknown(name, hint, f"it is {found!r:.100}")
        return found

    def _unknown(self, name: str, hint: str, why: str | None = None) -> ModpmError:
        return ModpmError(
            f"there is no {self.what} called `{name}`",
            code=f"unknown-{self.kind}",
            why=why,
            hint=hint,
            exit_code=2,
        )


def _class_at(place: str) -> Any:  # noqa: ANN401 -- whatever stands there
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
