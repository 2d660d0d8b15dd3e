"""Association items and command sets, read on their own: a record whose every field is as promised, or a violation."""

import re

from actors.dimse.command import HAS_DATASET, NO_DATASET, RESPONSE, encode_command, encode_response, parse_command
from actors.dimse.items import (
    decode_accept,
    decode_rejection,
    decode_request,
    encode_accept,
    encode_rejection,
    encode_request,
)
from actors.dimse.limits import ASSOCIATE_CAP, COMMAND_CAP
from actors.dimse.negotiation import accept, refuse
from actors.dimse.violation import ProtocolViolation
from actors.dimse.wire import HEADER_SIZE

UID = re.compile(r"[0-9]+(\.[0-9]+)*")
TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")


def run(data: bytes) -> None:
    """The first byte chooses what the rest is read as."""
    if not data:
        return
    try:
        (request, answer, rejection, command)[data[0] % 4](memoryview(data)[1:])
    except ProtocolViolation as violation:
        assert violation.__cause__ is None, "a value from the wire in the error's cause"


def request(view: memoryview) -> None:
    asked = decode_request(view)
    assert TITLE.fullmatch(asked.called_ae)
    assert TITLE.fullmatch(asked.calling_ae)
    contexts = [proposal.context for proposal in asked.proposals]
    assert len(set(contexts)) == len(contexts) <= 128
    assert all(context % 2 for context in contexts)
    names = [name for one in asked.proposals for name in (one.abstract_syntax, *one.transfer_syntaxes)]
    assert all(not name or (UID.fullmatch(name) and len(name) <= 64) for name in names)
    assert sum(map(len, names)) <= len(view), "names nobody sent"
    refuse(asked, "LIMOSA", ("STRANGER",))
    said = encode_accept(accept(asked))
    # What is fixed, our own names, and for each context at most a syntax longer than was asked for.
    assert len(said) <= ASSOCIATE_CAP
    assert len(said) <= 400 + 4 * len(view)
    again = decode_accept(memoryview(said)[HEADER_SIZE:])
    assert again == accept(asked), "our answer reads otherwise than it was meant"
    if names and all(one.abstract_syntax for one in asked.proposals) and not asked.asynchronous:
        once_more = decode_request(memoryview(encode_request(asked))[HEADER_SIZE:])
        assert once_more.proposals == asked.proposals
        assert once_more.roles == asked.roles


def answer(view: memoryview) -> None:
    heard = decode_accept(view)
    assert all(not one.transfer_syntax or UID.fullmatch(one.transfer_syntax) for one in heard.answers)
    assert 0 <= heard.max_pdu < 1 << 32


def rejection(view: memoryview) -> None:
    heard = decode_rejection(view)
    assert decode_rejection(memoryview(encode_rejection(heard))[HEADER_SIZE:]) == heard


def command(view: memoryview) -> None:
    heard = parse_command(view)
    assert len(view) <= COMMAND_CAP
    assert sum(map(len, heard.values.values())) <= len(view)
    again = parse_command(encode_response(heard, 0))
    assert again.field == heard.field | RESPONSE
    assert not again.has_dataset
    values = {tag: value for tag, value in heard.values.items() if tag not in (0, 0x0100, 0x0800)}
    dataset = HAS_DATASET if heard.has_dataset else NO_DATASET
    once_more = parse_command(encode_command(heard.field, values, dataset_type=dataset))
    assert (once_more.field, once_more.has_dataset) == (heard.field, heard.has_dataset)
    assert once_more.values.keys() - {0} == heard.values.keys() - {0}
