"""One received instance, and the promise the receiver and its handler make to each other."""

from collections.abc import Callable
from dataclasses import dataclass

from imaging.octets import Octets

TEXT_CAP = 128
"""Characters of a command's value that are handed on: twice what any may have, so a value that was cut can never be
taken for a right one, and what a hostile peer says still fits a log of evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who sent it: titles are as negotiated, hostile until looked up."""

    calling_ae: str
    called_ae: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One C-STORE request with its whole dataset (PS3.7 section 9.1.1).

    `part10` is a complete Part-10 file: preamble, 'DICM', file meta made from the command set (without the
    elements whose values are no UIDs), then the dataset exactly as received from byte `dataset_offset` on. It
    belongs to the receiver and is released when the handler returns.
    """

    peer: Peer
    sop_class: str
    """Affected SOP Class UID of the command; unchecked, cut to `TEXT_CAP`."""
    sop_uid: str
    """Affected SOP Instance UID of the command; unchecked, cut to `TEXT_CAP`. The handler refuses what is no UID."""
    transfer_syntax: str
    move_originator_ae: str | None
    """Unchecked, cut to `TEXT_CAP`."""
    move_originator_id: int | None
    part10: Octets
    dataset_offset: int
    raw1: bytes
    """RAW1 of the dataset, taken while it came in."""


InstanceHandler = Callable[[Incoming], int]
"""Returns the C-STORE status (PS3.4 table B.2-1): 0x0000 held, 0xA700 out of resources (send again
later), 0xA900 dataset does not match SOP class, 0xC000-0xCFFF cannot understand. Must not raise."""


def nobody(incoming: Incoming) -> int:
    """The handler of a source that is only asked."""
    raise RuntimeError("this source was opened for questions only")
