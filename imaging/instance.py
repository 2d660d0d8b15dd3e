"""What is known of one instance: first who it is, which decides where it goes; then its digests."""

from dataclasses import dataclass

from imaging.coercion.modalities import term_of
from imaging.digests import sto1
from imaging.errors import MalformedDataset, Mismatch, MissingIdentity
from imaging.facts import InstanceFacts
from imaging.flags import Flag
from imaging.header import (
    MODALITY,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
)
from imaging.likeness import Likenesses, Reading
from imaging.octets import Octets
from imaging.pixels import digest_pixels
from imaging.uid import InvalidUid, Uid, parse_uid

_FILE_META = b"\x02\0"
"""Group 0002, which no dataset may hold (PS3.10 section 7.1): at its start every reader of the file would take it for
the file's own, transfer syntax included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One Part-10 file that says who it is; as long-lived as `part10`."""

    part10: Octets
    dataset_offset: int
    reading: Reading
    raw1: bytes
    study_uid: Uid
    series_uid: Uid
    sop_uid: Uid
    sop_class: Uid
    transfer_syntax: Uid
    flags: frozenset[Flag] = frozenset()
    """Oddities beside those of the dataset."""

    @property
    def raw_size(self) -> int:
        """Bytes of the dataset."""
        return self.part10.size - self.dataset_offset

    def facts(self) -> InstanceFacts:
        """All that the ledger wants to know: reads every byte. Raises `MalformedDataset`."""
        header = self.reading.header
        try:
            pixels = digest_pixels(header)
            canonical = self.reading.can1()
            written = sto1(self.part10)
        except EOFError:
            # A file that shrank under us, which the scanner's checks against its size cannot see.
            raise MalformedDataset("octets end early", self.part10.size) from None
        flags = self.flags | header.scan.flags | header.scan.walker.flags
        if pixels:
            flags |= pixels.flags
        return InstanceFacts(
            study_uid=self.study_uid,
            series_uid=self.series_uid,
            sop_uid=self.sop_uid,
            sop_class=self.sop_class,
            transfer_syntax=self.transfer_syntax,
            raw_size=self.raw_size,
            sto_size=self.part10.size,
            raw1=self.raw1,
            sto1=written,
            pd1=pixels.pd1 if pixels else None,
            can1=canonical,
            flags=tuple(sorted(flag.value for flag in flags)),
            modality=term_of(header.value(MODALITY)),
        )


def identify(
    part10: Octets,
    dataset_offset: int,
    transfer_syntax: str,
    raw1: bytes,
    *,
    likenesses: Likenesses | None = None,
    flags: frozenset[Flag] = frozenset(),
) -> Instance:
    """The instance whose file reads from `part10`, by its dataset alone.

    `likenesses` make it cheaper where instances of a series come one after the other, and are theirs to keep.

    Raises
    ------
    MalformedDataset
        The dataset cannot be split into elements; nothing is known about it.
    MissingIdentity
        A UID that names study, series, instance or class is absent, repeated or not a UID.
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
        return Instance(
            part10=part10,
            dataset_offset=dataset_offset,
            reading=reading,
            raw1=raw1,
            study_uid=header.uid(STUDY_INSTANCE_UID, "StudyInstanceUID"),
            series_uid=header.uid(SERIES_INSTANCE_UID, "SeriesInstanceUID"),
            sop_uid=header.uid(SOP_INSTANCE_UID, "SOPInstanceUID"),
            sop_class=header.uid(SOP_CLASS_UID, "SOPClassUID"),
            transfer_syntax=syntax,
            flags=flags,
        )
    except EOFError:
        raise MalformedDataset("octets end early", part10.size) from None


def identify_as(
    part10: Octets,
    dataset_offset: int,
    transfer_syntax: str,
    raw1: bytes,
    *,
    sop_class: str | None,
    sop_uid: str | None,
    likenesses: Likenesses | None = None,
) -> Instance:
    """As `identify`; the dataset must agree with the class and instance that somebody said it is.

    Raises
    ------
    Mismatch
        The dataset is of another class or instance than was said.
    """
    found = identify(part10, dataset_offset, transfer_syntax, raw1, likenesses=likenesses)
    if sop_class is not None and found.sop_class != sop_class.rstrip("\0 "):
        raise Mismatch("SOPClassUID")
    if sop_uid is not None and found.sop_uid != sop_uid.rstrip("\0 "):
        raise Mismatch("SOPInstanceUID")
    return found


def describe(
    part10: Octets,
    dataset_offset: int,
    transfer_syntax: str,
    raw1: bytes,
    *,
    sop_class: str | None = None,
    sop_uid: str | None = None,
    likenesses: Likenesses | None = None,
) -> InstanceFacts:
    """The identity, sizes, digests and oddities of one instance, in one call. Raises as `identify_as` does."""
    return identify_as(
        part10, dataset_offset, transfer_syntax, raw1, sop_class=sop_class, sop_uid=sop_uid, likenesses=likenesses
    ).facts()
