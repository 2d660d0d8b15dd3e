"""A DICOMweb service as a source: what Orthanc holds arrives as it holds it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from actors.options import DicomwebSource
from actors.source import FindEnd, MoveEnd, MoveTarget, SourceUnreachable, StudyWindow
from actors.start import start_mover
from actors.web.source import WebSource
from imaging.part10 import encode_meta
from imaging.uid import Uid
from infra.simulator import Archive, synthetic_archive
from infra.simulator.peers import ORTHANC_WEB, OrthancPeer
from infra.simulator.webarchive import WebArchive
from storage.budget import MemoryBudget
from storage.ledger.records import Verdict
from storage.spool import LandingPlace, Spool


def options(url: str, **more: Any) -> DicomwebSource:
    return DicomwebSource.model_validate({"kind": "dicomweb", "url": url, **more})


def asked_only(url: str) -> WebSource:
    return WebSource(options(url), lambda incoming: 0, None)


def files_of(archive: Archive, folder: Path) -> list[Path]:
    folder.mkdir()
    made: list[Path] = []
    for number, image in enumerate(archive.manifest()):
        made.append(folder / f"{number}.dcm")
        meta = encode_meta(image.sop_class, image.sop_uid, image.transfer_syntax)
        made[-1].write_bytes(meta + image.dataset())
    return made


@pytest.mark.peer("orthanc")
def test_what_a_service_holds_arrives_to_the_byte(engine: Any, free_port: Any, tmp_path: Path) -> None:
    archive = synthetic_archive(studies=4, instances=3, side=16)
    with OrthancPeer(tmp_path / "orthanc", port=free_port(), http_port=free_port(), **ORTHANC_WEB) as orthanc:
        orthanc.load(files_of(archive, tmp_path / "files"))
        job = engine(1, receiver_port=1)
        job.job = replace(job.job, source=options(orthanc.web_url))
        source = asked_only(orthanc.web_url)
        job.ledger.inventory.begin_generation()
        everything = source.find_studies(StudyWindow())
        job.ledger.inventory.record_answer(job.job.source_id, everything, Verdict.COMPLETE)
        job.plan()
        job.processes.append(start_mover(replace(job.mover_setup("mover-0"), receiver=None)))
        job.start_validator()
        job.finish()
        job.stop()

    job.assert_delivered(archive.manifest())
    assert {one.study_uid: one.instance_count for one in everything.studies} == {
        uid: len(archive.manifest().of_study(uid)) for uid in archive.manifest().study_uids
    }
    assert all(one.patient_name and one.modalities for one in everything.studies)


@pytest.mark.peer("orthanc")
def test_a_service_is_asked_by_the_same_windows_as_a_pacs(free_port: Any, tmp_path: Path) -> None:
    archive = synthetic_archive(studies=8, instances=1, side=8)
    with OrthancPeer(tmp_path / "orthanc", port=free_port(), http_port=free_port(), **ORTHANC_WEB) as orthanc:
        orthanc.load(files_of(archive, tmp_path / "files"))
        source = asked_only(orthanc.web_url)
        source.echo()
        everything = source.find_studies(StudyWindow())
        one = next(each for each in everything.studies if each.study_date and each.patient_id)
        day = date.fromisoformat(f"{one.study_date[:4]}-{one.study_date[4:6]}-{one.study_date[6:]}")
        answers = [
            source.find_studies(window)
            for window in (
                StudyWindow(date_from=day, date_to=day),
                StudyWindow(patient_id=one.patient_id),
                StudyWindow(study_uids=(one.study_uid,)),
            )
        ]
        nothing = source.find_studies(StudyWindow(patient_id="NOBODY"))
        source.close()

    assert everything.end is FindEnd.SUCCESS
    assert len(everything.studies) == 8
    assert all(one.study_uid in {each.study_uid for each in answer.studies} for answer in answers)
    assert nothing.studies == ()


def test_a_study_that_the_service_does_not_have_brings_nothing(tmp_path: Path) -> None:
    came: list[str] = []
    with WebArchive(tmp_path / "web") as web:
        place = LandingPlace(Spool(tmp_path / "spool"), MemoryBudget(1 << 20), 1 << 20)
        source = WebSource(options(web.url), lambda incoming: came.append(incoming.sop_uid) or 0, place.open)

        outcome = source.retrieve(MoveTarget(study_uid=Uid("1.2.3")), "", lambda: False)

    assert (outcome.end, outcome.completed, came) == (MoveEnd.SUCCESS, 0, [])


def test_a_service_that_is_away_is_unreachable(free_port: Any) -> None:
    source = asked_only(f"http://127.0.0.1:{free_port()}/dicom-web")

    with pytest.raises(SourceUnreachable):
        source.echo()
    assert source.find_studies(StudyWindow()).end is FindEnd.LOST


def filled(web: WebArchive, archive: Archive, folder: Path) -> WebArchive:
    for image, file in zip(archive.manifest(), files_of(archive, folder), strict=True):
        assert web.take(image.study_uid, file) == (image.sop_uid, None)
    return web


@pytest.fixture
def fetching(tmp_path: Path) -> Iterator[Any]:
    """A service with one study of several series, a source that fetches from it, and what came."""
    archive = Archive(max(synthetic_archive(studies=9, side=8).studies(), key=len))
    place = LandingPlace(Spool(tmp_path / "spool"), MemoryBudget(16 << 20), 1 << 20)
    came: list[str] = []
    with WebArchive(tmp_path / "web") as web:
        filled(web, archive, tmp_path / "files")
        source = WebSource(options(web.url), lambda incoming: came.append(incoming.sop_uid) or 0, place.open)
        yield web, source, archive.manifest(), came
        source.close()


def test_a_study_comes_in_one_answer_and_a_series_in_one(fetching: Any) -> None:
    web, source, manifest, came = fetching
    study, series = Uid(manifest.study_uids[0]), next(iter(manifest)).series_uid

    whole = source.retrieve(MoveTarget(study_uid=study), "", lambda: False)
    all_of_it, asked = sorted(came), web.count("GET")
    came.clear()
    part = source.retrieve(MoveTarget(study_uid=study, series_uid=Uid(series)), "", lambda: False)

    assert (whole.end, whole.completed, asked) == (MoveEnd.SUCCESS, len(all_of_it), 1)
    assert all_of_it == sorted(manifest.sop_uids(study))
    assert (part.end, sorted(came)) == (MoveEnd.SUCCESS, sorted(m.sop_uid for m in manifest if m.series_uid == series))


def test_what_an_answer_that_breaks_off_brought_is_kept(fetching: Any) -> None:
    web, source, manifest, came = fetching
    web.faults.cut_retrieves = 1

    outcome = source.retrieve(MoveTarget(study_uid=Uid(manifest.study_uids[0])), "", lambda: False)

    assert (outcome.end, outcome.completed, len(came)) == (MoveEnd.LOST, 1, 1)


def test_a_partial_answer_is_no_success(fetching: Any) -> None:
    web, source, manifest, came = fetching
    web.faults.partial = True

    outcome = source.retrieve(MoveTarget(study_uid=Uid(manifest.study_uids[0])), "", lambda: False)

    left = len(manifest) - 1
    assert (outcome.end, outcome.completed, len(came)) == (MoveEnd.PARTIAL, left, left)


def test_a_study_is_listed_once_however_many_of_its_instances_are_missing(fetching: Any) -> None:
    web, source, manifest, came = fetching
    study = Uid(manifest.study_uids[0])
    wanted = tuple(sorted(Uid(uid) for uid in manifest.sop_uids(study)))

    listed = source.list_instances(study)
    asked = web.count("GET")
    together = source.retrieve(MoveTarget(study_uid=study, sop_uids=wanted), "", lambda: False)
    alone = [
        source.retrieve(MoveTarget(study_uid=study, sop_uids=(each,)), "", lambda: False)
        for each in (*wanted, Uid("9.9"))
    ]
    again = source.list_instances(study)

    assert sorted(ref.sop_uid for ref in listed.instances) == list(wanted) and listed == again
    assert (together.end, together.completed) == (MoveEnd.SUCCESS, len(wanted))
    assert [outcome.end for outcome in alone] == [MoveEnd.SUCCESS] * len(wanted) + [MoveEnd.PARTIAL]
    assert sorted(came) == sorted(2 * wanted)
    assert web.count("GET") == asked + 2 * len(wanted) + asked, "the study was listed for single instances"


def test_an_address_without_a_service_is_not_an_archive_without_studies(tmp_path: Path) -> None:
    with WebArchive(tmp_path / "web") as web:
        nothing_there = asked_only(f"{web.url}/elsewhere")
        with pytest.raises(SourceUnreachable, match="404") as told:
            nothing_there.find_studies(StudyWindow())

        nothing_in_it = asked_only(web.url).find_studies(StudyWindow())

    assert (told.value.refused, told.value.permanent) == (False, True)
    assert (nothing_in_it.end, nothing_in_it.studies) == (FindEnd.SUCCESS, ())


def test_a_service_that_does_not_let_us_in_ends_the_inventory(tmp_path: Path) -> None:
    with WebArchive(tmp_path / "web", authorization="Bearer right") as web, pytest.raises(SourceUnreachable) as told:
        asked_only(web.url).find_studies(StudyWindow())

    assert told.value.refused
