"""What earlier datasets looked like, so that the next slice of their series need not be taken apart as they were.

The headers of a series are equal but for some ten elements: instance UID, number, place, time. A likeness holds such a
header as runs of equal bytes with loose elements between them. Where the same bytes stand again in the same turn, the
same elements and the same records of CAN1 follow, for both are functions of the bytes alone; loose elements are read as
in any other dataset. So nothing is guessed: what does not fit to the last byte is walked as if nothing were known.

    run        whole top-level elements, compared in one step; elements and CAN1 records come with it
    loose      one element of which only tag and VR are as before
    tail       everything from the pixels on, read every time

Only plain headers are learnt: little endian, no flag raised, within one window. A private block is in one run or loose
as a whole, since its keys depend on its creator; a header with another character set is another likeness.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from imaging.canonical import PIXELS, Level, can1, can1_of, encoded, rows, top_level
from imaging.elements import LONG_VRS, UNDEFINED, WINDOW, Element, Encoding, Scan, Walker
from imaging.flags import Flag
from imaging.header import SERIES_INSTANCE_UID, Header, read_header
from imaging.octets import MemoryOctets, Octets
from imaging.syntaxes import encoding_of, is_deflated
from imaging.text import Charset

KEPT = 16
"""Likenesses kept: archives interleave the series of a study, each association brings its own, and coercion makes of
each another one. All of them take 32 MiB at worst, and one where headers have 250 elements."""
MOST_ELEMENTS = 512
"""Elements of a header that is learnt; with `PLACES` this bounds one likeness to about 2 MiB."""
PLACES = 16
"""Offsets for which a run keeps its elements ready; they move with the lengths of what lies before."""

_CHARSET = 0x00080005
_TAIL = min(PIXELS)
_TEMPLATES = (Encoding.EXPLICIT_LE, Encoding.IMPLICIT_LE)
_SHORT, _LONG = struct.Struct("<H"), struct.Struct("<L")
_LONG_CODES = frozenset(LONG_VRS.values())


class Reading:
    """A dataset taken apart, and its CAN1 when asked for."""

    __slots__ = ("_memory", "header")

    def __init__(self, header: Header, memory: "Likenesses | None" = None) -> None:
        self.header = header
        self._memory = memory

    def can1(self) -> bytes:
        """As `imaging.canonical.can1`."""
        digest = can1(self.header)
        self.learn()
        return digest

    def learn(self) -> None:
        """What comes next is compared with this dataset, too; for one whose CAN1 nobody asks for."""
        if self._memory is not None:
            self._memory.learn(self.header)


class Likenesses:
    """The likenesses of one process, the last learnt first.

    Thread-safe: of what two threads learn at once, one part is forgotten.
    """

    def __init__(self) -> None:
        self._known: tuple[Likeness, ...] = ()

    def read(self, octets: Octets, dataset_offset: int, transfer_syntax: str) -> Reading:
        """The dataset taken apart, as by `read_header`, which see for what is raised."""
        encoding = encoding_of(transfer_syntax)
        if is_deflated(transfer_syntax) or encoding not in _TEMPLATES:
            return Reading(read_header(octets, dataset_offset, transfer_syntax))
        data = bytes(octets.read(dataset_offset, WINDOW)) if self._known else b""
        for likeness in self._known:
            if likeness.encoding is encoding and likeness.may_fit(data):
                reading = likeness.recognise(octets, data, dataset_offset, transfer_syntax)
                if reading is not None:
                    return reading
        return Reading(read_header(octets, dataset_offset, transfer_syntax), self)

    def learn(self, header: Header) -> None:
        """What comes next is compared with this header, too."""
        seen = _seen(header)
        if seen is None:
            return
        series = seen.element(SERIES_INSTANCE_UID)
        alike = [one for one in self._known if one.seen.built_like(seen)]
        same = next((one for one in alike if one.seen.element(SERIES_INSTANCE_UID) == series), None)
        differing = frozenset[int]() if same is None else _whole_blocks(seen, same.seen.differing(seen))
        # In another series of the same make, what differed within the one will differ within the other.
        loose = differing.union(same.loose if same is not None else alike[0].loose if alike else ())
        # What was loose for long need not be any more.
        learnt = Likeness(seen, loose if _worth(seen, loose) else differing)
        self._known = (learnt, *(one for one in self._known if one is not same))[:KEPT]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One header that may be learnt: its elements but for the tail, offsets from the first one's start."""

    encoding: Encoding
    charset: Charset
    octets: bytes
    elements: tuple[Element, ...]

    def element(self, tag: int) -> bytes:
        """The bytes of an element; empty where there is none."""
        return next((self.octets[one.start : one.end] for one in self.elements if one.tag == tag), b"")

    def built_like(self, other: "_Seen") -> bool:
        """The same elements one after the other, written alike and in the same character set."""
        return (
            self.encoding is other.encoding
            and self.element(_CHARSET) == other.element(_CHARSET)
            and [_form(one) for one in self.elements] == [_form(one) for one in other.elements]
        )

    def differing(self, other: "_Seen") -> frozenset[int]:
        """Numbers of the elements whose bytes are others in a header built like this one."""
        pairs = zip(self.elements, other.elements, strict=True)
        return frozenset(
            number
            for number, (ours, theirs) in enumerate(pairs)
            if self.octets[ours.start : ours.end] != other.octets[theirs.start : theirs.end]
        )


class _Run:
    """Elements whose bytes are known; `records` are theirs in CAN1, `key` sorts them among others."""

    __slots__ = ("_elements", "_placed", "count", "key", "octets", "records")

    def __init__(self, octets: bytes, elements: Sequence[Element], key: bytes, count: int, records: bytes) -> None:
        self.octets = octets
        self.key = key
        self.count = count
        self.records = records
        self._elements = elements
        self._placed: dict[int, tuple[list[Element], dict[int, Element]]] = {}

    def at(self, start: int) -> tuple[list[Element], dict[int, Element]]:
        """The elements where the run begins at `start`, and the same by tag; not to be changed."""
        placed = self._placed.get(start)
        if placed is None:
            if len(self._placed) >= PLACES:
                self._placed.clear()
            shift = start - self._elements[0].start if self._elements else 0
            elements = [_moved(element, shift) for element in self._elements]
            placed = self._placed[start] = elements, {element.tag: element for element in elements}
        return placed


class _Loose:
    """One element whose length and value differ: what of its header is as before, and how its length is written."""

    __slots__ = ("head", "lead", "length", "tag", "undefined", "vr")

    def __init__(self, element: Element, octets: bytes) -> None:
        self.tag, self.vr = element.tag, element.vr
        self.undefined = element.length == UNDEFINED
        self.lead = element.value - element.start
        self.length = _SHORT if self.vr and self.vr not in _LONG_CODES else _LONG
        self.head = octets[element.start : element.value - self.length.size]


class Likeness:
    """One header with what differed from it among those of its structure."""

    def __init__(self, seen: _Seen, loose: frozenset[int]) -> None:
        """`loose`: numbers of the elements that are not held to their bytes."""
        self.seen = seen
        self.encoding = seen.encoding
        self.loose = loose
        # One header alone promises nothing: a series of one image costs no more than it did.
        self._turns = tuple(_turns(seen, loose)) if loose and _worth(seen, loose) else ()
        self._records = [(run.key, run.records) for run, _ in self._turns if run.count]
        self._count = sum(run.count for run, _ in self._turns)

    def may_fit(self, data: bytes) -> bool:
        """False where the header that begins `data` cannot be like this one: cheap, since most are not."""
        at = 0
        for run, other in self._turns:
            if not data.startswith(run.octets, at):
                return False
            at += len(run.octets)
            if other is None or other.undefined:
                break
            value = at + other.lead
            if value > len(data):
                return False
            at = value + other.length.unpack_from(data, value - other.length.size)[0]
        return bool(self._turns)

    def recognise(self, octets: Octets, data: bytes, start: int, transfer_syntax: str) -> "Reading | None":
        """The dataset at `start` taken apart by its likeness; None where it does not fit. `data`: its first window."""
        walker = Walker(octets, data, start)
        places: list[int] = []
        loose: list[Element] = []
        at = 0
        for run, other in self._turns:
            if not data.startswith(run.octets, at):
                return None
            places.append(at)
            at += len(run.octets)
            if other is None:
                break
            element = self._loose_at(walker, data, at, start, other)
            if element is None:
                return None
            loose.append(element)
            at = element.end - start
        tail, _ = walker.walk(start + at, octets.size, self.encoding, 0)
        if Flag.OUT_OF_ORDER in walker.flags or (tail and tail[0].tag < _TAIL):
            return None
        elements: list[Element] = []
        index: dict[int, Element] = {}
        following = iter(loose)
        for place, (run, other) in zip(places, self._turns, strict=True):
            there, by_tag = run.at(start + place)
            elements += there
            index |= by_tag
            if other is not None:
                elements.append(element := next(following))
                index[element.tag] = element
        elements += tail
        index.update((element.tag, element) for element in tail)
        scan = Scan(walker=walker, encoding=self.encoding, elements=elements, flags=frozenset(walker.flags))
        header = Header(octets=octets, transfer_syntax=transfer_syntax, scan=scan, index=index)
        return _Recognised(header, self, loose + [element for element in tail if element.tag not in PIXELS])

    def can1(self, walker: Walker, others: Sequence[Element]) -> bytes:
        """CAN1 of a dataset that fits, where `others` are all its elements that are in no run."""
        found = rows(Level(walker, others, self.encoding, self.seen.charset, 0))
        records = [*self._records, *((row.key, encoded((row,))) for row in found)]
        records.sort(key=itemgetter(0))
        return can1_of(self._count + len(found), [octets for _, octets in records])

    def _loose_at(self, walker: Walker, data: bytes, at: int, start: int, loose: _Loose) -> Element | None:
        """The loose element at `at` of the window, where one stands that raises no flag and ends in the window."""
        value = at + loose.lead
        if not data.startswith(loose.head, at) or value > len(data):
            return None
        (length,) = loose.length.unpack_from(data, value - loose.length.size)
        begin = start + at
        if length == UNDEFINED:
            bare = Element(loose.tag, loose.vr, begin, start + value, length, 0)
            end = walker.skip(bare, walker.size, self.encoding, 0) - start
        elif length & 1:
            return None
        else:
            end = value + length
        if end > len(data):
            return None
        return Element(loose.tag, loose.vr, begin, start + value, length, start + end)


class _Recognised(Reading):
    """A dataset that fits a likeness."""

    __slots__ = ("_likeness", "_others")

    def __init__(self, header: Header, likeness: Likeness, others: Sequence[Element]) -> None:
        super().__init__(header)
        self._likeness = likeness
        self._others = others

    def can1(self) -> bytes:
        return self._likeness.can1(self.header.scan.walker, self._others)


def _seen(header: Header) -> _Seen | None:
    """The header as something to be learnt; None where it is not plain."""
    scan, level = header.scan, top_level(header)
    elements = [element for element in level.elements if element.tag < _TAIL]
    if scan.walker.flags or scan.walker.guessed or not 0 < len(elements) <= MOST_ELEMENTS:
        return None
    if elements[0].tag == 0:  # may be taken for padding, by what follows
        return None
    start = elements[0].start
    data, _, edge = scan.walker.window(start)
    if elements[-1].end > edge:
        return None
    return _Seen(
        encoding=scan.encoding,
        charset=level.charset,
        octets=data[: elements[-1].end - start],
        elements=tuple(_moved(element, -start) for element in elements),
    )


def _worth(seen: _Seen, loose: frozenset[int]) -> bool:
    """Most of the header is as it was, or nothing would be saved."""
    return len(loose) <= len(seen.elements) // 2


def _whole_blocks(seen: _Seen, loose: frozenset[int]) -> frozenset[int]:
    """With an element of a private group, the whole group."""
    groups = {seen.elements[number].tag >> 16 for number in loose}
    private = {group for group in groups if group & 1}
    return loose.union(n for n, element in enumerate(seen.elements) if element.tag >> 16 in private)


def _turns(seen: _Seen, loose: frozenset[int]) -> Iterator[tuple[_Run, _Loose | None]]:
    """The runs, each with the loose element behind it; the last has none."""
    walker = Walker(MemoryOctets(seen.octets))
    held: list[Element] = []
    for number, element in enumerate(seen.elements):
        if number in loose:
            yield _run(walker, seen, held), _Loose(element, seen.octets)
            held = []
        else:
            held.append(element)
    yield _run(walker, seen, held), None


def _run(walker: Walker, seen: _Seen, elements: Sequence[Element]) -> _Run:
    if not elements:
        return _Run(b"", (), b"", 0, b"")
    found = rows(Level(walker, elements, seen.encoding, seen.charset, 0))
    octets = seen.octets[elements[0].start : elements[-1].end]
    return _Run(octets, elements, found[0].key if found else b"", len(found), encoded(found))


def _form(element: Element) -> tuple[int, str, bool]:
    return element.tag, element.vr, element.length == UNDEFINED


def _moved(element: Element, by: int) -> Element:
    tag, vr, start, value, length, end = element
    return Element(tag, vr, start + by, value + by, length, end + by)
