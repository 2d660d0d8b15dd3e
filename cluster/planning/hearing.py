"""What becomes of a message that came over a line: the same as of one in a file, and an answer to its sender."""

import secrets
import threading
from collections import Counter
from datetime import datetime
from zoneinfo import ZoneInfo

from actors.identity_options import IdentityOptions
from imaging.hl7.acknowledge import Answer, acknowledgement
from imaging.hl7.adt import Feed, events
from imaging.hl7.defects import Defect, Fault
from imaging.hl7.reader import Message, messages
from imaging.identity.events import IdentityEvent
from storage.errors import StorageError
from storage.ledger.identity import RefusedMessage
from storage.ledger.ledger import Ledger

DEFECTS_KEPT = 100
"""Defects of one message that are kept; a hostile one could have thousands."""


class Hearing:
    """Takes messages one by one, from several threads; an answer is given when the ledger has what it says."""

    def __init__(self, ledger: Ledger, options: IdentityOptions, time_zone: str) -> None:
        self._ledger = ledger
        self._codec = options.hl7_charset
        self._feed = Feed(issuers=options.authorities(), zone=ZoneInfo(time_zone))
        self._reading = options.reading(time_zone)
        self._zone = ZoneInfo(time_zone)
        self._lock = threading.Lock()
        self.answers: Counter[Answer] = Counter()
        self.events = 0
        """New ones; what the ledger knew is not counted again."""
        self.defects: Counter[str] = Counter()

    def answer(self, message: bytes) -> bytes:
        """The acknowledgement of a message, which is in the ledger by then; never raises for what a message says."""
        said, faults = _read(message, self._codec, self._feed)
        now = datetime.now(self._zone)
        refused = RefusedMessage(octets=message, defects=tuple(str(fault.defect) for fault in faults[:DEFECTS_KEPT]))
        try:
            _, fresh = self._ledger.identity.hear(
                f"heard-{now:%Y-%m-%d}.hl7", self._reading, said, refused if faults else None
            )
        except StorageError as error:
            # Not kept, so not accepted: an engine sends it again, and nothing is lost.
            return self._answered(message, Answer.REJECTED, now, f"the ledger is away ({error.code}), send it again")
        with self._lock:
            self.events += fresh
            self.defects.update(refused.defects)
        if not faults:
            return self._answered(message, Answer.ACCEPTED, now)
        answer = Answer.REJECTED if _no_message(faults) else Answer.ERROR
        return self._answered(message, answer, now, _why(faults[0], bool(said)))

    def _answered(self, message: bytes, answer: Answer, now: datetime, why: str = "") -> bytes:
        with self._lock:
            self.answers[answer] += 1
        return acknowledgement(message, answer, control_id=secrets.token_hex(8), at=now, why=why)


def _read(message: bytes, codec: str, feed: Feed) -> tuple[list[IdentityEvent], list[Fault]]:
    found: list[IdentityEvent] = []
    faults: list[Fault] = []
    count = 0
    for one in messages([message], default_codec=codec):
        if isinstance(one, Message):
            count += 1
        for event in [one] if isinstance(one, Fault) else events(one, feed):
            if isinstance(event, Fault):
                faults.append(event)
            else:
                found.append(event)
    if count > 1:
        # The one answer would be for all of them: none is taken.
        return [], [Fault(defect=Defect.STRAY, offset=0, message=count, detail="several messages in one frame")]
    if not count and not faults:
        faults.append(Fault(defect=Defect.HEADER, offset=0, message=0, detail="no message"))
    return found, faults


def _no_message(faults: list[Fault]) -> bool:
    return faults[0].defect in (Defect.STRAY, Defect.HEADER, Defect.TOO_LONG, Defect.CHARSET)


def _why(fault: Fault, in_part: bool) -> str:
    place = f" in {fault.segment}-{fault.field}" if fault.field else f" in {fault.segment}" if fault.segment else ""
    detail = f" ({fault.detail})" if fault.detail else ""
    taken = "; the rest was taken" if in_part else "; nothing was taken"
    return f"{fault.defect}{place}{detail}{taken}"
