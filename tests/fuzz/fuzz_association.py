"""The receiver's side of an association: whatever a peer sends, every instance is answered once and nothing is left."""

import contextlib
import time
from datetime import timedelta

from fuzz_line import PIECES, Line, pdus
from fuzz_script import traffic

from actors.dimse.associate import AssociateRequest, Proposal
from actors.dimse.association import Association, Service
from actors.dimse.command import RESPONSE, Tag, Verb, parse_command
from actors.dimse.inbound import OUT_OF_RESOURCES, Storage
from actors.dimse.incoming import TEXT_CAP, Incoming
from actors.dimse.items import decode_accept, decode_rejection, encode_request
from actors.dimse.limits import Limits
from actors.dimse.negotiation import Refusal, refuse
from actors.dimse.pdata import COMMAND, LAST, fragments
from actors.dimse.violation import PeerGone, ProtocolViolation
from actors.dimse.wire import Pdu, Wire
from imaging.digests import raw1
from imaging.octets import MemoryOctets
from storage.errors import Retryable

SECONDS = 5.0
"""CPU time an input may take; the slowest kept one takes a hundredth."""
LIMITS = Limits(dataset=64 << 10, leaving=timedelta(seconds=1))
ROOM = 32 << 10
"""Bytes one landing takes where it has little room."""
REQUEST = encode_request(
    AssociateRequest(
        called_ae="LIMOSA",
        calling_ae="STRANGER",
        proposals=(
            Proposal(
                context=1, abstract_syntax="1.2.840.10008.5.1.4.1.1.2", transfer_syntaxes=("1.2.840.10008.1.2.1",)
            ),
            Proposal(context=3, abstract_syntax="1.2.840.10008.1.1", transfer_syntaxes=("1.2.840.10008.1.2",)),
            Proposal(context=5, abstract_syntax="1.2.840.10008.5.1.4.1.2.2.1", transfer_syntaxes=("1.2.3",)),
        ),
    )
)


SMALL = 4 << 10


class Landing:
    """Memory that counts what it holds and may run out of room."""

    def __init__(self, site: "Site", room: int) -> None:
        self._site = site
        self._room = room
        self._held = bytearray()
        self.released = False

    @property
    def in_memory(self) -> bool:
        """As long as it is small: both ways of a landing are walked."""
        return len(self._held) < SMALL

    def write(self, view: bytes | bytearray | memoryview) -> None:
        assert not self.released, "a landing that was given back is written to"
        if len(self._held) + len(view) > self._room:
            raise Retryable("no room")
        self._held += view

    def octets(self) -> MemoryOctets:
        assert not self.released
        return MemoryOctets(bytes(self._held))

    def release(self) -> None:
        self.released = True

    @property
    def size(self) -> int:
        return len(self._held)


class Site:
    """What an association asks of its receiver."""

    def __init__(self, room: int, status: int) -> None:
        self.landings: list[Landing] = []
        self.stored: list[tuple[int, int]] = []
        self.handled = 0
        self.admissions = 0
        self._room = room
        self._status = status

    def service(self) -> Service:
        return Service(
            storage=Storage(
                landing=self._land,
                handler=self._handle,
                longest=LIMITS.dataset,
                stored=lambda size, status: self.stored.append((size, status)),
            ),
            limits=LIMITS,
            admit=self._admit,
            stopped=lambda: False,
        )

    def _land(self) -> Landing:
        assert all(landing.released for landing in self.landings), "two instances at once"
        self.landings.append(Landing(self, self._room))
        return self.landings[-1]

    def _admit(self, request: AssociateRequest) -> Refusal | None:
        self.admissions += 1
        return refuse(request, "LIMOSA", ())

    def _handle(self, incoming: Incoming) -> int:
        self.handled += 1
        part10 = incoming.part10
        assert 132 < incoming.dataset_offset <= part10.size
        assert incoming.raw1 == raw1(part10, incoming.dataset_offset, incoming.transfer_syntax)
        assert bytes(part10.read(128, 4)) == b"DICM"
        for text in (incoming.sop_class, incoming.sop_uid, incoming.move_originator_ae or ""):
            assert len(text) <= TEXT_CAP
        return self._status


def run(data: bytes) -> None:
    """One association; the first byte chooses how it is cut and how far it is well formed."""
    if not data:
        return
    shape, stream = data[0], stream_of(data)
    site = Site(ROOM if shape & 32 else LIMITS.dataset + 4096, 0xC123 if shape & 64 else 0)
    line = Line(stream, PIECES[shape % 8])
    association = Association(Wire(line), "192.0.2.1", site.service())  # type: ignore[arg-type]
    began = time.process_time()
    with contextlib.suppress(ProtocolViolation, PeerGone):
        association.serve()
    assert time.process_time() - began < SECONDS, "took too long"
    assert line.closed
    assert all(landing.released for landing in site.landings), "a landing was not given back"
    assert sum(landing.size for landing in site.landings) <= len(stream) + 512 * len(site.landings)
    check_said(line.sent, site)


def stream_of(data: bytes) -> bytes:
    """All that the peer says."""
    shape, body = data[0], data[1:]
    stream = traffic(body) if shape & 8 else body
    return REQUEST + stream if shape & 16 else stream


def check_said(sent: bytearray, site: Site) -> None:
    """Whole PDUs in an order PS3.8 knows, and one answer for each instance."""
    assert site.admissions <= 1
    answered: list[int] = []
    contexts: set[int] | None = None
    over = False
    for kind, body in pdus(sent):
        assert not over, "something was said after the end"
        if kind == Pdu.ASSOCIATE_AC:
            assert contexts is None
            contexts = {answer.context for answer in decode_accept(body).answers if answer.result == 0}
        elif kind == Pdu.P_DATA:
            assert contexts is not None, "data before the association"
            ((context, control, data),) = fragments(body)
            response = parse_command(data)
            assert (context in contexts, control) == (True, COMMAND | LAST)
            assert response.field & RESPONSE
            assert not response.has_dataset
            if response.field == Verb.C_STORE | RESPONSE:
                answered.append(response.number(Tag.STATUS) or 0)
        else:
            over = True
            assert kind in (Pdu.ASSOCIATE_RJ, Pdu.RELEASE_RP, Pdu.ABORT)
            if kind == Pdu.ASSOCIATE_RJ:
                assert contexts is None
                decode_rejection(body)
    assert answered == [status for _, status in site.stored]
    assert site.handled <= len(answered)
    assert site.handled >= sum(status not in (OUT_OF_RESOURCES, 0xC000) for status in answered)
