"""Doing the same to many things, several at once, with results and errors in the things' order."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")

N_THREADS = 8

N_THREADS_OF_COPYING = max(2, min(4, os.cpu_count() or 1))
"""For files that are copied from here to here: more threads only wait for one another."""


def in_threads(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    what: str,
    interrupt: Callable[[], None] = lambda: None,
    *,
    n_threads: int = N_THREADS,
    is_brief: Callable[[Item], bool] = lambda _item: False,
) -> list[Result]:
    """Do some work for each item, several at once.

    One that fails does not keep the others from being done.

    Args:
        work: What to do; called from several threads.
        items: What to do it for.
        what: What cannot be done if several fail, for the sentence (`files cannot be fetched`).
        interrupt: Makes the work that has begun end soon, when the rest is not wanted any more.
        n_threads: At most how many at once, besides the calling thread.
        is_brief: Tells the items that the calling thread is to do itself meanwhile: threads that
            neither wait nor compute for long only take turns, at a cost.

    Returns:
        One result for each item, in their order.

    Raises:
        ModpmError: The only one that was raised, or one that names all in the order of the items
            and has the code of the first.
        OSError: One that was raised; what has not begun by then is not begun.
    """
    results: dict[int, Result] = {}
    errors: dict[int, ModpmError] = {}

    def finish(place: int, result: Callable[[], Result]) -> None:
        try:
            results[place] = result()
        except ModpmError as error:
            errors[place] = error

    are_brief = [len(items) == 1 or is_brief(item) for item in items]
    brief = [place for place, it_is in enumerate(are_brief) if it_is]
    long = [place for place, it_is in enumerate(are_brief) if not it_is]

    def do_brief() -> None:
        for place in brief:
            finish(place, partial(work, items[place]))

    if not long:
        do_brief()
    else:
        # Not needed by a command that finds everything done.
        from concurrent.futures import ThreadPoolExecutor, as_completed  # noqa: PLC0415 -- slow to start, and not always needed
        from contextvars import copy_context  # noqa: PLC0415 -- as above

        with ThreadPoolExecutor(min(n_threads, len(long))) as pool:
            # Each in a copy of the context of whoever asks: what is set there holds here too.
            futures = {pool.submit(copy_context().run, work, items[place]): place for place in long}
            try:
                do_brief()
                for future in as_completed(futures):
                    finish(futures[future], future.result)
            except BaseException:
                interrupt()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        several = [errors[place] for place in sorted(errors)]
        first, lines = several[0], dict.fromkeys(map(_line, several))
        why, hint = "\n".join(lines), first.hint
        what = f"{len(errors)} {what}"
        raise ModpmError(what, code=first.code, why=why, hint=hint, exit_code=first.exit_code)
    return [results[place] for place in range(len(items))]


def _line(error: ModpmError) -> str:
    told = [error.where, error.what, error.why]
    return ": ".join(text.replace("\n", "; ") for text in told if text is not None)
