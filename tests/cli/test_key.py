from __future__ import annotations

import json
from typing import TYPE_CHECKING

from modpm.registry.signing.keys import read_public_key, read_signing_key

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from tests.cli.conftest import Run


def test_a_key_is_made_in_the_home(run: Run, tmp_path: Path) -> None:
    outcome = run("key", "new")

    path = tmp_path / "home" / "keys" / "signing.pem"
    assert outcome.code == 0
    assert outcome.out == f"{read_public_key(path.with_suffix('.pub')).key_id}\n"
    assert outcome.err == (
        f"private key: {path} (keep it secret, and keep a copy)\n"
        f"public key:  {path.with_suffix('.pub')} (give it to those who install your modules)\n"
    )


def test_json_names_the_files(run: Run, here: Path) -> None:
    data = json.loads(run("key", "new", "-o", "my.pem", "--json").out)

    assert data["private_key"] == str(here / "my.pem")
    assert read_public_key(here / "my.pub").key_id == data["key_id"]


def test_a_key_that_is_there_stays(run: Run) -> None:
    run("key", "new", "-o", "my.pem")

    outcome = run("key", "new", "-o", "my.pem")

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: `my.pem` exists\n")


def test_the_environment_gives_a_passphrase(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch, dist: Path
) -> None:
    monkeypatch.setenv("MODPM_KEY_PASSPHRASE", "open sesame")
    made = run("key", "new", "-o", "my.pem")
    assert read_signing_key(here / "my.pem", lambda: "open sesame").public.key_id in made.out

    assert run("publish", dist, "--sign", "my.pem").code == 0
    monkeypatch.setenv("MODPM_KEY_PASSPHRASE", "open barley")
    outcome = run("publish", dist, "--sign", "my.pem")
    monkeypatch.delenv("MODPM_KEY_PASSPHRASE")
    unasked = run("publish", dist, "--sign", "my.pem")

    assert (outcome.code, unasked.code) == (1, 1)
    assert "because: the passphrase does not open it" in outcome.err
    assert "barley" not in outcome.out + outcome.err
    assert "because: it is encrypted, and no passphrase was given" in unasked.err
