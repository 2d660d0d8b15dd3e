"""Limosa's receiver in a process of its own, with landing and limits as the mover has them.

    python -m perf.peers.limosa_receiver FOLDER memory|files|pixels|facts

Prints a JSON line with its port. Then answers lines: `held`, `raw1 UID`, `clear`.
"""

import json
import sys
import threading
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from actors.dimse.incoming import Incoming
from actors.dimse.receiver import Receiver
from actors.options import MoverLimits
from actors.options import Receiver as ReceiverOptions
from imaging.header import read_header
from imaging.instance import describe
from imaging.octets import chunks
from imaging.pixels import digest_pixels
from storage.budget import MemoryBudget
from storage.spool import LandingPlace, Spool

HELD = 0x0000


class HandOver(StrEnum):
    """What is done with each instance before it is acknowledged. RAW1 is always taken while it arrives."""

    MEMORY = "memory"
    """Nothing: the bytes are with the handler, in memory up to the mover's limit, in the spool above."""
    FILES = "files"
    """Kept as a Part-10 file, as the other receivers do."""
    PIXELS = "pixels"
    """The header is read and PD1 taken."""
    FACTS = "facts"
    """Everything the mover takes: all four digests, identity, flags."""


class Stock:
    """What arrived; thread-safe."""

    def __init__(self, take: Callable[[Incoming], None]) -> None:
        self._take = take
        self._lock = threading.Lock()
        self._raw1: dict[str, str] = {}
        self._bytes = 0

    def handle(self, incoming: Incoming) -> int:
        self._take(incoming)
        with self._lock:
            self._raw1[incoming.sop_uid] = incoming.raw1.hex()
            self._bytes += incoming.part10.size - incoming.dataset_offset
        return HELD

    def answer(self, line: str) -> dict[str, object]:
        """What a line asks for. An instance that came twice counts once, so that one that was lost shows."""
        with self._lock:
            match line.split():
                case ["held"]:
                    return {"instances": len(self._raw1), "bytes": self._bytes}
                case ["raw1", uid]:
                    return {"raw1": self._raw1.get(uid)}
                case _:
                    self._raw1.clear()
                    self._bytes = 0
                    return {}


class Keeping:
    """Instances become files in one folder, named by their UID, until `clear`."""

    def __init__(self, spool: Spool, folder: Path) -> None:
        self._spool = spool
        self._folder = folder

    def keep(self, incoming: Incoming) -> None:
        file = self._spool.create()
        try:
            for piece in chunks(incoming.part10, 0, incoming.part10.size):
                file.append(piece)
            file.keep(self._folder / incoming.sop_uid)
        finally:
            file.release()

    def clear(self) -> None:
        for path in self._folder.iterdir():
            path.unlink()


def take_pixels(incoming: Incoming) -> None:
    digest_pixels(read_header(incoming.part10, incoming.dataset_offset, incoming.transfer_syntax))


def take_facts(incoming: Incoming) -> None:
    describe(
        incoming.part10,
        dataset_offset=incoming.dataset_offset,
        transfer_syntax=incoming.transfer_syntax,
        raw1=incoming.raw1,
    )


def main(folder: Path, hand_over: HandOver) -> None:
    limits = MoverLimits()
    spool = Spool(folder)
    place = LandingPlace(spool, MemoryBudget(limits.memory), limits.in_memory_instance)
    files = folder / f"files-{spool.folder.name}"
    files.mkdir()
    keeping = Keeping(spool, files)
    takes: dict[HandOver, Callable[[Incoming], None]] = {
        HandOver.MEMORY: lambda _: None,
        HandOver.FILES: keeping.keep,
        HandOver.PIXELS: take_pixels,
        HandOver.FACTS: take_facts,
    }
    stock = Stock(takes[hand_over])
    # Not validated: a job file has to name a port, a benchmark takes any that is free.
    options = ReceiverOptions.model_construct(ae_title="LIMOSA", host="127.0.0.1", port=0, allow=(), callers=())
    receiver = Receiver(options, place.open, stock.handle)
    receiver.start()
    print(json.dumps({"port": receiver.port}), flush=True)
    for line in sys.stdin:
        if line.strip() == "clear":
            keeping.clear()
        print(json.dumps(stock.answer(line)), flush=True)
    receiver.stop()
    spool.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), HandOver(sys.argv[2]))
