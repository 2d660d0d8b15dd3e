"""A plan's answers follow what they are asked with, whatever the numbers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf, isfinite

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.capacity.crossing import (
    SMALLEST,
    helps,
    least_rate,
    link_from_which_network_wins,
    size_from_which_disks_win,
)
from cluster.capacity.opening import DAY, WEEK, Opening
from cluster.capacity.ways import Devices, Never, Plan, disks, loading, network
from cluster.schedule import Schedule

START = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)
MB, TB = 1e6, 1e12

schedules = st.sampled_from(
    [(), ("mon-fri 18:00-06:00",), ("sat,sun all day",), ("mon 00:00-01:00", "sun 23:00-05:00"), ("wed 15:00-16:00",)]
)
openings = st.builds(
    lambda hours, later: Opening.of(Schedule.parse(hours, "Europe/Berlin"), START + timedelta(minutes=later)),
    schedules,
    st.integers(0, 10_080),
)
rates = st.floats(0.1, 5_000).map(lambda each: each * MB)
devices = st.builds(
    Devices,
    capacity=st.floats(4, 300).map(lambda each: each * TB),
    count=st.integers(1, 4),
    at_once=st.integers(1, 4),
    load_rate=rates,
    ingest_rate=rates,
    ordering=st.floats(0, 30).map(lambda each: each * DAY),
    shipping=st.floats(0, 30).map(lambda each: each * DAY),
    returning=st.floats(0, 30).map(lambda each: each * DAY),
)
plans = st.builds(
    Plan,
    size=st.floats(0.001, 500).map(lambda each: each * TB),
    growth=st.one_of(st.just(0.0), st.floats(0, 3_000).map(lambda each: each * 1e9 / DAY)),
    opening=openings,
    source=rates,
    movers=st.one_of(st.just(inf), rates),
    link=st.one_of(st.just(0.0), rates),
    destination=st.one_of(st.just(inf), rates),
    devices=devices,
)
more = st.floats(1, 50)


def no_later(first: float, second: float) -> bool:
    """Up to the rounding of sums."""
    return first <= second * (1 + 1e-9) + 1


# Hours


@given(openings, st.floats(0, 400 * DAY), st.floats(0, 60 * DAY))
def test_open_time_that_passed_is_what_was_waited_for(opening: Opening, start: float, seconds: float) -> None:
    end = opening.after(start, seconds)

    assert end >= start
    assert abs(opening.elapsed(start, end) - seconds) < 1e-3


@given(schedules, st.integers(0, 10_080), st.integers(1, 5_000))
def test_hours_are_those_of_the_schedule(hours: tuple[str, ...], later: int, minutes: int) -> None:
    schedule, start = Schedule.parse(hours, "UTC"), START + timedelta(minutes=later)

    passed = Opening.of(schedule, start).elapsed(0.0, minutes * 60.0)

    counted = sum(schedule.open_at(start + timedelta(minutes=each)) for each in range(minutes))
    assert passed == counted * 60


# Over the network


@given(plans, rates)
def test_at_the_end_everything_that_exists_has_passed_and_not_before(plan: Plan, link: float) -> None:
    plan = replace(plan, link=link)
    finish = network(plan).finish
    if not isfinite(finish):
        assert network(plan).never in (Never.OUTGROWN, Never.TOO_LATE)
        return

    def left(moment: float) -> float:
        return plan.size + plan.growth * moment - plan.rate * plan.opening.elapsed(0.0, moment)

    rounding = 1e-6 * plan.size + plan.rate * 0.01
    assert abs(left(finish)) <= rounding
    assert all(left(finish * share) > -rounding for share in (0.1, 0.5, 0.9, 0.99))


@given(plans, more)
def test_more_of_anything_is_never_later_over_the_network(plan: Plan, factor: float) -> None:
    now = network(plan).finish

    for other in (
        replace(plan, link=plan.link * factor),
        replace(plan, source=plan.source * factor),
        replace(plan, destination=plan.destination * factor),
        replace(plan, growth=plan.growth / factor),
        replace(plan, size=plan.size / factor),
        replace(plan, opening=replace(plan.opening, windows=((0.0, WEEK),))),
    ):
        assert no_later(network(other).finish, now)


@given(plans, rates, st.floats(1, 100))
def test_what_acquires_as_much_as_is_moved_never_ends(plan: Plan, link: float, times: float) -> None:
    plan = replace(plan, link=link)
    moved = plan.rate * plan.opening.per_week / WEEK

    outgrown = network(replace(plan, growth=moved * times))

    assert (outgrown.finish, outgrown.never) == (inf, Never.OUTGROWN)


@given(plans, st.floats(0.001, 3_000))
def test_the_least_rate_is_where_never_begins(plan: Plan, daily: float) -> None:
    wide = replace(plan, growth=daily * 1e9 / DAY, source=inf, movers=inf, destination=inf)
    needed = least_rate(wide)

    assert network(replace(wide, link=needed * 0.999)).never is Never.OUTGROWN
    assert network(replace(wide, link=needed * 1.001)).never is not Never.OUTGROWN


# On disks


@given(plans)
def test_everything_is_shipped_once_and_nothing_before_it_is_there(plan: Plan) -> None:
    plan = replace(plan, growth=0.0)
    outcome, described = disks(plan), plan.devices
    assert described is not None
    if not outcome.shipments:
        assert outcome.never in (Never.TOO_LATE, Never.TOO_MANY)
        return

    assert abs(sum(each.bytes for each in outcome.shipments) - plan.size) <= 1e-9 * plan.size
    assert all(each.bytes <= outcome.at_once * described.capacity for each in outcome.shipments)
    for each in outcome.shipments:
        assert described.ordering <= each.begun <= each.loaded <= each.arrived <= each.ingesting <= each.ingested
    rate = loading(plan, described, outcome.at_once)
    loaded = plan.opening.elapsed(outcome.shipments[0].begun, outcome.shipments[-1].loaded)
    assert loaded * rate >= plan.size * (1 - 1e-6) - rate


@settings(max_examples=25)
@given(plans, more, st.integers(2, 4))
def test_more_of_anything_is_never_later_on_disks(plan: Plan, factor: float, times: int) -> None:
    described = plan.devices
    assert described is not None
    now = disks(plan).finish

    for other in (
        replace(described, count=described.count * times),
        replace(described, count=described.count * times, at_once=described.at_once * times),
        replace(described, load_rate=described.load_rate * factor),
        replace(described, ingest_rate=described.ingest_rate * factor),
        replace(described, ordering=described.ordering / factor),
        replace(described, shipping=described.shipping / factor, returning=described.returning / factor),
    ):
        assert no_later(disks(replace(plan, devices=other)).finish, now)
    assert no_later(disks(replace(plan, source=plan.source * factor)).finish, now)
    assert no_later(disks(replace(plan, link=plan.link * factor)).finish, now)
    assert no_later(disks(replace(plan, size=plan.size / factor)).finish, now)


@given(plans)
def test_new_studies_without_a_way_are_said_and_without_new_ones_no_link_is_needed(plan: Plan) -> None:
    alone = replace(plan, link=0.0)

    assert network(alone).never is Never.NO_LINK
    assert disks(replace(alone, growth=1.0)).never is Never.NO_WAY_FOR_NEW
    assert disks(replace(alone, growth=0.0)).never in (None, Never.TOO_LATE, Never.TOO_MANY)


# Where they cross


@settings(max_examples=25)
@given(plans)
def test_just_above_the_crossing_disks_win_and_just_below_they_do_not(plan: Plan) -> None:
    size = size_from_which_disks_win(plan)

    if size is None:
        assert disks(plan).finish >= network(plan).finish
        return
    above, below = replace(plan, size=size), replace(plan, size=size * (1 - 1e-6))
    assert disks(above).finish < network(above).finish
    assert size == SMALLEST or disks(below).finish >= network(below).finish * (1 - 1e-4)


@settings(max_examples=25)
@given(plans)
def test_the_link_that_is_named_is_fast_enough_and_a_slower_one_is_not(plan: Plan) -> None:
    link = link_from_which_network_wins(plan)

    if link is None:
        assert network(plan).finish == inf or network(plan).finish > disks(plan).finish
        return
    enough, less = replace(plan, link=link), replace(plan, link=link * 0.999)
    assert network(enough).finish <= disks(enough).finish
    assert network(less).finish == inf or network(less).finish > disks(less).finish


@settings(max_examples=25)
@given(plans)
def test_what_helps_does(plan: Plan) -> None:
    for way in (network, disks):
        found = helps(plan, way)
        assert all(each.finish < way(plan).finish and each.gained > 0 for each in found)
        assert [each.finish for each in found] == sorted(each.finish for each in found)
