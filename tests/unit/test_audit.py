"""The audit of private elements: what is counted, what a destination made of it, what needs a person's word."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from cluster.audit.document import Audited, document_of
from cluster.audit.roundtrip import RoundTrip
from cluster.audit.tally import Tally
from cluster.reports.audit_page import page_of
from imaging.compare import Change
from imaging.header import read_header
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10
from imaging.uid import Uid
from storage.ledger.audits import ChosenStudy, Fate, PrivateDecision

pytestmark = pytest.mark.filterwarnings("ignore")

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas" / "audit.json"
AT = datetime(2026, 11, 24, 14, 5, tzinfo=UTC)
STRANGER = "<script>alert(1)</script>"


def image(number: int = 1) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.StudyInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    made.SeriesInstanceUID, made.SOPInstanceUID = "1.2.3.1", f"1.2.3.1.{number}"
    made.Modality, made.Manufacturer, made.ManufacturerModelName = "CT", "TOSHIBA", "Aquilion"
    made.PatientName, made.StationName = "Doe^Jane", "CT1"
    made.private_block(0x7005, "TOSHIBA_MEC_CT3", create=True).add_new(0x40, "FD", 612.3)
    made.private_block(0x0021, STRANGER, create=True).add_new(0x01, "LO", "Jane Doe")
    return made


def octets_of(made: Dataset) -> MemoryOctets:
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return MemoryOctets(buffer.getvalue())


def tally_of(*made: Dataset) -> Tally:
    tally = Tally()
    for one in made:
        octets = octets_of(one)
        envelope = split_part10(octets)
        header = read_header(octets, envelope.dataset_offset, envelope.transfer_syntax)
        tally.add(Uid(one.StudyInstanceUID), header, 2020)
    return tally


def decision(low: int | None, fate: Fate, creator: str = STRANGER, group: int = 0x0021) -> PrivateDecision:
    return PrivateDecision(
        at=AT, creator=creator, element_group=group, low=low, decision=fate, decided_by="B. Lead", note=""
    )


def audited(*decisions: PrivateDecision, trip: RoundTrip | None = None) -> dict[str, Any]:
    return document_of(
        Audited(
            job="move",
            at=AT,
            seed="1",
            destination="vna",
            read_from="written",
            keeps_bytes=trip is None,
            chosen=[ChosenStudy(study_uid=Uid("1.2.3"), modalities=("CT",), year=2020, of=7)],
            tally=tally_of(image(1), image(2)),
            round_trip=trip,
            decisions=decisions,
        )
    )


def element_of(document: dict[str, Any], creator: str, low: str) -> dict[str, Any]:
    [block] = [one for one in document["blocks"] if one["creator"] == creator]
    return next(one for one in block["elements"] if one["low"] == low)


def trip_with(change: Any) -> RoundTrip:
    back = image()
    change(back)
    trip = RoundTrip("vna")
    trip.add(octets_of(image()), octets_of(back))
    return trip


def test_elements_are_counted_and_what_is_unknown_needs_a_word() -> None:
    document = audited()

    known, unknown = element_of(document, "TOSHIBA_MEC_CT3", "40"), element_of(document, STRANGER, "01")
    assert (known["instances"], known["role"], known["decision"], known["open"]) == (2, "dose", "keep", False)
    assert (unknown["meaning"], unknown["decision"], unknown["open"]) == ("", None, True)
    assert document["open"] == 1
    assert document["sample"]["strata"] == [{"modalities": ["CT"], "year": 2020, "studies": 1, "of": 7}]


def test_no_value_of_a_patient_is_in_the_document() -> None:
    text = json.dumps(audited())

    assert "Jane" not in text
    assert "Doe" not in text
    assert element_of(audited(), STRANGER, "01")["example"] == "Aaaa Aaa"
    assert element_of(audited(), STRANGER, "01")["suspect"] == 2


def test_a_word_on_the_block_stands_for_its_elements_and_one_on_the_element_goes_before_it() -> None:
    of_block = audited(decision(None, Fate.KEEP))
    of_both = audited(decision(None, Fate.KEEP), decision(1, Fate.ACCEPT_LOSS))

    assert of_block["open"] == 0
    assert element_of(of_block, STRANGER, "01")["decided_by"] == "B. Lead"
    assert element_of(of_both, STRANGER, "01")["decision"] == "accept_loss"


def test_what_a_destination_drops_is_found_and_needs_a_word_even_if_it_is_known() -> None:
    def drop(back: Dataset) -> None:
        del back[0x70051040]

    document = audited(trip=trip_with(drop))

    dropped = element_of(document, "TOSHIBA_MEC_CT3", "40")
    assert (dropped["fate"], dropped["open"]) == ("dropped", True)
    assert element_of(document, STRANGER, "01")["fate"] == "kept"
    [dose] = [one for one in document["findings"] if one["role"] == "dose"]
    assert dose["dropped"] == 1
    assert document["round_trip"]["equal"] == 0


def test_a_block_that_moved_was_not_dropped() -> None:
    def move(back: Dataset) -> None:
        del back[0x70050010], back[0x70051040]
        back.add_new(0x700500A0, "LO", "TOSHIBA_MEC_CT3")
        back.add_new(0x7005A040, "FD", 612.3)

    assert trip_with(move).equal == 1


def test_standard_elements_that_changed_are_listed_by_name() -> None:
    def change(back: Dataset) -> None:
        back.StationName = "VNA"
        del back.PatientName
        back.RetrieveAETitle = "VNA"

    rows = {(place.name, change) for place, change in trip_with(change).differences}

    assert rows == {
        ("StationName", Change.CHANGED),
        ("PatientName", Change.REMOVED),
        ("RetrieveAETitle", Change.ADDED),
    }


def test_a_private_element_inside_a_sequence_is_told_by_its_creator() -> None:
    item = Dataset()
    item.private_block(0x0011, "INNER", create=True).add_new(0x10, "LO", "x")
    sent, back = image(), image()
    sent.ReferencedImageSequence, back.ReferencedImageSequence = [item], [Dataset()]
    trip = RoundTrip("vna")

    trip.add(octets_of(sent), octets_of(back))

    [(place, change)] = trip.differences
    assert (place.name, change) == ("ReferencedImageSequence > (0011,xx10) INNER", Change.REMOVED)


def test_the_document_is_as_its_schema_says() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))

    jsonschema.validate(json.loads(json.dumps(audited())), schema)
    jsonschema.validate(json.loads(json.dumps(audited(trip=trip_with(lambda back: None)))), schema)


def test_the_page_shows_names_of_archives_as_text() -> None:
    page = page_of(audited(trip=trip_with(lambda back: None)))

    assert STRANGER not in page
    assert "&lt;script&gt;" in page
    assert "Jane" not in page


def test_a_page_of_nothing_does_not_look_like_an_audit_that_went_well() -> None:
    empty = document_of(
        Audited(
            job="move",
            at=AT,
            seed="1",
            destination="vna",
            read_from="written",
            keeps_bytes=True,
            chosen=[],
            tally=Tally(),
            round_trip=None,
            decisions=[],
        )
    )

    page = page_of(empty)

    assert "nothing was looked at" in page
    assert "nothing is open" not in page
