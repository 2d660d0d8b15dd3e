"""RAW1, STO1, PD1 and roots are exactly the bytes their docstrings say."""

import struct
import zlib
from dataclasses import replace

import pytest
from blake3 import blake3

from imaging.digests import Raw1, raw1, sto1, sto1_of_pieces
from imaging.errors import MalformedDataset
from imaging.facts import InstanceFacts
from imaging.flags import Flag
from imaging.header import read_header
from imaging.octets import CHUNK, MemoryOctets
from imaging.pixels import PixelDigest, digest_pixels
from imaging.roots import study_root, uid_set_root
from imaging.syntaxes import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, inflate
from imaging.uid import Uid

JPEG = "1.2.840.10008.1.2.4.50"


def short(tag: int, vr: bytes, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def long(tag: int, vr: bytes, value: bytes, order: str = "<", length: int | None = None) -> bytes:
    stated = len(value) if length is None else length
    return struct.pack(order + "HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, stated) + value


def image(
    pixels: bytes,
    *,
    rows: int = 2,
    columns: int = 2,
    bits: int = 8,
    order: str = "<",
    vr: bytes = b"OB",
    photo: bytes = b"",
) -> bytes:
    def number(tag: int, value: int) -> bytes:
        return short(tag, b"US", struct.pack(order + "H", value), order)

    colours = number(0x00280002, 3) + short(0x00280004, b"CS", photo, order) if photo else b""
    return (
        colours
        + number(0x00280010, rows)
        + number(0x00280011, columns)
        + number(0x00280100, bits)
        + long(0x7FE00010, vr, pixels, order)
    )


def pd1(dataset: bytes, syntax: str = EXPLICIT_LE) -> PixelDigest:
    digest = digest_pixels(read_header(MemoryOctets(dataset), 0, syntax))
    assert digest is not None
    return digest


def native(value: bytes) -> bytes:
    return blake3(b"pd1\0native\0" + value).digest()


def test_raw1_is_the_dataset_then_a_nul_then_the_syntax() -> None:
    state = Raw1()
    state.update(b"data")
    state.update(memoryview(b"set"))

    expected = blake3(b"dataset\0" + EXPLICIT_LE.encode()).digest()
    assert state.digest(EXPLICIT_LE) == expected
    assert raw1(MemoryOctets(b"metadataset"), 4, EXPLICIT_LE) == expected
    assert state.digest(JPEG) != expected


def test_sto1_is_every_byte_however_the_file_lies_in_pieces() -> None:
    content = bytes(range(256)) * 9000

    assert len(content) > 2 * CHUNK
    assert sto1(MemoryOctets(content)) == blake3(content).digest()
    assert sto1_of_pieces([content[:7], memoryview(content)[7:]]) == blake3(content).digest()


def test_a_native_value_is_cut_to_what_the_image_needs() -> None:
    assert pd1(image(b"abcd")) == PixelDigest(pd1=native(b"abcd"), flags=frozenset())
    assert pd1(image(b"abc\0", rows=3, columns=1)) == PixelDigest(pd1=native(b"abc"), flags=frozenset())
    assert pd1(image(b"abcdefgh")) == PixelDigest(pd1=native(b"abcd"), flags=frozenset({Flag.PIXEL_EXCESS}))
    assert pd1(image(b"ab")) == PixelDigest(pd1=native(b"ab"), flags=frozenset({Flag.PIXEL_LENGTH}))


def test_single_bits_are_counted_up_to_the_next_byte() -> None:
    assert pd1(image(b"ab", rows=3, columns=3, bits=1)).pd1 == native(b"ab")


def test_ybr_full_422_needs_two_thirds() -> None:
    digest = pd1(image(b"yybryybr", photo=b"YBR_FULL_422"))

    assert digest == PixelDigest(pd1=native(b"yybryybr"), flags=frozenset())


@pytest.mark.parametrize(
    ("bits", "vr", "big", "little"),
    [
        (16, b"OW", b"badcfehg", b"abcdefgh"),
        (32, b"OW", b"dcbahgfelkjiponm", b"abcdefghijklmnop"),
        (8, b"OW", b"badc", b"abcd"),
        (8, b"OB", b"abcd", b"abcd"),
    ],
)
def test_big_endian_pixels_digest_like_little_endian_ones(bits: int, vr: bytes, big: bytes, little: bytes) -> None:
    digest = pd1(image(big, bits=bits, vr=vr, order=">"), EXPLICIT_BE)

    assert digest == PixelDigest(pd1=native(little), flags=frozenset())


def test_an_odd_count_of_8_bit_pixels_in_big_endian_words_is_swapped_before_it_is_cut() -> None:
    digest = pd1(image(b"ba\0c", bits=8, vr=b"OW", rows=3, columns=1, order=">"), EXPLICIT_BE)

    assert digest.pd1 == native(b"abc")


def test_float_pixels_have_kinds_of_their_own() -> None:
    assert pd1(long(0x7FE00008, b"OF", b"abcdefgh")).pd1 == blake3(b"pd1\0of\0abcdefgh").digest()
    big = long(0x7FE00009, b"OD", b"hgfedcba", ">")
    assert pd1(big, EXPLICIT_BE).pd1 == blake3(b"pd1\0od\0abcdefgh").digest()


def fragments(*values: bytes) -> bytes:
    items = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value for value in values)
    return long(0x7FE00010, b"OB", items + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0), length=0xFFFFFFFF)


def test_encapsulated_pixels_are_their_fragments_without_the_offset_table() -> None:
    expected = blake3(b"pd1\0encap:" + JPEG.encode() + b"\0abcdef").digest()

    assert pd1(fragments(b"", b"abcdef"), JPEG).pd1 == expected
    assert pd1(fragments(b"\0\0\0\0", b"ab", b"cd", b"ef"), JPEG) == PixelDigest(pd1=expected, flags=frozenset())
    assert pd1(image(b"abcd"), JPEG) == PixelDigest(pd1=native(b"abcd"), flags=frozenset({Flag.PIXEL_FORM}))


def test_an_icon_is_not_the_image() -> None:
    icon = struct.pack("<HHL", 0xFFFE, 0xE000, 24) + image(b"abcd")[-16:] + bytes(8)

    assert digest_pixels(read_header(MemoryOctets(long(0x00880200, b"SQ", icon)), 0, EXPLICIT_LE)) is None


def test_a_deflate_bomb_is_refused_at_its_limit() -> None:
    state = zlib.compressobj(9, wbits=-15)
    bomb = state.compress(bytes(50 << 20)) + state.flush()

    with pytest.raises(MalformedDataset, match="opens to more than 1000000 bytes"):
        inflate(MemoryOctets(bomb), 0, limit=1_000_000)
    assert len(inflate(MemoryOctets(bomb), 0)) == 50 << 20
    with pytest.raises(MalformedDataset, match="cut short"):
        read_header(MemoryOctets(bomb[:-5]), 0, DEFLATED)


def facts(uid: str, can1: bytes = bytes(32)) -> InstanceFacts:
    return InstanceFacts(
        study_uid=Uid("1.2"),
        series_uid=Uid("1.2.3"),
        sop_uid=Uid(uid),
        sop_class=Uid("1.2.4"),
        transfer_syntax=Uid(EXPLICIT_LE),
        raw_size=1,
        sto_size=2,
        raw1=bytes(32),
        sto1=bytes(32),
        pd1=None,
        can1=can1,
    )


def test_a_study_root_names_content_and_not_order() -> None:
    first, second = facts("1.2.9"), facts("1.2.10")

    assert study_root([first, second]) == study_root([second, first])
    assert study_root([first]) == blake3(b"study1\x001.2.9 - " + b"0" * 64 + b"\n").digest()
    assert study_root([first, replace(second, can1=b"\1" * 32)]) != study_root([first, second])
    assert study_root([first, replace(second, pd1=bytes(32))]) != study_root([first, second])
    with pytest.raises(ValueError, match="twice"):
        study_root([first, first])


def test_a_uid_set_root_names_the_set() -> None:
    a, b = Uid("1.2.9"), Uid("1.2.10")

    assert uid_set_root([a, b, a]) == uid_set_root([b, a]) == blake3(b"uids1\x001.2.10\n1.2.9\n").digest()
    assert uid_set_root([a]) != uid_set_root([a, b])
