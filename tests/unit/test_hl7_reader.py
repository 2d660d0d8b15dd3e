"""Reading HL7 v2: every message comes out or is reported with its place, whatever its dialect."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.hl7.defects import Defect, Fault
from imaging.hl7.reader import MESSAGE_LIMIT, Message, messages
from imaging.hl7.segments import Segment, Separators, unescaped

MSH = "MSH|^~\\&|HIS|NORTH|PACS|NORTH|20240102||ADT^A40|7|P|2.5"
USUAL = Separators("|", "^", "~", "\\", "&")


def read(text: str | bytes, **options: str) -> list[Message | Fault]:
    return list(messages([text.encode() if isinstance(text, str) else text], **options))


def message(text: str | bytes, **options: str) -> Message:
    [found] = read(text, **options)
    assert isinstance(found, Message)
    return found


def pid(text: str | bytes, **options: str) -> Segment:
    found = message(text, **options).first("PID")
    assert found is not None
    return found


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r\n"])
def test_segments_end_with_whatever_senders_take_for_an_end(end: str) -> None:
    found = message(end.join([MSH, "EVN|A40", "PID|1||22", "MRG|11", ""]))

    assert [segment.name for segment in found.segments] == ["MSH", "EVN", "PID", "MRG"]
    assert found.segments[2].text(3) == "22"


def test_separators_are_those_the_message_declares() -> None:
    found = pid("MSH!@%$*!HIS!!!!!!ADT@A40\rPID!1!!22@@@NORTH*1.2*ISO%33!!Doe$T$x@J|~")

    first, second = found.repetitions(3)
    assert (first.component(1), first.subcomponent(4, 2), second.component(1)) == ("22", "1.2", "33")
    assert found.repetitions(5)[0].component(1) == "Doe*x"
    assert found.repetitions(5)[0].component(2) == "J|~"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("J\\S\\rg", "J^rg"),
        ("a\\F\\b\\T\\c\\R\\d\\E\\e", "a|b&c~d\\e"),
        ("\\XC3A4\\", "ä"),
        ("\\H\\bold\\N\\", "bold"),
        ("a\\.br\\b", "a\nb"),
        ("a\\Xzz\\b", "a\\Xzz\\b"),
        ("C:\\temp", "C:\\temp"),
        ("C:\\temp\\S\\x", "C:\\temp^x"),
        ("ends with\\", "ends with\\"),
        ("\\C2842\\", "\\C2842\\"),
        ("", ""),
    ],
)
def test_escapes_are_replaced_and_what_is_none_stays(written: str, meant: str) -> None:
    assert unescaped(written, USUAL, "utf-8") == meant


def test_fields_are_split_before_they_are_unescaped() -> None:
    found = pid(f"{MSH}\rPID|1||22||J\\S\\rg&von^Anna\\T\\Maria")

    [name] = found.repetitions(5)
    assert (name.component(1), name.component(2)) == ("J^rg", "Anna&Maria")


@pytest.mark.parametrize(
    ("charset", "codec", "name"),
    [
        ("", "utf_8", "Müller"),
        ("8859/1", "latin_1", "Müller"),
        ("8859/5", "iso8859_5", "Люксембург"),
        ("UNICODE UTF-8", "utf_8", "Łódź"),
        ("GB 18030-2000", "gb18030", "王小东"),
        ("KS X 1001", "euc_kr", "홍길동"),
        ("ASCII~ISO IR87", "iso2022_jp", "山田太郎"),
        ("BIG-5", "big5", "功蓋"),
    ],
)
def test_text_is_read_in_the_character_set_of_msh_18(charset: str, codec: str, name: str) -> None:
    content = f"{MSH}||||||{charset}\rPID|1||22||{name}^x".encode(codec)

    assert pid(content, default_codec="utf_8").text(5) == name


def test_an_unknown_character_set_is_a_fault_and_no_guess() -> None:
    assert read(f"{MSH}||||||CNS 11643-1992\rPID|1") == [
        Fault(defect=Defect.CHARSET, offset=0, message=1, segment="MSH", field=18)
    ]


def test_a_segment_that_is_no_text_keeps_its_place_and_the_rest_is_read() -> None:
    found = message(MSH.encode() + b"\rNTE|1||K\xf6ln\rPID|1||22")

    assert [(one.name, one.defect) for one in found.segments[1:]] == [("NTE", Defect.UNDECODABLE), ("PID", None)]


def test_batches_files_and_frames_are_opened() -> None:
    text = f"FHS|^~\\&\rBHS|^~\\&\r\x0b{MSH}\rPID|1\r\x1c\r\x0b{MSH}\rPID|2\r\x1c\rBTS|2\rFTS|1\r"

    found = read("\ufeff" + text)

    assert [one.number for one in found if isinstance(one, Message)] == [1, 2]
    assert len(found) == 2


def test_a_trailer_that_counts_other_than_what_came_is_a_fault() -> None:
    found = read(f"FHS|^~\\&\rBHS|^~\\&\r{MSH}\rBTS|2\rFTS|3\r")

    assert [one.segment for one in found if isinstance(one, Fault)] == ["BTS", "FTS"]
    assert {one.defect for one in found if isinstance(one, Fault)} == {Defect.COUNT}


def test_a_line_break_inside_a_field_breaks_its_segment_only() -> None:
    found = message(f"{MSH}\rPID|1||22||Doe\nwho was NEWBORN\rMRG|11")

    assert [(one.name, one.defect) for one in found.segments] == [
        ("MSH", None), ("PID", Defect.BROKEN), ("MRG", None),
    ]  # fmt: skip


def test_what_lies_outside_of_messages_is_reported_with_its_place() -> None:
    found = read(f"PID|1\r\rhello\r{MSH}\r")

    assert [(one.defect, one.offset) for one in found[:2] if isinstance(one, Fault)] == [
        (Defect.STRAY, 0), (Defect.STRAY, 7),
    ]  # fmt: skip
    assert found[2].offset == 13


@pytest.mark.parametrize("head", ["MSH", "MSH|", "MSH||||||", "MSH|^^~&|", "MSHA^~\\&A", "MSH|a~\\&|", "MSH|^"])
def test_a_header_without_separators_is_a_fault(head: str) -> None:
    [found] = read(head + "\rPID|1")

    assert isinstance(found, Fault)
    assert found.defect is Defect.HEADER


def test_a_message_longer_than_any_is_reported_and_the_next_one_read() -> None:
    pieces = [MSH.encode() + b"\rOBX|", *[b"x" * (1 << 20)] * ((MESSAGE_LIMIT >> 20) + 2), b"\r" + MSH.encode() + b"\r"]

    found = list(messages(pieces))

    assert [type(one) for one in found] == [Fault, Message]


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_any_octets_in_any_pieces_are_read_the_same_without_an_error(content: bytes, cuts: list[int]) -> None:
    content = MSH.encode() + b"\r" + content
    places = sorted({0, *(cut for cut in cuts if cut < len(content)), len(content)})

    whole = read(content)

    assert whole
    assert list(messages(content[a:b] for a, b in pairwise(places))) == whole
