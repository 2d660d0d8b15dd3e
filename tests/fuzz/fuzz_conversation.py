"""Our side of C-FIND, C-MOVE, C-GET and C-STORE: whatever an archive answers, an outcome or named error in bounds."""

import time
from datetime import timedelta
from unittest.mock import patch

from fuzz_line import PIECES, Line, pdus
from fuzz_script import traffic

from actors.dimse import conversation, find, move
from actors.dimse.associate import Answer, AssociateAccept
from actors.dimse.connecting import Endpoint
from actors.dimse.conversation import Conversation
from actors.dimse.get import Getter
from actors.dimse.incoming import Incoming
from actors.dimse.items import decode_request, encode_accept
from actors.dimse.negotiation import EXPLICIT_LE, IMPLICIT_LE
from actors.dimse.store import StoreConversation, StoredAs, StoreEnd
from actors.dimse.wire import Pdu
from actors.source import FindEnd, MoveEnd, MoveTarget, SourceUnending, SourceUnreachable
from imaging.octets import MemoryOctets
from imaging.part10 import encode_meta
from imaging.uid import Uid

SECONDS = 5.0
PATIENCE = timedelta(seconds=60)
CT = "1.2.840.10008.5.1.4.1.1.2"
BOUNDS = find.Bounds(answers=20, octets=4096)
ENDPOINT = Endpoint(host="192.0.2.1", port=104, called_ae="PACS", calling_ae="LIMOSA")
ACCEPT = encode_accept(
    AssociateAccept(
        called_ae="PACS",
        calling_ae="LIMOSA",
        answers=(Answer(context=1, result=0, transfer_syntax=IMPLICIT_LE),),
    )
)
GET_ACCEPT = encode_accept(
    AssociateAccept(
        called_ae="PACS",
        calling_ae="LIMOSA",
        answers=(
            Answer(context=1, result=0, transfer_syntax=IMPLICIT_LE),
            Answer(context=3, result=0, transfer_syntax=EXPLICIT_LE),
        ),
    )
)
TARGET = MoveTarget(study_uid=Uid("1.2.3"))
FILE = MemoryOctets(encode_meta(CT, "1.2.3.4", IMPLICIT_LE) + bytes(5000))


class Landing:
    """Memory that knows whether it was given back."""

    def __init__(self) -> None:
        self._held = bytearray()
        self.released = False

    @property
    def in_memory(self) -> bool:
        return True

    def write(self, view: bytes | bytearray | memoryview) -> None:
        self._held += view

    def octets(self) -> MemoryOctets:
        return MemoryOctets(bytes(self._held))

    def release(self) -> None:
        self.released = True


def run(data: bytes) -> None:
    """One question; the first byte chooses which, and how far the answer is well formed."""
    if not data:
        return
    shape, body = data[0], data[1:]
    stream = traffic(body) if shape & 8 else body
    question, accept = (
        (asked_find, ACCEPT),
        (asked_move, ACCEPT),
        (stored, ACCEPT),
        (asked_get, GET_ACCEPT),
    )[shape >> 5 & 3]
    line = Line(accept + stream if shape & 16 else stream, PIECES[shape % 8])
    began = time.process_time()
    with (
        patch.object(conversation, "connect", lambda _: line),
        patch.object(move, "PENDINGS", 20),
    ):
        try:
            question()
        except (SourceUnreachable, SourceUnending) as error:
            assert not error.__cause__ or "1.2" not in str(error.__cause__), "a value in an error"
    assert time.process_time() - began < SECONDS, "took too long"
    assert line.closed, "the connection was left open"
    said = list(pdus(line.sent))
    assert said[0][0] == Pdu.ASSOCIATE_RQ
    decode_request(said[0][1])
    assert {kind for kind, _ in said[1:]} <= {Pdu.P_DATA, Pdu.RELEASE_RQ, Pdu.RELEASE_RP, Pdu.ABORT}


def asked_find() -> None:
    open_ = Conversation(ENDPOINT, [(find.STUDY_ROOT_FIND, (IMPLICIT_LE,))])
    context = open_.context(find.STUDY_ROOT_FIND)
    assert context is not None
    answers = find.ask(open_, context, "STUDY", {"PatientID": ""}, PATIENCE, BOUNDS)
    if answers.end in (FindEnd.LOST, FindEnd.UNENDING):
        open_.abort()
    else:
        assert answers.status is not None
        open_.release()
    assert (answers.beyond is None) == (answers.end is not FindEnd.UNENDING)
    assert len(answers.raw) <= BOUNDS.answers
    assert sum(map(len, answers.raw)) <= BOUNDS.octets
    for identifier in find.decode(answers, "ISO_IR 100"):
        if identifier is not None:
            find.study_found(Uid("1.2.3"), identifier)


def asked_move() -> None:
    open_ = Conversation(ENDPOINT, [(move.STUDY_ROOT_MOVE, (IMPLICIT_LE,))])
    context = open_.context(move.STUDY_ROOT_MOVE)
    assert context is not None
    try:
        outcome = move.retrieve(open_, context, TARGET, "LIMOSA", PATIENCE, lambda: False)
    except SourceUnending:
        open_.abort()
        raise
    if outcome.end is MoveEnd.LOST:
        assert outcome.status is None
        open_.abort()
    else:
        assert outcome.status is not None
        open_.release()
    assert outcome.end is not MoveEnd.SUCCESS or not outcome.failed


def asked_get() -> None:
    landings: list[Landing] = []
    came: list[int] = []

    def land() -> Landing:
        landings.append(Landing())
        return landings[-1]

    def take(incoming: Incoming) -> int:
        came.append(incoming.part10.size)
        return 0

    getter = Getter(ENDPOINT, (), (CT,), land, take)
    try:
        outcome = getter.retrieve(TARGET, PATIENCE, lambda: False)
    except SourceUnending:
        getter.abort()
        raise
    finally:
        assert len(came) <= 21
    if outcome.end is MoveEnd.LOST:
        getter.abort()
    else:
        assert outcome.status is not None
        getter.close()
    assert outcome.end is not MoveEnd.SUCCESS or (outcome.completed or 0) <= len(came)
    assert all(landing.released for landing in landings), "a landing was not given back"


def stored() -> None:
    sender = StoreConversation(
        host="192.0.2.1",
        port=104,
        called_ae="PACS",
        calling_ae="LIMOSA",
        pairs=[StoredAs(CT, IMPLICIT_LE)],
    )
    outcome = sender.send(FILE)
    assert (outcome.status is None) == (outcome.end in (StoreEnd.UNKNOWN, StoreEnd.NO_CONTEXT))
    assert outcome.end is not StoreEnd.STORED or outcome.status == 0
    sender.close()
