"""What the Hugging Face Hub makes of a model card's front matter, and what it refuses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped]  # it has no types

if TYPE_CHECKING:
    from collections.abc import Iterator

_FRONT_MATTER = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
# https://huggingface.co/docs/hub/model-cards#specifying-a-base-model
RELATIONS = frozenset({"adapter", "finetune", "merge", "quantized"})
_DATA_SET = re.compile(r"(?:[\w-]+/)?[\w.-]+", re.ASCII)

# https://huggingface.co/docs/hub/repositories-licenses
LICENSES = frozenset(
    """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause
    bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
    eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl
    mpl-2.0 odc-by odbl osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr unknown other
    """.split()  # noqa: SIM905 -- read as the table that it is
)


def front_matter(card: str) -> Any:  # noqa: ANN401 -- whatever the YAML holds
    """Return the metadata of a card; None if there are none."""
    found = _FRONT_MATTER.match(card)
    return None if found is None else yaml.safe_load(found[1])


def tags_of(card: str) -> list[str]:
    """Return the tags that a repository of this card is found by."""
    metadata = front_matter(card) or {}
    given = [*metadata.get("tags", []), metadata.get("library_name"), metadata.get("pipeline_tag")]
    given += [f"dataset:{name}" for name in metadata.get("datasets", [])]
    given += [f"license:{metadata['license']}"] if "license" in metadata else []
    return [tag for tag in dict.fromkeys(given) if tag is not None]


def card_problems(card: str) -> Iterator[str]:
    """Give what the Hub would not accept."""
    try:
        metadata = front_matter(card)
    except yaml.YAMLError as error:
        yield f"the front matter is no YAML: {error}"
        return
    if not isinstance(metadata, dict):
        yield "the front matter is no mapping"
        return
    if metadata.get("license", "other") not in LICENSES:
        yield f'"license" must be one of the known ones, and is {metadata["license"]!r}'
    if metadata.get("license") == "other" and "license_name" not in metadata:
        yield '"license_name" is missing'
    for key in ("tags", "datasets"):
        if not _is_texts(metadata.get(key, [])):
            yield f'"{key}" must be a list of texts'
    for name in metadata.get("datasets", []):
        if not _DATA_SET.fullmatch(str(name)):
            yield f'"datasets" holds {name!r}, which is no data set'
    yield from _base_problems(metadata)
    for model in metadata.get("model-index", []):
        yield from _model_problems(model)


def _base_problems(metadata: dict[str, Any]) -> Iterator[str]:
    for name in metadata.get("base_model", []):
        if not _REPOSITORY.fullmatch(str(name)):
            yield f'"base_model" holds {name!r}, which is no repository'
    if metadata.get("base_model_relation", "merge") not in RELATIONS:
        yield f'"base_model_relation" is {metadata["base_model_relation"]!r}'
    if not isinstance(metadata.get("thumbnail", ""), str):
        yield '"thumbnail" must be a text'


def _model_problems(model: Any) -> Iterator[str]:  # noqa: ANN401 -- whatever the YAML holds
    if not isinstance(model.get("name"), str):
        yield '"model-index.name" is missing'
    for result in model.get("results", []):
        if not isinstance(result.get("task", {}).get("type"), str):
            yield '"task.type" is missing'
        data_set = result.get("dataset", {})
        if not _DATA_SET.fullmatch(str(data_set.get("type", ""))):
            yield f'"dataset.type" fails to match the required pattern: {data_set.get("type")!r}'
        if not isinstance(data_set.get("name"), str):
            yield '"dataset.name" is missing'
        for metric in result.get("metrics", []):
            if not isinstance(metric.get("type"), str) or "value" not in metric:
                yield "a metric has a type and a value"


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
