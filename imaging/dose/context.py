"""Whose study a report belongs to: the attributes it shares with the study's images, copied as they are encoded."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from imaging.coercion.attributes import TEXT_VRS, vr_of
from imaging.dose.content import sequence
from imaging.elements import UNDEFINED, Encoding
from imaging.header import SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Header
from imaging.splice import SHORT_LIMIT, encode_element
from imaging.uid import Uid
from imaging.values import Values

CHARSET = 0x00080005
_NAMED = (
    0x00080020, 0x00080030, 0x00080050, 0x00080051, 0x00080080, 0x00080081, 0x00080090, 0x00080201, 0x00081030,
    0x00081032, 0x00081040, 0x00100010, 0x00100020, 0x00100021, 0x00100022, 0x00100024, 0x00100030, 0x00100032,
    0x00100040, 0x00101000, 0x00101001, 0x00101002, 0x00101010, 0x00101020, 0x00101030, 0x00102160, 0x00104000,
    0x00200010,
)  # fmt: skip
"""Of patient and study; equipment and series are the report's own."""
_EMPTY = (0x00080020, 0x00080030, 0x00080050, 0x00080090, 0x00100010, 0x00100020, 0x00100030, 0x00100040, 0x00200010)
"""Type 2: there, if without a value (PS3.3 sections C.7.1.1 and C.7.2.1)."""
_SOFTWARE, _OFFSET = 0x00181020, 0x00080201
_DEPTH = 3
"""Sequences inside the sequences that are copied; issuers and their qualifiers have two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the report takes from one instance of the study as it is delivered."""

    study_uid: Uid
    sop_uid: Uid
    charset: bytes
    elements: dict[int, bytes]
    """Encoded, by tag, in Explicit VR Little Endian."""
    software: bytes
    zone: tzinfo
    """What the study's times are in: its Timezone Offset From UTC, else UTC."""


def context_of(header: Header) -> Context:
    """Read from an instance as it will lie at the destination, so that the report is found with its study.

    Raises
    ------
    MissingIdentity
        The instance names no study or not itself.
    """
    values = Values.of(header)
    copied = {tag: octets for tag in _NAMED for octets in _copied(values, tag, _DEPTH)}
    for tag in _EMPTY:
        copied.setdefault(tag, encode_element(tag, vr_of(tag), b"", Encoding.EXPLICIT_LE))
    return Context(
        study_uid=header.uid(STUDY_INSTANCE_UID, "StudyInstanceUID"),
        sop_uid=header.uid(SOP_INSTANCE_UID, "SOPInstanceUID"),
        charset=values.raw(values.element(CHARSET)).rstrip(b" \0"),
        elements=copied,
        software=_text(values, _SOFTWARE),
        zone=_zone(values.text(_OFFSET)),
    )


def _copied(values: Values, tag: int, depth: int) -> Iterator[bytes]:
    """The element anew in our encoding: text as its bytes, sequences item by item; anything else is left out."""
    element, vr = values.element(tag), vr_of(tag)
    if element is None:
        return
    if vr == "SQ":
        if depth and (items := values.items(tag)):
            yield sequence(tag, [_item(item, depth - 1) for item in items])
    elif (vr in TEXT_VRS or vr == "UI") and element.vr != "SQ" and element.length not in (0, UNDEFINED):
        raw = values.raw(element).rstrip(b" \0")
        if len(raw) <= SHORT_LIMIT:
            yield encode_element(tag, vr, raw, Encoding.EXPLICIT_LE)


def _item(item: Values, depth: int) -> bytes:
    tags = sorted(element.tag for element in item if not element.tag & 0x10000)
    return b"".join(octets for tag in tags for octets in _copied(item, tag, depth))


def _text(values: Values, tag: int) -> bytes:
    raw = values.raw(values.element(tag)).rstrip(b" \0")
    return raw if len(raw) <= 64 else b""


def _zone(offset: str) -> tzinfo:
    try:
        return datetime.strptime(offset, "%z").tzinfo or UTC
    except ValueError:
        return UTC
