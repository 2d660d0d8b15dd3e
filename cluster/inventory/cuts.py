"""A doubted window that is being asked in parts, and what was concluded about windows."""

from collections import deque
from collections.abc import Set
from dataclasses import dataclass, field
from enum import StrEnum

from actors.source import FindEnd, StudyWindow
from cluster.inventory.completeness import Signal
from cluster.inventory.windows import NO_MODALITY, Way, prefix_of
from imaging.uid import Uid

IGNORED_FLOOR = 3
"""Studies two disjoint windows must share before their key counts as ignored: single studies do occur
under two dates."""

REFUSALS = 3
"""Parts refused without a single answer, before a key counts as one the archive cannot match."""


class Verdict(StrEnum):
    """What became of a window."""

    OPEN = "open"
    """A peak: believed for now, asked again in parts unless a longer answer comes."""
    COMPLETE = "complete"
    SPLIT = "split"
    UNSPLITTABLE = "unsplittable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A window and its verdict; a later verdict for the same window replaces it."""

    window: StudyWindow
    verdict: Verdict
    rows: int
    signal: Signal | None = None
    parent: StudyWindow | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """A window as it was answered, and why its answer may be cut (None: it is whole)."""

    window: StudyWindow
    uids: frozenset[Uid]
    rows: int
    signal: Signal | None


@dataclass(slots=True)
class Cut:
    """One doubted window being asked in parts along `way`. All parts are asked before any goes deeper:
    only side by side do they show that the archive ignores the key."""

    doubt: Doubt
    way: Way
    further: tuple[Way, ...]
    """Ways left when this one does not account for everything."""
    parts: deque[StudyWindow]
    unseen: set[Uid]
    """Studies of the doubted answer that no part, however deep, has brought yet."""
    deeper: deque[Doubt] = field(default_factory=deque[Doubt])
    asked: int = 0
    refused: int = 0
    impossible: int = 0
    """Studies brought for the modality that does not exist."""
    smallest: int = 0
    shared: frozenset[Uid] | None = None
    days: int = 0
    """Span of the last part, 0 where it has no end."""
    peaks: list[Doubt] = field(default_factory=list[Doubt])
    """Parts with the longest answers; of no meaning when the key turns out to be ignored."""

    def note(self, end: FindEnd, window: StudyWindow, uids: frozenset[Uid]) -> None:
        """One more part was answered."""
        self.asked += 1
        if window.date_from is not None and window.date_to is not None:
            self.days = (window.date_to - window.date_from).days + 1
        # A700 says "too many", which is what cutting is for; other failures may mean "not by this key".
        self.refused += end is FindEnd.FAILED and not uids
        self.impossible += len(uids) if window.modality == NO_MODALITY else 0
        self.smallest = len(uids) if self.shared is None else min(self.smallest, len(uids))
        self.shared = uids if self.shared is None else self.shared & uids

    @property
    def refusing(self) -> bool:
        """The archive refuses the key, or ignores one that nothing can match: no use asking on."""
        enough = self.asked >= REFUSALS or not self.parts
        # An archive may refuse a year for its length: dates are given up when it refuses even single days.
        tried = self.way is not Way.DATE or self.days == 1
        all_refused = tried and enough and self.refused == self.asked > 0
        return all_refused or self.impossible > 0

    @property
    def pointless(self) -> bool:
        """True when the archive refuses the key, or answers the same whatever its value."""
        return self.refusing or (self.asked > 1 and same(self.smallest, self.shared or frozenset()))


def twins(one: Doubt, other: Doubt, way: Way) -> bool:
    """Where matching ignores case, "a*" brings what "A*" brings: one of them is enough."""
    first, second = prefix_of(one.window, way), prefix_of(other.window, way)
    if not one.uids or one.uids != other.uids or first is None or second is None:
        return False
    return first.casefold() == second.casefold()


def same(smallest: int, shared: Set[Uid]) -> bool:
    """Disjoint windows share most of what they bring: the key that tells them apart is ignored."""
    return smallest >= IGNORED_FLOOR and 2 * len(shared) > smallest
