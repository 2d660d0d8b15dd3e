"""The archives that long scenarios move, and the truth to hold results against.

A corpus is named by a specification that the simulator's command line understands, so the sending process and the
measuring one make the same bytes without passing them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from blake3 import blake3

from imaging.digests import Raw1
from infra.simulator.archive import Manifest
from infra.simulator.specs import archive_from
from perf.harness import Scale, Wrong

WARM = "workload:studies=1,instances=8,rows={side},columns={side},seed=99"
"""Moved before the clock starts: connections are open and code is loaded, on both sides alike."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """`studies` equal CT studies of square slices of `side` pixels, and a small one to warm up with."""

    studies: int
    instances: int
    """Per study."""
    side: int
    seed: int = 1

    @property
    def specs(self) -> tuple[str, str]:
        """What `python -m infra.simulator --archive` is given."""
        whole = f"workload:studies={self.studies},instances={self.instances},rows={self.side},columns={self.side}"
        return f"{whole},seed={self.seed}", WARM.format(side=self.side)

    def part(self, studies: int | None) -> "Corpus":
        """Its first so many studies; itself for None."""
        return self if studies is None else replace(self, studies=min(studies, self.studies))

    @cached_property
    def manifest(self) -> Manifest:
        return archive_from(self.specs[:1]).manifest()

    @cached_property
    def warm(self) -> Manifest:
        return archive_from(self.specs[1:]).manifest()

    @cached_property
    def size(self) -> int:
        """Bytes of all datasets."""
        return sum(instance.size for instance in self.manifest)

    @cached_property
    def raw1(self) -> Mapping[str, bytes]:
        """RAW1 by SOP Instance UID."""
        found: dict[str, bytes] = {}
        for instance in self.manifest:
            state = Raw1()
            state.update(instance.dataset())
            found[instance.sop_uid] = state.digest(instance.transfer_syntax)
        return found

    @cached_property
    def pixels(self) -> Mapping[str, bytes]:
        """BLAKE3 of the pixel value by SOP Instance UID: what is left alone by whoever edits the header."""
        length = self.side * self.side * 2
        return {each.sop_uid: blake3(each.dataset()[-length:]).digest() for each in self.manifest}

    def check_files(self, files: Mapping[str, Path]) -> None:
        """Every instance is one of `files` (by SOP Instance UID) with the right pixels. Raises `Wrong`."""
        if files.keys() != self.pixels.keys():
            raise Wrong(f"{len(files.keys() & self.pixels.keys())} of {len(self.pixels)} instances arrived")
        length = self.side * self.side * 2
        for sop_uid, file in files.items():
            if blake3(file.read_bytes()[-length:]).digest() != self.pixels[sop_uid]:
                raise Wrong("an instance arrived with other pixels")


def ct(scale: Scale, seed: int = 1) -> Corpus:
    """Half a megabyte a slice."""
    return Corpus(studies={Scale.QUICK: 2, Scale.FULL: 8}[scale], instances=125, side=512, seed=seed)


def tiny(scale: Scale, seed: int = 1) -> Corpus:
    """20 KB a slice, as old scanners and localisers make them."""
    return Corpus(studies={Scale.QUICK: 4, Scale.FULL: 16}[scale], instances=200, side=100, seed=seed)
