"""`describe` says what an instance is or why it cannot be taken; `compare` says where two differ."""

import io

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from imaging.compare import Change, compare
from imaging.digests import raw1, sto1
from imaging.errors import MalformedDataset, Mismatch, MissingIdentity, Refused
from imaging.facts import InstanceFacts
from imaging.instance import describe
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10


def dataset() -> pydicom.Dataset:
    return pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))


def written(source: pydicom.Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    source.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, source, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return buffer.getvalue()


def facts(content: bytes, sop_class: str | None = None, sop_uid: str | None = None) -> InstanceFacts:
    octets = MemoryOctets(content)
    envelope = split_part10(octets)
    digest = raw1(octets, envelope.dataset_offset, envelope.transfer_syntax)
    return describe(
        octets, envelope.dataset_offset, envelope.transfer_syntax, digest, sop_class=sop_class, sop_uid=sop_uid
    )


def test_facts_hold_identity_sizes_and_digests() -> None:
    source = dataset()
    content = written(source)

    found = facts(content, source.SOPClassUID, source.SOPInstanceUID)

    assert (found.study_uid, found.series_uid) == (source.StudyInstanceUID, source.SeriesInstanceUID)
    assert (found.sop_uid, found.sop_class) == (source.SOPInstanceUID, source.SOPClassUID)
    assert found.transfer_syntax == ExplicitVRLittleEndian
    assert found.sto_size == len(content)
    assert found.raw_size == len(content) - split_part10(MemoryOctets(content)).dataset_offset
    assert found.sto1 == sto1(MemoryOctets(content))
    assert found.flags == ()


def test_another_encoding_changes_raw1_and_sto1_but_neither_pixels_nor_header() -> None:
    explicit, implicit = facts(written(dataset())), facts(written(dataset(), ImplicitVRLittleEndian))

    assert (explicit.pd1, explicit.can1) == (implicit.pd1, implicit.can1)
    assert explicit.raw1 != implicit.raw1
    assert explicit.sto1 != implicit.sto1


def test_an_instance_without_pixels_has_no_pd1() -> None:
    source = dataset()
    del source.PixelData

    assert facts(written(source)).pd1 is None


def test_a_dataset_that_contradicts_its_command_is_refused() -> None:
    source = dataset()
    content = written(source)

    with pytest.raises(Mismatch) as refusal:
        facts(content, sop_uid="1.2.3.4")

    assert "1.2.3.4" not in str(refusal.value)
    assert source.SOPInstanceUID not in str(refusal.value)
    with pytest.raises(Mismatch):
        facts(content, sop_class="1.2.3.4")


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize("value", [None, "", "../../etc/passwd", "1" * 65, "1.2.3 4", "9" * 65000])
@pytest.mark.filterwarnings("ignore")
def test_an_instance_that_cannot_be_named_is_refused(keyword: str, value: str | None) -> None:
    source = dataset()
    if value is None:
        delattr(source, keyword)
    else:
        setattr(source, keyword, value)

    with pytest.raises(MissingIdentity) as refusal:
        facts(written(source))

    assert refusal.value.keyword == keyword
    assert len(str(refusal.value)) < 100


def test_an_identity_given_twice_is_refused() -> None:
    content = written(dataset())
    twice = b"\x20\0\x0d\0UI\x04\x001.2\0"

    with pytest.raises(MissingIdentity, match="repeated"):
        facts(content + twice)


def test_a_cut_instance_is_refused() -> None:
    content = written(dataset())

    with pytest.raises(MalformedDataset):
        facts(content[:1500])
    with pytest.raises(Refused):
        facts(content[: split_part10(MemoryOctets(content)).dataset_offset])


def test_two_encodings_of_an_instance_do_not_differ() -> None:
    left, right = written(dataset()), written(dataset(), ImplicitVRLittleEndian)

    assert compare(MemoryOctets(left), MemoryOctets(right)) == ()


def test_differences_name_place_and_kind_and_no_value() -> None:
    left, right = dataset(), dataset()
    right.PatientID = "OTHER"
    del right.PatientName
    right.StudyComments = "new"
    right.OtherPatientIDsSequence[1].PatientID = "X9"
    right.PixelData = bytes(len(left.PixelData))

    found = compare(MemoryOctets(written(left)), MemoryOctets(written(right)))

    assert [(one.path, one.change) for one in found] == [
        ((0x00100010,), Change.REMOVED),
        ((0x00100020,), Change.CHANGED),
        ((0x00101002, 1, 0x00100020), Change.CHANGED),
        ((0x00324000,), Change.ADDED),
        ((0x7FE00010,), Change.CHANGED),
    ]
    assert all(one.left is None and one.right is None for one in found)


def test_a_missing_item_is_one_difference() -> None:
    left, right = dataset(), dataset()
    del right.OtherPatientIDsSequence[1]

    found = compare(MemoryOctets(written(left)), MemoryOctets(written(right)))

    assert [(one.path, one.change) for one in found] == [((0x00101002,), Change.REMOVED)]


class Everything:
    """A policy that shows all there is."""

    def show(self, tag: int, content: bytes) -> str | None:
        return content.decode("utf-8", "replace")


def test_values_are_shown_only_to_who_asks() -> None:
    left, right = dataset(), dataset()
    right.PatientID = "OTHER"

    (found,) = compare(MemoryOctets(written(left)), MemoryOctets(written(right)), values=Everything())

    assert (found.left, found.right) == (left.PatientID, "OTHER")
