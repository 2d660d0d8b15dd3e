"""Opening hours in the archive's own time."""

from datetime import UTC, datetime

import pytest

from cluster.schedule import Schedule


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_without_hours_the_source_is_always_open() -> None:
    assert Schedule.parse((), "UTC").open_at(_at("2026-11-24T12:00"))


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-27T17:59", False),  # a Friday
        ("2026-11-27T18:00", True),
        ("2026-11-28T05:59", True),  # Friday's night runs into Saturday
        ("2026-11-28T06:00", False),
        ("2026-11-23T05:00", False),  # Sunday's night is not Monday's
    ],
)
def test_a_night_belongs_to_the_day_it_starts_on(moment: str, is_open: bool) -> None:
    schedule = Schedule.parse(("mon-fri 18:00-06:00",), "UTC")

    assert schedule.open_at(_at(moment)) is is_open


def test_all_day_covers_midnight_to_midnight() -> None:
    schedule = Schedule.parse(("sat,sun all day",), "UTC")

    assert schedule.open_at(_at("2026-11-28T00:00"))
    assert schedule.open_at(_at("2026-11-29T23:59"))
    assert not schedule.open_at(_at("2026-11-30T00:00"))


def test_hours_are_the_archives_own_through_the_change_of_clocks() -> None:
    schedule = Schedule.parse(("mon-sun 18:00-19:00",), "Europe/Berlin")

    assert schedule.open_at(_at("2026-07-01T16:30"))
    assert schedule.open_at(_at("2026-12-01T17:30"))
    assert not schedule.open_at(_at("2026-12-01T16:30"))


@pytest.mark.parametrize("text", ["", "mon", "mon 25:00-26:00", "xyz all day", "mon 18-06", "mon 10:61-11:00"])
def test_what_is_no_opening_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|no day|no time of day"):
        Schedule.parse((text,), "UTC")
