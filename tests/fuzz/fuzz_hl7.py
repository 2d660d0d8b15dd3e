"""HL7 v2 in any pieces: every message comes out once or is named as a fault, the same however the bytes arrive."""

import string
from datetime import UTC
from itertools import pairwise

from imaging.hl7.adt import Feed, events
from imaging.hl7.defects import Fault
from imaging.hl7.reader import Message, messages
from imaging.identity.events import Merge
from imaging.identity.issuers import Authority, Issuers

CODECS = ("ascii", "latin-1", "utf-8")
FEED = Feed(
    issuers=Issuers(
        authorities=(Authority(name="NORTH", aliases=("1.2.3",), pattern="[0-9]{1,8}"), Authority(name="MPI")),
        default="NORTH",
    ),
    zone=UTC,
)
DETAIL = frozenset(string.ascii_letters + string.digits + " _-/:.")


def run(data: bytes) -> None:
    """The first byte chooses the default character set and how the rest is cut."""
    if not data:
        return
    shape, body = data[0], data[1:]
    codec = CODECS[shape % len(CODECS)]
    step = 1 + (shape >> 2)
    whole = list(messages([body], default_codec=codec))
    pieces = list(messages([body[at : at + step] for at in range(0, len(body), step)], default_codec=codec))
    assert whole == pieces, "how it is cut changes what it says"
    found = [one for one in whole if isinstance(one, Message)]
    assert all(earlier.number < later.number for earlier, later in pairwise(found))
    assert sum(len(field) for one in found for segment in one.segments for field in segment.fields) <= 2 * len(body)
    for one in whole:
        assert 0 <= one.offset <= len(body)
        if isinstance(one, Fault):
            _named_only(one)
        else:
            _understood(one)


def _understood(message: Message) -> None:
    told = list(events(message, FEED))
    assert told, "a message without an event or a fault"
    for one in told:
        if isinstance(one, Fault):
            _named_only(one)
        elif isinstance(one, Merge):
            assert one.origin.at is not None, "a merge of no time"


def _named_only(fault: Fault) -> None:
    """Nothing of what the bytes say is in a fault but the names of segments."""
    assert len(fault.segment) <= 3
    assert len(fault.detail) <= 40
    assert set(fault.detail) <= DETAIL
