"""Real archives as sources: every instance they hold arrives, and each value of it is what was loaded."""

from collections.abc import Mapping
from pathlib import Path

import pydicom
import pytest

from actors.packing import RAW_SYNTAXES
from imaging.compare import compare
from imaging.digests import raw1, sto1
from imaging.instance import describe
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10
from infra.simulator import Archive, synthetic_archive, test_file_archive
from infra.simulator.peers import DcmqrscpPeer, OrthancPeer, QrscpPeer
from storage.ledger.lifecycle import StudyStatus

LETTERS = "bad_sequence.dcm"
"""Its UIDs are letters and digits: Orthanc takes it, and no identifier of ours can name it."""


def loaded_as(part10: bytes):
    """The facts of a file as it was loaded."""
    octets = MemoryOctets(part10)
    envelope = split_part10(octets)
    return describe(octets, envelope.dataset_offset, envelope.transfer_syntax, bytes(32))


def by_uid(paths: tuple[Path, ...]) -> dict[str, bytes]:
    return {loaded_as(part10).sop_uid: part10 for part10 in (path.read_bytes() for path in paths)}


def of_another_patient(path: Path, patient_id: str) -> Path:
    dataset = pydicom.dcmread(path)
    dataset.PatientID = patient_id
    dataset.save_as(path)
    return path


def assert_arrived(job, loaded: Mapping[str, bytes], destinations: tuple[str, ...]) -> None:
    """Each destination holds exactly `loaded`; pixels and header values are equal, and the ledger is true."""
    rows = job.ledger.status.list_studies(limit=10_000)
    assert {row.status for row in rows} == {StudyStatus.DONE}, job.problems()
    facts = {f.sop_uid: f for row in rows for f in job.ledger.facts.instances(row.study_key, row.revision)}
    assert facts.keys() == loaded.keys()
    for destination in destinations:
        found = {uid: part10 for row in rows for uid, part10 in job.datasets(destination, row.study_uid).items()}
        assert found.keys() == loaded.keys()
        for sop_uid, part10 in found.items():
            known, octets = facts[sop_uid], MemoryOctets(part10)
            assert known.sto1 == sto1(octets)
            assert known.raw1 == raw1(octets, split_part10(octets).dataset_offset, known.transfer_syntax)
            original = loaded[sop_uid]
            assert known.pd1 == loaded_as(original).pd1
            assert compare(MemoryOctets(original), octets) == ()


@pytest.mark.peer("orthanc")
@pytest.mark.timeout(240)
def test_all_that_orthanc_takes_arrives_in_the_cloud_and_on_a_device(engine, free_port, tmp_path):
    receiver_port = free_port()
    known = {"MIG01": ("127.0.0.1", receiver_port)}
    samples = test_file_archive(without=(LETTERS,)).export(tmp_path / "files")
    unnameable = Archive(one for one in test_file_archive().manifest() if one.name == LETTERS).export(tmp_path / "odd")
    shared = Archive(max(synthetic_archive(studies=9).studies(), key=len)).export(tmp_path / "two")
    of_another_patient(shared[-1], "ANOTHER")
    with OrthancPeer(tmp_path / "orthanc", port=free_port(), http_port=free_port(), destinations=known) as peer:
        assert peer.load(unnameable) == unnameable
        loaded = by_uid(peer.load(samples + shared))
        job = engine(peer.port, receiver_port=receiver_port, ae_title=peer.ae, seed=True)

        progress = job.walk_inventory()
        job.move(200)

    assert len(loaded) > 200
    assert progress.undecodable > 0 and progress.unsplittable == 0
    assert job.kinds() == {"STUDY_UID_MULTI_PATIENT", "INV_UNDECODABLE"}
    assert_arrived(job, loaded, ("cloud", "disk"))


@pytest.mark.peer("dcmtk")
def test_all_that_dcmqrscp_holds_arrives(engine, free_port, tmp_path):
    receiver_port = free_port()
    made = synthetic_archive(studies=6, modalities=("CT", "MR"), instances=3, side=16)
    # It sends nothing compressed.
    archive = Archive(instance for instance in made.manifest() if instance.transfer_syntax in RAW_SYNTAXES)
    known = {"MIG01": ("127.0.0.1", receiver_port)}
    peer = DcmqrscpPeer(tmp_path / "dcmqrscp", port=free_port(), destinations=known)
    loaded = by_uid(peer.load(archive.export(tmp_path / "files")))
    with peer:
        job = engine(peer.port, receiver_port=receiver_port, ae_title=peer.ae)

        job.walk_inventory()
        job.move()

    assert loaded.keys() == {instance.sop_uid for instance in archive.manifest()}
    assert_arrived(job, loaded, ("cloud",))


@pytest.mark.skipif(not QrscpPeer.installed(), reason="SQLAlchemy is not installed")
def test_all_that_qrscp_holds_arrives(engine, free_port, tmp_path):
    receiver_port = free_port()
    archive = synthetic_archive(studies=2, modalities=("CT",), instances=2, side=16)
    known = {"MIG01": ("127.0.0.1", receiver_port)}
    with QrscpPeer(tmp_path / "qrscp", port=free_port(), destinations=known) as peer:
        loaded = by_uid(peer.load(archive.export(tmp_path / "files")))
        job = engine(peer.port, receiver_port=receiver_port, ae_title=peer.ae)

        job.walk_inventory()
        job.move()

    assert loaded.keys() == {instance.sop_uid for instance in archive.manifest()}
    assert_arrived(job, loaded, ("cloud",))
