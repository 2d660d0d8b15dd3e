"""Messages that come over a line: in the ledger before they are acknowledged, once however often they come."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from actors.identity_options import IdentityOptions
from actors.mllp import MllpLine, MllpListener
from cluster.planning.hearing import Hearing
from imaging.hl7.acknowledge import Answer, answer_of
from imaging.identity.events import Describe, Merge
from storage.ledger import Ledger
from storage.ledger.migrate import migrate

IDENTITY = IdentityOptions(issuers=({"name": "NORTH"},), default_issuer="NORTH")
READING = IDENTITY.reading("UTC")
HEAD = "MSH|^~\\&|ADT|NORTH|||2026||ADT^{trigger}|{control}|P|2.5\rEVN|{trigger}|20260101\r"
A40 = HEAD.format(trigger="A40", control="1") + "PID|||8^^^NORTH^MR||Noe^Jane||19700101|F\rMRG|7^^^NORTH^MR\r"
TWO_PAIRS = HEAD.format(trigger="A40", control="2") + (
    "PID|||4^^^NORTH^MR||Poe^Ann||19700101|F\rMRG|3^^^NORTH^MR\rPID|||6^^^NOWHERE^MR\rMRG|5^^^NORTH^MR\r"
)
OTHER = "MSH|^~\\&|LAB|NORTH|||2026||ORU^R01|3|P|2.5\rPID|||8^^^NORTH^MR\r"


@pytest.fixture
def heard(postgres_url: str) -> Iterator[Ledger]:
    migrate(postgres_url)
    with Ledger(postgres_url) as ledger:
        yield ledger


def test_what_is_acknowledged_is_in_the_ledger_and_counts_once(heard: Ledger) -> None:
    hearing = Hearing(heard, IDENTITY, "UTC")
    listener = MllpListener("127.0.0.1", 0, hearing.answer)
    listener.start()
    line = MllpLine("127.0.0.1", listener.port, tls=None, timeout=10.0)

    answers = [
        answer_of(line.send(message.encode()), control)
        for message, control in ((A40, "1"), (A40, "1"), (OTHER, "3"), (TWO_PAIRS, "2"), ("no message", ""))
    ]
    line.close()
    listener.stop()

    assert answers == [Answer.ACCEPTED, Answer.ACCEPTED, Answer.ACCEPTED, Answer.ERROR, Answer.REJECTED]
    events = list(heard.identity.events(READING))
    merges = {(event.old.value, event.new.value) for event in events if isinstance(event, Merge)}
    assert merges == {("7", "8"), ("3", "4")}
    assert sum(isinstance(event, Describe) for event in events) == 2
    [file] = heard.identity.files()
    assert (file.kind, file.messages, file.events) == ("hl7", 5, 4)
    assert file.defects == {"HL7_IDENTIFIER": 1, "HL7_PAIRING": 1, "HL7_STRAY": 1}
    assert [one.octets for one in heard.identity.refused()] == [TWO_PAIRS.encode(), b"no message"]


def test_several_messages_in_one_frame_are_none(heard: Ledger) -> None:
    said = Hearing(heard, IDENTITY, "UTC").answer((A40 + A40).encode())

    assert answer_of(said, "1") is Answer.REJECTED
    assert list(heard.identity.events(READING)) == []


def test_without_a_ledger_nothing_is_accepted() -> None:
    with Ledger("postgresql://nobody@127.0.0.1:1/none", patience=timedelta(0)) as away:
        said = Hearing(away, IDENTITY, "UTC").answer(A40.encode())

    assert answer_of(said, "1") is Answer.REJECTED
    assert b"send it again" in said
