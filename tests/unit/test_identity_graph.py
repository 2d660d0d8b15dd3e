"""The merge graph, case by case: which number survives for a study of which date, and by which events."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest

from imaging.identity.demographics import Thresholds
from imaging.identity.events import (
    Delete,
    Describe,
    IdentityEvent,
    Link,
    Merge,
    Move,
    MovePart,
    Origin,
    Part,
    Register,
    RenamePart,
    Source,
    Undo,
    Unlink,
    Unrelated,
)
from imaging.identity.graph import Account, Graph, build
from imaging.identity.people import Conflict, Identifier, Person
from imaging.identity.replay import Notice

START = datetime(2020, 1, 1, tzinfo=UTC)
ANNA = Person(name="Muster^Anna", birth_date="19700102", sex="F")
BERT = Person(name="Beispiel^Bert", birth_date="19511130", sex="M")
LATER = date(2024, 6, 1)


def number(name: str) -> Identifier:
    issuer, _, value = name.rpartition("/")
    return Identifier(issuer or "H", value)


def origin(day: int | None, source: Source = Source.HL7) -> Origin:
    at = None if day is None else START + timedelta(days=day)
    return Origin(source=source, at=at, label=f"{source}-{day}", kind="A40")


def merge(day: int | None, old: str, new: str, source: Source = Source.HL7) -> Merge:
    return Merge(origin=origin(day, source), old=number(old), new=number(new))


def undo(day: int | None, old: str, new: str, source: Source = Source.CROSSWALK) -> Undo:
    return Undo(origin=origin(day, source), old=number(old), new=number(new))


def move(day: int, moved: str, giver: str | None, owner: str, source: Source = Source.HL7) -> Move:
    return Move(
        origin=origin(day, source), moved=number(moved), giver=number(giver) if giver else None, owner=number(owner)
    )


def register(day: int, name: str, person: Person) -> Register:
    return Register(origin=origin(day), identifier=number(name), person=person)


def describe(day: int, name: str, person: Person, source: Source = Source.HL7) -> Describe:
    return Describe(origin=origin(day, source), identifier=number(name), person=person)


def delete(day: int, name: str) -> Delete:
    return Delete(origin=origin(day), identifier=number(name))


def graph(*events: IdentityEvent) -> Graph:
    return build(events, Thresholds())


def ends(built: Graph, names: str, studied: date | None = LATER) -> dict[str, str]:
    """Survivor's value or the class of conflict, per number."""
    found: dict[str, str] = {}
    for name in names.split():
        answer = built.resolve(number(name), studied)
        found[name] = answer.survivor.value if answer.survivor else str(answer.conflict)
    return found


CYCLE, FORK, GONE = "MERGE_CYCLE", "MERGE_FORK", "PID_NOT_IN_MPI"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([merge(1, "A", "B")], {"A": "B", "B": "B"}, id="merge"),
        pytest.param([merge(1, "A", "B"), merge(2, "B", "C")], {"A": "C", "B": "C", "C": "C"}, id="chain"),
        pytest.param([merge(2, "A", "B"), merge(1, "B", "C")], {"A": "C", "B": "C"}, id="chain-out-of-order"),
        pytest.param([merge(1, "A", "C"), merge(2, "B", "C")], {"A": "C", "B": "C"}, id="two-into-one"),
        pytest.param([merge(1, "A", "B"), merge(5, "A", "B")], {"A": "B"}, id="duplicate"),
        pytest.param([merge(1, "A", "A")], {"A": GONE}, id="self"),
        pytest.param([merge(1, "A", "B"), merge(2, "B", "A")], {"A": "A", "B": "A"}, id="inverse"),
        pytest.param(
            [merge(1, "A", "B"), merge(2, "B", "A"), merge(3, "A", "B")], {"A": "B", "B": "B"}, id="inverse-twice"
        ),
        pytest.param(
            [merge(1, "A", "B"), merge(2, "B", "C"), merge(3, "C", "A")],
            {"A": "A", "B": "A", "C": "A"},
            id="long-inverse",
        ),
        pytest.param([merge(1, "A", "B"), merge(1, "B", "A")], {"A": CYCLE, "B": CYCLE}, id="cycle-same-time"),
        pytest.param(
            [merge(1, "A", "B"), merge(1, "B", "A"), merge(0, "X", "A"), merge(3, "Y", "Z")],
            {"A": CYCLE, "B": CYCLE, "X": CYCLE, "Y": "Z"},
            id="cycle-holds-all-that-leads-to-it",
        ),
        pytest.param(
            [merge(None, "A", "B", Source.CROSSWALK), merge(None, "B", "A", Source.CROSSWALK)],
            {"A": CYCLE, "B": CYCLE},
            id="cycle-without-times",
        ),
        pytest.param(
            [merge(1, "A", "B"), merge(1, "B", "A"), merge(None, "A", "B", Source.MANUAL)],
            {"A": "B", "B": "B"},
            id="a-person-decides-a-cycle",
        ),
        pytest.param([merge(1, "A", "B"), merge(2, "A", "C")], {"A": FORK, "B": "B", "C": "C"}, id="fork"),
        pytest.param(
            [merge(1, "A", "B"), merge(2, "A", "C"), merge(3, "B", "C")], {"A": "C", "B": "C"}, id="fork-that-closes"
        ),
        pytest.param(
            [merge(1, "A", "B"), merge(2, "B", "C"), merge(3, "A", "C")], {"A": "C"}, id="later-into-the-survivor"
        ),
        pytest.param(
            [merge(1, "A", "B"), merge(2, "A", "C"), merge(0, "X", "A")], {"X": FORK}, id="fork-holds-what-leads-to-it"
        ),
        pytest.param(
            [merge(1, "A", "B"), merge(2, "A", "C"), merge(None, "A", "C", Source.CROSSWALK)],
            {"A": "C"},
            id="crosswalk-decides-a-fork",
        ),
        pytest.param(
            [merge(9, "A", "B"), merge(1, "B", "A", Source.CROSSWALK)], {"A": "A", "B": "A"}, id="crosswalk-over-hl7"
        ),
        pytest.param(
            [merge(9, "A", "B", Source.CROSSWALK), merge(1, "A", "C", Source.MANUAL)],
            {"A": "C"},
            id="manual-over-crosswalk",
        ),
        pytest.param([merge(1, "A", "B"), undo(2, "A", "B")], {"A": "A", "B": "B"}, id="undo"),
        pytest.param([merge(3, "A", "B"), undo(2, "A", "B")], {"A": "B"}, id="merged-again-after-undo"),
        pytest.param(
            [merge(1, "A", "B"), undo(2, "A", "B"), merge(3, "A", "B")], {"A": "B"}, id="undone-between-repeats"
        ),
        pytest.param([merge(1, "A", "B"), undo(None, "A", "B")], {"A": "A"}, id="undo-without-time"),
        pytest.param(
            [merge(1, "A", "B"), undo(2, "A", "B"), merge(3, "A", "C")], {"A": "C"}, id="undone-and-merged-elsewhere"
        ),
        pytest.param([merge(1, "A", "B"), delete(2, "A")], {"A": "B", "B": "B"}, id="deleted-after-its-merge"),
        pytest.param([merge(1, "A", "B"), delete(2, "B")], {"A": GONE, "B": GONE}, id="survivor-deleted"),
        pytest.param(
            [register(0, "B", ANNA), delete(2, "B"), register(3, "B", ANNA)], {"B": "B"}, id="deleted-and-back"
        ),
        pytest.param([merge(1, "A", "M/B")], {"A": "A"}, id="cross-issuer-message"),
        pytest.param([merge(1, "A", "M/B", Source.CROSSWALK)], {"A": "B"}, id="cross-issuer-crosswalk"),
        pytest.param([Link(origin=origin(1), one=number("A"), other=number("B"))], {"A": "A", "B": "B"}, id="link"),
        pytest.param(
            [merge(1, "A", "B"), Unlink(origin=origin(2), one=number("A"), other=number("B")), merge(0, "X", "A")],
            {"A": "PID_AMBIGUOUS", "X": "PID_AMBIGUOUS", "B": "B"},
            id="unlinked-after-merge",
        ),
        pytest.param(
            [merge(3, "A", "B"), Unlink(origin=origin(2), one=number("A"), other=number("B"))],
            {"A": "B"},
            id="unlinked-before-merge",
        ),
        pytest.param([], {"A": GONE}, id="unknown"),
    ],
)
def test_the_survivor_is_unique_or_the_conflict_has_its_class(
    events: Sequence[IdentityEvent], expected: dict[str, str]
) -> None:
    built = graph(*events)

    assert ends(built, " ".join(expected)) == expected


def test_an_answer_carries_the_events_that_led_there() -> None:
    first, second = merge(1, "A", "B"), merge(2, "B", "C")

    answer = graph(second, first, merge(1, "X", "C")).resolve(number("A"), LATER)

    assert [(step.origin, step.old.value, step.new.value) for step in answer.path] == [
        (first.origin, "A", "B"),
        (second.origin, "B", "C"),
    ]


def test_a_conflict_names_its_candidates() -> None:
    answer = graph(merge(0, "X", "A"), merge(1, "A", "B"), merge(2, "A", "C")).resolve(number("X"), LATER)

    assert [one.value for one in answer.candidates] == ["B", "C"]
    assert [step.new.value for step in answer.path] == ["A"]


def test_events_that_change_nothing_are_counted() -> None:
    built = graph(
        merge(1, "A", "A"),
        merge(1, "B", "C"),
        merge(2, "B", "C"),
        merge(1, "D", "M/D"),
        undo(1, "E", "F"),
        Unrelated(origin=origin(1)),
    )

    assert built.notices == {
        Notice.SELF: 1, Notice.DUPLICATE: 1, Notice.CROSS_ISSUER: 1, Notice.NOTHING_TO_UNDO: 1, Notice.UNRELATED: 1,
    }  # fmt: skip


# A number given again

REUSED = [register(0, "A", ANNA), merge(100, "A", "B"), describe(100, "B", ANNA), register(1000, "A", BERT)]


@pytest.mark.parametrize(
    ("days", "survivor", "person"),
    [(50, "B", ANNA), (900, "B", ANNA), (992, "B", ANNA), (1008, "A", BERT), (3000, "A", BERT)],
)
def test_the_study_date_tells_whose_a_number_was(days: int, survivor: str, person: Person) -> None:
    answer = graph(*REUSED).resolve(number("A"), (START + timedelta(days=days)).date())

    assert answer.survivor == number(survivor)
    assert answer.person == person


@pytest.mark.parametrize("days", [993, 1000, 1007, None])
def test_around_the_change_and_without_a_date_a_reused_number_is_a_conflict(days: int | None) -> None:
    studied = None if days is None else (START + timedelta(days=days)).date()

    answer = graph(*REUSED).resolve(number("A"), studied)

    assert (answer.survivor, answer.conflict) == (None, Conflict.MRN_REUSED)
    assert answer.candidates == (number("A"), number("B"))


def test_a_new_life_is_merged_on_its_own() -> None:
    built = graph(*REUSED, merge(1500, "A", "D"))

    assert ends(built, "A", date(2020, 2, 1)) == {"A": "B"}
    assert ends(built, "A", date(2025, 2, 1)) == {"A": "D"}


@pytest.mark.parametrize("person", [ANNA, Person(name="MUSTER^ANNA", birth_date="19700102")])
def test_a_number_registered_again_for_the_same_person_stays_merged(person: Person) -> None:
    built = graph(merge(100, "A", "B"), describe(100, "B", ANNA), register(1000, "A", person))

    assert ends(built, "A") == {"A": "B"}


def test_a_number_given_again_to_nobody_knows_whom_is_a_conflict_from_then_on() -> None:
    built = graph(merge(100, "A", "B"), register(1000, "A", BERT))

    assert ends(built, "A", date(2021, 1, 1)) == {"A": "B"}
    assert ends(built, "A", date(2024, 1, 1)) == {"A": "MRN_REUSED"}


def test_a_number_in_use_that_goes_to_somebody_else_is_a_conflict_from_then_on() -> None:
    built = graph(register(0, "A", ANNA), register(1000, "A", BERT))

    assert ends(built, "A", date(2021, 1, 1)) == {"A": "A"}
    assert ends(built, "A", date(2024, 1, 1)) == {"A": "MRN_REUSED"}


def test_a_row_without_time_for_a_reused_number_decides_nothing() -> None:
    built = graph(*REUSED, merge(None, "A", "D", Source.CROSSWALK))

    assert ends(built, "A", date(2020, 2, 1)) == {"A": "MRN_REUSED"}


# Moves


def test_a_moved_number_keeps_its_value_and_has_another_owner() -> None:
    built = graph(describe(0, "M/1", ANNA), describe(0, "M/2", BERT), move(5, "A", "M/1", "M/2"))

    answer = built.resolve(number("A"), LATER)

    assert (answer.survivor, answer.owner, answer.person) == (number("A"), number("M/2"), BERT)
    assert [step.kind for step in answer.path] == ["move"]


def test_an_owner_that_was_merged_is_followed() -> None:
    built = graph(move(5, "A", "M/1", "M/2"), merge(9, "M/2", "M/3"))

    assert built.resolve(number("A"), LATER).owner == number("M/3")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([merge(1, "A", "B"), move(2, "A", "B", "M/2")], "A", id="moved-out-of-its-merge"),
        pytest.param([merge(1, "A", "B"), move(2, "A", None, "M/2")], "MRN_MOVED", id="merged-and-moved"),
        pytest.param(
            [merge(1, "A", "B"), move(2, "A", "M/1", "M/2")], "MRN_MOVED", id="merged-and-moved-from-elsewhere"
        ),
        pytest.param([move(1, "A", "M/1", "M/2"), merge(2, "A", "B")], "B", id="moved-and-then-merged"),
        pytest.param([move(1, "A", "M/1", "M/2"), move(2, "A", "M/2", "M/3")], "A", id="moved-on"),
        pytest.param([move(1, "A", "M/1", "M/2"), move(2, "A", "M/1", "M/3")], "MRN_MOVED", id="from-another-owner"),
        pytest.param([move(1, "A", None, "M/2"), move(1, "A", None, "M/3")], "MRN_MOVED", id="to-two-at-once"),
        pytest.param(
            [move(1, "A", "M/1", "M/2"), move(2, "A", "M/1", "M/3"), move(0, "A", None, "M/3", Source.MANUAL)],
            "A",
            id="a-person-decides",
        ),
    ],
)
def test_moves_fit_together_or_are_a_conflict(events: Sequence[IdentityEvent], expected: str) -> None:
    assert ends(graph(*events), "A") == {"A": expected}


@pytest.mark.parametrize(
    ("account", "expected"),
    [(Account(), "A"), (Account(account="7"), "B"), (Account(account="6"), "B"), (Account(account="8"), "A"),
     (Account(visit="7"), "A"), (Account(visit="V"), "C")],
)  # fmt: skip
def test_only_studies_of_a_moved_account_or_visit_go_with_it(account: Account, expected: str) -> None:
    built = graph(
        RenamePart(origin=origin(1), part=Part.ACCOUNT, patient=number("A"), old="6", new="7"),
        MovePart(origin=origin(2), part=Part.ACCOUNT, number="7", giver=number("A"), owner=number("B")),
        MovePart(origin=origin(3), part=Part.VISIT, number="V", giver=number("X"), owner=number("C")),
        merge(4, "X", "A"),
    )

    assert built.resolve(number("A"), LATER, account).survivor == number(expected)


# Links, people, changes


def test_links_find_priors_and_unlinks_part_them() -> None:
    built = graph(
        Link(origin=origin(1), one=number("A"), other=number("M/1")),
        Link(origin=origin(1), one=number("M/1"), other=number("N/5")),
        Link(origin=origin(1), one=number("B"), other=number("A")),
        Unlink(origin=origin(2), one=number("A"), other=number("B")),
    )

    assert built.linked(number("A")) == {number("A"), number("M/1"), number("N/5")}
    assert built.linked(number("B")) == {number("B")}


def test_the_latest_of_the_highest_source_describes_a_person() -> None:
    built = graph(
        describe(9, "A", Person(name="Neu^Anna"), Source.SNAPSHOT),
        describe(1, "A", ANNA),
        describe(2, "A", Person(name="Muster-Neu^Anna")),
        describe(0, "A", Person(sex=""), Source.CROSSWALK),
    )

    assert built.resolve(number("A"), LATER).person == Person(name="Muster-Neu^Anna", birth_date="19700102", sex="")


def test_a_survivor_that_nobody_describes_is_not_known() -> None:
    built = graph(merge(1, "A", "B"), merge(1, "C", "D"), describe(2, "D", ANNA))

    assert [built.resolve(number(one), LATER).known for one in "AC"] == [False, True]


def test_changed_names_exactly_the_numbers_with_another_answer() -> None:
    old = [merge(1, "A", "B"), merge(1, "X", "Y"), describe(1, "B", ANNA)]
    before = graph(*old)

    assert graph(*reversed(old), *old).changed(before) == frozenset()
    assert graph(*old, merge(2, "B", "C")).changed(before) == {number("A"), number("B"), number("C")}
    moved = MovePart(origin=origin(2), part=Part.ACCOUNT, number="7", giver=number("X"), owner=number("Z"))
    assert graph(*old, moved).changed(before) >= {number("X"), number("Y")}
