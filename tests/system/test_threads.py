from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.core.system.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable


def is_odd(item: int) -> bool:
    return item % 2 == 1


def fail(item: int) -> int:
    if item >= 2:
        raise ModpmError(f"{item} failed", code=f"code-{item}", hint=f"hint {item}")
    return item


def test_results_come_in_the_order_of_the_items() -> None:
    first_ends = threading.Event()

    def double(item: int) -> int:
        if item == 0:
            assert first_ends.wait(30)  # what comes after it is done before it
        elif item == 6:
            first_ends.set()
        return 2 * item

    assert in_threads(double, range(8), "none", is_brief=is_odd) == list(range(0, 16, 2))


def test_the_calling_thread_does_what_is_brief_while_others_do_the_rest() -> None:
    together = threading.Barrier(2)  # broken, unless both are at work at once

    def thread_of(item: int) -> bool:
        if item < 2:
            together.wait(timeout=30)
        return threading.current_thread() is threading.main_thread()

    assert in_threads(thread_of, range(6), "none", is_brief=is_odd) == [False, True] * 3


@pytest.mark.parametrize("n_items", [0, 1, 3])
def test_no_thread_is_made_for_what_is_brief_or_for_one_item(
    n_items: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("a thread was made"))

    assert in_threads(str, range(n_items), "none", is_brief=lambda _: n_items > 1) == [
        str(item) for item in range(n_items)
    ]


@pytest.mark.parametrize("is_brief", [is_odd, lambda _: True, lambda _: False])
def test_all_errors_are_told_in_the_order_of_the_items(is_brief: Callable[[int], bool]) -> None:
    done: list[int] = []

    def work(item: int) -> int:
        done.append(item)
        return fail(item)

    with pytest.raises(ModpmError) as caught:
        in_threads(work, [4, 0, 3, 1, 2], "things failed", is_brief=is_brief)

    assert sorted(done) == [0, 1, 2, 3, 4]
    assert caught.value.what == "3 things failed"
    assert caught.value.why == "4 failed\n3 failed\n2 failed"
    assert (caught.value.code, caught.value.hint) == ("code-4", "hint 4")


@pytest.mark.parametrize("is_brief", [is_odd, lambda _: True, lambda _: False])
def test_a_single_error_is_told_as_it_is(is_brief: Callable[[int], bool]) -> None:
    with pytest.raises(ModpmError, match="2 failed"):
        in_threads(fail, range(3), "things failed", is_brief=is_brief)


@pytest.mark.parametrize("error", [OSError(28, "full"), KeyboardInterrupt()])
@pytest.mark.parametrize("is_brief", [True, False])
def test_what_has_begun_is_told_to_end_when_the_rest_is_not_wanted(
    error: BaseException, *, is_brief: bool
) -> None:
    is_interrupted = threading.Event()
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 9:
            assert is_interrupted.wait(30)
        elif item == 1:
            raise error
        else:
            time.sleep(0.05)  # all of them would take long enough for anybody to be heard
        return item

    with pytest.raises(type(error)):
        in_threads(
            work,
            [9, 1, *range(10, 500)],
            "none",
            is_interrupted.set,
            n_threads=2,
            is_brief=lambda item: is_brief and item == 1,
        )

    assert is_interrupted.is_set()
    assert len(begun) < 492
