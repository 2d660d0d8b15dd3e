"""Dose of DICOM files on disk: the way of a study in a mover, nothing moved."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from imaging.dose.context import Context, context_of
from imaging.dose.reading import read_dose
from imaging.dose.records import UNITS, InstanceDose, Number, StudyDose
from imaging.dose.report import build_report, report_uids
from imaging.dose.study import gather
from imaging.errors import Refused
from imaging.header import STUDY_INSTANCE_UID, read_header
from imaging.octets import Octets
from imaging.part10 import split_part10
from imaging.uid import Uid


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStudy:
    """One study among the files."""

    study_uid: Uid
    dose: StudyDose
    context: Context | None
    """None where nothing concerns dose."""

    def report(self, when: datetime) -> tuple[Uid, bytes] | None:
        """UID and file of the report that would be added; None where there would be none."""
        if self.context is None or not self.dose.reportable:
            return None
        return report_uids(self.context, self.dose)[1], build_report(self.dose, self.context, when)


@dataclass(slots=True)
class Gathering:
    """The files of one or more studies, read one after the other."""

    said: dict[Uid, list[InstanceDose]]
    contexts: dict[Uid, Context]
    refused: list[tuple[Path, str]]

    @classmethod
    def empty(cls) -> "Gathering":
        return cls({}, {}, [])

    def add(self, path: Path, part10: Octets) -> None:
        """What the file says is known; one that is no instance is listed with the reason."""
        try:
            envelope = split_part10(part10)
            header = read_header(part10, envelope.dataset_offset, envelope.transfer_syntax)
            study = header.uid(STUDY_INSTANCE_UID, "StudyInstanceUID")
            said = read_dose(header)
            self.said.setdefault(study, [])
            if said is None:
                return
            self.said[study].append(said)
            if study not in self.contexts or said.sop_uid < self.contexts[study].sop_uid:
                self.contexts[study] = context_of(header)
        except Refused as error:
            self.refused.append((path, str(error)))

    def studies(self) -> Iterator[FileStudy]:
        for study, said in sorted(self.said.items()):
            yield FileStudy(study_uid=study, dose=gather(said), context=self.contexts.get(study))


def rows_of(study: FileStudy) -> Iterator[dict[str, Any]]:
    """Every number of the study, one a row, with what it was taken from."""
    dose = study.dose
    head = {"study_uid": study.study_uid, "status": dose.status}
    if dose.total_dlp is not None:
        yield head | {"event": "all", "quantity": "dlp"} | _number(dose.total_dlp, "mGy.cm")
    for event in dose.events:
        shown: Iterable[tuple[str, Number, str]] = [(q.value, n, UNITS[q]) for q, n in event.numbers.items()]
        for quantity, number, unit in shown:
            yield head | {"event": str(event.number), "quantity": quantity} | _number(number, unit)


def _number(number: Number, unit: str) -> dict[str, Any]:
    return {
        "value": f"{number.value:f}",
        "unit": unit,
        "basis": number.basis,
        "where": number.where,
        "instances": number.instances,
    }
