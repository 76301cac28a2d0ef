from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.registry.owners import slip_in

from modpm.registry.signing.keys import read_public_key, read_signing_key

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


@pytest.fixture
def key_id(run: Run, here: Path) -> str:
    run("key", "new", "-o", "my.pem")
    return read_public_key(here / "my.pub").key_id


def test_nobody_is_trusted_at_first(run: Run) -> None:
    outcome = run("trust", "list")

    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == "no keys are trusted; the first that is seen will be\n"


def test_what_is_trusted_is_listed(run: Run, key_id: str) -> None:
    added = run("trust", "add", "Digits", "my.pub")
    unsigned = run("trust", "add", "mnist", "--unsigned")

    assert (added.code, added.err) == (0, f"digits may be signed with {key_id}\n")
    assert (unsigned.code, unsigned.err) == (0, "unsigned releases of mnist are accepted\n")
    rows = [line.split() for line in run("trust", "list").out.splitlines()]
    assert rows == [
        ["namespace", "trusted", "key"],
        ["digits", "added", key_id],
        ["mnist", "unsigned,", "too", "-"],
    ]
    assert json.loads(run("trust", "list", "--json").out) == {
        "keys": [{"namespace": "digits", "key_id": key_id}],
        "unsigned": ["mnist"],
        "first_used": {},
    }


def test_what_is_trusted_can_be_removed(run: Run, key_id: str) -> None:
    run("trust", "add", "digits", "my.pub", "--unsigned")

    outcome = run("trust", "remove", "digits", key_id, "--unsigned")
    again = run("trust", "remove", "digits", "my.pub")

    assert outcome.err.splitlines() == [
        "unsigned releases of digits are accepted no longer",
        f"digits may no longer be signed with {key_id}",
    ]
    assert again.code == 1
    assert again.err.startswith(f"error: the key {key_id} is not trusted with `digits`")


def test_a_namespace_alone_takes_all_away_that_is_known_of_it(
    run: Run, dist: Path, tmp_path: Path, key_id: str
) -> None:
    run("publish", dist / "7-1.0.0", "--sign", "my.pem", "--registry", tmp_path / "signed")
    run("install", "digits/7", "--registry", tmp_path / "signed")
    run("trust", "add", "digits", "--unsigned")
    run("trust", "add", "mnist", "my.pub")

    outcome = run("trust", "remove", "digits")

    assert (outcome.code, outcome.err.splitlines()) == (
        0,
        [
            f"digits may no longer be signed with {key_id}",
            "the next key that digits is met with will be trusted",
        ],
    )
    assert json.loads(run("trust", "list", "--json").out) == {
        "keys": [{"namespace": "mnist", "key_id": key_id}],
        "unsigned": [],
        "first_used": {},
    }
    again = run("trust", "remove", "digits")
    assert again.code == 1
    assert again.err.startswith("error: nothing is known of whom `digits` is trusted to")


def test_something_must_be_named_to_be_trusted(run: Run) -> None:
    outcome = run("trust", "add", "digits")

    assert outcome.code == 2
    assert outcome.err.startswith("error: neither a key nor `--unsigned` is named")


def test_trust_mends_a_namespace_with_a_new_key(
    run: Run, dist: Path, here: Path, tmp_path: Path, key_id: str
) -> None:
    registry = tmp_path / "signed"
    run("key", "new", "-o", "new.pem")
    run("publish", dist / "7-1.0.0", "--sign", "my.pem", "--registry", registry)
    assert run("install", "digits/7", "--registry", registry).code == 0
    slip_in(dist / "7-1.1.0", registry, read_signing_key(here / "new.pem", lambda: None))

    refused = run("install", "digits/7>=1.1")
    assert refused.code == 1
    assert f"you have used it first with: {key_id}" in refused.err
    assert "run `modpm trust add digits KEY.pub`" in refused.err

    run("trust", "add", "digits", "new.pub")
    assert run("install", "digits/7>=1.1").code == 0
