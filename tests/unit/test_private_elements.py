"""Private elements: found by creator, group and low byte, named by whoever documents them, shown masked."""

import io
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from imaging.header import Header, read_header
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10
from imaging.private.dictionary import PYDICOM, Role, _own, meaning_of, vendor_of
from imaging.private.sighting import Sighting, masked, sightings, suspects

pytestmark = pytest.mark.filterwarnings("ignore")


def opened(content: bytes) -> Header:
    octets = MemoryOctets(content)
    envelope = split_part10(octets)
    return read_header(octets, envelope.dataset_offset, envelope.transfer_syntax)


def seen(made: Dataset) -> list[Sighting]:
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return list(sightings(opened(buffer.getvalue())))


def with_block(creator: str, group: int, **low: Any) -> Dataset:
    made = Dataset()
    block = made.private_block(group, creator, create=True)
    for name, (vr, value) in low.items():
        block.add_new(int(name[1:], 16), vr, value)
    return made


def test_the_block_a_file_gives_does_not_count() -> None:
    moved = Dataset()
    moved.add_new(0x700500A7, "LO", "TOSHIBA_MEC_CT3")
    moved.add_new(0x7005A740, "FD", 612.3)

    assert seen(moved) == seen(with_block("TOSHIBA_MEC_CT3", 0x7005, x40=("FD", 612.3)))


def test_items_have_creators_of_their_own() -> None:
    made = with_block("OUTER", 0x0011, x10=("LO", "abc"))
    made.ReferencedImageSequence = [with_block("INNER", 0x0011, x10=("LO", "abc"))]

    assert [(one.creator, one.nested) for one in seen(made)] == [("INNER", True), ("OUTER", False)]


def test_an_element_without_its_creator_is_nobodys() -> None:
    made = Dataset()
    made.add_new(0x00111010, "LO", "abc")

    assert [one.creator for one in seen(made)] == [""]


@pytest.mark.parametrize(
    ("triple", "role", "name"),
    [
        (("TOSHIBA_MEC_CT3", 0x7005, 0x63), Role.DOSE, "CTDIvol, mGy"),
        (("ELSCINT1", 0x00E1, 0x21), Role.DOSE, "DLP, mGy.cm"),
        (("SIEMENS MED DISPLAY", 0x0029, 0x99), Role.SHUTTER, "type of shutter"),
        (("SIEMENS MEDCOM HEADER", 0x0029, 0x70), Role.LINK, "links to other objects"),
        (("GEIIS", 0x0907, 0x30), Role.IDENTITY, "original SOP Instance UID"),
        (("GEHC_CT_ADVAPP_001", 0x0053, 0x41), Role.RECONSTRUCTION, "IterativeReconMode"),
        (("GEMS_DL_STUDY_01", 0x0015, 0x80), Role.DOSE, "Study Dose"),
    ],
)
def test_what_would_be_lost_is_recognised(triple: tuple[str, int, int], role: Role, name: str) -> None:
    found = meaning_of(*triple)

    assert (found.role, found.name) == (role, name)
    assert found.source


def test_nobody_knows_what_is_in_no_dictionary() -> None:
    assert not meaning_of("NOBODY", 0x0011, 0x10).known
    # pydicom lists the element and says "Unknown": that is not knowing.
    assert not meaning_of("GEIIS", 0x0009, 0x12).known


def test_a_role_told_by_a_name_alone_is_marked() -> None:
    assert meaning_of("GEMS_DL_STUDY_01", 0x0015, 0x80).inferred
    assert not meaning_of("TOSHIBA_MEC_CT3", 0x7005, 0x63).inferred


@pytest.mark.parametrize(
    ("creator", "vendor"), [("SPI-P Release 1", "Philips"), ("SPI RELEASE 1", "Siemens"), ("NOBODY", "")]
)
def test_vendors_are_told_by_the_longest_prefix(creator: str, vendor: str) -> None:
    assert vendor_of(creator) == vendor


def test_every_entry_of_ours_names_who_documents_it() -> None:
    own = _own()

    assert len(own.elements) > 60
    assert all(one.source and one.name and one.vr and one.role for one in own.elements.values())
    assert all(source for _, source in own.creators.values())


@pytest.mark.parametrize(
    ("raw", "vr", "shape"),
    [
        (b"Doe^Jane ", "PN", "Aaa^Aaaa"),
        (b"MRN-0042", "LO", "AAA-9999"),
        (b"\x00\x00\x80?", "FL", "FL, 4 bytes"),
        (b"\x01\x02\x03\xff", "OB", "4 bytes"),
        (b"M\xfcller", "LO", "Aaaaaa"),
        (b"free text of a radiologist, long", "UT", "aaaa aaaa aa a aaaaaaaa…"),
        (b"", "LO", ""),
    ],
)
def test_examples_show_the_shape_and_never_the_value(raw: bytes, vr: str, shape: str) -> None:
    assert masked(raw, vr, len(raw)) == shape


def test_text_that_may_name_a_patient_is_suspect() -> None:
    assert suspects(b"Doe^Jane", "UN")
    assert suspects(b"Doe^Jane", "LO")
    assert not suspects(b"12", "LO")
    assert not suspects(b"ORIGINAL", "CS")
    assert not suspects(b"\x01\x02abc\x00", "UN")


def test_a_real_header_of_a_scanner_is_told_by_creator() -> None:
    name = get_testdata_file("CT_small.dcm")
    assert name is not None
    with open(name, "rb") as file:  # noqa: PTH123
        found = list(sightings(opened(file.read())))

    assert len(found) > 150
    assert {one.creator for one in found} >= {"GEMS_ACQU_01", "GEMS_PARM_01"}
    assert {vendor_of(one.creator) for one in found} == {"GE"}
    assert any(one.meaning.source == PYDICOM for one in found)
