"""An Arrow table with a column of images and a column of labels, as the Hub's data sets have."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modpm.core.data.image_files import BadImageError, open_encoded
from modpm.core.data.labelled_images import LabelledImages, import_extra, missing_split
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from PIL import Image

_IMAGE_NAMES = ("image", "img")
_LABEL_NAMES = ("label", "fine_label", "labels", "class")


@dataclass(frozen=True)
class _Rows:
    """The images of one column, each `{bytes, path}` or bytes."""

    column: pa.ChunkedArray
    has_trusted_paths: bool

    def __len__(self) -> int:
        return len(self.column)

    def open(self, index: int) -> Image.Image:
        value = self.column[index].as_py()
        record = value if isinstance(value, dict) else {"bytes": value}
        if record.get("bytes"):
            return open_encoded(BytesIO(record["bytes"]))
        if record.get("path") and self.has_trusted_paths:
            return open_encoded(Path(record["path"]))
        raise BadImageError("the row has no image")

    def where(self, index: int) -> str:
        value = self.column[index].as_py()
        path = value.get("path") if isinstance(value, dict) else None
        return f"row {index} ({path})" if path else f"row {index}"


def open_tables(
    tables: Mapping[str, pa.Table],
    features: Mapping[str, Any],
    *,
    split: str,
    source: str,
    has_trusted_paths: bool = False,
) -> LabelledImages:
    """Open one split of a data set that is one table a split.

    Args:
        tables: The table of every split.
        features: The Hub's description of the columns: `{"img": {"_type": "Image"}, …}`.
        split: The split to open.
        source: The data set's name, for errors.
        has_trusted_paths: Whether a row may name a local file instead of holding the image.

    Raises:
        ModpmError: No such split, no column of images or of labels, or rows without a label.
    """
    if split not in tables:
        raise missing_split(source, split, tables)
    table = tables[split]
    image = _image_column(table.schema, features, source)
    label = _label_column(table.schema, features, source)
    names = features.get(label, {}).get("names")
    classes = _checked_names(names, source) if names else _found_names(tables, label, source)
    labels = _labels(table.column(label), classes, source=f"{source}, split {split}")
    return LabelledImages(_Rows(table.column(image), has_trusted_paths), labels, classes)


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
    feature = features.get(name)
    return isinstance(feature, dict) and feature.get("_type") == kind


def holds_bytes(column_type: pa.DataType) -> bool:
    """Say whether a column of that type can hold encoded images."""
    types = import_extra("pyarrow").types
    if types.is_struct(column_type):
        return bool(column_type.get_field_index("bytes") >= 0)
    return bool(types.is_binary(column_type) or types.is_large_binary(column_type))


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


def _found_names(tables: Mapping[str, pa.Table], label: str, source: str) -> tuple[str, ...]:
    """Name the classes of labels that come without: by their text, or 0 up to the largest."""
    values = {
        value
        for table in tables.values()
        if label in table.column_names
        for value in table.column(label).unique().to_pylist()
        if value is not None
    }
    if all(isinstance(value, str) for value in values):
        return tuple(sorted(values))
    if all(isinstance(value, int) for value in values):
        return tuple(str(number) for number in range(max(values) + 1))
    raise ModpmError(
        f"the labels in column `{label}` are neither names nor numbers",
        code="bad-labels",
        where=source,
    )


def _labels(column: pa.ChunkedArray, classes: tuple[str, ...], *, source: str) -> np.ndarray:
    position = {name: index for index, name in enumerate(classes)}
    values = [
        position.get(value, -1) if isinstance(value, str) else -1 if value is None else value
        for value in column.to_pylist()
    ]
    labels = np.array(values, dtype=np.int64)
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise ModpmError(
            f"{len(wrong)} of {len(labels)} rows have no label of a class",
            code="bad-labels",
            where=f"{source}, row {wrong[0]}",
            why=f"its label is {column[int(wrong[0])].as_py()}; there are {len(classes)} classes",
            hint="take a split that is labelled" if len(wrong) == len(labels) else None,
        )
    return labels
