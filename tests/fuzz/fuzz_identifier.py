"""Answers of a C-FIND: text, numbers and UIDs that are what they say, or a refusal."""

import re

from actors.dimse.find import STUDY_KEYS, study_found
from actors.dimse.identifier import Identifier, encode_identifier
from actors.dimse.negotiation import EXPLICIT_LE, IMPLICIT_LE
from imaging.errors import MalformedDataset
from imaging.uid import Uid

CHARSETS = ("", "ISO_IR 100", "ISO_IR 192", "ISO 2022 IR 87", "GB18030", "nonsense", "ISO_IR 13\\ISO 2022 IR 159")
KEYS = (*STUDY_KEYS, "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FailedSOPInstanceUIDList")
UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def run(data: bytes) -> None:
    """The first byte chooses syntax and the source's character set; bit 3 has the rest said as values of keys."""
    if not data:
        return
    shape, body = data[0], data[1:]
    syntax = EXPLICIT_LE if shape & 16 else IMPLICIT_LE
    if shape & 8:
        body = spelled(body, syntax)
    try:
        identifier = Identifier(body, syntax, CHARSETS[shape % len(CHARSETS)])
    except MalformedDataset as refusal:
        assert refusal.offset <= len(body)
        return
    for keyword in KEYS:
        text = identifier.text(keyword)
        assert text is None or len(text) <= 3 * len(body), "more text than was sent"
        for uid in identifier.uids(keyword):
            assert UID.fullmatch(uid)
            assert len(uid) <= 64
        count = identifier.count(keyword)
        assert count is None or 0 <= count < 10**10
    found = study_found(Uid("1.2.3"), identifier)
    assert found.modalities is None or all(found.modalities)


def spelled(body: bytes, syntax: str) -> bytes:
    """An identifier whose values are the lines of `body`, keys in turn; the first line is the character set."""
    declared, *values = body.split(b"\n")
    keys = dict(zip(KEYS, (value.decode("latin-1") for value in values), strict=False))
    octets = encode_identifier(keys, syntax)
    # Written anew as 8-bit text under the declared set: the encoder itself only writes UTF-8.
    charset = (declared + b" " * (len(declared) % 2))[:254]
    if syntax == EXPLICIT_LE:
        head = b"\x08\0\x05\0CS" + len(charset).to_bytes(2, "little")
    else:
        head = b"\x08\0\x05\0" + len(charset).to_bytes(4, "little")
    return head + charset + octets
