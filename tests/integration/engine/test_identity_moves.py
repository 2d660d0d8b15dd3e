"""Whose a study is, on the whole way: planned, spliced into every file, read back, and renewed after a later merge."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from actors.identity_options import IdentityOptions
from cluster.planning.accession_options import AccessionOptions
from cluster.planning.decide import Planner
from cluster.planning.reading import Reader
from infra.simulator import Simulator, folder_archive
from storage.ledger.lifecycle import StudyStatus
from storage.ledger.resolving import Resolution

pytestmark = pytest.mark.filterwarnings("ignore")

IDENTITY = IdentityOptions(
    issuers=({"name": "NORTH", "universal_id": "2.999.1", "universal_type": "ISO"},), default_issuer="NORTH"
)
ACCESSION = AccessionOptions(rules=({"name": "pad", "steps": ({"pad": 8},)},))
MERGED, OTHER, MIXED, ACCENT = "1.2.840.1", "1.2.840.2", "1.2.840.3", "1.2.840.4"
INDEX = (
    "issuer,id,name,birth_date,sex\nNORTH,1,Noe^Jane,19700101,F\nNORTH,2,Roe^Max,19800202,M\nNORTH,3,Poe^Ann,19900303,F\n"
    "NORTH,4,Müller^Eva,19650505,F\nNORTH,8,Noe^Jane,19700101,F\n"
)
A40 = (
    "MSH|^~\\&|ADT|NORTH|||2026||ADT^A40|{new}|P|2.5\rEVN|A40|20260101\r"
    "PID|||{new}^^^NORTH^MR||Noe^Jane||19700101|F\rMRG|{old}^^^NORTH^MR\r"
)


def image(study: str, number: int, patient_id: str, name: str, born: str, accession: str) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.StudyInstanceUID = "1.2.840.10008.5.1.4.1.1.7", study
    made.SeriesInstanceUID, made.SOPInstanceUID = f"{study}.1", f"{study}.1.{number}"
    made.Modality, made.StudyDate, made.StudyTime = "CT", "20200102", "090000"
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = name, patient_id, born, "F"
    made.AccessionNumber = accession
    request, foreign = Dataset(), Dataset()
    request.AccessionNumber, foreign.AccessionNumber = accession, "OTHER"
    made.RequestAttributesSequence = [request, foreign]
    made.Rows = made.Columns = 2
    made.SamplesPerPixel, made.BitsAllocated, made.BitsStored, made.HighBit = 1, 8, 8, 7
    made.PixelRepresentation, made.PhotometricInterpretation = 0, "MONOCHROME2"
    made.add_new(0x7FE00010, "OB", bytes((number, 2, 3, 4)))
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


@pytest.fixture
def archive(tmp_path: Path):
    folder = tmp_path / "archive"
    folder.mkdir()
    made = [
        *(image(MERGED, number, "7", "NOE^JANE", "19700101", "17") for number in (1, 2)),
        image(OTHER, 1, "2", "Roe^Max", "19800202", "18"),
        image(MIXED, 1, "3", "Poe^Ann", "19900303", "19"),
        image(MIXED, 2, "2", "Roe^Max", "19800202", "19"),
        image(ACCENT, 1, "4", "MULLER^EVA", "19650505", "20"),
    ]
    made[2].PatientSex = made[4].PatientSex = "M"
    for one in made:
        one.save_as(folder / f"{one.SOPInstanceUID}.dcm", enforce_file_format=True)
    return folder_archive(folder)


@pytest.fixture
def moving(engine, free_port, tmp_path: Path):
    """`moving(archive)`: a job whose source listens, with what the hospital told read and the inventory taken."""

    @contextmanager
    def start(archive) -> Iterator[Any]:
        port = free_port()
        with Simulator(archive, destinations={"MIG01": ("127.0.0.1", port)}) as pacs:
            job = engine(pacs.port, receiver_port=port)
            job.job = replace(job.job, identity=IDENTITY)
            told(job, tmp_path / "index.csv", INDEX)
            told(job, tmp_path / "adt-1.hl7", A40.format(old="7", new="1"))
            job.take_inventory()
            yield job

    return start


def told(job: Any, path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    Reader(job.ledger, IDENTITY, "UTC").read(path, None)


def carried_out(job: Any) -> Any:
    """The plan holds, and all that it lets move is moved and read back."""
    planner = Planner(job.ledger, job.job.source_id, "pacs", identity=IDENTITY, accession=ACCESSION, time_zone="UTC")
    report = planner.apply()
    while job.ledger.plan.step_decided({"coercion": "none"}, accessions=True).studies:
        pass
    job.start()
    job.finish()
    job.stop()
    return report


def files(job: Any, study: str, revision: int = 1) -> list[pydicom.Dataset]:
    found = job.datasets("cloud", study, revision).values()
    return sorted((pydicom.dcmread(io.BytesIO(part10)) for part10 in found), key=lambda one: one.SOPInstanceUID)


def test_a_merged_study_arrives_under_its_survivor_and_a_later_merge_renews_it_alone(moving, archive, tmp_path):
    with moving(archive) as job:
        carried_out(job)
        first = files(job, MERGED)
        told(job, tmp_path / "adt-2.hl7", A40.format(old="1", new="8"))
        again = carried_out(job)
        second = files(job, MERGED, 2)

    for found, number in ((first, "1"), (second, "8")):
        assert [one.PatientID for one in found] == [number, number]
        for one in found:
            assert (one.PatientName, one.IssuerOfPatientID) == ("Noe^Jane", "NORTH")
            assert one.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "2.999.1"
            assert [item.PatientID for item in one.OtherPatientIDsSequence] == ["7"]
            assert one.AccessionNumber == "00000017"
            assert [item.AccessionNumber for item in one.RequestAttributesSequence] == ["00000017", "OTHER"]
            [kept] = one.OriginalAttributesSequence
            before = kept.ModifiedAttributesSequence[0]
            assert (kept.ReasonForTheAttributeModification, kept.ModifyingSystem) == ("COERCE", "LIMOSA")
            assert (before.PatientID, before.AccessionNumber) == ("7", "17")
            assert [item.AccessionNumber for item in before.RequestAttributesSequence] == ["17", "OTHER"]
            assert (before.PatientName, "PatientSex" in before) == ("NOE^JANE", False)
    assert [one.PixelData for one in second] == [bytes((1, 2, 3, 4)), bytes((2, 2, 3, 4))]
    assert (again.tally.changed, again.applied.renewed) == (1, 1)
    statuses = job.statuses()
    assert [statuses[uid] for uid in (MERGED, OTHER)] == [StudyStatus.DONE, StudyStatus.DONE]
    assert job.rows("select study_uid, revision from study where revision > 1") == [(MERGED, 2)]
    digests = job.rows(
        "select count(distinct i.pd1) from instance i join study s using (study_key) where s.study_uid = %s", (MERGED,)
    )
    assert digests == [(2,)]


def test_custody_tells_under_which_decision_a_study_was_written(moving, archive):
    with moving(archive) as job:
        report = carried_out(job)

    [(note, digest)] = job.rows(
        "select c.payload -> 'identity', encode(d.digest, 'hex') from custody c join study s using (study_key)"
        " join decision d using (study_key) where s.study_uid = %s and c.event = 'written'",
        (MERGED,),
    )
    assert note["digest"] == digest
    assert note["rules"] == report.rules
    assert note["patient"] == {"before": ["NORTH", "7"], "after": ["NORTH", "1"]}
    assert note["accession"] == [{"before": "17", "issuer": "", "after": "00000017"}]
    assert note["changed"] == 2


def test_an_instance_of_another_patient_stops_its_study_and_nothing_of_it_is_written(moving, archive):
    with moving(archive) as job:
        carried_out(job)

    assert job.kinds() == {"MIXED_PATIENT_IN_STUDY"}
    assert job.statuses()[MIXED] is StudyStatus.EXCEPTION
    assert not any(MIXED in key for key in job.objects())


def test_a_number_that_the_archive_does_not_list_is_found_proven_and_written_as_the_rules_make_it(moving, tmp_path):
    folder = tmp_path / "numbers"
    folder.mkdir()
    made = [
        image(OTHER, 1, "2", "Roe^Max", "19800202", "18"),
        image(OTHER, 2, "2", "Roe^Max", "19800202", "77"),
    ]
    for one in made:
        one.PatientSex = "M"
        one.save_as(folder / f"{one.SOPInstanceUID}.dcm", enforce_file_format=True)
    with moving(folder_archive(folder)) as job:
        carried_out(job)
        first, before = job.ledger.exceptions.list_open(), job.objects()
        carried_out(job)
        [held] = job.ledger.exceptions.list_open()
        job.ledger.exceptions.resolve(held.exception_id, Resolution.ACCEPT, by="m.keller")
        carried_out(job)
        found = files(job, OTHER, 2)

    assert [(problem.kind, problem.evidence["found"]) for problem in first] in (
        [("ACC_UNLISTED", ["77"])],
        [("ACC_UNLISTED", ["18"])],
    )
    assert not any(OTHER in key for key in before)
    assert held.evidence["accessions"] in (["18", "77"], ["77", "18"])
    assert [one.AccessionNumber for one in found] == ["00000018", "00000077"]
    assert [[item.AccessionNumber for item in one.RequestAttributesSequence] for one in found] == [
        ["00000018", "OTHER"],
        ["00000077", "OTHER"],
    ]
    assert job.statuses()[OTHER] is StudyStatus.DONE


def test_an_accepted_conflict_moves_and_a_third_person_who_comes_under_its_number_does_not(moving, tmp_path):
    folder = tmp_path / "strangers"
    folder.mkdir()
    made = [
        image(OTHER, 1, "2", "Zorn^Karl", "19550505", "18"),
        image(MIXED, 1, "3", "Zorn^Karl", "19550505", "19"),
        image(MIXED, 2, "3", "Bo^Lin", "20010101", "19"),
    ]
    for one in made:
        one.save_as(folder / f"{one.SOPInstanceUID}.dcm", enforce_file_format=True)
    with moving(folder_archive(folder)) as job:
        carried_out(job)
        problems = job.ledger.exceptions.list_open()
        for problem in problems:
            job.ledger.exceptions.resolve(problem.exception_id, Resolution.ACCEPT, by="m.keller")
        carried_out(job)
        [found] = files(job, OTHER)

    assert [problem.kind for problem in problems] == ["DEMOGRAPHIC_CONFLICT"] * 2
    assert (found.PatientName, found.PatientID) == ("Roe^Max", "2")
    assert job.kinds() == {"MIXED_PATIENT_IN_STUDY"}
    assert not any(MIXED in key for key in job.objects())


def test_a_like_name_that_the_character_set_lacks_leaves_the_one_that_is_there(moving, archive):
    with moving(archive) as job:
        carried_out(job)

    [found] = files(job, ACCENT)
    assert (found.PatientName, found.PatientID, found.IssuerOfPatientID) == ("MULLER^EVA", "4", "NORTH")


def test_a_rewriting_that_forgets_is_seen_by_the_read_back(moving, archive, monkeypatch):
    monkeypatch.setattr("imaging.identity.arrival.changes_of", lambda dataset, target: ())

    with moving(archive) as job:
        carried_out(job)

    assert job.statuses()[MERGED] is StudyStatus.EXCEPTION
    [(evidence,)] = job.rows(
        "select e.evidence from exception e join study s using (study_key)"
        " where e.kind = 'NOT_AS_PLANNED' and s.study_uid = %s",
        (MERGED,),
    )
    assert evidence["not_as_planned"] == 2
    assert {"PatientID", "IssuerOfPatientID", "AccessionNumber", "RequestAttributesSequence"} <= {
        *evidence["attributes"]
    }
