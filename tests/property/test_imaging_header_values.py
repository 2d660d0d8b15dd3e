"""CAN1 says the same about the same values and never the same about different ones."""

import io
import struct

import pydicom
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from imaging.canonical import can1
from imaging.header import read_header
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)

text = st.text("ABC xyz0123456789^", max_size=12).map(str.strip)
names = st.text("ABCäöüß ", min_size=1, max_size=12).map(str.strip)
VALUES: dict[str, st.SearchStrategy[object]] = {
    "StudyDescription": text,
    "PatientName": names,
    "PatientComments": text,
    "Rows": st.integers(0, 65535),
    "PixelRepresentation": st.integers(0, 1),
    "SliceThickness": st.integers(-999, 999).map(str),
    "CTDIvol": st.floats(allow_nan=False),
    "FrameIncrementPointer": st.just(0x00181063),
    "SimpleFrameList": st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4),
    "SOPInstanceUID": st.from_regex(r"1\.2(\.[1-9][0-9]{0,5}){1,4}", fullmatch=True),
}
flat = st.fixed_dictionaries({}, optional=VALUES)
trees = st.recursive(flat, lambda inner: st.tuples(flat, st.lists(inner, min_size=1, max_size=3)), max_leaves=6)


def built(tree: object) -> Dataset:
    values, items = tree if isinstance(tree, tuple) else (tree, [])
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    if items:
        dataset.ReferencedSeriesSequence = Sequence([built(item) for item in items])
    return dataset


def written(dataset: Dataset, syntax: str) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = "1.2"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    buffer = io.BytesIO()
    pydicom.dcmwrite(
        buffer,
        dataset,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return buffer.getvalue()


def digest(content: bytes) -> bytes:
    octets = MemoryOctets(content)
    envelope = split_part10(octets)
    return can1(read_header(octets, envelope.dataset_offset, envelope.transfer_syntax))


def with_undefined_lengths(dataset: Dataset) -> Dataset:
    for element in dataset.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
    return dataset


def charset(tree: object, term: str) -> Dataset:
    dataset = built(tree)
    dataset.SpecificCharacterSet = term
    return dataset


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(trees)
def test_equal_values_give_equal_digests_in_every_encoding(tree: object) -> None:
    seen = {
        digest(written(charset(tree, term), syntax)) for syntax in SYNTAXES for term in ("ISO_IR 100", "ISO_IR 192")
    }
    seen |= {digest(written(with_undefined_lengths(charset(tree, "ISO_IR 100")), syntax)) for syntax in SYNTAXES[:3]}

    assert len(seen) == 1


@settings(deadline=None, max_examples=120)
@given(trees, st.data())
def test_a_changed_added_or_removed_value_changes_the_digest(tree: object, data: st.DataObject) -> None:
    before = charset(tree, "ISO_IR 192")
    after = charset(tree, "ISO_IR 192")
    levels = [after, *(item for element in after.iterall() if element.VR == "SQ" for item in element.value)]
    target = data.draw(st.sampled_from(range(len(levels))))
    keyword = data.draw(st.sampled_from(sorted(VALUES)))
    level = levels[target]
    if keyword in level and data.draw(st.booleans()):
        del level[keyword]
    else:
        old = _bits(level[keyword].value) if keyword in level else None
        setattr(level, keyword, data.draw(VALUES[keyword]))
        # Asked of what pydicom made of it: a list of one value is that value.
        assume(_bits(level[keyword].value) != old)

    assert digest(written(before, ExplicitVRLittleEndian)) != digest(written(after, ExplicitVRLittleEndian))


def _bits(value: object) -> object:
    """What tells two values apart; to Python 0.0 and -0.0 are equal."""
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, int):
        return value
    if isinstance(value, list | pydicom.multival.MultiValue):
        return [int(one) for one in value]
    return str(value).rstrip("^ ")
