"""A PACS that is asked by C-GET: the same ladder, the same proof, and no receiver."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from actors.start import start_mover
from infra.simulator import Faults, Simulator, synthetic_archive
from storage.ledger.lifecycle import StudyStatus

BY_GET = {"retrieve": "c-get", "quiet": timedelta(0), "quiet_limit": timedelta(0)}


def moved(engine: Any, pacs: Simulator) -> Any:
    job = engine(pacs.port, receiver_port=1, source=BY_GET)
    job.take_inventory()
    job.plan()
    job.processes.append(start_mover(replace(job.mover_setup("mover-0"), receiver=None)))
    job.start_validator()
    job.finish()
    job.stop()
    return job


def test_studies_arrive_whole_without_a_receiver(engine: Any) -> None:
    with Simulator(synthetic_archive(studies=8, side=8)) as pacs:
        job = moved(engine, pacs)

        job.assert_delivered(pacs.archive.manifest())
        assert not pacs.stats.moves


def test_what_an_archive_counts_and_does_not_send_is_asked_for_until_it_comes(engine: Any) -> None:
    with Simulator(synthetic_archive(studies=4, side=8), faults=Faults(lost_per_study=1, lost_moves=2)) as pacs:
        job = moved(engine, pacs)

        job.assert_delivered(pacs.archive.manifest())


def test_what_never_comes_leaves_a_study_incomplete(engine: Any) -> None:
    archive = synthetic_archive(studies=3, side=8)
    gone = next(iter(archive.manifest()))
    with Simulator(archive, faults=Faults(lost_sop_uids=(gone.sop_uid,))) as pacs:
        job = moved(engine, pacs)

    assert job.kinds() == {"INCOMPLETE_STUDY"}
    assert [uid for uid, status in job.statuses().items() if status is not StudyStatus.DONE] == [gone.study_uid]
