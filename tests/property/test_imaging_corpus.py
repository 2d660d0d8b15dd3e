"""What must hold for every DICOM file that pydicom ships, however pydicom or dcmtk writes it again."""

import io
import subprocess
import warnings
from pathlib import Path

import data_store
import pydicom
import pytest
from pydicom.data import get_testdata_files
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from imaging.canonical import can1
from imaging.compare import compare
from imaging.elements import UNDEFINED
from imaging.errors import MalformedDataset
from imaging.header import Header, read_header
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10
from imaging.pixels import digest_pixels

pytestmark = pytest.mark.filterwarnings("ignore")

LITTLE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
NATIVE = (*LITTLE, ExplicitVRBigEndian)
REFUSED = {
    "emri_small_jpeg_2k_lossless_too_short.dcm",  # ends inside its fragments; pydicom finds no pixels either
    "meta_missing_tsyntax.dcm",  # nothing says how to read it
    "rtplan_truncated.dcm",  # ends inside a sequence
}
NO_CAN1 = {"DICOMDIR-nooffset"}  # its record sequence is shorter than its records
DAMAGED = {"MR_truncated.dcm", "SC_rgb_jpeg.dcm"}  # pydicom or dcmtk cannot write these again


def corpus() -> list[Path]:
    """Every Part-10 file of pydicom and pydicom-data, each name once."""
    roots = [Path(name) for name in get_testdata_files()]
    roots += [path for path in Path(data_store.__file__).parent.rglob("*") if path.is_file()]
    found = {path.name: path for path in roots if path.is_file() and path.read_bytes()[128:132] == b"DICM"}
    return [found[name] for name in sorted(found)]


CORPUS = corpus()
READABLE = [path for path in CORPUS if path.name not in REFUSED | NO_CAN1 | DAMAGED]


def opened(content: bytes) -> Header:
    octets = MemoryOctets(content)
    envelope = split_part10(octets)
    return read_header(octets, envelope.dataset_offset, envelope.transfer_syntax)


def digests(content: bytes) -> tuple[bytes, bytes | None]:
    header = opened(content)
    pixels = digest_pixels(header)
    return can1(header), pixels.pd1 if pixels else None


def syntax_of(content: bytes) -> str:
    return split_part10(MemoryOctets(content)).transfer_syntax


def written(dataset: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset)
    return buffer.getvalue()


def named(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=[path.name for path in paths])


def test_the_corpus_is_really_there() -> None:
    names = {path.name for path in CORPUS}

    assert len(CORPUS) > 150
    assert names >= REFUSED | NO_CAN1 | DAMAGED


@named([path for path in CORPUS if path.name not in REFUSED])
def test_the_scanner_finds_every_element_where_pydicom_does(path: Path) -> None:
    content = path.read_bytes()

    header = opened(content)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = pydicom.dcmread(io.BytesIO(content))
    assert sorted(header.index) == sorted(expected.keys())
    for tag, element in header.index.items():
        theirs = expected.get_item(tag)
        if isinstance(theirs, RawDataElement) and element.length not in (0, UNDEFINED):
            assert theirs.value_tell == element.value
            assert theirs.value == bytes(header.octets.read(element.value, element.length))


@named([path for path in CORPUS if path.name in REFUSED | NO_CAN1])
def test_a_damaged_file_is_refused_with_a_reason_and_never_digested(path: Path) -> None:
    with pytest.raises(MalformedDataset) as refusal:
        digests(path.read_bytes())

    assert refusal.value.reason


@named([path for path in READABLE if syntax_of(path.read_bytes()) in LITTLE])
def test_digests_survive_pydicom_writing_implicit_explicit_and_deflated(path: Path) -> None:
    content = path.read_bytes()
    expected = digests(content)

    for syntax in LITTLE:
        dataset = pydicom.dcmread(io.BytesIO(content))
        dataset.file_meta.TransferSyntaxUID = syntax
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, dataset, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)

        assert compare(MemoryOctets(content), MemoryOctets(buffer.getvalue())) == ()
        assert digests(buffer.getvalue()) == expected


@named([path for path in READABLE if 0x7FE00010 in opened(c := path.read_bytes()).index and syntax_of(c) not in NATIVE])
def test_digests_survive_other_offset_tables_and_other_fragments(path: Path) -> None:
    content = path.read_bytes()
    expected = digests(content)
    dataset = pydicom.dcmread(io.BytesIO(content))
    frames = list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames", 1) or 1)))

    variants = [encapsulate(frames, has_bot=True), encapsulate(frames, has_bot=False)]
    if all(len(frame) > 8 for frame in frames):
        variants.append(encapsulate(frames, fragments_per_frame=3, has_bot=True))
    for value in variants:
        dataset.PixelData = value
        assert digests(written(dataset))[1] == expected[1]

    extended = encapsulate_extended(frames)
    dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = extended
    assert digests(written(dataset)) == expected


DCMCONV = {
    "big-endian": ["+tb"],
    "undefined lengths and group lengths": ["+te", "-e", "+g"],
    "implicit": ["+ti", "+e"],
    "padded": ["+te", "+p", "64", "128"],
}


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize("options", DCMCONV.values(), ids=DCMCONV.keys())
def test_digests_survive_dcmtk_writing_it_another_way(options: list[str], tmp_path: Path) -> None:
    tested = 0

    for path in READABLE:
        content = path.read_bytes()
        if syntax_of(content) not in NATIVE or len(content) > 100_000:
            continue
        target = tmp_path / "out.dcm"
        subprocess.run(["dcmconv", *options, path, target], check=True, capture_output=True)
        header = opened(content)
        here = digests(target.read_bytes())
        there = digests(content)

        assert here[0] == there[0], path.name
        # dcmtk turns 32-bit pixels around as two 16-bit words, pydicom as one: no digest can suit both.
        if header.unsigned(0x00280100) != 32:
            assert here[1] == there[1], path.name
        tested += 1

    assert tested > 60
