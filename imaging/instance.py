"""One call per received instance: everything the ledger wants to know about it."""

from imaging.canonical import can1
from imaging.digests import sto1
from imaging.errors import MalformedDataset, Mismatch, MissingIdentity
from imaging.facts import InstanceFacts
from imaging.header import (
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Header,
    read_header,
)
from imaging.octets import Octets
from imaging.pixels import digest_pixels
from imaging.uid import InvalidUid, Uid, parse_uid


def describe(
    part10: Octets,
    dataset_offset: int,
    transfer_syntax: str,
    raw1: bytes,
    *,
    sop_class: str | None = None,
    sop_uid: str | None = None,
) -> InstanceFacts:
    """The identity, sizes, digests and oddities of one instance, whose file reads from `part10`.

    `sop_class` and `sop_uid` are what the C-STORE command said, where there was one; the dataset must agree.

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
        header = read_header(part10, dataset_offset, syntax)
        _check(header, SOP_CLASS_UID, "SOPClassUID", sop_class)
        _check(header, SOP_INSTANCE_UID, "SOPInstanceUID", sop_uid)
        return _facts(part10, dataset_offset, syntax, raw1, header)
    except EOFError:
        # A file that shrank under us, which the scanner's checks against its size cannot see.
        raise MalformedDataset("octets end early", part10.size) from None


def _check(header: Header, tag: int, keyword: str, expected: str | None) -> None:
    if expected is not None and header.uid(tag, keyword) != expected.rstrip("\0 "):
        raise Mismatch(keyword)


def _facts(part10: Octets, dataset_offset: int, syntax: Uid, raw1: bytes, header: Header) -> InstanceFacts:
    pixels = digest_pixels(header)
    canonical = can1(header)
    flags = header.scan.flags | header.scan.walker.flags
    if pixels:
        flags |= pixels.flags
    return InstanceFacts(
        study_uid=header.uid(STUDY_INSTANCE_UID, "StudyInstanceUID"),
        series_uid=header.uid(SERIES_INSTANCE_UID, "SeriesInstanceUID"),
        sop_uid=header.uid(SOP_INSTANCE_UID, "SOPInstanceUID"),
        sop_class=header.uid(SOP_CLASS_UID, "SOPClassUID"),
        transfer_syntax=syntax,
        raw_size=part10.size - dataset_offset,
        sto_size=part10.size,
        raw1=raw1,
        sto1=sto1(part10),
        pd1=pixels.pd1 if pixels else None,
        can1=canonical,
        flags=tuple(sorted(flag.value for flag in flags)),
    )
