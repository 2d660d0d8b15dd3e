"""Opening the right kind of pack at the right moment.

Raw pixels compress to about half with zstd, compressed ones do not; which of the two a study holds is known
when its first instance arrives, so the writer is opened then. A delivery that was ever begun keeps its container:
the container is part of the key, and two keys would be two packs.
"""

import threading
from collections.abc import Callable
from typing import Protocol

from imaging.facts import InstanceFacts
from imaging.octets import Octets
from storage.packs.model import Container, PackId, Receipt
from storage.sinks.protocol import Journal, Sink, StudyWriter, UploadState

RAW_SYNTAXES = frozenset(
    {
        "1.2.840.10008.1.2",  # Implicit VR Little Endian
        "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
        "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
        "1.2.840.113619.5.2",  # GE's private implicit syntax with big-endian pixels
    }
)


def container_for(transfer_syntax: str, raw_pixels: Container) -> Container:
    """The container that suits a study whose first instance has this transfer syntax."""
    return raw_pixels if transfer_syntax in RAW_SYNTAXES else Container.TAR


class PackJournal(Journal, Protocol):
    """A delivery's journal, with what only the packer may say."""

    def spoil(self) -> None:
        """Whoever opens the delivery next discards what is there and starts over. Idempotent."""
        ...


class StudyPacker:
    """A `StudyWriter` that is opened by its first instance."""

    def __init__(
        self,
        sink: Sink,
        pack: PackId,
        journal: PackJournal,
        remembered: Callable[[], UploadState | None],
        *,
        container: Container | None,
        size_hint: int = 0,
        rules: str = "",
    ) -> None:
        """`remembered` reads what the journal holds of the delivery now; `container` is what it was ever begun
        with, None if it never was; `rules` is the fingerprint of those its instances are written under."""
        self._sink = sink
        self._pack = pack
        self._journal = journal
        self._container = container
        self._remembered = remembered
        self._size_hint = size_hint
        self._lock = threading.Lock()
        self._writer: StudyWriter | None = None
        self.resumed: tuple[InstanceFacts, ...] = ()
        resume = remembered()
        if resume is not None and (resume.spoiled or resume.rules != rules):
            # One pack holds instances under one set of rules, or nobody could say under which.
            self._discard(resume, "SPOILED" if resume.spoiled else "OTHER_RULES")
            resume = None
        if resume is not None:
            self._writer = sink.writer(pack, resume.container, size_hint, journal, resume)
            held = self._writer.held
            self.resumed = tuple(member.facts for member in resume.everything if member.facts.sop_uid in held)

    def add(self, facts: InstanceFacts, part10: Octets) -> None:
        with self._lock:
            if self._writer is None:
                container = self._container or container_for(facts.transfer_syntax, self._sink.traits.raw_pixels)
                self._writer = self._sink.writer(self._pack, container, self._size_hint, self._journal, None)
            writer = self._writer
        writer.add(facts, part10)

    def finish(self) -> Receipt:
        if self._writer is None:
            raise RuntimeError("a pack without instances is never finished")
        return self._writer.finish()

    def spoil(self) -> None:
        """No later attempt takes up what this one leaves, should it not come to its end; durable."""
        self._journal.spoil()

    def start_over(self, reason: str) -> None:
        """Neither the destination nor the journal holds anything of this pack; this packer is closed.

        Where the destination is away, the next attempt has to do it before anything else.
        """
        self.close()
        left = self._remembered()
        if left is not None:
            # The mark first: it proves the claim, and what bears it cannot be resumed. The journal last: what it no
            # longer names would lie in the next attempt's way, as somebody else's.
            self._journal.spoil()
            self._discard(left, reason)

    def _discard(self, left: UploadState, reason: str) -> None:
        self._sink.discard(left)
        self._journal.start_over(reason)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


PackOpener = Callable[[], StudyPacker]
