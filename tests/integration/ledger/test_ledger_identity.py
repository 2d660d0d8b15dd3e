"""What the hospital told: read once, kept as it was said, replaced where it is a table."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from actors.identity_options import IdentityOptions
from cluster.planning.reading import Kind, Reader, UnreadableFile
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
)
from imaging.identity.order import replayed, replayed_in_turn
from imaging.identity.people import Identifier, Person
from storage.errors import Rejected
from storage.ledger.forgetting import Unforgettable
from storage.ledger.identity import FileHead, Told

OPTIONS = IdentityOptions(issuers=({"name": "NORTH", "aliases": ("NH",)}, {"name": "SOUTH"}), default_issuer="NORTH")
READING = OPTIONS.reading("UTC")
ONE, TWO, THREE = Identifier("NORTH", "1"), Identifier("NORTH", "2"), Identifier("SOUTH", "3")
AT = datetime(2020, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
TICK = timedelta(microseconds=1)
MERGE = (
    "MSH|^~\\&|ADT|NH|||20200102||ADT^A40|{label}|P|2.5\rEVN|A40|20200102\r"
    "PID|||{new}^^^NH^MR||Doe^Jane||19700101|F\rMRG|{old}^^^NH^MR\r"
)


def origin(source: Source = Source.HL7, at: datetime | None = AT) -> Origin:
    return Origin(source=source, at=at, label="ADT/NH/17", kind="A40")


EVENTS: tuple[IdentityEvent, ...] = (
    Merge(origin=origin(), old=ONE, new=TWO),
    Merge(origin=origin(), old=ONE, new=TWO, renamed=True),
    Undo(origin=origin(), old=ONE, new=TWO),
    Move(origin=origin(), moved=ONE, giver=None, owner=TWO),
    Move(origin=origin(), moved=ONE, giver=THREE, owner=TWO),
    MovePart(origin=origin(), part=Part.VISIT, number="V1", giver=ONE, owner=TWO),
    RenamePart(origin=origin(), part=Part.ACCOUNT, patient=ONE, old="A1", new="A2"),
    Link(origin=origin(), one=ONE, other=THREE),
    Unlink(origin=origin(), one=ONE, other=THREE),
    Describe(origin=origin(at=None), identifier=ONE, person=Person(name="Doe^Jane", birth_date="", sex=None)),
    Register(origin=origin(), identifier=ONE, person=Person(name="Müller^Zoë=山田^太郎")),
    Delete(origin=origin(), identifier=ONE),
)


def head(kind: str = "hl7", digest: bytes = bytes(32), name: str = "file") -> FileHead:
    return FileHead(kind=kind, name=name, digest=digest, reading=READING)


@pytest.fixture
def reader(world) -> Reader:
    return Reader(world.ledger, OPTIONS, "UTC")


@pytest.fixture
def told(world):
    return lambda: set(world.ledger.identity.events(READING))


@pytest.fixture
def merges(tmp_path: Path):
    def write(name: str, *pairs: tuple[str, str], end: str = "\r") -> Path:
        path = tmp_path / name
        text = "".join(MERGE.format(label=f"{old}-{new}", old=old, new=new) for old, new in pairs)
        path.write_bytes(text.replace("\r", end).encode())
        return path

    return write


def test_every_kind_of_event_comes_back_as_it_was_told(world, told) -> None:
    world.ledger.identity.put_events(head(), EVENTS, Told(messages=1))

    assert told() == set(EVENTS)


def test_events_come_in_the_order_of_replay_however_they_were_told(world) -> None:
    numbers = [Identifier("NORTH", one) for one in ("a", "B", "Ä", "10", "9")] + [THREE]
    pairs = [(one, other) for one in numbers for other in numbers if one is not other]
    events = [
        *EVENTS,
        *(Merge(origin=origin(at=at), old=old, new=new) for old, new in pairs for at in (AT, AT + TICK, None)),
        *(Link(origin=origin(), one=one, other=other) for one, other in pairs),
        *(MovePart(origin=origin(), part=part, number=number, giver=one, owner=other)
          for one, other in pairs for part in Part for number in ("V10", "V9", "v1")),
        *(RenamePart(origin=origin(), part=part, patient=one, old="A2", new="A1") for one in numbers for part in Part),
        *(Delete(origin=origin(at=at), identifier=one) for one in numbers for at in (None, AT)),
    ]  # fmt: skip

    world.ledger.identity.put_events(head(), reversed(events), Told(messages=1))

    assert list(replayed_in_turn(world.ledger.identity.events(READING))) == replayed(events)


def test_events_that_a_second_file_tells_again_are_there_once(world, reader, merges, told) -> None:
    first = reader.read(merges("a.hl7", ("1", "2"), ("3", "4")), None)
    second = reader.read(merges("b.hl7", ("1", "2"), ("5", "6"), end="\n"), None)

    assert (first.messages, first.events, second.messages, second.events) == (2, 4, 2, 2)
    assert world.sql("select count(*) from identity_event") == [(6,)]
    assert len(told()) == 6


def test_a_forgotten_file_takes_with_it_what_nobody_else_told(world, reader, merges, told) -> None:
    first = merges("a.hl7", ("1", "2"), ("3", "4"))
    reader.read(first, None)
    reader.read(merges("b.hl7", ("1", "2"), ("5", "6")), None)
    reader.read(merges("c.hl7", ("1", "2")), None)
    numbers = {file.name: file.file_id for file in world.ledger.identity.files()}

    gone = world.ledger.forgetting.forget(numbers["a.hl7"], by="keller", why="test system")

    assert (gone.name, gone.events, gone.kept) == ("a.hl7", 2, 2)
    assert merged(told()) == [("1", "2"), ("5", "6")]
    gone = world.ledger.forgetting.forget(numbers["b.hl7"], by="keller", why="")
    assert (gone.events, gone.kept) == (2, 2)
    assert merged(told()) == [("1", "2")]
    assert reader.read(first, None).events == 2
    assert merged(told()) == [("1", "2"), ("3", "4")]
    world.ledger.forgetting.forget(numbers["c.hl7"], by="keller", why="")
    assert merged(told()) == [("1", "2"), ("3", "4")]
    assert world.sql("select name, forgotten_by, forgotten_why from hospital_file where file_id = %s", numbers["a.hl7"])


def test_the_table_that_a_forgotten_one_replaced_is_named(world, reader, tmp_path, told) -> None:
    table = tmp_path / "crosswalk.csv"
    for new in ("2", "3"):
        table.write_text(f"old_issuer,old_id,new_issuer,new_id,kind\nNORTH,1,NORTH,{new},merge\n")
        reader.read(table, None)
    first, second = (number for (number,) in world.sql("select file_id from hospital_file order by file_id"))

    gone = world.ledger.forgetting.forget(second, by="keller", why="")

    assert (gone.replaced, tuple(told())) == (first, ())
    reader.read(table, None)
    [anew] = world.ledger.identity.files()
    assert world.ledger.forgetting.forget(anew.file_id, by="keller", why="").replaced == first


def test_a_reason_that_was_typed_in_another_character_set_is_refused_by_a_sentence(world, reader, merges) -> None:
    reader.read(merges("a.hl7", ("1", "2")), None)
    [file] = world.ledger.identity.files()

    with pytest.raises(Rejected, match="no text but UTF-8"):
        world.ledger.forgetting.forget(file.file_id, by="keller", why=b"Gr\xfc\xdfe".decode(errors="surrogateescape"))

    assert world.ledger.identity.files() == (file,)


def test_what_nobody_could_give_again_is_not_forgotten(world, reader, merges) -> None:
    file_id, _ = world.ledger.identity.hear("heard-2026-11-30.hl7", READING, EVENTS[:1], None)
    reader.read(merges("a.hl7", ("1", "2")), None)
    reader.read(merges("b.hl7", ("1", "2"), end="\n"), None)
    first, second = sorted(file.file_id for file in world.ledger.identity.files() if file.file_id != file_id)
    world.sql("update hospital_file set repeats_kept = false returning 1")

    with pytest.raises(Unforgettable, match="came over a line"):
        world.ledger.forgetting.forget(file_id, by="keller", why="")
    with pytest.raises(Unforgettable, match=r"an earlier release heard heard-2026-11-30\.hl7 over a line"):
        world.ledger.forgetting.forget(first, by="keller", why="")
    world.sql("update hospital_file set repeats_kept = name like 'heard%%' returning 1")
    with pytest.raises(Unforgettable, match=r"an earlier release read b\.hl7 \(\d+\) after a\.hl7"):
        world.ledger.forgetting.forget(first, by="keller", why="")
    assert world.ledger.forgetting.forget(second, by="keller", why="").name == "b.hl7"
    with pytest.raises(Unforgettable, match="no file"):
        world.ledger.forgetting.forget(second, by="keller", why="")


def merged(events: tuple[IdentityEvent, ...]) -> list[tuple[str, str]]:
    """Old and new number of each merge."""
    return sorted((event.old.value, event.new.value) for event in events if isinstance(event, Merge))


def test_the_same_file_is_read_once(reader, merges) -> None:
    path = merges("a.hl7", ("1", "2"))

    assert [reader.read(path, None).again, reader.read(path, None).again] == [False, True]


def test_a_table_replaces_the_earlier_one_of_its_name_and_can_be_put_back(reader, tmp_path, told) -> None:
    table = tmp_path / "crosswalk.csv"
    rows = {"x": "NORTH,1,NORTH,2,merge\n", "y": "NORTH;1;NORTH;3;merge\n"}
    seen = []
    for version in "xyx":
        sign = "," if version == "x" else ";"
        table.write_text(sign.join(("old_issuer", "old_id", "new_issuer", "new_id", "kind")) + "\n" + rows[version])
        assert not reader.read(table, None).again
        seen.append({event.new.value for event in told() if isinstance(event, Merge)})

    assert seen == [{"2"}, {"3"}, {"2"}]


def test_what_cannot_be_used_is_told_by_its_place_and_not_by_its_value(reader, tmp_path, merges) -> None:
    table = tmp_path / "index.csv"
    table.write_text("issuer,id,name,birth_date,sex\nNORTH,7,Doe^Jane,19700101,F\nNOWHERE,8,SECRET,19700101,F\n")
    broken = merges("a.hl7", ("1", "2"))
    broken.write_bytes(broken.read_bytes().replace(b"MRG|1^^^NH", b"MRG|SECRET^^^ELSEWHERE"))

    found = [reader.read(table, None), reader.read(broken, None)]

    assert [dict(file.defects) for file in found] == [{"IDENTIFIER": 1}, {"HL7_IDENTIFIER": 1}]
    assert found[0].told[0].place == "line 3, column id"
    assert found[0].told[0].detail == "ISSUER_UNKNOWN"
    assert all("SECRET" not in str(one) for file in found for one in file.told)


def test_a_file_that_is_no_table_is_refused_whole(reader, world, tmp_path) -> None:
    table = tmp_path / "index.csv"
    table.write_bytes(b"issuer,id,name,birth_date,sex\nNORTH,1,M\xfcller,,\n")

    with pytest.raises(UnreadableFile, match="not UTF-8"):
        reader.read(table, Kind.SNAPSHOT)

    assert world.ledger.identity.files() == ()


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n", b"\xef\xbb\xbfissuer,id,birth_date"])
def test_a_file_without_anything_in_it_tells_nothing(reader, tmp_path, content: bytes) -> None:
    (tmp_path / "empty").write_bytes(content)

    assert reader.read(tmp_path / "empty", None).events == 0


def test_events_read_with_other_issuers_do_not_count(reader, merges, world) -> None:
    reader.read(merges("a.hl7", ("1", "2")), None)
    others = OPTIONS.model_copy(update={"default_issuer": "SOUTH"})

    assert list(world.ledger.identity.events(others.reading("UTC"))) == []


def test_orders_come_back_with_their_patients(reader, world, tmp_path) -> None:
    table = tmp_path / "orders.csv"
    unfit = f"A\0;;;\n{'9' * 65};;;\nA4;;;{'1.' * 40}1\n"
    table.write_text("accession;issuer;id;study_uid\nA1;NH;1;1.2.3\nA2;;;\n;NH;1;\n" + unfit)

    found = reader.read_orders(table)

    orders = list(world.ledger.identity.orders(READING, numbers={"A2", "A3"}, studies={"1.2.3", "1.2.4"}))
    assert [(one.accession.value, one.patient, one.study) for one in orders] == [("A1", ONE, "1.2.3"), ("A2", None, "")]
    assert list(world.ledger.identity.orders(READING, numbers={"A3"}, studies={""})) == []
    assert (found.events, found.defects) == (2, {"IDENTIFIER": 4})
