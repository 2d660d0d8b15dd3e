"""PD1 is taken over from the file an instance was spliced from only where it cannot differ."""

import io

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from imaging.header import Header, read_header
from imaging.octets import JoinedOctets, MemoryOctets, Span
from imaging.part10 import split_part10
from imaging.pixels import digest_pixels, same_pixels
from imaging.splice import Edit, splice

ACCESSION, ROWS, PHOTOMETRIC = 0x00080050, 0x00280010, 0x00280004
TEXT = Edit(tag=ACCESSION, vr="SH", value=b"LONGER THAN IT WAS")


def original(name: str = "CT_small.dcm", syntax: str | None = None) -> tuple[MemoryOctets, int, Header]:
    dataset = pydicom.dcmread(str(get_testdata_file(name)))
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    octets = MemoryOctets(buffer.getvalue())
    envelope = split_part10(octets)
    return octets, envelope.dataset_offset, read_header(octets, envelope.dataset_offset, envelope.transfer_syntax)


def edited(octets: MemoryOctets, start: int, header: Header, *edits: Edit) -> Header:
    return read_header(splice(octets, start, header, edits), start, header.transfer_syntax)


@pytest.mark.parametrize(
    ("name", "syntax"),
    [("CT_small.dcm", ExplicitVRLittleEndian), ("CT_small.dcm", ImplicitVRLittleEndian), ("JPEG2000.dcm", None)],
)
def test_pixels_behind_an_edit_are_the_same(name, syntax) -> None:
    octets, start, header = original(name, syntax)

    after = edited(octets, start, header, TEXT)

    assert same_pixels(after, header)
    assert digest_pixels(after) == digest_pixels(header)


def test_the_same_bytes_read_as_fewer_rows_are_other_pixels() -> None:
    octets, start, header = original()

    after = edited(octets, start, header, TEXT, Edit(tag=ROWS, vr="US", value=(64).to_bytes(2, "little")))

    assert not same_pixels(after, header)


def test_equal_bytes_of_another_file_are_not_taken_for_the_same() -> None:
    octets, start, header = original()
    _, _, another = original()

    assert not same_pixels(edited(octets, start, header, TEXT), another)


def test_pixels_that_were_moved_are_not_taken_for_the_same() -> None:
    octets, start, header = original()
    element = header.index[0x7FE00010]
    middle = element.value + element.length // 2
    turned = JoinedOctets(
        [Span(octets, 0, element.value), Span(octets, middle, element.end), Span(octets, element.value, middle)]
    )

    assert not same_pixels(read_header(turned, start, header.transfer_syntax), header)
