"""`modpm finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modpm.cli.completion import installed_names
from modpm.cli.options import device_option, json_option, project_option, skip_bad_option
from modpm.cli.output import emit, say, show
from modpm.cli.pairs import map_option
from modpm.cli.training_progress import is_main_process, shown_progress, with_settings_of
from modpm.core.shown_text import Percent

if TYPE_CHECKING:
    from modpm.core.finetuning.finetune import FineTuned


@click.command(
    "finetune",
    epilog="Example: modpm finetune pets photos --epochs 5 -o better",
)
@click.argument("composition", shell_complete=installed_names)
@click.argument("data")
@click.option("--epochs", default=5, show_default=True, help="Passes over the images.")
@click.option("--lr", type=float, show_default="0.01", help="Peak learning rate.")
@click.option("--batch-size", default=128, show_default=True, help="Images a step.")
@click.option("--seed", default=0, show_default=True, help="Of everything that is drawn.")
@click.option(
    "--val-fraction",
    default=0.1,
    show_default=True,
    help="Share of the images of each class that is held out.",
)
@map_option
@click.option(
    "--flip/--no-flip",
    default=True,
    show_default="unless classes are characters or sides",
    help="Mirror half of the images.",
)
@skip_bad_option
@device_option
@click.option(
    "--resume",
    is_flag=True,
    help="Continue what was interrupted; its settings need not be repeated, but for --map.",
)
@project_option
@click.option("-o", "--output", required=True, metavar="CLF", help="The folder for the classifier.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    output: str,
    resume: bool,
    as_json: bool,
    **settings: Any,  # noqa: ANN401 -- passed on as they are
) -> None:
    """Train a composed classifier further, on labeled images of its labels.

    COMPOSITION is the folder of a composed classifier, or an installed composition. DATA is as for
    train: images of its split train are trained on, but for those that are held out, and images of
    other classes are left out.

    All networks of the classifier are trained at once. CLF is that of the epoch which is best on
    held-out images, and a composition as any other: it names the releases that it was made of, and
    what it was trained on. Where no epoch is better, CLF is the classifier as it was. CLF.run has
    what each epoch measured, and the state from which training goes on.
    """
    from modpm.core.finetuning.finetune import run_folder  # noqa: PLC0415 -- --help needs no torch
    from modpm.verbs.finetuning import finetune  # noqa: PLC0415 -- as above

    if resume:
        settings = with_settings_of(run_folder(Path(output)), ctx, settings)
    with shown_progress() as progress:
        made = finetune(output=output, resume=resume, progress=progress, report=say, **settings)
    if is_main_process():
        _print(made, output, as_json=as_json)


def _print(made: FineTuned, path: str, *, as_json: bool) -> None:
    if as_json:
        emit(
            {
                "path": path,
                "run": str(made.run),
                "is_better": made.is_better,
                "accuracy": {"before": made.accuracy_before, "after": made.accuracy_after},
                "n_held_out": made.n_held_out,
                "epoch": made.epoch,
            }
        )
        return
    before, after = Percent(made.accuracy_before), Percent(made.accuracy_after)
    measured = f"accuracy {before}, after epoch {made.epoch} {after}"
    show(f"{measured} of {made.n_held_out:,} held-out images")
    for note in made.notes:
        say(note)
    say(
        f"{path} is fine-tuned"
        if made.is_better
        else f"no epoch is better: {path} is the composition as it was"
    )
