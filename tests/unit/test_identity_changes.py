"""What identity changes in a file: the attributes that differ, everywhere they occur, with the originals kept."""

import io
from datetime import UTC, date, datetime
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset as Made
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from imaging.accession.rules import Accession
from imaging.coercion.attributes import name_of
from imaging.coercion.dataset import Dataset
from imaging.coercion.errors import NotCoercible
from imaging.coercion.originals import originals_edit
from imaging.coercion.plan import Change
from imaging.coercion.rules import Reason, RuleSet
from imaging.header import read_header
from imaging.identity.changes import Target, changes_of, shows_another_name
from imaging.identity.decision import StudyIdentity, changes_for, decide, one_patient
from imaging.identity.demographics import Thresholds
from imaging.identity.events import Describe, IdentityEvent, Merge, Move, Origin, Source
from imaging.identity.graph import Graph, build
from imaging.identity.issuers import Assigner, Authority, Issuers
from imaging.identity.people import Conflict, Identifier, Person
from imaging.identity.steps import Unpad
from imaging.octets import MemoryOctets, chunks
from imaging.part10 import split_part10
from imaging.splice import Edit, splice

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
MOMENT = datetime(2026, 11, 24, 14, 5, tzinfo=UTC)
AUTHORITY = Authority(name="HOSPITAL", aliases=("HIS",), steps=(Unpad(),), universal_id="1.2.3", universal_type="ISO")
PLAIN = Authority(name="CLINIC")
ANNA = Person(name="Muster^Anna", birth_date="19700412", sex="F")
TARGET = Target(rule="identity/1", patient=Identifier("HOSPITAL", "22"), authority=AUTHORITY, person=ANNA)


def dataset(**values: Any) -> Made:
    made = Made()
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID = "1.2.1", "1.2.2", "1.2.3"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def written(made: Made, syntax: str = ExplicitVRLittleEndian) -> bytes:
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(
        buffer,
        made,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return buffer.getvalue()


def scanned(part10: bytes) -> Dataset:
    octets = MemoryOctets(part10)
    envelope = split_part10(octets)
    return Dataset(read_header(octets, envelope.dataset_offset, envelope.transfer_syntax))


def changed(part10: bytes, target: Target) -> tuple[bytes, tuple[Change, ...]]:
    """The file with the changes made and its originals kept, as coercion makes them."""
    octets = MemoryOctets(part10)
    envelope = split_part10(octets)
    header = read_header(octets, envelope.dataset_offset, envelope.transfer_syntax)
    changes = changes_of(Dataset(header), target)
    edits = [Edit(tag=change.tag, vr=change.vr, value=change.after) for change in changes]
    edits.append(originals_edit(Dataset(header), changes, RuleSet(), MOMENT))
    made = splice(octets, envelope.dataset_offset, header, edits if changes else [])
    return b"".join(bytes(piece) for piece in chunks(made, 0, made.size)), changes


def after(made: Made, target: Target, syntax: str = ExplicitVRLittleEndian) -> Made:
    content, _ = changed(written(made, syntax), target)
    # What was written once needs nothing more, however its sequences were written.
    assert changes_of(scanned(content), target) == ()
    return pydicom.dcmread(io.BytesIO(content))


def named(changes: tuple[Change, ...]) -> list[str]:
    return [name_of(change.tag) for change in changes]


def item(**values: Any) -> Made:
    made = Made()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


# The patient


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_survivor_is_written_with_its_issuer_and_the_number_before_is_kept(syntax: str) -> None:
    made = dataset(
        PatientName="Maiden^Anna", PatientID="11", IssuerOfPatientID="HIS", PatientBirthDate="19700412", PatientSex="F"
    )

    found = after(made, TARGET, syntax)

    assert (found.PatientID, found.IssuerOfPatientID, str(found.PatientName)) == ("22", "HOSPITAL", "Muster^Anna")
    [qualifier] = found.IssuerOfPatientIDQualifiersSequence
    assert (qualifier.UniversalEntityID, qualifier.UniversalEntityIDType) == ("1.2.3", "ISO")
    [other] = found.OtherPatientIDsSequence
    assert (other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID) == ("11", "HIS", "TEXT")
    [original] = found.OriginalAttributesSequence
    previous = original.ModifiedAttributesSequence[0]
    assert (previous.PatientID, previous.IssuerOfPatientID, str(previous.PatientName)) == ("11", "HIS", "Maiden^Anna")
    assert "PatientBirthDate" not in previous
    assert not previous.OtherPatientIDsSequence


def test_only_what_differs_changes_and_each_change_has_its_reason() -> None:
    made = dataset(PatientName="Muster^Anna^^", PatientID="22", IssuerOfPatientID="HOSPITAL", PatientSex="M")
    made.IssuerOfPatientIDQualifiersSequence = [item(UniversalEntityID="1.2.3", UniversalEntityIDType="ISO")]

    changes = changes_of(scanned(written(made)), TARGET)

    assert named(changes) == ["PatientBirthDate", "PatientSex"]
    assert [(one.before, one.after, one.rule, one.reason) for one in changes] == [
        (None, b"19700412", "identity/1", Reason.COERCE),
        (b"M", b"F", "identity/1", Reason.COERCE),
    ]


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_other_numbers_stay_in_their_places_and_ours_comes_behind_once(undefined: bool, syntax: str) -> None:
    held = [item(PatientID="5", IssuerOfPatientID="OLD"), item(PatientID="11", IssuerOfPatientID="HIS")]
    known = dataset(PatientID="11", IssuerOfPatientID="HIS", OtherPatientIDsSequence=held)
    fresh = dataset(PatientID="12", IssuerOfPatientID="HIS", OtherPatientIDsSequence=held[:1])
    for made in (known, fresh):
        made["OtherPatientIDsSequence"].is_undefined_length = undefined

    assert [one.PatientID for one in after(known, TARGET, syntax).OtherPatientIDsSequence] == ["5", "11"]
    assert [one.PatientID for one in after(fresh, TARGET, syntax).OtherPatientIDsSequence] == ["5", "12"]


def test_qualifiers_of_the_issuer_before_do_not_stay() -> None:
    made = dataset(PatientID="11", IssuerOfPatientID="HIS")
    made.IssuerOfPatientIDQualifiersSequence = [item(UniversalEntityID="9.9", UniversalEntityIDType="ISO")]
    target = Target(rule="identity/1", patient=Identifier("CLINIC", "7"), authority=PLAIN)

    found = after(made, target)

    assert "IssuerOfPatientIDQualifiersSequence" not in found
    kept = found.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].IssuerOfPatientIDQualifiersSequence
    assert kept[0].UniversalEntityID == "9.9"


def test_an_index_without_a_name_takes_none_from_an_image() -> None:
    target = Target(rule="identity/1", person=Person(name="", birth_date=None, sex=""))

    assert changes_of(scanned(written(dataset(PatientName="A^B", PatientSex="F"))), target) == ()


def test_a_name_is_written_in_the_character_set_of_the_dataset_or_refused() -> None:
    target = Target(rule="identity/1", person=Person(name="Müller^Jörg"))

    found = after(dataset(SpecificCharacterSet="ISO_IR 100", PatientName="Muller^Jorg"), target)

    assert str(found.PatientName) == "Müller^Jörg"
    with pytest.raises(NotCoercible, match="cannot be written"):
        changes_of(scanned(written(dataset(PatientName="Muller^Jorg"))), target)


def test_a_number_that_is_too_long_is_refused_and_not_cut() -> None:
    target = Target(rule="identity/1", patient=Identifier("HOSPITAL", "9" * 65), authority=AUTHORITY)

    with pytest.raises(NotCoercible, match="more than the 64 characters"):
        changes_of(scanned(written(dataset(PatientID="1"))), target)


def test_an_image_with_burned_in_text_is_told_when_its_name_changes() -> None:
    for burned, name, expected in (("YES", "Old^Name", True), ("NO", "Old^Name", False), ("YES", "Muster^Anna", False)):
        found = scanned(written(dataset(PatientName=name, BurnedInAnnotation=burned)))

        assert shows_another_name(found, changes_of(found, TARGET)) == expected


# The accession


RENUMBERED = Target(
    rule="identity/1",
    accession_rule="north/2",
    accessions=(
        ("7", Accession(issuer="RIS", value="N0007", universal_id="1.2", universal_type="ISO")),
        ("8", Accession(issuer="RIS", value="N0008")),
    ),
)


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("sequence", ["RequestAttributesSequence", "ReferencedRequestSequence"])
def test_an_accession_changes_everywhere_it_occurs(sequence: str, syntax: str, undefined: bool) -> None:
    requests = [
        item(AccessionNumber="7", RequestedProcedureID="R1"),
        item(AccessionNumber="8 "),
        item(AccessionNumber="99"),
        item(RequestedProcedureID="R2"),
    ]
    made = dataset(AccessionNumber="7", **{sequence: requests})
    made[sequence].is_undefined_length = undefined
    made[sequence].value[0].is_undefined_length_sequence_item = undefined

    found = after(made, RENUMBERED, syntax)

    assert found.AccessionNumber == "N0007"
    assert [one.get("AccessionNumber") for one in found[sequence]] == ["N0007", "N0008", "99", None]
    assert [one.get("RequestedProcedureID") for one in found[sequence]] == ["R1", None, None, "R2"]
    [issuer] = found.IssuerOfAccessionNumberSequence
    assert (issuer.LocalNamespaceEntityID, issuer.UniversalEntityID) == ("RIS", "1.2")
    previous = found.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert [one.get("AccessionNumber") for one in previous[sequence]] == ["7", "8", "99", None]
    assert previous.AccessionNumber == "7"


def test_a_study_without_requests_and_with_another_accession_is_left_alone() -> None:
    made = dataset(AccessionNumber="99", RequestAttributesSequence=[item(AccessionNumber="98")])

    assert changes_of(scanned(written(made)), RENUMBERED) == ()


def test_accessions_that_form_a_chain_are_refused() -> None:
    chain = (("1", Accession(issuer="", value="2")), ("2", Accession(issuer="", value="3")))

    with pytest.raises(ValueError, match="becomes another"):
        Target(rule="identity/1", accessions=chain)


def test_a_sequence_that_cannot_be_read_is_refused_and_not_lost() -> None:
    content = written(dataset(RequestAttributesSequence=[item(AccessionNumber="7")]))
    broken = content.replace(b"\xfe\xff\x00\xe0", b"\xfe\xff\x01\xe0", 1)

    with pytest.raises(NotCoercible, match="cannot be read"):
        changes_of(scanned(broken), RENUMBERED)


# From header to changes

ISSUERS = Issuers(authorities=(AUTHORITY, PLAIN), default="HOSPITAL")


def graph(*events: IdentityEvent) -> Graph:
    return build(events, Thresholds())


def at(day: int) -> Origin:
    return Origin(source=Source.HL7, at=datetime(2020, 1, day, tzinfo=UTC), label="7", kind="A40")


MERGED = graph(
    Merge(origin=at(1), old=Identifier("HOSPITAL", "11"), new=Identifier("HOSPITAL", "22")),
    Describe(origin=at(2), identifier=Identifier("HOSPITAL", "22"), person=ANNA),
)


def study(**values: Any) -> StudyIdentity:
    given = {"patient_id": "0011", "assigner": Assigner(namespace="HIS"), "person": ANNA, "studied": date(2019, 1, 1)}
    return StudyIdentity(**given | values)


@pytest.mark.parametrize(
    ("asked", "conflict"),
    [
        (study(), None),
        (study(person=Person(name="Maiden^Anna", birth_date="19700412")), None),
        (study(patient_id=""), Conflict.PID_MISSING),
        (study(patient_id="77"), Conflict.PID_NOT_IN_MPI),
        (study(assigner=Assigner(namespace="WEST")), Conflict.ISSUER_UNKNOWN),
        (study(person=Person(name="Muster^Anna", birth_date="19701204")), Conflict.DEMOGRAPHIC_REVIEW),
        (study(person=Person(name="Other^Somebody", birth_date="19511130")), Conflict.DEMOGRAPHIC_CONFLICT),
    ],
)
def test_a_study_has_a_target_or_the_class_of_its_exception(asked: StudyIdentity, conflict: Conflict | None) -> None:
    found = decide(asked, MERGED, ISSUERS, Thresholds())

    assert (found.conflict, found.target is None) == (conflict, conflict is not None)


def test_changes_follow_from_header_and_graph() -> None:
    made = dataset(PatientName="Maiden^Anna", PatientID="0011", IssuerOfPatientID="HIS", PatientBirthDate="19700412")
    asked = study(person=Person(name="Maiden^Anna", birth_date="19700412"))

    found = changes_for(scanned(written(made)), asked, MERGED, ISSUERS, Thresholds())

    assert isinstance(found, tuple)
    assert named(found) == [
        "PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "PatientSex",
        "OtherPatientIDsSequence",
    ]  # fmt: skip
    assert decide(asked, MERGED, ISSUERS, Thresholds()).noted
    assert changes_for(scanned(written(made)), study(patient_id="77"), MERGED, ISSUERS, Thresholds()) is (
        Conflict.PID_NOT_IN_MPI
    )


def test_a_moved_number_is_no_merge_that_would_explain_another_name() -> None:
    owner = Identifier("CLINIC", "5")
    built = graph(
        Move(origin=at(1), moved=Identifier("HOSPITAL", "11"), giver=None, owner=owner),
        Describe(origin=at(2), identifier=owner, person=ANNA),
    )
    asked = study(person=Person(name="Kirschbaum^Anna", birth_date="19700412"))

    assert decide(asked, built, ISSUERS, Thresholds()).conflict is Conflict.DEMOGRAPHIC_REVIEW
    assert decide(study(), built, ISSUERS, Thresholds()).conflict is None


def test_instances_of_two_patients_in_one_study_are_a_conflict() -> None:
    other = Describe(origin=at(1), identifier=Identifier("HOSPITAL", "33"), person=ANNA)
    built = graph(
        Merge(origin=at(1), old=Identifier("HOSPITAL", "11"), new=Identifier("HOSPITAL", "22")),
        Describe(origin=at(2), identifier=Identifier("HOSPITAL", "22"), person=ANNA),
        other,
    )
    first, same, third = (decide(study(patient_id=one), built, ISSUERS, Thresholds()) for one in ("11", "22", "33"))

    assert one_patient([first, same]) is None
    assert one_patient([first, third]) is Conflict.MIXED_PATIENT_IN_STUDY
    assert one_patient([first, decide(study(patient_id="77"), built, ISSUERS, Thresholds())]) is (
        Conflict.PID_NOT_IN_MPI
    )
