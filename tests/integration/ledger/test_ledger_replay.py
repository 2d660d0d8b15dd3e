"""Under which rules studies were written, and writing them anew: which, once, and beside a run."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from actors.coercing import in_use, kept_rules
from actors.coercion_options import CoercionOptions
from imaging.uid import Uid
from storage.ledger.coercion import RulesInUse
from storage.ledger.lifecycle import StudyState
from storage.ledger.records import CustodyNote
from storage.packs.model import Container, Member, Receipt

NOTE = CustodyNote(event="written", payload={"by": "test"})
RECEIPT = Receipt(key="packs/1", container=Container.TAR, size=4096, crc64=2**64 - 1, etag="e", version_id="v")
RULES = RulesInUse(version="aaaa", rules={"rules": [{"name": "site"}]})
REASON = {"before": "aaaa", "after": "bbbb", "cause": "changed", "rule": "site"}


def write(world: Any, *uids: str, rules: RulesInUse = RULES, acted: tuple[str, ...] = ("site/1",)) -> None:
    """The studies are written under these rules, of which all were met in the first instance only."""
    world.planned(*uids)
    for _ in uids:
        claim = world.pull()
        first, *rest = world.facts(claim.study_uid)
        facts = [replace(first, met=("site/1", "sex/1"), acted=acted), *rest]
        world.ledger.commits.written(
            claim, facts=facts, expected_root=world.root(facts), receipt=RECEIPT, note=NOTE, rules=rules
        )


def replayed(world: Any) -> dict[str, int]:
    """Links that tell of it, by study."""
    return dict(
        world.sql(
            "select study_uid, count(*) from custody join study using (study_key) where event = 'replayed' group by 1"
        )
    )


def test_studies_to_which_rules_did_the_same_share_a_row_and_rules_are_kept_once(world) -> None:
    write(world, "1.1", "1.2")
    write(world, "1.3", acted=())
    write(world, "1.4", rules=RulesInUse(version="bbbb", rules={"rules": []}))

    effects = world.ledger.replay.effects()
    versions = world.ledger.replay.versions()

    assert [(one.version, one.met, one.acted) for one in effects] == [
        ("aaaa", ["sex/1", "site/1"], ["site/1"]),
        ("aaaa", ["sex/1", "site/1"], []),
        ("bbbb", ["sex/1", "site/1"], ["site/1"]),
    ]
    assert [(one.version, one.rules, one.revisions, one.studies) for one in versions] == [
        ("aaaa", RULES.rules, 3, 3),
        ("bbbb", {"rules": []}, 1, 1),
    ]
    with pytest.raises(psycopg.Error, match="verified facts"):
        world.sql("update coercion_rules set rules = '{}'")


def test_rules_that_an_earlier_release_did_not_keep_are_kept_when_they_are_used_again(world) -> None:
    world.sql("insert into coercion_rules (version) values ('aaaa')")

    write(world, "1.1")

    assert world.ledger.replay.rules("aaaa") == RULES.rules


def test_rules_come_back_to_the_letter(world) -> None:
    table = {"weiblich": "F", "m": "M", "Fem": "F"}
    actions = [
        {"kind": "strip", "attribute": "PatientID", "characters": " \0"},
        {"kind": "map", "attribute": "PatientSex", "table": table},
    ]
    options = CoercionOptions.model_validate({"rules": [{"name": "both", "actions": actions}]})

    write(world, "1.1", rules=in_use(options))

    version = options.rule_set().version
    assert kept_rules(version, world.ledger.replay.rules(version)) == options.rule_set()


def test_pages_are_full_where_a_study_shows_an_effect_twice(world) -> None:
    write(world, "1.1", "1.2")
    [effect] = (one.effect_id for one in world.ledger.replay.effects())
    world.ledger.replay.renew(effect, REASON, by="m.keller")
    write(world, "1.1", "1.2")

    found = world.ledger.replay.studies([effect], present=False, limit=2)

    assert [(one.study_uid, one.revision, one.present) for one in found] == [("1.1", 2, True), ("1.2", 2, True)]


def test_what_rules_did_to_staged_members_is_known_after_the_commit(world) -> None:
    world.planned("1.1")
    claim = world.pull()
    facts = [
        replace(one, met=("site/1",), acted=acted)
        for one, acted in zip(world.facts("1.1"), ((), ("site/1",)), strict=True)
    ]
    journal = world.ledger.uploads.journal(claim)
    journal.begin(key="packs/1", container=Container.TAR, device="")
    journal.commit_group([], [Member(facts=one, offset=n, length=1, lead=1) for n, one in enumerate(facts)])

    world.ledger.commits.written(claim, expected_root=world.root(facts), receipt=RECEIPT, note=NOTE, rules=RULES)

    [effect] = world.ledger.replay.effects()
    assert (effect.met, effect.acted) == (["site/1"], ["site/1"])


def test_only_what_is_done_and_free_is_renewed_and_only_once(world) -> None:
    write(world, "1.1", "1.2", "1.3", "1.4", "1.5")
    keys = dict(world.sql("select study_uid, study_key from study"))
    world.ledger.plan.set_aside([Uid("1.2")], StudyState.HELD, "legal", by="a")
    world.sql("update study set state = 'exception' where study_uid = '1.3'")
    world.sql("update study set recount = true where study_uid = '1.4'")
    world.sql("update study set recount = true where study_uid = '1.5'")
    world.ledger.plan.step({}, only=[Uid("1.5")])
    [effect] = [one.effect_id for one in world.ledger.replay.effects()]

    [standing] = world.ledger.replay.standing([effect])
    listed = world.ledger.replay.studies([effect], present=True)
    ever = world.ledger.replay.studies([effect], present=False)
    first = world.ledger.replay.renew(effect, REASON, by="m.keller")
    second = world.ledger.replay.renew(effect, REASON, by="m.keller")

    assert (standing.ready, standing.waiting, standing.stopped) == (1, 1, 2)
    assert [one.study_uid for one in listed] == ["1.1"]
    assert [(one.study_uid, one.present) for one in ever] == [(f"1.{n}", n < 5) for n in range(1, 6)]
    assert (first, second) == ((keys["1.1"], 1), (0, 0))
    assert world.sql("select recount, corrected from study where study_uid = '1.1'") == [(True, True)]
    link = world.ledger.custody.chain(Uid("1.1"))[-1]
    assert (link.event, link.actor, link.payload) == ("replayed", "m.keller", {"revision": 1, **REASON})
    assert replayed(world) == {"1.1": 1}


def test_a_replay_that_broke_off_goes_on_where_it_stopped(world) -> None:
    uids = [f"1.{n}" for n in range(1, 6)]
    write(world, *uids)
    [effect] = [one.effect_id for one in world.ledger.replay.effects()]

    broken_off = world.ledger.replay.renew(effect, REASON, by="a", limit=2)
    again = world.ledger.replay.renew(effect, REASON, by="a", limit=10)

    assert (broken_off[1], again[1]) == (2, 3)
    assert replayed(world) == dict.fromkeys(uids, 1)


def test_two_replays_and_a_plan_at_once_renew_each_study_once(world) -> None:
    uids = [f"1.{n}" for n in range(1, 41)]
    write(world, *uids)
    [effect] = [one.effect_id for one in world.ledger.replay.effects()]

    def replay() -> int:
        after = total = 0
        while True:
            after, renewed = world.ledger.replay.renew(effect, REASON, by="a", after_key=after, limit=3)
            if not after:
                return total
            total += renewed

    def plan() -> int:
        return sum(world.ledger.plan.step({}, limit=2).studies for _ in range(30))

    with ThreadPoolExecutor(4) as pool:
        replays = [pool.submit(replay) for _ in range(2)]
        plans = [pool.submit(plan) for _ in range(2)]
        renewed, planned = (sum(one.result() for one in each) for each in (replays, plans))
    while (left := world.ledger.plan.step({}).studies) > 0:
        planned += left

    assert (renewed, planned) == (40, 40)
    assert replayed(world) == dict.fromkeys(uids, 1)
    assert world.sql("select distinct revision from study") == [(2,)]


def test_a_page_that_postgres_breaks_for_a_transaction_beside_it_is_done_again(world) -> None:
    write(world, "1.1", "1.2")
    [effect] = [one.effect_id for one in world.ledger.replay.effects()]
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"

    with psycopg.connect(world.url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("select from study where study_uid = '1.2' for update")
        renewing = pool.submit(world.ledger.replay.renew, effect, REASON, by="a")
        while world.sql(waiting) != [(1,)]:
            assert not renewing.done(), "nothing stood in its way"
        other.execute("select from study where study_uid = '1.1' for update")  # Postgres ends the one that waited first
        other.commit()
        _, renewed = renewing.result(timeout=30)

    assert renewed == 2
    assert replayed(world) == {"1.1": 1, "1.2": 1}
