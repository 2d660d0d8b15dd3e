"""What the frames of an enhanced image say together: of one irradiation event, or of several in one image."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from imaging.dose.records import AVERAGED, Basis, Exposure, Motion, Quantity, Reading, mean_of


def by_frames(common: Exposure, frames: Iterable[Exposure]) -> tuple[Exposure, tuple[Exposure, ...], tuple[str, ...]]:
    """What the image says with its frames, event by event if they are of several, and which quantities frames of one
    event give differently although nothing can make them differ.

    `common` is what holds for all frames; what a frame says goes before it (PS3.3 section C.7.6.16).
    """
    events: dict[str, list[Exposure]] = {}
    for frame in frames:
        events.setdefault(frame.event_uid or "", []).append(frame)
    if not events:
        return common, (), ()
    told = [_together(common, several) for _, several in sorted(events.items())]
    varying = tuple(sorted({name for _, names in told for name in names}))
    if len(told) == 1:
        return told[0][0], (), varying
    return common, tuple(exposure for exposure, _ in told), varying


def _together(common: Exposure, frames: Sequence[Exposure]) -> tuple[Exposure, list[str]]:
    """One event of its frames, and what varies among them."""
    numbers, varying = dict(common.numbers), list[str]()
    for quantity in Quantity:
        readings = [reading for frame in frames if (reading := frame.numbers.get(quantity)) is not None]
        if not readings:
            continue
        if len({reading.value for reading in readings}) == 1:
            numbers[quantity] = readings[0]
        elif quantity in AVERAGED:
            where = f"mean of {len(readings)} frames' {readings[0].where}"
            numbers[quantity] = Reading(mean_of([reading.value for reading in readings]), where, Basis.COMPUTED)
        else:
            numbers.pop(quantity, None)
            varying.append(quantity.value)
    currents = [frame.numbers[Quantity.TUBE_CURRENT] for frame in frames if Quantity.TUBE_CURRENT in frame.numbers]
    phantoms = {frame.phantom for frame in frames} - {None}
    motions = {frame.motion for frame in frames} - {Motion.UNKNOWN}
    times = sorted(frame.started for frame in frames if frame.started)
    together = replace(
        common,
        numbers=numbers,
        highest_current=max(currents, key=lambda reading: reading.value, default=None),
        phantom=phantoms.pop() if len(phantoms) == 1 else None if phantoms else common.phantom,
        motion=motions.pop() if len(motions) == 1 else Motion.UNKNOWN if motions else common.motion,
        event_uid=frames[0].event_uid or common.event_uid,
        started=times[0] if times else "",
        ended=times[-1] if times else "",
    )
    return together, varying
