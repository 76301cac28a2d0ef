"""The page that modularizing writes for people."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import torch

from modpm.core.modularizing.fitting import Measured
from modpm.core.modularizing.report import confusion, reliability_of, report_page
from modpm.core.reports.page import Page
from modpm.core.reports.pictures import LARGEST_SIDE, Line, curves, grid, side_by_side

if TYPE_CHECKING:
    from modpm.core.modularizing.modularization import Modularization
    from modpm.core.origins.origin import OriginNetwork

HOSTILE = "<script>alert(1)</script>\"'&\u202e"
SECTIONS = ["Class modules", "Retained kernels", "Overlap", "Confusion, before and after",
            "How reliable scores are", "What it took"]  # fmt: skip


def test_the_report_has_all_that_was_found_and_needs_nothing_from_elsewhere(
    made: Modularization, origin: OriginNetwork
) -> None:
    text = (made.folder / "report.html").read_text("utf-8")
    assert re.findall("<h2>(.*?)</h2>", text) == SECTIONS
    assert text.count("<svg ") == 6  # of two matrices, one has two others within
    before = float((origin.test_logits.argmax(1) == origin.test.labels).double().mean())  # type: ignore[union-attr]  # the digits have a test split
    assert f"network: {100 * before:.2f} % are right" in text
    second = list(made.origin.graph.kernels())[1]
    assert f"<title>3, {second}: {float(made.retention[3, 1]):.3f}</title>" in text
    assert f"<title>0, 1: {float(made.overlap[0, 1]):.3f}</title>" in text
    assert made.costs is not None
    assert str(made.costs.making) in text
    assert "default-src 'none'" in text
    elsewhere = re.findall(r"""(?:src|href|url|import)\s*[=(]|<script|\bon\w+=""", text)
    assert elsewhere == []
    links = set(re.findall(r"https?://[^\s\"<]*", text))
    assert links == {"http://www.w3.org/2000/svg"}  # a name, which nothing is fetched by


def test_what_others_wrote_is_text() -> None:
    page = Page(HOSTILE)
    page.section(HOSTILE)
    page.say(HOSTILE)
    page.table([HOSTILE], [[HOSTILE]])
    page.picture(grid([[0.5]], [HOSTILE], [HOSTILE], HOSTILE))
    page.picture(curves([Line(HOSTILE, [(0, 1)])], HOSTILE, HOSTILE))
    page.picture(side_by_side({HOSTILE: grid([[0.5]], ["a"], ["b"], "c")}))
    text = str(page)
    assert "<script" not in text
    assert "\u202e" not in text
    assert text.count("&lt;script&gt;alert(1)") >= 13


def test_shares_of_confusion_are_of_each_class() -> None:
    labels, found = torch.tensor([0, 0, 0, 0, 2]), torch.tensor([0, 1, 1, 1, 2])
    assert confusion(labels, found, 3).tolist() == [[0.25, 0.75, 0], [0, 0, 0], [0, 0, 1]]


def test_scores_that_say_what_is_so_are_reliable() -> None:
    chance = torch.Generator().manual_seed(0)
    n, share = 20_000, 0.2
    labels = (torch.rand(n, generator=chance) >= share).long()  # class 0 is a fifth
    odds = 4.0  # a feature that is four times as common among images of class 0
    has_it = torch.rand(n, generator=chance) < torch.where(labels == 0, 0.8, 0.2)
    of_first = torch.where(has_it, 1.0, -1.0) * torch.tensor(odds).log()
    bins, error = reliability_of(labels, torch.stack([of_first, -of_first], dim=1))
    assert error < 0.01
    assert sum(n_scores for _, _, n_scores in bins) == 2 * n
    # By Bayes: 0.2 * 0.2 of 0.2 * 0.2 + 0.8 * 0.8, and 0.8 * 0.2 of 0.8 * 0.2 + 0.2 * 0.8.
    assert bins[0][:2] == pytest.approx((0.04 / 0.68, 0.04 / 0.68), abs=0.01)
    assert bins[-1][:2] == pytest.approx((0.64 / 0.68, 0.64 / 0.68), abs=0.01)
    assert all(said == pytest.approx(so, abs=0.02) for said, so, _ in bins)
    _, wrong = reliability_of(labels, torch.stack([-of_first, of_first], dim=1))
    assert wrong > 0.3


def test_of_many_classes_the_first_are_drawn() -> None:
    names = [f"class {i}" for i in range(500)]
    picture = grid([[0.5] * 500] * 500, names, names, "many")
    assert picture.count("<rect") == LARGEST_SIDE**2
    assert len(picture) < 1_000_000


def test_a_report_without_test_images_is_of_held_out_ones(
    made: Modularization, origin: OriginNetwork
) -> None:
    labels = origin.validation.labels
    scores = torch.zeros(len(labels), 10)
    page = str(
        report_page(made, origin, Measured("train, held out", labels, scores, [], []), ["told"])
    )
    right = float((origin.validation_logits.argmax(1) == labels).double().mean())
    assert f"network: {100 * right:.2f} % are right" in page
    assert "<p>told</p>" in page
