"""Studies go into DICOMweb services, and what these give back is what the archive had."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.simulator import Archive, Simulator, synthetic_archive, test_file_archive
from infra.simulator.peers import ORTHANC_WEB, OrthancPeer
from infra.simulator.webarchive import WebArchive
from storage.ledger.lifecycle import StudyStatus
from storage.sinks.options import DicomwebOptions

LETTERS = "bad_sequence.dcm"
"""Its UIDs are letters and digits: no identifier of ours can name it."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebArchive]:
    with WebArchive(tmp_path / "web") as archive:
        yield archive


def service(url: str, **settings: Any) -> DicomwebOptions:
    return DicomwebOptions.model_validate({"name": "vna", "url": url, **settings})


def proven(job: Any) -> dict[str, int]:
    """Deliveries that were read back, by destination."""
    return dict(
        job.rows(
            "select x.name, count(*) from delivery d join destination x using (destination_id)"
            " where d.state = 'validated' group by x.name"
        )
    )


def notes(job: Any) -> list[dict[str, Any]]:
    return [payload for [payload] in job.rows("select payload from custody where event = 'validated'")]


def assert_held(web: WebArchive, archive: Any) -> None:
    assert web.held.keys() == {instance.sop_uid for instance in archive.manifest()}
    for instance in archive.manifest():
        assert web.held[instance.sop_uid].file.read_bytes().endswith(instance.dataset())


@pytest.mark.parametrize("alone", [False, True], ids=["fed", "alone"])
def test_every_study_is_stored_and_read_back_by_its_digests(engine, free_port, web, alone):
    receiver_port = free_port()
    archive = synthetic_archive(studies=4, seed=3, instances=3, side=16)
    options = service(web.url)
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        places = {"alone": options} if alone else {"fed": (options,)}
        job = engine(pacs.port, receiver_port=receiver_port, **places)

        job.run()

    assert set(job.statuses().values()) == {StudyStatus.DONE}, job.problems()
    assert proven(job)["vna"] == 4
    assert_held(web, archive)
    assert all(note["byte_exact"] == note["instances"] for note in notes(job))


def test_a_service_that_writes_its_own_file_meta_is_proven_by_what_the_instances_say(engine, free_port, web):
    receiver_port = free_port()
    archive = synthetic_archive(studies=2, seed=4, instances=2, side=16)
    web.faults.rewrite = lambda part10: part10.replace(b"LIMOSA", b"ARCHIV", 1)
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, alone=service(web.url))

        job.run()

    assert proven(job) == {"vna": 2}
    assert [note["byte_exact"] for note in notes(job)] == [0, 0]


def flipped(part10: bytes) -> bytes:
    """One bit of the last pixel is another."""
    return part10[:-1] + bytes((part10[-1] ^ 1,))


def test_one_flipped_pixel_at_the_service_is_found(engine, free_port, web):
    receiver_port = free_port()
    archive = synthetic_archive(studies=1, modalities=("CT",), seed=4, instances=2, side=16)
    web.faults.rewrite = flipped
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, alone=service(web.url))

        job.run()

    [problem] = job.problems("DIGEST_MISMATCH")
    assert set(problem.evidence["differing"]) == {instance.sop_uid for instance in archive.manifest()}
    assert proven(job) == {}


def test_an_instance_that_the_service_lost_and_one_that_it_had_before_are_found(engine, free_port, web):
    receiver_port = free_port()
    archive = synthetic_archive(studies=1, modalities=("CT",), seed=5, instances=3, side=16)
    first = next(iter(archive.manifest()))
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, alone=service(web.url))
        job.take_inventory()
        job.plan()
        job.start_movers()
        job.wait_until(lambda: job.rows("select from delivery where state = 'written'"), what="the study to be written")
        held = web.held.pop(first.sop_uid)
        web.held["1.2.3"] = type(held)(study=held.study, series=held.series, sop="1.2.3", file=held.file)

        job.start_validator()
        job.finish()

    [problem] = job.problems("DIGEST_MISMATCH")
    assert set(problem.evidence["unreadable"]) == {first.sop_uid}
    assert problem.evidence["counts"]["strangers"] == 1


def test_a_dead_and_a_slow_service_hold_only_themselves_and_are_fed_once_they_are_back(engine, free_port, web):
    receiver_port = free_port()
    archive = synthetic_archive(studies=3, seed=18, instances=2, side=16)
    dead = DicomwebOptions(name="dead", url=f"http://127.0.0.1:{free_port()}/dicom-web")
    web.faults.statuses = [(503, {"Retry-After": "3600"})] * 1000
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, seed=True, fed=(service(web.url), dead))
        job.run()
        meanwhile = proven(job)
        away = {problem.destination for problem in job.problems("DESTINATION_AWAY")}

        web.faults.statuses = []
        job.ledger.jobs.reopen(job.registered.destinations["vna"])
        job.move()

    assert meanwhile == {"cloud": 3, "disk": 3}
    assert away == {"dead", "vna"}
    assert proven(job) == {"cloud": 3, "disk": 3, "vna": 3}
    assert_held(web, archive)


def of_every_syntax() -> Archive:
    """The smallest study in each transfer syntax of pydicom's sample files."""
    smallest: dict[frozenset[str], Any] = {}
    for study in test_file_archive(without=(LETTERS,)).studies():
        syntaxes = frozenset(instance.transfer_syntax for instance in study)
        if syntaxes not in smallest or len(study) < len(smallest[syntaxes]):
            smallest[syntaxes] = study
    return Archive(instance for study in smallest.values() for instance in study)


@pytest.mark.peer("orthanc")
def test_orthanc_gives_back_each_byte_of_what_it_takes_and_what_it_refuses_is_named(engine, free_port, tmp_path):
    receiver_port = free_port()
    archive = of_every_syntax()
    known = {"MIG01": ("127.0.0.1", receiver_port)}
    with (
        Simulator(archive, destinations=known) as pacs,
        OrthancPeer(tmp_path / "orthanc", port=free_port(), http_port=free_port(), **ORTHANC_WEB) as orthanc,
    ):
        job = engine(pacs.port, receiver_port=receiver_port, fed=(service(orthanc.web_url),))
        job.run(100)

        refused = [problem.evidence for problem in job.problems("DESTINATION_REJECTED")]

    assert all(evidence["code"] == "400" and evidence["instances"] == 1 for evidence in refused)
    assert proven(job)["vna"] + len(refused) == proven(job)["cloud"] > 10
    assert proven(job)["vna"] > 10
    assert all(note["byte_exact"] == note["instances"] for note in notes(job))
