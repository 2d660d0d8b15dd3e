"""A plan of all studies: held, released, renewed, and never more of them than what changed."""

from typing import Any

import pytest

from cluster.planning.decide import PlanRefused
from cluster.planning.reading import Kind, Reader
from storage.ledger.resolving import Resolution

JANE = {"patient_id": "1", "patient_name": "NOE^JANE", "birth_date": "19700101", "sex": "F"}
MAX = {"patient_id": "2", "patient_name": "Roe^Max", "birth_date": "19800202", "sex": "M"}
ANN = {"patient_id": "3", "patient_name": "Poe^Ann", "birth_date": "19900303", "sex": "F"}
TIM = {"patient_id": "1", "issuer": "SOUTH", "patient_name": "Loe^Tim", "birth_date": "19600606", "sex": "M"}
HEAD = "old_issuer,old_id,new_issuer,new_id,kind\n"


def kinds(world) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in world.ledger.exceptions.list_open():
        found.setdefault(row.study_uid or "", []).append(row.kind)
    return {uid: sorted(several) for uid, several in found.items()}


def planned(world, uid: str) -> dict[str, Any]:
    [(plan,)] = world.sql(
        "select r.plan from study_revision r join study s using (study_key, revision) where study_uid = %s", uid
    )
    return plan["decision"]


def test_a_plan_that_is_only_looked_at_changes_nothing(world, give, planner, step) -> None:
    world.discover("1.1", **JANE)

    report = planner().preview()

    assert (report.tally.studies, report.tally.verdicts, report.tally.changed) == (1, {"auto": 1}, 1)
    assert world.sql("select from decision") == []
    assert step() == 0


def test_what_a_plan_changes_is_told_study_by_study_in_kind_and_without_a_value(world, give, planner) -> None:
    rules = {"rules": [{"name": "pad", "steps": [{"pad": 8}]}]}
    give("crosswalk.csv", HEAD + "NORTH,7,NORTH,1,merge\n")
    world.discover("1.1", **(JANE | {"patient_id": "7"}), accession="17")
    world.discover("1.2", **MAX, accession="00000018")
    world.discover("1.3", **ANN, accession="00000019")
    first = planner(rules).apply(listed=9).changes
    give("crosswalk.csv", HEAD + "NORTH,7,NORTH,4,merge\nNORTH,2,NORTH,3,merge\n")
    give("late.csv", "issuer,id,name,birth_date,sex\nNORTH,4,Noe^Jane,19700101,F\n")

    second = planner(rules).preview(listed=9).changes

    assert [(one.study_uid, one.why, one.headers, one.differs) for one in first] == [
        ("1.1", "new", ["patient", "person.name", "accessions"], []),
        ("1.2", "new", [], []),
        ("1.3", "new", [], []),
    ]
    told = [(one.study_uid, one.why, one.verdict, one.classes) for one in second]
    assert told == [("1.1", "changed", "auto", []), ("1.2", "held", "conflict", ["DEMOGRAPHIC_CONFLICT"])]
    assert second[0].differs == ["numbers", "patient"]
    assert not any(value in repr((first, second)) for value in ("Jane", "JANE", "Roe", "1970", "00000017"))


def test_a_listing_is_bounded_and_one_that_nobody_asked_for_is_empty(world, give, planner) -> None:
    world.discover("1.1", "1.2", **JANE)

    assert [one.study_uid for one in planner().preview(listed=1).changes] == ["1.1"]
    assert planner().preview().changes == ()


def test_a_study_is_planned_under_its_survivor_and_the_revision_says_why(world, give, planner, step) -> None:
    give("crosswalk.csv", HEAD + "NORTH,7,NORTH,1,merge\n")
    world.discover("1.1", **(JANE | {"patient_id": "7"}))

    report = planner().apply()

    assert step() == 1
    decision = planned(world, "1.1")
    assert decision["patient"] == ["NORTH", "1"]
    assert decision["person"] == {"name": "Noe^Jane", "birth_date": "19700101", "sex": "F"}
    assert decision["numbers"] == [["NORTH", "1"], ["NORTH", "7"]]
    assert decision["rules"] == report.rules
    assert world.study_state("1.1") == "planned"


def test_what_is_not_certain_is_held_and_the_rest_moves(world, give, planner, step) -> None:
    world.discover("1.1", **JANE)
    world.discover("1.2", **(MAX | {"birth_date": "19800203"}))
    world.discover("1.3", **(ANN | {"birth_date": "19550505", "patient_name": "Zorn^Karl"}))
    world.discover("1.4", patient_id="99")

    report = planner().apply()

    assert report.tally.verdicts == {"auto": 1, "review": 2, "conflict": 1}
    assert report.tally.classes == {"DEMOGRAPHIC_CONFLICT": 1, "DEMOGRAPHIC_REVIEW": 1, "PID_NOT_IN_MPI": 1}
    assert step() == 1
    assert [world.study_state(uid) for uid in ("1.1", "1.2", "1.3", "1.4")] == ["planned", *["exception"] * 3]
    assert kinds(world) == {"1.2": ["DEMOGRAPHIC_REVIEW"], "1.3": ["DEMOGRAPHIC_CONFLICT"], "1.4": ["PID_NOT_IN_MPI"]}


def test_what_a_person_accepts_moves_as_it_was_proposed_and_stays_accepted(world, give, planner, step) -> None:
    world.discover("1.2", **(MAX | {"birth_date": "19800203"}))
    planner().apply()
    [problem] = world.ledger.exceptions.list_open()

    world.ledger.exceptions.resolve(problem.exception_id, Resolution.ACCEPT, by="m.keller")
    before = step()
    report = planner().apply()

    assert before == 0
    assert step() == 1
    assert report.tally.accepted == 1
    assert planned(world, "1.2")["patient"] == ["NORTH", "2"]
    assert planned(world, "1.2")["accepted"] == ["DEMOGRAPHIC_REVIEW"]
    assert planner().apply().applied.held == 0


def test_another_proposal_needs_another_word(world, give, planner) -> None:
    world.discover("1.2", **(MAX | {"birth_date": "19800203"}))
    planner().apply()
    [problem] = world.ledger.exceptions.list_open()
    world.ledger.exceptions.resolve(problem.exception_id, Resolution.ACCEPT, by="m.keller")

    give("crosswalk.csv", HEAD + "NORTH,2,NORTH,3,merge\n")
    report = planner().apply()

    assert report.tally.verdicts == {"conflict": 1}
    assert kinds(world) == {"1.2": ["DEMOGRAPHIC_CONFLICT"]}


def test_a_cause_that_is_gone_releases_the_study_by_itself(world, give, planner, step) -> None:
    world.discover("1.4", **(JANE | {"patient_id": "99"}))
    planner().apply()

    give("crosswalk.csv", HEAD + "NORTH,99,NORTH,1,merge\n")
    report = planner().apply()

    assert (report.applied.released, report.applied.closed) == (1, 1)
    assert world.ledger.exceptions.list_open() == ()
    assert step() == 1


def test_a_later_merge_renews_exactly_the_studies_it_touches(world, give, planner, step) -> None:
    for uid, person in (("1.1", JANE), ("1.2", MAX), ("1.3", ANN)):
        world.discover(uid, **person)
    planner().apply()
    step()
    for _ in range(3):
        world.write(world.pull())

    give("crosswalk.csv", HEAD + "NORTH,1,NORTH,4,merge\n")
    give("late.csv", "issuer,id,name,birth_date,sex\nNORTH,4,Noe^Jane,19700101,F\n")
    report = planner().apply()

    assert (report.tally.changed, report.applied.renewed) == (1, 1)
    assert step() == 1
    assert planned(world, "1.1")["patient"] == ["NORTH", "4"]
    assert dict(world.sql("select study_uid, revision from study")) == {"1.1": 2, "1.2": 1, "1.3": 1}
    assert planner().apply().applied.renewed == 0


def test_a_delivered_study_that_becomes_doubtful_is_held_and_returns_without_a_new_revision(
    world, give, planner, step
) -> None:
    world.discover("1.1", **JANE)
    planner().apply()
    step()

    give("overrides.csv", HEAD + "NORTH,1,NORTH,2,merge\n", Kind.OVERRIDES)
    held = planner().apply()
    states = world.states("1.1")
    give("overrides.csv", HEAD, Kind.OVERRIDES)
    planner().apply()

    assert held.applied.held == 1
    assert states == ["exception", "exception"]
    assert world.states("1.1") == ["pending", "pending"]
    assert step() == 0


def test_numbers_of_two_patients_that_would_become_one_hold_both(world, give, planner, step) -> None:
    rules = {"rules": [{"name": "pad", "steps": [{"pad": 8}]}]}
    world.discover("1.1", **JANE, accession="17")
    world.discover("1.2", **MAX, accession="017")
    world.discover("1.3", **ANN, accession="18")

    report = planner(rules).apply()

    assert report.tally.classes == {"ACC_COLLISION_PATIENT": 2}
    assert step() == 1
    assert planned(world, "1.3")["accessions"] == [["18", "", "00000018", "", ""]]
    assert kinds(world).keys() == {"1.1", "1.2"}


def test_a_collision_that_a_person_accepts_moves_with_the_number_it_has(world, give, planner, step) -> None:
    rules = {"rules": [{"name": "pad", "steps": [{"pad": 8}]}]}
    world.discover("1.1", **JANE, accession="17")
    world.discover("1.2", **MAX, accession="017")
    planner(rules).apply()

    for problem in world.ledger.exceptions.list_open():
        world.ledger.exceptions.resolve(problem.exception_id, Resolution.ACCEPT, by="m.keller")
    planner(rules).apply()

    assert step() == 2
    assert "accessions" not in planned(world, "1.1")


def test_a_number_that_its_rule_makes_nothing_of_is_held_for_another_may_become_it(world, give, planner) -> None:
    rules = {"rules": [{"name": "ris", "steps": [{"select": "^R-([0-9]+)$"}]}]}
    world.discover("1.1", **JANE, accession="R-17")
    world.discover("1.2", **MAX, accession="17")
    world.discover("1.3", **ANN, accession=None)

    found = planner(rules).preview().tally

    assert found.classes == {"ACC_MISSING": 1, "ACC_UNFIT": 1}
    assert found.verdicts == {"auto": 1, "auto_note": 1, "review": 1}


def test_sites_that_count_alike_are_told_apart_by_rule(world, give, planner) -> None:
    site = {"name": "south", "issuers": ["SOUTH"]}
    rule = {"name": "south", "sites": ["south"], "steps": [{"prefix": "S"}]}
    world.discover("1.1", **JANE, accession="17")
    world.discover("1.2", **TIM, accession="17")

    assert planner({}).preview().tally.classes == {"ACC_COLLISION_PATIENT": 2}
    assert planner({"sites": [site], "rules": [rule]}).preview().tally.classes == {}


def test_studies_without_an_order_are_listed_or_held_as_the_job_says(world, give, planner) -> None:
    give("orders.csv", "accession,issuer,id\nA1,NORTH,1\nA2,NORTH,3\n")
    world.discover("1.1", **JANE, accession="A1")
    world.discover("1.2", **MAX, accession="A2")
    world.discover("1.3", **ANN, accession="A3")
    world.discover("1.4", **TIM, accession=None)

    noted, strict = planner({}).preview(), planner({"unmatched": "hold"}).preview()

    expected = {"ACC_COLLISION_PATIENT": 1, "ACC_MISSING": 1, "ACC_NO_ORDER": 1}
    assert noted.tally.classes == strict.tally.classes == expected
    assert noted.tally.verdicts == {"auto": 1, "auto_note": 2, "conflict": 1}
    assert strict.tally.verdicts == {"auto": 1, "review": 2, "conflict": 1}
    assert noted.fits == {"both": 1, "no-number": 1, "none": 1, "other-patient": 1}


def test_a_study_that_was_accepted_is_held_anew_when_the_archive_lists_somebody_else(
    world, give, planner, step, found
) -> None:
    stranger = MAX | {"birth_date": "19550505", "patient_name": "Zorn^Karl"}
    third = stranger | {"birth_date": "20010101", "patient_name": "Bo^Lin", "sex": "F"}
    record = world.ledger.inventory.record_studies
    record(world.source, [found("1.1", **stranger), found("1.2", **ANN), found("1.2", **TIM)])
    planner().apply()
    for problem in world.ledger.exceptions.list_open():
        world.ledger.exceptions.resolve(problem.exception_id, Resolution.ACCEPT, by="m.keller")
    accepted = planner().apply().tally.classes, step()

    world.ledger.inventory.begin_generation()
    record(world.source, [found("1.1", **third), found("1.2", **ANN), found("1.2", **JANE)])
    planner().apply()

    assert accepted == ({}, 2)
    assert kinds(world)["1.1"] == ["DEMOGRAPHIC_CONFLICT"]
    assert "STUDY_UID_MULTI_PATIENT" in kinds(world)["1.2"]


def test_what_is_only_noted_is_told_once_and_not_again_after_it_was_acknowledged(world, give, planner, step) -> None:
    world.discover("1.1", **JANE, accession=None)
    planner({}).apply()
    [problem] = world.ledger.exceptions.list_open()

    world.ledger.exceptions.resolve(problem.exception_id, Resolution.ACKNOWLEDGE, by="m.keller")
    planner({}).apply()

    assert problem.kind == "ACC_MISSING"
    assert world.ledger.exceptions.list_open() == ()
    assert step() == 1


def test_a_study_under_two_patients_is_held_unless_both_are_one(world, give, planner, found) -> None:
    record = world.ledger.inventory.record_studies
    record(world.source, [found("1.1", **JANE), found("1.1", **MAX), found("1.2", **ANN), found("1.2", **TIM)])

    give("crosswalk.csv", HEAD + "NORTH,1,NORTH,2,merge\n")
    report = planner().apply()

    assert kinds(world) == {"1.2": ["STUDY_UID_MULTI_PATIENT"]}
    assert report.tally.classes == {"STUDY_UID_MULTI_PATIENT": 1}


def test_a_study_that_is_there_twice_is_noted_on_both(world, give, planner) -> None:
    same = JANE | {"accession": "A1", "study_time": "101500"}
    world.discover("1.1", "1.2", **same)
    world.discover("1.03", **(same | {"study_time": "111500"}))

    report = planner().preview()

    assert report.tally.classes == {"STUDY_DUPLICATED": 2, "UID_INVALID": 1}
    assert report.tally.verdicts == {"auto_note": 3}


def test_an_excluded_study_is_not_decided(world, give, planner) -> None:
    world.discover("1.1", patient_id="")
    world.sql("update study set state = 'excluded'")

    assert planner().preview().tally.studies == 0


def test_unknown_numbers_are_kept_where_the_job_says_so(world, give, planner) -> None:
    world.discover("1.1", patient_id="99")

    assert planner().preview().tally.classes == {"PID_NOT_IN_MPI": 1}
    assert planner(unknown="keep").preview().tally.verdicts == {"auto": 1}


def test_files_read_under_other_issuers_stop_the_plan(world, give, planner) -> None:
    with pytest.raises(PlanRefused, match=r"index\.csv"):
        planner(default_issuer="SOUTH").preview()


def test_messages_read_again_under_other_issuers_let_the_plan_go_on_and_so_does_the_way_back(
    world, planner, hospital, tmp_path
) -> None:
    path = tmp_path / "merges.hl7"
    path.write_bytes(
        b"MSH|^~\\&|ADT|NH|||20200102||ADT^A40|1|P|2.5\rEVN|A40|20200102\r"
        b"PID|||1^^^NORTH^MR||Noe^Jane||19700101|F\rMRG|7^^^NORTH^MR\r"
    )
    renamed = hospital.model_copy(update={"default_issuer": "SOUTH"})
    world.discover("1.1", **(JANE | {"patient_id": "7", "issuer": "NORTH"}))

    for options in (hospital, renamed, hospital):
        Reader(world.ledger, options, "UTC").read(path, None)
        report = planner(default_issuer=options.default_issuer).preview()
        assert (report.events, report.tally.classes) == (2, {})


def test_orders_that_are_required_and_absent_stop_the_plan(world, give, planner) -> None:
    with pytest.raises(PlanRefused, match="orders"):
        planner({"orders": "required"}).preview()


def test_exceptions_have_an_owner_who_works_through_them(world, give, planner) -> None:
    world.discover("1.1", patient_id="")
    world.discover("1.2", patient_id="99")
    planner().apply()
    first, second = (row.exception_id for row in world.ledger.exceptions.list_open())

    assert world.ledger.exceptions.assign([first, 999_999], "a.braun") == (first,)

    assert [row.exception_id for row in world.ledger.exceptions.list_open(owner="a.braun")] == [first]
    assert [row.exception_id for row in world.ledger.exceptions.list_open(owner="operator")] == [second]
