"""Text of strangers is text: what others wrote is shown, and steers no terminal."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest

from modpm.cli.main import main
from modpm.core.formats.distribution import read_distribution, write_distribution
from modpm.core.shown_text import as_text
from modpm.registry.backends.directory import DirectoryRegistry

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "\x1b]0;owned\x07\x1b[2J[bold]\x9b31m\u202eevil\u2066\u200b\x7f\rerror: no\nhint: run rm"
"""A title, a cleared screen, markup, a C1 sequence, turned text, and lines of its own."""

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Outcome(NamedTuple):
    """What a verb printed."""

    code: int
    out: str
    err: str


pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def registry(tmp_path: Path, repository: Path) -> Path:
    """Return a registry whose owner says hostile things wherever something may be said."""
    golden = read_distribution(repository / "specs" / "vectors" / "distribution" / "digits-7")
    manifest = golden.module_manifest
    files = {name: (golden.folder / name).read_bytes() for name in manifest.files}
    label = "digits/7\x9b31m\u202eevil[bold]"  # a label holds no characters below a space
    origin = msgspec.structs.replace(manifest.origin, classes=[*manifest.origin.classes[1:], label])
    metrics = [msgspec.structs.replace(m, split=HOSTILE) for m in manifest.metrics]
    provenance = msgspec.structs.replace(manifest.provenance, data_set=HOSTILE)
    place = DirectoryRegistry(tmp_path / "registry")
    for version in ("1.0.0", "1.1.0"):
        hostile = msgspec.structs.replace(
            manifest,
            version=version,
            label=label,
            summary=HOSTILE,
            authors=[HOSTILE],
            origin=origin,
            metrics=metrics,
            provenance=provenance,
        )
        made = write_distribution(tmp_path / "dist", hostile, files, overwrite=True)
        place.publish([made])
        shutil.rmtree(made.folder)
    index = tmp_path / "registry" / "digits" / "7" / "index.json"
    document = json.loads(index.read_bytes())
    for release in document["releases"]:
        release["yanked"] = HOSTILE if release["version"] == "1.1.0" else None
    index.write_bytes(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
    return tmp_path / "registry"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


class Run:
    """Runs `modpm` and checks that nothing that it prints steers a terminal."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Outcome:
        self._capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        outcome = Outcome(code, *self._capsys.readouterr())
        for printed in (outcome.out, outcome.err):
            assert STEERING.search(printed) is None, printed
            assert not any(line.startswith("hint: run rm") for line in printed.splitlines())
        return outcome


def test_every_verb_that_shows_escapes_what_others_wrote(run: Run, registry: Path) -> None:
    install = run("install", "digits/7<1.1", "--registry", registry)
    assert install.code == 0
    assert r"\u001b[2J[bold]" in run("info", "digits/7").out  # shown, and not left out
    assert r"\u009b31m\u202eevil[bold]" in run("search", "--registry", registry).out
    for verb in ("list", "tree", "outdated", "verify", "sync"):
        run(verb)
    run("why", "digits/7")


def test_reasons_of_yanked_releases_are_text(run: Run, registry: Path) -> None:
    assert r"\u001b[2J" in run("install", "digits/7>1", "--registry", registry).err
    assert r"\u001b[2J" in run("install", "digits/7==1.1.0", "--registry", registry).err
    for arguments in (["install"], ["outdated"], ["info", "digits/7"], ["lock"], ["update"]):
        run(*arguments)


def test_json_stays_json_and_says_the_same(run: Run, registry: Path) -> None:
    outcome = run("info", "digits/7==1.0.0", "--registry", registry, "--json")

    data = json.loads(outcome.out)
    assert data["manifest"]["summary"] == HOSTILE
    assert data["manifest"]["authors"] == [HOSTILE]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        [f"no-such-verb{HOSTILE}"],
        ["install", f"digits/7{HOSTILE}"],
        ["info", f"digits/7@{HOSTILE}"],
        ["list", f"--option{HOSTILE}"],
        ["list", "--project", f"folder{HOSTILE}"],
        ["search", "--registry", f"s3:{HOSTILE}"],
        ["list", "--project", "not\udcffutf-8"],
    ],
)
def test_errors_quote_what_was_said_as_text(
    run: Run, arguments: list[str], *, as_json: bool
) -> None:
    outcome = run(*arguments, *(["--json"] if as_json else []))

    assert outcome.code in {1, 2}
    if as_json:
        assert json.loads(outcome.out)["error"]["code"]


def test_a_damaged_index_is_quoted_as_text(run: Run, registry: Path) -> None:
    index = registry / "digits" / "7" / "index.json"
    index.write_bytes(json.dumps({HOSTILE: HOSTILE, "format_version": HOSTILE}).encode())

    assert run("install", "digits/7", "--registry", registry).code == 1


def test_text_that_is_read_is_left_as_it_is() -> None:
    for text in ("naïve café", "猫と犬", "می‌خواهم", "👩‍🔬 100 %", "a\u00a0b", r"C:\new"):
        assert as_text(text) == text
