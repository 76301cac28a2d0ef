"""What cards are made of: front matter as the Hub takes it, tables, and text that is no markup."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from huggingface_hub.repocard_data import CardData

from modpm.core.errors import ModpmError
from modpm.core.formats.names import normalize
from modpm.core.formats.release_files import PICTURE_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modpm.core.formats.manifest import ReleaseManifest

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)

# https://huggingface.co/docs/hub/repositories-licenses; those of them that SPDX has, too.
_HUB_LICENSES = frozenset(
    """
    afl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc-by-2.0
    cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-1.0
    epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 isc lppl-1.3c mit mpl-2.0 ms-pl ncsa ofl-1.1 osl-3.0
    postgresql unlicense wtfpl zlib
    """.split()  # noqa: SIM905 -- read as the table that it is
)
_MARKUP = re.compile(r"([\\`*_\[\]<>|#])")


def with_front_matter(metadata: Mapping[str, Any], body: str) -> str:
    """Return the text of a card."""
    return f"---\n{CardData(**metadata).to_yaml(line_break=chr(10))}\n---\n\n{body}"


def hub_license(license: str) -> dict[str, str]:
    """Return what the front matter says of a license (an SPDX license expression)."""
    # The Hub knows some licenses, by their identifiers in lower case, and no expressions.
    if license.lower() in _HUB_LICENSES:
        return {"license": license.lower()}
    return {"license": "other", "license_name": license, "license_link": "LICENSE"}


def is_hub_id(data_set: str) -> bool:
    """Tell whether a data set can be one of the Hub."""
    return _HUB_ID.fullmatch(data_set) is not None


def result(task: str, data_set: str, split: str, metrics: Mapping[str, float]) -> dict[str, Any]:
    """Return one result of a `model-index`."""
    name = line(data_set)
    return {
        "task": {"type": "image-classification", "name": task},
        # The Hub takes ids only.
        "dataset": {
            "type": name if is_hub_id(name) else "private",
            "name": name,
            "split": line(split),
        },
        "metrics": [{"type": kind, "value": value} for kind, value in metrics.items()],
    }


def class_tag(label: str) -> str | None:
    """Return the tag that a label's class is found by; None if its name has no normal form."""
    try:
        return f"modpm-class:{normalize(label.partition('/')[2])}"
    except ModpmError:
        return None


def picture(manifest: ReleaseManifest) -> str:
    """Return the picture that stands for a release, if it has one."""
    if PICTURE_FILE not in manifest.all_pictures:
        return ""
    return f"![{manifest.name}]({PICTURE_FILE})\n\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def plain(text: str) -> str:
    """Return text on one line that shows as it is."""
    return _MARKUP.sub(r"\\\1", line(text))


def line(text: str) -> str:
    """Return text on one line, without characters that nobody can see."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "?"
