"""Parquet folders and data sets of the Hub load alike, and what is wrong with one is told."""

from __future__ import annotations

import json
import subprocess
import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any

import datasets
import httpx2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from modpm.core.data import load_data
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CLASSES = ["ant", "bee", "cow"]
LABELS = [0, 2, 1, 1]


def _pixels(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(n, 5, 6, 3), dtype=np.uint8)


def _files(n: int) -> list[bytes]:
    files = []
    for pixels in _pixels(n):
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


def _features(image: str = "image", *labels: str) -> dict[str, Any]:
    described: dict[str, Any] = {image: {"_type": "Image"}}
    for label in labels or ("label",):
        described[label] = {"_type": "ClassLabel", "names": CLASSES}
    return described


def _table(
    labels: Sequence[Any] = LABELS,
    features: object = None,
    image: str = "image",
    label: str = "label",
    files: Sequence[bytes | None] | None = None,
) -> pa.Table:
    rows = [{"bytes": b, "path": f"{i}.png"} for i, b in enumerate(files or _files(len(labels)))]
    row_type = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({image: pa.array(rows, row_type), label: pa.array(labels)})
    if features is None:
        return table
    return table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def _write(path: Path, table: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize(
    "name", ["train-00000-of-00001.parquet", "train.parquet", "train-0.parquet"]
)
@pytest.mark.parametrize("below", ["", "data", "plain_text"])
def test_parquet_files_as_the_hub_stores_them_load(tmp_path: Path, name: str, below: str) -> None:
    _write(tmp_path / below / name, _table(features=_features()))
    data = load_data(tmp_path, "train")
    assert data.classes == tuple(CLASSES)
    assert data.labels.tolist() == LABELS
    assert np.array_equal(data.images.permute(0, 2, 3, 1).numpy(), _pixels(4))


def test_several_files_of_a_split_are_read_in_order(tmp_path: Path) -> None:
    table = _table(features=_features())
    _write(tmp_path / "train-00001-of-00002.parquet", table.slice(2))
    _write(tmp_path / "train-00000-of-00002.parquet", table.slice(0, 2))
    _write(tmp_path / "test-00000-of-00001.parquet", table.slice(0, 1))
    assert load_data(tmp_path, "train").labels.tolist() == LABELS
    assert len(load_data(tmp_path, "test")) == 1


@pytest.mark.parametrize(("image", "label"), [("img", "fine_label"), ("photo", "kind")])
def test_columns_are_found_by_their_description(tmp_path: Path, image: str, label: str) -> None:
    table = _table(features=_features(image, label), image=image, label=label)
    _write(tmp_path / "train-0.parquet", table)
    assert load_data(tmp_path, "train").labels.tolist() == LABELS


def test_fine_labels_are_preferred_to_coarse_ones(tmp_path: Path) -> None:
    table = _table([0, 0, 1, 1], label="coarse_label")
    table = table.append_column("fine_label", pa.array(LABELS))
    features = _features("image", "coarse_label", "fine_label")
    table = table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    _write(tmp_path / "train-0.parquet", table)
    assert load_data(tmp_path, "train").labels.tolist() == LABELS


@pytest.mark.parametrize("metadata", [None, "no json", "[]", "{}", '{"info": {"features": 3}}'])
def test_columns_without_a_description_are_found_by_name(
    tmp_path: Path, metadata: str | None
) -> None:
    table = _table(image="img")
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": metadata})
    _write(tmp_path / "train-0.parquet", table)
    data = load_data(tmp_path, "train")
    assert (data.classes, data.labels.tolist()) == (("0", "1", "2"), LABELS)


def test_unnamed_classes_are_those_of_all_splits(tmp_path: Path) -> None:
    _write(tmp_path / "train-0.parquet", _table(["cow", "ant"]))
    _write(tmp_path / "test-0.parquet", _table(["bee", "cow"]))
    train, test = load_data(tmp_path, "train"), load_data(tmp_path, "test")
    assert train.classes == test.classes == ("ant", "bee", "cow")
    assert (train.labels.tolist(), test.labels.tolist()) == ([2, 0], [1, 2])


def test_missing_split_lists_those_found(tmp_path: Path) -> None:
    _write(tmp_path / "train-0.parquet", _table(features=_features()))
    with pytest.raises(ModpmError, match="the splits found are `train`") as caught:
        load_data(tmp_path, "test")
    assert caught.value.code == "split-not-found"


def test_several_data_sets_below_a_folder_are_told(tmp_path: Path) -> None:
    for name in ("fine", "coarse"):
        _write(tmp_path / name / "train-0.parquet", _table(features=_features()))
    with pytest.raises(ModpmError, match="files are in coarse, fine"):
        load_data(tmp_path, "train")
    assert len(load_data(tmp_path / "fine", "train")) == 4


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({"label": [0, 1]}), "no column of images"),
        (pa.table({"image": [b"", b""], "size": [1, 2]}), "no column of labels"),
        (_table([0, 3], features=_features()), "its label is 3; there are 3 classes"),
        (_table([0, -1], features=_features()), "row 1"),
        (_table([0, None], features=_features()), "1 of 2 rows have no label"),
        (_table([0.5, 1.5]), "neither names nor numbers"),
        (
            _table(features={"label": {"_type": "ClassLabel", "names": ["a", "a"]}}),
            "different names",
        ),
        (_table(features={"label": {"_type": "ClassLabel", "names": "abc"}}), "different names"),
    ],
)
def test_table_without_images_or_labels_is_told(tmp_path: Path, table: pa.Table, said: str) -> None:
    _write(tmp_path / "train-0.parquet", table)
    with pytest.raises(ModpmError, match=said):
        load_data(tmp_path, "train")


def test_damaged_rows_are_named_and_can_be_skipped(tmp_path: Path) -> None:
    good = _files(4)
    files = [good[0], None, good[2][:-30], good[3]]
    _write(tmp_path / "train-0.parquet", _table(features=_features(), files=files))
    with pytest.raises(ModpmError, match=r"row 1 \(1.png\): the row has no image\nrow 2 \(2.png\)"):
        load_data(tmp_path, "train")
    data = load_data(tmp_path, "train", skip_bad=True)
    assert (data.n_skipped, data.labels.tolist()) == (2, [0, 1])


def test_stranger_cannot_have_local_files_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (6, 5)).save(secret)
    row_type = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = pa.array([{"bytes": None, "path": str(secret)}] * 2, row_type)
    _write(tmp_path / "data" / "train-0.parquet", pa.table({"image": images, "label": [0, 1]}))
    with pytest.raises(ModpmError, match="the row has no image"):
        load_data(tmp_path / "data", "train")


def test_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path / "train-0.parquet", _table(features=_features()))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModpmError, match="parquet file cannot be read") as caught:
        load_data(tmp_path, "train")
    assert caught.value.where == str(path)


def test_files_of_different_columns_are_told(tmp_path: Path) -> None:
    _write(tmp_path / "train-0.parquet", _table(features=_features()))
    _write(tmp_path / "train-1.parquet", _table(features=_features(), label="other"))
    with pytest.raises(ModpmError, match="different columns"):
        load_data(tmp_path, "train")


def test_package_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "train-0.parquet", _table(features=_features()))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ModpmError, match=r"modpm\[train\]"):
        load_data(tmp_path, "train")


def _let_the_hub_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_asked, **_how: None)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Stand in for the Hub with local files, read by `datasets` itself; note what is asked."""
    _let_the_hub_answer(monkeypatch)
    path = _write(tmp_path / "there.parquet", _table(features=_features("img"), image="img"))
    asked: list[tuple[str, str | None]] = []
    load_dataset = datasets.load_dataset

    def load_local(name: str, configuration: str | None = None) -> object:
        asked.append((name, configuration))
        files = {"train": str(path), "test": str(path)}
        return load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", load_local)
    return asked


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar10", ("uoft-cs/cifar10", None)),
        ("svhn", ("ufldl-stanford/svhn", "cropped_digits")),
        ("someone/pets", ("someone/pets", None)),
        ("someone/pets:small", ("someone/pets", "small")),
    ],
)
def test_data_set_of_the_hub_loads_as_a_folder_of_its_files_does(
    hub: list[tuple[str, str | None]],
    tmp_path: Path,
    name: str,
    expected: tuple[str, str | None],
) -> None:
    data = load_data(name, "test")
    assert hub == [expected]
    _write(tmp_path / "local" / "test-0.parquet", _table(features=_features("img"), image="img"))
    assert data.fingerprint == load_data(tmp_path / "local", "test").fingerprint
    assert data.source == name


@pytest.mark.usefixtures("hub")
def test_missing_split_of_the_hub_lists_those_found() -> None:
    with pytest.raises(ModpmError, match="the splits found are `test`, `train`"):
        load_data("mnist", "validation")


def test_data_of_ones_own_wait_for_no_library_of_the_hub() -> None:
    code = (
        "import sys; from modpm.core.data import load_data; load_data('digits', 'test'); "
        "print({'huggingface_hub', 'datasets', 'httpx2'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


def test_no_network_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _offline(monkeypatch)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModpmError) as caught:
        load_data("cifar10", "train")
    assert caught.value.code == "hub-unreachable"
    assert "check the network" in str(caught.value.hint)


def test_misspelt_data_set_is_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _offline(monkeypatch)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModpmError, match="did you mean `cifar10`"):
        load_data("cifar-10", "train")


def test_a_hub_that_cannot_be_connected_to_is_told_without_retries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("time.sleep", lambda _seconds: pytest.fail("it waits to try again"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModpmError) as caught:
        load_data("cifar01", "train")
    assert caught.value.code == "hub-unreachable"
    tried = str(caught.value.why).splitlines()
    assert tried[0] == f"there is no folder {tmp_path / 'cifar01'}"
    assert tried[1].startswith("the names that are known are cifar10, cifar100, digits")
    assert "Connection refused" in tried[2]
    assert caught.value.hint == "did you mean `cifar10`?"


@pytest.mark.parametrize(
    ("failure", "is_offline"),
    [(httpx2.ConnectError("no route"), True), (httpx2.ReadTimeout("slow"), False)],
)
def test_the_cache_alone_is_read_where_the_hub_cannot_be_connected_to(
    hub: list[tuple[str, str | None]],
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    is_offline: bool,
) -> None:
    def fail(*_asked: object, **_how: object) -> None:
        raise failure

    was_offline: list[bool] = []
    load = datasets.load_dataset

    def note(name: str, configuration: str | None) -> object:
        was_offline.append(datasets.config.HF_HUB_OFFLINE)
        return load(name, configuration)

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", fail)
    monkeypatch.setattr(datasets, "load_dataset", note)
    assert len(load_data("someone/pets", "test"))
    assert hub == [("someone/pets", None)]
    assert was_offline == [is_offline]
    assert not datasets.config.HF_HUB_OFFLINE


def test_unknown_data_set_of_the_hub_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _let_the_hub_answer(monkeypatch)

    def refuse(name: str, _configuration: str | None) -> object:
        raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{name}' doesn't exist")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ModpmError, match="neither a folder here nor on the Hub"):
        load_data("someone/nothing", "train")


def test_configuration_that_must_be_named_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _let_the_hub_answer(monkeypatch)

    def refuse(_name: str, _configuration: str | None) -> object:
        raise ValueError("Config name is missing.\nPlease pick one among: ['a', 'b']")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ModpmError, match="`someone/pets:configuration`"):
        load_data("someone/pets", "train")


def test_failure_inside_a_data_set_of_the_hub_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _let_the_hub_answer(monkeypatch)

    def fail(_name: str, _configuration: str | None) -> object:
        raise RuntimeError("Dataset scripts are no longer supported")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(ModpmError, match="RuntimeError: Dataset scripts"):
        load_data("someone/script", "train")
