"""A receiver gets another mover only when its processes are saturated, the machine has room, and the job allows it."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from actors.load import Load
from cluster.growth import MoverPool
from cluster.runtime import Worker
from storage.ledger.control import WorkerRow

BEAT = timedelta(seconds=20)
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def named(count: int) -> list[Worker]:
    return [Worker(name=f"mover-1-{number}", kind="mover", start=partial(print)) for number in range(1, count + 1)]


def row(number: int, at: datetime, *, cpu: int = 95, spare: int = 300) -> WorkerRow:
    return WorkerRow(
        name=f"mover-1-{number}",
        kind="mover",
        host="node",
        pid=number,
        started_at=BEGAN,
        beat_at=at,
        stats={"cpu": cpu, "spare": spare},
    )


def names(workers: list[Worker]) -> list[str]:
    return [worker.name for worker in workers]


def pool(first: int = 1, most: int = 3) -> MoverPool:
    made = MoverPool([(first, named(most))], BEAT)
    made.begin((), BEGAN)
    return made


def test_a_saturated_mover_gets_company_up_to_the_limit() -> None:
    movers = pool()
    now = BEGAN + 2 * BEAT

    first = movers.grow([row(1, now)], now)
    at_once = movers.grow([row(1, now), row(2, now)], now)
    now += 2 * BEAT
    second = movers.grow([row(1, now), row(2, now)], now)
    now += 2 * BEAT
    third = movers.grow([row(1, now), row(2, now), row(3, now)], now)

    assert (names(first), at_once, names(second), third) == (["mover-1-2"], [], ["mover-1-3"], [])


@pytest.mark.parametrize(
    ("cpu", "spare", "since"),
    [(60, 300, 2), (95, 50, 2), (95, 300, 1)],
    ids=["not saturated", "no core to spare", "too early"],
)
def test_nothing_is_added_without_need_or_room_or_evidence(cpu: int, spare: int, since: int) -> None:
    now = BEGAN + since * BEAT

    assert pool().grow([row(1, now, cpu=cpu, spare=spare)], now) == []


def test_a_mover_that_is_not_heard_of_is_no_reason_for_another() -> None:
    movers = pool(first=2)
    now = BEGAN + 5 * BEAT

    assert movers.grow([row(1, now), row(2, BEGAN + 2 * BEAT)], now) == []
    assert movers.grow([row(1, now)], now) == []


def test_what_an_earlier_driver_added_is_found_again() -> None:
    movers = MoverPool([(1, named(4))], BEAT)

    assert names(movers.begin({"mover-1-3", "feeder-1"}, BEGAN)) == ["mover-1-1", "mover-1-2", "mover-1-3"]


def test_a_fixed_number_stays() -> None:
    movers = pool(first=2, most=2)
    now = BEGAN + 2 * BEAT

    assert movers.grow([row(1, now), row(2, now)], now) == []


def test_load_is_told_since_the_last_time() -> None:
    moments, spent = iter((0.0, 10.0, 30.0)), iter((1.0, 9.0, 9.0))
    load = Load(now=lambda: next(moments), spent=lambda: next(spent))

    assert [load.report()["cpu"] for _ in range(2)] == [80, 0]
