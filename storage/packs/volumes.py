"""Reads a study that lies in several packs, its volumes, as if it were one."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from imaging.uid import Uid
from storage.errors import IntegrityError
from storage.packs.index import Index
from storage.packs.model import Member, PackId, Receipt
from storage.packs.reader import PackReader
from storage.sinks.protocol import ObjectReader


class VolumesReader(PackReader):
    """See `PackReader`. The object is all volumes behind each other; offsets of members are those in their volume."""

    def __init__(self, objects: ObjectReader, pack: PackId, receipt: Receipt) -> None:
        super().__init__(objects, pack, receipt.container, receipt.key)
        self._volumes = [
            PackReader(objects, replace(pack, volume=number), volume.container, volume.key, device=volume.device)
            for number, volume in enumerate(receipt.volumes, start=1)
        ]
        self._reader_of: dict[Uid, PackReader] = {}

    def index(self) -> Index:
        """As `PackReader.index`. Raises `IntegrityError`, too, where the volumes do not make up one study."""
        if self._index is None:
            self._index = self._joined([volume.index() for volume in self._volumes])
            for volume in self._volumes:
                for member in volume.index().members:
                    self._reader_of[member.facts.sop_uid] = volume
        return self._index

    def sidecar(self) -> Index:
        return self._joined([volume.sidecar() for volume in self._volumes])

    def open(self, member: Member) -> Iterator[bytes]:
        self.index()
        return self._reader_of[member.facts.sop_uid].open(member)

    def walk(self, tap: Callable[[bytes], None] | None = None) -> Iterator[tuple[Member, Iterator[bytes]]]:
        self.index()
        for volume in self._volumes:
            yield from volume.walk(tap)

    def pieces(self) -> Iterator[bytes]:
        for volume in self._volumes:
            yield from volume.pieces()

    def _joined(self, indexes: list[Index]) -> Index:
        members = tuple(member for index in indexes for member in index.members)
        if [index.last for index in indexes] != [False] * (len(indexes) - 1) + [True]:
            raise IntegrityError("the last volume is not the last", operation="read", place="pack")
        if len({member.facts.sop_uid for member in members}) != len(members):
            raise IntegrityError("an instance is in two volumes", operation="read", place="pack")
        return Index(pack=self._pack, container=self._container, members=members)


def pack_reader(objects: ObjectReader, pack: PackId, receipt: Receipt) -> PackReader:
    """What reads the packs of the receipt."""
    if receipt.volumes:
        return VolumesReader(objects, pack, receipt)
    return PackReader(objects, pack, receipt.container, receipt.key, device=receipt.device)
