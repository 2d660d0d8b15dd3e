"""What one file of a tree is: told by its bytes, never by its name (exports call them 00000001, IM1 or x.pdf.dcm)."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword

from actors.dimse.identifier import Identifier, encode_values
from imaging.elements import Element
from imaging.errors import MalformedDataset, Refused
from imaging.flags import Flag
from imaging.header import (
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Header,
    read_header,
)
from imaging.octets import JoinedOctets, MemoryOctets, Octets, Span
from imaging.part10 import MAGIC, PREAMBLE, split_part10
from imaging.uid import InvalidUid, Uid, parse_uid
from storage.ledger.files import FileState, FoundFile, FoundIdentity
from storage.spool import FileOctets

EXPLICIT_LE = Uid("1.2.840.10008.1.2.1")
EXPLICIT_BE = Uid("1.2.840.10008.1.2.2")
IMPLICIT_LE = Uid("1.2.840.10008.1.2")
DIRECTORY = "1.2.840.10008.1.3.10"
"""Media Storage Directory: a DICOMDIR."""

SALVAGE = 1 << 20
"""Bytes in which the UIDs of a damaged file are looked for: they come before anything large."""

FILE = "source file"
"""The place of errors while such a file is read."""

VALUE = 1024
"""Most bytes of one attribute: five times the longest person name."""

KEYWORDS = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "Modality",
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """Where the dataset of a file lies."""

    octets: Octets
    dataset_offset: int
    transfer_syntax: Uid
    sop_class: str | None


@contextmanager
def opened(path: Path) -> Iterator[FileOctets]:
    """The file's bytes as long as it has its present size. Raises `OSError`; reading them raises `StorageError` of the
    place `FILE`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield FileOctets(descriptor, os.fstat(descriptor).st_size, FILE)
    finally:
        os.close(descriptor)


def envelope_of(octets: Octets) -> Envelope | None:
    """The dataset's place; None for what is no DICOM by its first bytes.

    Raises
    ------
    MalformedDataset
        It says that it is DICOM, and its file meta cannot be read.
    """
    head = bytes(octets.read(0, PREAMBLE + len(MAGIC)))
    if head[PREAMBLE:] == MAGIC:
        return _split(octets)
    if head[:4] == b"\2\0\0\0" or head[:2] == b"\2\0":
        # File meta without a preamble: some exports cut the first 132 bytes.
        front = MemoryOctets(bytes(PREAMBLE) + MAGIC)
        return _split(JoinedOctets((Span(front, 0, front.size), Span(octets, 0, octets.size))))
    syntax = _guessed(head)
    return None if syntax is None else Envelope(octets, 0, syntax, None)


def look_at(path: Path, octets: Octets, charset: str) -> tuple[FoundFile, FoundIdentity | None]:
    """What the ledger is told of a file, and whose study it is. `charset` is for text that declares none."""
    size = octets.size
    try:
        envelope = envelope_of(octets)
    except MalformedDataset as error:
        return _damaged(path, octets, error), None
    if envelope is None:
        return FoundFile(path=path, size=size, state=FileState.OTHER), None
    if envelope.sop_class == DIRECTORY:
        return FoundFile(path=path, size=size, state=FileState.DIRECTORY), None
    try:
        header = read_header(envelope.octets, envelope.dataset_offset, envelope.transfer_syntax)
        found = FoundFile(
            path=path,
            size=size,
            state=FileState.DICOM,
            study_uid=header.uid(STUDY_INSTANCE_UID, "StudyInstanceUID"),
            series_uid=header.uid(SERIES_INSTANCE_UID, "SeriesInstanceUID"),
            sop_uid=header.uid(SOP_INSTANCE_UID, "SOPInstanceUID"),
            sop_class=header.uid(SOP_CLASS_UID, "SOPClassUID"),
            transfer_syntax=envelope.transfer_syntax,
        )
    except (Refused, EOFError) as error:
        if envelope.sop_class is None and envelope.dataset_offset == 0 and not _looks_whole(envelope.octets):
            # A guess by two bytes that did not come true.
            return FoundFile(path=path, size=size, state=FileState.OTHER), None
        found = _damaged(path, envelope.octets, error)
        return found, None if found.study_uid is None else FoundIdentity(study_uid=found.study_uid)
    if Flag.PIXEL_TRUNCATED in header.scan.flags:
        found = replace(found, state=FileState.DAMAGED, reason="the pixels break off")
    return found, _identity(found, header, charset)


def _split(octets: Octets) -> Envelope:
    found = split_part10(octets)
    return Envelope(octets, found.dataset_offset, found.transfer_syntax, found.sop_class)


def _guessed(head: bytes) -> Uid | None:
    """The transfer syntax of a dataset without envelope, by its first element: group 0008 in all known."""
    if head[:1] == b"\x08" and head[1:2] == b"\0" and len(head) >= 8:
        return EXPLICIT_LE if head[4:6].isalpha() and head[4:6].isupper() else IMPLICIT_LE
    if head[:2] == b"\0\x08" and head[4:6].isalpha() and head[4:6].isupper():
        return EXPLICIT_BE
    return None


def _looks_whole(octets: Octets) -> bool:
    """Whether a file without envelope names an instance all the same."""
    return all(_salvaged(octets))


def _damaged(path: Path, octets: Octets, error: Refused | EOFError) -> FoundFile:
    study, series, sop = _salvaged(octets)
    known = study is not None and series is not None and sop is not None
    return FoundFile(
        path=path,
        size=octets.size,
        state=FileState.DAMAGED,
        study_uid=study if known else None,
        series_uid=series if known else None,
        sop_uid=sop if known else None,
        reason=str(error) or type(error).__name__,
    )


def _salvaged(octets: Octets) -> tuple[Uid | None, Uid | None, Uid | None]:
    """UIDs of study, series and instance as far as a lenient reader finds them in the file's beginning."""
    head = BytesIO(bytes(octets.read(0, SALVAGE)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(head, stop_before_pixels=True, force=True)
            texts = [
                str(dataset.get(keyword, "")) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
            ]
    except Exception:
        # Trust border: a damaged file may provoke anything in a general reader, and then its UIDs are not known.
        return None, None, None
    study, series, sop = (_uid(text) for text in texts)
    return study, series, sop


def _uid(text: str) -> Uid | None:
    try:
        return parse_uid(text)
    except InvalidUid:
        return None


def identifier_of(
    elements: Mapping[int, Element], read: Callable[[int, int], bytes], keywords: Iterable[str], charset: str
) -> Identifier:
    """The values of a dataset's elements by these keywords, each cut to `VALUE` bytes; `read` gives bytes by offset and
    length, `charset` is for text that declares none."""
    values: dict[int, tuple[bytes, bytes]] = {}
    for keyword in keywords:
        tag = tag_for_keyword(keyword)
        element = None if tag is None else elements.get(tag)
        if tag is not None and element is not None:
            raw = bytes(read(element.value, min(element.end - element.value, VALUE)))
            values[tag] = dictionary_VR(tag).encode("ascii"), raw
    return Identifier(encode_values(values, EXPLICIT_LE), EXPLICIT_LE, charset)


def _identity(found: FoundFile, header: Header, charset: str) -> FoundIdentity:
    identifier = identifier_of(header.index, header.scan.walker.read, KEYWORDS, charset)

    def told(keyword: str) -> str | None:
        text = identifier.text(keyword)
        # No text of a ledger holds a NUL, and no value of a dataset should.
        return None if text is None else text.replace("\0", " ")

    assert found.study_uid is not None  # a sound file names its study
    return FoundIdentity(
        study_uid=found.study_uid,
        patient_id=told("PatientID"),
        issuer=told("IssuerOfPatientID"),
        patient_name=told("PatientName"),
        birth_date=told("PatientBirthDate"),
        sex=told("PatientSex"),
        accession=told("AccessionNumber"),
        study_date=told("StudyDate"),
        study_time=told("StudyTime"),
        modality=told("Modality"),
        description=told("StudyDescription"),
    )
