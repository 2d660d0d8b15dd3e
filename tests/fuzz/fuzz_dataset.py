"""Datasets: refused or described, read in small steps, the same however they are read, and as pydicom reads them."""

import io
import struct
import time
import warnings
import zlib
from unittest.mock import patch

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.sequence import Sequence as PydicomSequence

from imaging import canonical, elements
from imaging.elements import PIXEL_DATA, UNDEFINED
from imaging.errors import MalformedDataset, Refused
from imaging.facts import InstanceFacts
from imaging.flags import Flag
from imaging.header import Header, read_header
from imaging.instance import describe
from imaging.likeness import Likenesses
from imaging.octets import MemoryOctets
from imaging.part10 import encode_meta, split_part10
from imaging.syntaxes import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, GE_BIG_PIXELS, IMPLICIT_LE

SECONDS = 5.0
SYNTAXES = (
    IMPLICIT_LE,
    EXPLICIT_LE,
    EXPLICIT_BE,
    "1.2.840.10008.1.2.4.50",
    DEFLATED,
    EXPLICIT_LE,
    IMPLICIT_LE,
    GE_BIG_PIXELS,
)
LARGEST_READ = 4 << 20
WINDOW = 64
"""Bytes of the walker's window here, so that inputs of a few hundred cross its edges again and again."""
INFLATED = 1 << 20
"""What a deflated input may open to here; more than any input needs."""
DOUBTFUL = frozenset(
    (
        Flag.OUT_OF_ORDER,
        Flag.REPEATED_ELEMENT,
        Flag.TRAILING_BYTES,
        Flag.IMPLICIT_IN_EXPLICIT,
        Flag.UNKNOWN_VR,
        Flag.UNDEFINED_LENGTH,
        Flag.PIXEL_TRUNCATED,
    )
)
"""Oddities on which readers may differ; they are reported, so nobody is surprised."""
IDENTITY = (
    (0x00080016, "1.2.840.10008.5.1.4.1.1.2"),
    (0x00080018, "1.2.3.4"),
    (0x0020000D, "1.2.3"),
    (0x0020000E, "1.2"),
)


Described = InstanceFacts | type[Refused]


class CountedOctets(MemoryOctets):
    """Fails when more is asked for in one read than a file could give cheaply; counts what is read."""

    def __init__(self, buffer: bytes) -> None:
        super().__init__(buffer)
        self.total = 0
        self.reads = 0

    def read(self, start: int, length: int) -> memoryview:
        assert start >= 0
        assert 0 <= length <= LARGEST_READ
        piece = super().read(start, length)
        self.total += len(piece)
        self.reads += 1
        return piece


def run(data: bytes) -> None:
    """The first byte chooses the transfer syntax and whether identifying UIDs stand before or behind the rest."""
    if not data:
        return
    shape, body = data[0], data[1:]
    syntax = SYNTAXES[shape % 8]
    if shape & 8:
        body = identity(syntax) + body
    if shape & 16:
        body += identity(syntax)
    padded = body.endswith(bytes(WINDOW // 2))
    body = as_stored(body, syntax, shape)
    meta = encode_meta(None, None, syntax)
    file = meta + body
    began = time.process_time()
    with patch.object(elements, "WINDOW", WINDOW), patch.object(canonical, "WINDOW", WINDOW):
        narrow = described(file, len(meta), syntax)
    wide = described(file, len(meta), syntax)
    compared_with_its_likes(file, len(meta), syntax, wide)
    assert time.process_time() - began < SECONDS, "took too long"
    # More zeros at the end than a window holds are no padding to it.
    if not padded:
        assert narrow == wide, "the result depends on the window"
    if isinstance(wide, InstanceFacts):
        assert not set(wide.flags) - {flag.value for flag in Flag}
        assert split_part10(MemoryOctets(file)).dataset_offset == len(meta)
    if wide is not MalformedDataset:
        as_pydicom_reads(file, len(meta), syntax)


def as_stored(body: bytes, syntax: str, shape: int) -> bytes:
    """`body`, deflated where the syntax asks for it and bit 5 does not say that it is already."""
    if syntax != DEFLATED or shape & 32:
        return body
    deflater = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(body) + deflater.flush()


def identity(syntax: str) -> bytes:
    parts = []
    for tag, uid in IDENTITY:
        value = uid.encode() + b"\0" * (len(uid) % 2)
        group, element = tag >> 16, tag & 0xFFFF
        if syntax in (IMPLICIT_LE, GE_BIG_PIXELS):
            parts.append(struct.pack("<HHL", group, element, len(value)) + value)
        else:
            order = ">" if syntax == EXPLICIT_BE else "<"
            parts.append(struct.pack(order + "HH2sH", group, element, b"UI", len(value)) + value)
    return b"".join(parts)


def described(file: bytes, offset: int, syntax: str, likenesses: Likenesses | None = None) -> Described:
    octets = CountedOctets(file)
    try:
        with patch("imaging.syntaxes.INFLATE_LIMIT", INFLATED):
            return describe(octets, offset, syntax, bytes(32), likenesses=likenesses)
    except Refused as refusal:
        return type(refusal)
    finally:
        # Each element and item may cost one window at each level it is looked at from.
        assert octets.reads <= 200 + 8 * len(file), "work out of proportion"


def compared_with_its_likes(file: bytes, offset: int, syntax: str, alone: Described) -> None:
    """What is known of instances before makes an instance cheaper, never another: all but one byte are the same."""
    at = offset + file[-1] * (len(file) - offset) // 256 if len(file) > offset else 0
    other = file[:at] + bytes((file[at] ^ 1,)) + file[at + 1 :]
    likenesses = Likenesses()
    others = described(other, offset, syntax)
    assert described(file, offset, syntax, likenesses) == alone
    assert described(file, offset, syntax, likenesses) == alone
    assert described(other, offset, syntax, likenesses) == others, "an instance is taken for its like"
    assert described(file, offset, syntax, likenesses) == alone


def as_pydicom_reads(file: bytes, offset: int, syntax: str) -> None:
    """Where both read the file without a doubt, they see the same elements with the same bytes."""
    try:
        header = read_header(MemoryOctets(file), offset, syntax)
    except Refused:
        return
    if header.scan.flags & DOUBTFUL:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(io.BytesIO(file))
        except Exception:  # pydicom names no errors for hostile bytes; what it cannot read is no witness
            return
        if dataset.is_implicit_VR is not (header.scan.encoding is elements.Encoding.IMPLICIT_LE):
            return  # it guesses by the first element, too, but otherwise
        theirs = dict(dataset._dict)
    ours = header.index
    assert ours.keys() == theirs.keys(), "other elements than pydicom sees"
    for tag, element in ours.items():
        same_value(header, element, theirs[tag])


def same_value(header: Header, element: elements.Element, theirs: object) -> None:
    if not isinstance(theirs, RawDataElement):
        if isinstance(getattr(theirs, "value", None), PydicomSequence):
            walker, encoding = header.scan.walker, header.scan.encoding
            try:
                items = list(walker.items(element, walker.content_encoding(element, encoding), 0))
            except Refused:
                return
            assert len(items) == len(theirs.value), "other items than pydicom sees"  # type: ignore[attr-defined]
        return
    value = theirs.value or b""
    if element.length == UNDEFINED:
        assert element.tag == PIXEL_DATA or theirs.length in (UNDEFINED, element.length)
        return
    assert isinstance(value, bytes)
    assert bytes(header.octets.read(element.value, element.length)) == value, "other bytes than pydicom sees"
