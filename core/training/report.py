"""What a run came to, as one page for people: `report.html`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modpm.core.reports.page import Page
from modpm.core.reports.pictures import Line, curves
from modpm.core.shown_text import Percent
from modpm.core.system.energy import Spent, explained
from modpm.core.system.whole_files import write_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.training.run import Run

REPORT_FILE = "report.html"

_SHARES = ("accuracy", "rate")
"""How names of shares end."""

_NO_CURVE = {"epoch", "seconds", "joules", "device", "energy_by"}


def write_report(run: Run) -> None:
    """Write the report of a finished run into its folder.

    Raises:
        ModpmError: It cannot be written.
    """
    write_file(run.folder / REPORT_FILE, str(report_page(run)).encode())


def report_page(run: Run) -> Page:
    """Return the report of a finished run."""
    config, lines = run.config, run.metrics()
    page = Page(f"{config.arch}, {config.data}: {config.method}")
    kept = run.finished().epoch or len(lines)
    page.say(
        f"{Percent(run.val_accuracy)} of {run.record.n_validation:,} held-out images are named "
        f"rightly after epoch {kept} of {len(lines)}; {run.record.n_training:,} images were "
        f"trained on, of {len(run.classes)} classes: {', '.join(run.classes)}."
    )
    shares = [name for name in _measured(lines) if name.endswith(_SHARES)]
    losses = [name for name in _measured(lines) if name not in shares]
    _curves(page, "Losses", lines, losses)
    _curves(page, "Shares", lines, shares)
    page.section("Epochs")
    names = [name for name in dict.fromkeys(key for line in lines for key in line)
             if name not in {"device", "energy_by"}]  # fmt: skip
    page.table(names, [[line.get(name, "") for name in names] for line in lines])
    _costs(page, [line for line in lines if "joules" in line])
    page.section("Settings")
    settings = [(name, getattr(config, name)) for name in config.__struct_fields__]
    known = [*settings, *run.record.versions.items()]
    page.table(("setting", "value"), [(name, str(value)) for name, value in known])
    return page


def _costs(page: Page, lines: Sequence[dict[str, Any]]) -> None:
    if not lines:
        return
    page.section("What it took")
    total = Spent(*(sum(line[name] for line in lines) for name in ("seconds", "joules")))
    devices = ", ".join(dict.fromkeys(line["device"] for line in lines))
    page.say(f"{total} on {devices}.", f"{explained(lines[-1]['energy_by'], devices)}.")


def _measured(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Return what there are curves of, in the order of the epochs' lines."""
    return list(dict.fromkeys(key for line in lines for key in line if key not in _NO_CURVE))


def _curves(page: Page, title: str, lines: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    page.section(title)
    drawn = [
        Line(name, [(line["epoch"], line[name]) for line in lines if name in line])
        for name in names
    ]
    page.picture(curves(drawn, f"{title} over epochs", "epoch"))
