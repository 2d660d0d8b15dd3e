"""What people decide about studies, what the record says of it, and what the record betrays."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from imaging.uid import Uid
from storage.errors import LostClaim
from storage.ledger.lifecycle import DeliveryState, StudyState, StudyStatus, study_status
from storage.ledger.records import CustodyNote, Problem, Severity
from storage.packs.model import Container, Receipt

LEASE = timedelta(seconds=60)
MISMATCH = Problem(kind="DIGEST_MISMATCH", severity=Severity.CRITICAL, blocking=True, remedy="Look.", evidence={})
TAMPERED = "set session_replication_role = replica; "


def test_a_held_study_says_by_whom_and_comes_back_with_a_record_of_both(world: Any) -> None:
    world.planned("1.1", "1.2")

    held = world.ledger.plan.set_aside(["1.2", "9.9"], StudyState.HELD, "legal hold", by="m.keller")
    back = world.ledger.plan.readmit(["1.1", "1.2"], by="k.meier")

    assert (held, back) == (("1.2",), ("1.2",))
    chain = world.ledger.custody.chain("1.2")
    assert [(entry.event, entry.actor) for entry in chain] == [("held", "m.keller"), ("readmitted", "k.meier")]
    assert chain[0].payload == {"reason": "legal hold"}
    assert world.ledger.custody.chain("1.1") == ()


def test_a_study_of_which_nothing_waits_is_not_held(world: Any) -> None:
    world.planned("1.2")
    world.write(world.pull())
    world.ledger.commits.fed(world.feed(), receipt=_receipt(), note=CustodyNote(event="fed", payload={}))

    held = world.ledger.plan.set_aside(["1.2"], StudyState.HELD, "too late", by="m.keller")

    assert held == ()
    assert world.study_state("1.2") == "planned"


def test_a_later_revision_replaces_at_a_service_what_was_not_proven_there_yet_and_nowhere_else(world: Any) -> None:
    world.planned("1.2")
    world.write(world.pull())
    world.ledger.commits.fed(
        world.feed(),
        receipt=replace(_receipt(), container=Container.SERVICE),
        note=CustodyNote(event="fed", payload={}),
    )
    reading = world.ledger.claims.validate("validator-1", [world.second], LEASE)

    world.ledger.inventory.recount(reading.study_key)
    world.ledger.plan.step({"rules": 2})

    assert world.states("1.2") == ["written", "void", "pending", "pending"]
    assert world.ledger.claims.validate("validator-2", [world.second], LEASE) is None
    with pytest.raises(LostClaim):
        world.ledger.commits.fail(reading, MISMATCH)


def test_an_archive_is_told_of_a_correction_only_where_it_has_all_that_was_found_since(world: Any) -> None:
    note = CustodyNote(event="fed", payload={})
    world.sql("update destination set told = true where name = 'second'")
    world.planned("1.2", "1.3")
    for _ in range(2):
        world.write(world.pull())
        world.ledger.commits.fed(world.feed(), receipt=_receipt(), note=note)
    late = world.ledger.status.study(Uid("1.3"))
    world.ledger.inventory.recount(late.study_key)
    world.ledger.plan.step({"rules": 2})  # a series came late, and is on its way when the merge comes

    for _ in range(2):
        world.sql("update study set recount = true, corrected = true")
        world.ledger.plan.step({"rules": 3})

    second = (
        "select d.state::text from delivery d join study s using (study_key)"
        " where destination_id = %s and s.study_uid = %s order by d.revision"
    )
    told, sent = world.sql(second, world.second, "1.2"), world.sql(second, world.second, "1.3")
    assert [state for (state,) in told] == ["written", "void", "void"]
    assert [state for (state,) in sent] == ["written", "void", "void", "pending"]


def test_a_study_tells_where_it_goes_and_who_gave_its_number(world: Any) -> None:
    world.discover("1.2", issuer="NORTH")
    world.ledger.plan.step({"rules": 1})

    row = world.ledger.status.study(Uid("1.2"))

    assert row.issuer == "NORTH"
    assert row.destinations == ["cloud", "second"]
    assert row.states == ["pending", "pending"]


def test_what_is_prioritised_is_pulled_first_and_the_unknown_is_not_among_it(world: Any) -> None:
    world.planned("1.1", "1.2", "1.3")

    moved = world.ledger.plan.prioritise(["1.3", "9.9"], 10)

    assert moved == ("1.3",)
    assert world.pull().study_uid == "1.3"


def test_studies_are_listed_by_exactly_the_status_that_they_show(world: Any) -> None:
    """Every study state with every pair of delivery states, as far as the ledger's own rules allow rows like that."""
    pairs = [*itertools.combinations_with_replacement(DeliveryState, 2)]
    wanted = {
        Uid(f"1.{number}"): (state, deliveries)
        for number, (state, deliveries) in enumerate(itertools.product(StudyState, pairs), start=1)
    }
    world.planned(*wanted)
    world.sql(TAMPERED + "; ".join(_forced(world, wanted)))

    listed = {
        status: {row.study_uid for row in world.ledger.status.list_studies(status=status, limit=1_000)}
        for status in StudyStatus
    }

    for uid, (state, deliveries) in wanted.items():
        assert [status for status in StudyStatus if uid in listed[status]] == [study_status(state, deliveries)]


def _forced(world: Any, wanted: dict[Uid, tuple[StudyState, tuple[DeliveryState, ...]]]) -> Iterator[str]:
    """Statements that bring studies and deliveries into these states, whatever came before."""
    for uid, (state, deliveries) in wanted.items():
        yield f"update study set state = '{state.value}' where study_uid = '{uid}'"
        for destination, delivery in zip((world.cloud, world.second), deliveries, strict=True):
            held = "'pending'" if delivery is DeliveryState.EXCEPTION else "null"
            validated = "now()" if delivery is DeliveryState.VALIDATED else "null"
            written = "null" if delivery is DeliveryState.PENDING else "now()"
            yield (
                f"update delivery d set state = '{delivery.value}', held_state = {held}, validated_at = {validated},"
                f" written_at = {written} from study s where s.study_key = d.study_key"
                f" and s.study_uid = '{uid}' and d.destination_id = {destination}"
            )


@pytest.fixture
def written(world: Any) -> Any:
    """A study that is at both destinations, with its links."""
    world.planned("1.1", "1.2")
    world.write(world.pull())
    world.ledger.commits.fed(world.feed(), receipt=_receipt(), note=CustodyNote(event="fed", payload={"n": 1}))
    return world


def test_chains_come_page_by_page_and_hold(written: Any) -> None:
    first = written.ledger.custody.chains(limit=1)
    rest = written.ledger.custody.chains(after=first[0].study_uid)

    assert [(chain.study_uid, len(chain.entries), chain.receipts) for chain in first + rest] == [
        ("1.1", 2, 2),
        ("1.2", 0, 0),
    ]
    assert [chain.broken() for chain in first + rest] == [None, None]


@pytest.mark.parametrize(
    ("tampering", "seq"),
    [
        ("update custody set actor = 'nobody' where seq = 1", 1),
        ("update custody set payload = '{\"n\": 0.5}' where seq = 2", 2),
        ("update custody set at = at + interval '1 microsecond' where seq = 2", 2),
        ("delete from custody where seq = 1", 1),
        ("delete from custody where seq = 2", 2),
        ("delete from custody", 1),
    ],
)
def test_the_first_link_that_does_not_hold_is_named_also_where_links_are_gone(
    written: Any, tampering: str, seq: int
) -> None:
    written.sql(TAMPERED + tampering)

    (chain,) = written.ledger.custody.chains(only=Uid("1.1"))

    found = chain.broken()
    assert found is not None and found[0] == seq


def _receipt() -> Receipt:
    return Receipt(key="packs/2", container=Container.TAR, size=4096, crc64=1, etag="e", version_id="v")
