"""Images are decoded once: a file keeps them, and is mapped into memory from then on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from modpm.core import kept_images
from modpm.core.data import ImageData, decoding, default_statistics, load, load_data
from modpm.core.data.decoding import Streamed
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "photos" / "train" / name
        folder.mkdir(parents=True)
        for i in range(4):
            Image.fromarray(random.integers(256, size=(6, 5, 3), dtype=np.uint8)).save(
                folder / f"{i}.png"
            )
    return tmp_path / "photos"


def files() -> list[Path]:
    return sorted(kept_images.folder().glob("*.safetensors"))


def refuse_to_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        pytest.fail("an image is decoded")

    monkeypatch.setattr("modpm.core.data.decoding.to_array", fail)


def assert_alike(one: ImageData, other: ImageData) -> None:
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.labels, other.labels)
    assert torch.equal(one.image_digests, other.image_digests)
    said = [(data.fingerprint, data.classes, data.n_skipped, data.notes) for data in (one, other)]
    assert said[0] == said[1]


def test_images_are_decoded_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "train" / "cat" / "9.png").write_bytes(b"no image")
    Image.new("L", (9, 9)).save(photos / "train" / "dog" / "9.png")
    first = load_data(photos, "train", skip_bad=True)
    assert (first.n_skipped, len(first.notes)) == (1, 3)
    refuse_to_decode(monkeypatch)
    again = load_data(photos, "train", skip_bad=True)
    assert_alike(first, again)
    assert len(files()) == 1


def test_parquet_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = BytesIO()
    Image.new("RGB", (4, 4), (1, 2, 3)).save(buffer, "PNG")
    table = pa.table({"image": [buffer.getvalue()] * 4, "label": [0, 1] * 2})
    pq.write_table(table, tmp_path / "train.parquet")
    first = load_data(tmp_path, "train")
    refuse_to_decode(monkeypatch)
    assert_alike(first, load_data(tmp_path, "train"))


def test_fingerprint_that_is_kept_is_that_of_the_images(photos: Path) -> None:
    data = load_data(photos, "train")
    whole = ImageData(data.images, data.labels, data.classes, "", "")
    assert data.fingerprint == whole.fingerprint
    assert data.digests is not None
    assert torch.equal(data.digests, whole.image_digests)
    half = data.select(range(4))
    assert torch.equal(half.image_digests, whole.select(range(4)).image_digests)
    assert len(set(whole.image_digests.tolist())) == len(whole)
    assert half.fingerprint == whole.select(range(4)).fingerprint != whole.fingerprint


def test_other_size_or_channels_are_decoded_and_kept_apart(photos: Path) -> None:
    shapes = [
        load_data(photos, "train", image_size=size, channels=channels).image_shape
        for size, channels in ((None, None), (4, None), (4, 1), (4, None))
    ]
    assert shapes == [(3, 6, 5), (3, 4, 4), (1, 4, 4), (3, 4, 4)]
    assert len(files()) == 3


def test_changed_image_is_decoded_anew(photos: Path) -> None:
    before = load_data(photos, "train")
    Image.new("RGB", (5, 6), "red").save(photos / "train" / "cat" / "0.png")
    after = load_data(photos, "train")
    assert after.images[0].flatten(1)[:, 0].tolist() == [255, 0, 0]
    assert before.fingerprint != after.fingerprint


def test_image_written_to_at_another_time_is_decoded_anew(photos: Path) -> None:
    load_data(photos, "train")
    os.utime(photos / "train" / "cat" / "0.png", (1, 1))
    load_data(photos, "train")
    assert len(files()) == 2


def test_class_that_another_split_brings_changes_the_fingerprint(photos: Path) -> None:
    before = load_data(photos, "train")
    (photos / "test" / "ant").mkdir(parents=True)
    after = load_data(photos, "train")
    assert after.classes == ("ant", "cat", "dog")
    assert after.labels.tolist() == [label + 1 for label in before.labels.tolist()]
    whole = ImageData(after.images, after.labels, after.classes, "", "")
    assert before.fingerprint != after.fingerprint == whole.fingerprint


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "garbage", "no record"])
def test_damaged_file_is_made_anew(photos: Path, damage: str) -> None:
    first = load_data(photos, "train")
    (path,) = files()
    whole = path.read_bytes()
    at = 1024 + 50  # in the pixels
    path.unlink()  # it is mapped into memory
    path.write_bytes(
        {
            "cut": whole[:-100],
            "flipped": whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :],
            "empty": b"",
            "garbage": bytes(len(whole)),
            "no record": whole.replace(b'"written"', b'"WRITTEN"'),
        }[damage]
    )
    assert_alike(first, load_data(photos, "train"))
    assert path.stat().st_size == len(whole)


@pytest.mark.parametrize("lie", ["turned", "before", "beyond"])
def test_file_that_lies_of_which_images_it_has_is_made_anew(photos: Path, lie: str) -> None:
    first = load_data(photos, "train")
    (path,) = files()
    true = np.arange(len(first), dtype="<i8")
    told = {"turned": true[::-1].copy(), "before": true - 1, "beyond": true + 1}[lie]
    status, whole = path.stat(), path.read_bytes()
    assert whole.count(true.tobytes()) >= 1
    path.unlink()  # it is mapped into memory
    path.write_bytes(whole.replace(true.tobytes(), told.tobytes()))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert_alike(first, load_data(photos, "train"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_reads_images_that_are_decoded_as_they_are_read(
    photos: Path,
) -> None:
    code = f"""
import os
from pathlib import Path
from modpm.core import kept_images
from modpm.core.data import load_data
kept_images.MAX_KEPT_BYTES = 0
data = load_data({str(photos)!r}, "train")
data.pixels[:]
child = os.fork()
if child == 0:
    data.pixels[:]
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "7"


def test_file_that_was_copied_whole_is_used(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_data(photos, "train")
    (path,) = files()
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole)
    refuse_to_decode(monkeypatch)
    assert_alike(first, load_data(photos, "train"))


def test_images_that_were_left_out_are_refused_where_none_may_be(photos: Path) -> None:
    (photos / "train" / "cat" / "0.png").write_bytes(b"no image")
    assert load_data(photos, "train", skip_bad=True).n_skipped == 1
    with pytest.raises(ModpmError, match="1 of 8 images cannot be decoded"):
        load_data(photos, "train")
    assert load_data(photos, "train", skip_bad=True).n_skipped == 1


def test_nothing_is_left_of_images_that_are_refused(photos: Path) -> None:
    (photos / "train" / "cat" / "0.png").write_bytes(b"no image")
    with pytest.raises(ModpmError, match="cannot be decoded"):
        load_data(photos, "train")
    assert [path.suffix for path in kept_images.folder().iterdir()] in ([], [".lock"])


def test_writing_to_images_does_not_write_to_the_file(photos: Path) -> None:
    data = load_data(photos, "train")
    before = data.images.clone()
    data.images.zero_()
    assert torch.equal(load_data(photos, "train").images, before)


def test_home_that_cannot_be_written_to_is_done_without(
    photos: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load_data(photos, "train")
    (home.parent / "file").write_bytes(b"")
    monkeypatch.setenv("MODPM_HOME", str(home.parent / "file"))
    assert_alike(expected, load_data(photos, "train"))


def test_full_disk_is_done_without(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modpm.core.data.keeping.os.fsync", fail)
    assert len(load_data(photos, "train")) == 8
    assert [path.suffix for path in kept_images.folder().iterdir()] in ([], [".lock"])


def test_what_was_not_used_for_longest_goes_first(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (4, 5):
        load_data(photos, "train", image_size=size)
    used, other = sorted(files(), key=lambda path: path.stat().st_size)
    n_bytes = used.stat().st_size + other.stat().st_size
    os.utime(other, ns=(1, other.stat().st_mtime_ns))
    monkeypatch.setattr("modpm.core.kept_images.MAX_KEPT_BYTES", n_bytes + 1)
    load_data(photos, "train", image_size=6)
    assert used in files()
    assert other not in files()
    assert len(files()) == 2


def test_many_processes_at_once_keep_one_file(photos: Path) -> None:
    code = (
        "from modpm.core.data import load_data; "
        f"print(load_data({str(photos)!r}, 'train').fingerprint)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = {process.communicate()[0] for process in running}
    assert said == {f"{load_data(photos, 'train').fingerprint}\n"}
    assert len(files()) == 1
    assert not list(kept_images.folder().glob(".*.new"))


def test_images_that_are_selected_are_read_from_the_file_and_not_copied(photos: Path) -> None:
    load_data(photos, "train")
    data = load_data(photos, "train")
    few = data.select([5, 1, 1, 7]).select([3, 0])
    assert torch.equal(few.images, data.images[[7, 5]])
    assert few.labels.tolist() == data.labels[[7, 5]].tolist()
    data.images[7] = 3  # written to the memory that both are in
    assert set(few.images[0].flatten().tolist()) == {3}


def test_statistics_are_kept(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_data(photos, "train")
    part = [0, 3, 4]
    plain = ImageData(data.images[part].clone(), data.labels[part], data.classes, "", "")
    expected = default_statistics(plain)

    def fail(_pixels: object) -> None:
        pytest.fail("pixels are read")

    monkeypatch.setattr("modpm.core.data.normalization.moments_of", fail)
    again = load_data(photos, "train")
    assert default_statistics(again.select(part)) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="told by /proc")
def test_decoding_and_loading_take_little_memory(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.new("RGB", (512, 512), (1, 2, 3)).save(buffer, "PNG")
    table = pa.table({"image": [buffer.getvalue()] * 400, "label": [0, 1] * 200})  # 300 MiB
    pq.write_table(table, tmp_path / "train.parquet")
    code = f"""
import json, re, resource
from pathlib import Path
import pyarrow.parquet
from modpm.core.data import load_data
def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
before, most = anonymous(), 0
from modpm.core.data import decoding
write = decoding.Decoding._decode
def note(self, job):
    global most
    most = max(most, anonymous())
    return write(self, job)
decoding.Decoding._decode = note
data = load_data({str(tmp_path)!r}, "train")
print(json.dumps([most - before, anonymous() - before, len(data), int(data.images[-1].sum())]))
"""
    for is_kept in (False, True):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        decoding, loaded, n, total = json.loads(done.stdout)
        assert (n, total) == (400, 512 * 512 * 6)
        assert loaded < 150
        assert decoding < (1 if is_kept else 150)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a folder of parquet with files, an image that is none, and lists of pixels."""
    random = np.random.default_rng(1)
    buffer = BytesIO()
    Image.fromarray(random.integers(256, size=(4, 5, 3), dtype=np.uint8)).save(buffer, "PNG")
    whole = tmp_path / "table"
    whole.mkdir()
    rows = [buffer.getvalue(), b"no image", buffer.getvalue(), buffer.getvalue()]
    pq.write_table(pa.table({"image": rows, "label": [0, 1, 1, 0]}), whole / "train-0.parquet")
    return whole


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(2).integers(256, size=(4, 5, 6, 3)).tolist()
    kind = pa.list_(pa.list_(pa.list_(pa.uint8())))
    whole = tmp_path / "listed"
    whole.mkdir()
    columns = {"image": pa.array(pixels, kind), "label": [0, 1, 1, 0]}
    pq.write_table(pa.table(columns), whole / "train.parquet")
    return whole


@pytest.mark.parametrize("source", ["photos", "table", "listed"])
def test_images_without_room_are_decoded_as_they_are_read(
    source: str, request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = request.getfixturevalue(source)
    expected = load_data(folder, "train", skip_bad=True)
    shutil.rmtree(home)
    monkeypatch.setattr(kept_images, "MAX_KEPT_BYTES", 0)
    for _ in range(2):
        data = load_data(folder, "train", skip_bad=True)
        assert isinstance(data.pixels, Streamed)
        assert_alike(expected, data)
        assert default_statistics(data) == default_statistics(expected)
        chosen = torch.tensor([2, 0, 0])
        assert torch.equal(data.select(chosen).pixels[1:], expected.images[[0, 0]])
    (path,) = files()
    assert len(load_file(path)["images"]) == 0


def test_second_start_decodes_none_of_what_is_read_later(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_images, "MAX_KEPT_BYTES", 0)
    first = load_data(photos, "train")
    refuse_to_decode(monkeypatch)
    again = load_data(photos, "train")
    assert again.fingerprint == first.fingerprint
    assert default_statistics(again) == default_statistics(first)


@pytest.mark.parametrize("damage", [50, 400])
def test_damaged_files_of_images_are_made_anew(
    table: Path, damage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_images, "MAX_KEPT_BYTES", 0)
    first = load_data(table, "train", skip_bad=True)
    (path,) = files()
    whole = bytearray(path.read_bytes())
    path.unlink()
    whole[1024 + damage] ^= 1
    path.write_bytes(whole)
    assert_alike(first, load_data(table, "train", skip_bad=True))


def test_image_that_has_gone_since_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_images, "MAX_KEPT_BYTES", 0)
    data = load_data(photos, "train")
    (photos / "train" / "cat" / "2.png").unlink()
    with pytest.raises(ModpmError, match="cannot be decoded any more") as caught:
        data.pixels[:]
    assert (caught.value.code, caught.value.where) == (
        "data-changed",
        str(photos / "train" / "cat" / "2.png"),
    )


@pytest.mark.parametrize("source", ["photos", "table"])
def test_many_images_are_decoded_as_they_are_read_where_home_cannot_be_written_to(
    source: str, request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = request.getfixturevalue(source)
    expected = load_data(folder, "train", skip_bad=True)
    (home.parent / "file").write_bytes(b"")
    monkeypatch.setenv("MODPM_HOME", str(home.parent / "file"))
    for module in (load, decoding):
        monkeypatch.setattr(module, "MAX_IN_MEMORY_BYTES", 100)
    if source == "photos":
        assert_alike(expected, load_data(folder, "train", skip_bad=True))
    else:
        with pytest.raises(ModpmError, match="neither into memory nor on the disk"):
            load_data(folder, "train", skip_bad=True)


@pytest.mark.skipif(sys.platform != "linux", reason="told by /proc")
@pytest.mark.parametrize("is_streamed", [False, True])
def test_batches_of_many_images_take_little_memory(tmp_path: Path, *, is_streamed: bool) -> None:
    folder = tmp_path / "photos" / "train"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(200):  # 400 of 512 x 512 are 300 MiB
            if i == 0:
                Image.new("RGB", (512, 512), (1, 2, 3)).save(folder / name / "0.png")
            else:
                os.link(folder / name / "0.png", folder / name / f"{i}.png")
    code = f"""
import json, re
from pathlib import Path
import torch
from modpm.core import kept_images
from modpm.core.data import load_data
from modpm.core.formats.manifest import InputContract
from modpm.core.training import batches
def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
before = anonymous()
if {is_streamed}:
    kept_images.MAX_KEPT_BYTES = 0
batches._NEAR_BYTES = 0
data = load_data({str(tmp_path / "photos")!r}, "train")
contract = InputContract(channels=3, height=512, width=512, mean=[0.5] * 3, std=[0.25] * 3)
images = batches.TrainingImages(data.select(torch.arange(400)), contract)
order = batches.epoch_order(400, 2, batches.seeded_generator(0, 0, 0))
images.expect(order)
most, n = 0, 0
for positions in order:
    n += len(images.batch(positions, batches.seeded_generator(0, 0, 1)).images)
    most = max(most, anonymous() - before)
print(json.dumps([most, n, type(data.pixels).__name__]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    most, n, kind = json.loads(done.stdout)
    assert (n, kind) == (400, "Streamed" if is_streamed else "Tensor")
    assert most < 150


def test_the_cache_is_shown_and_cleaned(photos: Path) -> None:
    load_data(photos, "train")
    size = files()[0].stat().st_size
    assert kept_images.measure() == (1, size)
    assert kept_images.clean(dry_run=True) == (1, size)
    assert len(files()) == 1
    assert kept_images.clean() == (1, size)
    assert not list(kept_images.folder().iterdir())
    assert kept_images.clean() == (0, 0)
