"""A header that was read back is held against the plan, by nothing that took part in writing it."""

import io
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from imaging.header import Header, read_header
from imaging.identity.delivered import demands, departures
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10

DECIDED: dict[str, Any] = {
    "asked": ["NORTH", "7"],
    "numbers": [["NORTH", "1"], ["NORTH", "7"]],
    "patient": ["NORTH", "1"],
    "universal": ["2.999.1", "ISO"],
    "person": {"name": "Noe^Jane", "birth_date": "19700101", "sex": "F"},
    "rule": "identity/1",
    "accessions": [["17", "RIS", "00000017", "", ""]],
    "accession_rule": "pad/1",
}


def item(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def header(**values: Any) -> Header:
    """As the plan wants it, but for `values`; None takes an attribute away."""
    made = item(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.7",
        SOPInstanceUID="1.2.3",
        PatientID="1",
        IssuerOfPatientID="NORTH",
        IssuerOfPatientIDQualifiersSequence=[item(UniversalEntityID="2.999.1", UniversalEntityIDType="ISO")],
        PatientName="Noe^Jane^^",
        PatientBirthDate="19700101",
        PatientSex="F",
        AccessionNumber="00000017",
        IssuerOfAccessionNumberSequence=[item(LocalNamespaceEntityID="RIS")],
        RequestAttributesSequence=[item(AccessionNumber="00000017"), item(AccessionNumber="OTHER")],
        OriginalAttributesSequence=[item(ModifiedAttributesSequence=[item(PatientID="7", AccessionNumber="17")])],
    )
    for keyword, value in values.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    octets = MemoryOctets(buffer.getvalue())
    envelope = split_part10(octets)
    return read_header(octets, envelope.dataset_offset, envelope.transfer_syntax)


def test_a_header_as_planned_has_nothing_to_tell() -> None:
    assert departures(header(), DECIDED, kept=True) == ()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"PatientID": "7"}, "PatientID"),
        ({"PatientID": None}, "PatientID"),
        ({"IssuerOfPatientID": "SOUTH"}, "IssuerOfPatientID"),
        ({"IssuerOfPatientIDQualifiersSequence": None}, "IssuerOfPatientIDQualifiersSequence"),
        ({"PatientBirthDate": "19700102"}, "PatientBirthDate"),
        ({"PatientSex": None}, "PatientSex"),
        ({"PatientName": "Noe^June"}, "PatientName"),
        ({"AccessionNumber": "17 "}, "AccessionNumber"),
        ({"IssuerOfAccessionNumberSequence": None}, "IssuerOfAccessionNumberSequence"),
        ({"RequestAttributesSequence": [item(AccessionNumber="17")]}, "RequestAttributesSequence"),
        ({"ReferencedRequestSequence": [item(AccessionNumber="17")]}, "ReferencedRequestSequence"),
        ({"OriginalAttributesSequence": None}, "OriginalAttributesSequence"),
        ({"OriginalAttributesSequence": [item(ModifyingSystem="X")]}, "OriginalAttributesSequence"),
    ],
)  # fmt: skip
def test_whatever_is_not_as_planned_is_named(values: dict[str, Any], told: str) -> None:
    assert departures(header(**values), DECIDED, kept=True) == (told,)


@pytest.mark.parametrize(
    ("values", "decided"),
    [
        # Another order's number, and one that the source had in its new form already, with whoever gave it there.
        ({"AccessionNumber": "OTHER"}, DECIDED),
        ({"OriginalAttributesSequence": None, "IssuerOfAccessionNumberSequence": None}, DECIDED),
        # The character set may lack the index's letters.
        ({"PatientName": "MULLER^EVA"}, DECIDED | {"person": {"name": "Müller^Eva"}}),
        ({"PatientID": "99", "PatientSex": "M"}, {"accessions": DECIDED["accessions"]}),
        ({"AccessionNumber": "17"}, {"patient": ["NORTH", "1"]}),
        ({"AccessionNumber": "17"}, DECIDED | {"accessions": [["17", "RIS", "17", "", ""]]}),
    ],
)
def test_what_the_plan_does_not_demand_may_be_as_it_is(values: dict[str, Any], decided: dict[str, Any]) -> None:
    assert departures(header(**values), decided, kept=False) == ()


def test_a_plan_that_holds_for_no_header_demands_nothing() -> None:
    assert demands(DECIDED)
    assert demands({"accessions": DECIDED["accessions"]})
    assert not demands({"digest": "00", "rules": "x", "verdict": "auto"})
