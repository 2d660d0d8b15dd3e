"""Studies go to archives by C-STORE and are proven by what these give back, or commit themselves to."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from actors import committing
from actors.destination_options import CommitmentOptions, DimseOptions
from infra.simulator import Simulator, synthetic_archive
from infra.simulator.committing import CommittingArchive
from infra.simulator.peers import ORTHANC_WEB, OrthancPeer
from storage.dicomweb.options import WebAccess
from storage.ledger.lifecycle import StudyStatus
from storage.ledger.resolving import Resolution

PROOFS = "select x.name, v.proof, count(*) from validation v join delivery d using (delivery_id)\
 join destination x using (destination_id) where d.state = 'validated' group by 1, 2 order by 1, 2"


ARCHIVE = synthetic_archive(studies=1, modalities=("CT",), seed=9, instances=5, side=16)
INSTANCES = sorted(instance.sop_uid for instance in ARCHIVE.manifest())
BATCH = 2
ASKED = [len(INSTANCES[at : at + BATCH]) for at in range(0, len(INSTANCES), BATCH)]
"""Instances in each request."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "LOOK_AGAIN", timedelta(milliseconds=200))


@pytest.fixture
def report_port(free_port: Callable[[], int]) -> int:
    return free_port()


@pytest.fixture
def vna(tmp_path: Path, report_port: int) -> Iterator[CommittingArchive]:
    with CommittingArchive(tmp_path / "vna", reports_to=("LIMOSA", report_port)) as archive:
        yield archive


def committing_options(vna: CommittingArchive, report_port: int, **settings: Any) -> DimseOptions:
    told = {"port": report_port, "linger": 0.05, "timeout": 60, "batch": BATCH} | settings
    return DimseOptions(
        name="vna", host="127.0.0.1", port=vna.port, ae_title="VNA", commitment=CommitmentOptions.model_validate(told)
    )


@pytest.fixture
def moving(engine, free_port, vna, report_port) -> Iterator[Callable[..., Any]]:
    """`moving(**settings)` is a job whose only destination commits itself; its source answers until the test ends."""
    receiver_port = free_port()
    with Simulator(ARCHIVE, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:

        def make(**settings: Any) -> Any:
            options = committing_options(vna, report_port, **settings)
            job = engine(pacs.port, receiver_port=receiver_port, alone=options)
            job.take_inventory()
            job.plan()
            job.start()
            return job

        yield make


def test_a_study_is_proven_by_list_and_commitment_on_an_association_of_the_archives_own(moving, vna):
    job = moving()

    job.finish()

    assert set(job.statuses().values()) == {StudyStatus.DONE}, job.problems()
    assert job.rows(PROOFS) == [("vna", "commitment", 1)]
    assert [len(pairs) for _, pairs in vna.requests] == ASKED
    assert vna.answers == [0] * len(ASKED)
    [[note]] = job.rows("select payload from custody where event = 'validated'")
    assert (note["proof"], note["instances"]) == ("commitment", len(INSTANCES))
    assert sorted(note["transactions"]) == sorted(uid for uid, _ in vna.requests)


def test_a_report_on_the_association_of_the_request_is_heard(moving, vna):
    vna.conduct.reports = "same"

    job = moving(linger=10)
    job.finish()

    assert job.rows(PROOFS) == [("vna", "commitment", 1)]


def test_a_late_report_wakes_its_delivery_whoever_hears_it(moving, vna):
    vna.conduct.reports = "held"
    job = moving()
    job.wait_until(lambda: len(vna.requests) == len(ASKED), what="every request")
    before = job.rows(PROOFS)
    known = {uid for [uid] in job.rows("select transaction_uid from commitment")}
    job.stop()
    job.start_validator()

    vna.release_reports()
    job.finish()

    assert before == []
    assert known == {uid for uid, _ in vna.requests}
    assert job.rows(PROOFS) == [("vna", "commitment", 1)]
    assert len(vna.requests) == len(ASKED)


def test_an_instance_the_archive_refuses_is_asked_for_again_and_then_named(moving, vna):
    vna.conduct.refuses = {INSTANCES[0]: 0x0213}
    job = moving()

    job.finish()

    [problem] = job.problems("COMMITMENT_REFUSED")
    assert problem.evidence["reasons"] == {INSTANCES[0]: "0213"}
    assert problem.evidence["uncommitted"] == 1
    assert job.rows(PROOFS) == []
    # The second attempt asked only for what was refused.
    assert [len(pairs) for _, pairs in vna.requests] == [*ASKED, 1]


def test_an_archive_that_never_answers_is_asked_anew_and_a_late_answer_still_counts(moving, vna):
    vna.conduct.reports = "held"
    job = moving(timeout=0.5, batch=10)

    job.finish()
    [problem] = job.problems("COMMITMENT_MISSING")
    asked = len(vna.requests)
    vna._held_reports = vna._held_reports[:1]
    vna.release_reports()
    job.ledger.exceptions.resolve(problem.exception_id, Resolution.RETRY, by="operator")
    job.finish()

    assert asked == 2
    assert vna.answers == [0]
    assert job.rows(PROOFS) == [("vna", "commitment", 1)]
    assert len(vna.requests) == asked


def test_what_the_archive_lost_is_missing_in_its_list_and_no_commitment_is_asked(engine, free_port, vna, report_port):
    archive = synthetic_archive(studies=1, modalities=("CT",), seed=9, instances=3, side=16)
    receiver_port = free_port()
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, alone=committing_options(vna, report_port))
        job.take_inventory()
        job.plan()
        job.start_movers()
        job.wait_until(lambda: job.rows("select from delivery where state = 'written'"), what="the study to be written")
        lost, _ = vna.held.popitem()
        job.start_validator()

        job.finish()

    [problem] = job.problems("DIGEST_MISMATCH")
    assert problem.evidence["missing"] == [lost]
    assert vna.requests == []


@pytest.mark.peer("orthanc")
def test_orthanc_is_fed_by_c_store_and_proven_by_digests_through_its_dicomweb(engine, free_port, tmp_path):
    receiver_port = free_port()
    archive = synthetic_archive(studies=4, seed=11, instances=2, side=16)
    with (
        Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs,
        OrthancPeer(tmp_path / "orthanc", port=free_port(), http_port=free_port(), **ORTHANC_WEB) as orthanc,
    ):
        options = DimseOptions(
            name="vna",
            host="127.0.0.1",
            port=orthanc.port,
            ae_title=orthanc.ae,
            dicomweb=WebAccess(url=orthanc.web_url),
        )
        job = engine(pacs.port, receiver_port=receiver_port, fed=(options,))
        job.run(90)

    assert set(job.statuses().values()) == {StudyStatus.DONE}, job.problems()
    assert job.rows(PROOFS) == [("cloud", "digests", 4), ("vna", "digests", 4)]


@pytest.mark.peer("orthanc")
def test_orthanc_commits_itself_to_what_it_was_sent(engine, free_port, tmp_path, report_port):
    receiver_port = free_port()
    archive = synthetic_archive(studies=2, modalities=("CT",), seed=12, instances=3, side=16)
    known = {"LIMOSA": ("127.0.0.1", report_port)}
    with (
        Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs,
        OrthancPeer(tmp_path / "orthanc", port=free_port(), http_port=free_port(), destinations=known) as orthanc,
    ):
        options = DimseOptions(
            name="vna",
            host="127.0.0.1",
            port=orthanc.port,
            ae_title=orthanc.ae,
            commitment=CommitmentOptions(port=report_port, linger=timedelta(milliseconds=50)),
        )
        job = engine(pacs.port, receiver_port=receiver_port, alone=options)
        job.run(90)

    assert set(job.statuses().values()) == {StudyStatus.DONE}, job.problems()
    assert job.rows(PROOFS) == [("vna", "commitment", 2)]
