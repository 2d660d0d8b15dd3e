"""What a peer asks for on an open association: C-STORE and C-ECHO, from the first fragment to the answer.

command fragments --last--> [dataset fragments --last--> handler] --> response

The same whoever opened the association: an archive that answers a C-MOVE calls us, one that answers a C-GET sends on
the association that asked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from actors.dimse import pdata
from actors.dimse.command import RESPONSE, Command, Tag, Verb, encode_response, parse_command
from actors.dimse.incoming import TEXT_CAP, Incoming, InstanceHandler, Peer
from actors.dimse.landing import LandingFactory, Reception
from actors.dimse.limits import COMMAND_CAP, PROGRESS
from actors.dimse.violation import ProtocolViolation, Violation
from imaging.part10 import encode_meta
from imaging.uid import InvalidUid, Uid, parse_uid

SUCCESS = 0x0000
UNRECOGNIZED_OPERATION = 0x0211
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Where instances that arrive go."""

    landing: LandingFactory
    handler: InstanceHandler
    longest: int
    """Bytes of one dataset."""
    stored: Callable[[int, int], None]
    """Told after each instance: dataset bytes and status."""


class Inbound:
    """The requests of one association, one after the other. Used by one thread; `release` it at the end."""

    def __init__(self, contexts: Mapping[int, str], peer: Peer, storage: Storage) -> None:
        """`contexts`: transfer syntax by id, of the contexts in which the peer may ask."""
        self._contexts = contexts
        self._peer = peer
        self._storage = storage
        self._reception: Reception | None = None
        self._reset()

    @property
    def between_messages(self) -> bool:
        return not self._context

    def progressed(self) -> bool:
        """Whether a command began or `PROGRESS` bytes came since this was asked."""
        progressed, self._progressed = self._progressed, False
        return progressed

    def take(self, context: int, control: int, data: memoryview) -> bytes:
        """The fragment is taken; the P-DATA-TF that answers the message it ends, else nothing.

        Raises
        ------
        ProtocolViolation
            CONTEXT, SEQUENCE, COMMAND, COMMAND_TOO_LONG, DATASET_TOO_LONG, or MESSAGE_ID for a response.
        """
        if control & pdata.COMMAND:
            return self._take_command(context, control, data)
        return self._take_dataset(context, control, data)

    def release(self) -> None:
        """What came of an unfinished instance is given back. Idempotent."""
        if self._reception is not None:
            self._reception.release()

    def _reset(self) -> None:
        self._context = 0
        """Of the message in progress; 0 between messages (PS3.8: ids are odd)."""
        self._command_octets = bytearray()
        self._command: Command | None = None
        self._reception = None
        self._discarded = 0
        self._marked = 0
        self._progressed = False

    def _take_command(self, context: int, control: int, data: memoryview) -> bytes:
        if self._context:
            if context != self._context:
                raise ProtocolViolation(Violation.CONTEXT)
            if self._command is not None:
                raise ProtocolViolation(Violation.SEQUENCE)
        elif context not in self._contexts:
            raise ProtocolViolation(Violation.CONTEXT)
        else:
            self._context = context
            self._progressed = True
        if len(self._command_octets) + len(data) > COMMAND_CAP:
            raise ProtocolViolation(Violation.COMMAND_TOO_LONG)
        if not control & pdata.LAST:
            self._command_octets += data
            return b""
        command = parse_command(self._command_octets + data if self._command_octets else data)
        if command.field & RESPONSE:
            raise ProtocolViolation(Violation.MESSAGE_ID)
        if command.field == Verb.C_CANCEL:
            self._reset()  # by now there is nothing left to cancel: every operation was answered
            return b""
        if command.number(Tag.MESSAGE_ID) is None:
            raise ProtocolViolation(Violation.COMMAND)
        self._command = command
        if command.field == Verb.C_STORE:
            if not command.has_dataset:
                return self._stored(command, 0, CANNOT_UNDERSTAND)
            self._reception = self._begin(command)
        elif not command.has_dataset:
            return self._answer(command, SUCCESS if command.field == Verb.C_ECHO else UNRECOGNIZED_OPERATION)
        return b""

    def _begin(self, command: Command) -> Reception:
        # Names that are none do not keep the dataset out: refused data must be there to be looked at.
        meta = encode_meta(
            _uid(command, Tag.AFFECTED_SOP_CLASS),
            _uid(command, Tag.AFFECTED_SOP_INSTANCE),
            self._contexts[self._context],
        )
        self._dataset_offset = len(meta)
        return Reception(self._storage.landing, meta)

    def _take_dataset(self, context: int, control: int, data: memoryview) -> bytes:
        command = self._command
        if command is None:
            raise ProtocolViolation(Violation.SEQUENCE)
        if context != self._context:
            raise ProtocolViolation(Violation.CONTEXT)
        reception = self._reception
        size = len(data) + (reception.size if reception is not None else self._discarded)
        if size > self._storage.longest:
            raise ProtocolViolation(Violation.DATASET_TOO_LONG)
        if not control & pdata.LAST:
            if size - self._marked >= PROGRESS:
                self._marked = size
                self._progressed = True
            if reception is not None:
                reception.write(data)
            else:
                self._discarded = size
            return b""
        if reception is None:
            return self._answer(command, UNRECOGNIZED_OPERATION)
        try:
            reception.finish(data)
            return self._stored(command, size, self._handle(command, reception))
        finally:
            reception.release()

    def _handle(self, command: Command, reception: Reception) -> int:
        if reception.failed:
            return OUT_OF_RESOURCES
        transfer_syntax = self._contexts[self._context]
        return self._storage.handler(
            Incoming(
                peer=self._peer,
                sop_class=command.text(Tag.AFFECTED_SOP_CLASS)[:TEXT_CAP],
                sop_uid=command.text(Tag.AFFECTED_SOP_INSTANCE)[:TEXT_CAP],
                transfer_syntax=transfer_syntax,
                move_originator_ae=command.text(Tag.MOVE_ORIGINATOR)[:TEXT_CAP] or None,
                move_originator_id=command.number(Tag.MOVE_ORIGINATOR_ID),
                part10=reception.octets(),
                dataset_offset=self._dataset_offset,
                raw1=reception.raw1(transfer_syntax),
            )
        )

    def _stored(self, command: Command, size: int, status: int) -> bytes:
        self._storage.stored(size, status)
        return self._answer(command, status)

    def _answer(self, command: Command, status: int) -> bytes:
        context = self._context
        self._reset()
        return pdata.encode_fragment(context, pdata.COMMAND | pdata.LAST, encode_response(command, status))


def _uid(command: Command, tag: Tag) -> Uid | None:
    try:
        return parse_uid(command.values.get(tag, b""))
    except InvalidUid:
        return None
