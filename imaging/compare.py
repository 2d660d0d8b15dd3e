"""What differs between two files that should hold the same instance, element by element.

Two values are equal exactly when CAN1 takes them for equal, so encodings, lengths, pads, group lengths and
private blocks never show up here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from typing import Protocol

from imaging.canonical import Level, Row, rows, top_level
from imaging.header import read_header
from imaging.octets import Octets
from imaging.part10 import split_part10
from imaging.pixels import digest_pixels, pixel_element


class Change(StrEnum):
    """How the right side departs from the left."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One element that differs."""

    path: tuple[int, ...]
    """Tag, item number, tag, item number, ... tag: items count from 0; tags as in the file they come from."""
    change: Change
    left: str | None = None
    right: str | None = None

    @property
    def tag(self) -> int:
        """The innermost element."""
        return self.path[-1]


class ValuePolicy(Protocol):
    """Decides what may be seen of a value. Values are patient data: whoever shows them answers for it."""

    def show(self, tag: int, content: bytes) -> str | None:
        """The text to put into a difference, or None to leave it out."""
        ...


class NoValues:
    """Shows nothing; the default."""

    def show(self, tag: int, content: bytes) -> str | None:
        """Nothing."""
        return None


def compare(left: Octets, right: Octets, *, values: ValuePolicy | None = None) -> tuple[Difference, ...]:
    """The differences between two Part-10 files in canonical order; empty where CAN1 and PD1 agree.

    Raises
    ------
    MalformedDataset
        One of the two cannot be read.
    """
    policy = values or NoValues()
    ours, theirs = (
        read_header(octets, envelope.dataset_offset, envelope.transfer_syntax)
        for octets, envelope in ((left, split_part10(left)), (right, split_part10(right)))
    )
    found = list(_levels(top_level(ours), top_level(theirs), (), policy))
    ours_pixels, theirs_pixels = digest_pixels(ours), digest_pixels(theirs)
    if (ours_pixels and ours_pixels.pd1) != (theirs_pixels and theirs_pixels.pd1):
        element = pixel_element(theirs) or pixel_element(ours)
        change = Change.ADDED if not ours_pixels else Change.CHANGED if theirs_pixels else Change.REMOVED
        found.append(Difference(path=(element.tag if element else 0,), change=change))
    return tuple(found)


def _levels(left: Level, right: Level, path: tuple[int, ...], policy: ValuePolicy) -> Iterator[Difference]:
    """Both levels' rows side by side; repeated elements pair up in file order."""
    ours, theirs = rows(left), rows(right)
    i = j = 0
    while i < len(ours) or j < len(theirs):
        if j == len(theirs) or (i < len(ours) and ours[i].key < theirs[j].key):
            yield _one_sided(ours[i], path, Change.REMOVED, policy)
            i += 1
        elif i == len(ours) or theirs[j].key < ours[i].key:
            yield _one_sided(theirs[j], path, Change.ADDED, policy)
            j += 1
        else:
            yield from _rows(ours[i], theirs[j], path, policy)
            i += 1
            j += 1


def _rows(left: Row, right: Row, path: tuple[int, ...], policy: ValuePolicy) -> Iterator[Difference]:
    here = (*path, left.tag)
    if isinstance(left.content, bytes) or isinstance(right.content, bytes):
        if left[1:4] != right[1:4]:
            yield Difference(path=here, change=Change.CHANGED, left=_shown(left, policy), right=_shown(right, policy))
        return
    for number, (ours, theirs) in enumerate(zip_longest(left.content.levels(), right.content.levels())):
        if ours is None or theirs is None:
            yield Difference(path=here, change=Change.ADDED if ours is None else Change.REMOVED)
        else:
            yield from _levels(ours, theirs, (*here, number), policy)


def _one_sided(row: Row, path: tuple[int, ...], change: Change, policy: ValuePolicy) -> Difference:
    shown = _shown(row, policy)
    return Difference(
        path=(*path, row.tag),
        change=change,
        left=shown if change is Change.REMOVED else None,
        right=shown if change is Change.ADDED else None,
    )


def _shown(row: Row, policy: ValuePolicy) -> str | None:
    return policy.show(row.tag, row.content) if isinstance(row.content, bytes) else None
