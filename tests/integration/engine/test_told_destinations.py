"""A destination that keeps what it has gets no later revision for a merge: it is told, once, until it accepts."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from actors.coercion_options import CoercionOptions
from actors.identity_options import IdentityOptions
from actors.mllp import MllpListener
from cluster.planning.decide import Planner
from cluster.planning.outbound import Teller, write_messages
from cluster.planning.reading import Reader
from cluster.planning.replaying import Replayer
from imaging.hl7.acknowledge import Answer, acknowledgement
from infra.simulator import Simulator, folder_archive
from infra.simulator.webarchive import WebArchive
from storage.ledger.lifecycle import StudyStatus
from storage.sinks.options import DicomwebOptions

pytestmark = pytest.mark.filterwarnings("ignore")

IDENTITY = IdentityOptions(
    issuers=({"name": "NORTH", "universal_id": "2.999.1", "universal_type": "ISO"},), default_issuer="NORTH"
)
STUDIES = {"1.2.840.1": "7", "1.2.840.2": "7", "1.2.840.3": "9"}
INDEX = "issuer,id,name,birth_date,sex\n" + "".join(f"NORTH,{n},Noe^Jane,19700101,F\n" for n in (7, 8, 9))
A40 = (
    "MSH|^~\\&|ADT|NORTH|||2026||ADT^A40|1|P|2.5\rEVN|A40|20260101\r"
    "PID|||8^^^NORTH^MR||Noe^Jane||19700101|F\rMRG|7^^^NORTH^MR\r"
)
AT = datetime(2026, 11, 24, tzinfo=UTC)


def image(study: str, patient: str) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.StudyInstanceUID = "1.2.840.10008.5.1.4.1.1.7", study
    made.SeriesInstanceUID, made.SOPInstanceUID = f"{study}.1", f"{study}.1.1"
    made.Modality, made.StudyDate, made.PatientID, made.PatientName = "CT", "20200102", patient, "Noe^Jane"
    made.PatientBirthDate, made.PatientSex, made.AccessionNumber = "19700101", "F", ""
    made.Rows = made.Columns = 2
    made.SamplesPerPixel, made.BitsAllocated, made.BitsStored, made.HighBit = 1, 8, 8, 7
    made.PixelRepresentation, made.PhotometricInterpretation = 0, "MONOCHROME2"
    made.add_new(0x7FE00010, "OB", b"\1\2\3\4")
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


@pytest.fixture
def heard() -> list[bytes]:
    return []


@pytest.fixture
def engine_of_the_vna(heard: list[bytes]) -> Iterator[tuple[MllpListener, list[Answer]]]:
    """What the destination listens with, and its next answers; AA when there are none."""
    answers: list[Answer] = []

    def answer(message: bytes) -> bytes:
        heard.append(message)
        return acknowledgement(message, answers.pop(0) if answers else Answer.ACCEPTED, control_id="1", at=AT)

    listener = MllpListener("127.0.0.1", 0, answer)
    listener.start()
    yield listener, answers
    listener.stop()


@pytest.fixture
def delivered(engine: Callable[..., Any], free_port: Any, tmp_path: Path, engine_of_the_vna: Any) -> Iterator[Any]:
    """A job whose studies are at both destinations, the archive of the second, and who tells that one."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for study, patient in STUDIES.items():
        image(study, patient).save_as(folder / f"{study}.dcm", enforce_file_format=True)
    port, listener = free_port(), engine_of_the_vna[0]
    with (
        Simulator(folder_archive(folder), destinations={"MIG01": ("127.0.0.1", port)}) as pacs,
        WebArchive(tmp_path / "web") as web,
    ):
        told = {"host": "127.0.0.1", "port": listener.port, "receiving_application": "VNA"}
        vna = DicomwebOptions.model_validate({"name": "vna", "url": web.url, "existing": "told", "hl7": told})
        job = engine(pacs.port, receiver_port=port, fed=(vna,))
        job.job = replace(job.job, identity=IDENTITY)
        tell(job, tmp_path / "index.csv", INDEX)
        job.take_inventory()
        carry_out(job)
        yield job, web, Teller(job.ledger, job.registered.destinations["vna"], vna, "UTC")


def tell(job: Any, path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    Reader(job.ledger, IDENTITY, "UTC").read(path, None)


def carry_out(job: Any) -> None:
    Planner(job.ledger, job.job.source_id, "pacs", identity=IDENTITY, accession=None, time_zone="UTC").apply()
    while job.ledger.plan.step_decided({"coercion": "none"}, accessions=False).studies:
        pass
    job.start()
    job.finish()
    job.stop()


def deliveries(job: Any, revision: int) -> dict[tuple[str, str], str]:
    return {
        (study, name): state
        for study, name, state in job.rows(
            "select s.study_uid, x.name, d.state from delivery d join study s using (study_key)"
            " join destination x using (destination_id) where d.revision = %s",
            (revision,),
        )
    }


def test_a_merge_is_told_and_not_sent_again(
    delivered: Any, heard: list[bytes], engine_of_the_vna: Any, tmp_path: Path
) -> None:
    job, web, teller = delivered
    before = {uid: one.file.read_bytes() for uid, one in web.held.items()}
    engine_of_the_vna[1][:] = [Answer.ERROR]
    tell(job, tmp_path / "adt.hl7", A40)

    carry_out(job)
    first = teller.make()
    teller.send(first)
    second = teller.make()
    teller.send(second)
    third = teller.make()
    teller.send(third)

    assert deliveries(job, 2) == {
        (study, name): state
        for study in ("1.2.840.1", "1.2.840.2")
        for name, state in (("cloud", "validated"), ("vna", "void"))
    }
    assert set(job.statuses().values()) == {StudyStatus.DONE}
    assert {uid: one.file.read_bytes() for uid, one in web.held.items()} == before
    assert (first.made.messages, first.made.studies, first.trouble) == ({"A40": 1}, 2, "answered AE")
    assert (second.made.messages, second.accepted, second.waiting) == ({}, 1, 0)
    assert (third.made.messages, third.accepted, third.waiting) == ({}, 0, 0)
    assert heard[0] == heard[1] and len(heard) == 2
    assert b"|VNA||" in heard[0] and b"ADT^A40^ADT_A39" in heard[0]
    assert b"PID|||8^^^NORTH&2.999.1&ISO^MR||Noe^Jane^^^^^L||19700101|F\rMRG|7^^^NORTH&2.999.1&ISO^MR\r" in heard[0]


def test_another_name_is_an_update_and_goes_to_a_file_where_that_is_wanted(delivered: Any, tmp_path: Path) -> None:
    job, _, teller = delivered
    tell(job, tmp_path / "index.csv", INDEX.replace("9,Noe^Jane", "9,Noe^Janet"))

    carry_out(job)
    sent = teller.make()
    waiting = teller.to_send()
    write_messages(tmp_path / "out.hl7", waiting)
    teller.write(sent, waiting)

    assert (sent.made.messages, sent.written, teller.to_send()) == ({"A08": 1}, 1, ())
    assert b"PID|||9^^^NORTH&2.999.1&ISO^MR||Noe^Janet^^^^^L||19700101|F" in (tmp_path / "out.hl7").read_bytes()


def test_a_study_that_leaves_others_of_its_number_behind_is_told_by_nobody(delivered: Any, tmp_path: Path) -> None:
    job, _, teller = delivered
    # A person keeps one of the two studies back, so that only the other moves.
    assert job.rows("update study set state = 'held' where study_uid = '1.2.840.2' returning study_key")
    tell(job, tmp_path / "adt.hl7", A40)

    carry_out(job)
    sent = teller.make()

    assert (sent.made.messages, sent.made.untellable) == ({}, 1)
    [found] = job.problems("CORRECTION_UNTELLABLE")
    assert (found.study_uid, found.destination) == ("1.2.840.1", "vna")


def test_what_a_mended_rule_changes_is_told_by_nobody_and_sent_to_the_others(delivered: Any) -> None:
    job, web, teller = delivered
    before = {uid: one.file.read_bytes() for uid, one in web.held.items()}
    mended = CoercionOptions.model_validate(
        {"rules": [{"name": "site", "actions": [{"kind": "set", "attribute": "InstitutionName", "value": "North"}]}]}
    )
    job.job = replace(job.job, coercion=mended)
    replayer = Replayer(job.ledger, "pacs", mended.rule_set())

    report = replayer.look()
    replayer.apply(report, by="m.keller")
    carry_out(job)
    sent = teller.make()

    assert report.renewed == len(STUDIES)
    assert deliveries(job, 2) == {
        (study, name): state for study in STUDIES for name, state in (("cloud", "validated"), ("vna", "void"))
    }
    assert {uid: one.file.read_bytes() for uid, one in web.held.items()} == before
    assert (sent.made.messages, sent.made.untellable) == ({}, len(STUDIES))
    assert {found.destination for found in job.problems("CORRECTION_UNTELLABLE")} == {"vna"}
    assert replayer.look().outdated == []
