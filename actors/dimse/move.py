"""C-MOVE in the Study Root model (PS3.4 section C.4.2): ask, and report what the archive says about it."""

import time
from collections.abc import Callable
from datetime import timedelta

from actors.dimse.command import Tag, Verb
from actors.dimse.conversation import Context, Conversation, Response
from actors.dimse.identifier import Identifier, encode_identifier
from actors.dimse.violation import PeerGone, ProtocolViolation
from actors.source import Bound, MoveEnd, MoveOutcome, MoveTarget, SourceUnending
from imaging.errors import MalformedDataset

STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"

PENDINGS = 1 << 18
"""Pending answers of one retrieve. Its counters have 16 bits, so it has 65,535 sub-operations at most: four each."""
STANDSTILL = 4
"""Times the patience with silence that pending answers may come whose counters do not move. Archives that fetch from
tape say "pending" to keep us waiting, which is worth more than silence, but not without end."""

LULL = 0.02
"""Most seconds without a look at pending answers. One comes per instance, and waking for each costs a tenth of what
receiving a slice does; together they are read at once. Answers of 20 ms fit the kernel's buffer at any rate."""

_MEDIUM = 0
_ENDS = {
    0x0000: MoveEnd.SUCCESS,
    0xB000: MoveEnd.PARTIAL,
    0xA701: MoveEnd.BUSY,
    0xA702: MoveEnd.BUSY,
    0xA801: MoveEnd.UNKNOWN_DESTINATION,
}


def move_keys(target: MoveTarget) -> dict[str, str]:
    """The identifier of a retrieve: level and unique keys only, as the baseline model wants it (PS3.4 C.4.2.2.1)."""
    keys = {"StudyInstanceUID": str(target.study_uid)}
    if target.series_uid is not None:
        keys["SeriesInstanceUID"] = str(target.series_uid)
    if not target.sop_uids:
        return {"QueryRetrieveLevel": "STUDY" if target.series_uid is None else "SERIES", **keys}
    return {"QueryRetrieveLevel": "IMAGE", **keys, "SOPInstanceUID": "\\".join(target.sop_uids)}


def retrieve(
    conversation: Conversation,
    context: Context,
    target: MoveTarget,
    receiver: str | None,
    patience: timedelta,
    stop: Callable[[], bool],
) -> MoveOutcome:
    """The final answer to one C-MOVE, or without a `receiver` to one C-GET. After LOST the conversation must be
    aborted: late answers may follow.

    Cancelling is not tried: archives ignore it, and an abort ends the operation as well as anything can.

    Raises
    ------
    SourceUnending
        More pending answers than `PENDINGS`, or none of them showed progress for `STANDSTILL`. The conversation must
        be aborted.
    """
    verb = Verb.C_GET if receiver is None else Verb.C_MOVE
    values: dict[int, int | bytes] = {Tag.PRIORITY: _MEDIUM}
    if receiver is not None:
        values[Tag.MOVE_DESTINATION] = receiver.encode("ascii")
    identifier = encode_identifier(move_keys(target), context.transfer_syntax)
    last: Response | None = None
    progress = Progress(patience)
    try:
        for response in conversation.ask(context, verb, values, [identifier], patience, stop):
            progress.note(response)
            last = response
            # With C-GET the instances themselves come between the answers.
            if verb is Verb.C_MOVE and not conversation.more_read and (pause := progress.lull()):
                time.sleep(pause)
    except (PeerGone, ProtocolViolation):
        return _outcome(MoveEnd.LOST, None, last)
    if last is None:
        return MoveOutcome(end=MoveEnd.LOST)
    end = _ENDS.get(last.status, MoveEnd.FAILED)
    # A702 is also what archives answer when every sub-operation failed, which says nothing about their load.
    if end in (MoveEnd.SUCCESS, MoveEnd.BUSY) and last.command.number(Tag.FAILED):
        end = MoveEnd.PARTIAL
    return _outcome(end, context.transfer_syntax, last)


class Progress:
    """Whether the pending answers of a retrieve lead anywhere."""

    def __init__(self, patience: timedelta) -> None:
        self._patience = STANDSTILL * patience.total_seconds()
        self._start = self._now = time.monotonic()
        self._deadline = self._start + self._patience
        self._answers = 0
        self._done = 0
        self._left = 0

    def note(self, response: Response) -> None:
        """One more answer came. Raises `SourceUnending`."""
        self._answers += 1
        if self._answers > PENDINGS:
            raise SourceUnending(Bound.ANSWERS)
        number = response.command.number
        done = sum(number(tag) or 0 for tag in (Tag.COMPLETED, Tag.FAILED, Tag.WARNING))
        self._left = number(Tag.REMAINING) or 0
        self._now = time.monotonic()
        if done > self._done:
            self._done = done
            self._deadline = self._now + self._patience
        elif self._now > self._deadline:
            raise SourceUnending(Bound.TIME)

    def lull(self) -> float:
        """Seconds in which nothing but pending answers is to be expected, at most `LULL`: half of what is left of the
        retrieve if it goes on as it went. Zero where the source does not say what is left."""
        if not self._done:
            return 0.0
        return min(LULL, self._left * (self._now - self._start) / self._done / 2)


def _outcome(end: MoveEnd, transfer_syntax: str | None, last: Response | None) -> MoveOutcome:
    if last is None:
        return MoveOutcome(end=end)
    command = last.command
    return MoveOutcome(
        end=end,
        status=None if end is MoveEnd.LOST else last.status,
        completed=command.number(Tag.COMPLETED),
        failed=command.number(Tag.FAILED),
        warning=command.number(Tag.WARNING),
        failed_sop_uids=_failed_uids(last.dataset, transfer_syntax) if transfer_syntax else (),
    )


def _failed_uids(dataset: bytes, transfer_syntax: str) -> tuple[str, ...]:
    if not dataset:
        return ()
    try:
        return tuple(Identifier(dataset, transfer_syntax, "").uids("FailedSOPInstanceUIDList"))
    except MalformedDataset:
        return ()  # a hint that cannot be read is no hint
