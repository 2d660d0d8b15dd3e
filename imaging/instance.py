"""One call per received instance: everything the ledger wants to know about it."""

from typing import NamedTuple, TypedDict

from imaging.digests import sto1
from imaging.errors import MalformedDataset, Mismatch, MissingIdentity
from imaging.facts import InstanceFacts
from imaging.header import (
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Header,
)
from imaging.likeness import Likenesses
from imaging.octets import Octets
from imaging.pixels import PixelDigest, digest_pixels, same_pixels
from imaging.uid import InvalidUid, Uid, parse_uid

_FILE_META = b"\x02\0"
"""Group 0002, which no dataset may hold (PS3.10 section 7.1): at its start every reader of the file would take it for
the file's own, transfer syntax included."""


class _Identity(TypedDict):
    study_uid: Uid
    series_uid: Uid
    sop_uid: Uid
    sop_class: Uid


class Original(NamedTuple):
    """What a file was spliced from, and the PD1 of that."""

    header: Header
    pd1: bytes


def _shared_pixels(header: Header, original: Original) -> PixelDigest | None:
    if same_pixels(header, original.header):
        return PixelDigest(pd1=original.pd1, flags=frozenset())
    return digest_pixels(header)


def describe(
    part10: Octets,
    dataset_offset: int,
    transfer_syntax: str,
    raw1: bytes,
    *,
    sop_class: str | None = None,
    sop_uid: str | None = None,
    likenesses: Likenesses | None = None,
    original: Original | None = None,
) -> InstanceFacts:
    """The identity, sizes, digests and oddities of one instance, whose file reads from `part10`.

    `sop_class` and `sop_uid` are what the C-STORE command said, where there was one; the dataset must agree.
    `likenesses` make it cheaper where instances of a series come one after the other, and are theirs to keep.
    `original` is what the file was spliced from, where it was: pixels it shares are not digested again, and their
    oddities are the original's.

    Raises
    ------
    MalformedDataset
        The dataset cannot be split into elements; nothing is known about it.
    MissingIdentity
        A UID that names study, series, instance or class is absent, repeated or not a UID.
    Mismatch
        The dataset is of another class or instance than the command said.
    """
    try:
        syntax = parse_uid(transfer_syntax)
    except InvalidUid as error:
        raise MissingIdentity("TransferSyntaxUID", f"is {error}") from None
    try:
        if bytes(part10.read(dataset_offset, 2)) == _FILE_META:
            raise MalformedDataset("file meta inside the dataset", dataset_offset)
        reading = (likenesses or Likenesses()).read(part10, dataset_offset, syntax)
        header = reading.header
        named = _Identity(
            study_uid=header.uid(STUDY_INSTANCE_UID, "StudyInstanceUID"),
            series_uid=header.uid(SERIES_INSTANCE_UID, "SeriesInstanceUID"),
            sop_uid=header.uid(SOP_INSTANCE_UID, "SOPInstanceUID"),
            sop_class=header.uid(SOP_CLASS_UID, "SOPClassUID"),
        )
        if sop_class is not None and named["sop_class"] != sop_class.rstrip("\0 "):
            raise Mismatch("SOPClassUID")
        if sop_uid is not None and named["sop_uid"] != sop_uid.rstrip("\0 "):
            raise Mismatch("SOPInstanceUID")
        pixels = digest_pixels(header) if original is None else _shared_pixels(header, original)
        canonical = reading.can1()
        written = sto1(part10)
    except EOFError:
        # A file that shrank under us, which the scanner's checks against its size cannot see.
        raise MalformedDataset("octets end early", part10.size) from None
    flags = header.scan.flags | header.scan.walker.flags
    if pixels:
        flags |= pixels.flags
    return InstanceFacts(
        **named,
        transfer_syntax=syntax,
        raw_size=part10.size - dataset_offset,
        sto_size=part10.size,
        raw1=raw1,
        sto1=written,
        pd1=pixels.pd1 if pixels else None,
        can1=canonical,
        flags=tuple(sorted(flag.value for flag in flags)),
    )
