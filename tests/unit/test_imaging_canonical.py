"""CAN1: what it overlooks and what it does not."""

import struct

import pytest
from blake3 import blake3

from imaging.canonical import LARGE, can1
from imaging.errors import MalformedDataset
from imaging.flags import Flag
from imaging.header import read_header
from imaging.octets import MemoryOctets
from imaging.syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE


def element(tag: int, vr: bytes, value: bytes, order: str = "<") -> bytes:
    lead = struct.pack(order + "HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC"):
        return lead + struct.pack(order + "HL", 0, len(value)) + value
    return lead + struct.pack(order + "H", len(value)) + value


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def item(content: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content


def digest(dataset: bytes, syntax: str = EXPLICIT_LE) -> bytes:
    return can1(read_header(MemoryOctets(dataset), 0, syntax))


def flags(dataset: bytes) -> set[Flag]:
    header = read_header(MemoryOctets(dataset), 0, EXPLICIT_LE)
    can1(header)
    return header.scan.walker.flags


NAME, ID, TEXT, ROWS = 0x00100010, 0x00100020, 0x00104000, 0x00280010


def test_the_bytes_hashed_are_those_the_module_describes() -> None:
    dataset = element(ID, b"LO", b" A1 ") + element(ROWS, b"US", b"\2\1") + element(0x00111001, b"SH", b"v ")
    records = [
        b"\0\x10\0\0\x20" + b"T" + struct.pack(">Q", 2) + b"A1",
        b"\0\x11\0\x10\x01" + b"B" + struct.pack(">Q", 2) + b"v ",
        b"\0\x28\0\0\x10" + b"B" + struct.pack(">Q", 2) + b"\2\1",
    ]

    assert digest(dataset) == blake3(b"can1\0" + struct.pack(">L", 3) + b"".join(records)).digest()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (element(ID, b"LO", b"A1"), element(ID, b"LO", b" A1   ")),
        (element(ID, b"LO", b"A1\\B2"), element(ID, b"LO", b"A1 \\ B2")),
        (element(NAME, b"PN", b"Doe^Jo"), element(NAME, b"PN", b"Doe^Jo^^^=  ")),
        (element(ID, b"LO", b"A1"), element(ID, b"UN", b"A1")),
        (element(0x0020000D, b"UI", b"1.2\0"), element(0x0020000D, b"UI", b"1.2 ")),
        (element(0x00080000, b"UL", b"abcd") + element(ID, b"LO", b"A1"), element(ID, b"LO", b"A1")),
        (element(ID, b"LO", b"A1"), element(ID, b"LO", b"A1") + element(0xFFFCFFFC, b"OB", b"\0\0")),
        (element(0x00420011, b"OB", b"abc"), element(0x00420011, b"OB", b"abc\0")),
        (
            element(0x00110010, b"LO", b"ACME") + element(0x00111001, b"SH", b"v "),
            element(0x00110020, b"LO", b"ACME  ") + element(0x00112001, b"UN", b"v "),
        ),
        (
            element(0x00110010, b"LO", b"ACME") + element(0x00111001, b"SQ", item(element(ID, b"LO", b"A1"))),
            element(0x00110010, b"LO", b"ACME") + element(0x00111001, b"UN", item(implicit(ID, b"A1"))),
        ),
    ],
)
def test_what_says_the_same_digests_the_same(left: bytes, right: bytes) -> None:
    assert digest(left) == digest(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (element(ID, b"LO", b"A1"), element(ID, b"LO", b"A2")),
        (element(ID, b"LO", b"A1"), element(ID, b"LO", b"")),
        (element(ID, b"LO", b""), b""),
        (element(ID, b"LO", b"A1\\B2"), element(ID, b"LO", b"A1B2")),
        (element(TEXT, b"LT", b" A1 "), element(TEXT, b"LT", b"A1")),
        (element(NAME, b"PN", b"Doe^^Jo"), element(NAME, b"PN", b"Doe^Jo")),
        (element(NAME, b"PN", b"=Doe"), element(NAME, b"PN", b"Doe ")),
        (element(ROWS, b"US", b"\1\0"), element(ROWS, b"US", b"\1\0\0\0")),
        (
            element(0x00110010, b"LO", b"ACME") + element(0x00111001, b"SH", b"v "),
            element(0x00110010, b"LO", b"EMCA") + element(0x00111001, b"SH", b"v "),
        ),
        (element(0x00111001, b"US", b"\x63\x20"), element(0x00111001, b"US", b"\x63\0")),
        (
            element(0x00081115, b"SQ", item(b"") + item(element(ID, b"LO", b"A1"))),
            element(0x00081115, b"SQ", item(element(ID, b"LO", b"A1")) + item(b"")),
        ),
        (element(0x00081115, b"SQ", item(b"")), element(0x00081115, b"SQ", b"")),
        (element(0x00420011, b"OB", b"a" * LARGE * 2), element(0x00420011, b"OB", b"a" * LARGE + b"b" * LARGE)),
    ],
)
def test_what_says_something_else_digests_differently(left: bytes, right: bytes) -> None:
    assert digest(left) != digest(right)


def test_long_big_endian_values_digest_like_little_endian_ones() -> None:
    little = element(0x00283006, b"OW", b"\1\2" * LARGE)
    big = element(0x00283006, b"OW", b"\2\1" * LARGE, ">")

    assert digest(little) == digest(big, EXPLICIT_BE)
    assert digest(little) == digest(implicit(0x00283006, b"\1\2" * LARGE), IMPLICIT_LE)


LATIN = element(0x00080005, b"CS", b"ISO_IR 100")
UTF8 = element(0x00080005, b"CS", b"ISO_IR 192")
JAPANESE = element(0x00080005, b"CS", b"\\ISO 2022 IR 87 ")


def test_text_is_equal_in_any_character_set_it_can_be_written_in() -> None:
    yamada = "山田"

    assert digest(LATIN + element(NAME, b"PN", b"M\xfcll")) == digest(UTF8 + element(NAME, b"PN", "Müll ".encode()))
    in_jis = b"\x1b$B" + yamada.encode("iso2022_jp")[3:-3] + b"\x1b(B"
    padded = in_jis + b" " * (len(in_jis) % 2)
    assert digest(JAPANESE + element(NAME, b"PN", padded)) == digest(UTF8 + element(NAME, b"PN", yamada.encode()))


def test_an_item_may_have_a_character_set_of_its_own() -> None:
    own = UTF8 + element(NAME, b"PN", "Müll ".encode())
    inherited = element(NAME, b"PN", b"M\xfcll")

    assert digest(LATIN + element(0x00081115, b"SQ", item(own))) == digest(
        LATIN + element(0x00081115, b"SQ", item(inherited))
    )


@pytest.mark.parametrize(
    ("dataset", "flag"),
    [
        (element(NAME, b"PN", b"M\xfcll"), Flag.CHARSET_UNDECLARED),
        (UTF8 + element(NAME, b"PN", b"M\xfcll"), Flag.CHARSET_UNDECODABLE),
        (element(0x00080005, b"CS", b"ISO_IR 999") + element(NAME, b"PN", b"M\xfcll"), Flag.CHARSET_UNDECODABLE),
        (JAPANESE + element(NAME, b"PN", b"M\xfcll"), Flag.CHARSET_UNDECODABLE),
    ],
)
def test_text_that_cannot_be_decoded_is_flagged_and_still_told_apart(dataset: bytes, flag: Flag) -> None:
    assert flag in flags(dataset)
    assert digest(dataset) != digest(dataset.replace(b"M\xfcll", b"M\xf6ll"))


def test_a_broken_sequence_gives_no_digest() -> None:
    with pytest.raises(MalformedDataset):
        digest(element(0x00081115, b"SQ", item(element(ID, b"LO", b"A1"))[:-1]))
