"""Uniform archives for speed and size: many equal CT slices, or one instance of gigabytes."""

import random
import struct
from functools import partial

from infra.simulator import attributes as at
from infra.simulator.archive import Archive, Instance
from infra.simulator.content import MadeContent, TiledContent

CT = "1.2.840.10008.5.1.4.1.1.2"
US_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"
EXPLICIT = "1.2.840.10008.1.2.1"
FRAME_SIDE = 1024
PIXEL_DATA = 0x7FE00010


def workload_archive(
    *, studies: int = 4, instances: int = 100, rows: int = 512, columns: int = 512, series: int = 1, seed: int = 1
) -> Archive:
    """`studies` CT studies of `instances` slices each over `series` series; 512 x 512 is half a megabyte a slice.

    Pixels are a noisy slope, so that they compress about as well as a real slice does.
    """
    slope = _slope(rows * columns + 4096, seed)
    return Archive(
        _slice(slope, rows, columns, seed, study, number % series, number)
        for study in range(studies)
        for number in range(instances)
    )


def big_archive(*, size: int, seed: int = 1) -> Archive:
    """One study with one ultrasound loop whose dataset is a little longer than `size` bytes and held by nobody.

    Raises
    ------
    ValueError
        More than 4 GiB, which the length of Pixel Data cannot express.
    """
    frames = max(1, size // FRAME_SIDE**2)
    length = frames * FRAME_SIDE**2
    if length >= 0xFFFFFFFE:
        raise ValueError("pixel data of one instance is shorter than 4 GiB (PS3.5 section 7.1)")
    values = _identity(seed, 0, 0, 0, US_MULTIFRAME, "US")
    pixel = {"SamplesPerPixel": 1, "Rows": FRAME_SIDE, "Columns": FRAME_SIDE, "BitsAllocated": 8, "BitsStored": 8}
    header = _elements(values | _image(pixel | {"HighBit": 7}) | {at.tag_of("NumberOfFrames"): str(frames).encode()})
    header += struct.pack("<HH2sHL", PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF, b"OB", 0, length)
    block = random.Random(seed).randbytes(FRAME_SIDE**2)  # noqa: S311 - repeatable on purpose
    return Archive([_instance(values, US_MULTIFRAME, TiledContent(header, block, len(header) + length), "big")])


def _slice(slope: bytes, rows: int, columns: int, seed: int, study: int, series: int, number: int) -> Instance:
    values = _identity(seed, study, series, number, CT, "CT")
    content = MadeContent(partial(_slice_bytes, slope, rows, columns, values, number))
    return _instance(values, CT, content, "workload")


def _slice_bytes(slope: bytes, rows: int, columns: int, values: dict[int, bytes], number: int) -> bytes:
    length = rows * columns * 2
    pixel = {"SamplesPerPixel": 1, "Rows": rows, "Columns": columns, "BitsAllocated": 16, "BitsStored": 12}
    header = _elements(values | _image(pixel | {"HighBit": 11}))
    start = 2 * (number * 37 % 4096)
    return b"".join(
        (
            header,
            struct.pack("<HH2sHL", PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF, b"OW", 0, length),
            memoryview(slope)[start : start + length],
        )
    )


def _slope(pixels: int, seed: int) -> bytes:
    noise = random.Random(seed).randbytes(pixels)  # noqa: S311 - repeatable on purpose
    return struct.pack(f"<{pixels}H", *((place // 64 % 1024) + (noise[place] & 15) for place in range(pixels)))


def _identity(seed: int, study: int, series: int, number: int, sop_class: str, modality: str) -> dict[int, bytes]:
    root = f"1.2.826.0.1.3680043.10.1.{seed}.{study + 1}"
    texts = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": f"{root}.{series + 1}.{number + 1}",
        "StudyDate": f"{2010 + study % 15}{1 + study % 12:02}{1 + study % 28:02}",
        "StudyTime": f"{study % 24:02}{study % 60:02}00",
        "AccessionNumber": f"W{seed:03}{study:08}",
        "Modality": modality,
        "PatientName": f"WORKLOAD^P{study:06}",
        "PatientID": f"W{study:06}",
        "StudyInstanceUID": root,
        "SeriesInstanceUID": f"{root}.{series + 1}",
        "StudyID": str(study + 1),
        "SeriesNumber": str(series + 1),
        "InstanceNumber": str(number + 1),
    }
    return {at.tag_of(keyword): value.encode() for keyword, value in texts.items()}


def _image(numbers: dict[str, int]) -> dict[int, bytes]:
    values = {at.tag_of(keyword): struct.pack("<H", number) for keyword, number in numbers.items()}
    values[at.tag_of("PixelRepresentation")] = struct.pack("<H", 0)
    values[at.tag_of("PhotometricInterpretation")] = b"MONOCHROME2"
    return values


def _elements(values: dict[int, bytes]) -> bytes:
    return at.encode_identifier(values, implicit=False)


def _instance(values: dict[int, bytes], sop_class: str, content: MadeContent | TiledContent, name: str) -> Instance:
    return Instance(
        study_uid=values[at.STUDY_UID].decode(),
        series_uid=values[at.SERIES_UID].decode(),
        sop_uid=values[at.SOP_UID].decode(),
        sop_class=sop_class,
        transfer_syntax=EXPLICIT,
        attributes=values,
        content=content,
        name=name,
    )
