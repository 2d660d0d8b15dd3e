"""The dose of a study while it is pulled, and the report that is added to it.

What instances say of dose is gathered as they pass; when the study is complete, a report that can be made is written
into the same pack. It is not the source's: its facts bear the flag ADDED, and the custody log says what it is.
"""

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from actors.dose_options import DoseOptions
from actors.intake import Shape
from imaging.digests import raw1
from imaging.dose.context import Context, context_of
from imaging.dose.reading import concerns_dose, read_dose
from imaging.dose.records import DoseStatus, InstanceDose, Quantity, StudyDose
from imaging.dose.report import RULE_VERSION, build_report
from imaging.dose.study import gather
from imaging.facts import InstanceFacts
from imaging.flags import Flag
from imaging.header import Header, read_header
from imaging.instance import Instance, identify
from imaging.octets import MemoryOctets, Octets
from imaging.part10 import split_part10
from storage.ledger.records import CustodyNote, Json

Made = tuple[InstanceFacts, Octets]
"""An instance that Limosa made."""


class Additions(Protocol):
    """What may be added to a study when all of it is there."""

    def must_see(self, resumed: Sequence[InstanceFacts]) -> bool:
        """The study cannot be judged without these instances, which an earlier attempt wrote: start it over."""
        ...

    def made(self, held: Mapping[str, InstanceFacts]) -> Sequence[Made]:
        """What is to be written beside the instances the source sent."""
        ...


class NothingAdded:
    """The study stays as it came."""

    def must_see(self, resumed: Sequence[InstanceFacts]) -> bool:
        return False

    def made(self, held: Mapping[str, InstanceFacts]) -> Sequence[Made]:
        return ()


class Dosing:
    """One attempt at one study. Thread-safe: instances come through several associations."""

    def __init__(self, options: DoseOptions, shape: Shape, planned_at: datetime) -> None:
        """`shape` makes of an instance what is written; `planned_at` goes into the report, for every attempt at a
        delivery must write the same bytes."""
        self._adds = options.reports == "add"
        self._shape = shape
        self._planned_at = planned_at
        self._lock = threading.Lock()
        self._said: dict[str, InstanceDose] = {}
        self._context: Context | None = None
        self._found: StudyDose | None = None
        self._made: tuple[Made, ...] = ()

    def shape(self, instance: Instance) -> tuple[InstanceFacts, Octets]:
        """As the shape it was given; what the instance says of dose is remembered."""
        facts, part10 = self._shape(instance)
        said = read_dose(instance.reading.header)
        if said is not None:
            with self._lock:
                first = self._context is None or said.sop_uid < self._context.sop_uid
            # As delivered: rules may have given the patient another number.
            context = context_of(_delivered(instance, part10)) if first else None
            with self._lock:
                self._said[said.sop_uid] = said
                if context and (self._context is None or context.sop_uid < self._context.sop_uid):
                    self._context = context
        return facts, part10

    def must_see(self, resumed: Sequence[InstanceFacts]) -> bool:
        return any(concerns_dose(one.sop_class) for one in resumed)

    def made(self, held: Mapping[str, InstanceFacts]) -> Sequence[Made]:
        with self._lock:
            said = [one for one in self._said.values() if one.sop_uid in held]
        self._found = gather(said)
        if self._adds and self._found.reportable and self._context is not None:
            self._made = (_instance(build_report(self._found, self._context, self._planned_at)),)
        return self._made

    @property
    def noted(self) -> Json:
        """For the custody log, after `made`; nothing where the study has no CT."""
        found = self._found
        if found is None or (found.status is DoseStatus.NO_CT and not found.counts):
            return {}
        added = [{"sop_uid": facts.sop_uid, "what": "dose report", "by": "Limosa"} for facts, _ in self._made]
        return {"dose": summary_of(found), **({"added": added} if added else {})}


def summary_of(found: StudyDose) -> Json:
    """What a study's dose comes to; numbers as text, to the last digit."""
    return {
        "status": found.status.value,
        "rules": RULE_VERSION,
        "events": [
            {
                quantity.value: {"value": f"{number.value:f}", "basis": number.basis.value, "where": number.where}
                for quantity in (Quantity.CTDIVOL, Quantity.DLP)
                if (number := event.numbers.get(quantity)) is not None
            }
            for event in found.events[:EVENTS_NOTED]
        ],
        "event_count": len(found.events),
        "total_dlp": None if found.total_dlp is None else f"{found.total_dlp.value:f}",
        "obstacles": [one.value for one in found.obstacles],
        "conflicts": list(found.conflicts),
        "instances": {kind.value: count for kind, count in found.counts.items()},
    }


EVENTS_NOTED = 100
"""Events whose numbers stand in the custody log; interventional studies have some hundreds."""


def _delivered(instance: Instance, part10: Octets) -> Header:
    if part10 is instance.part10:
        return instance.reading.header
    return read_header(part10, instance.dataset_offset, instance.transfer_syntax)


def _instance(part10: bytes) -> Made:
    octets = MemoryOctets(part10)
    envelope = split_part10(octets)
    digest = raw1(octets, envelope.dataset_offset, envelope.transfer_syntax)
    made = identify(octets, envelope.dataset_offset, envelope.transfer_syntax, digest, flags=frozenset((Flag.ADDED,)))
    return made.facts(), octets


def with_more(note: CustodyNote, more: Json) -> CustodyNote:
    """The note with these fields, too."""
    return CustodyNote(event=note.event, payload={**note.payload, **more}) if more else note
