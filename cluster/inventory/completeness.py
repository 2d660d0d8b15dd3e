"""Whether an answer can be believed to be whole. Many archives cut long answers and still report success.

Signals, in the order they are looked for:

    ENDED     the final status is not success: out of resources, failed, cancelled unasked, association lost
    CAP       as many answers as a cap that was configured, or that three different answers have shown
    ROUND     a count software likes to stop at, and nothing longer was ever answered
    PEAK      the longest answer so far: a silent cap would look exactly like this

An answer shorter than another one cannot have been cut by a fixed cap; so once every peak has been asked
again in smaller windows, no silent cap can have hidden anything.
"""

from collections.abc import Set
from enum import StrEnum

from actors.source import FindEnd
from imaging.uid import Uid

SMALLEST_CAP = 20
"""Shorter answers are not suspected of a silent cap: no archive is known to cut below 50, and suspecting
every tiny answer would ask for each study by itself."""

PLATEAU = 3
"""Different answers of one same, largest length that make a cap of it."""

ROUND_COUNTS = frozenset(
    (50, 100, 150, 200, 250, 300, 400, 500, 512, 999, 1000, 1024, 1999, 2000, 2048, 4096, 5000, 9999)
) | frozenset(range(10_000, 1_000_001, 5_000))
"""Caps seen in the field, and the round figures above them."""


class Signal(StrEnum):
    """Why an answer may be cut short."""

    ENDED = "ended"
    CAP = "cap"
    ROUND = "round"
    PEAK = "peak"
    EXPECTED = "expected"
    """Not asked at all: the studies known already are more than one answer can bring."""
    UNACCOUNTED = "unaccounted"
    """Narrower questions missed studies this one had shown."""


class Caps:
    """What the lengths of answers say about the source's cap."""

    __slots__ = ("_at_largest", "configured", "largest")

    def __init__(self, configured: int | None) -> None:
        self.configured = configured
        self.largest = 0
        self._at_largest: set[int] = set()

    @property
    def believed(self) -> int | None:
        """The configured cap, else the one that a plateau shows, else None."""
        if self.configured is not None:
            return self.configured
        return self.largest if self.largest >= SMALLEST_CAP and len(self._at_largest) >= PLATEAU else None

    def judge(self, end: FindEnd, rows: int, uids: Set[Uid]) -> Signal | None:
        """The reason to doubt an answer of `rows` records, or None; the answer is remembered.

        A window and its half may hold the same studies: equal sets count once towards a plateau.
        """
        before = self.largest
        if rows > self.largest:
            self.largest = rows
            self._at_largest = {hash(frozenset(uids))}
        elif rows == self.largest and len(self._at_largest) < PLATEAU:
            self._at_largest.add(hash(frozenset(uids)))

        if end is not FindEnd.SUCCESS:
            return Signal.ENDED
        if self.configured is not None and rows >= self.configured:
            return Signal.CAP
        if rows < SMALLEST_CAP:
            return None
        if self.believed is not None and rows >= self.believed:
            return Signal.CAP
        if rows in ROUND_COUNTS and rows >= before:
            return Signal.ROUND
        return Signal.PEAK if rows >= before else None
