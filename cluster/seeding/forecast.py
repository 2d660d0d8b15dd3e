"""How full devices are and when they will be done, from what was written lately. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.ledger.seeds import DeviceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Of one device."""

    loadable: int | None
    """Bytes that it still takes; None where it is not mounted."""
    fill: float | None
    """Share of what packs may take on it that they have taken."""
    eta: float | None
    """Seconds until it is full, or until nothing waits for its destination, whichever is sooner; None while nothing is
    written, or where it cannot be said."""


def forecasts(
    rows: Sequence[DeviceRow], loadable: Mapping[str, int], waiting: Mapping[str, int]
) -> dict[str, Forecast]:
    """The forecast of each device by its id. `loadable` is known of those that are mounted; `waiting` counts studies
    by destination, which are taken to be as large as those that are there."""
    made: dict[str, Forecast] = {}
    for row in rows:
        beside = [each for each in rows if each.destination == row.destination]
        packs, octets = sum(each.packs for each in beside), sum(each.bytes for each in beside)
        rate = sum(each.rate for each in beside)
        room = loadable.get(row.device_id)
        left = [] if room is None or not row.rate else [room / row.rate]
        if row.rate and packs:
            left.append(waiting.get(row.destination, 0) * octets / packs / rate)
        whole = row.bytes + (room or 0)
        made[row.device_id] = Forecast(
            loadable=room,
            fill=None if room is None or not whole else round(row.bytes / whole, 4),
            eta=round(min(left), 1) if left else None,
        )
    return made
