"""C-STORE as SCU (PS3.4 annex B): Part-10 files go out byte for byte as they are stored."""

import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from actors.dimse.command import Tag, Verb
from actors.dimse.connecting import Endpoint
from actors.dimse.conversation import Conversation
from actors.dimse.limits import MAX_PDU
from actors.dimse.violation import PeerGone, ProtocolViolation
from imaging.octets import Octets
from imaging.part10 import split_part10

MOST_CONTEXTS = 128
"""Presentation contexts of one association (PS3.8 section 9.3.2.2: odd ids of one byte)."""
PATIENCE = timedelta(minutes=5)
"""For the answer to one instance: archives answer after their own disk or tape has it."""

_MEDIUM = 0
_PIECE = 8 * MAX_PDU
"""Bytes read from the file at a time."""
_WARNINGS = (0xB000, 0xB006, 0xB007)
_DUPLICATE = 0x0111
_BUSY_CLASS = 0xA7


class StoreEnd(StrEnum):
    """What became of one instance (PS3.4 table B.2-1)."""

    STORED = "stored"
    COERCED = "coerced"
    """Stored with a warning: the archive changed or ignored something, so it has to be looked at."""
    DUPLICATE = "duplicate"
    BUSY = "busy"
    """A7xx: the same instance may be sent again later."""
    REFUSED = "refused"
    """A9xx, Cxxx, 01xx: sending it again changes nothing."""
    NO_CONTEXT = "no_context"
    """The archive did not accept this class in this transfer syntax; the instance was not sent."""
    UNKNOWN = "unknown"
    """The association was lost: the archive may or may not have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOutcome:
    """How one C-STORE ended; `status` is None where none came."""

    end: StoreEnd
    status: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class StoredAs:
    """A SOP class and the transfer syntax its instance is stored in: one presentation context."""

    sop_class: str
    transfer_syntax: str


def batches(pairs: Iterable[StoredAs]) -> list[tuple[StoredAs, ...]]:
    """The distinct pairs in groups that fit one association each."""
    every = sorted(set(pairs))
    return [tuple(every[at : at + MOST_CONTEXTS]) for at in range(0, len(every), MOST_CONTEXTS)]


class StoreConversation:
    """One association for sending. Not thread-safe; after UNKNOWN every further `send` gives UNKNOWN."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        called_ae: str,
        calling_ae: str,
        pairs: Sequence[StoredAs],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """The association is open with one context per pair, so the archive can neither choose nor ask to transcode.

        Raises
        ------
        SourceUnreachable
            No connection, a rejection, or none of the pairs accepted.
        """
        endpoint = Endpoint(host=host, port=port, called_ae=called_ae, calling_ae=calling_ae, tls=tls)
        self._conversation: Conversation | None = Conversation(
            endpoint, [(pair.sop_class, (pair.transfer_syntax,)) for pair in pairs]
        )

    @property
    def touched(self) -> float:
        """When the last operation ended, in monotonic seconds."""
        return 0.0 if self._conversation is None else self._conversation.touched

    @property
    def usable(self) -> bool:
        """The association is open, as far as anybody can see."""
        return self._conversation is not None and self._conversation.usable

    def send(self, part10: Octets, patience: timedelta = PATIENCE) -> StoreOutcome:
        """The dataset of a Part-10 file was sent as it is, and the archive's answer is here.

        Raises
        ------
        MalformedDataset
            The file has no readable envelope.
        """
        envelope = split_part10(part10)
        if self._conversation is None:
            return StoreOutcome(end=StoreEnd.UNKNOWN)
        context = self._conversation.context(envelope.sop_class or "", envelope.transfer_syntax)
        if context is None or envelope.sop_uid is None:
            return StoreOutcome(end=StoreEnd.NO_CONTEXT)
        values: dict[int, int | bytes] = {
            Tag.PRIORITY: _MEDIUM,
            Tag.AFFECTED_SOP_INSTANCE: envelope.sop_uid.encode("ascii"),
        }
        pieces = _pieces(part10, envelope.dataset_offset)
        status: int | None = None
        try:
            for response in self._conversation.ask(context, Verb.C_STORE, values, pieces, patience):
                status = response.status
        except (PeerGone, ProtocolViolation):
            self._conversation.abort()
            self._conversation = None
            return StoreOutcome(end=StoreEnd.UNKNOWN)
        return StoreOutcome(end=classify(status), status=status)

    def close(self) -> None:
        """The association is released."""
        if self._conversation is not None:
            self._conversation.release()
            self._conversation = None


def classify(status: int | None) -> StoreEnd:
    """What a C-STORE status means."""
    if status is None:
        return StoreEnd.UNKNOWN
    if status == 0:
        return StoreEnd.STORED
    if status in _WARNINGS:
        return StoreEnd.COERCED
    if status == _DUPLICATE:
        return StoreEnd.DUPLICATE
    return StoreEnd.BUSY if status >> 8 == _BUSY_CLASS else StoreEnd.REFUSED


def _pieces(part10: Octets, start: int) -> Iterator[memoryview]:
    while start < part10.size:
        piece = part10.read(start, _PIECE)
        yield piece
        start += len(piece)
