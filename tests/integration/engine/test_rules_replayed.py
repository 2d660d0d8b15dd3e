"""A rule is mended after its studies were delivered: exactly those that may become others are delivered anew."""

import io
from dataclasses import replace
from typing import Any

import pydicom
import pytest

from actors.coercion_options import CoercionOptions
from cluster.planning.replaying import Replayer
from imaging.coercion.difference import Cause
from imaging.uid import Uid
from infra.simulator import Faults, Simulator, synthetic_archive
from storage.ledger.lifecycle import StudyStatus

pytestmark = pytest.mark.filterwarnings("ignore")


def rules(name: str, *, of_mr: bool = False) -> CoercionOptions:
    """A rule for CT, one that changes all, one that never does; and perhaps one for MR."""
    more = {"name": "of-mr", "modalities": ["MR"], "actions": [{"kind": "remove", "attribute": "StationName"}]}
    return CoercionOptions.model_validate(
        {
            "rules": [
                {
                    "name": "institution",
                    "modalities": ["CT"],
                    "actions": [{"kind": "set", "attribute": "InstitutionName", "value": name}],
                },
                {"name": "number", "actions": [{"kind": "set", "attribute": "StudyID", "value": "7"}]},
                {"name": "idle", "actions": [{"kind": "map", "attribute": "StationName", "table": {"ZZ": "OT"}}]},
                *([more] if of_mr else []),
            ]
        }
    )


def replayer(job: Any) -> Replayer:
    return Replayer(job.ledger, job.job.source.name, job.job.coercion.rule_set())


def revisions(job: Any) -> dict[str, int]:
    return dict(job.rows("select study_uid, revision from study"))


def test_exactly_the_studies_that_a_mended_rule_changed_are_delivered_anew(engine, free_port):
    archive = synthetic_archive(studies=8, seed=5)
    manifest = archive.manifest()
    first, second = rules("Nroth Hospital"), rules("North Hospital")
    port = free_port()
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", port)}) as pacs:
        job = engine(pacs.port, receiver_port=port)
        job.job = replace(job.job, coercion=first)
        job.run()
        modalities = {
            uid: {read(part10).Modality for part10 in job.datasets("cloud", uid).values()}
            for uid in manifest.study_uids
        }
        scanned = {uid for uid, found in modalities.items() if "CT" in found}
        assert scanned and scanned < set(manifest.study_uids)

        before = replayer(job).look()
        job.job = replace(job.job, coercion=second)
        looked, of_another = replayer(job).look(), replayer(job).look(rule="idle")
        for_mr = rules("Nroth Hospital", of_mr=True)
        found_mr = Replayer(job.ledger, job.job.source.name, for_mr.rule_set()).look()
        unchanged = revisions(job)
        by_name = replayer(job).look(rule="institution", version=first.rule_set().version)
        listed = job.ledger.replay.studies(by_name.outdated[0].effects, present=True)
        replayer(job).apply(by_name, by="m.keller")
        twice = replayer(job).look()
        replayer(job).apply(twice, by="m.keller")
        job.move()
        after = replayer(job).look()

    assert before.outdated == [] and of_another.outdated == []
    assert (looked.others, of_another.others) == (0, len(scanned))
    assert [(one.cause, one.rule, one.studies) for one in looked.outdated] == [
        (Cause.CHANGED, "institution", len(scanned))
    ]
    assert looked.same == len(manifest.study_uids) - len(scanned)
    assert [(one.cause, one.rule, one.studies) for one in found_mr.outdated] == [
        (Cause.NEW, "of-mr", sum("MR" in found for found in modalities.values()))
    ]
    assert set(unchanged.values()) == {1}
    assert {one.study_uid for one in listed} == scanned
    assert (by_name.renewed, twice.renewed) == (len(scanned), 0)
    assert [one.waiting for one in twice.outdated] == [len(scanned)]
    assert (after.outdated, after.same) == ([], looked.same)
    assert revisions(job) == {uid: 2 if uid in scanned else 1 for uid in manifest.study_uids}
    assert set(job.statuses().values()) == {StudyStatus.DONE}
    for uid in scanned:
        found = [read(part10) for part10 in job.datasets("cloud", uid, revision=2).values()]
        assert {one.InstitutionName for one in found if one.Modality == "CT"} == {"North Hospital"}
        [link] = [link for link in job.ledger.custody.chain(Uid(uid)) if link.event == "replayed"]
        assert (link.actor, link.payload) == (
            "m.keller",
            {
                "revision": 1,
                "before": first.rule_set().version,
                "after": second.rule_set().version,
                "cause": "changed",
                "rule": "institution",
            },
        )
    told = {one.version: (one.revisions, one.studies) for one in job.ledger.replay.versions()}
    assert told == {
        first.rule_set().version: (8, 8 - len(scanned)),
        second.rule_set().version: (len(scanned), len(scanned)),
    }


def read(part10: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(part10))


def test_a_replay_beside_a_run_and_a_killed_mover_leaves_no_study_under_the_old_rules(engine, free_port, wait_until):
    archive = synthetic_archive(studies=10, seed=5)
    first, second = rules("Nroth Hospital"), rules("North Hospital")
    written = "select count(*) from study_revision where written_at is not null and revision = %s"
    port = free_port()
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", port)}, faults=Faults(bandwidth=1 << 20)) as pacs:
        job = engine(pacs.port, receiver_port=port, seed=True)
        job.job = replace(job.job, coercion=first)
        job.take_inventory()
        job.plan()
        job.start()
        mended = Replayer(job.ledger, job.job.source.name, second.rule_set())
        renewed = 0
        while job.ledger.status.work_left().any:
            found = Replayer(job.ledger, job.job.source.name, second.rule_set()).look()
            mended.apply(found, by="m.keller")
            renewed += found.renewed or 0
        job.stop()
        job.job = replace(job.job, coercion=second)
        rest = replayer(job).look()
        replayer(job).apply(rest, by="m.keller")
        job.plan()
        mover = job.spawn_mover()
        wait_until(lambda: job.rows(written, (2,))[0][0] > 0, 30, "a study to be written anew")
        mover.kill()
        job.move()
        after = replayer(job).look()

    assert after.outdated == []
    assert set(job.statuses().values()) == {StudyStatus.DONE}
    assert job.kinds() == set()
    again = [uid for uid, revision in revisions(job).items() if revision == 2]
    assert len(again) == renewed + (rest.renewed or 0) > 0
    assert max(revisions(job).values()) == 2
    for uid in again:
        for destination in ("cloud", "disk"):
            found = [read(part10) for part10 in job.datasets(destination, uid, revision=2).values()]
            assert {one.InstitutionName for one in found if one.Modality == "CT"} == {"North Hospital"}
