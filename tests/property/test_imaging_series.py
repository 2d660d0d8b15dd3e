"""A dataset read by its likeness is the dataset read by itself, whatever was learnt and whatever was done to it."""

import io
from collections.abc import Iterator
from functools import cache

import pydicom
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from imaging.canonical import can1
from imaging.errors import Refused
from imaging.header import read_header
from imaging.instance import describe
from imaging.likeness import Likenesses
from imaging.octets import MemoryOctets, Octets
from imaging.part10 import split_part10

SERIES = "1.2.840.113619.2.5"


def slice_of(series: str, number: int) -> Dataset:
    """One of a series as scanners write it: private blocks, sequences and a trailing pad included."""
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    dataset.SeriesInstanceUID = series
    dataset.SOPInstanceUID = f"{series}.{number}"
    dataset.InstanceNumber = str(number)
    dataset.SliceLocation = f"{number * 1.25:.5g}"
    dataset.ReferencedImageSequence = Sequence([reference(number), reference(number + 1)])
    dataset.Rows = dataset.Columns = 8
    dataset.PixelData = bytes((number + n) % 256 for n in range(128))
    return dataset


def reference(number: int) -> Dataset:
    item = Dataset()
    item.ReferencedSOPInstanceUID = f"{SERIES}.{number}"
    return item


@cache
def written(series: str, number: int, change: str, syntax: str) -> bytes:
    dataset = changed(slice_of(series, number), change)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return buffer.getvalue()


def changed(dataset: Dataset, change: str) -> Dataset:
    """The dataset as another maker, patient or day would have it."""
    match change:
        case "charset":
            dataset.SpecificCharacterSet = "ISO_IR 192"
            dataset.PatientName = "Müller"
        case "undeclared":
            dataset.PatientComments = "Müller"
        case "longer":
            dataset.StudyDescription = "a description that is longer than it was"
        case "absent":
            del dataset.StudyDate
        case "creator":
            dataset[0x00090010].value = "ANOTHER MAKER"
        case "private":
            dataset[0x00431012].value = [9, 9, 9]
        case "undefined":
            for element in dataset.iterall():
                if element.VR == "SQ":
                    element.is_undefined_length = True
                    for item in element.value:
                        item.is_undefined_length_sequence_item = True
        case "without":
            del dataset.PixelData
        case "renamed":
            dataset[0x00080018] = DataElement(0x00080018, "UN", dataset.SOPInstanceUID.encode().ljust(64, b"\0"))
        case _:
            pass
    return dataset


CHANGES = (
    "",
    "",
    "",
    "charset",
    "undeclared",
    "longer",
    "absent",
    "creator",
    "private",
    "undefined",
    "without",
    "renamed",
)
slices = st.tuples(
    st.sampled_from((SERIES, SERIES + ".7")),
    st.sampled_from((1, 2, 10, 200)),
    st.sampled_from(CHANGES),
    st.sampled_from((ExplicitVRLittleEndian, ImplicitVRLittleEndian)),
)
damage = st.none() | st.tuples(st.integers(0, 2**16), st.integers(0, 255))


def files(plan: list[tuple[tuple[str, int, str, str], tuple[int, int] | None]]) -> Iterator[tuple[Octets, int, str]]:
    for (series, number, change, syntax), hit in plan:
        content = bytearray(written(series, number, change, syntax))
        envelope = split_part10(MemoryOctets(bytes(content)))
        if hit is not None:
            place, value = hit
            content[envelope.dataset_offset + place % (len(content) - envelope.dataset_offset)] = value
        yield MemoryOctets(bytes(content)), envelope.dataset_offset, envelope.transfer_syntax


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(slices, damage), min_size=3, max_size=8))
def test_what_was_learnt_changes_nothing_that_is_said(
    plan: list[tuple[tuple[str, int, str, str], tuple[int, int] | None]],
) -> None:
    likenesses = Likenesses()
    for place in files(plan):
        try:
            header = read_header(*place)
            digest = can1(header)
            facts = describe(*place, bytes(32))
        except Refused as refusal:
            _assert_refused_alike(place, likenesses, refusal)
            continue

        for _ in range(2):
            reading = likenesses.read(*place)
            scan = reading.header.scan
            assert list(scan.elements) == list(header.scan.elements)
            assert reading.header.index == header.index
            assert scan.encoding is header.scan.encoding
            assert reading.can1() == digest
            assert scan.walker.flags == header.scan.walker.flags
            assert describe(*place, bytes(32), likenesses=likenesses) == facts


def _assert_refused_alike(place: tuple[Octets, int, str], likenesses: Likenesses, refusal: Refused) -> None:
    try:
        describe(*place, bytes(32), likenesses=likenesses)
    except Refused as found:
        assert (type(found), str(found)) == (type(refusal), str(refusal))
    else:
        raise AssertionError("a refused dataset was taken")
