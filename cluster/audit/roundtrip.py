"""What a destination made of instances it was given: which elements it dropped, changed or added. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from imaging.coercion.attributes import name_of
from imaging.compare import Change, compare
from imaging.header import Header, read_header
from imaging.octets import Octets
from imaging.part10 import split_part10
from imaging.values import Values

NESTED = 4
"""Sequences inside each other whose private creators are looked up."""
MOST_DIFFERENT = 5_000
"""Kinds of differences that are told apart; a destination that rewrites headers has some hundreds."""


@dataclass(frozen=True, slots=True)
class Place:
    """One element wherever it stood: standard ones by tag, private ones by creator, group and low byte."""

    group: int
    element: int
    """Low byte only, of a private one."""
    creator: str = ""
    path: tuple[str, ...] = ()
    """Sequences it stands in, by name."""

    @property
    def private(self) -> bool:
        return bool(self.group & 1)

    @property
    def name(self) -> str:
        """As pages write it."""
        if self.private:
            own = f"({self.group:04X},xx{self.element:02X}) {self.creator}".strip()
        else:
            own = name_of(self.group << 16 | self.element)
        return " > ".join((*self.path, own))


@dataclass(slots=True)
class RoundTrip:
    """Instances that were read on both sides."""

    destination: str
    instances: int = 0
    equal: int = 0
    """Instances that came back with the same header and pixels."""
    absent: int = 0
    """Instances that the destination does not give back."""
    unreadable: int = 0
    differences: dict[tuple[Place, Change], int] = field(default_factory=dict[tuple[Place, Change], int])

    def add(self, sent: Octets, back: Octets) -> None:
        """Raises `MalformedDataset` where one of the two cannot be read."""
        self.instances += 1
        found = {(_place(path, _creators(sent, back)), change) for path, change in _differences(sent, back)}
        self.equal += not found
        for each in found:
            if each in self.differences or len(self.differences) < MOST_DIFFERENT:
                self.differences[each] = self.differences.get(each, 0) + 1

    def of_private(self, creator: str, group: int, low: int) -> dict[Change, int]:
        """In how many instances this element was dropped, changed or added, wherever it stood."""
        found: dict[Change, int] = {}
        for (place, change), count in self.differences.items():
            if place.private and (place.creator, place.group, place.element) == (creator, group, low):
                found[change] = found.get(change, 0) + count
        return found


def _differences(sent: Octets, back: Octets) -> Iterator[tuple[tuple[int, ...], Change]]:
    return ((one.path, one.change) for one in compare(sent, back))


def _place(path: tuple[int, ...], creators: dict[tuple[int, int], str]) -> Place:
    """Items do not count: a sequence that was dropped from three of them is dropped."""
    tags = path[::2]
    *outer, tag = tags
    names = tuple(_named(one, creators) for one in outer)
    group, element = tag >> 16, tag & 0xFFFF
    if group & 1:
        return Place(group, element & 0xFF, creators.get((group, element >> 8), ""), names)
    return Place(group, element, "", names)


def _named(tag: int, creators: dict[tuple[int, int], str]) -> str:
    group, element = tag >> 16, tag & 0xFFFF
    return Place(group, element & 0xFF, creators.get((group, element >> 8), "")).name if group & 1 else name_of(tag)


def _creators(*files: Octets) -> dict[tuple[int, int], str]:
    """Creators by group and block number, of the first file that has each: paths are as in the file they come from."""
    found: dict[tuple[int, int], str] = {}
    for octets in files:
        for (group, creator), blocks in _blocks(Values.of(_header(octets)), NESTED):
            for block in blocks:
                found.setdefault((group, block), creator)
    return found


def _blocks(values: Values, depth: int) -> Iterator[tuple[tuple[int, str], tuple[int, ...]]]:
    yield from values.blocks.items()
    if depth:
        for element in values:
            if element.vr == "SQ":
                for item in values.items_of(element):
                    yield from _blocks(item, depth - 1)


def _header(octets: Octets) -> Header:
    envelope = split_part10(octets)
    return read_header(octets, envelope.dataset_offset, envelope.transfer_syntax)
