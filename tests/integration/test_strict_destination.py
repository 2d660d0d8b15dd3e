"""A strict archive refuses what an old one holds, and takes it as rules make it."""

import io
from datetime import UTC, datetime
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from actors.coercion_options import CoercionOptions
from actors.dimse.store import StoreConversation, StoredAs, StoreEnd
from imaging.coercion.apply import coerce
from imaging.coercion.decisions import Decisions
from imaging.coercion.profiles import objections
from imaging.coercion.rules import Profile
from imaging.digests import raw1
from imaging.header import read_header
from imaging.instance import Instance, identify
from imaging.octets import MemoryOctets, chunks
from imaging.part10 import split_part10
from infra.simulator.strict import StrictArchive

pytestmark = pytest.mark.filterwarnings("ignore")

CT = "1.2.840.10008.5.1.4.1.1.2"
RULES: dict[str, Any] = {
    "rules": [
        {
            "name": "forms",
            "reason": "CORRECT",
            "actions": [
                {"kind": "map", "attribute": "PatientSex", "table": {"Male": "M", "Female": "F"}},
                *(
                    {"kind": "repair", "attribute": name, "otherwise": "empty"}
                    for name in ("StudyDate", "StudyTime", "PatientAge", "SeriesNumber", "PatientBirthDate")
                ),
                {"kind": "repair", "attribute": "BodyPartExamined"},
            ],
        },
        {
            "name": "must-be-there",
            "actions": [
                {"kind": "modality"},
                *(
                    {"kind": "fill", "attribute": name}
                    for name in ("ReferringPhysicianName", "StudyID", "AccessionNumber", "PatientSex")
                ),
                {"kind": "fill", "attribute": "PatientID", "value": "UNKNOWN-1"},
            ],
        },
        {"name": "text", "actions": [{"kind": "utf8", "undeclared": "ISO_IR 100"}]},
    ]
}
DEFECTS: dict[str, dict[str, Any]] = {
    "a date with dots": {"StudyDate": "2019.03.04"},
    "an impossible date of birth": {"PatientBirthDate": "00000000"},
    "a time with colons": {"StudyTime": "12:30:15"},
    "a word for a code": {"PatientSex": "Male"},
    "small letters in a code": {"BodyPartExamined": "chest"},
    "an age without unit": {"PatientAge": "45"},
    "a number that is a decimal": {"SeriesNumber": "3.0"},
    "no modality": {"Modality": None},
    "no patient id": {"PatientID": ""},
    "no accession number at all": {"AccessionNumber": None},
    "text of no declared character set": {"SpecificCharacterSet": None, "PatientName": "Müller^Jörg"},
}


def image(number: int, **values: Any) -> bytes:
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 100"
    made.SOPClassUID, made.SOPInstanceUID = CT, f"1.2.3.4.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    made.Modality, made.PatientID, made.PatientName, made.PatientSex = "CT", "7", "Doe^Jane", "F"
    made.PatientBirthDate, made.StudyDate, made.StudyTime = "19700101", "20200102", "090000"
    made.AccessionNumber, made.StudyID, made.SeriesNumber, made.ReferringPhysicianName = "A1", "1", "3", ""
    for keyword, value in values.items():
        if keyword == "SpecificCharacterSet" or value is None:
            continue
        setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    gone = [keyword for keyword, value in values.items() if value is None]
    buffer = io.BytesIO()
    if "SpecificCharacterSet" not in gone:
        for keyword in gone:
            del made[keyword]
        pydicom.dcmwrite(buffer, made, enforce_file_format=True)
        return buffer.getvalue()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    # pydicom writes no text outside ASCII without a declaration: the declaration is taken out of the bytes.
    return buffer.getvalue().replace(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", b"")


def instance_of(part10: bytes) -> Instance:
    octets = MemoryOctets(part10)
    envelope = split_part10(octets)
    received = raw1(octets, envelope.dataset_offset, envelope.transfer_syntax)
    return identify(octets, envelope.dataset_offset, envelope.transfer_syntax, received)


def coerced(part10: bytes) -> bytes:
    rules = CoercionOptions(**RULES).rule_set()
    made = coerce(instance_of(part10), Decisions(rules, source="source", moment=datetime(2026, 11, 24, tzinfo=UTC)))
    return b"".join(chunks(made.part10, 0, made.part10.size))


def sent(archive: StrictArchive, files: list[bytes]) -> list[StoreEnd]:
    conversation = StoreConversation(
        host="127.0.0.1",
        port=archive.port,
        called_ae=archive.ae_title,
        calling_ae="LIMOSA",
        pairs=(StoredAs(CT, ExplicitVRLittleEndian),),
    )
    try:
        return [conversation.send(MemoryOctets(part10)).end for part10 in files]
    finally:
        conversation.close()


def test_a_strict_archive_refuses_raw_studies_and_accepts_the_coerced_ones() -> None:
    raw = [image(number, **values) for number, values in enumerate(DEFECTS.values(), 1)]

    with StrictArchive() as archive:
        before = sent(archive, raw)
        refused = dict(archive.refused)
        after = sent(archive, [coerced(part10) for part10 in raw])

    assert StoreEnd.STORED not in before
    assert len(refused) == len(DEFECTS)
    assert after == [StoreEnd.STORED] * len(DEFECTS), archive.refused
    assert str(archive.stored[f"1.2.3.4.{len(DEFECTS)}"].PatientName) == "Müller^Jörg"
    assert archive.stored["1.2.3.4.1"].StudyDate == "20190304"


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_strict_profile_says_beforehand_what_will_be_refused(defect: str) -> None:
    raw = image(1, **DEFECTS[defect])

    before, after = (objections(header_of(part10), Profile.STRICT) for part10 in (raw, coerced(raw)))

    assert before
    assert after == ()


def test_a_sound_instance_is_taken_by_all_of_them() -> None:
    part10 = image(1)

    assert [objections(header_of(part10), profile) for profile in Profile] == [()] * len(Profile)
    with StrictArchive() as archive:
        assert sent(archive, [part10]) == [StoreEnd.STORED]


def header_of(part10: bytes):
    octets = MemoryOctets(part10)
    envelope = split_part10(octets)
    return read_header(octets, envelope.dataset_offset, envelope.transfer_syntax)
