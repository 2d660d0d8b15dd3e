"""The index of a pack: JSON Lines that say which instances it holds and where.

    {"format": "limosa-index", "version": 1, "study_uid": ..., "revision": 1, "container": "tar", "members": 2}
    {"sop_uid": ..., "offset": 0, ...}      one line per member, by offset (P10: by order of writing)
    {"end": 2, "blake3": "..."}             digest of all lines before

The first line of a volume of a study in several says which one it is and whether it is the last.

It comes back from devices and endpoints we do not own, so parsing believes nothing.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from blake3 import blake3

from imaging.facts import InstanceFacts
from imaging.uid import InvalidUid, parse_uid
from storage.errors import IntegrityError
from storage.packs.batches import MAX_BATCHES
from storage.packs.model import Container, Member, PackId
from storage.packs.naming import MAX_REVISION, MAX_VOLUME

FORMAT = "limosa-index"
VERSION = 1

MAX_MEMBERS = 500_000
"""Instances of one study; the largest real ones (dynamic perfusion) have some ten thousand."""
MAX_LINE = 4096
"""Bytes of one line; ours have about 900."""
MAX_BODY = 512 << 20
"""Bytes of a whole index: what a reader is ready to hold."""

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FLAG = re.compile(r"[A-Z0-9_]{1,64}", re.ASCII)
"""Flags of a later version are unknown here, but they are names all the same: they go into rows and onto terminals."""
_COMPACT = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode
"""As json.dumps, which would build an encoder for each line."""
_MAX_SIZE = 1 << 63
"""Sizes beyond a signed 64-bit number fit no file system and no ledger column."""

_MEMBER_FIELDS = frozenset(
    {
        "series_uid", "sop_uid", "sop_class", "transfer_syntax", "raw_size", "sto_size",
        "raw1", "sto1", "pd1", "can1", "flags", "offset", "length", "lead",
    }
)  # fmt: skip


class InvalidIndex(IntegrityError):
    """The index is damaged, foreign or of a version this program does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What one pack holds."""

    pack: PackId
    container: Container
    members: tuple[Member, ...]
    last: bool = True
    """False: the study goes on in another volume."""

    @property
    def whole(self) -> bool:
        """The pack is the study, not one of its volumes."""
        return self.pack.volume == 1 and self.last

    def holds(self, members: Iterable[Member]) -> bool:
        """Exactly these instances, byte for byte, wherever they lie."""
        mine = {member.facts.sop_uid: _essence(member.facts) for member in self.members}
        theirs = {member.facts.sop_uid: _essence(member.facts) for member in members}
        return mine == theirs


def _essence(facts: InstanceFacts) -> tuple[object, ...]:
    return (facts.study_uid, facts.series_uid, facts.sop_class, facts.transfer_syntax, facts.sto_size, facts.sto1)


def serialise_index(index: Index) -> bytes:
    """The index as JSON Lines; equal indexes give equal bytes."""
    lines = [_line(_header(index)), *(_line(_member(member)) for member in index.members)]
    digest = blake3()
    for line in lines:
        digest.update(line)
    lines.append(_line({"end": len(index.members), "blake3": digest.hexdigest()}))
    return b"".join(lines)


def parse_index(body: bytes, expected: PackId | None = None) -> Index:
    """The index in `body`, which is one of `expected` if that is given.

    Raises
    ------
    InvalidIndex
        Anything is not as `serialise_index` writes it. No value of the index is in the message.
    """
    if len(body) > MAX_BODY:
        raise InvalidIndex(f"{len(body)} bytes long, {MAX_BODY} allowed")
    lines = _lines(body)
    try:
        index = _read(lines)
    except StopIteration:
        raise InvalidIndex("ends too early") from None
    except InvalidUid as error:
        raise InvalidIndex(f"a UID {error}") from error
    if expected is not None and index.pack != expected:
        raise InvalidIndex("belongs to another study or revision")
    _check_layout(index)
    return index


def _read(lines: Iterator[bytes]) -> Index:
    digest = blake3()
    line = next(lines)
    digest.update(line)
    header = _object(line)
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise InvalidIndex("format or version unknown")
    revision = _number(header, "revision")
    if not 1 <= revision <= MAX_REVISION:
        raise InvalidIndex("revision out of range")
    volume, last = header.get("volume", 1), header.get("last", True)
    if type(volume) is not int or not 1 <= volume <= MAX_VOLUME or not isinstance(last, bool):
        raise InvalidIndex("volume out of range")
    pack = PackId(study_uid=parse_uid(_text(header, "study_uid")), revision=revision, volume=volume)
    try:
        container = Container(_text(header, "container"))
    except ValueError:
        raise InvalidIndex("container unknown") from None
    count = _number(header, "members")
    if count > MAX_MEMBERS:
        raise InvalidIndex(f"{count} members, {MAX_MEMBERS} allowed")
    members: list[Member] = []
    for _ in range(count):
        line = next(lines)
        digest.update(line)
        members.append(_parse_member(pack, _object(line)))
    if _object(next(lines)) != {"end": count, "blake3": digest.hexdigest()}:
        raise InvalidIndex("digest or count differ")
    if next(lines, None) is not None:
        raise InvalidIndex("goes on after its end")
    return Index(pack=pack, container=container, members=tuple(members), last=last)


def _lines(body: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(body):
        stop = body.find(b"\n", start, start + MAX_LINE)
        if stop < 0:
            raise InvalidIndex(f"a line is longer than {MAX_LINE} bytes or has no end")
        yield body[start : stop + 1]
        start = stop + 1


def _check_layout(index: Index) -> None:
    seen = {member.facts.sop_uid for member in index.members}
    if len(seen) != len(index.members):
        raise InvalidIndex("an instance is named twice")
    end = 0
    batched = bool(index.members and index.members[0].offset)
    for member in index.members:
        if index.container is Container.P10:
            if (member.lead, member.length) != (0, member.facts.sto_size):
                raise InvalidIndex("a loose instance is not a whole object")
            if not batched <= member.offset <= MAX_BATCHES * batched:
                raise InvalidIndex("loose instances are in batches or are not")
            continue
        if member.offset != end:
            raise InvalidIndex("members do not follow each other")
        if index.container is Container.TAR and member.length < member.lead + member.facts.sto_size:
            raise InvalidIndex("a member is shorter than its instance")
        end = member.offset + member.length


def _header(index: Index) -> dict[str, object]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "study_uid": index.pack.study_uid,
        "revision": index.pack.revision,
        "container": index.container.value,
        "members": len(index.members),
        **({} if index.whole else {"volume": index.pack.volume, "last": index.last}),
    }


def _member(member: Member) -> dict[str, object]:
    facts = member.facts
    return {
        "sop_uid": facts.sop_uid,
        "series_uid": facts.series_uid,
        "sop_class": facts.sop_class,
        "transfer_syntax": facts.transfer_syntax,
        "offset": member.offset,
        "length": member.length,
        "lead": member.lead,
        "raw_size": facts.raw_size,
        "sto_size": facts.sto_size,
        "raw1": facts.raw1.hex(),
        "sto1": facts.sto1.hex(),
        "pd1": facts.pd1.hex() if facts.pd1 is not None else None,
        "can1": facts.can1.hex(),
        "flags": list(facts.flags),
    }


def _parse_member(pack: PackId, line: dict[str, object]) -> Member:
    if line.keys() != _MEMBER_FIELDS:
        raise InvalidIndex("a member has missing or unknown fields")
    flags = line["flags"]
    if not isinstance(flags, list) or not all(isinstance(flag, str) and _FLAG.fullmatch(flag) for flag in flags):
        raise InvalidIndex("flags are no list of names")
    facts = InstanceFacts(
        study_uid=pack.study_uid,
        series_uid=parse_uid(_text(line, "series_uid")),
        sop_uid=parse_uid(_text(line, "sop_uid")),
        sop_class=parse_uid(_text(line, "sop_class")),
        transfer_syntax=parse_uid(_text(line, "transfer_syntax")),
        raw_size=_number(line, "raw_size"),
        sto_size=_number(line, "sto_size"),
        raw1=_digest(line, "raw1"),
        sto1=_digest(line, "sto1"),
        pd1=_digest(line, "pd1") if line["pd1"] is not None else None,
        can1=_digest(line, "can1"),
        flags=tuple(flags),
    )
    return Member(
        facts=facts, offset=_number(line, "offset"), length=_number(line, "length"), lead=_number(line, "lead")
    )


def _line(value: dict[str, object]) -> bytes:
    return _COMPACT(value).encode("ascii") + b"\n"


def _object(line: bytes) -> dict[str, object]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise InvalidIndex("a line is not JSON") from None
    if not isinstance(value, dict):
        raise InvalidIndex("a line is not a JSON object")
    return value


def _text(line: dict[str, object], field: str) -> str:
    value = line.get(field)
    if not isinstance(value, str):
        raise InvalidIndex(f"{field} is not text")
    return value


def _number(line: dict[str, object], field: str) -> int:
    value = line.get(field)
    if type(value) is not int or not 0 <= value < _MAX_SIZE:
        raise InvalidIndex(f"{field} is not a size")
    return value


def _digest(line: dict[str, object], field: str) -> bytes:
    value = _text(line, field)
    if _DIGEST.fullmatch(value) is None:
        raise InvalidIndex(f"{field} is no digest")
    return bytes.fromhex(value)
