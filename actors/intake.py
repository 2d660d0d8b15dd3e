"""One study while it is pulled: what is expected, what has come, and where it goes.

Associations deliver into an intake from their own threads; the lane that issued the C-MOVE waits on it.
An intake never decides that a study is complete, it only knows the sets.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from actors.source import InstanceRef
from imaging.errors import Refused
from imaging.facts import InstanceFacts
from imaging.instance import Instance
from imaging.octets import Octets
from imaging.uid import Uid

STOP_POLL = 0.25
"""Seconds between looks at a stop request while waiting."""


class Arrival(StrEnum):
    """What became of an instance that was handed to an intake."""

    WRITTEN = "written"
    REPEATED = "repeated"
    """Same SOP Instance UID and same bytes as one that is held: nothing to do."""
    DIFFERS = "differs"
    """Same SOP Instance UID, other bytes: the first is kept, this one is evidence."""
    SURPLUS = "surplus"
    """Not in the expected set: kept aside until the source has been asked again."""
    CLOSED = "closed"
    """The study is no longer being pulled here."""
    FAILED = "failed"
    """The destination could not take it; the source may send it again later."""


@dataclass(slots=True)
class Counts:
    """What an intake saw, for the custody log."""

    received: int = 0
    bytes: int = 0
    repeated: int = 0
    differing: int = 0
    transfer_syntaxes: set[str] = field(default_factory=set)


class Parked(Protocol):
    """An instance that lies durably outside the pack."""

    @property
    def facts(self) -> InstanceFacts: ...

    @property
    def name(self) -> str:
        """Where it lies, for the evidence."""
        ...

    def opened(self) -> AbstractContextManager[Instance]:
        """As it came."""
        ...

    def discard(self) -> None:
        """It lies there no longer."""
        ...


class Writing(Protocol):
    """The part of an `actors.packing.StudyPacker` an intake needs."""

    def add(self, facts: InstanceFacts, part10: Octets) -> None: ...

    def spoil(self) -> None: ...


Shape = Callable[[Instance], tuple[InstanceFacts, Octets]]
"""Of an instance as it came what is to be written; RAW1 and the received size stay in the facts."""


def as_it_came(instance: Instance) -> tuple[InstanceFacts, Octets]:
    return instance.facts(), instance.part10


class Intake:
    """Thread-safe; `close` makes every later arrival CLOSED."""

    def __init__(
        self,
        study_uid: Uid,
        expected: Iterable[InstanceRef] | None,
        writer: Writing,
        held: Iterable[InstanceFacts],
        park: Callable[[InstanceFacts, Octets], Parked],
        shape: Shape = as_it_came,
    ) -> None:
        """`expected` is None where the source cannot list instances: everything that comes is taken.

        `park` makes a surplus instance durable outside the pack and returns where it lies. `shape` makes of an
        instance what is to be written.
        """
        self.study_uid = study_uid
        self.counts = Counts()
        self.failure: Exception | None = None
        self._writer = writer
        self._changed = threading.Condition()
        self._park = park
        self._shape = shape
        self._open_ended = expected is None
        self._expected: set[Uid] = {ref.sop_uid for ref in expected or ()}
        self._held: dict[str, InstanceFacts] = {facts.sop_uid: facts for facts in held}
        self._adding: dict[str, Instance] = {}
        self._surplus: dict[str, Parked] = {}
        self._seen: set[str] = set()
        self._rejected: set[str] = set()
        self._last_arrival = time.monotonic()
        self._arrivals = 0
        self._closed = False
        self._spoiled = False

    def accept(self, instance: Instance) -> Arrival:
        """The instance is in the pack, or its fate is named. Blocks while the writer's buffers are full.

        Raises
        ------
        Refused
            Its identity could be read and the rest makes no sense; the intake does not have it.
        """
        sop_uid = instance.sop_uid
        with self._changed:
            self._last_arrival = time.monotonic()
            self._arrivals += 1
            if self._closed:
                return Arrival.CLOSED
            if self.failure is not None:
                return Arrival.FAILED
            self._seen.add(sop_uid)
            parked = self._surplus.get(sop_uid)
            known = self._held.get(sop_uid) or self._adding.get(sop_uid) or (parked.facts if parked else None)
            if known is not None:
                same = known.raw1 == instance.raw1
                self.counts.repeated += same
                self.counts.differing += not same
                return Arrival.REPEATED if same else Arrival.DIFFERS
            surplus = not self._open_ended and sop_uid not in self._expected
            self._adding[sop_uid] = instance
        return self._set_aside(instance) if surplus else self._add(instance)

    def adopt(self, parked: "Parked") -> Arrival:
        """A surplus instance that the source lists after all goes into the pack."""
        with parked.opened() as instance:
            with self._changed:
                del self._surplus[instance.sop_uid]
                self._adding[instance.sop_uid] = instance
            return self._add(instance)

    def spoil(self) -> None:
        """The source has more than it lists. Only a whole retrieve brings that again, so what this process leaves, even
        by dying at the next line, is not resumed; durable before the instance itself is, and before its answer."""
        if not self._spoiled:
            self._writer.spoil()
            self._spoiled = True

    def _set_aside(self, instance: Instance) -> Arrival:
        with self._carried(instance):
            facts = instance.facts()
            self.spoil()
            parked = self._park(facts, instance.part10)
            with self._changed:
                self._surplus[facts.sop_uid] = parked
            return Arrival.SURPLUS
        return Arrival.FAILED

    def _add(self, instance: Instance) -> Arrival:
        with self._carried(instance):
            facts, part10 = self._shape(instance)
            self._writer.add(facts, part10)
            with self._changed:
                self._held[facts.sop_uid] = facts
                self.counts.received += 1
                self.counts.bytes += facts.raw_size
                self.counts.transfer_syntaxes.add(facts.transfer_syntax)
                self._last_arrival = time.monotonic()
            return Arrival.WRITTEN
        return Arrival.FAILED

    @contextmanager
    def _carried(self, instance: Instance) -> Iterator[None]:
        """The instance is in progress no longer, whatever happens; what failed here, and not in it, fails the intake.

        Border of two threads: whatever broke the writer or the rules, the lane has to hear of it, and nobody may wait
        for an instance that is no longer being written.
        """
        failure: Exception | None = None
        try:
            yield
        except Refused:
            raise
        except Exception as error:
            failure = error
        finally:
            with self._changed:
                del self._adding[instance.sop_uid]
                self.failure = self.failure or failure
                self._changed.notify_all()

    def reject(self, sop_uid: str) -> None:
        """The instance came but cannot be understood; asking for it again would bring the same. Ignored for
        instances that this study does not wait for; without a list, or with an empty one, it may be any."""
        with self._changed:
            awaited = self._open_ended or not self._expected or sop_uid in self._expected
            if not awaited or sop_uid in self._held:
                return
            self._rejected.add(sop_uid)
            self._last_arrival = time.monotonic()
            self._arrivals += 1
            self._changed.notify_all()

    def expect(self, refs: Iterable[InstanceRef]) -> None:
        """The source was asked again and named these: they replace the expected set."""
        with self._changed:
            self._expected = {ref.sop_uid for ref in refs}

    def waits_for(self, sop_uid: str) -> bool:
        """The study has this instance, as far as is known; it may be held already."""
        with self._changed:
            return self._open_ended or sop_uid in self._expected

    @property
    def held(self) -> dict[str, InstanceFacts]:
        with self._changed:
            return dict(self._held)

    @property
    def expected(self) -> frozenset[Uid]:
        """What the source listed when it was last asked; empty where it cannot list."""
        with self._changed:
            return frozenset(self._expected)

    @property
    def unlisted(self) -> set[str]:
        """Held, but not (or no longer) on the source's list: what an earlier attempt left of a study that shrank."""
        with self._changed:
            return set() if self._open_ended else self._held.keys() - self._expected

    @property
    def missing(self) -> set[Uid]:
        with self._changed:
            return self._expected - self._held.keys()

    def seen_since_last_asked(self) -> set[str]:
        """SOP Instance UIDs that came since this was last called: what one retrieve brought."""
        with self._changed:
            seen, self._seen = self._seen, set()
            return seen

    @property
    def surplus(self) -> "dict[str, Parked]":
        with self._changed:
            return dict(self._surplus)

    @property
    def rejected(self) -> set[str]:
        with self._changed:
            return set(self._rejected)

    @property
    def arrivals(self) -> int:
        """Every instance that came for this study, whatever became of it."""
        with self._changed:
            return self._arrivals

    def discard_surplus(self) -> None:
        """Surplus instances lie nowhere any more: the study will be pulled again, and they with it."""
        for parked in self.surplus.values():
            parked.discard()

    def wait_settled(self, quiet: timedelta, limit: timedelta, stop: Callable[[], bool]) -> None:
        """Nothing is missing, or nothing has come for `quiet`, or `limit` has passed, or `stop` or a failure.

        An instance that is just being written counts as an arrival in progress, not as quiet.
        """
        deadline = time.monotonic() + limit.total_seconds()
        with self._changed:
            while (self._expected - self._held.keys() - self._rejected) or self._adding:
                now = time.monotonic()
                idle_until = deadline if self._adding else self._last_arrival + quiet.total_seconds()
                left = min(deadline, idle_until) - now
                if left <= 0 or self.failure is not None or stop():
                    return
                self._changed.wait(min(left, STOP_POLL))

    def wait_quiet(self, quiet: timedelta, limit: timedelta, stop: Callable[[], bool]) -> None:
        """Nothing has come for `quiet` since now or the last arrival, or `limit`, `stop` or a failure."""
        start = time.monotonic()
        with self._changed:
            while self.failure is None and not stop():
                now = time.monotonic()
                idle_until = max(start, self._last_arrival) + quiet.total_seconds()
                deadline = start + limit.total_seconds()
                left = deadline - now if self._adding else min(deadline, idle_until) - now
                if left <= 0:
                    return
                self._changed.wait(min(left, STOP_POLL))

    def close(self) -> None:
        """No instance is written any more; returns when the last one in progress is done."""
        with self._changed:
            self._closed = True
            while self._adding:
                self._changed.wait(STOP_POLL)
