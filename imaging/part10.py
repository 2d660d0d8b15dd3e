"""The Part-10 envelope: preamble, 'DICM' and file meta information (PS3.10 section 7.1)."""

import struct
from dataclasses import dataclass
from functools import lru_cache

from imaging.errors import MalformedDataset
from imaging.octets import Octets
from imaging.uid import InvalidUid, Uid, parse_uid

PREAMBLE = 128
MAGIC = b"DICM"
IMPLEMENTATION_CLASS_UID = Uid("2.25.283595384104418860679283981000525859042")
"""Ours, derived once from a UUID (PS3.5 annex B.2)."""
IMPLEMENTATION_VERSION_NAME = "LIMOSA"

CONSTANTS = 512
"""Pairs of SOP class and transfer syntax whose file meta is kept."""
META_LIMIT = 1 << 20
"""Most bytes of file meta we read: real ones have a few hundred, but private information (0002,0102) may be longer."""

_SHORT = struct.Struct("<HH2sH")
_LONG = struct.Struct("<HH2sHL")
_LONG_VRS = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"))
_UL = struct.Struct("<L")
_GROUP = 0x0002
_HEAD = bytes(PREAMBLE) + MAGIC + _SHORT.pack(_GROUP, 0x0000, b"UL", 4)

_CLASS, _INSTANCE, _SYNTAX = 0x0002, 0x0003, 0x0010


@dataclass(frozen=True, slots=True, kw_only=True)
class Part10:
    """What the envelope says; the dataset inside may say something else."""

    sop_class: Uid | None
    sop_uid: Uid | None
    transfer_syntax: Uid
    dataset_offset: int
    """First byte of the dataset."""


def encode_meta(sop_class: str | None, sop_uid: str | None, transfer_syntax: str) -> bytes:
    """Everything before the dataset: preamble of zeros, 'DICM' and group 0002. None omits the element.

    Raises
    ------
    InvalidUid
        One of the values, which come from a command set, is not a UID.
    """
    before, after = _constant(sop_class, transfer_syntax)
    named = b"" if sop_uid is None else _uid_element(_INSTANCE, sop_uid)
    length = _UL.pack(len(before) + len(named) + len(after))
    return b"".join((_HEAD, length, before, named, after))


@lru_cache(CONSTANTS)
def _constant(sop_class: str | None, transfer_syntax: str) -> tuple[bytes, bytes]:
    """The file meta before and behind the element that names the instance, which alone differs within a series."""
    before = _LONG.pack(_GROUP, 0x0001, b"OB", 0, 2) + b"\0\1"
    if sop_class is not None:
        before += _uid_element(_CLASS, sop_class)
    after = (
        _uid_element(_SYNTAX, transfer_syntax)
        + _uid_element(0x0012, IMPLEMENTATION_CLASS_UID)
        + _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii"))
    )
    return before, after


def split_part10(octets: Octets) -> Part10:
    """The envelope of a Part-10 file, and where its dataset starts.

    Group 0002 ends where another group begins: group lengths in real files are wrong too often to be
    believed, and the tag is unambiguous.

    Raises
    ------
    MalformedDataset
        No 'DICM', a broken element, no valid transfer syntax, or more than `META_LIMIT` bytes of meta.
    """
    head = bytes(octets.read(0, PREAMBLE + len(MAGIC) + META_LIMIT))
    if head[PREAMBLE : PREAMBLE + len(MAGIC)] != MAGIC:
        raise MalformedDataset("no 'DICM'", PREAMBLE)
    position = PREAMBLE + len(MAGIC)
    uids: dict[int, Uid] = {}
    while position + _SHORT.size <= len(head):
        group, element, vr, length = _SHORT.unpack_from(head, position)
        if group != _GROUP:
            break
        value = position + _SHORT.size
        if vr in _LONG_VRS:
            value = position + _LONG.size
            if value > len(head):
                raise MalformedDataset("file meta is cut short", position)
            length = _LONG.unpack_from(head, position)[4]
        if value + length > len(head):
            raise MalformedDataset("file meta element runs past its end", position)
        if element in (_CLASS, _INSTANCE, _SYNTAX) and length:
            try:
                uids[element] = parse_uid(head[value : value + length])
            except InvalidUid as error:
                raise MalformedDataset(f"file meta holds an invalid UID ({error})", position) from None
        position = value + length
    if _SYNTAX not in uids:
        raise MalformedDataset("file meta names no transfer syntax", position)
    return Part10(
        sop_class=uids.get(_CLASS),
        sop_uid=uids.get(_INSTANCE),
        transfer_syntax=uids[_SYNTAX],
        dataset_offset=position,
    )


def _uid_element(element: int, value: str) -> bytes:
    return _element(element, b"UI", parse_uid(value).encode("ascii"))


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return _SHORT.pack(_GROUP, element, vr, len(value)) + value
