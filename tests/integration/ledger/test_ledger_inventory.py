"""What the archive says is kept whole, merged carefully, and turned into revisions."""

from dataclasses import dataclass
from datetime import timedelta

import pytest

from storage.ledger.exceptions import EARLIER_KEPT
from storage.ledger.inventory import LONGEST, Recorded
from storage.ledger.lifecycle import StudyState
from storage.ledger.plan import Planned
from storage.ledger.records import Problem, Severity, Verdict
from storage.ledger.resolving import Resolution

LEASE = timedelta(seconds=60)
WARNING = Problem(kind="ACC_MISSING", severity=Severity.WARNING, blocking=False, remedy="Look.", evidence={"n": 1})
STOP = Problem(kind="MERGE_CYCLE", severity=Severity.ERROR, blocking=True, remedy="Look.", evidence={})


@dataclass(frozen=True)
class Window:
    day: str

    def keys(self) -> dict[str, str]:
        return {"StudyDate": self.day}


@dataclass(frozen=True, kw_only=True)
class Answer:
    window: Window
    studies: tuple
    end: str = "success"
    status: int | None = 0
    undecodable: int = 0
    raw: tuple[bytes, ...] = (b"\x00\x01", b"", b"abc")
    transfer_syntax: str = "1.2.840.10008.1.2"


def test_an_answer_is_kept_whole_with_the_studies_it_brought(world) -> None:
    answer = Answer(window=Window("20200101"), studies=(world.found("1.1"), world.found("1.2")))

    window_id, recorded = world.ledger.inventory.record_answer(world.source, answer, Verdict.COMPLETE)

    assert (recorded.new, recorded.changed, recorded.same) == (2, 0, 0)
    assert world.ledger.inventory.answers(window_id) == answer.raw
    row = world.ledger.inventory.window(world.source, {"StudyDate": "20200101"})
    assert (row.verdict, row.answers, row.ended) == (Verdict.COMPLETE, 2, "success")


def test_a_window_of_an_earlier_pass_must_be_asked_again(world) -> None:
    answer = Answer(window=Window("20200101"), studies=())
    world.ledger.inventory.record_answer(world.source, answer, Verdict.COMPLETE)

    world.ledger.inventory.begin_generation()

    assert world.ledger.inventory.window(world.source, {"StudyDate": "20200101"}) is None


def test_a_window_asked_again_keeps_its_later_verdict(world) -> None:
    for verdict in (Verdict.OPEN, Verdict.SPLIT):
        world.ledger.inventory.record_answer(world.source, Answer(window=Window("2020"), studies=()), verdict)

    assert world.ledger.inventory.verdicts(world.source) == {Verdict.SPLIT: 1}


def test_what_an_archive_does_not_say_is_unknown_and_not_a_change(world) -> None:
    world.discover("1.2")

    again = world.ledger.inventory.record_studies(world.source, [world.found("1.2", instance_count=None)])

    assert again == Recorded(new=0, changed=0, same=1, two_patients=())
    assert world.sql("select instance_count from study") == [(2,)]


def test_an_answer_that_no_database_takes_in_as_it_is_costs_no_inventory(world) -> None:
    endless = "".join(chr(0x4E00 + place * 7919 % 20_000) for place in range(40_000))

    world.discover("1.1", patient_id=endless, patient_name="Noe\0Jane", accession="1\ud800", modalities=("C\0T",))

    [found] = world.sql("select patient_id, patient_name, accession, modalities from study")
    assert found == (endless[:LONGEST], "Noe Jane", "1?", ["C T"])


def test_the_same_study_twice_in_a_batch_is_one_study(world) -> None:
    recorded = world.ledger.inventory.record_studies(world.source, [world.found("1.2"), world.found("1.2")])

    assert recorded == Recorded(new=1, changed=0, same=0, two_patients=())


def test_a_study_under_two_patients_is_told_and_moves_all_the_same(world) -> None:
    world.planned("1.2")
    claim = world.pull()

    recorded = world.ledger.inventory.record_studies(world.source, [world.found("1.2", patient_id="MRN2")])

    (problem,) = world.ledger.exceptions.list_open()
    assert recorded.two_patients == ("1.2",)
    assert (problem.kind, problem.study_uid, problem.blocking) == ("STUDY_UID_MULTI_PATIENT", "1.2", False)
    assert (world.study_state("1.2"), world.states("1.2")) == ("planned", ["pending", "pending"])
    assert world.ledger.claims.renew("mover-1", [claim], LEASE) == ()


def test_a_new_patient_in_a_later_pass_is_a_change_and_not_a_conflict(world) -> None:
    world.planned("1.2")
    world.ledger.inventory.begin_generation()

    recorded = world.ledger.inventory.record_studies(world.source, [world.found("1.2", patient_id="MRN2")])

    assert recorded == Recorded(new=0, changed=1, same=0, two_patients=())


def test_a_study_that_grew_gets_another_revision_and_the_worker_of_the_old_one_loses(world) -> None:
    world.planned("1.2")
    claim = world.pull()
    world.discover("1.2", instance_count=3)

    planned = world.ledger.plan.step({"rules": 2})

    assert planned == Planned(studies=1, deliveries=2)
    assert world.states("1.2") == ["void", "void", "pending", "pending"]
    assert world.ledger.claims.renew("mover-1", [claim], LEASE) == (claim,)
    assert world.pull().revision == 2


def test_a_study_that_did_not_change_is_not_planned_again(world) -> None:
    world.planned("1.2")
    world.discover("1.2")

    assert world.ledger.plan.step({}) == Planned(studies=0, deliveries=0)


def test_what_was_written_stays_when_a_study_gets_another_revision(world) -> None:
    world.planned("1.2")
    world.write(world.pull())
    world.ledger.inventory.recount(world.ledger.status.study("1.2").study_key)

    world.ledger.plan.step({})

    assert world.states("1.2") == ["written", "void", "pending", "pending"]


def test_a_plan_may_be_limited_and_aimed(world) -> None:
    world.discover("1.1", "1.2", "1.3")

    aimed = world.ledger.plan.step({}, only=["1.3"])
    limited = world.ledger.plan.step({}, limit=1)

    assert (aimed.studies, limited.studies) == (1, 1)
    assert [world.study_state(uid) for uid in ("1.1", "1.2", "1.3")] == ["planned", "discovered", "planned"]


def test_held_studies_leave_the_queue_and_come_back_as_a_new_revision(world) -> None:
    world.planned("1.2")

    world.ledger.plan.set_aside(["1.2"], StudyState.HELD, "legal hold", by="m.keller")
    held = world.states("1.2")
    world.ledger.plan.readmit(["1.2"], by="m.keller")
    world.ledger.plan.step({})

    assert held == ["void", "void"]
    assert world.states("1.2") == ["void", "void", "pending", "pending"]


def test_a_destination_added_later_is_fed_with_what_is_written(world) -> None:
    world.planned("1.1", "1.2")
    world.write(world.pull())
    row = world.sql(
        "insert into destination (name, kind, inline, fingerprint) values ('third', 's3', false, 'c')"
        " returning destination_id"
    )

    last, made = world.ledger.plan.extend(row[0][0])
    after, none = world.ledger.plan.extend(row[0][0], after_key=last)

    assert (made, after, none) == (2, 0, 0)
    assert world.sql("select ready from delivery where destination_id = %s order by 1", row[0][0]) == [
        (False,),
        (True,),
    ]


def test_unseen_studies_are_those_of_earlier_passes_only(world) -> None:
    world.discover("1.1", "1.2")
    world.ledger.inventory.begin_generation()
    world.discover("1.2", "1.3", instance_count=None)

    seen = world.ledger.inventory.seen(world.source)

    assert (seen.seen, seen.unseen, seen.instances, seen.uncounted) == (2, 1, 2, 1)
    assert world.ledger.inventory.unseen(world.source) == ("1.1",)


def test_a_problem_seen_again_counts_on_its_row(world) -> None:
    world.discover("1.2")
    key = world.ledger.status.study("1.2").study_key

    first = world.ledger.exceptions.open(WARNING, study_key=key)
    again = world.ledger.exceptions.open(WARNING, study_key=key)
    (row,) = world.ledger.exceptions.list_open(kind="ACC_MISSING")

    assert first == again
    assert (row.times_seen, row.evidence) == (2, {"n": 1})
    assert world.ledger.exceptions.counts() == {("ACC_MISSING", Severity.WARNING): 1}
    assert world.study_state("1.2") == "discovered"


def test_a_blocking_problem_stops_the_study_until_the_last_is_resolved(world) -> None:
    world.planned("1.2")
    key = world.ledger.status.study("1.2").study_key
    first = world.ledger.exceptions.open(STOP, study_key=key)
    second = world.ledger.exceptions.open(
        Problem(kind="MERGE_FORK", severity=Severity.ERROR, blocking=True, remedy="Look.", evidence={}), study_key=key
    )

    world.ledger.exceptions.resolve(first, Resolution.RETRY, by="operator")
    between = world.study_state("1.2"), world.states("1.2")
    world.ledger.exceptions.resolve(second, Resolution.RETRY, by="operator")

    assert between == ("exception", ["exception", "exception"])
    assert (world.study_state("1.2"), world.states("1.2")) == ("planned", ["pending", "pending"])


def test_a_blocking_problem_at_one_destination_leaves_the_other_alone(world) -> None:
    world.planned("1.2")
    key = world.ledger.status.study("1.2").study_key

    world.ledger.exceptions.open(STOP, study_key=key, destination_id=world.second)

    assert (world.study_state("1.2"), world.states("1.2")) == ("planned", ["pending", "exception"])


def test_a_renewed_study_is_delivered_anew_everywhere(world) -> None:
    world.planned("1.2")
    world.write(world.pull())
    exception_id = world.ledger.commits.fail(world.validation(), STOP)

    world.ledger.exceptions.resolve(exception_id, Resolution.RENEW, by="operator")
    world.ledger.plan.step({})

    # Read back once more, the damaged copy would only be found damaged again.
    assert world.states("1.2") == ["void", "void", "pending", "pending"]
    assert world.study_state("1.2") == "planned"


def test_an_excluded_study_leaves_the_queue(world) -> None:
    world.planned("1.2")
    exception_id = world.ledger.commits.fail(world.pull(), STOP)

    world.ledger.exceptions.resolve(exception_id, Resolution.EXCLUDE, by="operator")

    assert (world.study_state("1.2"), world.states("1.2")) == ("excluded", ["void", "void"])


def test_what_blocks_cannot_just_be_acknowledged(world) -> None:
    world.planned("1.2")
    exception_id = world.ledger.commits.fail(world.pull(), STOP)

    with pytest.raises(ValueError, match="blocks"):
        world.ledger.exceptions.resolve(exception_id, Resolution.ACKNOWLEDGE, by="operator")
    with pytest.raises(LookupError):
        world.ledger.exceptions.resolve(exception_id + 1, Resolution.RETRY, by="operator")


def test_a_worker_is_known_by_its_last_beat(world) -> None:
    world.ledger.control.enrol("mover-1", kind="mover", host="node", pid=7)
    later = world.later(5)

    later.control.beat("mover-1", {"studies": 3})
    (row,) = world.ledger.control.workers()

    assert row.stats == {"studies": 3}
    assert (row.beat_at - row.started_at).total_seconds() >= 5
    world.ledger.control.dismiss("mover-1")
    assert world.ledger.control.workers() == ()


def test_a_study_under_two_patients_is_planned_anew_only_for_a_patient_not_told_yet(world) -> None:
    one, two = world.found("1.2", patient_id="MRN1"), world.found("1.2", patient_id="MRN2")
    world.ledger.inventory.record_studies(world.source, [one, two])
    world.ledger.plan.step({})

    planned = []
    for batches in ([[one, two], [one], [two]], [[one], [two]], [[world.found("1.2", patient_id="MRN3")]]):
        world.ledger.inventory.begin_generation()
        for batch in batches:
            world.ledger.inventory.record_studies(world.source, batch)
        planned.append(world.ledger.plan.step({}).studies)

    assert planned == [0, 0, 1]


def test_an_exception_met_again_keeps_what_it_said_before(world) -> None:
    for window in ("2019", "2020", "2019", "2021"):
        told = Problem(
            kind="INV_UNSPLITTABLE", severity=Severity.ERROR, blocking=False, remedy="Look.", evidence={"keys": window}
        )
        world.ledger.exceptions.open(told)

    (row,) = world.ledger.exceptions.list_open()
    assert row.times_seen == 4
    assert row.evidence["keys"] == "2021"
    assert {each["keys"] for each in row.evidence["earlier"]} == {"2019", "2020"}


def test_what_an_exception_keeps_of_before_is_bounded(world) -> None:
    for number in range(EARLIER_KEPT + 5):
        told = Problem(
            kind="UNSOLICITED", severity=Severity.WARNING, blocking=False, remedy="Look.", evidence={"n": number}
        )
        world.ledger.exceptions.open(told)

    (row,) = world.ledger.exceptions.list_open()
    assert (row.evidence["n"], len(row.evidence["earlier"])) == (EARLIER_KEPT + 4, EARLIER_KEPT)


def test_nothing_of_one_patient_is_told_of_another(world, found) -> None:
    told = "select patient_id, issuer, patient_name, birth_date from study"
    record = world.ledger.inventory.record_studies
    record(world.source, [found("1.1", patient_id="1", issuer="SOUTH", patient_name="Loe^Tim", birth_date="19600606")])

    record(world.source, [found("1.1", patient_id="1", patient_name=None)])
    unsaid = world.sql(told)
    record(world.source, [found("1.1", patient_id="3", patient_name=None)])
    renumbered = world.sql(told)
    record(world.source, [found("1.1", patient_id="3", issuer="NORTH", patient_name="Poe^Ann", birth_date="19900303")])
    record(world.source, [found("1.1", patient_id="3", issuer="SOUTH", patient_name=None)])

    assert unsaid == [("1", "SOUTH", "Loe^Tim", "19600606")]
    assert renumbered == [("3", None, None, None)]
    assert world.sql(told) == [("3", "SOUTH", None, None)]
