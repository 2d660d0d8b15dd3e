"""One dataset, scanned: its elements by tag and the few values that everything else depends on."""

from dataclasses import dataclass

from imaging.elements import Element, Encoding, Scan, scan
from imaging.errors import MissingIdentity
from imaging.flags import Flag
from imaging.octets import MemoryOctets, Octets
from imaging.syntaxes import encoding_of, inflate, is_deflated
from imaging.uid import InvalidUid, Uid, parse_uid

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
MODALITY = 0x00080060
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E

_NUMBER_LIMIT = 64
"""Bytes of a value read as one number; an IS has 12."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Elements of one dataset; offsets refer to `octets`, which are the inflated bytes of a deflated one."""

    octets: Octets
    transfer_syntax: str
    scan: Scan
    index: dict[int, Element]
    """Top-level elements by tag; of a repeated one the last, as pydicom has it."""

    @property
    def big_endian(self) -> bool:
        """Whether numbers are big endian (Explicit VR Big Endian, retired in PS3.5 2016b)."""
        return self.scan.encoding is Encoding.EXPLICIT_BE

    def uid(self, tag: int, keyword: str) -> Uid:
        """The UID under `tag`.

        Raises
        ------
        MissingIdentity
            Absent, empty, repeated or not a UID: nobody can say which instance this is.
        """
        element = self.index.get(tag)
        if element is None or not element.length:
            raise MissingIdentity(keyword, "is absent")
        if Flag.REPEATED_ELEMENT in self.scan.flags and sum(one.tag == tag for one in self.scan.elements) > 1:
            raise MissingIdentity(keyword, "is repeated")
        try:
            return parse_uid(self.scan.walker.read(element.value, min(element.length, 2 * _NUMBER_LIMIT)))
        except InvalidUid as error:
            raise MissingIdentity(keyword, f"is {error}") from None

    def value(self, tag: int) -> bytes | None:
        """The first bytes of a short value as written; None where the element is absent or empty."""
        element = self.index.get(tag)
        if element is None or not element.length:
            return None
        return self.scan.walker.read(element.value, min(element.length, _NUMBER_LIMIT))

    def unsigned(self, tag: int) -> int | None:
        """The first number of a US or UL value."""
        raw = self.value(tag)
        if raw is None or len(raw) < 2:
            return None
        width = 4 if len(raw) == 4 else 2
        return int.from_bytes(raw[:width], "big" if self.big_endian else "little")

    def decimal(self, tag: int) -> int | None:
        """The first number of an IS value; None where it is no whole number."""
        raw = self.value(tag)
        text = b"" if raw is None else raw.split(b"\\")[0].strip(b" \0")
        return int(text) if text.isdigit() else None


def read_header(octets: Octets, dataset_offset: int, transfer_syntax: str) -> Header:
    """The dataset behind `dataset_offset`, scanned but for its values.

    Raises
    ------
    MalformedDataset
        It cannot be split into elements or inflated within the bounds of `imaging.elements` and
        `imaging.syntaxes`.
    """
    if is_deflated(transfer_syntax):
        octets = MemoryOctets(inflate(octets, dataset_offset))
        dataset_offset = 0
    found = scan(octets, dataset_offset, encoding_of(transfer_syntax))
    return Header(
        octets=octets,
        transfer_syntax=transfer_syntax,
        scan=found,
        index={element.tag: element for element in found.elements},
    )
