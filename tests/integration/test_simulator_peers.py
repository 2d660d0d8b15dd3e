"""The simulated archive against dcmtk, and real archives loaded from it."""

import os
import re
import shutil
import subprocess

import pydicom
import pytest

from infra.simulator import Faults, Simulator, synthetic_archive, test_file_archive
from infra.simulator.peers import DCMTK_ENVIRONMENT, DcmqrscpPeer, OrthancPeer, QrscpPeer
from infra.simulator.process import free_port

pytestmark = [
    pytest.mark.peer("dcmtk"),
    pytest.mark.skipif(shutil.which("movescu") is None, reason="dcmtk is not installed"),
]
TIMEOUT = 60

# dcmtk refuses or repairs these: they are damaged on purpose.
DAMAGED = ("MR_truncated.dcm", "rtplan_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm")


def run(*command, folder):
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True, timeout=TIMEOUT, cwd=folder, env=os.environ | DCMTK_ENVIRONMENT, check=False,
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).decode("latin-1")


def find(pacs_port, folder, *keys, ae="SIMPACS", model="-S"):
    arguments = [part for key in keys for part in ("-k", key)]
    return run("findscu", model, "-v", "-aec", ae, *arguments, "127.0.0.1", pacs_port, folder=folder)


def found(output):
    return set(re.findall(r"\(0020,000d\) UI \[([0-9.]+)", output))


def retrieve(pacs_port, receiver_port, folder, *keys, ae="SIMPACS"):
    """What movescu received, by SOP Instance UID."""
    place = folder / "received"
    place.mkdir(exist_ok=True)
    arguments = [part for key in keys for part in ("-k", key)]
    code, output = run(
        "movescu", "-S", "-v", "-aet", "MIG", "-aem", "MIG", "-aec", ae, "+P", receiver_port, "+xa", "+B", "-od", place,
        *arguments, "127.0.0.1", pacs_port, folder=place,
    )  # fmt: skip
    got = {}
    for path in place.iterdir():
        octets = path.read_bytes()
        meta = pydicom.filereader.read_file_meta_info(path)
        got[str(meta.MediaStorageSOPInstanceUID)] = octets[132 + 12 + meta.FileMetaInformationGroupLength :]
    return code, output, got


@pytest.fixture
def receiver_port():
    return free_port()


@pytest.fixture
def pacs(receiver_port):
    with Simulator(synthetic_archive(studies=9), destinations={"MIG": ("127.0.0.1", receiver_port)}) as simulator:
        yield simulator


def test_dcmtk_is_answered_its_echo(pacs, tmp_path):
    code, _ = run("echoscu", "-aec", "SIMPACS", "127.0.0.1", pacs.port, folder=tmp_path)

    assert code == 0
    assert pacs.stats.counts["echoes"] == 1


def test_dcmtk_finds_every_study(pacs, tmp_path):
    code, output = find(pacs.port, tmp_path, "QueryRetrieveLevel=STUDY", "StudyInstanceUID", "PatientName")

    assert code == 0
    assert found(output) == set(pacs.archive.manifest().study_uids)


def test_dcmtk_finds_with_the_patient_root_model_too(pacs, tmp_path):
    _, output = find(pacs.port, tmp_path, "QueryRetrieveLevel=STUDY", "StudyInstanceUID", "PatientID=*", model="-P")

    assert found(output) == set(pacs.archive.manifest().study_uids)


def test_dcmtk_receives_every_study_byte_for_byte(pacs, receiver_port, tmp_path):
    every = "\\".join(pacs.archive.manifest().study_uids)

    code, output, got = retrieve(
        pacs.port, receiver_port, tmp_path, "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={every}"
    )

    assert code == 0, output
    assert got == {i.sop_uid: i.dataset() for i in pacs.archive.manifest()}


def test_dcmtk_receives_pydicoms_sample_files_byte_for_byte(receiver_port, tmp_path):
    archive = test_file_archive(without=DAMAGED)
    held = [i for study in archive.studies() for i in study if i.size < 100_000]
    wanted = list(dict.fromkeys(i.study_uid for i in held))[:12]
    listed = "\\".join(wanted)

    with Simulator(archive, destinations={"MIG": ("127.0.0.1", receiver_port)}) as pacs:
        *_, got = retrieve(pacs.port, receiver_port, tmp_path, "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={listed}")

    assert got == {i.sop_uid: i.dataset() for study in wanted for i in archive.study(study)}


def test_dcmtk_reports_what_the_simulator_lies(pacs, receiver_port, tmp_path):
    study = max(pacs.archive.manifest().study_uids, key=lambda uid: len(pacs.archive.study(uid)))
    pacs.faults = Faults(lost_per_study=1)

    code, _, got = retrieve(pacs.port, receiver_port, tmp_path, "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study}")

    assert code == 0
    assert len(got) == len(pacs.archive.study(study)) - 1


@pytest.mark.skipif(not DcmqrscpPeer.installed(), reason="dcmqrscp is not installed")
def test_dcmqrscp_serves_what_it_was_loaded_with(receiver_port, tmp_path):
    archive = synthetic_archive(studies=3, modalities=("CT",))
    peer = DcmqrscpPeer(tmp_path / "dcmqrscp", destinations={"MIG": ("127.0.0.1", receiver_port)})

    taken = peer.load(archive.export(tmp_path / "files"))
    with peer:
        _, output = find(peer.port, tmp_path, "QueryRetrieveLevel=STUDY", "StudyInstanceUID", ae=peer.ae)
        study = archive.manifest().study_uids[0]
        *_, got = retrieve(
            peer.port, receiver_port, tmp_path, "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study}", ae=peer.ae
        )

    assert len(taken) == len(archive.manifest())
    assert found(output) == set(archive.manifest().study_uids)
    assert set(got) == archive.manifest().sop_uids(study)


@pytest.mark.skipif(not OrthancPeer.installed(), reason="Orthanc is not installed")
def test_orthanc_serves_what_it_was_loaded_with(receiver_port, tmp_path):
    archive = synthetic_archive(studies=3, modalities=("MR",))
    with OrthancPeer(tmp_path / "orthanc", destinations={"MIG": ("127.0.0.1", receiver_port)}) as peer:
        taken = peer.load(archive.export(tmp_path / "files"))
        _, output = find(peer.port, tmp_path, "QueryRetrieveLevel=STUDY", "StudyInstanceUID", ae=peer.ae)
        study = archive.manifest().study_uids[0]
        *_, got = retrieve(
            peer.port, receiver_port, tmp_path, "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study}", ae=peer.ae
        )

    assert len(taken) == len(archive.manifest())
    assert found(output) == set(archive.manifest().study_uids)
    assert set(got) == archive.manifest().sop_uids(study)


@pytest.mark.skipif(not QrscpPeer.installed(), reason="SQLAlchemy is not installed")
def test_qrscp_serves_what_it_was_loaded_with(tmp_path):
    archive = synthetic_archive(studies=1, modalities=("CT",))
    with QrscpPeer(tmp_path / "qrscp") as peer:
        peer.load(archive.export(tmp_path / "files"))
        _, output = find(peer.port, tmp_path, "QueryRetrieveLevel=STUDY", "StudyInstanceUID", ae=peer.ae)

    assert found(output) == set(archive.manifest().study_uids)
