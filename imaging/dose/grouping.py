"""Which images belong to one irradiation event.

A scanner reconstructs one acquisition into several series, and each repeats the acquisition's dose: counted by series,
DLP doubles. Its own Irradiation Event UID decides where there is one; else the acquisition number and the time, for a
scanner cannot scan twice at once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from imaging.dose.records import DOSE, InstanceDose
from imaging.uid import Uid

NEAR = timedelta(seconds=60)
"""Two groups of equal number and dose that lie this close may be one acquisition whose halves were reconstructed apart,
or two phases: nobody can tell."""
MOST_GROUPS = 1_000
"""Series times acquisitions; the largest studies have some hundreds."""


@dataclass(slots=True)
class Group:
    """Images of one event, as far as is known."""

    members: list[InstanceDose] = field(default_factory=list[InstanceDose])

    @property
    def event_uid(self) -> Uid | None:
        return next((one.exposure.event_uid for one in self.members if one.exposure.event_uid), None)

    @property
    def acquisition(self) -> str:
        return self.members[0].acquisition

    @property
    def times(self) -> tuple[str, str]:
        """First and last acquisition time of images and frames; empty where none is known."""
        known = sorted(time for one in self.members for time in (one.started, one.exposure.ended) if time)
        return (known[0], known[-1]) if known else ("", "")

    @property
    def dose(self) -> frozenset[tuple[str, str]]:
        """The distinct dose values of its images."""
        return frozenset(
            (quantity.value, str(reading.value.normalize()))
            for one in self.members
            for quantity, reading in one.exposure.numbers.items()
            if quantity in DOSE
        )


def grouped(images: Iterable[InstanceDose]) -> tuple[list[Group], bool]:
    """The events in order of time, and whether two of them may be one."""
    buckets: dict[tuple[str, str, str], Group] = {}
    for one in sorted(images, key=lambda one: one.sop_uid):
        uid = one.exposure.event_uid or ""
        key = (uid, "", "") if uid else ("", one.series_uid, one.acquisition)
        buckets.setdefault(key, Group()).members.append(one)
    if len(buckets) > MOST_GROUPS:
        return [], True
    groups = _merged(list(buckets.values()))
    groups.sort(key=lambda group: (group.times[0], group.members[0].sop_uid, group.event_uid or ""))
    return groups, any(_doubtful(one, other) for number, one in enumerate(groups) for other in groups[number + 1 :])


def _merged(groups: list[Group]) -> list[Group]:
    """Until no two are the same event: a third series may join two that do not overlap."""
    spans = [(group, group.times) for group in groups]
    merged = True
    while merged:
        merged = False
        for number, (one, times) in enumerate(spans):
            for place in range(len(spans) - 1, number, -1):
                other, its_times = spans[place]
                if _same(one, times, other, its_times):
                    one.members += other.members
                    one.members.sort(key=lambda member: member.sop_uid)
                    del spans[place]
                    times = one.times
                    spans[number] = (one, times)
                    merged = True
    return [group for group, _ in spans]


def _same(one: Group, times: Sequence[str], other: Group, its_times: Sequence[str]) -> bool:
    uid, its_uid = one.event_uid, other.event_uid
    if uid and its_uid:
        return uid == its_uid
    if one.acquisition != other.acquisition:
        return False
    if not times[0] or not its_times[0]:
        # Acquisition Number names one continuous gathering of data; without times there is nothing better.
        return bool(one.acquisition)
    return times[0] <= its_times[1] and its_times[0] <= times[1]


def _doubtful(one: Group, other: Group) -> bool:
    if (one.event_uid and other.event_uid) or one.acquisition != other.acquisition or one.dose != other.dose:
        return False
    (start, end), (its_start, its_end) = one.times, other.times
    if not one.dose or not start or not its_start:
        return False
    return max(_moment(start), _moment(its_start)) - min(_moment(end), _moment(its_end)) < NEAR


def _moment(text: str) -> datetime:
    """Impossible dates stand for the beginning of time: equal ones are near each other."""
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S.%f")  # noqa: DTZ007 - compared with each other only
    except ValueError:
        return datetime.min  # noqa: DTZ901 - as above
