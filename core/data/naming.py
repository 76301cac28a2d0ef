"""Names of class modules, made of the names that a data set gives its classes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import Label
from modpm.core.formats.names import MAX_PART_LENGTH, ModuleName, is_reserved, normalize
from modpm.core.formats.records import convert

if TYPE_CHECKING:
    from collections.abc import Sequence

_NOT_ALLOWED = re.compile(r"[^a-z0-9]+")


def module_names(namespace: str, classes: Sequence[str]) -> list[ModuleName]:
    """Return the name of each class's module, in the given namespace.

    A class's name is brought to lower-case ASCII letters and digits, with `-` between its words
    (`T-shirt/top` becomes `t-shirt-top`); a class without any is called `class-<position>`, and
    one whose name no folder can have on Windows `<name>-class` (`con-class`).

    Args:
        namespace: What stands before the slash.
        classes: Names of classes as a data set has them.

    Raises:
        ModpmError: The namespace is not a name (`invalid-name`), a class has a name that no
            manifest may have (`bad-class-names`), or two classes have one module name
            (`same-name`).
    """
    namespace = normalize(namespace)
    for one in classes:
        _check_label(f"{namespace}/{one}", one)
    names = [ModuleName(namespace, _slug(name, i)) for i, name in enumerate(classes)]
    name, n = Counter(names).most_common(1)[0]
    if n > 1:
        same = [one for one, its_name in zip(classes, names, strict=True) if its_name == name]
        raise ModpmError(
            f"several classes would be called `{name}`",
            code="same-name",
            why=", ".join(f"`{one}`" for one in same),
            hint="give the classes names that differ in their letters and digits",
        )
    return names


def _check_label(label: str, name: str) -> None:
    try:
        convert(label, Label)
    except msgspec.ValidationError as error:
        raise ModpmError(
            "a class has a name that its module cannot have",
            code="bad-class-names",
            where=f"{name[:200]!r}",
            why="it is longer than 200 characters, or has some that control a terminal",
            hint="give the class another name",
        ) from error


def default_namespace(data: str) -> str:
    """Return the namespace for a data set: the last part of its id or path."""
    return _slug(PurePath(data).name, 0, "data")


def absolute_if_folder(data: str | Path) -> str:
    """Return a data set's name, or its path in a form that holds in every working directory."""
    path = Path(data).expanduser()
    return str(path.absolute()) if str(data) != "digits" and path.is_dir() else str(data)


def data_set_name(data: str) -> str:
    """Return what a data set is called for others: an id of the Hub, or the name of a folder."""
    is_folder = PurePath(data).is_absolute() or data.startswith("./")
    return PurePath(data).name if is_folder else data


def _slug(text: str, position: int, fallback: str = "class") -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    slug = _NOT_ALLOWED.sub("-", plain).strip("-")[:MAX_PART_LENGTH].strip("-")
    if is_reserved(slug):
        return f"{slug}-{fallback}"
    return slug or f"{fallback}-{position}"
