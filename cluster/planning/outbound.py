"""Telling destinations that keep what they have: messages are made for what waits, then sent or written to a file."""

import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from actors.destination_options import DimseOptions
from actors.dimse.tls import requestor_context
from actors.mllp import MllpLine, NotAnswered
from actors.options import TlsOptions
from actors.problems import problem
from imaging.hl7.acknowledge import Answer, answer_of
from imaging.hl7.outbound import Envelope, Told, merge_message, update_message
from imaging.identity.issuers import Authority
from imaging.identity.people import Identifier
from imaging.identity.telling import Content, Tell
from storage.durable import sync_folder, write_all
from storage.ledger.ledger import Ledger
from storage.ledger.outbound import Made, OutboundMessage
from storage.sinks.existing import Hl7Options
from storage.sinks.options import DicomwebOptions


@dataclass(slots=True, kw_only=True)
class Sent:
    """What became of one destination's messages."""

    destination: str
    made: Made
    accepted: int = 0
    written: int = 0
    waiting: int = 0
    """Not accepted yet; the next call sends them again as they are."""
    trouble: str = ""
    """Why it stopped: no answer, AE or AR; empty where nothing waits but for a file."""


class Teller:
    """Tells one destination."""

    def __init__(
        self, ledger: Ledger, destination_id: int, options: DicomwebOptions | DimseOptions, time_zone: str
    ) -> None:
        if options.hl7 is None:
            raise ValueError("a destination that is not told by message")
        self._ledger = ledger
        self._destination_id = destination_id
        self._name = options.name
        self._hl7 = options.hl7
        self._zone = ZoneInfo(time_zone)

    def make(self) -> Sent:
        """There is a message for every correction that waits."""
        untellable = problem("CORRECTION_UNTELLABLE", {"destination": self._name})
        made = self._ledger.outbound.make(self._destination_id, self._compose, untellable)
        return Sent(destination=self._name, made=made, waiting=len(self.to_send()))

    def to_send(self) -> tuple[OutboundMessage, ...]:
        """Messages that are not accepted yet."""
        return self._ledger.outbound.to_send(self._destination_id)

    def send(self, sent: Sent) -> None:
        """Messages went over the line in their order, up to the first that was not accepted: a later one may build on
        it. Raises `OSError` where a certificate cannot be used."""
        if self._hl7.host is None or self._hl7.port is None:
            return
        line = MllpLine(self._hl7.host, self._hl7.port, tls=_tls(self._hl7), timeout=self._hl7.timeout.total_seconds())
        try:
            for message in self.to_send():
                try:
                    answer = answer_of(line.send(message.octets), message.control_id)
                except NotAnswered as error:
                    answer, sent.trouble = None, f"no answer ({error})"
                self._ledger.outbound.tried(message.message_id, answer)
                if answer is not Answer.ACCEPTED:
                    sent.trouble = sent.trouble or (
                        "an answer to something else" if answer is None else f"answered {answer.value}"
                    )
                    return
                sent.accepted += 1
                sent.waiting -= 1
        finally:
            line.close()

    def write(self, sent: Sent, messages: Sequence[OutboundMessage]) -> None:
        """These messages are in a durable file, and so they are done."""
        self._ledger.outbound.written([message.message_id for message in messages])
        sent.written += len(messages)
        sent.waiting -= len(messages)

    def _compose(self, tell: Tell, control_id: str) -> bytes:
        hl7, at = self._hl7, datetime.now(self._zone)
        envelope = Envelope(
            sending_application=hl7.sending_application,
            sending_facility=hl7.sending_facility,
            receiving_application=hl7.receiving_application,
            receiving_facility=hl7.receiving_facility,
        )
        first = tell.studies[0]
        patient = _told(tell.patient, first.planned)
        if tell.old is None:
            return update_message(envelope, control_id, at, patient=patient, person=tell.person)
        old = _told(tell.old, first.believed)
        return merge_message(envelope, control_id, at, survivor=patient, person=tell.person, old=old)


def write_messages(file: Path, messages: Sequence[OutboundMessage]) -> None:
    """The messages lie in `file`, one behind the other, which survives a power cut. Raises `OSError`."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for message in messages:
            write_all(descriptor, message.octets)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(file.absolute().parent)


def _told(number: Identifier, content: Content) -> Told:
    universal_id, universal_type = content.get("universal", ("", ""))
    authority = Authority(name=number.issuer, universal_id=universal_id, universal_type=universal_type)
    return Told(number=number.value, authority=authority)


def _tls(options: Hl7Options) -> ssl.SSLContext | None:
    if not options.tls:
        return None
    return requestor_context(TlsOptions(certificate=options.certificate, key=options.key, ca=options.ca))
