"""Every block of code of the pages runs, in their order, on a reader's small folder of photos."""

from __future__ import annotations

import shutil
import tomllib
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.conftest import REPOSITORY
from tests.pages.blocks import QUIET, RUN, blocks, run_document
from tests.pages.reader import become_reader
from tests.pages.typing_in import words_of

if TYPE_CHECKING:
    from pathlib import Path

DOCS = REPOSITORY / "docs"
TUTORIAL = DOCS / "tutorial.md"
LARGE_PHOTOS = DOCS / "large-photos.md"  # which has a test and photos of its own
PAGES = sorted(
    path for path in DOCS.rglob("*.md") if blocks(path) and path not in (TUTORIAL, LARGE_PHOTOS)
)
NEEDY = {
    "README.md": 1,
    "docs/browse.md": 2,
    "docs/howto/hub.md": 1,
    "docs/howto/networks.md": 1,
    "docs/howto/s3.md": 2,
    "docs/methods.md": 1,
    "docs/tutorial.md": 1,
}
"""How many blocks of which document need what no test has."""


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@pytest.fixture(scope="module")
def after_tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tutorial")
    become_reader(folder)
    (folder / "printed").write_text(run_document(TUTORIAL, folder), "utf-8")
    return folder


@pytest.mark.slow
def test_the_tutorial_makes_a_classifier_that_knows_the_photo(after_tutorial: Path) -> None:
    printed = (after_tutorial / "printed").read_text("utf-8")

    assert (after_tutorial / "modules").is_dir()
    assert "photo.png" in printed
    assert "cat" in printed


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_a_page_runs_after_the_tutorial(
    page: Path, after_tutorial: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(after_tutorial, tmp_path / "reader", symlinks=True)
    run_document(page, folder)


def test_blocks_that_need_what_no_test_has_are_counted() -> None:
    documents = [REPOSITORY / "README.md", *DOCS.rglob("*.md")]
    needy = Counter(name_of(path) for path in documents for one in blocks(path) if one.needs)
    assert needy == NEEDY


@pytest.mark.parametrize("page", [TUTORIAL, LARGE_PHOTOS, *PAGES], ids=name_of)
def test_every_block_is_run_or_is_nothing_to_run(page: Path) -> None:
    n_fences = page.read_text("utf-8").count("```")
    assert n_fences == 2 * len(blocks(page))
    for block in blocks(page):
        assert block.language in RUN | QUIET
        if block.language == "toml":
            tomllib.loads(block.code)


def test_a_page_that_fails_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\nmodpm --version\n```\n\n<!-- needs: luck -->\n```sh\nfalse\n```\n", "utf-8"
    )
    assert run_document(page, tmp_path).startswith("modpm")

    page.write_text("```python\nraise SystemExit(1)\n```\n", "utf-8")
    with pytest.raises(AssertionError, match=r"page\.md"):
        run_document(page, tmp_path)
    page.write_text("```sh\nmodpm info no/such --offline\n```\n", "utf-8")
    with pytest.raises(AssertionError, match="exit code 1: modpm info"):
        run_document(page, tmp_path)


@pytest.mark.parametrize("line", ["rm -rf /", "modpm list > x", "modpm publish dist/*", "modpm $X"])
def test_a_line_that_a_shell_would_change_is_no_command(line: str) -> None:
    with pytest.raises(ValueError, match=r"not a command|more than words"):
        words_of(line)


def test_a_command_has_the_words_that_a_shell_gives_it() -> None:
    assert words_of('modpm install "photos/*" "a/b>=1,<2"  # all') == [
        "install",
        "photos/*",
        "a/b>=1,<2",
    ]
    assert words_of("# nothing") == []
