"""How long a classifier takes on this machine, beside the networks that its modules are of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from modpm.core.classifiers.class_module import ClassModule, Scorer
from modpm.core.classifiers.classifier import Classifier
from modpm.core.costs.latency import time_classifier, untrained
from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import read_distribution
from modpm.core.graph.cost import count_macs
from modpm.core.training.device import AUTO, choose_device
from modpm.core.training.run import Run
from modpm.registry.installing.installed import installed
from modpm.verbs.estimating import keep_latency
from modpm.verbs.judging import open_subject

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from modpm.core.costs.latency import Latency
    from modpm.core.formats.manifest import InputContract, Manifest
    from modpm.core.formats.network_graph import Graph


class Benchmark(NamedTuple):
    """What was timed, and where.

    Attributes:
        latencies: For each size of a batch.
        n: How many times each was run.
        device: Where it ran.
        n_threads: Of the processor.
        macs: Multiply-accumulates of the classifier, an image.
        origin_macs: The same of the origins, each counted once; None where they are not known.
        missing: Digests of origins that are not known here.
        is_kept: Whether estimates of the same networks are replaced by it.
    """

    latencies: list[Latency]
    n: int
    device: str
    n_threads: int
    macs: int
    origin_macs: int | None
    missing: list[str]
    is_kept: bool

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON; times in milliseconds an image."""
        return {
            **self._asdict(),
            "torch": torch.__version__,
            "latencies": [
                {
                    "batch_size": one.batch_size,
                    "milliseconds": _scaled(one.seconds, 1000),
                    "origin_milliseconds": _scaled(one.origin_seconds, 1000),
                    "ratio": _scaled(one.ratio, 1),
                }
                for one in self.latencies
            ],
        }


def _scaled(measured: Any, factor: float) -> dict[str, float] | None:  # noqa: ANN401 -- Quartiles or None
    if measured is None:
        return None
    return {name: value * factor for name, value in measured._asdict().items()}


def benchmark(
    subject: str | os.PathLike[str],
    *,
    origins: Sequence[str | os.PathLike[str]] = (),
    n: int = 30,
    device: str = AUTO,
    project: str | os.PathLike[str] = ".",
) -> Benchmark:
    """Time a classifier, an image at batch 1 and 64, in turns with the networks it stands for.

    Time does not hang on what weights are, so that an origin is made anew by the graph that the
    manifests of its modules have, with numbers of chance. What a classifier took on a processor
    that was measured (`measure_machine`) replaces estimates.

    Args:
        subject: The folder of a classifier, of a run or of a distribution, or an installed name; a
            composition is made a classifier.
        origins: Runs or distributions to time it against, where the project does not have its
            modules.
        n: How many times each is run, after some that do not count.
        device: Where they run: `cpu`, `cuda`, `mps`, or `auto` for the accelerator where there is
            one.
        project: A folder in the project.

    Raises:
        ModpmError: `not-a-subject`; `no-such-device`; `bad-setting`; what reading the origins
            raises.
    """
    if n < 2:  # noqa: PLR2004 -- quartiles need two
        raise ModpmError(
            f"{n} runs have no spread",
            code="bad-setting",
            hint="take 2 or more",
            exit_code=2,
        )
    where = choose_device(device)
    opened = open_subject(subject, project)
    timed = _as_classifier(opened)
    wanted = _wanted(opened)
    known = dict(_networks(opened, origins, project))
    if not origins:
        known = {digest: known[digest] for digest in wanted if digest in known}
    networks = [untrained(*one) for one in known.values()]
    missing = [] if origins else [digest for digest in wanted if digest not in known]
    if missing:
        networks = []  # a part of them would be no comparison
    found = time_classifier(timed, networks, n, where)
    seconds = {one.batch_size: one.seconds.median for one in found}
    return Benchmark(
        found,
        n,
        where.type,
        torch.get_num_threads(),
        timed.macs,
        sum(count_macs(graph) for graph, _ in known.values()) if networks else None,
        missing,
        where.type == "cpu" and keep_latency(timed, seconds),
    )


def _as_classifier(subject: Classifier | ClassModule) -> Classifier:
    if isinstance(subject, Classifier):
        return subject
    tensors = dict(subject.network.state_dict())
    return Classifier([Scorer([subject.label], subject.input, subject.graph, tensors)])


def _wanted(subject: Classifier | ClassModule) -> list[str]:
    """Return the digests of the origins that something stands for."""
    if isinstance(subject, ClassModule):
        return [subject.manifest.origin.digest]
    return list(dict.fromkeys(pin.origin for pin in subject.pins))


_Networks = tuple["Graph", "InputContract"]


def _networks(
    subject: Classifier | ClassModule,
    origins: Sequence[str | os.PathLike[str]],
    project: str | os.PathLike[str],
) -> Iterator[tuple[str, _Networks]]:
    """Give the networks that are known, by digest."""
    if origins:
        for path in origins:
            yield _network_of(Path(path).expanduser())
        return
    if isinstance(subject, ClassModule):
        yield _of_manifest(subject.manifest)
        return
    pinned = {pin.digest for pin in subject.pins}
    for module in installed(project):
        if module.digest in pinned and module.path.is_dir():
            yield _of_manifest(read_distribution(module.path).module_manifest)


def _network_of(path: Path) -> tuple[str, _Networks]:
    if (path / "run.json").is_file():
        run = Run.open(path)
        return run.digest(), (run.graph, run.input)
    return _of_manifest(read_distribution(path).module_manifest)


def _of_manifest(manifest: Manifest) -> tuple[str, _Networks]:
    return manifest.origin.digest, (manifest.origin.graph, manifest.input)
