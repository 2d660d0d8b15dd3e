"""What each ADT message says about identity: who survives, what moves, and what is no merge."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.hl7.adt import Feed, events
from imaging.hl7.defects import Defect, Fault
from imaging.hl7.reader import Message, messages
from imaging.hl7.triggers import ACTS
from imaging.identity.events import (
    Delete,
    Describe,
    IdentityEvent,
    Link,
    Merge,
    Move,
    MovePart,
    Part,
    Register,
    RenamePart,
    Unlink,
    Unrelated,
)
from imaging.identity.issuers import Authority, Issuers
from imaging.identity.people import Identifier, Person
from imaging.identity.steps import Unpad

FEED = Feed(
    issuers=Issuers(
        authorities=(
            Authority(name="NORTH", aliases=("NORTH MRN", "1.2.3"), steps=(Unpad(),), pattern="[0-9]{1,8}"),
            Authority(name="MPI"),
            Authority(name="NATIONAL"),
        ),
        default="NORTH",
    ),
    zone=timezone(timedelta(hours=1)),
)
NORTH_1, NORTH_2, NORTH_3 = (Identifier("NORTH", one) for one in "123")
MPI_8, MPI_9 = Identifier("MPI", "8"), Identifier("MPI", "9")


def adt(trigger: str, *segments: str, evn: str = "||20240102120000") -> str:
    head = f"MSH|^~\\&|HIS|NORTH|PACS|NORTH|20240103120000||ADT^{trigger}|7|P|2.5"
    return "\r".join([head, "EVN" + evn, *segments])


def told(text: str) -> list[IdentityEvent | Fault]:
    [message] = messages([text.encode()], default_codec="utf-8")
    assert isinstance(message, Message)
    return list(events(message, FEED))


def plainly(found: Iterable[IdentityEvent | Fault]) -> list[tuple[object, ...]]:
    """Events and faults without their origins and people."""
    shown: list[tuple[object, ...]] = []
    for one in found:
        match one:
            case Merge():
                shown.append(("rename" if one.renamed else "merge", one.old, one.new))
            case Move():
                shown.append(("move", one.moved, one.giver, one.owner))
            case MovePart():
                shown.append(("move", one.part, one.number, one.giver, one.owner))
            case RenamePart():
                shown.append(("rename", one.part, one.patient, one.old, one.new))
            case Link() | Unlink():
                shown.append((type(one).__name__, one.one, one.other))
            case Register() | Describe() | Delete():
                shown.append((type(one).__name__, one.identifier))
            case Unrelated():
                shown.append(("unrelated", one.origin.kind))
            case Fault():
                shown.append((one.defect, one.segment, one.field))
            case _:
                raise AssertionError(one)
    return shown


PID_2, MRG_1 = "PID|1||2^^^NORTH^MR", "MRG|1^^^NORTH^MR"
MERGED, RENAMED = [("merge", NORTH_1, NORTH_2)], [("rename", NORTH_1, NORTH_2)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[(adt(trigger, PID_2, MRG_1), MERGED) for trigger in ("A18", "A34", "A40")],
        (adt("A47", PID_2, MRG_1), RENAMED),
        (adt("A30", "PID|1|8^^^MPI|2^^^NORTH^MR", "MRG||||9^^^MPI"), [("merge", MPI_9, MPI_8)]),
        (adt("A39", "PID|1|8^^^MPI|2^^^NORTH^MR", "MRG|1^^^NORTH^MR|||9^^^MPI"), [("merge", MPI_9, MPI_8)]),
        (adt("A39", PID_2, MRG_1), MERGED),
        (adt("A46", "PID|1|8^^^MPI|2^^^NORTH^MR", "MRG||||9^^^MPI"), [("rename", MPI_9, MPI_8)]),
        (adt("A48", "PID|1||2^^^NORTH^MR|8^^^MPI", "MRG||9^^^MPI"), [("rename", MPI_9, MPI_8)]),
        (
            adt("A36", PID_2 + "|" * 15 + "A2", "MRG|1^^^NORTH^MR||A1"),
            [*MERGED, ("rename", Part.ACCOUNT, NORTH_2, "A1", "A2")],
        ),
        *[
            (adt(one, PID_2 + "|" * 15 + "A2", "MRG|||A1"), [("rename", Part.ACCOUNT, NORTH_2, "A1", "A2")])
            for one in ("A35", "A41", "A49")
        ],
        *[
            (adt(one, PID_2, "MRG|||||V1", "PV1" + "|" * 19 + "V2"), [("rename", Part.VISIT, NORTH_2, "V1", "V2")])
            for one in ("A42", "A50")
        ],
        (adt("A51", PID_2, "MRG||||||V1", "PV1" + "|" * 50 + "V2"), [("rename", Part.VISIT, NORTH_2, "V1", "V2")]),
        (
            adt("A43", "PID|1||1^^^NORTH^MR~8^^^MPI^PI", "MRG|1^^^NORTH^MR~9^^^MPI^PI"),
            [("move", NORTH_1, MPI_9, MPI_8)],
        ),
        (adt("A43", "PID|1||1^^^NORTH^MR~8^^^MPI^PI", MRG_1), [("move", NORTH_1, None, MPI_8)]),
        (
            adt("A44", PID_2 + "|" * 15 + "A1", "MRG|1^^^NORTH^MR||A1"),
            [("move", Part.ACCOUNT, "A1", NORTH_1, NORTH_2)],
        ),
        (
            adt(
                "A45", PID_2, "MRG|1^^^NORTH^MR||||V1", "PV1" + "|" * 19 + "V1",
                "MRG|3^^^NORTH^MR||||V3", "PV1" + "|" * 19 + "V3",
            ),
            [("move", Part.VISIT, "V1", NORTH_1, NORTH_2), ("move", Part.VISIT, "V3", NORTH_3, NORTH_2)],
        ),
        (adt("A24", "PID|1||1^^^NORTH", "PID|2||8^^^MPI"), [("Link", NORTH_1, MPI_8)]),
        (adt("A24", "PID|1||1^^^NORTH", "PID|2||1^^^NORTH"), [("unrelated", "A24")]),
        (adt("A49", PID_2 + "|" * 15 + "A1", "MRG|||A1"), [("unrelated", "A49")]),
        (adt("A37", "PID|1||1^^^NORTH", "PID|2||8^^^MPI"), [("Unlink", NORTH_1, MPI_8)]),
        *[(adt(one, "PID|1||1^^^NORTH"), [("Describe", NORTH_1)]) for one in ("A08", "A31")],
        *[(adt(one, "PID|1||1^^^NORTH"), [("Register", NORTH_1)]) for one in ("A01", "A04", "A05", "A28")],
        *[(adt(one, "PID|1||1^^^NORTH"), [("Delete", NORTH_1)]) for one in ("A23", "A29")],
        *[(adt(one, "PID|1||1^^^NORTH"), [("unrelated", one)]) for one in ("A02", "A03", "A60")],
        (adt("A40", PID_2, MRG_1).replace("ADT^A40", "ORU^R01"), [("unrelated", "ORU")]),
    ],
)  # fmt: skip
def test_a_trigger_means_what_chapter_three_says(text: str, expected: list[tuple[object, ...]]) -> None:
    assert plainly(told(text)) == expected


def test_no_trigger_goes_untested() -> None:
    [parameters] = [mark for mark in test_a_trigger_means_what_chapter_three_says.pytestmark]  # type: ignore[attr-defined]
    tested = {text.split("ADT^")[1][:3] for text, _ in parameters.args[1] if "ADT^" in text}

    assert set(ACTS) <= tested


@pytest.mark.parametrize(
    ("pid", "mrg", "expected"),
    [
        # Types are not crossed; without types the issuer pairs.
        ("2^^^NORTH^MR~3^^^NORTH^PI", "1^^^NORTH^PI", [("merge", NORTH_1, NORTH_3)]),
        ("2^^^NORTH^MR~3^^^NORTH^PI", "1^^^NORTH", [(Defect.PAIRING, "MRG", 1)]),
        ("2^^^NORTH", "1^^^NORTH^MR", MERGED),
        ("2^^^NORTH^MR~3^^^NORTH", "1^^^NORTH^MR", MERGED),
        ("2^^^NORTH^MR", "1^^^NORTH^PI", [(Defect.PAIRING, "MRG", 1)]),
        ("8^^^MPI", "1^^^NORTH", [(Defect.PAIRING, "MRG", 1)]),
        # Several are merged at once, each within its issuer.
        ("2^^^NORTH~8^^^MPI", "1^^^NORTH~9^^^MPI", [*MERGED, ("merge", MPI_9, MPI_8)]),
        ("2^^^NORTH", "1^^^NORTH~3^^^NORTH", [*MERGED, ("merge", NORTH_3, NORTH_2)]),
        # What both have is who they are, and what was merged may be listed with the survivor.
        ("2^^^NORTH~7^^^NATIONAL", "1^^^NORTH~7^^^NATIONAL", MERGED),
        ("1^^^NORTH~2^^^NORTH", "1^^^NORTH", MERGED),
        ("1^^^NORTH", "1^^^NORTH", [(Defect.PAIRING, "MRG", 1)]),
        # Issuers by every name they have, numbers in their form.
        ("0002^^^&1.2.3&ISO", "01^^^north mrn", MERGED),
        ("2", "1", MERGED),
        ("2^^^^^HERE", "1", [(Defect.IDENTIFIER, "PID", 3), (Defect.PAIRING, "MRG", 1)]),
        ("2^^^WEST", "1^^^NORTH", [(Defect.IDENTIFIER, "PID", 3), (Defect.PAIRING, "MRG", 1)]),
        ("X2", "1", [(Defect.IDENTIFIER, "PID", 3), (Defect.PAIRING, "MRG", 1)]),
        ("2", "", [(Defect.IDENTIFIER, "MRG", 1)]),
        ('""', "1", [(Defect.IDENTIFIER, "PID", 3), (Defect.PAIRING, "MRG", 1)]),
    ],
)
def test_identifiers_pair_within_issuer_and_type_or_not_at_all(
    pid: str, mrg: str, expected: list[tuple[object, ...]]
) -> None:
    assert plainly(told(adt("A40", f"PID|1||{pid}", f"MRG|{mrg}"))) == expected


def test_each_mrg_belongs_to_the_pid_above_it() -> None:
    text = adt("A40", "PID|1||2^^^NORTH", "PD1|", "MRG|1^^^NORTH", "PID|2||8^^^MPI", "MRG|9^^^MPI")

    assert plainly(told(text)) == [*MERGED, ("merge", MPI_9, MPI_8)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (adt("A40", PID_2), [(Defect.STRUCTURE, "PID", 0)]),
        (adt("A40"), [(Defect.STRUCTURE, "MSH", 0)]),
        (adt("A42", PID_2, "MRG|||||V1"), [(Defect.STRUCTURE, "PID", 0)]),
        (adt("A24", "PID|1||1"), [(Defect.STRUCTURE, "PID", 0)]),
        (adt("A43", "PID|1||1", "MRG|1"), [(Defect.PAIRING, "MRG", 1)]),
        (adt("A43", "PID|1||2", "MRG|1"), [(Defect.PAIRING, "MRG", 1)]),
        (adt("A43", "PID|1||1~8^^^MPI~9^^^MPI", "MRG|1"), [(Defect.PAIRING, "MRG", 1)]),
        (adt("A40", PID_2, MRG_1, evn="|A34|20240102"), [(Defect.TRIGGER, "MSH", 9)]),
        (adt("A40", PID_2, MRG_1, evn="||2024-01-02").replace("20240103120000", ""), [(Defect.TIME, "EVN", 2)]),
        (adt("A40", PID_2 + "||x\nmore", MRG_1), [(Defect.BROKEN, "PID", 0)]),
    ],
)
def test_what_cannot_be_used_is_a_fault_with_its_place(text: str, expected: list[tuple[object, ...]]) -> None:
    assert plainly(told(text)) == expected


@pytest.mark.parametrize(
    ("evn", "at"),
    [
        ("||20240102120000|||| 20240101120000", datetime(2024, 1, 1, 11, tzinfo=UTC)),
        ("||20240102120000+0000", datetime(2024, 1, 2, 12, tzinfo=UTC)),
        ("||202401021200-0230", datetime(2024, 1, 2, 14, 30, tzinfo=UTC)),
        ("||20240102", datetime(2024, 1, 1, 23, tzinfo=UTC)),
        ("||20240231", datetime(2024, 1, 3, 11, tzinfo=UTC)),
        ("", datetime(2024, 1, 3, 11, tzinfo=UTC)),
    ],
)
def test_the_time_is_when_it_happened_then_recorded_then_sent(evn: str, at: datetime) -> None:
    [found] = told(adt("A40", PID_2, MRG_1, evn=evn))

    assert not isinstance(found, Fault)
    assert (found.origin.at, found.origin.label, found.origin.kind) == (at, "HIS/NORTH/7", "A40")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("Doe^Jane^Q^Jr^Dr||19700102|F", Person(name="Doe^Jane^Q^Dr^Jr", birth_date="19700102", sex="F")),
        ("|||", Person()),
        ('""||""|""', Person(name="", birth_date="", sex="")),
        ("Born^Jane^^^^^M~Doe^Jane^^^^^L||1970|U", Person(name="Doe^Jane", birth_date="", sex="")),
        ("Yamada^Tarou^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P|||A",
         Person(name="Yamada^Tarou=山田^太郎=やまだ^たろう", sex="O")),
        ("van Doe&van&Doe^J\\S\\an||197001021530|X", Person(name="van Doe^J an", birth_date="19700102", sex="")),
    ],
)  # fmt: skip
def test_a_person_is_told_in_the_terms_of_dicom(fields: str, expected: Person) -> None:
    [found] = told(adt("A08", f"PID|1||1^^^NORTH||{fields}"))

    assert isinstance(found, Describe)
    assert found.person == expected


def test_a_merge_also_tells_who_survives() -> None:
    merge, described = told(adt("A40", PID_2 + "||Doe^Jane", MRG_1))

    assert isinstance(merge, Merge)
    assert isinstance(described, Describe)
    assert (described.identifier, described.person.name) == (NORTH_2, "Doe^Jane")


def test_faults_hold_nothing_of_the_patient() -> None:
    found = told(adt("A40", "PID|1||SECRET77||Secret^Name||19700102", "MRG|SECRET78"))

    assert found
    assert "SECRET" not in repr([one for one in found if isinstance(one, Fault)]).upper()


@settings(max_examples=100, deadline=None)
@given(
    trigger=st.sampled_from(sorted(ACTS)),
    lines=st.lists(
        st.tuples(st.sampled_from(["PID|", "MRG|", "PV1|", "EVN|"]), st.text("|^~&\\12AXS ", max_size=40)), max_size=5
    ),
)
def test_every_message_gives_events_or_faults_and_never_an_error(trigger: str, lines: list[tuple[str, str]]) -> None:
    found = told(adt(trigger, *(name + rest for name, rest in lines)))

    assert found or any(name == "PID|" for name, _ in lines)
