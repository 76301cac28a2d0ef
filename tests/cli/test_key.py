from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from subprocess import PIPE
from typing import TYPE_CHECKING

from tests.cli.conftest import Outcome

from modpm.registry.signing.keys import read_public_key, read_signing_key

if TYPE_CHECKING:
    from collections.abc import Sequence
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


def type_into(here: Path, lines: Sequence[str], *arguments: str) -> Outcome:
    """Run `modpm` on a terminal that somebody types into, a line at each question."""
    keyboard, terminal = pty.openpty()
    command = [sys.executable, "-m", "modpm.cli", *arguments]
    with subprocess.Popen(
        command, stdin=terminal, stdout=PIPE, stderr=PIPE, cwd=here, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        asked = b""
        for line in lines:
            # The space comes when the terminal shows no more what is typed.
            while not asked.endswith(b": "):
                read = process.stderr.read(1)
                assert read, asked
                asked += read
            os.write(keyboard, f"{line}\n".encode())
            asked += b"\n"
        out, err = process.communicate(timeout=60)
    os.close(keyboard)
    os.close(terminal)
    return Outcome(process.returncode, out.decode(), (asked + err).decode())


def test_a_passphrase_is_asked_for_and_not_shown(here: Path, dist: Path) -> None:
    words = "open sesame"
    made = type_into(here, [words, words], "key", "new", "-o", "my.pem", "--passphrase")
    signed = type_into(here, [words], "publish", str(dist), "--sign", "my.pem")

    assert (made.code, signed.code) == (0, 0)
    for outcome in (made, signed):
        assert "assphrase" in outcome.err
        assert words not in outcome.out + outcome.err
    assert read_signing_key(here / "my.pem", lambda: words).public.key_id in made.out
