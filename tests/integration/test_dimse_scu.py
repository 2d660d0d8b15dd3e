"""Asking a PACS: what it says is taken for what it is worth, and after any anomaly the association is a new one."""

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from actors.dimse.incoming import Incoming
from actors.dimse.receiver import Receiver
from actors.dimse.scu import DimseSource
from actors.options import DimseSource as DimseOptions
from actors.options import Receiver as ReceiverOptions
from actors.source import FindEnd, MoveEnd, MoveTarget, SourceUnreachable, StudyWindow
from imaging.uid import Uid
from infra.simulator.faults import CapEnd, Faults
from infra.simulator.simulator import Simulator
from infra.simulator.synthetic import synthetic_archive
from storage.budget import MemoryBudget
from storage.spool import LandingPlace, Spool

STUDIES = 6


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def never() -> bool:
    return False


class Inbox:
    """A receiver and the SOP Instance UIDs it got."""

    def __init__(self, folder: Path) -> None:
        self.got: list[str] = []
        place = LandingPlace(Spool(folder), MemoryBudget(64 << 20), 8 << 20)
        self.receiver = Receiver(ReceiverOptions(ae_title="LIMOSA", port=free_port()), place.open, self._take)
        self.receiver.start()

    def _take(self, incoming: Incoming) -> int:
        self.got.append(incoming.sop_uid)
        return 0


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    inbox = Inbox(tmp_path / "spool")
    yield inbox
    assert inbox.receiver.stop(timedelta(seconds=5))


@pytest.fixture
def pacs(inbox: Inbox) -> Iterator[Simulator]:
    simulator = Simulator(
        synthetic_archive(seed=1, studies=STUDIES), destinations={"LIMOSA": ("127.0.0.1", inbox.receiver.port)}
    )
    with simulator:
        yield simulator


def options(port: int, **more: object) -> DimseOptions:
    return DimseOptions.model_validate({"host": "127.0.0.1", "port": port, "ae_title": "SIMPACS", **more})


@pytest.fixture
def source(pacs: Simulator) -> Iterator[DimseSource]:
    source = DimseSource(options(pacs.port, find_timeout=timedelta(seconds=2), move_timeout=timedelta(seconds=2)))
    yield source
    source.close()


def first_study(pacs: Simulator) -> Uid:
    return Uid(pacs.archive.manifest().study_uids[0])


def test_what_is_found_is_what_the_archive_has(pacs: Simulator, source: DimseSource) -> None:
    source.echo()
    answer = source.find_studies(StudyWindow())

    manifest = pacs.archive.manifest()
    assert answer.end is FindEnd.SUCCESS
    assert {study.study_uid for study in answer.studies} == set(manifest.study_uids)
    assert len(answer.raw) == len(manifest.study_uids)
    assert {study.study_uid: study.instance_count for study in answer.studies} == {
        uid: len(manifest.of_study(uid)) for uid in manifest.study_uids
    }


def test_every_instance_is_listed_and_then_retrieved(pacs: Simulator, source: DimseSource, inbox: Inbox) -> None:
    for study_uid in map(Uid, pacs.archive.manifest().study_uids):
        expected = pacs.archive.manifest().sop_uids(study_uid)
        inbox.got.clear()

        listed = source.list_instances(study_uid)
        outcome = source.retrieve(MoveTarget(study_uid=study_uid), "LIMOSA", never)

        assert listed.complete
        assert {ref.sop_uid for ref in listed.instances} == expected
        assert outcome.end is MoveEnd.SUCCESS
        assert set(inbox.got) == expected
        assert outcome.completed == len(expected)


def test_series_and_single_instances_are_retrieved_alone(pacs: Simulator, source: DimseSource, inbox: Inbox) -> None:
    listed = source.list_instances(first_study(pacs)).instances
    one = listed[0]
    series = {ref.sop_uid for ref in listed if ref.series_uid == one.series_uid}

    source.retrieve(MoveTarget(study_uid=first_study(pacs), series_uid=one.series_uid), "LIMOSA", never)
    whole, inbox.got = set(inbox.got), []
    target = MoveTarget(study_uid=first_study(pacs), series_uid=one.series_uid, sop_uids=(one.sop_uid,))
    source.retrieve(target, "LIMOSA", never)

    assert whole == series
    assert inbox.got == [one.sop_uid]


@pytest.mark.parametrize(
    ("faults", "end", "answers"),
    [
        (Faults(find_cap=3), FindEnd.SUCCESS, (3,)),
        (Faults(find_cap=3, find_cap_end=CapEnd.CANCELLED), FindEnd.CANCELLED, (3,)),
        (Faults(find_cap=3, find_cap_end=CapEnd.REFUSED), FindEnd.REFUSED, (3,)),
        (Faults(find_fail_status=0xC001), FindEnd.FAILED, (0,)),
        (Faults(find_abort_after=2), FindEnd.LOST, (2,)),
        (Faults(find_latency=3.0), FindEnd.LOST, (0, 1)),
    ],
    ids=["cap", "cap as cancel", "cap as refusal", "failure", "abort", "silence"],
)
def test_the_end_of_a_query_is_told_and_the_next_one_is_clean(
    pacs: Simulator, source: DimseSource, faults: Faults, end: FindEnd, answers: tuple[int, ...]
) -> None:
    pacs.faults = faults
    broken = source.find_studies(StudyWindow())
    pacs.faults = Faults()
    sound = source.find_studies(StudyWindow())

    assert broken.end is end
    assert len(broken.raw) in answers
    assert (sound.end, len(sound.studies)) == (FindEnd.SUCCESS, STUDIES)


def test_answers_that_cannot_be_read_are_counted_and_kept(pacs: Simulator, source: DimseSource) -> None:
    pacs.faults = Faults(undecodable_every=2)

    answer = source.find_studies(StudyWindow())

    assert answer.end is FindEnd.SUCCESS
    assert answer.undecodable == STUDIES // 2
    assert len(answer.studies) == STUDIES - STUDIES // 2
    assert len(answer.raw) == STUDIES


def test_repeated_answers_name_an_instance_once(pacs: Simulator, source: DimseSource) -> None:
    pacs.faults = Faults(duplicate_rows=1, series_per_instance=True)

    listed = source.list_instances(first_study(pacs))

    assert {ref.sop_uid for ref in listed.instances} == pacs.archive.manifest().sop_uids(first_study(pacs))
    assert listed.repeated == len(listed.instances)
    assert listed.complete


def test_a_list_that_was_refused_is_not_complete(pacs: Simulator, source: DimseSource) -> None:
    pacs.faults = Faults(image_find_refused=True)

    assert not source.list_instances(first_study(pacs)).complete


@pytest.mark.parametrize(
    ("faults", "end"),
    [
        (Faults(refuse_destinations=True), MoveEnd.UNKNOWN_DESTINATION),
        (Faults(busy_above=0), MoveEnd.BUSY),
        (Faults(busy_above=0, busy_status=0xA701), MoveEnd.BUSY),
        (Faults(abort_move_after=1), MoveEnd.LOST),
        (Faults(silent_move=True), MoveEnd.LOST),
        (Faults(pending_every=0), MoveEnd.SUCCESS),
    ],
    ids=["unknown destination", "busy", "busy matches", "abort", "silence", "no pending answers"],
)
def test_the_end_of_a_retrieve_is_told_and_the_next_one_is_clean(
    pacs: Simulator, source: DimseSource, faults: Faults, end: MoveEnd
) -> None:
    target = MoveTarget(study_uid=first_study(pacs))
    pacs.faults = faults
    broken = source.retrieve(target, "LIMOSA", never)
    pacs.faults = Faults()

    assert broken.end is end
    assert source.retrieve(target, "LIMOSA", never).end is MoveEnd.SUCCESS


def test_success_for_an_unknown_study_brings_nothing(source: DimseSource, inbox: Inbox) -> None:
    outcome = source.retrieve(MoveTarget(study_uid=Uid("1.2.3")), "LIMOSA", never)

    assert outcome.end is MoveEnd.SUCCESS
    assert not outcome.completed
    assert inbox.got == []


def test_a_stop_aborts_the_retrieve_at_once(pacs: Simulator, inbox: Inbox) -> None:
    pacs.faults = Faults(silent_move=True)
    source, stop = DimseSource(options(pacs.port)), threading.Event()
    expected = pacs.archive.manifest().sop_uids(first_study(pacs))

    def stopped() -> bool:
        if set(inbox.got) == expected:
            stop.set()
        return stop.is_set()

    outcome = source.retrieve(MoveTarget(study_uid=first_study(pacs)), "LIMOSA", stopped)

    assert outcome.end is MoveEnd.LOST
    assert stop.is_set()
    source.close()


def test_an_association_the_archive_dropped_is_replaced(pacs: Simulator) -> None:
    with Simulator(pacs.archive) as first:
        source = DimseSource(options(first.port))
        source.echo()
        port = first.port
    with Simulator(pacs.archive, port=port):
        source.echo()
        assert source.find_studies(StudyWindow()).end is FindEnd.SUCCESS
        source.close()


def test_nobody_there_and_nobody_wanted_are_told_apart(pacs: Simulator) -> None:
    with pytest.raises(SourceUnreachable) as nobody:
        DimseSource(options(free_port())).echo()
    pacs.faults = Faults(known_callers=("OTHER",))
    with pytest.raises(SourceUnreachable) as unwanted:
        DimseSource(options(pacs.port)).find_studies(StudyWindow())

    assert not nobody.value.refused
    assert unwanted.value.refused


@pytest.fixture
def dcmqrscp(tmp_path: Path, inbox: Inbox, wait_until: Callable[..., None]) -> Iterator[int]:
    port, database = free_port(), tmp_path / "database"
    database.mkdir()
    config = tmp_path / "dcmqrscp.cfg"
    config.write_text(
        f"""NetworkTCPPort = {port}
MaxPDUSize = 131072
MaxAssociations = 16
HostTable BEGIN
us = (LIMOSA, 127.0.0.1, {inbox.receiver.port})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
PACS {database} RW (200, 1024mb) ANY
AETable END
"""
    )
    with (tmp_path / "dcmqrscp.log").open("wb") as log:
        process = subprocess.Popen(["dcmqrscp", "-c", str(config)], stdout=log, stderr=log)

    def answers() -> bool:
        echo = ["echoscu", "-aec", "PACS", "127.0.0.1", str(port)]
        return subprocess.run(echo, capture_output=True).returncode == 0

    try:
        wait_until(answers, what="dcmqrscp")
        yield port
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.peer("dcmtk")
def test_a_dcmtk_archive_is_asked_and_emptied(dcmqrscp: int, inbox: Inbox, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.PatientName = "M\u00fcller^Eva"
    files = []
    for series in range(2):
        dataset.SeriesInstanceUID = generate_uid()
        for number in range(5):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            files.append(tmp_path / f"{series}-{number}.dcm")
            dataset.save_as(files[-1])
    command = ["storescu", "-aec", "PACS", "127.0.0.1", str(dcmqrscp), *map(str, files)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "TCP_NODELAY": "1"})
    source = DimseSource(options(dcmqrscp, ae_title="PACS"))

    found = source.find_studies(StudyWindow(patient_id=dataset.PatientID))
    listed = source.list_instances(found.studies[0].study_uid)
    outcome = source.retrieve(MoveTarget(study_uid=found.studies[0].study_uid), "LIMOSA", never)
    elsewhere = source.retrieve(MoveTarget(study_uid=found.studies[0].study_uid), "NOBODY", never)
    source.close()

    assert found.end is FindEnd.SUCCESS
    assert [study.patient_name for study in found.studies] == ["M\u00fcller^Eva"]
    assert found.studies[0].instance_count is None
    assert (len(listed.instances), listed.complete) == (10, True)
    assert (outcome.end, outcome.completed) == (MoveEnd.SUCCESS, 10)
    assert set(inbox.got) == {ref.sop_uid for ref in listed.instances}
    assert elsewhere.end is MoveEnd.UNKNOWN_DESTINATION
