"""Messages from a file, a batch or a stream of frames, one after another, and a fault for whatever is none.

Memory is one message: a hospital's merge history can be tens of gigabytes. What lies between messages, has a
line break inside or counts wrongly is reported with its place; nothing is dropped silently but blank lines.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from imaging.hl7.charsets import codec_of
from imaging.hl7.defects import Defect, Fault
from imaging.hl7.segments import Segment, Separators, name_of, separators_of

MESSAGE_LIMIT = 64 << 20
"""Bytes of one message; reports with embedded documents are larger than one thinks, and memory is finite."""
SEGMENT_LIMIT = 50_000
"""Segments of one message."""
FIELD_LIMIT = 1_000
"""Fields of one segment that are split; PID has 39."""

_FRAMES = b"\x0b\x1c"
"""Start and end of an MLLP frame; files that were written from a socket still have them."""
_BOM = b"\xef\xbb\xbf"
_ENVELOPE = frozenset(["FHS", "BHS", "BTS", "FTS"])
_CHARSET = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message; a segment that could not be read is there with its defect."""

    number: int
    """From 1, in the order of the file."""
    offset: int
    segments: tuple[Segment, ...]

    def first(self, name: str) -> Segment | None:
        """The first segment of this name."""
        return next((segment for segment in self.segments if segment.name == name), None)


@dataclass(slots=True)
class _Line:
    name: str
    offset: int
    octets: bytes
    broken: bool = False
    """A line that is no segment came behind it: the break was inside a field."""


def messages(chunks: Iterable[bytes], *, default_codec: str = "ascii") -> Iterator[Message | Fault]:
    """Everything in the octets, which come in pieces of any size.

    `default_codec` is Python's name of the character set where MSH-18 says none; the standard means ASCII.
    """
    reading = _Reading(default_codec)
    for offset, line in _lines(chunks):
        yield from reading.take(offset, line)
    yield from reading.end()


class _Reading:
    """The message that is being gathered, and what envelopes promise."""

    def __init__(self, default_codec: str) -> None:
        self._default_codec = default_codec
        self._lines: list[_Line] = []
        self._size = 0
        self._too_long = False
        self._number = 0
        self._in_batch = 0
        self._batches = 0

    def take(self, offset: int, line: bytes | None) -> Iterator[Message | Fault]:
        if line is None:
            self._too_long = True
            if not self._lines:
                yield Fault(defect=Defect.TOO_LONG, offset=offset, message=self._number)
            return
        name = name_of(line)
        if name == "MSH":
            yield from self.end()
            self._number += 1
            self._in_batch += 1
            self._lines = [_Line(name, offset, line)]
            self._size = len(line)
        elif name in _ENVELOPE:
            yield from self.end()
            yield from self._envelope(name, offset, line)
        elif not self._lines:
            yield Fault(defect=Defect.STRAY, offset=offset, message=self._number)
        elif not self._is_segment(name, line):
            self._lines[-1].broken = True
        else:
            self._size += len(line)
            if self._size > MESSAGE_LIMIT or len(self._lines) >= SEGMENT_LIMIT:
                self._too_long = True
            else:
                self._lines.append(_Line(name, offset, line))

    def end(self) -> Iterator[Message | Fault]:
        """The message gathered so far, if there is one."""
        lines, too_long = self._lines, self._too_long
        self._lines, self._too_long = [], False
        if not lines:
            return
        if too_long:
            yield Fault(defect=Defect.TOO_LONG, offset=lines[0].offset, message=self._number)
        else:
            yield self._message(lines)

    def _is_segment(self, name: str, line: bytes) -> bool:
        """A name alone or before the separator of fields: a word in capitals may begin a broken line too."""
        return bool(name) and (len(line) == 3 or line[3:4] == self._lines[0].octets[3:4])

    def _envelope(self, name: str, offset: int, line: bytes) -> Iterator[Fault]:
        if name == "BHS":
            self._in_batch = 0
            return
        if name == "FHS":
            self._batches = self._in_batch = 0
            return
        found = self._in_batch if name == "BTS" else self._batches
        told = line.split(line[3:4])[1:2] if len(line) > 4 else []
        if told and told[0].strip().isdigit() and int(told[0][:12]) != found:
            yield Fault(defect=Defect.COUNT, offset=offset, message=self._number, segment=name, field=1)
        if name == "BTS":
            self._batches += 1
            self._in_batch = 0

    def _message(self, lines: list[_Line]) -> Message | Fault:
        head = lines[0]
        separators = separators_of(head.octets)
        if separators is None:
            return Fault(defect=Defect.HEADER, offset=head.offset, message=self._number, segment="MSH", field=1)
        fields = head.octets.split(separators.field.encode("ascii"), _CHARSET)
        names = fields[_CHARSET - 1].decode("ascii", "replace") if len(fields) >= _CHARSET else ""
        codec = codec_of(names, separators.repetition, self._default_codec)
        if codec is None:
            return Fault(defect=Defect.CHARSET, offset=head.offset, message=self._number, segment="MSH", field=_CHARSET)
        segments = tuple(_segment(line, separators, codec) for line in lines)
        return Message(number=self._number, offset=head.offset, segments=segments)


def _segment(line: _Line, separators: Separators, codec: str) -> Segment:
    defect, fields = (Defect.BROKEN if line.broken else None), ()
    try:
        text = line.octets.decode(codec)
    except UnicodeDecodeError:
        defect = Defect.UNDECODABLE
    else:
        split = text.split(separators.field, FIELD_LIMIT)
        fields = tuple([split[0], separators.field, *split[1:]] if line.name == "MSH" else split)
    return Segment(name=line.name, offset=line.offset, fields=fields, separators=separators, codec=codec, defect=defect)


def _lines(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Start and octets of each line that is not blank; None for one that is longer than any message may be."""
    offset, size, skipping = 0, 0, False
    held: list[bytes] = []
    for chunk in chunks:
        # Any of CR, LF and CRLF ends a segment; between CR and LF lies a blank line, and those are nothing.
        first, *others = chunk.replace(b"\r", b"\n").split(b"\n")
        held.append(first)
        size += len(first)
        for piece in others:
            if not skipping:
                yield from _line(offset, b"".join(held))
            offset, size, skipping = offset + size + 1, len(piece), False
            held = [piece]
        if size > MESSAGE_LIMIT:
            if not skipping:
                yield offset, None
            held, skipping = [], True
    if not skipping:
        yield from _line(offset, b"".join(held))


def _line(offset: int, octets: bytes) -> Iterator[tuple[int, bytes]]:
    line = octets.lstrip(_FRAMES + b" \t\0").removeprefix(_BOM)
    start = offset + len(octets) - len(line)
    line = line.rstrip(_FRAMES + b"\0")
    if line.strip():
        yield start, line
