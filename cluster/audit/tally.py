"""What a sample holds of private elements, counted by creator, group and low byte. Pure."""

from collections import Counter
from dataclasses import dataclass, field

from imaging.dose.reading import read_dose
from imaging.dose.records import DOSE, Kind
from imaging.equipment import Equipment, read_equipment
from imaging.errors import Refused
from imaging.header import Header
from imaging.private.dictionary import Meaning, meaning_of
from imaging.private.sighting import Sighting, sightings
from imaging.uid import Uid

Triple = tuple[str, int, int]
"""Creator, group and low byte."""
Device = tuple[str, str, str, int | None]
"""Modality, manufacturer, model, year."""
UNSAID = ""


@dataclass(slots=True)
class ElementTally:
    """One private element in the sample."""

    instances: int = 0
    studies: set[Uid] = field(default_factory=set[Uid])
    devices: set[Device] = field(default_factory=set[Device])
    vrs: set[str] = field(default_factory=set[str])
    example: str = ""
    suspect: int = 0
    """Instances in which it is text that could name a patient."""
    nested: int = 0
    largest: int = 0


@dataclass(slots=True)
class Tally:
    """The sample as it is read."""

    elements: dict[Triple, ElementTally] = field(default_factory=dict[Triple, ElementTally])
    devices: Counter[Device] = field(default_factory=Counter[Device])
    """Instances of each device."""
    studies: set[Uid] = field(default_factory=set[Uid])
    instances: int = 0
    unreadable: int = 0
    dose_kinds: Counter[str] = field(default_factory=Counter[str])
    dose_places: Counter[str] = field(default_factory=Counter[str])
    """Where CTDIvol or DLP stood, in how many instances."""

    def add(self, study_uid: Uid, header: Header, year: int | None) -> None:
        """One instance is counted; each element of it once."""
        self.instances += 1
        self.studies.add(study_uid)
        device = _device(read_equipment(header), year)
        self.devices[device] += 1
        seen: set[Triple] = set()
        for found in sightings(header):
            triple = (found.creator, found.group, found.low)
            tally = self.elements.setdefault(triple, ElementTally())
            if triple not in seen:
                seen.add(triple)
                tally.instances += 1
                tally.studies.add(study_uid)
                tally.devices.add(device)
            _sighted(tally, found)
        self._dose(header)

    def _dose(self, header: Header) -> None:
        try:
            said = read_dose(header)
        except Refused:
            return
        if said is None or said.kind is Kind.OTHER:
            return
        self.dose_kinds[said.kind.value] += 1
        exposures = (said.exposure, *said.items)
        for where in {each.numbers[quantity].where for each in exposures for quantity in DOSE & each.numbers.keys()}:
            self.dose_places[where] += 1


def _sighted(tally: ElementTally, found: Sighting) -> None:
    tally.vrs.add(found.vr or "implicit")
    tally.nested += found.nested
    tally.suspect += found.suspect
    tally.largest = max(tally.largest, found.length)
    if not tally.example:
        tally.example = found.example


def _device(equipment: Equipment, year: int | None) -> Device:
    return (equipment.modality or UNSAID, equipment.manufacturer or UNSAID, equipment.model or UNSAID, year)


def meaning(triple: Triple) -> Meaning:
    return meaning_of(*triple)
