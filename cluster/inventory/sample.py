"""Looks into studies before they move: one image of each series is retrieved, read, and let go.

Nothing is delivered. Devices, encodings and sizes are the same in all of a series but for rare ones, so one image
tells what a query cannot: who made it, how it is encoded, how large it is, and whether it can be read at all.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from actors.dimse.incoming import Incoming
from actors.source import InstanceRef, MoveEnd, MoveOutcome, MoveTarget, Source, SourceUnending
from imaging.dose.reading import read_dose
from imaging.dose.study import gather
from imaging.equipment import read_equipment
from imaging.errors import Refused
from imaging.instance import identify
from imaging.likeness import Likenesses
from imaging.uid import Uid
from storage.ledger.ledger import Ledger
from storage.ledger.samples import SampledSeries, SampledStudy

HELD = 0x0000
CANNOT_UNDERSTAND = 0xC000

GLANCE = timedelta(milliseconds=500)
"""Wait for an image that the archive says it did not send: its answer may have overtaken it."""

ATTEMPTS = 3
"""Times a study is asked for while the archive says it is busy."""

BUSY_PAUSE = 5.0
"""Seconds before a busy archive is asked again."""


class SamplingRefused(Exception):
    """The archive does not know our receiver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleProgress:
    """How far a sample is."""

    wanted: int
    done: int = 0
    damaged: int = 0
    absent: int = 0


class Shelf:
    """What arrived, read, by the SOP Instance UID that the command names; the bytes are let go."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: dict[str, SampledSeries] = {}
        self._likenesses = Likenesses()

    def take(self, incoming: Incoming) -> int:
        """A receiver's handler."""
        read = self._read(incoming)
        with self._changed:
            self._held[incoming.sop_uid.rstrip("\0 ")] = read
            self._changed.notify_all()
        return HELD if read.outcome == "read" else CANNOT_UNDERSTAND

    def take_away(self, sop_uid: Uid, patience: timedelta) -> SampledSeries | None:
        """The image, if it came within `patience`."""
        with self._changed:
            self._changed.wait_for(lambda: sop_uid in self._held, patience.total_seconds())
            return self._held.pop(sop_uid, None)

    def _read(self, incoming: Incoming) -> SampledSeries:
        try:
            instance = identify(
                incoming.part10,
                incoming.dataset_offset,
                incoming.transfer_syntax,
                incoming.raw1,
                likenesses=self._likenesses,
            )
            facts = instance.facts()
            found = read_equipment(instance.reading.header, facts.flags)
            dose = read_dose(instance.reading.header)
        except Refused:
            return SampledSeries(series_uid=Uid(""), instances=0, outcome="damaged", size=incoming.part10.size)
        return SampledSeries(
            series_uid=instance.series_uid,
            instances=0,
            outcome="read",
            size=incoming.part10.size,
            sop_class=instance.sop_class,
            transfer_syntax=instance.transfer_syntax,
            modality=found.modality,
            manufacturer=found.manufacturer,
            model=found.model,
            station=found.station,
            charset=found.charset,
            marks=found.marks,
            dose=None if dose is None else gather((dose,)).status.value,
        )


class Sampler:
    """Looks into one study after the other, over one conversation with the archive."""

    def __init__(
        self,
        source: Source,
        shelf: Shelf,
        ledger: Ledger,
        *,
        receiver: str,
        quiet: timedelta,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._shelf = shelf
        self._ledger = ledger
        self._receiver = receiver
        self._quiet = quiet
        self._sleep = sleep
        self._clock = clock

    def look_into(self, studies: Sequence[tuple[int, Uid]], report: Callable[[SampleProgress], None]) -> SampleProgress:
        """Each study's sample is in the ledger; interrupted, what was looked into stays.

        Raises
        ------
        SamplingRefused, SourceUnreachable
            The archive sends nothing to us, or is away.
        """
        done = damaged = absent = 0
        for study_key, study_uid in studies:
            seen = self._study(study_key, study_uid)
            if seen is not None:
                self._ledger.samples.record(seen)
                damaged += sum(one.outcome == "damaged" for one in seen.series)
                absent += sum(one.outcome == "absent" for one in seen.series)
            done += 1
            report(SampleProgress(wanted=len(studies), done=done, damaged=damaged, absent=absent))
        return SampleProgress(wanted=len(studies), done=done, damaged=damaged, absent=absent)

    def _study(self, study_key: int, study_uid: Uid) -> SampledStudy | None:
        """None where the archive stayed busy: another sample asks for it again."""
        began = self._clock()
        try:
            listed = self._source.list_instances(study_uid)
        except SourceUnending:
            return SampledStudy(study_key=study_key, listed=False, seconds=self._clock() - began, series=())
        found: list[SampledSeries] = []
        for series_uid, refs in by_series(listed.instances):
            one = self._series(study_uid, series_uid, refs)
            if one is None:
                return None
            found.append(one)
        return SampledStudy(
            study_key=study_key,
            listed=listed.complete and not listed.undecodable,
            seconds=self._clock() - began,
            series=tuple(found),
        )

    def _series(self, study_uid: Uid, series_uid: Uid, refs: Sequence[InstanceRef]) -> SampledSeries | None:
        # The one in the middle: first ones are scouts and covers more often.
        chosen = refs[len(refs) // 2].sop_uid
        target = MoveTarget(study_uid=study_uid, series_uid=series_uid, sop_uids=(chosen,))
        outcome = retrieved(self._source, target, self._receiver, self._sleep)
        if outcome is None:
            return None
        came = self._shelf.take_away(chosen, self._quiet if was_sent(outcome) else GLANCE)
        if came is None:
            return SampledSeries(series_uid=series_uid, instances=len(refs), outcome="absent")
        return SampledSeries(
            series_uid=series_uid,
            instances=len(refs),
            outcome=came.outcome,
            size=came.size,
            sop_class=came.sop_class,
            transfer_syntax=came.transfer_syntax,
            modality=came.modality,
            manufacturer=came.manufacturer,
            model=came.model,
            station=came.station,
            charset=came.charset,
            marks=came.marks,
            dose=came.dose,
        )


def retrieved(
    source: Source, target: MoveTarget, receiver: str, sleep: Callable[[float], None] = time.sleep
) -> MoveOutcome | None:
    """How the retrieve ended; None where the archive stayed busy. Raises `SamplingRefused`."""
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(BUSY_PAUSE)
        outcome = source.retrieve(target, receiver, lambda: False)
        if outcome.end is MoveEnd.UNKNOWN_DESTINATION:
            raise SamplingRefused(f"the archive does not know the AE title {receiver}")
        if outcome.end is not MoveEnd.BUSY:
            return outcome
    return None


def was_sent(outcome: MoveOutcome) -> bool:
    """The archive claims to have sent something."""
    return outcome.end is MoveEnd.SUCCESS and outcome.completed != 0


def by_series(refs: Iterable[InstanceRef]) -> list[tuple[Uid, list[InstanceRef]]]:
    """Instances by series, both in order."""
    found: dict[Uid, list[InstanceRef]] = defaultdict(list)
    for ref in refs:
        found[ref.series_uid].append(ref)
    return sorted(found.items())
