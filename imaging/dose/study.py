"""A study's dose from what its instances say; the same whatever the order they came in."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

from imaging.dose.grouping import Group, grouped
from imaging.dose.records import (
    AVERAGED,
    DOSE,
    Basis,
    DoseStatus,
    Event,
    Exposure,
    InstanceDose,
    Kind,
    Motion,
    Number,
    Obstacle,
    Quantity,
    Reading,
    StudyDose,
    mean_of,
)

T = TypeVar("T")
_PICTURES = (Kind.IMAGE, Kind.LOCALIZER, Kind.DERIVED)


def gather(instances: Iterable[InstanceDose]) -> StudyDose:
    """The study's irradiation events and their dose, and whether a report can be made of them."""
    known = sorted(instances, key=lambda one: one.sop_uid)
    counts = Counter(one.kind for one in known)
    infos = _distinct([one for one in known if one.kind is Kind.DOSE_INFO])
    images = [each for one in known if one.kind in (Kind.IMAGE, Kind.LOCALIZER) for each in _apart(one)]
    groups, doubtful = grouped(images)
    events = _listed(infos[0], images) if infos else tuple(_event(group, n) for n, group in enumerate(groups, 1))
    doubtful = len(infos) > 1 if infos else doubtful
    # Whatever comes of it: images that disagree, and derived ones, state a dose all the same.
    stated = any(
        DOSE & each.numbers.keys() for one in known if one.kind in _PICTURES for each in (one.exposure, *one.items)
    )
    readable = any(event.has_dose for event in events)
    total, disagreement = _total(events, infos[0].total_dlp if infos else None)
    status = (
        DoseStatus.REPORT
        if counts[Kind.DOSE_REPORT]
        else DoseStatus.READABLE
        if readable or stated
        else DoseStatus.SCREEN_ONLY
        if counts[Kind.DOSE_SCREEN]
        else DoseStatus.NONE
        if any(counts[kind] for kind in _PICTURES)
        else DoseStatus.NO_CT
    )
    used = [one for one in known if one.kind in (Kind.IMAGE, Kind.LOCALIZER, Kind.DOSE_INFO)]
    devices = sorted({one.device for one in used})
    obstacles = {
        Obstacle.NO_TIME: not all(event.started for event in events),
        Obstacle.SEVERAL_DEVICES: len(devices) > 1,
        Obstacle.AMBIGUOUS: doubtful or not readable,
        Obstacle.UNDOCUMENTED: any(
            event.numbers[quantity].basis is Basis.ASSUMED
            for event in events
            for quantity in DOSE & event.numbers.keys()
        ),
    }
    varied = {name for one in groups for name in _varying(one)} if not infos else set[str]()
    conflicts = {name for one in used for name in one.conflicts} | varied | disagreement
    return StudyDose(
        status=status,
        events=events,
        total_dlp=total,
        obstacles=tuple(each for each, stands in obstacles.items() if stands) if status is DoseStatus.READABLE else (),
        counts=dict(sorted(counts.items())),
        conflicts=tuple(sorted(conflicts)),
        device=devices[0] if len(devices) == 1 else ("", "", ""),
    )


def _apart(image: InstanceDose) -> Iterator[InstanceDose]:
    """The image once for each event that its frames are of."""
    if not image.items:
        yield image
    for item in image.items:
        yield replace(image, exposure=item, items=(), started=item.started or image.started)


def _distinct(infos: Sequence[InstanceDose]) -> list[InstanceDose]:
    """Dose info objects that say something else than those before: archives hold copies."""
    found: list[InstanceDose] = []
    for one in infos:
        if all(one.items != other.items or one.total_dlp != other.total_dlp for other in found):
            found.append(one)
    return found


def _listed(info: InstanceDose, images: Sequence[InstanceDose]) -> tuple[Event, ...]:
    """The events a dose info object lists; it gives no times, so the study's own stand for all of them."""
    times = sorted(one.started for one in images if one.started) or [info.started]
    part = _only({one.body_part for one in images if one.body_part}) or ""
    return tuple(
        Event(
            number=number,
            numbers={quantity: _single(reading, 1) for quantity, reading in item.numbers.items()},
            highest_current=None,
            phantom=item.phantom,
            motion=_item_motion(item),
            event_uid=item.event_uid,
            acquisition="",
            started=times[0],
            ended=times[-1],
            body_part=part,
            series=(info.series_uid,),
            sources=((info.series_uid, info.sop_class, info.sop_uid),),
        )
        for number, item in enumerate(info.items, 1)
    )


def _item_motion(item: Exposure) -> Motion:
    """A surview is listed without dose."""
    silent = item.motion is Motion.UNKNOWN and not DOSE & item.numbers.keys()
    return Motion.CONSTANT_ANGLE if silent else item.motion


def _event(group: Group, number: int) -> Event:
    members = group.members
    started, ended = group.times
    motions = {one.exposure.motion for one in members} - {Motion.UNKNOWN}
    phantoms = {phantom for one in members if (phantom := one.exposure.phantom) is not None}
    parts = {one.body_part for one in members} - {""}
    currents = [current for one in members if (current := _current(one)) is not None]
    return Event(
        number=number,
        numbers={quantity: found for quantity in Quantity if (found := _number(members, quantity)) is not None},
        highest_current=_highest(currents),
        phantom=_only(phantoms),
        motion=_only(motions) or Motion.UNKNOWN,
        event_uid=group.event_uid,
        acquisition=group.acquisition,
        started=started,
        ended=ended,
        body_part=_only(parts) or "",
        series=tuple(sorted({one.series_uid for one in members})),
        sources=tuple(sorted((one.series_uid, one.sop_class, one.sop_uid) for one in members)),
    )


def _current(one: InstanceDose) -> Reading | None:
    return one.exposure.highest_current or one.exposure.numbers.get(Quantity.TUBE_CURRENT)


def _number(members: Sequence[InstanceDose], quantity: Quantity) -> Number | None:
    readings = [reading for one in members if (reading := one.exposure.numbers.get(quantity)) is not None]
    if not readings:
        return None
    if len({reading.value for reading in readings}) == 1:
        return _single(readings[0], len(readings))
    return _mean(members, quantity) if quantity in AVERAGED else None


def _mean(members: Sequence[InstanceDose], quantity: Quantity) -> Number:
    """Over the series with most images: reconstructions of the same slices must not weigh twice."""
    series: dict[str, list[Reading]] = {}
    for one in members:
        if (reading := one.exposure.numbers.get(quantity)) is not None:
            series.setdefault(one.series_uid, []).append(reading)
    readings = max(sorted(series.items()), key=lambda item: len(item[1]))[1]
    mean = mean_of([reading.value for reading in readings])
    assumed = any(reading.basis is Basis.ASSUMED for reading in readings)
    return Number(
        value=mean,
        basis=Basis.ASSUMED if assumed else Basis.COMPUTED,
        where=f"mean of {readings[0].where}",
        instances=len(readings),
    )


def _varying(group: Group) -> list[str]:
    """What the images of one event should agree on and do not."""
    return [
        quantity.value
        for quantity in Quantity
        if quantity not in AVERAGED
        and len({r.value for one in group.members if (r := one.exposure.numbers.get(quantity)) is not None}) > 1
    ]


def _highest(readings: Sequence[Reading]) -> Number | None:
    if not readings:
        return None
    highest = max(readings, key=lambda reading: reading.value)
    return Number(
        value=highest.value, basis=Basis.COMPUTED, where=f"highest of {highest.where}", instances=len(readings)
    )


def _single(reading: Reading, instances: int) -> Number:
    return Number(value=reading.value, basis=reading.basis, where=reading.where, instances=instances)


def _total(events: Sequence[Event], stated: Reading | None) -> tuple[Number | None, set[str]]:
    """DLP of the study, and what does not add up; only a sum of all events is one."""
    known = [event.numbers[Quantity.DLP] for event in events if Quantity.DLP in event.numbers]
    wanted = [event for event in events if event.motion is not Motion.CONSTANT_ANGLE]
    whole = bool(wanted) and all(Quantity.DLP in event.numbers for event in wanted)
    added = sum((number.value for number in known), Decimal(0))
    if stated is not None:
        disagrees = whole and added != stated.value
        return _single(stated, 1), {"dlp_total"} if disagrees else set()
    if not whole:
        return None, set()
    if len(known) == 1:
        return known[0], set()
    assumed = any(number.basis is Basis.ASSUMED for number in known)
    basis = Basis.ASSUMED if assumed else Basis.COMPUTED
    return Number(value=added, basis=basis, where=f"sum of {len(known)} events", instances=len(known)), set()


def _only(values: set[T]) -> T | None:
    return next(iter(values)) if len(values) == 1 else None
