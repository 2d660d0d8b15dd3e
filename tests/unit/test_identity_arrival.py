"""Which instances of a study are let through at the border, once a person has let something pass."""

import io
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset as Made
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from actors.identity_options import IdentityOptions
from imaging.coercion.attributes import name_of
from imaging.coercion.dataset import Dataset
from imaging.coercion.errors import NotCoercible
from imaging.header import read_header
from imaging.identity.arrival import Arriving, MixedPatient, UnlistedAccession
from imaging.identity.planned import planned_identity
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10

OPTIONS = IdentityOptions(issuers=({"name": "NORTH"},), default_issuer="NORTH")
JANE = {"name": "Noe^Jane", "birth_date": "19700101", "sex": "F"}
KARL = {"name": "Zorn^Karl", "birth_date": "19550505", "sex": "M"}
CONTENT: dict[str, Any] = {
    "asked": ["NORTH", "1"],
    "numbers": [["NORTH", "1"]],
    "patient": ["NORTH", "1"],
    "person": JANE,
    "rule": "identity/1",
}
ACCEPTED = ("DEMOGRAPHIC_CONFLICT",)


def header(name: str = "", born: str = "", sex: str = "", number: str = "1", **values: Any) -> Dataset:
    made = Made()
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID = "1.2.1", "1.2.2", "1.2.3"
    made.PatientName, made.PatientBirthDate, made.PatientSex, made.PatientID = name, born, sex, number
    for keyword, value in values.items():
        setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, implicit_vr=False, little_endian=True, enforce_file_format=True)
    octets = MemoryOctets(buffer.getvalue())
    envelope = split_part10(octets)
    return Dataset(read_header(octets, envelope.dataset_offset, envelope.transfer_syntax))


def changed(dataset: Dataset, content: dict[str, Any], *accepted: str) -> set[str]:
    arriving = Arriving(planned_identity(content), OPTIONS.authorities(), OPTIONS.thresholds(), frozenset(accepted))
    return {name_of(change.tag) for change in arriving.changes(dataset)}


@pytest.mark.parametrize(
    "told",
    [
        ("ZORN^KARL", "19550505", "M"),
        ("Zorn^Karl", "", ""),
        ("", "19550505", ""),
        ("Noe^Jane", "19700101", "F"),
        ("Noe^Jane", "", ""),
        ("", "", ""),
    ],
)
def test_the_two_people_who_were_accepted_are_let_through(told: tuple[str, str, str]) -> None:
    assert "IssuerOfPatientID" in changed(header(*told), CONTENT | {"listed": KARL}, *ACCEPTED)


@pytest.mark.parametrize(
    "told",
    [
        ("Bo^Lin", "20010101", "F"),
        ("Bo^Lin", "", ""),
        ("Bo^Lin", "19550505", "M"),
        ("Zorn^Karl", "20010101", "M"),
        ("Zorn^Anna", "19550505", ""),
    ],
)
def test_a_third_person_is_not(told: tuple[str, str, str]) -> None:
    with pytest.raises(MixedPatient):
        changed(header(*told), CONTENT | {"listed": KARL}, *ACCEPTED)


def test_an_acceptance_that_names_nobody_lets_nobody_through() -> None:
    with pytest.raises(MixedPatient):
        changed(header("Zorn^Karl", "19550505", "M"), CONTENT, *ACCEPTED)


def test_whom_nobody_accepted_is_not_let_through() -> None:
    with pytest.raises(MixedPatient):
        changed(header("Zorn^Karl", "19550505", "M"), CONTENT | {"listed": KARL})


def test_an_accepted_person_does_not_keep_a_name_that_the_plan_replaces() -> None:
    content = CONTENT | {"listed": KARL, "person": JANE | {"name": "Żuk^Jane"}}

    with pytest.raises(NotCoercible) as refused:
        changed(header("Zorn^Karl", "19550505", "M"), content, *ACCEPTED)

    assert not isinstance(refused.value, MixedPatient)


@pytest.mark.parametrize("number", ["17", " 18 ", ""])
def test_a_study_of_several_patients_keeps_the_numbers_it_is_listed_under(number: str) -> None:
    assert changed(header("Bo^Lin", number=number), {"among": [["17", None], ["18", "NORTH"]]}) == set()


def test_a_number_that_a_study_of_several_patients_is_not_listed_under_is_not_let_through() -> None:
    with pytest.raises(MixedPatient):
        changed(header("Bo^Lin", number="19"), {"among": [["17", None], ["18", "NORTH"]]})


NUMBERED = CONTENT | {
    "listed_accession": "17 ",
    "further": ["B-9"],
    "accessions": [["17", "", "00000017", "", ""], ["B-9", "", "B9", "", ""]],
    "accession_rule": "pad/1 b/1",
}


@pytest.mark.parametrize("number", ["17", " 17", "00000017", "B-9", "B9", ""])
def test_accession_numbers_that_the_plan_knows_are_let_through(number: str) -> None:
    found = changed(header("Noe^Jane", "19700101", AccessionNumber=number), NUMBERED)

    assert ("AccessionNumber" in found) is (number.strip() in ("17", "B-9"))


def test_an_accession_number_that_no_plan_knows_is_not_and_no_message_tells_it() -> None:
    with pytest.raises(UnlistedAccession) as refused:
        changed(header("Noe^Jane", "19700101", AccessionNumber="SECRET99"), NUMBERED)

    assert refused.value.accession == "SECRET99"
    assert "SECRET99" not in str(refused.value)


def test_a_number_where_the_archive_lists_none_is_not_let_through_before_a_plan_knows_it() -> None:
    with pytest.raises(UnlistedAccession):
        changed(header("Noe^Jane", "19700101", AccessionNumber="17"), CONTENT | {"listed_accession": ""})


def test_a_number_that_no_ledger_takes_in_waits_for_a_rule() -> None:
    with pytest.raises(NotCoercible, match="NUL") as refused:
        changed(header("Noe^Jane", "19700101", AccessionNumber="1\0008"), NUMBERED)

    assert not isinstance(refused.value, UnlistedAccession)


def test_other_orders_numbers_inside_of_requests_stay() -> None:
    request = Made()
    request.AccessionNumber = "OTHER"
    content = {name: value for name, value in NUMBERED.items() if name not in ("patient", "person")}
    instance = header("Noe^Jane", AccessionNumber="00000017", RequestAttributesSequence=[request])

    assert changed(instance, content) == set()


def test_where_nobody_looks_at_accession_numbers_any_is_let_through() -> None:
    assert "AccessionNumber" not in changed(header("Noe^Jane", "19700101", AccessionNumber="X"), CONTENT)
