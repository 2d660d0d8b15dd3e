"""A splice changes what it is told to and nothing else, in every file that pydicom ships, in every encoding."""

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import data_store
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_files
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from imaging.elements import Element, Encoding
from imaging.errors import MalformedDataset, Unspliceable
from imaging.flags import Flag
from imaging.header import Header, read_header
from imaging.octets import JoinedOctets, MemoryOctets, Octets, Span, chunks
from imaging.part10 import Part10, split_part10
from imaging.pixels import digest_pixels
from imaging.splice import Edit, splice
from storage.spool import FileOctets

pytestmark = pytest.mark.filterwarnings("ignore")

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
LENGTH_TO_END = 0x00080001
ODD_DICOM = {"SC_rgb_jpeg.dcm", "nested_priv_SQ.dcm"}  # pydicom's own comparison of what it read twice fails

EDITS = (
    Edit(tag=0x00080050, vr="SH", value=b"ACC-4711"),
    Edit(tag=0x00080080, vr="LO", value=b"Another hospital"),
    Edit(tag=0x00081030, vr="LO", value=None),
    Edit(tag=0x00100010, vr="PN", value=b"Doe^Jane^Q"),
    Edit(tag=0x00100020, vr="LO", value=b"0000815"),
    Edit(tag=0x00102160, vr="SH", value=b""),
    Edit(tag=0x00204000, vr="LT", value=b"odd"),
)


def corpus() -> dict[str, Path]:
    """Every Part-10 file of pydicom and pydicom-data that can be split into elements."""
    roots = [Path(name) for name in get_testdata_files()]
    roots += [path for path in Path(data_store.__file__).parent.rglob("*") if path.is_file()]
    found: dict[str, Path] = {}
    for path in filter(Path.is_file, roots):
        try:
            opened(MemoryOctets(path.read_bytes()))
        except MalformedDataset:
            continue
        found[path.name] = path
    return dict(sorted(found.items()))


def opened(octets: Octets) -> tuple[Part10, Header]:
    envelope = split_part10(octets)
    return envelope, read_header(octets, envelope.dataset_offset, envelope.transfer_syntax)


def spliced(content: bytes, edits: Sequence[Edit]) -> bytes:
    octets = MemoryOctets(content)
    envelope, header = opened(octets)
    joined = splice(octets, envelope.dataset_offset, header, edits)
    whole = b"".join(chunks(joined, 0, joined.size))
    assert len(whole) == joined.size
    return whole


def octets_of(header: Header, element: Element) -> bytes:
    return b"".join(chunks(header.octets, element.start, element.end))


def counters(header: Header) -> set[int]:
    return {tag for tag in header.index if not tag & 0xFFFF} | {LENGTH_TO_END}


CORPUS = corpus()


@pytest.mark.parametrize("name", CORPUS)
def test_only_the_named_elements_differ_and_every_other_byte_is_the_same(name: str) -> None:
    content = CORPUS[name].read_bytes()

    after = spliced(content, EDITS)

    (envelope, old), (_, new) = opened(MemoryOctets(content)), opened(MemoryOctets(after))
    edited = {edit.tag: edit for edit in EDITS}
    for tag, edit in edited.items():
        assert (new.index[tag].tag if tag in new.index else None) == (None if edit.value is None else tag)
        if edit.value is not None:
            assert new.scan.walker.read(new.index[tag].value, len(edit.value)) == edit.value
            assert not new.index[tag].length & 1
    kept = edited.keys() | counters(old)
    assert [octets_of(old, one) for one in old.scan.elements if one.tag not in kept] == [
        octets_of(new, one) for one in new.scan.elements if one.tag not in kept
    ]
    assert after[: envelope.dataset_offset] == content[: envelope.dataset_offset]
    assert (Flag.OUT_OF_ORDER in new.scan.flags) == (Flag.OUT_OF_ORDER in old.scan.flags)
    pixels, theirs = digest_pixels(old), digest_pixels(new)
    assert (pixels and pixels.pd1) == (theirs and theirs.pd1)


@pytest.mark.parametrize("name", CORPUS)
def test_group_lengths_that_were_right_stay_right(name: str) -> None:
    content = CORPUS[name].read_bytes()

    after = spliced(content, EDITS)

    right_before, right_after = right_counts(content), right_counts(after)
    assert {tag for tag in right_before if tag in right_after} == right_after.keys() & right_before.keys()
    for tag, right in right_before.items():
        assert right_after.get(tag, True) or not right


def right_counts(content: bytes) -> dict[int, bool]:
    """Each group length of the dataset, and whether it counts the bytes of its group."""
    _, header = opened(MemoryOctets(content))
    found: dict[int, bool] = {}
    for element in header.scan.elements:
        if not element.tag & 0xFFFF and element.length == 4:
            group = [one for one in header.scan.elements if one.tag >> 16 == element.tag >> 16 and one.tag & 0xFFFF]
            order = "big" if header.big_endian else "little"
            told = int.from_bytes(header.scan.walker.read(element.value, 4), order)
            found[element.tag] = told == sum(one.end - one.start for one in group)
    return found


@pytest.mark.parametrize("name", [name for name in CORPUS if name not in ODD_DICOM])
def test_pydicom_reads_the_spliced_file_as_if_it_had_made_the_edits_itself(name: str) -> None:
    content = CORPUS[name].read_bytes()
    expected = pydicom.dcmread(io.BytesIO(content))
    for edit in EDITS:
        if edit.value is None:
            expected.pop(edit.tag, None)
        else:
            expected.add_new(edit.tag, edit.vr, edit.value.decode("ascii"))

    found = pydicom.dcmread(io.BytesIO(spliced(content, EDITS)))

    for dataset in (expected, found):
        for tag in [tag for tag in dataset if not tag.tag.element or tag.tag == LENGTH_TO_END]:
            del dataset[tag.tag]
    assert list(found.keys()) == sorted(expected.keys()) or list(found.keys()) != sorted(found.keys())
    for tag in expected.keys():  # noqa: SIM118  (a Dataset iterates over elements)
        assert same(found.get_item(tag), expected.get_item(tag), found, expected), tag


def same(ours, theirs, found: Dataset, expected: Dataset) -> bool:
    if ours is None:
        return False
    if isinstance(ours, DataElement) or isinstance(theirs, DataElement):
        tag = theirs.tag
        return str(found[tag].value) == str(expected[tag].value)
    return (ours.VR, ours.value) == (theirs.VR, theirs.value)


texts = st.text("ABC xyz019", max_size=16).map(str.strip)
edits = st.dictionaries(
    st.sampled_from([0x00080050, 0x00080080, 0x00081030, 0x00100010, 0x00100020, 0x00204000, 0x00321060, 0x4008010A]),
    st.none() | texts,
    max_size=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    syntax=st.sampled_from(SYNTAXES),
    held=edits,
    wanted=edits,
    counted=st.booleans(),
    pixels=st.binary(min_size=0, max_size=64).filter(lambda value: not len(value) & 1),
)
def test_any_edits_of_any_dataset_give_what_writing_it_anew_would_hold(
    syntax: str, held: dict[int, str | None], wanted: dict[int, str | None], counted: bool, pixels: bytes
) -> None:
    content = written({tag: text for tag, text in held.items() if text is not None}, syntax, pixels)
    if counted and syntax == ExplicitVRLittleEndian:
        content = with_group_length(content)
    changes = [
        Edit(tag=tag, vr=dictionary_VR(tag), value=None if text is None else text.encode("ascii"))
        for tag, text in wanted.items()
    ]

    after = spliced(content, changes)

    found = pydicom.dcmread(io.BytesIO(after))
    expected = {tag: text for tag, text in {**held, **wanted}.items() if text is not None}
    assert {tag: str(found[tag].value) for tag in expected} == {tag: str(text) for tag, text in expected.items()}
    assert not {tag for tag, text in wanted.items() if text is None} & set(found.keys())
    assert (found.PixelData or b"") == pixels
    assert not len(after) & 1
    assert all(right_counts(after).values())


def written(values: dict[int, str], syntax: str, pixels: bytes) -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2", "1.2.3"
    for tag, text in values.items():
        dataset.add_new(tag, dictionary_VR(tag), text)
    dataset.add_new(0x7FE00010, "OB", pixels)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(
        buffer,
        dataset,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return buffer.getvalue()


def with_group_length(content: bytes) -> bytes:
    """The explicit little endian file with a group length before group 0008."""
    envelope, header = opened(MemoryOctets(content))
    size = sum(one.end - one.start for one in header.scan.elements if one.tag >> 16 == 0x0008)
    start = envelope.dataset_offset
    return content[:start] + struct.pack("<HH2sHL", 8, 0, b"UL", 4, size) + content[start:]


def test_a_group_that_is_emptied_loses_its_count() -> None:
    content = with_group_length(written({}, ExplicitVRLittleEndian, b""))

    after = spliced(content, [Edit(tag=tag, vr="UI", value=None) for tag in (0x00080016, 0x00080018)])

    _, header = opened(MemoryOctets(after))
    assert [element.tag for element in header.scan.elements] == [0x7FE00010]


def test_an_element_that_is_there_twice_is_not_edited() -> None:
    content = written({0x00100020: "1"}, ExplicitVRLittleEndian, b"")
    twice = content.replace(b"\x10\x00\x20\x00LO\x02\x001 ", b"\x10\x00\x20\x00LO\x02\x001 " * 2)

    with pytest.raises(Unspliceable):
        spliced(twice, [Edit(tag=0x00100020, vr="LO", value=b"2")])


@pytest.mark.parametrize("tag", [0x00020010, 0x00080000, LENGTH_TO_END, 0x7FE00010, 0xFFFEE000])
def test_what_says_how_a_file_is_written_and_pixels_cannot_be_edited(tag: int) -> None:
    with pytest.raises(ValueError, match="cannot be edited"):
        spliced(written({}, ExplicitVRLittleEndian, b""), [Edit(tag=tag, vr="UL", value=b"1234")])


def test_two_edits_of_one_element_are_refused() -> None:
    edit = Edit(tag=0x00100020, vr="LO", value=b"1")

    with pytest.raises(ValueError, match="two edits"):
        spliced(written({}, ExplicitVRLittleEndian, b""), [edit, edit])


def test_a_splice_copies_no_pixels() -> None:
    content = written({0x00100020: "1"}, ExplicitVRLittleEndian, bytes(1 << 20))
    octets = MemoryOctets(content)
    envelope, header = opened(octets)

    joined = splice(octets, envelope.dataset_offset, header, EDITS)

    assert joined.spans[-1].octets is octets
    assert joined.spans[-1].stop - joined.spans[-1].start >= 1 << 20
    assert bytes(joined.read(joined.size - 4, 100)) == bytes(4)
    assert header.scan.encoding is Encoding.EXPLICIT_LE


def test_a_file_in_the_spool_is_spliced_as_one_in_memory(tmp_path: Path) -> None:
    content = written({0x00100020: "1", 0x00204000: "x" * 9000}, ExplicitVRLittleEndian, bytes(range(256)) * 8000)
    path = tmp_path / "spooled"
    path.write_bytes(content)

    with path.open("rb") as file:
        octets = FileOctets(file.fileno(), len(content))
        envelope, header = opened(octets)
        joined = splice(octets, envelope.dataset_offset, header, EDITS)
        found = b"".join(chunks(joined, 0, joined.size))

    assert found == spliced(content, EDITS)


@given(
    pieces=st.lists(st.tuples(st.binary(max_size=9), st.integers(0, 9), st.integers(0, 9)), max_size=5),
    start=st.integers(0, 50),
    length=st.integers(0, 50),
)
def test_joined_octets_read_like_the_bytes_they_are_made_of(
    pieces: list[tuple[bytes, int, int]], start: int, length: int
) -> None:
    spans = [(content, min(a, b, len(content)), min(max(a, b), len(content))) for content, a, b in pieces]
    whole = b"".join(content[a:b] for content, a, b in spans)

    joined = JoinedOctets([Span(MemoryOctets(content), a, b) for content, a, b in spans])

    assert joined.size == len(whole)
    assert bytes(joined.read(start, length)) == whole[start : start + length]
    stop = min(start + length, len(whole))
    assert b"".join(chunks(joined, start, stop)) == whole[start:stop]
