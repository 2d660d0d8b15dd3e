"""The daily look at open exceptions: closed when their cause is gone, open again when it is back."""

from dataclasses import replace
from typing import Any

from actors.dimse.scu import DimseSource
from actors.problems import problem
from cluster.reconcile.recount import Recount
from infra.simulator import Faults, Simulator, synthetic_archive
from infra.simulator.faults import Counts
from storage.ledger.lifecycle import StudyStatus


def changes(job: Any, **settings: Any) -> dict[str, list[str]]:
    """What one reconciliation changed, by class."""
    source = DimseSource(job.job.source)
    found: dict[str, list[str]] = {}
    for row in Recount(source, job.ledger, job.job.destinations, **settings).run():
        found.setdefault(row.kind, []).append(row.change)
    source.close()
    return found


def test_exceptions_follow_their_causes(engine, free_port):
    receiver_port = free_port()
    archive = synthetic_archive(studies=2, seed=3, instances=2, side=16)
    first, second = archive.manifest().study_uids
    truthful = Faults()
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port)
        job.take_inventory()
        job.plan()
        keys = {row.study_uid: row.study_key for row in job.ledger.status.list_studies()}
        listed = sorted(archive.manifest().sop_uids(first))
        surplus = {"surplus": len(listed), "surplus_uids": listed}
        job.ledger.exceptions.open(problem("SURPLUS_INSTANCES", surplus), study_key=keys[first])
        job.ledger.exceptions.open(problem("COUNT_EXCEEDS_LIST", {}), study_key=keys[second])
        job.ledger.exceptions.open(problem("SOURCE_UID_UNSTABLE", {}), study_key=keys[second])
        job.ledger.exceptions.open(problem("DESTINATION_AWAY", {}), destination_id=job.registered.destinations["cloud"])
        pacs.faults = replace(truthful, counts=Counts.HIGH)

        looked = changes(job, dry=True)
        before = len(job.problems())
        once = changes(job)
        pacs.faults = truthful
        twice = changes(job)
        pacs.faults = replace(truthful, counts=Counts.HIGH)
        thrice = changes(job)
        pacs.faults = truthful
        job.move()

    assert (
        looked
        == once
        == {
            "SURPLUS_INSTANCES": ["closed"],
            "COUNT_EXCEEDS_LIST": [""],
            "SOURCE_UID_UNSTABLE": [""],
            "DESTINATION_AWAY": ["closed"],
        }
    )
    assert before == 4
    assert twice["COUNT_EXCEEDS_LIST"] == ["closed"]
    assert thrice["COUNT_EXCEEDS_LIST"] == ["reopened"]
    assert job.statuses() == {first: StudyStatus.DONE, second: StudyStatus.EXCEPTION}
    assert job.kinds() == {"COUNT_EXCEEDS_LIST", "SOURCE_UID_UNSTABLE"}
    events = [row.event for row in job.ledger.custody.chain(second)]
    assert events.count("exception_resolved") == events.count("exception_reopened") == 1
