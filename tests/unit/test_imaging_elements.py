"""The scanner refuses what is broken, bears what is merely odd, and does not read pixels."""

import os
import struct
from pathlib import Path

import pytest

from imaging.canonical import can1
from imaging.elements import MAX_DEPTH, MAX_ELEMENTS, WINDOW, Encoding, scan
from imaging.errors import MalformedDataset
from imaging.flags import Flag
from imaging.header import read_header
from imaging.octets import MemoryOctets
from imaging.syntaxes import EXPLICIT_LE

LE, IMPLICIT = Encoding.EXPLICIT_LE, Encoding.IMPLICIT_LE
ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
OPEN_SEQUENCE = struct.pack("<HH2sHL", 0x0008, 0x1115, b"SQ", 0, 0xFFFFFFFF)


def cs(tag: int, value: bytes = b"AB", vr: bytes = b"CS") -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def flags(dataset: bytes, encoding: Encoding = LE) -> frozenset[Flag]:
    return scan(MemoryOctets(dataset), 0, encoding).flags


class FileOctets:
    """A file that counts what is read of it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._file).st_size
        self.bytes_read = 0

    def read(self, start: int, length: int) -> memoryview:
        piece = os.pread(self._file, length, start)
        self.bytes_read += len(piece)
        return memoryview(piece)

    def close(self) -> None:
        os.close(self._file)


def test_offsets_point_at_header_value_and_end() -> None:
    found = scan(MemoryOctets(b"skip" + cs(0x00080008, b"ORIG") + cs(0x00080060, b"CT")), 4, LE)

    assert [tuple(element) for element in found.elements] == [
        (0x00080008, "CS", 4, 12, 4, 16),
        (0x00080060, "CS", 16, 24, 2, 26),
    ]
    assert not found.flags


def test_a_nested_sequence_of_undefined_length_is_passed_over_whole() -> None:
    inner = OPEN_SEQUENCE + ITEM + cs(0x00080060) + ITEM_END + SEQUENCE_END
    dataset = OPEN_SEQUENCE + ITEM + inner + ITEM_END + ITEM + ITEM_END + SEQUENCE_END + cs(0x00100020)

    found = scan(MemoryOctets(dataset), 0, LE)

    assert [element.tag for element in found.elements] == [0x00081115, 0x00100020]
    assert found.elements[0].end == found.elements[1].start


@pytest.mark.parametrize(
    ("dataset", "flag"),
    [
        (cs(0x00080060, b"CTX"), Flag.ODD_LENGTH),
        (cs(0x00080060) + cs(0x00080008), Flag.OUT_OF_ORDER),
        (cs(0x00080060) + cs(0x00080060), Flag.REPEATED_ELEMENT),
        (cs(0x00080060) + bytes(3), Flag.TRAILING_BYTES),
        (cs(0x00080060) + bytes(4096), Flag.TRAILING_BYTES),
        (cs(0x00080060) + struct.pack("<HHL", 0x10, 0x20, 2) + b"ID", Flag.IMPLICIT_IN_EXPLICIT),
        (struct.pack("<HHL", 0x10, 0x20, 2) + b"ID", Flag.IMPLICIT_IN_EXPLICIT),
        (cs(0x00080060, vr=b"ZZ"), Flag.UNKNOWN_VR),
        (cs(0x00080060) + struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, 99) + b"ab", Flag.PIXEL_TRUNCATED),
    ],
)
def test_what_is_merely_odd_is_flagged(dataset: bytes, flag: Flag) -> None:
    assert flag in flags(dataset)


@pytest.mark.parametrize(
    "dataset",
    [
        cs(0x00080060)[:-1],
        cs(0x00080060) + b"\x10\0\x20",
        struct.pack("<HH2sHL", 0x0042, 0x0011, b"OB", 0, 0xFFFFFFF0) + b"ab",
        struct.pack("<HH2sH", 0x0020, 0x000D, b"UI", 0xFFFF) + b"1.2",
        OPEN_SEQUENCE,
        OPEN_SEQUENCE + ITEM,
        OPEN_SEQUENCE + ITEM + cs(0x00080060),
        OPEN_SEQUENCE + ITEM + ITEM_END,
        OPEN_SEQUENCE + cs(0x00080060),
        OPEN_SEQUENCE + struct.pack("<HHL", 0xFFFE, 0xE000, 99) + SEQUENCE_END,
        ITEM_END,
        SEQUENCE_END + cs(0x00080060),
        (OPEN_SEQUENCE + ITEM) * (MAX_DEPTH + 2),
        cs(0x00080060, b"") * (MAX_ELEMENTS + 1),
    ],
)
def test_what_is_broken_is_refused_without_a_value_in_the_message(dataset: bytes) -> None:
    with pytest.raises(MalformedDataset) as refusal:
        scan(MemoryOctets(dataset), 0, LE)

    assert str(refusal.value) == f"{refusal.value.reason} at byte {refusal.value.offset}"
    assert "AB" not in str(refusal.value)


def test_sequences_as_deep_as_allowed_are_read() -> None:
    depth = MAX_DEPTH - 1
    dataset = (OPEN_SEQUENCE + ITEM) * depth + cs(0x00080060) + (ITEM_END + SEQUENCE_END) * depth

    assert len(can1(read_header(MemoryOctets(dataset), 0, EXPLICIT_LE))) == 32


def test_a_header_longer_than_the_window_is_walked_across_its_edges() -> None:
    values = [cs(0x00090000 + number, b"v" * 62) for number in range(0x1000, 0x1000 + 3000)]

    found = scan(MemoryOctets(b"".join(values)), 0, LE)

    assert len(b"".join(values)) > 3 * WINDOW
    assert [element.tag & 0xFFFF for element in found.elements] == list(range(0x1000, 0x1000 + 3000))


def test_two_gigabytes_of_pixels_are_not_read_for_the_header(tmp_path: Path) -> None:
    path = tmp_path / "loop.dcm"
    length = (2 << 30) - 2
    with path.open("wb") as file:
        file.write(cs(0x00080060) + struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, length))
        file.truncate(file.tell() + length)
        file.seek(0, os.SEEK_END)
        file.write(struct.pack("<HH2sHL", 0xFFFC, 0xFFFC, b"OB", 0, 2) + bytes(2))
    octets = FileOctets(path)

    header = read_header(octets, 0, EXPLICIT_LE)
    digest = can1(header)

    assert header.index[0x7FE00010].length == length
    assert digest == can1(read_header(MemoryOctets(cs(0x00080060)), 0, EXPLICIT_LE))
    assert octets.bytes_read < 4 * WINDOW
    octets.close()


def test_many_fragments_in_a_file_are_hopped_over(tmp_path: Path) -> None:
    path = tmp_path / "frames.dcm"
    frame = 1 << 20
    with path.open("wb") as file:
        file.write(struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF))
        for _ in range(200):
            file.write(struct.pack("<HHL", 0xFFFE, 0xE000, frame))
            file.seek(frame, os.SEEK_CUR)
        file.write(SEQUENCE_END)
    octets = FileOctets(path)

    found = scan(octets, 0, LE)

    assert found.elements[0].end == octets.size
    assert octets.bytes_read < 2 * WINDOW
    octets.close()
