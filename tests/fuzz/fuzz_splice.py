"""Header edits: whatever dataset they are spliced into, the edits are there and every other byte is as it was."""

import time
from unittest.mock import patch

from fuzz_dataset import INFLATED, SECONDS, SYNTAXES, as_stored, identity
from fuzz_script import Bytes

from imaging.elements import PIXEL_DATA, UNDEFINED
from imaging.errors import Refused, Unspliceable
from imaging.header import Header, read_header
from imaging.octets import MemoryOctets
from imaging.part10 import encode_meta
from imaging.pixels import digest_pixels
from imaging.splice import Edit, splice

EDITABLE = (
    (0x00080005, "CS"),
    (0x00080050, "SH"),
    (0x00100010, "PN"),
    (0x00100020, "LO"),
    (0x00100021, "LO"),
    (0x00100040, "CS"),
    (0x00101002, "SQ"),
    (0x00204000, "LT"),
    (0x04000561, "SQ"),
    (0x00090010, "LO"),
    (0x00081030, "LO"),
    (0x00200010, "SH"),
)
COUNTERS = 0x00080001
"""Length to End; it and group lengths are corrected with what they count."""


def run(data: bytes) -> None:
    """The first byte chooses the syntax, the second how many edits follow it, the rest is the dataset."""
    if len(data) < 2:
        return
    shape, told = data[0], Bytes(data[1:])
    edits = [edit for _ in range(told.number() % 4) if (edit := edited(told)) is not None]
    if len({edit.tag for edit in edits}) < len(edits):
        return
    syntax = SYNTAXES[shape % 8]
    body = told.rest()
    if shape & 8:
        body = identity(syntax) + body
    meta = encode_meta(None, None, syntax)
    old_file = MemoryOctets(meta + as_stored(body, syntax, shape))
    began = time.process_time()
    with patch("imaging.syntaxes.INFLATE_LIMIT", INFLATED):
        try:
            old = read_header(old_file, len(meta), syntax)
            spliced = splice(old_file, len(meta), old, edits)
        except (Refused, Unspliceable):
            return
        new_file = MemoryOctets(b"".join(spliced.pieces(0, spliced.size, 1000)))
        assert bytes(spliced.read(0, spliced.size)) == bytes(new_file.read(0, new_file.size))
        new = read_header(new_file, len(meta), syntax)
    check(old, new, {edit.tag: edit for edit in edits})
    assert time.process_time() - began < SECONDS, "took too long"


def edited(told: Bytes) -> Edit | None:
    which = told.number()
    tag, vr = EDITABLE[which % len(EDITABLE)]
    if which & 0x40:
        return Edit(tag=tag, vr=vr, value=None)
    value = b"" if vr == "SQ" else told.run(told.number() % 32)
    return Edit(tag=tag, vr=vr, value=value)


def check(old: Header, new: Header, edits: dict[int, Edit]) -> None:
    """The same elements but for the edits, and their bytes."""
    gone = {tag for tag, edit in edits.items() if edit.value is None}
    come = edits.keys() - gone
    counters = {tag for tag in old.index if not tag & 0xFFFF or tag == COUNTERS}
    assert new.index.keys() - counters == (old.index.keys() | come) - gone - counters
    assert new.index.keys() & counters <= old.index.keys()
    for tag, element in old.index.items():
        if tag in edits or tag in counters:
            continue
        now = new.index[tag]
        before = bytes(old.octets.read(element.start, element.end - element.start))
        assert bytes(new.octets.read(now.start, now.end - now.start)) == before, "another element was changed"
    for tag in come:
        now, value = new.index[tag], edits[tag].value or b""
        assert now.length != UNDEFINED
        written = bytes(new.octets.read(now.value, now.length))
        assert written[: len(value)] == value
        assert len(written) == len(value) + len(value) % 2
    try:
        before_digest = digest_pixels(old)
    except Refused:
        return
    assert digest_pixels(new) == before_digest, "pixels read otherwise"
    assert (PIXEL_DATA in new.index) == (PIXEL_DATA in old.index)
