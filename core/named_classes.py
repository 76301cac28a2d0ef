"""Classes that a name leads to: of this package, of another one, or a user's own."""

from __future__ import annotations

import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType


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
        module, _, attribute = name.partition(":")
        if all(part.isidentifier() for part in (*module.split("."), attribute)):
            # What is loaded needs no search of the working directory.
            is_loaded = module in sys.modules
            return self._loaded(name, name, import_module if is_loaded else import_of_user)
        names = ", ".join(self.shipped)
        raise self._unknown(name, f"take {names}, or a class of yours, package.module:Class")

    def _loaded(
        self, name: str, place: str, importing: Callable[[str], ModuleType] = import_module
    ) -> type[Any]:
        try:
            found = _class_at(place, importing)
        except (Exception, SystemExit) as error:  # a user's code may raise anything
            why = f"{type(error).__name__}: {error}"
            raise self._unknown(name, "is its package installed, and sound?", why) from error
        base = _class_at(self.base, import_module)
        if not (isinstance(found, type) and issubclass(found, base)):
            hint = f"it must be a class made from `{base.__name__}`"
            raise self._unknown(name, hint, f"it is {found!r:.100}")
        if lacking := sorted(getattr(found, "__abstractmethods__", ())):
            raise self._unknown(name, "write what it lacks", f"it has no {', '.join(lacking)}")
        return found

    def _unknown(self, name: str, hint: str, why: str | None = None) -> ModpmError:
        return ModpmError(
            f"there is no {self.what} called `{name}`",
            code=f"unknown-{self.kind}",
            why=why,
            hint=hint,
            exit_code=2,
        )


def _class_at(place: str, importing: Callable[[str], ModuleType]) -> Any:  # noqa: ANN401 -- whatever stands there
    module, _, name = place.partition(":")
    return getattr(importing(module), name)


def import_of_user(module: str) -> ModuleType:
    """Import a module that a user named, from the working directory too, as `python -m` does.

    Whatever its code raises is raised.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    with guest():
        return import_module(module)


@contextmanager
def guest() -> Iterator[None]:
    """Let a user's code see no arguments of ours, and print to where errors go."""
    arguments = sys.argv
    sys.argv = arguments[:1]
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.argv = arguments
