"""Forms of numbers, names of issuers, and the crosswalk: rows in, events out, an error per line."""

import csv
import io
from datetime import UTC, datetime

import pytest

from imaging.identity.crosswalk import RowDefect, RowFault, crosswalk
from imaging.identity.events import Describe, IdentityEvent, Link, Merge, Move, Source, Undo
from imaging.identity.issuers import Assigner, Authority, Issuers
from imaging.identity.people import Conflict, Identifier, Person
from imaging.identity.steps import (
    Drop,
    Pad,
    Prefix,
    Select,
    Step,
    StripPrefix,
    StripSuffix,
    Suffix,
    Unfit,
    Unpad,
    Upper,
    stepped,
)

ISSUERS = Issuers(
    authorities=(
        Authority(
            name="NORTH", aliases=("North Hospital",), steps=(Unpad(),), pattern="[0-9]{1,8}",
            universal_id="1.2.3", universal_type="ISO",
        ),
        Authority(name="MPI"),
    ),
    default="NORTH",
)  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "text", "expected"),
    [
        ((), "  12 ", "12"),
        ((Upper(),), "ab1", "AB1"),
        ((Drop(characters="-/"),), "1-2/3", "123"),
        ((Select(pattern="[A-Z]([0-9]+)"),), "xA123y", "123"),
        ((Select(pattern="[0-9]+"),), "A123", "123"),
        ((Select(pattern="[0-9]+"),), "none", None),
        ((StripPrefix(prefixes=("N", "NORTH-")),), "NORTH-7", "7"),
        ((StripPrefix(prefixes=("N",)),), "7", "7"),
        ((StripSuffix(suffixes=("-X",)),), "7-X", "7"),
        ((Pad(width=5),), "12", "00012"),
        ((Pad(width=5),), "123456", "123456"),
        ((Pad(width=5),), "", ""),
        ((Unpad(),), "0007", "7"),
        ((Unpad(),), "000", "0"),
        ((Unpad(width=3),), "0007", "007"),
        ((Prefix(text="N"),), "7", "N7"),
        ((Prefix(text="N"),), "N7", "N7"),
        ((Suffix(text="X"),), "7", "7X"),
        ((), "1" * 1001, None),
    ],
)
def test_steps_bring_a_number_into_its_form(steps: tuple[Step, ...], text: str, expected: str | None) -> None:
    assert stepped(text, steps) == expected


@pytest.mark.parametrize(
    ("assigner", "expected"),
    [
        (Assigner(universal_id="1.2.3", namespace="MPI"), "NORTH"),
        (Assigner(universal_id="9.9", namespace="MPI"), "MPI"),
        (Assigner(namespace="north hospital "), "NORTH"),
        (Assigner(facility="MPI"), "MPI"),
        (Assigner(sender="MPI"), "MPI"),
        (Assigner(sender="Somewhere"), "NORTH"),
        (Assigner(), "NORTH"),
        (Assigner(namespace="WEST", facility="MPI", sender="MPI"), None),
        (Assigner(facility="WEST"), None),
    ],
)
def test_an_issuer_is_who_it_says_and_a_stranger_is_nobody(assigner: Assigner, expected: str | None) -> None:
    found = ISSUERS.resolve(assigner)

    assert (found and found.name) == expected


@pytest.mark.parametrize(
    ("value", "namespace", "expected"),
    [
        ("0012", "NORTH", Identifier("NORTH", "12")),
        ("", "NORTH", Conflict.PID_MISSING),
        ("12", "WEST", Conflict.ISSUER_UNKNOWN),
        ("12A", "NORTH", Conflict.PID_FORMAT),
        ("1" * 65, "MPI", Conflict.PID_FORMAT),
        ("a\\b", "MPI", Conflict.PID_FORMAT),
        ("a\x07b", "MPI", Conflict.PID_FORMAT),
    ],
)
def test_a_number_is_in_its_form_or_has_a_class(value: str, namespace: str, expected: object) -> None:
    assert ISSUERS.identifier(value, Assigner(namespace=namespace)) == expected


def test_rules_that_cannot_be_are_refused_when_they_are_made() -> None:
    for make in (
        lambda: Issuers(authorities=(Authority(name="A"), Authority(name="B", aliases=("a",)))),
        lambda: Issuers(authorities=(), default="A"),
        lambda: Authority(name=""),
        lambda: Authority(name="A", pattern="("),
        lambda: Authority(name="A", universal_id="1.2"),
        lambda: Select(pattern="["),
        lambda: Pad(width=0),
        lambda: Unpad(width=0),
        lambda: Drop(characters=""),
        lambda: StripPrefix(prefixes=("",)),
        lambda: StripSuffix(suffixes=("",)),
    ):
        with pytest.raises(Unfit):
            make()


def rows(text: str) -> list[IdentityEvent | RowFault]:
    head = "old_issuer,old_id,new_issuer,new_id,kind,effective_at,name,birth_date,sex,source,comment\n"
    return list(crosswalk(csv.DictReader(io.StringIO(head + text)), ISSUERS, UTC))


@pytest.mark.parametrize(
    ("row", "kind"),
    [("merge", Merge), ("Rename", Merge), ("move", Move), ("undo", Undo), ("equiv", Link)],
)
def test_a_row_is_an_event_of_its_kind(row: str, kind: type[IdentityEvent]) -> None:
    [event] = rows(f"NORTH,001,MPI,2,{row},2020-01-02T03:04:05+01:00,,,,HIS,\n")

    assert isinstance(event, kind)
    assert event.origin.at == datetime(2020, 1, 2, 2, 4, 5, tzinfo=UTC)
    assert (event.origin.source, event.origin.label) == (Source.CROSSWALK, "line 2")
    if isinstance(event, Merge):
        assert (event.old, event.new, event.renamed) == (
            Identifier("NORTH", "1"), Identifier("MPI", "2"), row == "Rename",
        )  # fmt: skip


def test_a_row_that_describes_the_person_describes_the_new_number() -> None:
    _, described = rows("NORTH,1,NORTH,2,merge,20200102,Muster^Anna,1970-04-12,f,,\n")

    assert isinstance(described, Describe)
    assert described.identifier == Identifier("NORTH", "2")
    assert described.person == Person(name="Muster^Anna", birth_date="19700412", sex="F")


def test_each_unusable_row_has_its_line_and_nothing_of_the_patient() -> None:
    found = rows(
        "NORTH,1,NORTH,2,mrege,,,,,,\n"
        "WEST,1,NORTH,SECRET,merge,,,,,,\n"
        "NORTH,1,NORTH,01,merge,,,,,,\n"
        "NORTH,1,NORTH,2,merge,yesterday,,,,,\n"
        "NORTH,1,NORTH,2,merge,2020010211,,,,,\n"
        "NORTH,1,NORTH,2,merge,,,19700231,,,\n"
        "NORTH,1,NORTH,2,merge,,,,Female,,\n"
        "NORTH,1,NORTH,2,merge,,,,,,,surplus\n"
        "NORTH,1,NORTH,2,merge,,,,,,\n"
    )

    assert [(one.line, one.defect) for one in found[:-1] if isinstance(one, RowFault)] == [
        (2, RowDefect.KIND), (3, RowDefect.IDENTIFIER), (3, RowDefect.IDENTIFIER), (4, RowDefect.SELF),
        (5, RowDefect.TIME), (6, RowDefect.TIME), (7, RowDefect.BIRTH_DATE), (8, RowDefect.SEX), (9, RowDefect.COLUMNS),
    ]  # fmt: skip
    assert isinstance(found[-1], Merge)
    assert "SECRET" not in repr(found)


def test_a_table_without_its_columns_says_so_for_each_row() -> None:
    [fault] = crosswalk([{"old_id": "1", "new_id": "2"}], ISSUERS, UTC)

    assert fault == RowFault(line=2, defect=RowDefect.COLUMNS, column="old_issuer")
