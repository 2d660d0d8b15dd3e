"""A series is learnt from two slices, and only what is exactly alike is taken for known."""

import io
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file

from imaging import likeness
from imaging.header import read_header
from imaging.likeness import KEPT, Likenesses
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10

ROOT = "1.2.840.113619.2"


def place(number: int, series: int = 1, **values: Any) -> tuple[MemoryOctets, int, str]:
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    dataset.SeriesInstanceUID = f"{ROOT}.{series}"
    dataset.SOPInstanceUID = f"{ROOT}.{series}.{number}"
    dataset.InstanceNumber = str(number)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    octets = MemoryOctets(buffer.getvalue())
    envelope = split_part10(octets)
    return octets, envelope.dataset_offset, envelope.transfer_syntax


@pytest.fixture
def walked(monkeypatch) -> list[int]:
    """One entry for each dataset that was walked from its first element."""
    walks: list[int] = []

    def counting(octets, dataset_offset, transfer_syntax):
        walks.append(octets.size)
        return read_header(octets, dataset_offset, transfer_syntax)

    monkeypatch.setattr(likeness, "read_header", counting)
    return walks


def test_the_third_slice_of_a_series_is_known(walked) -> None:
    likenesses = Likenesses()

    for number in (1, 2, 3, 4, 100):
        likenesses.read(*place(number)).can1()

    assert len(walked) == 2


def test_the_second_slice_of_the_next_series_is_known(walked) -> None:
    likenesses = Likenesses()
    for number in (1, 2):
        likenesses.read(*place(number)).can1()

    for number in (1, 2, 3):
        likenesses.read(*place(number, series=2)).can1()

    assert len(walked) == 3


def test_series_that_come_in_turns_are_all_known(walked) -> None:
    likenesses = Likenesses()

    for number in range(4):
        for series in range(KEPT):
            likenesses.read(*place(number, series)).can1()

    assert len(walked) == 2 * KEPT


def test_a_likeness_that_became_loose_is_learnt_afresh(walked) -> None:
    likenesses = Likenesses()
    header = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    texts = [element.keyword for element in header if element.VR in ("SH", "LO", "DS", "CS", "IS", "TM")]
    for number, keyword in enumerate(text for text in texts if text and text != "SpecificCharacterSet"):
        likenesses.read(*place(number, 1, **{keyword: str(number % 10)})).can1()
    walked.clear()

    for number in (1, 2, 3, 4):
        likenesses.read(*place(number)).can1()

    assert len(walked) < 4


def test_a_series_in_another_character_set_is_another_likeness(walked) -> None:
    likenesses = Likenesses()
    for number in (1, 2):
        likenesses.read(*place(number, SpecificCharacterSet="ISO_IR 100")).can1()

    likenesses.read(*place(3, SpecificCharacterSet="ISO_IR 192")).can1()

    assert len(walked) == 3


def test_a_flagged_header_is_not_learnt(walked) -> None:
    likenesses = Likenesses()

    for number in (1, 2, 3):
        likenesses.read(*place(number, SpecificCharacterSet="ISO_IR 6", PatientComments="M\u00fcller")).can1()

    assert len(walked) == 3
