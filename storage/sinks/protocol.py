"""What every destination promises. `tests/contract` holds each sink to these comments.

    begin -> [group]* -> finish            a study's way through a writer
      |        |
      |        +- each group (whole parts + the instances that end in them) is committed to the journal
      +- the intent (key, container) is in the journal before the first byte leaves

The journal row is the truth; a sink only believes it for the length of the claim. A crash at any line
leaves a journal from which `Sink.writer` resumes without sending a finished part again.

A study that a device cannot take whole goes through begin, groups and `end_volume` once for each of its volumes but
the last; those that have ended are never written again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from imaging.facts import InstanceFacts
from imaging.octets import Octets
from imaging.uid import Uid
from storage.packs.model import Container, Ended, HeldPack, Member, PackId, Part, Receipt, Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadState:
    """What the journal remembers of an unfinished delivery: the point a writer resumes from."""

    key: str
    """Empty, as `device`, between two volumes."""
    container: Container
    upload_id: str
    """The endpoint's token for a multipart upload; empty before it was opened and on devices."""
    device: str
    parts: tuple[Part, ...]
    members: tuple[Member, ...]
    spoiled: bool = False
    """It is not to be resumed: what is there is discarded first."""
    rules: str = ""
    """Fingerprint of the rules its instances were written under; empty: as they came."""
    volumes: tuple[Volume, ...] = ()
    """Those that have ended; parts and members are those of the one after them."""

    @property
    def everything(self) -> tuple[Member, ...]:
        """The members of all volumes."""
        return (*(member for volume in self.volumes for member in volume.members), *self.members)


class Journal(Protocol):
    """The ledger's side of one delivery under one claim. Every method raises `LostClaim` when the
    claim's epoch is no longer current, and then nothing was changed."""

    def begin(self, *, key: str, container: Container, device: str) -> None:
        """The intent is recorded. Idempotent for the same values."""
        ...

    def opened(self, upload_id: str) -> None:
        """The multipart upload's id is recorded."""
        ...

    def commit_group(self, parts: Sequence[Part], members: Sequence[Member]) -> None:
        """Parts and the instances that end in them are recorded in one transaction."""
        ...

    def end_volume(self, receipt: Receipt, ended: Ended) -> None:
        """The pack that was begun is finished, as one volume of the study; the next one may begin."""
        ...

    def reset(self, reason: str) -> None:
        """Intent, parts and members are forgotten: the delivery starts over, behind the volumes that have ended."""
        ...

    def start_over(self, reason: str) -> None:
        """As `reset`, volumes included; nothing of the delivery is left to be discarded, whatever was marked so.

        Raises
        ------
        VolumeSealed
            One of them is on a sealed device; nothing was changed.
        """
        ...

    def delivered(self, sop_uid: Uid) -> frozenset[bytes]:
        """CAN1 of every version of the instance that an earlier revision of the study had, delivered or begun."""
        ...


class StudyWriter(Protocol):
    """Writes one revision of one study. Methods are thread-safe: several associations feed one study."""

    @property
    def held(self) -> frozenset[str]:
        """SOP Instance UIDs that are durable already (from a resumed upload) or were added since."""
        ...

    def add(self, facts: InstanceFacts, part10: Octets) -> None:
        """The instance will be part of the pack; `part10` may be released when this returns.

        Blocks while the writer's own reserved buffers are in flight (an upload's time-outs bound that).

        Raises
        ------
        Retryable, Rejected, UploadLost, DeviceFull, SinkFull, VolumeSealed, LostClaim
            After any of them the writer is closed; what the journal holds stays resumable.
        ValueError
            The SOP Instance UID is in `held`.
        """
        ...

    def finish(self) -> Receipt:
        """Every instance and the index are durable and readable under `Receipt.key`.

        Idempotent across crashes: where an earlier attempt had completed the object, its index is
        compared with the journal's members and the object is adopted.

        Raises
        ------
        AlreadyThere
            Another object has that key and its index differs; nothing was overwritten.
        """
        ...

    def close(self) -> None:
        """Buffers are released; the journal's state is left for the next worker. Idempotent."""
        ...


class Proof(StrEnum):
    """How a delivery at a destination is proven."""

    DIGESTS = "digests"
    """Every instance is read back and its digests are compared."""
    COMMITMENT = "commitment"
    """Nothing can be read back: the destination lists every instance and commits itself to each (PS3.4 annex J)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkTraits:
    """Facts about a sink that others plan by, instead of asking for its type."""

    writer_memory: int
    """Bytes one open writer may hold; reserved from the budget before a C-MOVE starts."""
    local: bool
    """True when only workers of this node reach it (a device)."""
    raw_pixels: Container = Container.TAR_ZST
    """The container wanted for a study of raw pixels that was never begun."""
    proof: Proof = Proof.DIGESTS
    listed: bool = True
    """False where `packs` has nothing to say: a DICOM service holds studies, ours among others', and no packs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One row of `limosa check`: what was tried and how it ended."""

    what: str
    ok: bool
    detail: str
    place: str = ""
    code: str = ""
    """Of the error that ended it, so that the caller can say what to do."""


class ObjectReader(Protocol):
    """Reads what a destination holds; `device` comes from the receipt and is empty elsewhere."""

    def size(self, key: str, *, device: str = "") -> int:
        """Bytes of the object. Raises FileNotFoundError when there is none."""
        ...

    def stream(self, key: str, start: int, length: int, *, device: str = "") -> Iterator[bytes]:
        """Bytes [start, start + length) in pieces of at most 1 MiB."""
        ...


class Sink(ObjectReader, Protocol):
    """A destination. Safe to use from several threads; one instance per process."""

    @property
    def name(self) -> str: ...

    @property
    def traits(self) -> SinkTraits: ...

    @property
    def devices(self) -> frozenset[str]:
        """Ids of the devices that are attached, as receipts name them: what `packs` speaks for. An endpoint is
        the one with the empty name."""
        ...

    @property
    def hanging(self) -> Mapping[str, int]:
        """Those that do not answer now, and may again: their ids, and how many operations hang in each. An endpoint's
        requests end by themselves."""
        ...

    def writer(
        self, pack: PackId, container: Container, size_hint: int, journal: Journal, resume: UploadState | None
    ) -> StudyWriter:
        """A writer for one revision of a study.

        `container` is what the caller wishes (the sink's layout may override it; a resumed upload keeps
        its own). `size_hint` is the expected number of bytes, 0 if unknown; a device uses it to choose.
        """
        ...

    def discard(self, state: UploadState) -> None:
        """What an unfinished delivery left at the endpoint is gone. Idempotent; never touches a finished
        object. A DICOM service takes nothing back: there it stays, and validation finds what should not be there.

        Raises
        ------
        VolumeSealed, Retryable
            A volume that has ended is on a device that is sealed, or away.
        """
        ...

    def sweep(self, live_upload_ids: frozenset[str]) -> int:
        """Unfinished uploads under our prefix that the ledger does not know are aborted; how many."""
        ...

    def packs(self) -> Iterator[HeldPack]:
        """Every finished pack the destination holds, by its names alone; what a count of the destination is
        made of. A loose study comes once; order is the destination's. Nothing where the traits say so."""
        ...

    def loose(self, pack: PackId, key: str) -> Iterator[str]:
        """Every key in the folder of the loose study at `key`, all its revisions together and whoever put them there:
        what an importer would take; what a service lists of the study. Nothing where studies are packs."""
        ...

    def probe(self) -> Iterator[Probe]:
        """Tries what a run will need (put, get, delete, checksums, free space) and cleans up."""
        ...
