"""What a distribution must say before it can be published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.registry.changed_distributions import GOLDEN, publishing_cases, write_changed

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.distribution import verify_distribution
from modpm.registry.publication.completeness import missing
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from pathlib import Path


def test_the_golden_distribution_is_complete() -> None:
    assert list(missing(verify_distribution(GOLDEN))) == []


@pytest.mark.parametrize("case", publishing_cases("complete"), ids=str)
def test_golden_complete_distributions_are_complete(tmp_path: Path, case: dict[str, Any]) -> None:
    assert list(missing(write_changed(tmp_path / "one", case["change"]))) == []


@pytest.mark.parametrize("case", publishing_cases("incomplete"), ids=str)
def test_golden_incomplete_distributions_are_refused(
    tmp_path: Path, registry: Path, case: dict[str, Any]
) -> None:
    distribution = write_changed(tmp_path / "one", case["change"], case["without"])

    with pytest.raises(ModpmError) as caught:
        publish([distribution.folder], registry)

    assert caught.value.code == case["code"]
    assert len(str(caught.value.why).splitlines()) == 1
    assert not registry.exists()


@pytest.mark.parametrize("card", ["", "# 7\n", "---\nlicense: mit\n---\nlibrary_name: modpm\n"])
def test_a_card_without_front_matter_is_none(tmp_path: Path, card: str) -> None:
    (tmp_path / "files").mkdir()
    data = card.encode()
    record = {"size_bytes": len(data), "digest": digest_bytes(data)}
    with pytest.raises(ModpmError):  # the golden card is not what the manifest names now
        write_changed(tmp_path / "one", {"files.README.md": record})
    (tmp_path / "one" / "README.md").write_bytes(data)

    lacks = list(missing(verify_distribution(tmp_path / "one")))

    assert lacks == ["the card has no front matter with `library_name: modpm`"]


def test_everything_that_is_missing_of_anything_is_named(tmp_path: Path, registry: Path) -> None:
    bad = {"license": "LicenseRef-unstated", "metrics": []}
    write_changed(tmp_path / "dist" / "a", bad, ["README.md"])
    write_changed(tmp_path / "dist" / "b", {"provenance.fingerprint": " "})
    write_changed(tmp_path / "dist" / "c", {})
    broken = write_changed(tmp_path / "dist" / "d", {"name": "digits/8"})
    (broken.folder / "LICENSE").write_text("none")

    with pytest.raises(ModpmError) as caught:
        publish([tmp_path / "dist"], registry)

    error = caught.value
    assert (error.code, error.what) == (
        "incomplete-distribution",
        "3 of 4 distributions cannot be published",
    )
    a, b, d = (tmp_path / "dist" / name for name in "abd")

    lacks_of_a = [
        "no license is stated (`modpm modularize --license SPDX`)",
        "there is no card, `README.md`",
        "it has no metrics",
    ]
    is_not_d = "the distribution `d` is not what its manifest says:"

    def says_not(name: str) -> str:
        return f"`{name}` does not say what those who rely on it need:"

    assert str(error.why).splitlines() == [
        f"{a}: {says_not('a')} {'; '.join(lacks_of_a)}",
        f"{b}: {says_not('b')} the fingerprint of its training data is not named",
        f"{d}: {is_not_d} LICENSE: has 4 bytes; the manifest says 63",
    ]
    assert not registry.exists()
