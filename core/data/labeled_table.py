"""Tables with a column of images and a column of labels, as the Hub's data sets are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image

from modpm.core.data.image_files import BadImageError, open_encoded
from modpm.core.data.labeled_images import LabeledImages, import_extra, missing_split
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

    from modpm.core.data.labeled_images import EncodedImages

_IMAGE_NAMES = ("image", "img")
_LABEL_NAMES = ("label", "fine_label", "labels", "class")
_REMOTE = ("hf://", "https://", "http://", "s3://", "gs://")


class Tables(Protocol):
    """A data set that is one table a split."""

    @property
    def splits(self) -> Sequence[str]:
        """Its splits."""

    def schema(self, split: str) -> pa.Schema:
        """Return what columns a split has."""

    def labels(self, split: str, column: str) -> list[object]:
        """Return a column's values, none where the split has no such column."""

    def images(self, split: str, column: str) -> EncodedImages:
        """Return a column of images."""


@dataclass(frozen=True)
class Rows:
    """Some images of a column, each `{bytes, path}`, bytes, or numbers.

    Attributes:
        column: The images.
        first: The row of the first one.
        has_trusted_paths: Whether a row may name a local file instead of holding the image.
    """

    column: pa.Array | pa.ChunkedArray
    first: int = 0
    has_trusted_paths: bool = False

    def __len__(self) -> int:
        return len(self.column)

    def open(self, index: int) -> Image.Image:
        """Open one image."""
        record = self._record(index)
        data, path = record.get("bytes"), record.get("path")
        if data:
            return _from_numbers(data) if isinstance(data, list) else open_encoded(BytesIO(data))
        if path and str(path).startswith(_REMOTE):
            raise BadImageError(f"the row has no image, only its address {path}")
        if path and self.has_trusted_paths:
            return open_encoded(Path(path))
        raise BadImageError("the row has no image")

    def encoded(self, index: int) -> bytes:
        """Return one image as a file; pixels that are a list of numbers as a PNG."""
        data = self._record(index).get("bytes")
        if isinstance(data, bytes) and data:
            return data
        buffer = BytesIO()
        with self.open(index) as image:
            image.save(buffer, "PNG")
        return buffer.getvalue()

    def where(self, index: int) -> str:
        """Name the row."""
        path, row = self._record(index).get("path"), f"row {self.first + index}"
        return f"{row} ({path})" if path else row

    def _record(self, index: int) -> dict[str, Any]:
        value = self.column[index].as_py()
        return value if isinstance(value, dict) else {"bytes": value}


def _from_numbers(numbers: list[Any]) -> Image.Image:
    """Open the bytes of a file, or pixels of shape (H, W) or (H, W, C), given as a list."""
    array = np.array(numbers, np.uint8)
    return open_encoded(BytesIO(array.tobytes())) if array.ndim == 1 else Image.fromarray(array)


def open_tables(
    tables: Tables, features: Mapping[str, Any], *, split: str, source: str
) -> LabeledImages:
    """Open one split of a data set that is one table a split.

    Labels are names of classes, or numbers: positions among the names that the Hub's description
    gives, and where it gives none whatever numbers there are, each a class.

    Args:
        tables: The tables.
        features: The Hub's description of the columns: `{"img": {"_type": "Image"}, …}`.
        split: The split to open.
        source: The data set's name, for errors.

    Raises:
        ModpmError: No such split, no column of images or of labels, or rows without a label.
    """
    if split not in tables.splits:
        raise missing_split(source, split, tables.splits)
    schema = tables.schema(split)
    image = _image_column(schema, features, source)
    label = _label_column(schema, features, source)
    names = _description(features, label).get("names")
    others = () if names else (other for other in tables.splits if other != split)
    values = tables.labels(split, label)
    for some in (values, *(found := [tables.labels(other, label) for other in others])):
        _check_plain(some, label, source)
    if names:
        classes = _checked_names(names, source)
        position: dict[object, int] = {name: index for index, name in enumerate(classes)}
        position |= {index: index for index in range(len(classes))}
    else:
        kinds = _distinct([value for some in (values, *found) for value in some], label, source)
        classes = tuple(str(int(k)) if isinstance(k, int) else str(k) for k in kinds)
        position = {kind: index for index, kind in enumerate(kinds)}
    labels = _labels(values, position, len(classes), source=f"{source}, split {split}")
    return LabeledImages(tables.images(split, image), labels, classes)


def _description(features: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the Hub's description of a column, empty where there is none."""
    feature = features.get(name)
    return feature if isinstance(feature, Mapping) else {}


def _image_column(schema: pa.Schema, features: Mapping[str, Any], source: str) -> str:
    declared = [name for name in schema.names if _is_feature(features, name, "Image")]
    holding = [name for name in schema.names if holds_bytes(schema.field(name).type)]
    found = _preferred(declared, _IMAGE_NAMES) or _preferred(holding, _IMAGE_NAMES)
    if found is None:
        raise _no_column("images", schema, source)
    return found


def _label_column(schema: pa.Schema, features: Mapping[str, Any], source: str) -> str:
    declared = [name for name in schema.names if _is_feature(features, name, "ClassLabel")]
    named = [name for name in _LABEL_NAMES if name in schema.names]
    found = _preferred(declared, _LABEL_NAMES) or _preferred(named, _LABEL_NAMES)
    if found is None:
        raise _no_column("labels", schema, source)
    return found


def _is_feature(features: Mapping[str, Any], name: str, kind: str) -> bool:
    return _description(features, name).get("_type") == kind


def holds_bytes(column_type: pa.DataType) -> bool:
    """Say whether a column of that type can hold images: encoded ones, or lists of bytes."""
    types = import_extra("pyarrow").types
    if types.is_struct(column_type):
        index = column_type.get_field_index("bytes")
        return bool(index >= 0 and holds_bytes(column_type.field(index).type))
    if types.is_dictionary(column_type):
        return holds_bytes(column_type.value_type)
    is_listed = False
    while hasattr(column_type, "value_field"):  # every kind of list
        column_type, is_listed = column_type.value_type, True
    if is_listed:
        return bool(types.is_uint8(column_type))
    kinds = (types.is_binary, types.is_large_binary, types.is_binary_view)
    return any(is_kind(column_type) for is_kind in kinds)


def _preferred(found: list[str], order: tuple[str, ...]) -> str | None:
    for name in order:
        if name in found:
            return name
    return found[0] if found else None


def _no_column(what: str, schema: pa.Schema, source: str) -> ModpmError:
    return ModpmError(
        f"the data has no column of {what}",
        code="no-column",
        where=source,
        why=f"its columns are {', '.join(schema.names)}",
        hint="images are in a column `image`, labels in a column `label`, as on the Hub",
    )


def _checked_names(names: object, source: str) -> tuple[str, ...]:
    checked = names if isinstance(names, list) else []
    are_names = all(isinstance(name, str) and name for name in checked)
    if not checked or not are_names or len(set(checked)) < len(checked):
        raise ModpmError(
            "the names of the classes are not a list of different names",
            code="bad-class-names",
            where=source,
            why=f"found {str(names)[:200]}",
        )
    return tuple(checked)


def _check_plain(values: Iterable[object], label: str, source: str) -> None:
    """Check that each row has one label at most, a name or a number."""
    odd = next((v for v in values if not (v is None or isinstance(v, str | int))), None)
    if odd is not None:
        raise _neither(label, source, f"one of them is {str(odd)[:80]}")


def _distinct(values: Iterable[object], label: str, source: str) -> list[str] | list[int]:
    """Return the different labels, sorted; an empty name or a number below 0 is none."""
    found = set(values)
    names = sorted(value for value in found if isinstance(value, str) and value)
    numbers = sorted(value for value in found if isinstance(value, int) and value >= 0)
    if names and numbers:
        raise _neither(label, source, f"there are both, such as {names[0]} and {numbers[0]}")
    return names or numbers


def _neither(label: str, source: str, why: str) -> ModpmError:
    return ModpmError(
        f"the labels in column `{label}` are neither names nor numbers",
        code="bad-labels",
        where=source,
        why=why,
        hint="each image needs one label: the name or the number of its class",
    )


def _labels(
    values: Sequence[object], position: Mapping[object, int], n_classes: int, *, source: str
) -> np.ndarray:
    labels = np.array([position.get(value, -1) for value in values], dtype=np.int64)
    wrong = np.flatnonzero(labels < 0)
    if len(wrong):
        raise ModpmError(
            f"{len(wrong)} of {len(labels)} rows have no label of a class",
            code="bad-labels",
            where=f"{source}, row {wrong[0]}",
            why=f"its label is {values[wrong[0]]}; there are {n_classes} classes",
            hint="take a split that is labeled" if len(wrong) == len(labels) else None,
        )
    return labels
