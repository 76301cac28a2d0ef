"""A classifier: what it says of images, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own name for it
from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from msgspec import UNSET, UnsetType
from torch import Tensor, nn

from modpm.core.classifiers import saving
from modpm.core.classifiers.class_module import Scorer
from modpm.core.classifiers.preprocessing import Images, Preprocessing, image_batches, unit_pixels
from modpm.core.formats.composition_manifest import LinearLayer
from modpm.core.graph import Cost
from modpm.core.system.whole_files import write_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.classifiers.recipe import Composition, Pin
    from modpm.core.estimating.together import Together
    from modpm.core.formats.manifest import InputContract
    from modpm.core.training.run import Run


NONE_OF_THE_ABOVE = -1


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one image.

    Attributes:
        label: The most likely label, or None for none of the above.
        probability: Of the label among the classifier's, as if each came equally often; where the
            label is None, the probability that not even the most likely one applies, under even
            odds.
        scores: The log-odds of every label under even odds: as if half of all images showed it.
        runner_up: The second most likely label, or the most likely one where `label` is None.
    """

    label: str | None
    probability: float
    scores: dict[str, float]
    runner_up: str | None


def probabilities(scores: Tensor) -> Tensor:
    """Return the probability of each label, given that one of them applies.

    Of a single label there is nothing to choose from: its probability is that of its own score.

    Shapes:
        (N, K) → (N, K)
    """
    return scores.softmax(1) if scores.shape[1] > 1 else scores.sigmoid()


def decide(scores: Tensor, reject: float | None) -> Tensor:
    """Return the position of each image's label, or `NONE_OF_THE_ABOVE`.

    Args:
        scores: Log-odds.
        reject: An image is none of the above where no score's own probability reaches it; None
            to give every image a label.

    Shapes:
        (N, K) → (N,), int64
    """
    best, positions = scores.max(1)
    if reject is None:
        return positions
    return torch.where(best.sigmoid() >= reject, positions, NONE_OF_THE_ABOVE)


def describe(scores: Tensor, labels: Sequence[str], reject: float | None) -> list[Prediction]:
    """Put the scores of images into words.

    Shapes:
        scores: (N, K), K the number of labels.
    """
    decisions = decide(scores, reject).tolist()
    shares = probabilities(scores)
    return [
        _describe_one(scores[i], shares[i], labels, decision)
        for i, decision in enumerate(decisions)
    ]


def _describe_one(
    scores: Tensor, shares: Tensor, labels: Sequence[str], decision: int
) -> Prediction:
    ranked = [labels[position] for position in scores.argsort(descending=True).tolist()]
    by_label = dict(zip(labels, scores.tolist(), strict=True))
    if decision == NONE_OF_THE_ABOVE:
        return Prediction(None, float(1 - scores.max().sigmoid()), by_label, ranked[0])
    runner_up = ranked[1] if len(ranked) > 1 else None
    return Prediction(labels[decision], float(shares[decision]), by_label, runner_up)


class Classifier(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="modpm",
    tags=["modpm"],
    pipeline_tag="image-classification",
):
    """A network that names what an image shows, or says none of the above.

    Args:
        scorers: Its networks.
        labels: Every label of the scorers, in the order of the outputs; None for theirs. Outputs
            of one label vote: its score is the mean of theirs.
        reject: An image is none of the above where no score's own probability reaches this;
            None to give every image a label.
        composition: How it was composed; None for a network that was not.
        reasons: Why it was composed so, a line for each origin, where that was chosen for it.

    Attributes:
        counted: What its modules cost, each by itself and as they are composed, where they were
            there to be counted; bytes are those of tensors.

    Shapes:
        forward: (N, 3, height, width) in [0, 1], or 1 channel for gray → (N, len(labels)). Any
            size will do; images of `input_size` are not scaled where all modules agree on it.
    """

    order: Tensor
    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        scorers: Sequence[Scorer],
        labels: Sequence[str] | None = None,
        reject: float | None = None,
        composition: Composition | None = None,
        reasons: Sequence[str] = (),
    ) -> None:
        super().__init__()
        given = [label for scorer in scorers for label in scorer.labels]
        self.labels = tuple(dict.fromkeys(given) if labels is None else labels)
        self.reject = reject
        self.composition = composition
        self.reasons = tuple(reasons)
        self.counted: Together | None = None
        self.contracts = _distinct([scorer.contract for scorer in scorers])
        self._reads = [self.contracts.index(scorer.contract) for scorer in scorers]
        self.scorers = nn.ModuleList(scorers)
        self.preprocessings = nn.ModuleList(map(Preprocessing, self.contracts))
        self.register_buffer("order", _votes(self.labels, given), persistent=False)
        self._register_layer()
        self.eval()

    def _register_layer(self) -> None:
        """Keep the linear layer that the recipe has, if it has one (clause M-38)."""
        weight = bias = None
        if self.composition is not None and isinstance(self.composition.linear, LinearLayer):
            weight = torch.tensor(self.composition.linear.weight)
            bias = torch.tensor(self.composition.linear.bias)
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width that lose nothing for any of its modules."""
        return (
            max(contract.height for contract in self.contracts),
            max(contract.width for contract in self.contracts),
        )

    @cached_property
    def cost(self) -> Cost:
        """What its networks cost together, counted."""
        costs = [scorer.cost for scorer in self.networks()]
        if self.weight is not None and self.bias is not None:
            n, n_bytes = self.weight.numel(), self.weight.nbytes + self.bias.nbytes
            costs.append(Cost(n_parameters=n + len(self.bias), macs=n, size_bytes=n_bytes))
        return Cost.total(costs)

    @property
    def n_parameters(self) -> int:
        """Numbers in it that training would change."""
        return self.cost.n_parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return self.cost.macs

    @property
    def origin_macs(self) -> int | None:
        """Multiply-accumulates of its modules' origins, each counted once."""
        return None if self.composition is None else self.composition.origin_macs

    @property
    def strategy(self) -> str | None:
        """How it was composed: `independent`, `fused` or `mixed`."""
        return None if self.composition is None else self.composition.strategy

    @property
    def false_rejections(self) -> float | None:
        """The share of known images that its threshold was set to reject at most, if it was."""
        share = UNSET if self.composition is None else self.composition.false_rejections
        return None if isinstance(share, UnsetType) else share

    @property
    def pins(self) -> tuple[Pin, ...]:
        """The releases of its class modules, in the order of its labels."""
        return () if self.composition is None else tuple(self.composition.modules)

    def forward(self, images: Tensor) -> Tensor:
        """Return the score of each label: log-odds, under even odds, that it is shown."""
        return self.score([unit_pixels(images)] * len(self.contracts))

    def score(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the scores of one batch, given for every distinct input contract.

        Shapes:
            inputs: (N, 1 or 3, height, width) each, in [0, 1] → (N, len(labels))
        """
        return self.pool(self.outputs(inputs))

    def outputs(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return what its networks say, in their order, before votes are counted.

        Shapes:
            inputs: As for `score` → (N, all labels of its networks)
        """
        prepared = [layer(batch) for layer, batch in zip(self.preprocessings, inputs, strict=True)]
        read = zip(self.scorers, self._reads, strict=True)
        return torch.cat([scorer(prepared[i]) for scorer, i in read], 1)

    def pool(self, outputs: Tensor) -> Tensor:
        """Return the score of each label: the mean of its votes, and what a layer makes of all.

        Args:
            outputs: Of all its networks, in their order.

        Shapes:
            outputs: (N, all labels of its networks) → (N, len(labels))
        """
        order = self.order.to(outputs.device)
        n_votes = (order < outputs.shape[1]).sum(1)
        scores = F.pad(outputs, (0, 1))[:, order].sum(2) / n_votes
        if self.weight is None or self.bias is None:
            return scores
        return F.linear(scores, self.weight.to(scores), self.bias.to(scores))

    def networks(self) -> list[Scorer]:
        """Return its networks."""
        return [scorer for scorer in self.scorers if isinstance(scorer, Scorer)]

    @torch.inference_mode()
    def score_images(self, images: Images) -> Tensor:
        """Return the scores of images that are not prepared yet.

        Each of Pillow's images is prepared for each module as for that module alone.

        Args:
            images: One or several of Pillow's, or a batch of pixels: bytes, or numbers in [0, 1].

        Shapes:
            pixels: (N, 1 or 3, height, width) → (N, len(labels))

        Raises:
            ModpmError: `bad-images`.
        """
        return self.pool(self.image_outputs(images))

    @torch.inference_mode()
    def image_outputs(self, images: Images) -> Tensor:
        """Return what its networks say of images that are not prepared yet.

        Args:
            images: As for `score_images`.

        Shapes:
            pixels: (N, 1 or 3, height, width) → (N, all labels of its networks)

        Raises:
            ModpmError: `bad-images`.
        """
        device = self.order.device
        parts = [
            self.outputs([batch.to(device) for batch in inputs])
            for inputs in image_batches(images, self.contracts)
        ]
        n_outputs = sum(len(scorer.labels) for scorer in self.networks())
        return torch.cat(parts) if parts else torch.empty(0, n_outputs)

    def predict(self, images: Images) -> list[Prediction]:
        """Say what each image shows.

        Args:
            images: As for `score_images`.

        Raises:
            ModpmError: `bad-images`.
        """
        return describe(self.score_images(images), self.labels, self.reject)

    def decide(self, scores: Tensor) -> Tensor:
        """Return the position of each image's label, or -1 for none of the above.

        Shapes:
            scores: (N, len(labels)) → (N,)
        """
        return decide(scores, self.reject)

    def save(self, folder: Path | str) -> None:
        """Write the classifier's folder, whole or not at all.

        Args:
            folder: A new or empty folder, or that of a classifier, which is replaced.

        Raises:
            ModpmError: The folder holds something else (`not-a-classifier`) or cannot be written.
        """
        saving.write_classifier(Path(folder), saving.encode_classifier(self))

    @classmethod
    def from_folder(cls, folder: Path | str) -> Self:
        """Read a classifier's folder, all of which is checked first.

        Raises:
            ModpmError: `not-a-classifier`, `damaged-classifier`, `unknown-format-version`.
        """
        saved = saving.read_classifier(Path(folder))
        scorers = [
            Scorer(config.labels, config.input, config.graph, tensors)
            for config, tensors in zip(saved.config.scorers, saved.tensors, strict=True)
        ]
        return cls(scorers, saved.config.labels, saved.config.reject, saved.composition)

    def _save_pretrained(self, save_directory: Path) -> None:
        for name, data in saving.encode_classifier(self).items():
            write_file(save_directory / name, data)

    # The hub's own signature; what it read from config.json itself is not trusted and not used.
    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **_read_by_the_hub: Any,  # noqa: ANN401 -- the hub's own signature
    ) -> Self:
        if Path(model_id).is_dir():
            return cls.from_folder(model_id)
        folder = snapshot_download(
            model_id,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=list(saving.FILES),
        )
        return cls.from_folder(folder)


def _votes(labels: Sequence[str], outputs: Sequence[str]) -> Tensor:
    """Return which outputs vote for each label; the one after the last where others have more.

    Shapes:
        → (len(labels), most votes of a label), int64
    """
    votes = [[i for i, one in enumerate(outputs) if one == label] for label in labels]
    most = max(map(len, votes))
    return torch.tensor([some + [len(outputs)] * (most - len(some)) for some in votes])


def _distinct(contracts: Sequence[InputContract]) -> list[InputContract]:
    found: list[InputContract] = []
    for contract in contracts:
        if contract not in found:
            found.append(contract)
    return found


def as_classifier(run: Run) -> Classifier:
    """Return a finished run's network; its labels are the classes as the data set names them.

    Raises:
        ModpmError: The run is not finished, or damaged.
    """
    graph, tensors = run.network()
    return Classifier([Scorer(run.classes, run.input, graph, tensors)])
