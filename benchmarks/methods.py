"""Every way to make class modules, in one table: at equal sizes and after equal epochs.

For each architecture and seed one network is trained by each method, with the method's own recipe,
and cut: to one retention rate, by the kernels that the method names, with the same quotas for all
methods; those of `moda` and `mwt`, whose papers cut by a threshold, by that, too. `random` and the
efforts cut the network that was trained plainly. Measured are the network restricted to 2, 3, 5
and 10 classes (the mean of random subsets), its modules composed `fused` and `independent`, the
parameters and arithmetic of a module, and the seconds of training and of cutting. Published
figures stand in columns of their own: they are of other networks, after more epochs, and no
measurement of this command.

Usage:
    python benchmarks/methods.py --data cifar10 --seeds 0,1,2 -o results/methods
    python benchmarks/methods.py --archs resnet18 --epochs 60 -o results/methods-resnet18
    python benchmarks/methods.py --archs depthwise:SmallMobile --seeds 0,1,2 -o results/depthwise

Each row is kept as a file as soon as it is measured, and each network while it is trained: the
same command again goes on where it was, and with `--print` only prints. By its arithmetic, which
is not a measurement, a network of `small_vgg` trains for about 20 minutes on two cores, and a row
is cut and measured in about 4, one of `gradient` in 10: 5 networks, 11 rows and three seeds take
about 7 to 8 hours, and `--width 0.5` a third of that.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from cifar10 import (
    SUBSET_SIZES,
    composed_accuracies,
    cut_into,
    network_accuracies,
    random_kernels,
    trained,
)

from modpm.core.graph import count
from modpm.core.training.device import DEVICES, choose_device
from modpm.core.training.effort import EFFORTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modpm.core.training.run import Run

NEMO = {"alpha": 0.0, "beta": 0.0, "contrastive": 1.1}


class Published(NamedTuple):
    """What a paper reports.

    Attributes:
        accuracy: Of what.
        size: Of its modules.
        source: Where it stands.
    """

    accuracy: str
    size: str
    source: str


NOTHING = Published("", "", "")
MWT = Published(
    "ResNet18: 97.3 of 2 classes to 91.3 of 10, after ten epochs of fine-tuning",
    "24.7 % of ResNet18's kernels; 14.6 % on average",
    "arXiv 2306.09376 and its code",
)
MODA = Published(
    "ResNet18: 97.9 of 2 classes to 91.0 of 10, without fine-tuning",
    "up to 24 times fewer weights than MwT's",
    "arXiv 2411.01074",
)
NEMO_FIGURES = Published("1.72 points above MwT", "58.1 % smaller than MwT's", "arXiv 2508.11348")
GRADSPLITTER = Published(
    "2.46 points below networks trained anew, on average",
    "19.9 % fewer kernels than CNNSplitter's",
    "arXiv 2311.04438",
)


@dataclass(frozen=True)
class Way:
    """One row: how a network is trained and cut.

    Attributes:
        method: Of training.
        cut: Gives what `modularize` is told, of the run and the retention rate; None for a network
            that is not cut.
        settings: Of the method.
        published: What its paper reports.
    """

    method: str
    cut: Callable[[Run, float], dict[str, Any]] | None
    settings: Mapping[str, float] = field(default_factory=dict)
    published: Published = NOTHING


def _at_rate(_run: Run, retention: float) -> dict[str, Any]:
    return {"retention": retention}


def _at_threshold(_run: Run, _retention: float) -> dict[str, Any]:
    return {"threshold": 0.9}


def _at_random(run: Run, retention: float) -> dict[str, Any]:
    return {"retention": retention, "evidence": random_kernels(run)}


def _by_effort(effort: str) -> Callable[[Run, float], dict[str, Any]]:
    return lambda _run, retention: {"retention": retention, "effort": effort}


WAYS = {
    "plain": Way("plain", None),
    "random": Way("plain", _at_random),
    **{
        effort: Way(
            "plain", _by_effort(effort), published=GRADSPLITTER if effort == "gradient" else NOTHING
        )
        for effort in EFFORTS
    },
    "moda": Way("moda", _at_rate, published=MODA),
    "moda at 0.9": Way("moda", _at_threshold, published=MODA),
    "mwt": Way("mwt", _at_rate, published=MWT),
    "mwt at 0.9": Way("mwt", _at_threshold, published=MWT),
    "mwt contrastive": Way("mwt", _at_rate, NEMO, NEMO_FIGURES),
    "mwt contrastive at 0.9": Way("mwt", _at_threshold, NEMO, NEMO_FIGURES),
    "views": Way("views", _at_rate),
}
"""By what the table calls them."""


@dataclass(frozen=True)
class Row:
    """What was measured of one way, architecture and seed.

    Attributes:
        retention_rate, n_parameters, macs: Of a module, on average; of the network where it is not
            cut.
        accuracy: In percent, of the network and of each composition, by the number of classes.
        seconds: Of training and of cutting.
    """

    way: str
    arch: str
    seed: int
    device: str
    retention_rate: float
    n_parameters: float
    macs: float
    accuracy: dict[str, dict[str, float]]
    seconds: dict[str, float]


def row_of(way: str, arch: str, seed: int, options: argparse.Namespace) -> Row:
    """Measure one row, or take it from its file."""
    path = options.output / "rows" / f"{_file_name(arch)}-{_file_name(way)}-seed{seed}.json"
    if path.exists():
        return Row(**json.loads(path.read_text("utf-8")))
    row = measured(way, arch, seed, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(asdict(row), indent=2) + "\n", "utf-8")
    unfinished.replace(path)
    return row


def _file_name(words: str) -> str:
    return "-".join("".join(c if c.isalnum() or c in "._" else " " for c in words).split())


def measured(way: str, arch: str, seed: int, options: argparse.Namespace) -> Row:
    """Train what is not trained yet, cut it and measure."""
    how, device = WAYS[way], choose_device(options.device)
    run = train_for(how, arch, seed, options)
    data = run.data("test") if options.split == "test" else run.validation_data()
    accuracy = {"network": network_accuracies(run, data, device)}
    cost = count(*run.network())
    size = 1.0, float(cost.n_parameters), float(cost.macs)
    seconds = {"training": sum(epoch["seconds"] for epoch in run.metrics())}
    if how.cut is not None:
        with TemporaryDirectory() as folder:
            started = time.perf_counter()
            told = how.cut(run, options.retention)
            modules = cut_into(Path(folder) / "dist", run, options, measure_on="held-out", **told)
            seconds["cutting"] = time.perf_counter() - started
            accuracy |= composed_accuracies(modules, data, device, seed)
        manifests = [module.manifest for module in modules]
        size = (
            statistics.fmean(m.kernel_retention_rate for m in manifests),
            statistics.fmean(m.n_parameters for m in manifests),
            statistics.fmean(m.macs for m in manifests),
        )
    named = {what: {str(n): share for n, share in of.items()} for what, of in accuracy.items()}
    print(f"{arch}, {way}, seed {seed}: {named}", file=sys.stderr, flush=True)
    return Row(way, arch, seed, str(device), *size, named, seconds)


def train_for(how: Way, arch: str, seed: int, options: argparse.Namespace) -> Run:
    """Train the network of a way, or take it: several ways may cut one network."""
    settings = "".join(f"-{name}{value:g}" for name, value in how.settings.items())
    name = f"{_file_name(arch)}-{how.method}{settings}-seed{seed}"
    return trained(
        options.output / "runs" / name,
        options,
        arch=arch,
        width=options.width,
        seed=seed,
        method=how.method,
        settings=how.settings,
    )


def print_table(arch: str, rows: Sequence[Sequence[Row]]) -> None:
    """Print as a Markdown table what each way has for all seeds of an architecture."""
    sizes = " / ".join(str(size) for size in SUBSET_SIZES)
    print(f"\n{arch}: accuracy of {sizes} classes; after each number how far the seeds are apart\n")
    print(
        "| way | kernels kept | parameters | MACs | network | fused | independent | training "
        "| cutting | published: accuracy | published: size | published in |"
    )
    print("|---" * 12 + "|")
    for same in rows:
        print(f"| {' | '.join(_cells(same))} |")


def _cells(same: Sequence[Row]) -> list[str]:
    published = WAYS[same[0].way].published
    return [
        same[0].way,
        f"{statistics.fmean(row.retention_rate for row in same):.3f}",
        f"{statistics.fmean(row.n_parameters for row in same):,.0f}",
        f"{statistics.fmean(row.macs for row in same) / 1e6:.2f} M",
        *(_accuracies(same, what) for what in ("network", "fused", "independent")),
        *(_seconds(same, what) for what in ("training", "cutting")),
        *published,
    ]


def _accuracies(same: Sequence[Row], what: str) -> str:
    if what not in same[0].accuracy:
        return ""
    return " / ".join(
        _mean_and_range([row.accuracy[what][str(size)] for row in same]) for size in SUBSET_SIZES
    )


def _mean_and_range(values: Sequence[float]) -> str:
    apart = f" ({max(values) - min(values):.1f})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{apart}"


def _seconds(same: Sequence[Row], what: str) -> str:
    if what not in same[0].seconds:
        return ""
    return f"{statistics.median(row.seconds[what] for row in same):,.0f} s"


KEPT = ("data", "epochs", "width", "retention", "split", "precision")
"""What all rows of a folder have in common."""


def check_folder(options: argparse.Namespace) -> None:
    """Check that a folder's rows are of the same settings, or keep these for new ones."""
    path = options.output / "settings.json"
    asked = {name: getattr(options, name) for name in KEPT}
    if path.exists():
        before = json.loads(path.read_text("utf-8"))
        differing = [f"--{k} {before[k]}, not {v}" for k, v in asked.items() if before[k] != v]
        if differing:
            sys.exit(f"error: the rows of {options.output} are of {', '.join(differing)}")
    options.output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asked, indent=2) + "\n", "utf-8")


def _ways(words: str) -> list[str]:
    names = words.split(",")
    if unknown := [name for name in names if name not in WAYS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(WAYS)}")
    return names


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="cifar10", help="a Hub id or a folder of parquet files")
    parser.add_argument(
        "--archs",
        type=lambda t: t.split(","),
        default=["small_vgg"],
        help="such as small_vgg,resnet18, or package.module:factory",
    )
    parser.add_argument(
        "--ways", type=_ways, default=list(WAYS), help=f"rows, all by default: {','.join(WAYS)}"
    )
    parser.add_argument("--width", type=float, default=1.0, help="factor on all channels")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--retention", type=float, default=0.32, help="of the modules")
    parser.add_argument("--seeds", type=lambda t: [int(x) for x in t.split(",")], default=[0])
    parser.add_argument("--split", default="test", choices=["test", "held-out"])
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--print", action="store_true", help="print the rows there are")
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


def kept_rows(options: argparse.Namespace) -> list[Row]:
    """Return all rows that are measured."""
    paths = sorted((options.output / "rows").glob("*.json"))
    return [Row(**json.loads(path.read_text("utf-8"))) for path in paths]


def main() -> None:
    """Measure what is not measured yet, and print."""
    options = parse_options()
    if not options.print:
        check_folder(options)
        for seed in options.seeds:
            for arch in options.archs:
                for way in options.ways:
                    row_of(way, arch, seed, options)
    rows = kept_rows(options)
    for arch in dict.fromkeys(row.arch for row in rows):
        of_arch = [[r for r in rows if (r.arch, r.way) == (arch, way)] for way in WAYS]
        print_table(arch, [same for same in of_arch if same])


if __name__ == "__main__":
    main()
