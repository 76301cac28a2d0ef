"""`modpm export`."""

from __future__ import annotations

from typing import Literal

import click

from modpm.cli.output import emit, say


@click.command("export", epilog="Example: modpm export pets --format onnx -o pets.onnx")
@click.argument("classifier", metavar="CLF")
@click.option(
    "--format",
    type=click.Choice(["onnx"]),
    default="onnx",
    show_default=True,
    help="What to write.",
)
@click.option("-o", "--output", required=True, metavar="FILE", help="The file to write.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(classifier: str, format: Literal["onnx"], output: str, as_json: bool) -> None:  # noqa: A002 -- the option's name
    """Write a classifier as one ordinary file, checked against the classifier's own outputs.

    An ONNX file reads `images`, float32 (N, 3, height, width), red, green and blue from 0 to 1, of
    any size, which it brings to the size that its networks read, and gives `scores` (log-odds,
    where half of all images show the label) and `probabilities`, both (N, labels). It runs without
    modpm.
    """
    from modpm.verbs.exporting import export  # noqa: PLC0415 -- so that --help needs no torch

    written = export(classifier, output, format=format)
    if as_json:
        emit(
            {
                "path": str(written.path),
                "format": format,
                "size_bytes": written.size_bytes,
                "input_shape": list(written.input_shape),
                "labels": list(written.labels),
                "max_difference": written.max_difference,
            }
        )
        return
    _, height, width = written.input_shape
    say(
        f"{written.path}: {written.size_bytes:,} bytes, reads images of any size and brings them "
        f"to {width} x {height}; its probabilities differ from the classifier's by "
        f"{written.max_difference:.2g} at most"
    )
