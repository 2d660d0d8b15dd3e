"""An acceptance is of the proposal that somebody saw, whatever is planned meanwhile."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from storage.ledger import resolving
from storage.ledger.records import OpenProblem, Severity
from storage.ledger.resolving import PlanUnderWay, Resolution, Superseded

HEAD = "old_issuer,old_id,new_issuer,new_id,kind\n"
DOUBTFUL = {"patient_id": "2", "patient_name": "Roe^Max", "birth_date": "19800203", "sex": "M"}
TWIN = "issuer,id,name,birth_date,sex\nNORTH,5,Roe^Maxim,19800202,M\n"
MERGE = HEAD + "NORTH,2,NORTH,5,merge\n"
WAITING = (
    "select count(*) from pg_locks join pg_database on database = pg_database.oid"
    " where locktype = 'advisory' and not granted and datname = current_database()"
)


@pytest.fixture
def doubtful(world: Any, give: Any, planner: Any) -> OpenProblem:
    """A study whose birth date differs by a digit from that of its number's owner, planned."""
    world.discover("1.2", **DOUBTFUL)
    planner().apply()
    [problem] = world.ledger.exceptions.list_open()
    return problem


@pytest.fixture
def accept(world: Any) -> Callable[[int], None]:
    return lambda number: world.ledger.exceptions.resolve(number, Resolution.ACCEPT, by="m.keller")


def acceptances(world: Any) -> list[str]:
    return [row[0] for row in world.sql("select encode(digest, 'hex') from acceptance")]


def test_another_proposal_has_another_number_and_the_one_before_is_accepted_no_more(
    world, give, planner, doubtful, accept
) -> None:
    world.ledger.exceptions.assign([doubtful.exception_id], "a.braun")
    give("twin.csv", TWIN)
    give("crosswalk.csv", MERGE)
    planner().apply()

    [problem] = world.ledger.exceptions.list_open()
    with pytest.raises(Superseded) as refused:
        accept(doubtful.exception_id)

    assert (problem.kind, problem.owner, problem.times_seen) == (doubtful.kind, "a.braun", 1)
    assert problem.exception_id > doubtful.exception_id
    assert problem.proposal not in (None, doubtful.proposal)
    assert problem.evidence["supersedes"] == doubtful.exception_id
    assert refused.value.successor == problem.exception_id
    assert refused.value.study_uid == "1.2"
    assert set(refused.value.changed) >= {"patient", "person.name"}
    assert "Roe" not in str(refused.value)
    assert acceptances(world) == []


def test_the_same_proposal_keeps_its_number_however_often_it_is_made(world, give, planner, doubtful, accept) -> None:
    give("twin.csv", TWIN)
    planner().apply()
    planner().preview()

    [problem] = world.ledger.exceptions.list_open()
    accept(doubtful.exception_id)

    assert (problem.exception_id, problem.proposal) == (doubtful.exception_id, doubtful.proposal)
    assert acceptances(world) == [doubtful.proposal]


def test_whoever_accepts_while_a_plan_is_carried_out_is_refused_what_it_replaced(
    world, give, planner, doubtful, accept, wait_until
) -> None:
    give("twin.csv", TWIN)
    give("crosswalk.csv", MERGE)
    with psycopg.connect(world.url) as other, ThreadPoolExecutor(2) as pool:
        other.execute("select from decision for update")
        planned = pool.submit(planner().apply)
        wait_until(lambda: waits_for_a_row(world))
        accepted: Future[None] = pool.submit(accept, doubtful.exception_id)
        wait_until(lambda: world.sql(WAITING) == [(1,)])
        other.commit()

        planned.result(timeout=30)
        with pytest.raises(Superseded):
            accepted.result(timeout=30)

    assert acceptances(world) == []


def test_a_plan_waits_for_whoever_accepts_and_what_was_seen_is_what_was_accepted(
    world, give, planner, doubtful, accept, wait_until
) -> None:
    give("twin.csv", TWIN)
    give("crosswalk.csv", MERGE)
    with psycopg.connect(world.url) as other, ThreadPoolExecutor(2) as pool:
        other.execute("select from study for update")
        accepted: Future[None] = pool.submit(accept, doubtful.exception_id)
        wait_until(lambda: waits_for_a_row(world))
        planned = pool.submit(planner().apply)
        wait_until(lambda: world.sql(WAITING) == [(1,)])
        other.commit()

        accepted.result(timeout=30)
        report = planned.result(timeout=30)

    [problem] = world.ledger.exceptions.list_open()
    assert acceptances(world) == [doubtful.proposal]
    assert report.tally.verdicts == {"review": 1}
    assert problem.proposal != doubtful.proposal
    assert world.study_state("1.2") == "exception"


def waits_for_a_row(world: Any) -> bool:
    return world.sql(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock' and wait_event <> 'advisory'"
    ) == [(1,)]


def test_nobody_waits_for_a_plan_beyond_patience(world, doubtful, accept, monkeypatch) -> None:
    monkeypatch.setattr(resolving, "PLAN_PATIENCE", resolving.PLAN_PATIENCE / 30)
    with psycopg.connect(world.url) as other:
        other.execute("select pg_advisory_lock(%s)", (resolving.PLAN_LOCK,))
        with pytest.raises(PlanUnderWay):
            accept(doubtful.exception_id)

    assert world.ledger.exceptions.list_open() == (doubtful,)


def test_what_was_noted_and_is_another_thing_by_now_is_not_acknowledged(world, give, planner) -> None:
    world.discover("1.1", patient_id="1", patient_name="Noe^Jane", birth_date="19700101", sex="F", accession=None)
    planner({}).apply()
    [noted] = world.ledger.exceptions.list_open()
    give("crosswalk.csv", HEAD + "NORTH,1,NORTH,6,merge\n")
    give("late.csv", "issuer,id,name,birth_date,sex\nNORTH,6,Noe^Jane,19700101,F\n")
    planner({}).apply()

    with pytest.raises(Superseded) as refused:
        world.ledger.exceptions.resolve(noted.exception_id, Resolution.ACKNOWLEDGE, by="m.keller")

    assert (noted.kind, refused.value.changed) == ("ACC_MISSING", ("numbers", "patient"))


@pytest.mark.parametrize("resolution", [Resolution.EXCLUDE, Resolution.RENEW, Resolution.RETRY])
def test_what_was_superseded_is_not_resolved_in_any_other_way_either(
    world, give, planner, doubtful, resolution: Resolution
) -> None:
    give("twin.csv", TWIN)
    give("crosswalk.csv", MERGE)
    planner().apply()

    with pytest.raises(Superseded):
        world.ledger.exceptions.resolve(doubtful.exception_id, resolution, by="m.keller")

    assert world.study_state("1.2") == "exception"


def test_what_the_inventory_said_of_several_patients_is_accepted_only_as_a_plan_proposes_it(
    world, give, planner, found
) -> None:
    one, other = ({"patient_id": number, "patient_name": "Roe^Max"} for number in ("2", "3"))
    world.ledger.inventory.record_studies(world.source, [found("1.1", **one), found("1.1", **other)])
    [listed] = world.ledger.exceptions.list_open()
    planner().apply()

    proposed = [row for row in world.ledger.exceptions.list_open() if row.kind == listed.kind]
    with pytest.raises(Superseded) as refused:
        world.ledger.exceptions.resolve(listed.exception_id, Resolution.ACCEPT, by="m.keller")

    assert listed.proposal is None
    assert [row.severity for row in proposed] == [Severity.CRITICAL]
    assert (refused.value.changed, refused.value.successor) == ((), proposed[0].exception_id)
