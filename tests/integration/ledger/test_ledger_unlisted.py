"""Accession numbers that headers have and the archive does not list: into the proof, and nowhere else before."""

from typing import Any

import pytest

from actors.problems import problem
from storage.ledger.resolving import Resolution

RULES = {"rules": [{"name": "pad", "steps": [{"pad": 8}]}]}
JANE = {"patient_id": "1", "patient_name": "NOE^JANE", "birth_date": "19700101", "sex": "F"}
MAX = {"patient_id": "2", "patient_name": "Roe^Max", "birth_date": "19800202", "sex": "M"}


@pytest.fixture
def found_in_headers(world: Any, give: Any, planner: Any, step: Any) -> None:
    """A study of Jane's, listed with 17, of which a mover found an instance with 18."""
    world.discover("1.1", **JANE, accession="17")
    planner(RULES).apply()
    step()
    world.ledger.commits.fail(world.pull(), problem("ACC_UNLISTED", {"found": ["18"]}))


def decision(world: Any) -> dict[str, Any]:
    [(plan,)] = world.sql(
        "select r.plan from study_revision r join study s using (study_key, revision) where study_uid = '1.1'"
    )
    return plan["decision"]


def test_it_is_held_until_a_person_accepts_what_both_numbers_become(
    world, give, planner, step, found_in_headers
) -> None:
    before = decision(world)
    report = planner(RULES).apply()
    [problem] = world.ledger.exceptions.list_open()
    held = step(), world.study_state("1.1")
    world.ledger.exceptions.resolve(problem.exception_id, Resolution.ACCEPT, by="m.keller")
    planner(RULES).apply()

    assert (before["listed_accession"], before["accessions"]) == ("17", [["17", "", "00000017", "", ""]])
    assert (report.tally.verdicts, report.tally.classes) == ({"review": 1}, {"ACC_UNLISTED": 1})
    assert (problem.kind, problem.destination, problem.evidence["accessions"]) == ("ACC_UNLISTED", None, ["17", "18"])
    assert held == (0, "exception")
    assert step() == 1
    assert [row[:3] for row in decision(world)["accessions"]] == [["17", "", "00000017"], ["18", "", "00000018"]]
    assert decision(world)["further"] == ["18"]
    assert world.states("1.1") == ["void", "void", "pending", "pending"]


def test_it_moves_with_both_and_is_listed_where_the_job_says_so(world, planner, step, found_in_headers) -> None:
    report = planner(RULES | {"unlisted": "renumber"}).apply()

    [noted] = world.ledger.exceptions.list_open()
    assert report.tally.verdicts == {"auto_note": 1}
    assert (noted.kind, noted.blocking) == ("ACC_UNLISTED", False)
    assert step() == 1
    assert len(decision(world)["accessions"]) == 2


def test_what_was_corrected_at_the_source_is_looked_for_anew(world, give, planner, step, found_in_headers) -> None:
    world.discover("1.2", **MAX, accession="18")
    planner(RULES).apply()
    for one in world.ledger.exceptions.list_open():
        if one.study_uid == "1.1":
            world.ledger.exceptions.resolve(one.exception_id, Resolution.RETRY, by="m.keller")

    report = planner(RULES).apply()

    assert (report.tally.verdicts, world.ledger.exceptions.list_open()) == ({"auto": 2}, ())
    assert step() == 2
    assert "further" not in decision(world)


@pytest.mark.parametrize("number", ["18", "018"])
def test_it_is_in_the_proof_with_all_other_studies_numbers(world, give, planner, found_in_headers, number: str) -> None:
    world.discover("1.2", **MAX, accession=number)

    report = planner(RULES | {"unlisted": "renumber"}).apply()

    assert report.tally.classes == {"ACC_COLLISION_PATIENT": 2, "ACC_UNLISTED": 1}
    assert report.tally.verdicts == {"conflict": 2}
    contents = world.sql("select content -> 'accessions' from decision order by study_key")
    assert contents == [(None,), (None,)]


def test_another_patients_study_and_one_of_the_same_order_are_told_apart(
    world, give, planner, found_in_headers
) -> None:
    world.discover("1.2", **JANE, accession="18")

    assert planner(RULES | {"unlisted": "renumber"}).preview().tally.classes == {"ACC_UNLISTED": 1}


def test_the_only_number_that_there_is_settles_what_the_mover_found(world, give, planner, step) -> None:
    world.discover("1.1", **JANE, accession=None)
    planner(RULES).apply()
    step()
    world.ledger.commits.fail(world.pull(), problem("ACC_UNLISTED", {"found": ["18"]}))

    report = planner(RULES).apply()

    assert report.tally.classes == {}
    assert world.ledger.exceptions.list_open() == ()
    assert step() == 1
    assert decision(world)["accessions"] == [["18", "", "00000018", "", ""]]


def test_a_rule_may_look_for_what_no_text_of_postgres_holds(world, planner) -> None:
    rules = {"rules": [{"name": "torn", "pattern": "[^\0]*\0.*", "steps": [{"pad": 8}]}]}
    world.discover("1.1", **JANE, accession="17")

    assert planner(rules).apply().applied.decided == 1
    [(kept,)] = world.sql("select rules from decision_rules")
    assert kept["accession"]["rules"][0]["pattern"] == rules["rules"][0]["pattern"]
