"""What a program of this folder is told, and the studies it works on.

python -m perf.pieces.pack '{"files": "...", ...}'
{"ready": true}          everything is read that must be known beforehand
<a line from stdin>      go
{"objects": 500, ...}    done
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from imaging.digests import raw1
from imaging.facts import InstanceFacts
from imaging.instance import describe
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10
from imaging.uid import Uid
from storage.packs.model import Container, Ended, Member, PackId, Part, Receipt
from storage.sinks.protocol import UploadState


@dataclass(frozen=True, kw_only=True)
class Task:
    """Work on the Part-10 files below `files`, one folder a study."""

    files: str
    out: str = ""
    """A file or folder to write."""
    container: str = Container.TAR
    endpoint: str = ""
    bucket: str = ""
    disk_key: str = ""
    """The file with the key that what is written is encrypted with; empty: it is not."""
    lanes: int = 1
    """Studies written at once."""
    ledger: str = ""
    how: str = ""

    @classmethod
    def told(cls) -> Self:
        return cls(**json.loads(sys.argv[1]))


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study's files and what a mover would know of them by now."""

    pack: PackId
    instances: tuple[tuple[InstanceFacts, Path], ...]

    @property
    def size(self) -> int:
        return sum(facts.sto_size for facts, _ in self.instances)


def studies_below(folder: Path) -> list[Study]:
    """Every sub-folder is a study."""
    return [_study(place) for place in sorted(folder.iterdir()) if place.is_dir()]


def converse(work: Callable[[], dict[str, Any]]) -> None:
    """The conversation above; `work` is done once for every line."""
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(work()), flush=True)


def read(path: Path) -> MemoryOctets:
    """The file in memory, as an instance that just arrived."""
    return MemoryOctets(path.read_bytes())


class MemoryJournal:
    """A ledger's row in memory: what costs nothing is not measured."""

    def __init__(self) -> None:
        self._state: UploadState | None = None

    def begin(self, *, key: str, container: Container, device: str) -> None:
        if self._state is None:
            self._state = UploadState(key=key, container=container, upload_id="", device=device, parts=(), members=())

    def opened(self, upload_id: str) -> None:
        self._state = replace(self._begun, upload_id=upload_id)

    def commit_group(self, parts: Sequence[Part], members: Sequence[Member]) -> None:
        known = self._begun
        self._state = replace(known, parts=(*known.parts, *parts), members=(*known.members, *members))

    def end_volume(self, receipt: Receipt, ended: Ended) -> None:
        raise AssertionError("a study of a benchmark is one pack")

    def reset(self, reason: str) -> None:
        del reason
        self._state = None

    def start_over(self, reason: str) -> None:
        self.reset(reason)

    def delivered(self, sop_uid: Uid) -> frozenset[bytes]:
        del sop_uid
        return frozenset()

    @property
    def _begun(self) -> UploadState:
        if self._state is None:
            raise ValueError("not begun")
        return self._state


def _study(place: Path) -> Study:
    instances = tuple(_described(sorted(place.iterdir())))
    return Study(pack=PackId(study_uid=instances[0][0].study_uid, revision=1), instances=instances)


def _described(paths: Sequence[Path]) -> Iterator[tuple[InstanceFacts, Path]]:
    for path in paths:
        octets = read(path)
        envelope = split_part10(octets)
        digest = raw1(octets, envelope.dataset_offset, envelope.transfer_syntax)
        facts = describe(
            octets,
            dataset_offset=envelope.dataset_offset,
            transfer_syntax=envelope.transfer_syntax,
            raw1=digest,
        )
        yield facts, path
