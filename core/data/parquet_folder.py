"""A folder of parquet files `<split>-*.parquet`, as the Hub stores its data sets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from modpm.core.data.labelled_images import LabelledImages, import_extra, missing_split
from modpm.core.data.labelled_table import holds_bytes, open_tables
from modpm.core.errors import ModpmError
from modpm.core.formats.stand_ins import stand_in

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq


def find_parquet_files(folder: Path) -> dict[str, list[Path]]:
    """Return the parquet files of each split, in the folder or in its one folder that has some.

    Raises:
        ModpmError: Several of its folders have some: they are different data sets.
    """
    here = sorted(folder.glob("*.parquet"))
    if not here:
        below = sorted({path.parent for path in folder.glob("*/*.parquet")})
        if len(below) > 1:
            raise ModpmError(
                "the folder holds several data sets",
                code="several-data-sets",
                where=str(folder),
                why=f"parquet files are in {', '.join(path.name for path in below)}",
                hint=f"name one of them: {below[0]}",
            )
        here = sorted(below[0].glob("*.parquet")) if below else []
    splits: dict[str, list[Path]] = {}
    for path in here:
        splits.setdefault(path.stem.partition("-")[0], []).append(path)
    return splits


def open_parquet_folder(folder: Path, splits: dict[str, list[Path]], split: str) -> LabelledImages:
    """Open one split of a folder of parquet files.

    The columns are found by the Hub's description in the files' metadata, or by their names.

    Raises:
        ModpmError: The split does not exist, a file cannot be read, or it has no images or labels.
    """
    if split not in splits:
        raise missing_split(str(folder), split, splits)
    features = _features(splits[split][0])
    has_names = any(
        isinstance(feature, dict) and feature.get("names") for feature in features.values()
    )
    tables = {split: _read(splits[split])}
    if not has_names:  # the classes are then those of all splits together
        others = [name for name in splits if name != split]
        tables |= {name: _read(splits[name], has_images=False) for name in others}
    return open_tables(tables, features, split=split, source=str(folder))


def _features(path: Path) -> dict[str, Any]:
    """Return the Hub's description of the columns, empty where a file carries none."""
    metadata = _parquet_file(path).schema_arrow.metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _read(paths: list[Path], *, has_images: bool = True) -> pa.Table:
    pyarrow = import_extra("pyarrow")
    tables = [_read_file(path, has_images=has_images) for path in paths]
    try:
        return pyarrow.concat_tables(tables)
    except pyarrow.ArrowInvalid as error:
        raise ModpmError(
            "the files of one split have different columns",
            code="bad-parquet",
            where=", ".join(path.name for path in paths),
            why=str(error),
        ) from error


def _read_file(path: Path, *, has_images: bool) -> pa.Table:
    file = _parquet_file(path)
    schema = file.schema_arrow
    columns = [
        name for name in schema.names if has_images or not holds_bytes(schema.field(name).type)
    ]
    try:
        return file.read(columns=columns)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
        raise _unreadable(path, error) from error


def _parquet_file(path: Path) -> pq.ParquetFile:
    parquet = import_extra("pyarrow.parquet")
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ModpmError:
    why, hint = stand_in(path) or (str(error), None)
    return ModpmError(
        "the parquet file cannot be read", code="bad-parquet", where=str(path), why=why, hint=hint
    )
