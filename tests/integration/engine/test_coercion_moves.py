"""Rules of coercion on the whole way: source, pack in S3 and on a device, read-back, and what is known afterwards."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pydicom
import pytest
from pydicom.datadict import tag_for_keyword

from actors.coercion_options import CoercionOptions
from imaging.uid import Uid
from infra.simulator import Faults, Manifest, Simulator, synthetic_archive
from storage.ledger.lifecycle import StudyStatus

pytestmark = pytest.mark.filterwarnings("ignore")

RULES: dict[str, Any] = {
    "rules": [
        {
            "name": "site",
            "actions": [
                {"kind": "set", "attribute": "InstitutionName", "value": "North Hospital"},
                {"kind": "set", "attribute": "AccessionNumber", "value": "N1"},
                {"kind": "pad", "attribute": "AccessionNumber", "width": 8},
                {"kind": "replace", "attribute": "PatientID", "pattern": "^(?!NH-)", "by": "NH-"},
            ],
        },
        {
            "name": "tidy",
            "version": 3,
            "reason": "CORRECT",
            "actions": [
                {"kind": "copy", "attribute": "StationName", "source": "Modality"},
                {"kind": "remove", "attribute": "StudyDescription"},
            ],
        },
    ]
}
NAMED = ("InstitutionName", "AccessionNumber", "PatientID", "StationName", "StudyDescription")


def coerced_by_hand(original: pydicom.Dataset) -> pydicom.Dataset:
    """What the rules ask for, as pydicom would do it."""
    original.InstitutionName = "North Hospital"
    original.AccessionNumber = "000000N1"
    original.PatientID = f"NH-{original.PatientID}"
    original.StationName = original.Modality
    if "StudyDescription" in original:
        del original.StudyDescription
    return original


def read(part10: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(part10))


def read_source(manifest: Manifest, sop_uid: str) -> pydicom.Dataset:
    instance = manifest.instance(sop_uid)
    return read(bytes(instance.file_meta()) + instance.dataset())


@pytest.fixture
def moving(engine, free_port):
    """`moving(archive, rules)`: a job under these rules, its source listening."""

    @contextmanager
    def start(archive, rules, faults=None, **options) -> Iterator[Any]:
        receiver_port = free_port()
        with Simulator(
            archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}, faults=faults or Faults()
        ) as pacs:
            job = engine(pacs.port, receiver_port=receiver_port, **options)
            job.job = replace(job.job, coercion=CoercionOptions(**rules))
            yield job

    return start


@pytest.mark.parametrize("layout", ["pack", "p10"])
def test_every_instance_arrives_as_the_rules_want_it_and_is_proven(moving, layout):
    archive = synthetic_archive(studies=6, seed=5)
    with moving(archive, RULES, seed=layout == "pack", layout=layout) as job:
        job.run()

    manifest = archive.manifest()
    assert set(job.statuses().values()) == {StudyStatus.DONE}, job.problems()
    for destination in [options.name for options in job.job.destinations]:
        for study_uid in manifest.study_uids:
            files = job.datasets(destination, study_uid)
            assert files.keys() == manifest.sop_uids(study_uid)
            for sop_uid, part10 in files.items():
                source = read_source(manifest, sop_uid)
                found, expected = read(part10), coerced_by_hand(source)
                history = found.OriginalAttributesSequence
                del found.OriginalAttributesSequence
                assert found == expected
                assert [item.ReasonForTheAttributeModification for item in history] == ["COERCE", "CORRECT"]
    assert job.rows("select count(*) from instance where not 'COERCED' = any (flags)") == [(0,)]
    [(payload,)] = job.rows("select payload from custody where event = 'written' limit 1")
    assert payload["coercion"]["rules"] == job.job.coercion.rule_set().fingerprint
    assert payload["coercion"]["changed"] == payload["instances"]
    assert payload["coercion"]["instances_by_rule"].keys() == {"site/1", "tidy/3"}


def test_previous_values_can_be_had_from_the_ledger_where_the_dataset_keeps_none(moving):
    archive = synthetic_archive(studies=2, seed=5)
    with moving(archive, RULES | {"originals": "ledger"}) as job:
        job.run()

    manifest = archive.manifest()
    for study_uid in manifest.study_uids:
        records = job.ledger.coercions.of_study(Uid(study_uid), 1)
        assert [record.rule for record in records] == ["site/1", "tidy/3"]
        for sop_uid, part10 in job.datasets("cloud", study_uid).items():
            values = as_encoded(read(part10))
            for change in [change for record in records[::-1] for change in record.changes[::-1]]:
                if sop_uid in change.sop_uids:
                    values[change.tag] = change.before
            assert values == as_encoded(read_source(manifest, sop_uid))


def as_encoded(dataset: pydicom.Dataset) -> dict[int, bytes | None]:
    """The values that rules may have changed, as the dataset writes them."""
    assert "OriginalAttributesSequence" not in dataset
    tags = [tag_for_keyword(name) for name in NAMED]
    found = {tag: dataset.get_item(tag) for tag in tags}
    return {tag: None if item is None else (item.value or b"").rstrip(b" \0") for tag, item in found.items()}


def test_a_rule_that_cannot_be_carried_out_stops_its_study_and_says_which(moving):
    archive = synthetic_archive(studies=2, seed=5)
    long = {"kind": "pad", "attribute": "AccessionNumber", "width": 20}
    rules = {
        "rules": [{"name": "long", "actions": [{"kind": "set", "attribute": "AccessionNumber", "value": "1"}, long]}]
    }
    with moving(archive, rules) as job:
        job.run()

    problems = job.problems("NOT_COERCIBLE")
    assert len(problems) == 2
    assert problems[0].evidence["rule"] == "long/1"
    assert problems[0].evidence["attribute"] == "AccessionNumber"
    assert job.rows("select count(*) from receipt") == [(0,)]


def test_a_study_begun_under_other_rules_starts_over(moving, large, wait_until):
    with moving(large, RULES, faults=Faults(bandwidth=8 << 20), limits={"attempts": 5}) as job:
        job.take_inventory()
        job.plan()
        mover = job.spawn_mover()
        wait_until(lambda: bool(job.rows("select from upload_part")), 30, "a part of the pack to be committed")
        mover.kill()
        job.job = replace(job.job, coercion=CoercionOptions())
        job.start_movers()
        job.start_validator()
        job.finish()
        job.stop()

    job.assert_delivered(large.manifest())
    assert job.kinds() == set()
    assert job.unfinished_uploads() == set()


def test_a_resumed_study_is_coerced_as_one_that_never_stopped(moving, large, wait_until):
    with moving(large, RULES, faults=Faults(bandwidth=8 << 20), limits={"attempts": 5}) as job:
        job.take_inventory()
        job.plan()
        mover = job.spawn_mover()
        wait_until(lambda: bool(job.rows("select from upload_part")), 30, "a part of the pack to be committed")
        mover.kill()
        job.start_movers()
        job.start_validator()
        job.finish()
        job.stop()

    [(payload,)] = job.rows("select payload from custody where event = 'written'")
    assert payload["received_now"] < payload["instances"]
    assert payload["coercion"]["changed"] == payload["instances"]
    for part10 in job.datasets("cloud", large.manifest().study_uids[0]).values():
        assert read(part10).InstitutionName == "North Hospital"
    assert set(job.statuses().values()) == {StudyStatus.DONE}


NOTING = """
select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
and starts_with(query, 'copy upload_part')"""


@pytest.mark.parametrize("same_rules", [True, False])
def test_an_object_that_was_complete_before_a_crash_is_adopted_under_the_same_rules_only(
    moving, same_rules, wait_until
):
    archive = synthetic_archive(studies=1, seed=5)
    with moving(archive, RULES, limits={"attempts": 5}) as job:
        job.take_inventory()
        job.plan()
        with psycopg.connect(job.job.ledger.url) as connection:
            connection.execute("lock table upload_part in share mode")
            mover = job.spawn_mover()
            wait_until(lambda: bool(job.rows(NOTING)), 30, "the object to be complete and the journal to wait")
            mover.kill()
            connection.rollback()
        if not same_rules:
            job.job = replace(job.job, coercion=CoercionOptions(**(RULES | {"previous_source": "OTHER"})))
        job.start_movers()
        job.start_validator()
        job.finish()
        job.stop()

    if same_rules:
        assert set(job.statuses().values()) == {StudyStatus.DONE}
        assert job.kinds() == set()
    else:
        assert job.kinds() == {"PACK_CONFLICT"}
    assert len(job.objects()) == 1
