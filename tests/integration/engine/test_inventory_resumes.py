"""An inventory that goes on days later asks again whatever may have grown since it was asked."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg

from actors.dimse.identifier import encode_identifier
from actors.source import FindAnswer, FindEnd, StudyFound, StudyWindow
from cluster.inventory.options import InventoryOptions
from cluster.inventory.plan import Plan
from cluster.inventory.walk import Progress, Walk
from imaging.uid import Uid

IMPLICIT = "1.2.840.10008.1.2"


class DatedArchive:
    """A source that matches dates; everything else it answers in full."""

    def __init__(self, *studies: StudyFound) -> None:
        self.studies = [*studies]

    def find_studies(self, window: StudyWindow) -> FindAnswer:
        first = window.date_from.strftime("%Y%m%d") if window.date_from else ""
        last = window.date_to.strftime("%Y%m%d") if window.date_to else "99999999"
        found = tuple(study for study in self.studies if first <= (study.study_date or "") <= last)
        raw = tuple(bytes(encode_identifier({"StudyInstanceUID": study.study_uid}, IMPLICIT)) for study in found)
        return FindAnswer(
            window=window,
            studies=found,
            end=FindEnd.SUCCESS,
            status=0,
            undecodable=0,
            raw=raw,
            transfer_syntax=IMPLICIT,
        )


def test_a_study_that_came_after_its_day_was_asked_is_found_when_the_inventory_goes_on_later(engine, free_port):
    job = engine(1, receiver_port=free_port())
    now = datetime.now(UTC)
    friday = (now - timedelta(days=3)).strftime("%Y%m%d")
    source = DatedArchive(StudyFound(study_uid=Uid("1.2.1"), study_date=friday, instance_count=1))

    def walk() -> Progress:
        return Walk(
            source=source,
            ledger=job.ledger,
            source_id=job.job.source_id,
            plan=Plan(InventoryOptions(), cap=None, today=now.date()),
            options=InventoryOptions(),
            charset="ISO_IR 100",
            report=lambda progress: None,
            now=now,
        ).run()

    job.ledger.inventory.begin_generation()
    walk()
    again = walk()
    with psycopg.connect(job.job.ledger.url) as connection:
        connection.execute("update find_window set at = at - interval '3 days'")
    source.studies.append(StudyFound(study_uid=Uid("1.2.2"), study_date=friday, instance_count=1))
    later = walk()

    assert (again.asked, again.reused > 0) == (0, True)
    assert later.asked > 0 and later.reused > 0
    assert job.rows("select count(*) from study") == [(2,)]


def test_a_study_that_the_inventory_cannot_take_is_named_in_the_exception_once(engine, free_port):
    job = engine(1, receiver_port=free_port())
    broken = bytes(encode_identifier({"StudyInstanceUID": "1.2.x", "AccessionNumber": "A7"}, IMPLICIT))

    class Broken(DatedArchive):
        def find_studies(self, window: StudyWindow) -> FindAnswer:
            return replace(super().find_studies(window), raw=(broken,), undecodable=1)

    now = datetime.now(UTC)
    job.ledger.inventory.begin_generation()
    Walk(
        source=Broken(),
        ledger=job.ledger,
        source_id=job.job.source_id,
        plan=Plan(InventoryOptions(), cap=None, today=now.date()),
        options=InventoryOptions(),
        charset="ISO_IR 100",
        report=lambda progress: None,
        now=now,
    ).run()

    [problem] = job.problems("INV_UNDECODABLE")
    assert problem.evidence["named"] == [{"study_uid": "1.2.x", "accession": "A7"}]
