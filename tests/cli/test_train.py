from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from modpm.cli import progress_lines
from modpm.cli.main import main
from modpm.cli.progress_lines import Estimate, Lines, duration
from modpm.cli.train import command
from modpm.core.graph import build
from modpm.core.tensors import load_tensors
from modpm.core.training.inference import accuracy, normalizing, predict
from modpm.core.training.open_set import OPEN_SETS
from modpm.core.training.run import Run
from modpm.core.training.session import Progress

if TYPE_CHECKING:
    from pathlib import Path

SMALL = ["digits", "--arch", "digits_cnn", "--width", "0.5", "--epochs", "2", "--lr", "0.1"]
SMALL += ["--batch-size", "64", "--val-fraction", "0.8"]

REQUIRED = "MODPM_REQUIRE_SERVERS"
"""With this variable set to 1, a launcher that is not installed is a failure and no skip."""

# It refuses to start for root otherwise, whom containers have no one beside.
OPEN_MPI_AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def test_train_prints_its_result_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *SMALL, "--json", "-o", str(tmp_path / "run")]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    run = Run.open(tmp_path / "run")
    assert result["run"] == str(run.folder)
    assert result["digest"] == run.digest()
    assert result["epochs"] == 2
    assert result["val_accuracy"] == run.val_accuracy
    assert result["kernel_retention_rate"] == run.metrics()[-1]["kernel_retention_rate"]
    *read, first, second = err.splitlines()
    assert [line.split(",")[0] for line in (first, second)] == ["epoch 1/2", "epoch 2/2"]
    assert read[0].startswith("1,347 images of 10 classes: 0 134, 1 136, ")
    assert read[1:] == ["images of 8 x 8, read as 8 x 8, gray"]


def test_what_no_terminal_shows_is_told_in_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_lines, "EVERY_SECONDS", 30.0)
    monkeypatch.setattr(progress_lines, "ENOUGH_SECONDS", 3.0)
    now = 0.0
    lines, estimate = Lines(lambda: now), Estimate(lambda: now)
    said = []
    for step in range(1, 101):
        now += 20.0 if step == 1 else 2.0
        progress = Progress(1, 3, step, 100, 0.5)
        lines.tell(lambda step=step: f"step {step}")  # type: ignore[misc]  # a default
        said.append(estimate.of(progress))
    assert [sentence for sentence in said if sentence is not None] == [
        "an epoch will take about 3 min 20 s, all that is left 9 min 52 s"
    ]
    assert said.index("an epoch will take about 3 min 20 s, all that is left 9 min 52 s") == 3
    assert capsys.readouterr().err.splitlines()[:2] == ["step 6", "step 21"]
    assert Estimate(lambda: now).of(Progress(1, 1, 5, 5, 0.5, {"epoch": 1})) is None
    assert [duration(x) for x in (0.4, 59.6, 7500)] == ["0 s", "1 min 0 s", "2 h 5 min"]


def test_a_folder_of_photos_of_any_size_trains_in_the_size_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("kornia", reason="the extra `augment` is not installed")
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        for i in range(16):
            shape = (90 + 7 * i, 120 + 5 * i, 3) if i % 4 else (120, 90)
            image = Image.fromarray(random.integers(256, size=shape, dtype=np.uint8))
            turned = Image.Exif()
            turned[ExifTags.Base.Orientation] = 6 if i % 5 == 0 else 1
            image.save(folder / f"{i}.jpg", exif=turned)
    options = ["--augment", "resized-crop", "--augment", "jitter", "--augment", "rand-augment"]
    options += ["--image-size", "12x16", "--balance", "--no-flip", "--label-smoothing", "0.1"]
    options += ["--patience", "1", "--arch", "digits_cnn", "--width", "0.25", "--epochs", "2"]
    output = str(tmp_path / "run")
    assert main(["train", str(tmp_path / "pets"), *options, "--json", "-o", output]) == 0
    out, err = capsys.readouterr()
    run = Run.open(output)
    assert (run.input.channels, run.input.height, run.input.width) == (3, 12, 16)
    assert (run.config.flip, run.config.balance, run.config.patience) == (False, True, 1)
    assert run.config.augment == ["resized-crop", "jitter", "rand-augment"]
    assert json.loads(out)["epoch"] == run.finished().epoch
    assert "read as 16 x 12, in color" in err
    assert "images were turned as their cameras say" in err
    assert run.data("test").image_shape == (3, 12, 16)
    assert main(["train", str(tmp_path / "pets"), "--resume", "-o", output]) == 0


def test_an_unbalanced_folder_is_warned_of_and_judged_by_its_classes_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    for name, n in (("cat", 60), ("dog", 5)):
        folder = tmp_path / "pets" / "train" / name
        folder.mkdir(parents=True)
        for i in range(n):
            pixels = random.integers(256, size=(8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    tiny = ["--arch", "digits_cnn", "--width", "0.25", "--method", "plain", "--epochs", "1"]
    assert main(["train", str(tmp_path / "pets"), *tiny, "-o", str(tmp_path / "run")]) == 0
    run = Run.open(tmp_path / "run")
    err = capsys.readouterr().err
    assert "65 images of 2 classes: cat 60, dog 5" in err
    assert "warning: `cat` has 12 times as many images as `dog`" in err
    (line,) = run.metrics()
    assert f"(balanced {100 * line['val_balanced_accuracy']:.2f} %)" in err
    held_out = run.validation_data()
    outputs = predict(build(*run.network()), held_out.images, normalizing(run.input))
    is_right = outputs.argmax(1) == held_out.labels
    recalls = [float(is_right[held_out.labels == label].float().mean()) for label in (0, 1)]
    assert line["val_balanced_accuracy"] == pytest.approx(sum(recalls) / 2)


def test_resume_takes_the_settings_that_are_left_out_from_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tmp_path / "run")

    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("modpm.core.training.session.finish_run", interrupt)
        assert main(["train", *SMALL, "--open-set", "logitnorm", "-o", folder]) == 130
    assert f"modpm train digits --resume -o {folder}" in capsys.readouterr().err
    assert main(["train", "digits", "--resume", "--lr", "0.2", "-o", folder]) == 1
    assert "lr was 0.1, now 0.2" in capsys.readouterr().err
    assert main(["train", "digits", "--resume", "-o", folder]) == 0
    assert Run.open(folder).is_finished
    assert Run.open(folder).config.open_set == "logitnorm"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere/", "-o", "run"], 1, "there is no such folder of data"),
        (["digits", "--arch", "resnet21", "-o", "run"], 2, "no architecture is called `resnet21`"),
        (["digits", "--epochs", "0", "-o", "run"], 2, "epochs 0 is not possible"),
        (["digits", "--image-size", "8x", "-o", "run"], 2, "no size such as 224"),
        (["digits", "--mean", "a,b", "-o", "run"], 2, "not numbers such as"),
        (["digits", "--set", "alpha", "-o", "run"], 2, "give a name and a number"),
        (["digits", "--set", "alpha=1", "-o", "run"], 2, "`views` has no setting `alpha`"),
        (
            ["digits", "--open-set", "rotation", "--image-size", "8x12", "-o", "run"],
            2,
            "images that are not square cannot be told apart by how they are turned",
        ),
        (["digits", "--method", "magic", "-o", "run"], 2, "no method of training called `magic`"),
        (["digits"], 2, "missing option"),
        (["digits", "--resume", "-o", "run"], 1, "there is no run"),
        (["digits", "--init", "none.safetensors", "-o", "run"], 1, "there is no weights file"),
    ],
)
def test_bad_input_is_explained_and_leaves_nothing(
    *,
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_torch() -> None:
    script = (
        "import sys; from modpm.cli.main import main; main(['train', '--help']);"
        "sys.exit('torch' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert finished.returncode == 0


RECORDING = """
import atexit, os, sys
import torch.distributed as processes
from modpm.cli.main import main
from modpm.core.tensors import save_tensors
from modpm.core.training import processes as started
from modpm.core.training.methods import views

def rank(*arguments):
    print("ranked", file=sys.stderr)
    return importance_of_kernels(*arguments)

def train(session, report):
    train_epochs(session, report)
    save_tensors(folder / f"{os.environ['RANK']}.safetensors", session.method.state_dict())

from pathlib import Path
folder = Path(__file__).parent
importance_of_kernels, views.importance_of_kernels = views.importance_of_kernels, rank
train_epochs, started.train_epochs = started.train_epochs, train
atexit.register(lambda: processes.is_initialized() and os._exit(3))
sys.exit(main(sys.argv[1:]))
"""
"""Trains, says when kernels are ranked, keeps each process's state, and fails if not parted."""


def test_two_processes_train_one_network(tmp_path: Path) -> None:
    folder, script = tmp_path / "run", tmp_path / "train.py"
    script.write_text(RECORDING)
    launch = ["torch.distributed.run", "--nproc-per-node", "2", "--standalone", str(script)]
    more = ["--open-set", "rotation", "--val-fraction", "0.5"]
    finished = start(*launch, "train", *SMALL, *more, "--json", "-o", str(folder))
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("ranked") == 1
    assert "Warning" not in finished.stderr
    one, other = (load_tensors(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    result = json.loads(finished.stdout)  # one process speaks
    run = Run.open(folder)
    assert run.record.n_processes == 2
    assert result["digest"] == run.digest()
    images, network = run.validation_data().images, build(*run.network())
    outputs = predict(network, images, normalizing(run.input))
    assert run.val_accuracy == accuracy(outputs, run.validation_data().labels)
    first, last = run.metrics()
    assert last["cross_entropy"] < first["cross_entropy"]
    assert bool(one["open_set.head.weight"].any())
    assert 0.3 < last["rotation_accuracy"] < 1
    assert {path.name for path in folder.iterdir()} == {
        "run.json",
        "images.safetensors",
        "graph.json",
        "metrics.jsonl",
        "model.safetensors",
        "findings.safetensors",
        "finished.json",
        "report.html",
    }


def test_accelerate_launches_one_process_on_a_cpu_and_that_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    launch = ["accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    finished = start(*launch, "-m", "modpm.cli", "train", *SMALL, "-o", str(folder))
    assert finished.returncode == 0, finished.stderr
    assert Run.open(folder).record.n_processes == 1
    assert "torchrun --nproc-per-node" in finished.stderr


def test_accelerate_launches_two_processes_through_mpi(tmp_path: Path) -> None:
    if shutil.which("mpirun") is None:
        missing = "no `mpirun` is installed (Debian's openmpi-bin has it)"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost slots=2\n")
    mpi = ["accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    mpi += ["--mpirun_hostfile", str(hosts), "--main_process_port", str(free_port())]
    torchrun = ["torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    folders = {tmp_path / "mpi": mpi, tmp_path / "torchrun": torchrun}
    for folder, launch in folders.items():
        finished = start(*launch, "-m", "modpm.cli", "train", *SMALL, "-o", str(folder))
        assert finished.returncode == 0, finished.stderr
        assert Run.open(folder).record.n_processes == 2
    for name in ("run.json", "graph.json", "model.safetensors", "finished.json"):
        assert len({(folder / name).read_bytes() for folder in folders}) == 1


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | OPEN_MPI_AS_ROOT,
        timeout=300,
    )


def test_the_open_sets_to_choose_from_are_all_there_are() -> None:
    (option,) = (one for one in command.params if one.name == "open_set")
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == list(OPEN_SETS)
