"""Whatever bytes arrive: an answer or a typed refusal, in bounded reads."""

import io
import struct
from pathlib import Path

import pydicom
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from imaging.errors import MalformedDataset, Refused
from imaging.instance import describe
from imaging.octets import CHUNK, MemoryOctets
from imaging.part10 import encode_meta, split_part10
from imaging.syntaxes import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

SYNTAXES = (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED, "1.2.840.10008.1.2.4.50")
LARGEST_READ = 4 << 20
DAMAGE = (b"\0", b"\xff", b"\xff\xff\xff\xff", b"SQ", b"UN", b"\x08\0", b"\xfe\xff\x0d\xe0")


def sample(name: str) -> bytes:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    content = Path(path).read_bytes()
    dataset = pydicom.dcmread(io.BytesIO(content))
    if "PixelData" in dataset and not dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.Rows = dataset.Columns = 4
        dataset.PixelData = bytes(32)
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        content = buffer.getvalue()
    return content


SAMPLES = [sample(name) for name in ("CT_small.dcm", "reportsi.dcm", "MR_small_bigendian.dcm", "SC_rgb_rle.dcm")]


class WatchedOctets(MemoryOctets):
    """Fails the test when more is asked for in one read than a file could give cheaply."""

    def read(self, start: int, length: int) -> memoryview:
        assert start >= 0
        assert 0 <= length <= LARGEST_READ
        return super().read(start, length)


def survives(content: bytes, offset: int, syntax: str) -> None:
    try:
        facts = describe(WatchedOctets(content), offset, syntax, bytes(32))
    except Refused:
        return
    assert len(facts.can1) == len(facts.sto1) == 32


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=400), st.sampled_from(SYNTAXES))
@example(b"", EXPLICIT_LE)
@example(b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 40, IMPLICIT_LE)
@example(struct.pack("<HH2sHL", 8, 0x1115, b"SQ", 0, 0xFFFFFFFF), EXPLICIT_LE)
@example(struct.pack("<HHL", 0x7FE0, 0x0010, 0xFFFFFFFF), IMPLICIT_LE)
def test_random_bytes_are_answered_or_refused(dataset: bytes, syntax: str) -> None:
    meta = encode_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", syntax)

    survives(meta + dataset, len(meta), syntax)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(SAMPLES),
    st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from([b"\0", b"\xff", b"\xff\xff\xff\xff", b"SQ", b"UN", b"\x08\0"]))
    ),
    st.floats(0, 1),
)
def test_damaged_files_are_answered_or_refused(content: bytes, damage: list[tuple[float, bytes]], cut: float) -> None:
    envelope = split_part10(MemoryOctets(content))
    start = envelope.dataset_offset
    dataset = bytearray(content[start:])
    for where, what in damage:
        at = int(where * max(0, len(dataset) - len(what)))
        dataset[at : at + len(what)] = what
    if cut < 0.3:
        del dataset[int(cut / 0.3 * len(dataset)) :]

    survives(content[:start] + dataset, start, envelope.transfer_syntax)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_are_split_as_a_file_or_refused(content: bytes) -> None:
    for candidate in (content, bytes(128) + b"DICM" + content):
        try:
            envelope = split_part10(MemoryOctets(candidate))
        except MalformedDataset:
            continue
        assert 132 <= envelope.dataset_offset <= len(candidate)


def test_an_object_of_many_large_values_is_read_in_small_steps() -> None:
    value = struct.pack("<HH2sHL", 0x0042, 0x0011, b"OB", 0, 3 * CHUNK) + bytes(3 * CHUNK)
    text = struct.pack("<HH2sHL", 0x0008, 0x0119, b"UC", 0, 6 * CHUNK) + b"a" * (6 * CHUNK)
    meta = encode_meta("1.2.3", "1.2.3", EXPLICIT_LE)

    survives(meta + text + value, len(meta), EXPLICIT_LE)
