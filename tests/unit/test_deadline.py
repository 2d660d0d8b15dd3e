"""Operations that may never return, and who waits for them."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from storage.errors import DeviceHangs
from storage.sinks.deadline import THREADS, Deadline

SOON = timedelta(seconds=1)
"""Longer than a busy machine needs for an operation that does not hang."""


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opened = threading.Event()
    yield opened
    opened.set()


def test_what_an_operation_returns_or_raises_is_the_callers_and_nested_ones_run_in_its_thread() -> None:
    deadline = Deadline("device x")
    threads: list[int] = []

    def outer() -> str:
        threads.append(threading.get_ident())
        return deadline.do(inner) + "!"

    def inner() -> str:
        threads.append(threading.get_ident())
        return "done"

    assert deadline.do(outer) == "done!"
    assert threads[0] == threads[1] != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        deadline.do(divmod, 1, 0)
    assert [deadline.do(str, number) for number in range(100)] == [str(number) for number in range(100)]


def test_one_that_hangs_is_given_up_and_nothing_is_begun_before_it_returned(
    gate: threading.Event, wait_until: object
) -> None:
    deadline = Deadline("device x", SOON)
    closed: list[object] = []

    with pytest.raises(DeviceHangs, match="device x"):
        deadline.obtain(lambda: gate.wait(60) and 7, closed.append)
    with pytest.raises(DeviceHangs):
        deadline.do(closed.append, "never")
    deadline.release(lambda: closed.append("released"))

    assert (deadline.hanging, closed) == (1, [])
    gate.set()
    wait_until(lambda: not deadline.hanging)
    assert closed == ["released", 7], "what came too late was kept, or what was owed was not done"
    assert deadline.do(str, 1) == "1"


def test_however_many_ask_at_once_only_so_many_threads_hang(gate: threading.Event, wait_until: object) -> None:
    deadline = Deadline("device x", SOON)
    begun: list[int] = []
    errors: list[BaseException] = []

    def ask(number: int) -> None:
        try:
            deadline.do(lambda: begun.append(number) or gate.wait(60))
        except DeviceHangs as error:
            errors.append(error)

    askers = [threading.Thread(target=ask, args=(number,)) for number in range(THREADS + 8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(30)

    assert len(errors) == THREADS + 8
    assert len(begun) == THREADS == deadline.hanging
    gate.set()
    wait_until(lambda: not deadline.hanging)
