"""Whether studies that came on several devices are whole in the bucket, and whether their volumes agree.

A device brings what it has, at any time and in any order. What it says of the others is compared with what lies in the
bucket already; nothing is called complete before every volume up to the last is there.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from imaging.uid import Uid
from storage.errors import IntegrityError
from storage.packs.index import MAX_BODY, Index, parse_index
from storage.packs.model import PackId
from storage.packs.naming import MAX_VOLUME, index_key, pack_key
from storage.seeds.manifest import PackRow
from storage.seeds.opening import OpenedSeed
from storage.sinks.s3_client import Bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A volume that is not in the bucket yet."""

    volume: int
    device: str
    """The serial number of the device that holds it, or the start of its id; empty where that was not known when this
    device was sealed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """One study in several packs, after this device was brought in."""

    study_uid: Uid
    revision: int
    here: tuple[int, ...]
    """Volumes on this device."""
    there: tuple[int, ...]
    """Volumes in the bucket."""
    of: int | None
    """How many it has; None where that is not known yet."""
    missing: tuple[Missing, ...]
    """Where `of` is not known, the volume behind the last that is."""

    @property
    def complete(self) -> bool:
        return not self.missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """A volume that does not agree with another one."""

    row: PackRow
    what: str
    instances: tuple[Uid, ...]
    """Those that both hold."""


class Gathering:
    """The volumes of one device beside those in one bucket."""

    def __init__(self, opened: OpenedSeed, bucket: Bucket, prefix: str) -> None:
        self._opened = opened
        self._bucket = bucket
        self._prefix = prefix

    def clashes(self, sound: Collection[str]) -> Iterator[Clash]:
        """Volumes of the device, of those whose keys are `sound`, that hold an instance of another volume, or belong
        to another number of volumes than another says."""
        for rows in self._studies():
            known: dict[int, Index | None] = {row.pack.volume: None for row in rows}
            beside = {number: index for number, index in self._in_bucket(rows[0]) if number not in known}
            for row in rows:
                if row.key not in sound:
                    continue
                index = self._on_device(row)
                if found := _clash(row, index, beside):
                    yield found
                beside[row.pack.volume] = index

    def gathered(self) -> Iterator[Gathered]:
        """Every study of the device that is in several packs, as it lies in the bucket now."""
        for rows in self._studies():
            there = dict(self._in_bucket(rows[0]))
            of = next((number for number, index in there.items() if index is not None and index.last), rows[0].of)
            known = of or max(*there, rows[0].holders[-1].last, 0) + 1
            labels = {
                number: holder.label for holder in rows[0].holders for number in range(holder.first, holder.last + 1)
            }
            yield Gathered(
                study_uid=rows[0].pack.study_uid,
                revision=rows[0].pack.revision,
                here=tuple(row.pack.volume for row in rows),
                there=tuple(number for number, index in there.items() if index is not None),
                of=of,
                missing=tuple(
                    Missing(volume=number, device=labels.get(number, ""))
                    for number in range(1, known + 1)
                    if there.get(number) is None
                ),
            )

    def _studies(self) -> Iterator[list[PackRow]]:
        volumes = (row for row in self._opened.rows() if row.holders)
        for _, rows in groupby(volumes, key=lambda row: (row.pack.study_uid, row.pack.revision)):
            yield sorted(rows, key=lambda row: row.pack.volume)

    def _on_device(self, row: PackRow) -> Index:
        body = b"".join(self._opened.device.stream(row.index_key, 0, row.index_size))
        return parse_index(body, row.pack)

    def _in_bucket(self, row: PackRow) -> Iterator[tuple[int, Index | None]]:
        """Volumes whose pack and index are in the bucket; None for an index that cannot be one of this study. All that
        are told of are looked for, then one after another."""
        told = row.of or row.holders[-1].last
        for number in range(1, MAX_VOLUME + 1):
            pack = replace(row.pack, volume=number)
            body = self._fetch(self._key(index_key(pack)))
            if body is None:
                if number >= told:
                    return
                continue
            try:
                index = parse_index(body, pack)
            except IntegrityError:
                yield number, None
                continue
            if self._there(pack, index):
                yield number, index

    def _there(self, pack: PackId, index: Index) -> bool:
        try:
            size = self._bucket.head(self._key(pack_key(pack, index.container))).size
        except FileNotFoundError:
            return False
        # The index stands behind the members in the pack, too.
        return size > max((member.offset + member.length for member in index.members), default=0)

    def _fetch(self, key: str) -> bytes | None:
        try:
            size = self._bucket.head(key).size
        except FileNotFoundError:
            return None
        return b"".join(self._bucket.stream(key, 0, min(size, MAX_BODY)))

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key


def _clash(row: PackRow, index: Index, beside: Mapping[int, Index | None]) -> Clash | None:
    mine = {member.facts.sop_uid for member in index.members}
    for number, other in sorted(beside.items()):
        if other is None:
            return Clash(row=row, what=f"in the bucket is something else as its volume {number}", instances=())
        if other.whole:
            return Clash(row=row, what="in the bucket is the study in one pack", instances=())
        both = sorted(mine & {member.facts.sop_uid for member in other.members})
        if both:
            return Clash(row=row, what=f"holds instances that volume {number} holds, too", instances=tuple(both))
        if (other.last and row.pack.volume > number) or (index.last and number > row.pack.volume):
            return Clash(row=row, what=f"volume {min(number, row.pack.volume)} says that it is the last", instances=())
    return None
