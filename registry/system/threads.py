"""Doing the same to many things, several at once, with results and errors in the things' order."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")

N_THREADS = 8

N_THREADS_OF_COPYING = 4
"""For files that are copied from here to here: more threads only wait for one another."""

N_THREADS_OF_PYTHON = 2
"""For work that hardly waits or digests: more threads of Python only take turns, at a cost."""


def in_threads(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    what: str,
    interrupt: Callable[[], None] = lambda: None,
    *,
    n_threads: int = N_THREADS,
) -> list[Result]:
    """Do some work for each item, several at once.

    One that fails does not keep the others from being done.

    Args:
        work: What to do; called from several threads.
        items: What to do it for.
        what: What cannot be done if several fail, for the sentence (`files cannot be fetched`).
        interrupt: Makes the work that has begun end soon, when the rest is not wanted any more.
        n_threads: At most how many at once.

    Returns:
        One result for each item, in their order.

    Raises:
        ModpmError: The only one that was raised, or one that names all in the order of the items
            and has the code of the first.
        OSError: The first that was raised, in that order.
    """
    if len(items) <= 1:
        return [work(item) for item in items]
    # Not needed by a command that finds everything done.
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 -- slow to start, and not always needed

    with ThreadPoolExecutor(min(n_threads, len(items))) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            errors = _errors(futures)
        except BaseException:
            interrupt()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if errors:
        raise errors[0] if len(errors) == 1 else _all_of(errors, f"{len(errors)} {what}")
    return [future.result() for future in futures]


def _errors(futures: Sequence[Future[Result]]) -> list[ModpmError]:
    errors: list[ModpmError] = []
    for future in futures:
        error = future.exception()
        if isinstance(error, ModpmError):
            errors.append(error)
        elif error is not None:
            raise error
    return errors


def _all_of(errors: Sequence[ModpmError], what: str) -> ModpmError:
    first = errors[0]
    lines = dict.fromkeys(_line(error) for error in errors)
    return ModpmError(
        what, code=first.code, why="\n".join(lines), hint=first.hint, exit_code=first.exit_code
    )


def _line(error: ModpmError) -> str:
    told = [error.where, error.what, error.why]
    return ": ".join(text.replace("\n", " ") for text in told if text is not None)
