"""What every receiver under measurement offers: started for a folder, asked what it holds, emptied between turns."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from imaging.digests import raw1
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10
from infra.simulator.blaster import Proof
from perf.harness import NotRun, Wrong

MEMORY_FOLDER = Path("/dev/shm")
"""tmpfs on Linux: a disk's moods must not decide between receivers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a receiver has after a turn."""

    instances: int
    bytes: int | None = None
    """Dataset bytes; None where it does not count them."""


class Receiver(Protocol):
    """A receiver's processes; instances come from a blaster."""

    @property
    def name(self) -> str: ...

    @property
    def about(self) -> str: ...

    @property
    def processes(self) -> int: ...

    @property
    def share(self) -> float:
        """Of a full sample's instances, so that slow ones take seconds too."""
        ...

    def start(self, folder: Path) -> None:
        """It listens, and writes only below `folder`. Raises `NotRun`."""
        ...

    @property
    def ports(self) -> Sequence[int]: ...

    @property
    def pids(self) -> Sequence[int]: ...

    def held(self) -> Held: ...

    def check(self, proof: Proof) -> None:
        """It holds, or held, this very instance to the byte. Raises `Wrong`."""
        ...

    def clear(self) -> None:
        """It holds nothing, and counts from zero."""
        ...

    def stop(self) -> None:
        """Idempotent, also before `start`."""
        ...


class Files:
    """The Part-10 files a receiver left in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def held(self) -> Held:
        return Held(instances=sum(1 for path in self._folder.iterdir() if path.is_file()))

    def check(self, proof: Proof) -> None:
        found = list(self._folder.glob(f"*{proof.sop_uid}*"))
        if len(found) != 1:
            raise Wrong(f"{len(found)} files of one instance")
        octets = MemoryOctets(found[0].read_bytes())
        envelope = split_part10(octets)
        if raw1(octets, envelope.dataset_offset, envelope.transfer_syntax).hex() != proof.raw1:
            raise Wrong("a file's dataset is not what was sent")

    def clear(self) -> None:
        for path in self._folder.iterdir():
            path.unlink()


def need(program: str) -> str:
    """Where the program is. Raises `NotRun`."""
    path = shutil.which(program)
    if path is None:
        raise NotRun(f"{program} is not installed")
    return path
