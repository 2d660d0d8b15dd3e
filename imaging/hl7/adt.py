"""What a message says about identity, as events of `imaging.identity`, and faults for what it says unusably.

One message can hold several pairs of PID and MRG (A39 to A43); each MRG belongs to the PID above it, and the
pairs count in their order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from itertools import product
from typing import TypeAlias

from imaging.hl7.defects import Defect, Fault
from imaging.hl7.pairs import Unpaired, counterparts, owners
from imaging.hl7.patients import Numbered, numbers, person
from imaging.hl7.reader import Message
from imaging.hl7.segments import Segment
from imaging.hl7.times import time_of
from imaging.hl7.triggers import ACTS, PAIRED, PATIENTS, WERE_PATIENTS, Act, Deed, Place
from imaging.identity.events import (
    Delete,
    Describe,
    IdentityEvent,
    Link,
    Merge,
    Move,
    MovePart,
    Origin,
    Part,
    Register,
    RenamePart,
    Source,
    Unlink,
    Unrelated,
)
from imaging.identity.issuers import Issuers
from imaging.identity.people import NOBODY, Conflict

LABEL_LIMIT = 200
"""Characters of sender and control id (MSH-3, 4, 10) that are kept; the last may have 199."""
LINKED_LIMIT = 20
"""Numbers of one patient in a link, which pairs each with each; real lists have two or three."""
_NEEDED = frozenset(["MSH", "EVN", "PID", "MRG", "PV1"])
_PARTS = {
    Deed.MOVE_ACCOUNT: Part.ACCOUNT,
    Deed.RENAME_ACCOUNT: Part.ACCOUNT,
    Deed.MOVE_VISIT: Part.VISIT,
    Deed.RENAME_VISIT: Part.VISIT,
}


@dataclass(frozen=True, kw_only=True)
class Feed:
    """What a site's messages do not say themselves."""

    issuers: Issuers
    zone: tzinfo
    """Of times without one."""


_Group: TypeAlias = dict[str, Segment]
"""One PID with the MRG and PV1 that follow it."""


def events(message: Message, feed: Feed) -> Iterator[IdentityEvent | Fault]:
    """Events and faults in the order of the message; at least one of them."""
    head = message.segments[0]
    evn = message.first("EVN")
    if head.defect is not None:
        yield _fault(message, head, 0, head.defect)
        return
    trigger = _trigger(head, evn)
    if trigger is None:
        yield _fault(message, head, 9, Defect.TRIGGER)
        return
    at = _time(head, evn, feed.zone)
    label = "/".join(part for part in (head.text(3), head.text(4), head.text(10)) if part)[:LABEL_LIMIT]
    origin = Origin(source=Source.HL7, at=at, label=label, kind=trigger)
    acts = ACTS.get(trigger, ())
    if not acts:
        yield Unrelated(origin=origin)
        return
    groups = list(_groups(message))
    faults = [_fault(message, one, 0, one.defect) for one in message.segments if one.name in _NEEDED and one.defect]
    if not faults and at is None:
        faults = [_fault(message, evn or head, 2 if evn else 7, Defect.TIME)]
    if not faults and not groups:
        faults = [_fault(message, head, 0, Defect.STRUCTURE, "PID")]
    if faults:
        yield from faults
        return
    telling = _Telling(message, origin, feed, head.text(4))
    silent = True
    for act in acts:
        for told in telling.all(act, groups):
            silent = False
            yield told
    if silent:
        # A number linked with itself, or renamed to what it is: counted, like all that changes nothing.
        yield Unrelated(origin=origin)


def _trigger(head: Segment, evn: Segment | None) -> str | None:
    """MSH-9.2, or EVN-1 where that is empty; the type of what is no ADT, None where they disagree about a merge."""
    kinds = head.repetitions(9)
    kind, told = (_code(kinds[0].component(1)), _code(kinds[0].component(2))) if kinds else ("", "")
    if kind != "ADT":
        return kind
    second = _code(evn.text(1)) if evn else ""
    if told and second and told != second and PAIRED & {told, second}:
        return None
    return told or second


def _code(text: str) -> str:
    """Three letters or digits; nothing of what a stranger may have written there instead."""
    code = text.strip().upper()
    return code if len(code) == 3 and code.isascii() and code.isalnum() else ""


def _time(head: Segment, evn: Segment | None, zone: tzinfo) -> datetime | None:
    """When it happened (EVN-6), else when it was recorded (EVN-2), else when it was sent (MSH-7)."""
    texts = [evn.text(6), evn.text(2)] if evn else []
    return next((time for text in (*texts, head.text(7)) if text and (time := time_of(text, zone))), None)


def _groups(message: Message) -> Iterator[_Group]:
    """Each PID with what is below it; a second MRG below the same PID (A45) makes a second group."""
    group: _Group = {}
    for segment in message.segments:
        if segment.name == "PID" or (segment.name == "MRG" and "MRG" in group):
            if group:
                yield group
            group = {"PID": segment} if segment.name == "PID" else {"PID": group["PID"], "MRG": segment}
        elif group and segment.name in ("MRG", "PV1"):
            group[segment.name] = segment
    if group:
        yield group


def _fault(message: Message, segment: Segment, field: int, defect: Defect, detail: str = "") -> Fault:
    return Fault(
        defect=defect,
        offset=segment.offset,
        message=message.number,
        segment=segment.name,
        field=field,
        detail=detail,
    )


@dataclass(frozen=True, slots=True)
class _Telling:
    message: Message
    origin: Origin
    feed: Feed
    sender: str

    def all(self, act: Act, groups: Sequence[_Group]) -> Iterator[IdentityEvent | Fault]:
        if act.deed in (Deed.LINK, Deed.UNLINK):
            yield from self._linked(act, groups)
            return
        for group in groups:
            if act.old is None or act.new is None:
                yield from self._alone(act, group)
                continue
            missing = [name for name in (act.old[0], act.new[0]) if name not in group]
            if missing:
                yield _fault(self.message, group["PID"], 0, Defect.STRUCTURE, missing[0])
            elif act.deed in _PARTS:
                yield from self._part(act, act.old, act.new, group)
            else:
                yield from self._paired(act, act.old, act.new, group)

    def _numbers(self, group: _Group, place: Place) -> Iterator[Numbered | Fault]:
        """The usable identifiers of a field, and a fault for each other and where there is none."""
        segment, some = group[place[0]], False
        for number in numbers(segment, place[1], self.feed.issuers, self.sender):
            some = True
            if isinstance(number, Conflict):
                yield _fault(self.message, segment, place[1], Defect.IDENTIFIER, number.value)
            else:
                yield number
        if not some:
            yield _fault(self.message, segment, place[1], Defect.IDENTIFIER, Conflict.PID_MISSING.value)

    def _alone(self, act: Act, group: _Group) -> Iterator[IdentityEvent | Fault]:
        """Every number of the PID is this person's."""
        told = person(group["PID"])
        for number in self._numbers(group, PATIENTS):
            if isinstance(number, Fault):
                yield number
            elif act.deed is Deed.DELETE:
                yield Delete(origin=self.origin, identifier=number.identifier)
            elif act.deed is Deed.REGISTER:
                yield Register(origin=self.origin, identifier=number.identifier, person=told)
            else:
                yield Describe(origin=self.origin, identifier=number.identifier, person=told)

    def _linked(self, act: Act, groups: Sequence[_Group]) -> Iterator[IdentityEvent | Fault]:
        if len(groups) != 2:
            yield _fault(self.message, groups[0]["PID"], 0, Defect.STRUCTURE, "two PID")
            return
        sides: list[list[Numbered]] = []
        for group in groups:
            found = list(self._numbers(group, PATIENTS))
            yield from (one for one in found if isinstance(one, Fault))
            sides.append([one for one in found if isinstance(one, Numbered)])
            if len(found) > LINKED_LIMIT:
                yield _fault(self.message, group["PID"], PATIENTS[1], Defect.PAIRING, "too many")
                return
        make = Link if act.deed is Deed.LINK else Unlink
        for one, other in product(*sides):
            if one.identifier != other.identifier:
                yield make(origin=self.origin, one=one.identifier, other=other.identifier)

    def _paired(self, act: Act, old: Place, new: Place, group: _Group) -> Iterator[IdentityEvent | Fault]:
        if act.instead is not None and not group[old[0]].repetitions(old[1]):
            old, new = act.instead
        before, after = list(self._numbers(group, old)), list(self._numbers(group, new))
        yield from (one for one in (*before, *after) if isinstance(one, Fault))
        olds = [one for one in before if isinstance(one, Numbered)]
        news = [one for one in after if isinstance(one, Numbered)]
        if act.deed is Deed.MOVE:
            yield from self._moved(olds, news, group)
            return
        told = person(group["PID"])
        for pair in counterparts(olds, news):
            if isinstance(pair, Unpaired):
                yield _fault(self.message, group[old[0]], old[1], Defect.PAIRING, pair.value)
                continue
            was, now = pair
            yield Merge(origin=self.origin, old=was, new=now, renamed=act.deed is Deed.RENAME)
            if told != NOBODY:
                yield Describe(origin=self.origin, identifier=now, person=told)

    def _moved(self, olds: list[Numbered], news: list[Numbered], group: _Group) -> Iterator[IdentityEvent | Fault]:
        found = owners(olds, news)
        if isinstance(found, Unpaired):
            yield _fault(self.message, group["MRG"], 1, Defect.PAIRING, found.value)
            return
        told = person(group["PID"])
        for moved in found.moved:
            yield Move(origin=self.origin, moved=moved, giver=found.giver, owner=found.owner)
        if told != NOBODY:
            yield Describe(origin=self.origin, identifier=found.owner, person=told)

    def _part(self, act: Act, old: Place, new: Place, group: _Group) -> Iterator[IdentityEvent | Fault]:
        """Accounts and visits; a move names the same number on both sides, often on one only."""
        part = _PARTS[act.deed]
        was, now = group[old[0]].text(old[1]).strip(), group[new[0]].text(new[1]).strip()
        moves = act.deed in (Deed.MOVE_ACCOUNT, Deed.MOVE_VISIT)
        if not (was or now) if moves else not (was and now):
            place = old if not was else new
            yield _fault(self.message, group[place[0]], place[1], Defect.IDENTIFIER, "no number")
            return
        if moves:
            yield from self._moved_part(part, was or now, group)
            return
        for number in self._numbers(group, PATIENTS):
            if isinstance(number, Fault):
                yield number
            elif was != now:
                yield RenamePart(origin=self.origin, part=part, patient=number.identifier, old=was, new=now)

    def _moved_part(self, part: Part, moved: str, group: _Group) -> Iterator[IdentityEvent | Fault]:
        before, after = list(self._numbers(group, WERE_PATIENTS)), list(self._numbers(group, PATIENTS))
        yield from (one for one in (*before, *after) if isinstance(one, Fault))
        olds = [one for one in before if isinstance(one, Numbered)]
        for pair in counterparts(olds, [one for one in after if isinstance(one, Numbered)]):
            if isinstance(pair, Unpaired):
                yield _fault(self.message, group["MRG"], WERE_PATIENTS[1], Defect.PAIRING, pair.value)
            else:
                yield MovePart(origin=self.origin, part=part, number=moved, giver=pair[0], owner=pair[1])
