from __future__ import annotations

import errno
import re
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import torch
from PIL import Image
from tests.training.small_runs import SMALL, InterruptAt, refused, train_small

from modpm.core.data import load_data
from modpm.core.data.decoding import Streamed
from modpm.core.errors import ModpmError
from modpm.core.graph import build
from modpm.core.networks import create
from modpm.core.shown_text import Percent
from modpm.core.slicing import cuttable_convolutions
from modpm.core.system import whole_files
from modpm.core.system.energy import Meter, Spent
from modpm.core.tensors import save_tensors
from modpm.core.training import session
from modpm.core.training.checkpoint import read_checkpoint
from modpm.core.training.evidence import Cutoff, Ranking
from modpm.core.training.inference import accuracy, normalizing, predict
from modpm.core.training.loop import train
from modpm.core.training.methods.method import Task
from modpm.core.training.methods.plain import Plain
from modpm.core.training.methods.views import Views
from modpm.core.training.optimizer import learning_rate
from modpm.core.training.run import Run
from modpm.core.training.starting_network import starting_network
from modpm.core.training.union import weights_in_modules

if TYPE_CHECKING:
    from modpm.core.training.session import Progress

often = pytest.mark.usefixtures("kept_often")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_small(tmp_path_factory.mktemp("runs") / "finished")


def test_the_same_seed_gives_the_same_bytes(finished: Run, tmp_path: Path) -> None:
    again = train_small(tmp_path / "again")
    for name in ("model.safetensors", "graph.json", "finished.json"):
        assert (again.folder / name).read_bytes() == (finished.folder / name).read_bytes()
    assert again.digest() == finished.digest()


def test_training_ends_when_nothing_better_comes_and_keeps_the_best(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"method": "plain", "lr": 1e-9, "epochs": 9, "patience": 2}
    run = train_small(tmp_path / "run", **settings)
    accuracies = [line["val_accuracy"] for line in run.metrics()]
    best = run.finished().epoch
    assert best == len(accuracies) - 2 < 7
    assert max(accuracies) == accuracies[best - 1] == run.val_accuracy
    data, network = run.validation_data(), build(*run.network())
    outputs = predict(network, data.images, normalizing(run.input))
    assert accuracy(outputs, data.labels) == pytest.approx(run.val_accuracy)
    assert not run.best_path.exists()
    folder = tmp_path / "interrupted"
    refused(lambda: train_small(folder, progress=InterruptAt(best + 2), **settings), "interrupted")
    assert Run.open(folder).best_path.exists()
    assert train_small(folder, resume=True, **settings).digest() == run.digest()


def test_the_best_epoch_of_views_is_one_whose_network_its_modules_make(tmp_path: Path) -> None:
    run = train_small(tmp_path / "run", keep_best=True, epochs=6)
    rates = [line.get("kernel_retention_rate") for line in run.metrics()]
    assert None in rates  # before kernels are ranked
    epoch = run.finished().epoch
    assert epoch is not None
    assert rates[epoch - 1] is not None
    best = max(line["val_accuracy"] for line in run.metrics() if "kernel_retention_rate" in line)
    assert run.val_accuracy == best


def test_smoothed_labels_are_what_their_formula_says(finished: Run) -> None:
    task = Task(n_classes=4, retention=0.5, label_smoothing=0.2)
    logits, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    method = Plain(build(*finished.network()), task)
    target = torch.full((5, 4), 0.2 / 4)
    target[torch.arange(5), labels] += 0.8
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(method.entropy(logits, labels), expected)


@pytest.mark.parametrize(
    "setting",
    [
        {"image_size": 0},
        {"image_size": (8, 8, 8)},
        {"augment": ["blur"]},
        {"label_smoothing": 1.0},
        {"patience": 0},
    ],
)
def test_settings_of_images_are_checked(tmp_path: Path, setting: dict[str, Any]) -> None:
    error = refused(lambda: train_small(tmp_path / "run", **setting), "bad-setting")
    assert error.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_another_seed_gives_another_network(finished: Run, tmp_path: Path) -> None:
    other = train_small(tmp_path / "other", seed=1, epochs=1)
    assert other.digest() != finished.digest()


@often
@pytest.mark.parametrize(
    ("epoch", "step", "kept"),
    [
        (1, 1, "0 of 3 epochs"),
        (1, 2, "0 of 3 epochs and 1 steps"),
        (2, 1, "1 of 3 epochs"),
        (3, 4, "2 of 3 epochs and 1 steps"),
    ],
)
def test_an_interrupted_run_ends_in_the_same_bytes(
    finished: Run, tmp_path: Path, epoch: int, step: int, kept: str
) -> None:
    folder = tmp_path / "run"
    stop = refused(lambda: train_small(folder, progress=InterruptAt(epoch, step)), "interrupted")
    assert stop.why == f"what is kept is {kept}"
    assert "--resume" in str(stop.hint)
    refused(lambda: Run.open(folder).network(), "run-unfinished")
    resumed = train_small(folder, resume=True)
    assert resumed.digest() == finished.digest()
    assert without_costs(resumed.metrics()) == without_costs(finished.metrics())
    assert {path.name for path in folder.iterdir()} == {p.name for p in finished.folder.iterdir()}


COSTS = {"seconds", "joules", "device", "energy_by"}


def without_costs(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: line[name] for name in line if name not in COSTS} for line in metrics]


def test_epochs_record_what_they_took_and_where(finished: Run) -> None:
    for line in finished.metrics():
        assert line["seconds"] > 0
        assert line["joules"] > 0
        assert line["device"] == "cpu"
        assert line["energy_by"] in (["nominal"], ["rapl"])


@often
def test_an_epoch_that_was_interrupted_counts_what_it_took_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Meter, "read", lambda _meter: Spent(5.0, 70.0))
    folder = tmp_path / "run"
    refused(lambda: train_small(folder, progress=InterruptAt(1, 2)), "interrupted")
    first, second, _ = train_small(folder, resume=True).metrics()
    assert (first["seconds"], first["joules"]) == (10.0, 140.0)
    assert (second["seconds"], second["joules"]) == (5.0, 70.0)


def test_a_run_that_was_interrupted_before_anything_was_kept_starts_anew(
    finished: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    stop = refused(lambda: train_small(folder, progress=InterruptAt(3)), "interrupted")
    assert stop.why == "what is kept is 0 of 3 epochs"
    assert train_small(folder, resume=True).digest() == finished.digest()


def holds_nothing_outside_modules(run: Run) -> bool:
    """Whether all weights are 0 that are in no class module of the size that was trained for."""
    graph, tensors = run.network()
    ranking = Ranking(run.findings, sum(graph.kernels().values()))
    masks = weights_in_modules(graph, ranking.masks(Cutoff(retention=run.config.retention)))
    assert not all(mask.all() for mask in masks.values())
    return all(torch.equal(tensors[name] * mask, tensors[name]) for name, mask in masks.items())


def test_what_is_found_of_layers_is_in_their_order_whatever_their_names(tmp_path: Path) -> None:
    run = train("digits", "small_vgg", output=tmp_path, **SMALL | {"epochs": 2, "width": 0.125})
    layers = [*cuttable_convolutions(run.graph)]
    assert layers != sorted(layers)
    assert [*Run.open(tmp_path).findings] == layers


@often
def test_an_interrupted_run_with_views_ends_in_the_same_bytes(tmp_path: Path) -> None:
    straight = train_small(tmp_path / "straight", method="views")
    assert "view_loss" in straight.metrics()[-1]
    assert holds_nothing_outside_modules(straight)
    folder = tmp_path / "stopped"
    stopped = {"method": "views", "progress": InterruptAt(3)}
    refused(lambda: train_small(folder, **stopped), "interrupted")
    assert train_small(folder, method="views", resume=True).digest() == straight.digest()


@often
def test_a_run_of_views_from_trained_weights_is_taught_by_them(tmp_path: Path) -> None:
    plain = train_small(tmp_path / "plain", method="plain")
    weights = tmp_path / "weights.safetensors"
    save_tensors(weights, plain.network()[1])
    settings = {"method": "views", "init": weights, "epochs": 2}
    straight = train_small(tmp_path / "straight", **settings)
    assert {"teacher_loss", "view_loss"} <= straight.metrics()[0].keys()
    assert not any("teacher" in name for name in straight.network()[1])
    assert holds_nothing_outside_modules(straight)
    folder = tmp_path / "stopped"
    refused(lambda: train_small(folder, **settings, progress=InterruptAt(2)), "interrupted")
    kept = read_checkpoint(folder / "last.safetensors")
    assert kept.steps_done == 5
    assert not any("teacher" in name for name in kept.state)  # the run's first state has it
    assert train_small(folder, **settings, resume=True).digest() == straight.digest()


@often
def test_a_full_disk_leaves_the_last_checkpoint(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, write, full = tmp_path / "run", whole_files.write_new, set[Path]()

    def write_until_full(path: Path, data: bytes) -> None:
        if "last.safetensors" in path.name and path.parent in full:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, data)

    def fill_disk(progress: Progress) -> None:
        if progress.epoch == 2:
            full.add(folder)

    monkeypatch.setattr(whole_files, "write_new", write_until_full)
    error = refused(lambda: train_small(folder, progress=fill_disk), "disk-full")
    assert "--resume" in str(error.hint)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    full.clear()
    assert train_small(folder, resume=True).digest() == finished.digest()


@often
def test_a_loss_that_is_not_finite_is_told_and_the_last_good_state_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = learning_rate
    monkeypatch.setattr(
        session, "learning_rate", lambda step, *others: 1e30 if step > 4 else rate(step, *others)
    )
    error = refused(lambda: train_small(tmp_path / "run"), "loss-not-finite")
    assert "epoch 2, step 3" in str(error.where)
    kept = read_checkpoint(tmp_path / "run" / "last.safetensors")
    assert kept.steps_done == 5
    assert all(torch.isfinite(tensor).all() for tensor in kept.state.values())


def test_a_run_tells_what_later_steps_need(finished: Run) -> None:
    run = Run.open(finished.folder)
    assert run.is_finished
    assert run.method is Views
    assert run.classes == tuple("0123456789")
    assert (run.input.channels, run.input.height, run.input.width) == (1, 8, 8)
    assert run.config.data == "digits"
    assert run.digest() == finished.digest()
    graph, tensors = run.network()
    assert set(run.findings) == set(list(graph.kernels())[1:])
    validation = run.validation_data()
    outputs = predict(build(graph, tensors), validation.images, normalizing(run.input))
    assert accuracy(outputs, validation.labels) == run.val_accuracy
    assert len(run.training_data()) + len(validation) == len(load_data("digits", "train"))
    assert run.data("test").classes == run.classes


def test_metrics_have_a_line_an_epoch(finished: Run) -> None:
    lines = finished.metrics()
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[-1]["cross_entropy"] < lines[0]["cross_entropy"]
    # Views begin with the last step of the first epoch: a loss is the mean of steps that have it.
    assert lines[0]["view_loss"] > lines[1]["view_loss"] / 2
    assert lines[-1]["view_loss"] > 0
    assert all(line["seconds"] > 0 for line in lines)


def test_metrics_of_mwt_have_its_losses_and_what_would_be_retained(tmp_path: Path) -> None:
    for line in train_small(tmp_path / "run", method="mwt", settings={"beta": 1.0}).metrics():
        modular = 0.5 * line["cohesion_loss"] + line["coupling_loss"]
        assert line["loss"] == pytest.approx(line["cross_entropy"] + modular, rel=1e-5)
        assert 0 < line["kernel_retention_rate"] <= 1


def test_a_finished_run_is_not_trained_further(finished: Run) -> None:
    digest = finished.digest()
    assert train_small(finished.folder, resume=True).digest() == digest


def test_a_run_folder_is_never_overwritten(finished: Run, tmp_path: Path) -> None:
    error = refused(lambda: train_small(finished.folder), "run-exists")
    assert "--resume" in str(error.hint)
    (tmp_path / "notes.txt").write_text("mine")
    assert "--resume" not in str(refused(lambda: train_small(tmp_path), "run-exists").hint)


def test_a_resume_with_other_settings_names_them(finished: Run) -> None:
    error = refused(
        lambda: train_small(finished.folder, resume=True, lr=0.2, method="plain"),
        "settings-differ",
    )
    assert error.why == "lr was 0.1, now 0.2; method was 'views', now 'plain'"


def test_there_must_be_a_run_to_resume(tmp_path: Path) -> None:
    refused(lambda: train_small(tmp_path / "none", resume=True), "run-not-found")


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": 0},
        {"lr": float("nan")},
        {"batch_size": 1},
        {"method": "mwt", "settings": {"alpha": -1.0}},
        {"method": "mwt", "settings": {"gamma": 1.0}},
        {"settings": {"alpha": 0.5}},
        {"retention": 0.0},
        {"seed": -1},
        {"val_fraction": 1.0},
        {"precision": "float8"},
        {"mean": [0.5, 0.5]},
        {"std": [0.0]},
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any], tmp_path: Path) -> None:
    error = refused(lambda: train_small(tmp_path / "run", **setting), "bad-setting")
    assert error.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_a_plain_run_finds_nothing_of_kernels(tmp_path: Path) -> None:
    run = train_small(tmp_path / "run", method="plain", epochs=1)
    assert run.findings == {}
    assert set(run.metrics()[0]) == {"epoch", "loss", "cross_entropy", "val_accuracy", *COSTS}


def test_a_run_from_trained_weights_starts_as_good_as_they_are(tmp_path: Path) -> None:
    plain = train_small(tmp_path / "plain", method="plain")
    weights = tmp_path / "weights.safetensors"
    save_tensors(weights, plain.network()[1])
    config = msgspec.structs.replace(plain.config, method="views", init=str(weights))
    network = starting_network(config, len(plain.classes), plain.input)
    validation = plain.validation_data()
    outputs = predict(network, validation.images, normalizing(plain.input))
    assert accuracy(outputs, validation.labels) == plain.val_accuracy
    run = train_small(tmp_path / "run", init=weights, epochs=1)
    assert run.config.init_digest is not None


def test_a_run_from_weights_of_other_classes_has_no_teacher(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_tensors(weights, create("digits_cnn", 7, 1, 0.5).state_dict())
    said: list[str] = []
    run = train_small(tmp_path / "run", init=weights, epochs=1, lr=None, report=said.append)
    assert said[2:] == [
        f"{weights}: its weights are of 7 classes; the last layer is new, for 10 classes"
    ]
    assert run.record.has_new_head
    assert run.config.lr == Views.recipe(is_trained=True).lr
    assert "teacher_loss" not in run.metrics()[0]


_OWN_WEIGHTS = """
import torch
from modpm.core.networks import create

def make(num_classes, in_chans):
    network = create("digits_cnn", num_classes, in_chans, 0.25)
    weights = torch.load("w.pth", weights_only=True)
    if num_classes != 10 or HEAD:
        weights = {name: x for name, x in weights.items() if not name.startswith("linear")}
    network.load_state_dict(weights, strict=False)
    return network
"""


@pytest.mark.parametrize("has_new_head", [False, True])
def test_a_factory_that_loads_weights_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_new_head: bool
) -> None:
    torch.save(create("digits_cnn", 10, 1, 0.25).state_dict(), tmp_path / "w.pth")
    module = f"networks_with_weights_{has_new_head}"
    (tmp_path / f"{module}.py").write_text(_OWN_WEIGHTS.replace("HEAD", str(has_new_head)))
    monkeypatch.chdir(tmp_path)
    arch, settings = f"{module}:make", SMALL | {"epochs": 1, "width": 1.0, "lr": None}
    said: list[str] = []
    run = train("digits", arch, output=tmp_path / "run", report=said.append, **settings)
    assert f"{arch} loads trained weights of its own" in said
    assert run.config.pretrained
    assert run.config.lr == Views.recipe(is_trained=True).lr
    assert run.record.has_new_head == has_new_head
    assert ("teacher_loss" in run.metrics()[0]) != has_new_head
    assert any("linear.weight are new" in sentence for sentence in said) == has_new_head
    again = train("digits", arch, output=tmp_path / "run", resume=True, **settings)
    assert again.digest() == run.digest()


def test_a_run_starts_from_one_kind_of_weights(tmp_path: Path) -> None:
    error = refused(
        lambda: train_small(tmp_path / "run", pretrained=True, init="w.pth"), "bad-setting"
    )
    assert "--init and --pretrained" in str(error.why)


def test_half_precision_trains_nearly_alike(finished: Run, tmp_path: Path) -> None:
    run = train_small(tmp_path / "run", precision="bfloat16")
    assert run.digest() != finished.digest()
    assert run.metrics()[0]["loss"] == pytest.approx(finished.metrics()[0]["loss"], rel=0.02)
    assert {tensor.dtype for tensor in run.network()[1].values()} == {torch.float32}


def test_images_that_are_decoded_as_they_are_read_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    digits = load_data("digits", "train").select(range(120))
    for i, (image, label) in enumerate(zip(digits.images, digits.labels.tolist(), strict=True)):
        folder = tmp_path / "photos" / "train" / digits.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / f"{i}.png")

    def trained(name: str) -> Run:
        settings: dict[str, Any] = SMALL | {"epochs": 2, "val_fraction": 0.4, "batch_size": 16}
        output = tmp_path / name
        return train(str(tmp_path / "photos"), "digits_cnn", output=output, **settings)

    kept = trained("kept")
    rmtree(tmp_path / "home")
    monkeypatch.setattr("modpm.core.kept_images.MAX_KEPT_BYTES", 0)
    streamed = trained("streamed")
    assert isinstance(streamed.data("train").pixels, Streamed)
    assert streamed.digest() == kept.digest()
    assert without_costs(streamed.metrics()) == without_costs(kept.metrics())


def test_changed_data_are_told(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for label, shade in (("dark", 40), ("light", 200)):
        (photos / "train" / label).mkdir(parents=True)
        for i in range(8):
            Image.new("L", (8, 8), shade + i).save(photos / "train" / label / f"{i}.png")
    run = train(photos, "digits_cnn", output=tmp_path / "run", epochs=1, batch_size=4)
    assert Run.open(run.folder).training_data().counts() == [6, 6]  # 2 are held out
    Image.new("L", (8, 8), 0).save(photos / "train" / "dark" / "0.png")
    refused(Run.open(run.folder).training_data, "data-changed")


@pytest.mark.parametrize("name", ["model.safetensors", "graph.json", "run.json", "finished.json"])
def test_a_damaged_run_is_told(finished: Run, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for path in finished.folder.iterdir():
        data = path.read_bytes()
        (folder / path.name).write_bytes(data[: len(data) // 2] if path.name == name else data)
    with pytest.raises(ModpmError):
        read_all(folder)


def read_all(folder: Path) -> object:
    run = Run.open(folder)
    return run.network(), run.val_accuracy


def test_training_leaves_the_callers_chance_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train_small(tmp_path / "run", epochs=1)
    assert torch.equal(torch.rand(1), expected)


def test_a_run_writes_a_report_of_its_curves(finished: Run) -> None:
    text = (finished.folder / "report.html").read_text("utf-8")
    sections = ["Losses", "Shares", "Epochs", "What it took", "Settings"]
    assert re.findall("<h2>(.*?)</h2>", text) == sections
    assert text.count("<polyline") >= 3  # the loss, its parts, and the accuracy
    assert f"{Percent(finished.val_accuracy)} of " in text
    for line in finished.metrics():
        assert f'<td class="number">{line["loss"]:.4g}</td>' in text
    assert not re.search(r"(?:src|href)=|<script", text)
