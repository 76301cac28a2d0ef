"""What the installed class modules say of a picture."""

from __future__ import annotations

import io
import math
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from modpm.browsing.words import probability
from modpm.core.errors import ModpmError
from modpm.core.shown_text import as_text
from modpm.registry.installing.installed import installed

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Sequence

    from modpm.core.classifiers.class_module import ClassModule

MAX_PICTURE_BYTES = 64 * 1024 * 1024
MAX_SCORED = 100


class Score(NamedTuple):
    """What one module says.

    Attributes:
        name: The module.
        label: What it recognizes.
        score: Its calibrated log-odds.
        probability: The same as a probability.
    """

    name: str
    label: str
    score: float
    probability: float


class Scorer:
    """Scores pictures by the modules that a project has installed; loads each of them once.

    Args:
        project: A folder in the project.
    """

    def __init__(self, project: str | os.PathLike[str]) -> None:
        self._project = project
        self._loaded: dict[str, ClassModule] = {}
        self._lock = Lock()

    def scores(self, picture: bytes, names: Collection[str] = ()) -> list[Score]:
        """Return what modules say of a picture, the most likely first.

        Args:
            picture: An encoded image.
            names: Ask only these, of those that are installed; none for all.

        Raises:
            ModpmError: `bad-image`; `not-installed`, if none of them is; what loading raises.
        """
        from modpm.core.data import decode_image  # noqa: PLC0415 -- imports torch

        image = decode_image(io.BytesIO(picture), "the picture")
        with self._lock:
            modules = self._modules(names)
            found = [
                self._score(name, one, one.score_images(image).item()) for name, one in modules
            ]
        if not all(math.isfinite(one.score) for one in found):
            raise _no_number(found)
        return sorted(found, key=lambda one: -one.score)

    def _modules(self, names: Collection[str]) -> list[tuple[str, ClassModule]]:
        from modpm.core.classifiers.class_module import ClassModule  # noqa: PLC0415 -- as above

        wanted = [
            one
            for one in installed(self._project)
            if not one.is_composition and (not names or str(one.name) in names)
        ][:MAX_SCORED]
        if not wanted:
            raise _nothing_to_ask(self._project)
        for one in wanted:
            if one.digest not in self._loaded:
                self._loaded[one.digest] = ClassModule.from_folder(one.path, one.digest)
        return [(str(one.name), self._loaded[one.digest]) for one in wanted]

    @staticmethod
    def _score(name: str, module: ClassModule, score: float) -> Score:
        return Score(name, as_text(module.label), score, probability(score))


def _no_number(found: Sequence[Score]) -> ModpmError:
    names = [one.name for one in found if not math.isfinite(one.score)]
    return ModpmError(
        "a module gives no score of this picture",
        code="score-not-finite",
        where=", ".join(names),
        why="its arithmetic overflows",
        hint="take it out of the basket, and tell who published it",
    )


def _nothing_to_ask(project: str | os.PathLike[str]) -> ModpmError:
    return ModpmError(
        "none of these modules is installed here",
        code="not-installed",
        where=str(project),
        why="a picture is judged by installed modules, on this machine",
        hint="copy the line of the basket, run it in this project, and drop the picture again",
    )
