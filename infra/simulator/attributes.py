"""The attributes a query can name: their tags and VRs, their values in a file, their bytes in an identifier."""

import struct
from collections.abc import Mapping
from io import BytesIO
from typing import BinaryIO

from pydicom import dcmread
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.valuerep import TEXT_VR_DELIMS

CHARSET = 0x00080005
LEVEL = 0x00080052
RETRIEVE_AE = 0x00080054
AVAILABILITY = 0x00080056
SYNTAX = 0x00083002
STUDY_UID = 0x0020000D
SERIES_UID = 0x0020000E
SOP_UID = 0x00080018
SOP_CLASS = 0x00080016
STUDY_DATE = 0x00080020
STUDY_TIME = 0x00080030
MODALITY = 0x00080060
MODALITIES = 0x00080061
SOP_CLASSES = 0x00080062
PATIENT_NAME = 0x00100010
PATIENT_ID = 0x00100020
BIRTH_DATE = 0x00100030
STUDY_SERIES = 0x00201206
STUDY_INSTANCES = 0x00201208
SERIES_INSTANCES = 0x00201209

STUDY_KEYWORDS = (
    "SpecificCharacterSet", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
    "StudyDescription", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "OtherPatientIDs", "StudyInstanceUID", "StudyID", "TimezoneOffsetFromUTC",
)  # fmt: skip
SERIES_KEYWORDS = (
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "BodyPartExamined",
    "SeriesDate",
)
IMAGE_KEYWORDS = ("SOPClassUID", "SOPInstanceUID", "InstanceNumber", "NumberOfFrames", "ContentDate")
STORED_KEYWORDS = STUDY_KEYWORDS + SERIES_KEYWORDS + IMAGE_KEYWORDS

_LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_NUL_PADDED = frozenset({"UI", "OB", "UN"})


def tag_of(keyword: str) -> int:
    """The tag of a keyword of PS3.6. Raises `ValueError` when there is none."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"no DICOM attribute is called {keyword}")
    return int(tag)


def raw_values(dataset: Dataset, tags: frozenset[int]) -> dict[int, bytes]:
    """The bytes of those elements that are present, padding removed; text is left in its own character set."""
    values: dict[int, bytes] = {}
    for tag in tags:
        if tag not in dataset:
            continue
        element = dataset.get_item(Tag(tag))
        if isinstance(element, RawDataElement):
            value = element.value or b""
        else:
            # pydicom has parsed it (it does so with the character set); such values are ASCII.
            parsed = element.value if element is not None and element.VR != "SQ" else None
            parts = parsed if isinstance(parsed, MultiValue | list) else [parsed]
            value = "\\".join("" if part is None else str(part) for part in parts).encode("latin-1", "replace")
        values[tag] = value.strip(b"\0 ") if tag != CHARSET else value.rstrip(b"\0 ")
    return values


def file_attributes(file: BinaryIO) -> dict[int, bytes]:
    """What a query can match of one Part-10 file; the reader stands anywhere afterwards."""
    dataset = dcmread(file, stop_before_pixels=True, specific_tags=list(STORED_KEYWORDS))
    return raw_values(dataset, frozenset(map(tag_of, STORED_KEYWORDS)))


def identifier_keys(octets: bytes, *, implicit: bool) -> dict[int, bytes]:
    """The elements of a request identifier, sequences as empty. Raises whatever pydicom raises for junk."""
    dataset = read_dataset(BytesIO(octets), is_implicit_VR=implicit, is_little_endian=True)
    return raw_values(dataset, frozenset(map(int, dataset.keys())))


def text(value: bytes, charset: bytes) -> str:
    """`value` decoded as (0008,0005) says; Latin-1 where it says nothing that we know."""
    names = charset.decode("latin-1").split("\\") if charset else []
    try:
        return decode_bytes(value, convert_encodings([name.strip() for name in names]), set(TEXT_VR_DELIMS))
    except (LookupError, ValueError):
        return value.decode("latin-1")


def vr_of(tag: int) -> str:
    """The VR of PS3.6, UN for what it does not list; the first where it leaves a choice."""
    try:
        return dictionary_VR(tag).split(" ")[0]
    except KeyError:
        return "UN"


def encode_identifier(values: Mapping[int, bytes], *, implicit: bool) -> bytes:
    """An identifier in little endian, elements in order and padded to even length."""
    octets = bytearray()
    for tag in sorted(values):
        vr, value = vr_of(tag), values[tag]
        if len(value) % 2:
            value += b"\0" if vr in _NUL_PADDED else b" "
        octets += struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        if implicit:
            octets += struct.pack("<L", len(value))
        elif vr in _LONG_VRS:
            octets += vr.encode() + struct.pack("<HL", 0, len(value))
        else:
            octets += vr.encode() + struct.pack("<H", len(value))
        octets += value
    return bytes(octets)
