"""Data sets of the Hugging Face Hub, by id or by the short names of the well-known ones."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modpm.core.data.labeled_images import IMAGES_AT_ONCE, LabeledImages, import_extra
from modpm.core.data.labeled_table import Rows, open_tables
from modpm.core.errors import ModpmError, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    import datasets
    import httpx2
    import pyarrow as pa

    from modpm.core.data.labeled_images import EncodedImages

SHORT_NAMES: dict[str, tuple[str, str | None]] = {
    "cifar10": ("uoft-cs/cifar10", None),
    "cifar100": ("uoft-cs/cifar100", None),
    "fashion_mnist": ("zalando-datasets/fashion_mnist", None),
    "mnist": ("ylecun/mnist", None),
    "svhn": ("ufldl-stanford/svhn", "cropped_digits"),
}
"""Short name to id and configuration."""

_TIMEOUT_SECONDS = 10.0  # to be connected to the Hub, and for its first answer


def open_hub_data(name: str, split: str) -> LabeledImages:
    """Open one split of a data set of the Hub, downloaded once to the Hub's own cache.

    Args:
        name: A short name, `owner/name`, or `owner/name:configuration` where it has several.
        split: The split.

    Raises:
        ModpmError: `datasets` is not installed, the Hub cannot be reached or has no such data
            set, or it has no such split, images or labels.
    """
    data = _load(name)
    features = next(iter(data.values())).features.to_dict()
    tables = _Cached({split_name: one.data.table for split_name, one in data.items()})
    labeled = open_tables(tables, features, split=split, source=name)
    files = tuple(Path(file["filename"]) for file in data[split].cache_files)
    return replace(labeled, files=files)


@dataclass(frozen=True)
class _Cached:
    """The table of each split, mapped into memory by `datasets`."""

    tables: dict[str, pa.Table]

    @property
    def splits(self) -> Sequence[str]:
        return list(self.tables)

    def schema(self, split: str) -> pa.Schema:
        return self.tables[split].schema

    def labels(self, split: str, column: str) -> list[object]:
        table = self.tables[split]
        return list(table.column(column).to_pylist()) if column in table.column_names else []

    def images(self, split: str, column: str) -> EncodedImages:
        return _Column(self.tables[split].column(column))


@dataclass(frozen=True)
class _Column:
    column: pa.ChunkedArray

    def __len__(self) -> int:
        return len(self.column)

    def parts(self) -> Iterator[Rows]:
        for start in range(0, len(self), IMAGES_AT_ONCE):
            rows = self.column.slice(start, IMAGES_AT_ONCE)
            yield Rows(rows, start, has_trusted_paths=True)  # `datasets` wrote them, into its cache

    def in_any_order(self) -> Rows:
        return Rows(self.column, has_trusted_paths=True)


def _load(name: str) -> datasets.DatasetDict:
    datasets = import_extra("datasets")
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    data_set, configuration = SHORT_NAMES.get(name) or _id_and_configuration(name)
    failure = None if datasets.config.HF_HUB_OFFLINE else _connection_failure(data_set)
    try:
        with _offline(datasets, is_offline=failure is not None):
            return datasets.load_dataset(data_set, configuration)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise _not_found(name, str(error)) from error
    except ConnectionError as error:
        raise ModpmError(
            f"`{name}` is neither a folder here nor can it be fetched from the Hub",
            code="hub-unreachable",
            where=f"https://huggingface.co/datasets/{data_set}",
            why=_tried(name, f"the Hub cannot be reached: {failure or error}"),
            hint=_suggestion(name) or "check the network, or name a folder that holds the data",
        ) from error
    except ValueError as error:  # among others, that one of several configurations must be named
        raise ModpmError(
            f"the Hub's data set `{name}` cannot be loaded as it is named",
            code="hub-data-set",
            why=str(error),
            hint=f"where it has several configurations, name one: `{data_set}:configuration`",
        ) from error
    except Exception as error:  # whatever a stranger's data set makes `datasets` raise
        raise ModpmError(
            f"the Hub's data set `{name}` cannot be loaded",
            code="hub-data-set",
            where=f"https://huggingface.co/datasets/{data_set}",
            why=f"{type(error).__name__}: {error}",
        ) from error


def _connection_failure(data_set: str) -> httpx2.TransportError | None:
    """Say why the Hub cannot be connected to, if it cannot; asked once.

    `datasets` would try for half a minute before it says so. A connection that is merely slow is
    none of this, and what the Hub answers is for `datasets` to understand.
    """
    import httpx2  # noqa: PLC0415 -- a fifth of a second that only data of the Hub need
    from huggingface_hub import HfApi  # noqa: PLC0415 -- as above
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415 -- as above

    try:
        HfApi().dataset_info(data_set, timeout=_TIMEOUT_SECONDS)
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
        return error
    except (httpx2.HTTPError, HfHubHTTPError, OSError, ValueError):
        return None
    return None


@contextmanager
def _offline(datasets: ModuleType, *, is_offline: bool) -> Iterator[None]:
    """Let `datasets` look in its cache alone for a while, where it has what it has downloaded."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or is_offline
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _id_and_configuration(name: str) -> tuple[str, str | None]:
    data_set, _, configuration = name.partition(":")
    return data_set, configuration or None


def _not_found(name: str, why: str) -> ModpmError:
    return ModpmError(
        f"there is no data set `{name}`, neither a folder here nor on the Hub",
        code="data-not-found",
        why=_tried(name, why),
        hint=_suggestion(name),
    )


def _tried(name: str, hub: str) -> str:
    """Say where data were looked for, and what the Hub gave."""
    lines = [f"there is no folder {Path(name).expanduser().absolute()}"]
    if name not in SHORT_NAMES:
        lines.append(f"the names that are known are {', '.join(_known_names())}")
    return "\n".join([*lines, hub])


def _known_names() -> list[str]:
    return sorted([*SHORT_NAMES, "digits"])


def _suggestion(name: str) -> str | None:
    known = _known_names()
    return None if name in known else suggestion(name.lower().replace("-", "_"), known)
