"""What is true of every merge graph, whatever the feed sent and in whatever order."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.identity.demographics import Thresholds
from imaging.identity.events import (
    Delete,
    IdentityEvent,
    Link,
    Merge,
    Move,
    Origin,
    Register,
    Source,
    Undo,
    Unlink,
)
from imaging.identity.graph import Graph, Resolution, build
from imaging.identity.order import coarse, replayed, replayed_in_turn
from imaging.identity.people import Identifier, Person

START = datetime(2020, 1, 1, tzinfo=UTC)
PEOPLE = (Person(), Person(name="Muster^Anna", birth_date="19700102"), Person(name="Ex^Bert", birth_date="19511130"))
DAYS = tuple((START + timedelta(days=days)).date() for days in (-30, 45, 200))

identifiers = st.builds(Identifier, st.sampled_from(["H", "H", "H", "M"]), st.sampled_from("ABCDE"))
origins = st.builds(
    Origin,
    source=st.sampled_from([Source.HL7, Source.HL7, Source.HL7, Source.CROSSWALK, Source.MANUAL]),
    at=st.one_of(st.integers(0, 90).map(lambda days: START + timedelta(days=days)), st.none()),
    label=st.just("x"),
    kind=st.just("x"),
)
happenings = st.one_of(
    st.builds(Merge, origin=origins, old=identifiers, new=identifiers),
    st.builds(Merge, origin=origins, old=identifiers, new=identifiers),
    st.builds(Undo, origin=origins, old=identifiers, new=identifiers),
    st.builds(Move, origin=origins, moved=identifiers, giver=st.one_of(st.none(), identifiers), owner=identifiers),
    st.builds(Link, origin=origins, one=identifiers, other=identifiers),
    st.builds(Unlink, origin=origins, one=identifiers, other=identifiers),
    st.builds(Register, origin=origins, identifier=identifiers, person=st.sampled_from(PEOPLE)),
    st.builds(Delete, origin=origins, identifier=identifiers),
)
histories = st.lists(happenings, max_size=14)


def graph(events: list[IdentityEvent]) -> Graph:
    return build(events, Thresholds())


def answers(built: Graph) -> list[Resolution]:
    return [built.resolve(one, day) for one in sorted(built) for day in (*DAYS, None)]


@settings(max_examples=250, deadline=None)
@given(history=histories)
def test_there_is_one_survivor_or_one_conflict_and_the_survivor_is_its_own(history: list[IdentityEvent]) -> None:
    built = graph(history)

    for answer in answers(built):
        assert (answer.survivor is None) == (answer.conflict is not None)
        if answer.survivor is not None and answer.path and all(step.kind != "move" for step in answer.path):
            assert answer.path[-1].new == answer.survivor
            assert answer.path[0].old == answer.asked


@settings(max_examples=250, deadline=None)
@given(history=histories, data=st.data())
def test_order_and_repetition_of_events_make_no_difference(history: list[IdentityEvent], data: st.DataObject) -> None:
    told_again = data.draw(st.permutations([*history, *history[::2]]))

    one, other = graph(history), graph(told_again)

    assert answers(one) == answers(other)
    assert one.changed(other) == frozenset()


@settings(max_examples=150, deadline=None)
@given(history=histories, more=happenings)
def test_changed_names_every_number_whose_answer_changes(history: list[IdentityEvent], more: IdentityEvent) -> None:
    before, after = graph(history), graph([*history, more])

    named = after.changed(before)

    for one in {*before, *after} - named:
        for day in DAYS:
            old, new = before.resolve(one, day), after.resolve(one, day)
            assert (old.survivor, old.conflict, old.owner, old.person) == (
                new.survivor, new.conflict, new.owner, new.person,
            )  # fmt: skip


class Counted(Identifier):
    """An identifier that counts how often it is looked up: the work of a graph, whatever the machine's load."""

    lookups = 0
    __slots__ = ()

    def __hash__(self) -> int:
        Counted.lookups += 1
        return super().__hash__()


def _merges(shape: str, count: int) -> list[IdentityEvent]:
    pairs = {
        "chain": [(one, one + 1) for one in range(count)],
        "chain from its end": [(one, one + 1) for one in reversed(range(count))],
        "star": [(one + 1, 0) for one in range(count)],
        "back and forth": [(one % 2, 1 - one % 2) for one in range(count)],
        "repeated": [(0, 1)] * count,
    }[shape]
    return [
        Merge(
            origin=Origin(source=Source.HL7, at=START + timedelta(hours=hour), label="", kind="A40"),
            old=Counted("H", str(old)),
            new=Counted("H", str(new)),
        )
        for hour, (old, new) in enumerate(pairs)
    ]


@pytest.mark.parametrize("shape", ["chain", "chain from its end", "star", "back and forth", "repeated"])
def test_twice_the_events_cost_about_twice_the_work(shape: str) -> None:
    work: list[int] = []
    for count in (1_000, 2_000):
        events = _merges(shape, count)
        Counted.lookups = 0
        graph(events).resolve(Counted("H", "1"), date(2024, 1, 1))
        work.append(Counted.lookups)

    assert work[1] <= 2.2 * work[0]


def test_a_number_with_an_event_per_visit_costs_no_more_per_event(monkeypatch: pytest.MonkeyPatch) -> None:
    updated, updates = Person.updated, 0

    def counting(person: Person, by: Person) -> Person:
        nonlocal updates
        updates += 1
        return updated(person, by)

    monkeypatch.setattr(Person, "updated", counting)
    visits = [
        Register(
            origin=Origin(source=Source.HL7, at=START + timedelta(hours=hour), label="", kind="A04"),
            identifier=Identifier("H", "1"),
            person=PEOPLE[1],
        )
        for hour in range(1_000)
    ]

    answer = graph(list(visits)).resolve(Identifier("H", "1"), date(2024, 1, 1))

    assert answer.person == PEOPLE[1]
    assert updates <= 3 * len(visits)


def test_a_chain_of_many_thousands_has_one_survivor() -> None:
    built = graph(_merges("chain", 20_000))

    assert built.resolve(Identifier("H", "0"), date(2024, 1, 1)).survivor == Identifier("H", "20000")


@settings(max_examples=250, deadline=None)
@given(history=histories)
def test_events_that_come_in_turn_are_replayed_as_those_that_do_not(history: list[IdentityEvent]) -> None:
    in_turn = sorted([*history, *history[::2]], key=coarse)

    assert list(replayed_in_turn(in_turn)) == replayed(history)


def test_events_that_should_come_in_turn_and_do_not_are_refused() -> None:
    def at(days: int) -> Delete:
        origin = Origin(source=Source.HL7, at=START + timedelta(days=days), label="x", kind="A23")
        return Delete(origin=origin, identifier=Identifier("H", "A"))

    with pytest.raises(ValueError, match="order of replay"):
        list(replayed_in_turn([at(2), at(1)]))
