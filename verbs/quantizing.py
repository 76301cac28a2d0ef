"""Quantizing: variants of class modules with weights and values of 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modpm.core.errors import ModpmError
from modpm.core.formats.release_files import INT8
from modpm.core.quantizing.variant import Quantization, quantize_modules
from modpm.core.system.whole_files import is_free
from modpm.core.training.device import AUTO, choose_device
from modpm.registry.publication.publishing import distribution_folders
from modpm.verbs.loading import installed_module, load

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from modpm.core.classifiers.class_module import ClassModule


def quantize(
    modules: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    data: str | Path,
    kind: Literal["int8"] = INT8,  # noqa: ARG001 -- there is one so far
    skip_bad: bool = False,
    device: str = AUTO,
    project: str | os.PathLike[str] = ".",
    progress: Callable[[str, int, int], None] = lambda _what, _done, _of: None,
    report: Callable[[str], None] = lambda _sentence: None,
) -> Quantization:
    """Make variants of class modules with weights and values of 8 bits, to be published too.

    Weights are rounded kernel by kernel and values node by node; statistics and the score are taken
    anew, and precision and recall measured before and after. A variant has the name of the module
    and `-int8`, and its version.

    Args:
        modules: Names of installed modules, distributions, and folders of distributions; of one
            origin.
        output: The folder for the distributions; it must not exist, or be empty.
        data: What the modules were made of, as `train` takes it.
        kind: Of the variants: weights and values of 8 bits.
        skip_bad: Leave out images that cannot be decoded.
        device: Where networks run.
        project: A folder in the project.
        progress: Told how far it is.
        report: Is told in a sentence where the images are others than the modules were made of.

    Raises:
        ModpmError: `folder-exists`; what `load` and `quantize_modules` raise.
    """
    folder = Path(output)
    if not is_free(folder):
        raise ModpmError(
            f"`{folder.name}` exists",
            code="folder-exists",
            where=str(folder),
            hint="choose another folder with `-o`, or remove this one",
        )
    if not modules:
        raise ModpmError("no class module is named", code="usage", exit_code=2)
    return quantize_modules(
        [module for source in modules for module in _loaded(source, project)],
        data,
        folder,
        skip_bad=skip_bad,
        device=choose_device(device),
        progress=progress,
        report=report,
    )


def _loaded(
    source: str | os.PathLike[str], project: str | os.PathLike[str]
) -> Iterator[ClassModule]:
    """Give the module of that name, or those of a folder."""
    if installed_module(source, project) is None and Path(source).expanduser().is_dir():
        for folder in distribution_folders(Path(source).expanduser()):
            yield load(folder)
    else:
        yield load(source, project)
