"""A folder of parquet files, as the Hub stores its data sets and as its converter does."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from modpm.core.data.labeled_images import (
    IMAGES_AT_ONCE,
    SPLIT_NAMES,
    LabeledImages,
    canonical_split,
    import_extra,
)
from modpm.core.data.labeled_table import Rows, open_tables
from modpm.core.errors import ModpmError
from modpm.core.formats.stand_ins import stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    from modpm.core.data.labeled_images import EncodedImages

_NUMBERED = re.compile(r"(.+)_\d+")
_PARTIAL = "partial-"
"""What the Hub's converter puts before a split of which it has taken the first part alone."""


def find_parquet_files(folder: Path) -> dict[str, list[Path]]:
    """Return the parquet files of each split: in the folder, or else in the folders below.

    They are `SPLIT-….parquet`, `SPLIT_0.parquet` or `SPLIT.parquet`, in the folder or one of its
    folders, or `SPLIT/….parquet` and `CONFIGURATION/SPLIT/….parquet`.

    Raises:
        ModpmError: Several of its folders have some: they are different data sets.
    """
    for pattern in ("*.parquet", "*/*.parquet", "*/*/*.parquet"):
        found: dict[Path, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
        for path in sorted(folder.glob(pattern)):
            if not any(part.startswith(".") for part in path.relative_to(folder).parts):
                data_set, split = _place(path, folder)
                found[data_set][split].append(path)
        if len(found) > 1:
            raise _several(folder, list(found))
        for splits in found.values():
            return dict(splits)
    return {}


def _place(path: Path, folder: Path) -> tuple[Path, str]:
    """Return the folder of the data set that a file belongs to, and its split."""
    above = path.parent.name.removeprefix(_PARTIAL)
    if path.parent != folder and above.lower() in SPLIT_NAMES:
        return path.parent.parent, canonical_split(above)
    name = path.stem.partition("-")[0]
    numbered = _NUMBERED.fullmatch(name)
    if numbered and numbered[1].lower() in SPLIT_NAMES:
        name = numbered[1]
    return path.parent, canonical_split(name)


def _several(folder: Path, data_sets: Sequence[Path]) -> ModpmError:
    return ModpmError(
        "the folder holds several data sets",
        code="several-data-sets",
        where=str(folder),
        why=f"parquet files are in {', '.join(path.name for path in data_sets)}",
        hint=f"name one of them: {data_sets[0]}",
    )


def open_parquet_folder(folder: Path, splits: dict[str, list[Path]], split: str) -> LabeledImages:
    """Open one split of a folder of parquet files; its images are read as they are asked for.

    The columns are found by the Hub's description in the files' metadata, or by their names.

    Raises:
        ModpmError: The split does not exist, a file cannot be read, or it has no images or labels.
    """
    split, tables = canonical_split(split), _Files(splits)
    features = _features(splits[split][0]) if split in splits else {}
    labeled = open_tables(tables, features, split=split, source=str(folder))
    return replace(labeled, notes=_notes(splits[split]), files=tuple(splits[split]))


def _notes(paths: Sequence[Path]) -> tuple[str, ...]:
    partial = next((p.parent.name for p in paths if p.parent.name.startswith(_PARTIAL)), None)
    return (f"{partial} is the first part of its split alone",) if partial else ()


def _features(path: Path) -> dict[str, Any]:
    """Return the Hub's description of the columns, empty where a file carries none."""
    metadata = _parquet_file(path).schema_arrow.metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


@dataclass(frozen=True)
class _Files:
    """The files of each split, as tables."""

    paths: dict[str, list[Path]]

    @property
    def splits(self) -> Sequence[str]:
        return list(self.paths)

    def schema(self, split: str) -> pa.Schema:
        return _parquet_file(self.paths[split][0]).schema_arrow

    def labels(self, split: str, column: str) -> list[object]:
        values: list[object] = []
        having = [path for path in self.paths[split] if _has(path, column)]
        if having and len(having) < len(self.paths[split]):
            raise _different(self.paths[split], column)
        for path in having:
            try:
                values += _parquet_file(path).read(columns=[column]).column(0).to_pylist()
            except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
                raise _unreadable(path, error) from error
        return values

    def images(self, split: str, column: str) -> EncodedImages:
        if not all(_has(path, column) for path in self.paths[split]):
            raise _different(self.paths[split], column)
        return _Column(self.paths[split], column)


@dataclass(frozen=True)
class _Column:
    """A column of images in some files, of which only a few rows are in memory at once."""

    paths: Sequence[Path]
    column: str

    def __len__(self) -> int:
        return sum(_parquet_file(path).metadata.num_rows for path in self.paths)

    def parts(self) -> Iterator[Rows]:
        first = 0
        for path in self.paths:
            file = _parquet_file(path)
            try:
                for batch in file.iter_batches(IMAGES_AT_ONCE, columns=[self.column]):
                    yield Rows(batch.column(0), first)
                    first += len(batch)
            except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
                raise _unreadable(path, error) from error

    def in_any_order(self) -> None:
        """Refuse: one row costs reading a whole group of rows."""


def _has(path: Path, column: str) -> bool:
    return column in _parquet_file(path).schema_arrow.names


def _different(paths: Sequence[Path], column: str) -> ModpmError:
    return ModpmError(
        "the files of one split have different columns",
        code="bad-parquet",
        where=", ".join(path.name for path in paths),
        why=f"some of them have no column `{column}`",
    )


def _parquet_file(path: Path) -> pq.ParquetFile:
    parquet = import_extra("pyarrow.parquet")
    try:
        return parquet.ParquetFile(path, buffer_size=_READ_BYTES)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
        raise _unreadable(path, error) from error


_READ_BYTES = 2**20  # at once, in place of a whole column of a group of rows


def _unreadable(path: Path, error: Exception) -> ModpmError:
    why, hint = stand_in(path) or (str(error), None)
    return ModpmError(
        "the parquet file cannot be read", code="bad-parquet", where=str(path), why=why, hint=hint
    )
