"""Tables: what they say is all there, and fits the terminal; and who has signed what."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING

import pytest

from modpm.cli.folding import Cell, laid_out
from modpm.registry.signing.keys import read_public_key

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run

_SHARE = "61.67 %"


def random_rows(random: Random) -> list[list[Cell]]:
    def text(n_words: int) -> str:
        words = ["x" * random.randint(1, 15), _SHARE]
        return " ".join(random.choice(words) for _ in range(n_words))

    n_columns = random.randint(1, 9)
    return [
        [Cell(text(1)) for _ in range(n_columns - 1)] + [Cell(text(random.randint(0, 12)))]
        for _ in range(random.randint(1, 5))
    ]


@pytest.mark.parametrize("seed", range(40))
def test_a_table_fits_the_terminal_and_breaks_no_word(seed: int) -> None:
    random = Random(seed)  # noqa: S311 -- for a test
    rows, limit = random_rows(random), random.randint(30, 120)

    lines = list(laid_out(rows, limit))

    assert max(map(len, lines)) <= limit
    said = [word for row in rows for cell in row for word in cell.text.split()]
    assert sorted(" ".join(lines).split()) == sorted(said)
    assert not any(line.strip().startswith("%") for line in lines)


def test_a_word_that_is_wider_than_the_terminal_is_left_whole() -> None:
    rows = [[Cell("name"), Cell("key")], [Cell("digits"), Cell("k" * 71)]]

    assert list(laid_out(rows, 40)) == ["name", "    key", "digits", "    " + "k" * 71]


def test_columns_say_how_wide_a_table_may_be(
    run: Run, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    for verb in ("search", "info"):
        told = ["digits/7"] if verb == "info" else []
        lines = run(verb, *told, "--registry", registry).out.splitlines()
        lines = [line for line in lines if " " in line.strip() and "registry" not in line]
        assert max(map(len, lines)) <= 40
        assert any(line.startswith("    ") for line in lines)


def test_who_has_signed_is_said_by_every_verb_that_shows_releases(
    run: Run, dist: Path, here: Path, tmp_path: Path
) -> None:
    signed = ("--registry", tmp_path / "signed")
    run("key", "new", "-o", "my.pem")
    key = read_public_key(here / "my.pub").key_id
    short = key.removeprefix("sha256:")[:12]

    published = run("publish", dist / "7-1.0.0", dist / "8-1.0.0", "--sign", "my.pem", *signed)
    listed = run("info", "digits/7", *signed)
    installed = run("install", "digits/*", *signed)
    run("publish", dist / "7-1.1.0", "--sign", "my.pem", *signed)

    assert installed.err.endswith(f"2 releases of digits signed with {short}\n")
    for shown in (published, run("list"), run("search"), run("outdated")):
        assert f"  {short}" in shown.out
    for shown in (listed, run("info", "digits/7")):
        assert f"signed with  {key}" in shown.out
    for verb in ("list", "search", "outdated", "install"):
        modules = json.loads(run(verb, "--json").out)["modules"]
        assert {module["signer"] for module in modules} == {key}
    assert json.loads(run("info", "digits/8", "--json").out)["signer"] == key


def test_what_is_newer_and_signed_with_another_key_is_said(
    run: Run, dist: Path, here: Path, tmp_path: Path
) -> None:
    signed = ("--registry", tmp_path / "signed")
    run("key", "new", "-o", "my.pem")
    key = read_public_key(here / "my.pub").key_id
    run("publish", dist / "7-1.0.0", *signed)
    run("install", "digits/7", *signed)
    run("publish", dist / "7-1.1.0", "--sign", "my.pem", *signed)

    outcome = run("outdated")

    assert f"what is newer is signed with {key}, and 1.0.0 with nothing" in outcome.err
    (module,) = json.loads(run("outdated", "--json").out)["modules"]
    assert (module["signer"], module["next_signer"]) == (None, key)
