"""How far a run is: one snapshot of the ledger, and rates from two of them. Holds no patient data."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cluster.schedule import Schedule
from storage.ledger.ledger import Ledger
from storage.ledger.lifecycle import DeliveryState, StudyState
from storage.ledger.records import DestinationState

RATE_WINDOW = timedelta(seconds=30)
"""What a rate is averaged over: long enough to be readable, short enough to show a source that slows down."""

ALIVE = timedelta(seconds=90)
"""A worker whose last heartbeat is older is not counted as running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationProgress:
    """One destination of the current revisions."""

    name: str
    pending: int
    written: int
    validated: int
    exceptions: int
    instances: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One look at the ledger."""

    at: datetime
    phase: str
    studies: dict[str, int]
    """By state."""
    destinations: tuple[DestinationProgress, ...]
    claims: int
    """Deliveries held by workers now."""
    associations: int
    """C-MOVE associations at work."""
    allowed: float
    """C-MOVEs the source is asked with at most."""
    exceptions: int
    exceptions_by_kind: dict[str, int]
    paused: str | None
    workers: int
    halted: tuple[str, ...]
    """Why movers cannot work until a person acts."""
    outside_hours: bool = False
    """The source may not be asked to send now; what is written goes on being fed and validated."""
    allowed_reason: str = ""
    """Why it was changed the last time; empty if never."""
    closed: tuple[str, ...] = ()
    """Destinations that take no more, and a source that is not asked any more, each with its reason."""

    @property
    def total(self) -> int:
        return sum(self.studies.values())

    @property
    def done(self) -> int:
        """Deliveries that need no more work by themselves."""
        return sum(each.validated + each.exceptions for each in self.destinations)

    @property
    def deliveries(self) -> int:
        return sum(each.pending + each.written + each.validated + each.exceptions for each in self.destinations)


def look(ledger: Ledger, source_id: int, at: datetime, phase: str, opening: Schedule) -> Progress:
    """The job as the ledger has it now."""
    counts: dict[str, dict[DeliveryState, int]] = {}
    claims = 0
    for row in ledger.status.deliveries():
        counts.setdefault(row.destination, {})[row.state] = row.deliveries
        claims += row.leased
    sums = {row.destination: row for row in ledger.status.written()}
    exceptions: dict[str, int] = {}
    for (kind, _), number in ledger.exceptions.counts().items():
        exceptions[kind] = exceptions.get(kind, 0) + number
    alive = [row for row in ledger.control.workers() if at - row.beat_at < ALIVE]
    movers = [row for row in alive if row.kind == "mover"]
    return Progress(
        at=at,
        phase=phase,
        studies={state.value: number for state, number in ledger.status.studies().items()},
        destinations=tuple(
            DestinationProgress(
                name=name,
                pending=states.get(DeliveryState.PENDING, 0),
                written=sum(
                    states.get(state, 0)
                    for state in (
                        DeliveryState.WRITTEN,
                        DeliveryState.SEALED,
                        DeliveryState.SHIPPED,
                        DeliveryState.ARRIVED,
                    )
                ),
                validated=states.get(DeliveryState.VALIDATED, 0),
                exceptions=states.get(DeliveryState.EXCEPTION, 0),
                instances=sums[name].instances if name in sums else 0,
                bytes=sums[name].bytes if name in sums else 0,
            )
            for name, states in sorted(counts.items())
        ),
        claims=claims,
        associations=sum(int(str(row.stats.get("busy_lanes", 0))) for row in movers),
        allowed=ledger.control.throttle(source_id).allowed,
        allowed_reason=next((change.reason for change in ledger.paces.changes(source_id, 1)), ""),
        exceptions=sum(exceptions.values()),
        exceptions_by_kind=exceptions,
        paused=ledger.control.paused(),
        workers=len(alive),
        halted=tuple(sorted({str(row.stats["halted"]) for row in movers if row.stats.get("halted")})),
        outside_hours=not opening.open_at(at),
        closed=tuple(
            f"{row.name} is {row.state.value}: {row.reason}"
            for row in ledger.status.destinations()
            if row.state is not DestinationState.OPEN
        )
        + tuple(f"{row.name} is stopped: {row.stopped}" for row in ledger.status.stopped_sources()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the last seconds brought."""

    instances_per_second: float
    bytes_per_second: float
    eta: timedelta | None
    """Until every delivery is settled; None while nothing moves."""


@dataclass(slots=True)
class Pace:
    """Remembers snapshots for `RATE_WINDOW`."""

    seen: deque[Progress] = field(default_factory=lambda: deque[Progress]())

    def add(self, progress: Progress) -> Rates:
        self.seen.append(progress)
        while len(self.seen) > 2 and progress.at - self.seen[0].at > RATE_WINDOW:
            self.seen.popleft()
        first = self.seen[0]
        seconds = (progress.at - first.at).total_seconds()
        if seconds <= 0:
            return Rates(instances_per_second=0.0, bytes_per_second=0.0, eta=None)
        settled = (progress.done - first.done) / seconds
        left = progress.deliveries - progress.done
        return Rates(
            instances_per_second=(_instances(progress) - _instances(first)) / seconds,
            bytes_per_second=(_bytes(progress) - _bytes(first)) / seconds,
            eta=timedelta(seconds=round(left / settled)) if settled > 0 else None,
        )


def _instances(progress: Progress) -> int:
    return sum(each.instances for each in progress.destinations)


def _bytes(progress: Progress) -> int:
    return sum(each.bytes for each in progress.destinations)


def settled_studies(progress: Progress) -> int:
    """Studies that have no delivery: confirmed empty, excluded or held."""
    return sum(
        progress.studies.get(state.value, 0)
        for state in (StudyState.EMPTY_CONFIRMED, StudyState.EXCLUDED, StudyState.HELD)
    )
