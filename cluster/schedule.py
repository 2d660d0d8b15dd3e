"""When the source may be asked to send: hospital archives serve readers by day and migrations by night."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(r"^(?P<days>[a-z,\- ]+?)\s+(?:(?P<start>\d\d:\d\d)\s*-\s*(?P<stop>\d\d:\d\d|24:00)|all day)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """Open from `start` on each of `days` (0 is Monday) for `length`; the night counts to the day it starts on."""

    days: frozenset[int]
    start: time
    length: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Opening hours in the archive's time zone; without any it is always open."""

    hours: tuple[Hours, ...]
    zone: ZoneInfo

    @classmethod
    def parse(cls, texts: Iterable[str], time_zone: str) -> "Schedule":
        """The schedule of lines such as "mon-fri 18:00-06:00" or "sat,sun all day". Raises ValueError."""
        return cls(hours=tuple(_hours(text) for text in texts), zone=ZoneInfo(time_zone))

    def open_at(self, moment: datetime) -> bool:
        """True when the source may be asked at `moment` (aware). Wall-clock time counts: a window is an
        hour longer or shorter on the nights the clocks change."""
        local = moment.astimezone(self.zone).replace(tzinfo=None)
        return not self.hours or any(_covers(hours, local) for hours in self.hours)


def _covers(hours: Hours, local: datetime) -> bool:
    for back in (0, 1):
        day = local.date() - timedelta(days=back)
        opened = datetime.combine(day, hours.start)
        if day.weekday() in hours.days and opened <= local < opened + hours.length:
            return True
    return False


def _hours(text: str) -> Hours:
    found = _FORM.match(text.strip().lower())
    if found is None:
        raise ValueError(f'{text!r} is no opening time; write "mon-fri 18:00-06:00" or "sat,sun all day"')
    days = frozenset(day for part in found["days"].split(",") for day in _days(part.strip(), text))
    if found["start"] is None:
        return Hours(days=days, start=time(0), length=timedelta(days=1))
    start, stop = _minutes(found["start"], text), _minutes(found["stop"], text)
    # "18:00-06:00" runs into the next day; "00:00-00:00" is a whole one.
    length = stop - start if stop > start else stop - start + 24 * 60
    return Hours(days=days, start=time(start // 60 % 24, start % 60), length=timedelta(minutes=length))


def _days(part: str, text: str) -> list[int]:
    first, dash, last = (piece.strip() for piece in part.partition("-"))
    if first not in DAYS or (dash and last not in DAYS):
        raise ValueError(f"{text!r}: {part!r} is no day; days are {', '.join(DAYS)}")
    start = DAYS.index(first)
    count = (DAYS.index(last) - start) % 7 + 1 if dash else 1
    return [(start + step) % 7 for step in range(count)]


def _minutes(text: str, whole: str) -> int:
    hour, minute = int(text[:2]), int(text[3:])
    if hour > 24 or minute > 59 or (hour == 24 and minute):
        raise ValueError(f"{whole!r}: {text} is no time of day")
    return hour * 60 + minute
