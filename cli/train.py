"""`modpm train`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from modpm.cli.options import device_option, numbers, size, skip_bad_option
from modpm.cli.output import emit, say
from modpm.cli.training_progress import is_main_process, shown_progress, with_settings_of
from modpm.core.shown_text import Percent

if TYPE_CHECKING:
    from modpm.core.training.run import Run


def _settings(
    _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, float]:
    """Read what each NAME=NUMBER says."""
    try:
        return {name: float(number) for name, number in (value.split("=", 1) for value in values)}
    except ValueError as error:
        raise click.BadParameter("give a name and a number, such as alpha=0.5") from error


@click.command(
    "train",
    epilog="Example: modpm train cifar10 --epochs 15 -o runs/cifar10",
)
@click.argument("data")
@click.option(
    "--arch",
    default="auto",
    show_default="by the size of the images",
    help="vgg16, resnet18, resnet20, simcnn, rescnn, small_vgg, digits_cnn; resnet18_large or "
    "mobilenet_v2, for images of more than 64 pixels; timm:NAME or "
    "torchvision:NAME; or a network of yours, package.module:factory.",
)
@click.option(
    "--width", default=1.0, show_default=True, help="Factor on the channels of every layer."
)
@click.option(
    "--init",
    type=click.Path(),
    help="Start from ordinary weights of the same architecture: .safetensors, or a .pth of tensors "
    "alone. Those of another number of classes get a new last layer.",
)
@click.option(
    "--pretrained",
    is_flag=True,
    default=None,
    help="Start from the weights that the library has of the network, or that its factory loads "
    "where it is told to. A factory that loads weights anyway is found out.",
)
@click.option("--epochs", default=30, show_default=True, help="Passes over the training data.")
@click.option("--lr", type=float, show_default="the method's", help="Peak learning rate.")
@click.option("--batch-size", default=128, show_default=True, help="Images a step.")
@click.option("--seed", default=0, show_default=True, help="Of everything that is drawn.")
@click.option(
    "--val-fraction",
    default=0.1,
    show_default=True,
    help="Share of the training images that is held out.",
)
@click.option(
    "--method",
    default="views",
    show_default=True,
    help="views shows the network its class modules while it trains; mwt and moda are modularizing "
    "while training and activation-driven training as published, for 200 epochs; plain is for "
    "comparison; or a method of yours, package.module:Class.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=NUMBER",
    callback=_settings,
    help="A setting of the method, such as alpha=0.5 of mwt. May be given again: contrastive=1.1, "
    "alpha=0 and beta=0 give mwt the loss of NeMo.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default="bfloat16 on an accelerator",
    help="Of convolutions and products.",
)
@device_option
@click.option(
    "--deterministic",
    is_flag=True,
    help="The same bytes on every run on an accelerator, too; on a processor they always are.",
)
@click.option(
    "--retention",
    default=0.32,
    show_default=True,
    help="Share of the kernels that a class module keeps, which views prepares.",
)
@click.option(
    "--mean",
    metavar="NUMBERS",
    callback=numbers,
    show_default="that of a library's weights, with --pretrained, or of the data",
    help="Normalization: a mean for each channel, joined by commas.",
)
@click.option(
    "--std",
    metavar="NUMBERS",
    callback=numbers,
    help="Normalization: a standard deviation for each channel.",
)
@skip_bad_option
@click.option(
    "--image-size",
    metavar="PIXELS|HEIGHTxWIDTH",
    callback=size,
    show_default="that of most images",
    help="Size to bring every image to: scaled until it is covered, and cut.",
)
@click.option(
    "--augment",
    multiple=True,
    type=click.Choice(["resized-crop", "jitter", "rand-augment"]),
    help="Besides a cut and a mirror: parts of the image in its size, other colors, RandAugment. "
    "Needs the extra `augment`. May be given again.",
)
@click.option(
    "--flip/--no-flip",
    default=True,
    show_default="unless classes are characters or sides",
    help="Mirror half of the images.",
)
@click.option("--balance", is_flag=True, help="Draw images so that each class comes equally often.")
@click.option(
    "--label-smoothing",
    default=0.0,
    show_default=True,
    help="Share of the target that all classes share.",
)
@click.option(
    "--open-set",
    type=click.Choice(["rotation", "logitnorm"]),
    help="Train for more than the classes, so that images of no class are told better: with "
    "rotation the network tells, too, by how much images are turned, in twice the time; with "
    "logitnorm it cannot be sure by the length of its logits.",
)
@click.option(
    "--keep-best",
    is_flag=True,
    help="Keep the network of the epoch that was best on held-out images.",
)
@click.option(
    "--patience",
    type=int,
    metavar="EPOCHS",
    help="End when so many epochs have brought nothing better, and keep the best.",
)
@click.option(
    "--log",
    type=click.Choice(["tensorboard"]),
    help="Write the epochs for TensorBoard, too, into RUN/tensorboard. Needs the extra "
    "`tensorboard`.",
)
@click.option(
    "--resume", is_flag=True, help="Continue the run in RUN; its settings need not be repeated."
)
@click.option("-o", "--output", required=True, metavar="RUN", help="The run folder to make.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    output: str,
    resume: bool,
    as_json: bool,
    **settings: Any,  # noqa: ANN401 -- passed on as they are
) -> None:
    """Train a network on DATA that can be cut into class modules.

    RUN gets the network and report.html, to look at.

    DATA is digits, a folder of parquet files, a folder of class-named folders of images, or a
    data set of the Hugging Face Hub.

    A network of yours is a function or class that makes an nn.Module with one output for each
    class, and that can be imported from the working directory. It is given the number of classes
    (n_classes, num_classes), of the images' channels (in_channels, in_chans), --width and
    --pretrained (width, pretrained), as far as it has parameters of these names; all others need
    defaults.
    """
    from modpm.core.training.loop import train  # noqa: PLC0415 -- so that --help needs no torch

    if resume:
        settings = with_settings_of(output, ctx, settings)
    with shown_progress() as report:
        run = train(output=output, resume=resume, progress=report, report=say, **settings)
    if is_main_process():
        _print(run, as_json=as_json)


def _print(run: Run, *, as_json: bool) -> None:
    epoch = run.finished().epoch or len(run.metrics())
    last = run.metrics()[epoch - 1]
    if not as_json:
        kept = f", after epoch {epoch}" if epoch < len(run.metrics()) else ""
        accuracy = Percent(last["val_accuracy"])
        say(f"{run.folder} is trained: {accuracy} on held-out images{kept}")
        return
    names = ("val_accuracy", "kernel_retention_rate", "loss")
    measures = {name: last[name] for name in names if name in last}
    emit(
        {
            "run": str(run.folder),
            "digest": run.digest(),
            "classes": list(run.classes),
            "epochs": len(run.metrics()),
            "epoch": epoch,
            **measures,
            "seconds": sum(line["seconds"] for line in run.metrics()),
        }
    )
