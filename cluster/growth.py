"""When a receiver gets another mover process. Nothing here starts one; `cluster.run` does.

A mover is one Python process and so at most one core. When its processes are saturated and the machine has cores to
spare, another one takes its share of the associations. Processes are only ever added within a run: an idle one costs
memory but no processor, and ending one would make its studies start over.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cluster.runtime import Worker
from storage.ledger.control import WorkerRow

SATURATED = 80
"""Percent of one core, on average over a receiver's processes: from here on instances wait for the interpreter."""

SPARE = 100
"""Percent of one core that the machine's load leaves: otherwise another process would take from its neighbours."""

BEATS = 2
"""Heartbeats after a change before the next: the first of them covers the time before it as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoverLoad:
    """A mover's latest heartbeat."""

    beat_at: datetime
    cpu: int
    """Percent of one core."""
    spare: int
    """Percent of one core that its machine leaves."""


def wants_another(
    loads: Sequence[MoverLoad], *, running: int, most: int, since: datetime, now: datetime, beat: timedelta
) -> bool:
    """Whether one more process pays; `since` is when their number last changed, `beat` the time between heartbeats."""
    fresh = [load for load in loads if load.beat_at >= since + BEATS * beat and now - load.beat_at <= BEATS * beat]
    if running >= most or len(fresh) < running:
        return False
    saturated = sum(load.cpu for load in fresh) / len(fresh) >= SATURATED
    return saturated and min(load.spare for load in fresh) >= SPARE


class MoverPool:
    """Each receiver's movers: those at work, and those that may be added."""

    def __init__(self, receivers: Sequence[tuple[int, Sequence[Worker]]], beat: timedelta) -> None:
        """For each receiver: how many movers it starts with, and all it may ever have."""
        self._all = [movers for _, movers in receivers]
        self._running = [first for first, _ in receivers]
        self._since = [datetime.min.replace(tzinfo=UTC) for _ in receivers]
        self._beat = beat

    def begin(self, alive: Collection[str], now: datetime) -> list[Worker]:
        """The movers to start with. Those an earlier driver added are still `alive` on a Ray that outlived it."""
        for number, movers in enumerate(self._all):
            added = max((place for place, mover in enumerate(movers, start=1) if mover.name in alive), default=0)
            self._running[number] = max(self._running[number], added)
            self._since[number] = now
        return [mover for number, movers in enumerate(self._all) for mover in movers[: self._running[number]]]

    def grow(self, rows: Sequence[WorkerRow], now: datetime) -> list[Worker]:
        """Movers to start now, at most one for each receiver; they count as running from here on."""
        beats = {row.name: row for row in rows}
        added: list[Worker] = []
        for number, movers in enumerate(self._all):
            running = self._running[number]
            loads = [_load(beats[mover.name]) for mover in movers[:running] if mover.name in beats]
            if wants_another(
                loads, running=running, most=len(movers), since=self._since[number], now=now, beat=self._beat
            ):
                added.append(movers[running])
                self._running[number] += 1
                self._since[number] = now
        return added


def _load(row: WorkerRow) -> MoverLoad:
    cpu, spare = (int(str(row.stats.get(name, 0))) for name in ("cpu", "spare"))
    return MoverLoad(beat_at=row.beat_at, cpu=cpu, spare=spare)
