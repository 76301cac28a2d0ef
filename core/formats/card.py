"""The card of a distribution, `README.md`: what a person needs to choose a class module.

Its front matter is what the Hugging Face Hub searches and shows (clauses D-10 to D-12).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from huggingface_hub.repocard_data import CardData

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName, normalise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from huggingface_hub import RepoCard

    from modpm.core.formats.manifest import Manifest

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)

# https://huggingface.co/docs/hub/repositories-licenses; those of them that SPDX has, too.
_HUB_LICENCES = frozenset(
    """
    afl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc-by-2.0
    cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-1.0
    epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 isc lppl-1.3c mit mpl-2.0 ms-pl ncsa ofl-1.1 osl-3.0
    postgresql unlicense wtfpl zlib
    """.split()  # noqa: SIM905 -- read as the table that it is
)
_LIBRARY = {"library_name": "modpm", "pipeline_tag": "image-classification"}
_OF_A_MODULE = ("modpm-namespace:", "modpm-class:")
_MARKUP = re.compile(r"([\\`*_\[\]<>|#])")


def render_card(manifest: Manifest) -> str:
    """Return the text of a class module's card; the same manifest gives the same text.

    Args:
        manifest: A valid manifest; its `files` are not looked at, since the card is one of them.
    """
    sections = (_about, _input, _metrics, _cost, _use, _source, _licence)
    body = "\n".join(section(manifest) for section in sections)
    return _with_front_matter(front_matter(manifest), body)


def front_matter(manifest: Manifest) -> dict[str, Any]:
    """Return the metadata of a card as the Hub defines them."""
    metadata: dict[str, Any] = {
        **_hub_licence(manifest.licence),
        **_LIBRARY,
        "tags": search_tags(manifest),
    }
    if _HUB_ID.fullmatch(manifest.provenance.data_set):
        metadata["datasets"] = [manifest.provenance.data_set]
    if manifest.metrics:
        metadata["model-index"] = [{"name": manifest.name, "results": _results(manifest)}]
    return metadata


def _with_front_matter(metadata: Mapping[str, Any], body: str) -> str:
    return f"---\n{CardData(**metadata).to_yaml(line_break=chr(10))}\n---\n\n{body}"


def _plain_data(data: CardData) -> dict[str, Any]:
    plain: dict[str, Any] = data.to_dict()  # type: ignore[no-untyped-call]  # the Hub's own
    return plain


def search_tags(manifest: Manifest) -> list[str]:
    """Return the tags that a module is found by on the Hub."""
    name = ModuleName.parse(manifest.name)
    try:
        recognised = normalise(manifest.label.partition("/")[2])
    except ModpmError:
        recognised = name.name
    return ["modpm", f"modpm-namespace:{name.namespace}", f"modpm-class:{recognised}"]


def completed_card(text: str | None, manifest: Manifest) -> str:
    """Return a card with all that the Hub finds a module by (clause D-11).

    Args:
        text: The card of the release, which may be anybody's; None if it has none.
        manifest: The release's manifest.

    Returns:
        The same text if it has it all; the text with its front matter completed; or the card
        that `render_card` makes, if there is no text or its front matter cannot be read.
    """
    card = None if text is None else _read(text)
    if text is None or card is None:
        return render_card(manifest)
    metadata = _plain_data(card.data)
    needed = {**_LIBRARY, "tags": _with_search_tags(metadata.get("tags"), manifest)}
    if needed.items() <= metadata.items():
        return text
    completed = {**front_matter(manifest), **metadata, **needed}
    return _with_front_matter(completed, card.text.lstrip("\n"))


def _read(text: str) -> RepoCard | None:
    from huggingface_hub import RepoCard  # noqa: PLC0415 -- only a card to be completed needs it

    try:
        return RepoCard(text)
    except Exception:  # noqa: BLE001 -- of whatever kind PyYAML's errors are
        return None


def _with_search_tags(tags: object, manifest: Manifest) -> list[str]:
    """Return tags with those of the manifest, and without those of another module."""
    given = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    ours = search_tags(manifest)
    kept = [t for t in given if t in ours or not t.startswith(_OF_A_MODULE)]
    return [*(tag for tag in ours if tag not in kept), *kept]


def _hub_licence(licence: str) -> dict[str, str]:
    # The Hub knows some licences, by their identifiers in lower case, and no expressions.
    if licence.lower() in _HUB_LICENCES:
        return {"license": licence.lower()}
    return {"license": "other", "license_name": licence, "license_link": "LICENSE"}


def _results(manifest: Manifest) -> list[dict[str, Any]]:
    data_set = _line(manifest.provenance.data_set)
    kind = data_set if _HUB_ID.fullmatch(data_set) else "private"  # the Hub takes ids only
    return [
        {
            "task": {
                "type": "image-classification",
                "name": f"recognising {_line(manifest.label)}",
            },
            "dataset": {"type": kind, "name": data_set, "split": _line(metrics.split)},
            "metrics": [
                {"type": field, "value": getattr(metrics, field)}
                for field in ("precision", "recall", "average_precision")
            ],
        }
        for metrics in manifest.metrics
    ]


def _about(manifest: Manifest) -> str:
    classes = manifest.origin.classes
    others = [name for i, name in enumerate(classes) if i != manifest.output.class_index]
    summary = f"{_plain(manifest.summary)}\n\n" if manifest.summary else ""
    among = f" It was trained beside {', '.join(map(_plain, others))}." if others else ""
    return (
        f"# {manifest.name} {manifest.version}\n\n"
        f"{summary}A class module of modpm: a small network "
        f"that recognises **{_plain(manifest.label)}** and nothing else.{among} For each image it "
        "gives one score, the calibrated log-odds that the image shows its class: above 0 means "
        "more likely than not.\n"
    )


def _input(manifest: Manifest) -> str:
    contract = manifest.input
    colours = "grey" if contract.channels == 1 else "red, green, blue"
    rows = [
        ("height by width", f"{contract.height} by {contract.width} pixels"),
        ("channels", f"{contract.channels} ({colours})"),
        ("mean", ", ".join(f"{value:.4g}" for value in contract.mean)),
        ("standard deviation", ", ".join(f"{value:.4g}" for value in contract.std)),
    ]
    return (
        "## Input\n\nmodpm prepares images by itself; other programs scale pixels to [0, 1], "
        "subtract the mean and divide by the standard deviation.\n\n"
        + _table(("input", "value"), rows)
    )


def _metrics(manifest: Manifest) -> str:
    if not manifest.metrics:
        return "## Measured\n\nNothing was measured.\n"
    rows = [
        (
            _plain(metrics.split),
            f"{metrics.n:,}",
            f"{metrics.n_positive:,}",
            f"{metrics.precision:.3f}",
            f"{metrics.recall:.3f}",
            f"{metrics.average_precision:.3f}",
        )
        for metrics in manifest.metrics
    ]
    columns = ("split", "images", "of the class", "precision", "recall", "average precision")
    return (
        f"## Measured\n\nOn {_plain(manifest.provenance.data_set)} "
        f"({_plain(manifest.provenance.fingerprint)}), at a score of 0. The score was calibrated "
        f"on {manifest.calibration.n:,} images of {_plain(manifest.calibration.split)}.\n\n"
        + _table(columns, rows)
    )


def _cost(manifest: Manifest) -> str:
    rows = [
        (title, f"{own:,}", f"{whole:,}", f"{own / whole:.1%}" if whole else "")
        for title, own, whole in (
            ("parameters", manifest.n_parameters, manifest.origin.n_parameters),
            ("multiply-accumulates an image", manifest.macs, manifest.origin.macs),
            ("bytes of tensors", manifest.size_bytes, manifest.origin.size_bytes),
        )
    ]
    return (
        f"## Size\n\nIt retains {manifest.kernel_retention_rate:.1%} of the kernels of its "
        f"origin, {_plain(manifest.origin.architecture)} with "
        f"{len(manifest.origin.classes)} classes.\n\n"
        + _table(("", "this module", "its origin", "share"), rows)
    )


def _use(manifest: Manifest) -> str:
    return (
        "## Use\n\n"
        f"```shell\nmodpm install {manifest.name}\nmodpm compose {manifest.name} -o classifier\n"
        "modpm predict classifier photo.png\n```\n\n"
        f'```python\nimport modpm\nmodule = modpm.load("{manifest.name}")  # a torch.nn.Module\n'
        f'classifier = modpm.compose(["{manifest.name}"])  # and others beside it\n```\n'
    )


def _source(manifest: Manifest) -> str:
    origin, provenance = manifest.origin, manifest.provenance
    accuracy = "not measured" if origin.accuracy is None else f"{origin.accuracy:.2%}"
    rows = [
        ("origin", f"`{origin.digest}`"),
        ("accuracy of the origin", accuracy),
        ("method", _plain(manifest.modularizer.method)),
        *_criterion(manifest),
        ("seed", "none" if provenance.seed is None else str(provenance.seed)),
        ("authors", ", ".join(map(_plain, manifest.authors)) or "not named"),
    ]
    return "## Where it comes from\n\n" + _table(("", ""), rows)


def _criterion(manifest: Manifest) -> list[tuple[str, str]]:
    threshold = manifest.modularizer.threshold
    return [] if threshold is None else [("threshold", f"{threshold:g}")]


def _licence(manifest: Manifest) -> str:
    return f"## Licence\n\n{_plain(manifest.licence)}\n"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _plain(text: str) -> str:
    return _MARKUP.sub(r"\\\1", _line(text))


def _line(text: str) -> str:
    """Return text on one line, without characters that nobody can see."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "?"
