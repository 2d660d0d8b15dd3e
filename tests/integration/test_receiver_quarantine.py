"""What is refused is kept: a dataset whose command names no UID ends in the quarantine, with its evidence."""

import json
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from actors.arrivals import Arrivals
from actors.dimse import pdata
from actors.dimse.associate import AssociateRequest, Proposal
from actors.dimse.command import Tag, Verb, encode_command, parse_command
from actors.dimse.items import encode_request
from actors.dimse.receiver import Receiver
from actors.dimse.wire import Pdu, Wire
from actors.options import Receiver as ReceiverOptions
from actors.routing import Router
from actors.siblings import NoSiblings
from imaging.octets import MemoryOctets
from imaging.part10 import split_part10
from storage.budget import MemoryBudget
from storage.ledger import Ledger
from storage.ledger.migrate import migrate
from storage.spool import LandingPlace, Quarantine, Spool

CT = "1.2.840.10008.5.1.4.1.1.2"
SYNTAX = "1.2.840.10008.1.2.1"
PATIENCE = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Ledger]:
    migrate(postgres_url)
    with Ledger(postgres_url) as ledger:
        yield ledger


@pytest.fixture
def receiver(ledger: Ledger, tmp_path: Path) -> Iterator[Receiver]:
    place = LandingPlace(Spool(tmp_path / "spool"), MemoryBudget(64 << 20), 8 << 20)
    quarantine = Quarantine(tmp_path / "quarantine")
    arrivals = Arrivals(router=Router(), peers=NoSiblings(), ledger=ledger, quarantine=quarantine)
    receiver = Receiver(ReceiverOptions(ae_title="LIMOSA", port=free_port()), place.open, arrivals)
    receiver.start()
    yield receiver
    assert receiver.stop(timedelta(seconds=5))
    assert place.budget.use.used == 0


def stored(port: int, sop_class: bytes, sop_uid: bytes, dataset: bytes) -> int | None:
    """The status of one C-STORE whose command says what it likes."""
    deadline = time.monotonic() + PATIENCE
    wire = Wire(socket.create_connection(("127.0.0.1", port)))
    proposal = Proposal(context=1, abstract_syntax=CT, transfer_syntaxes=(SYNTAX,))
    wire.send(encode_request(AssociateRequest(called_ae="LIMOSA", calling_ae="ODD", proposals=(proposal,))), PATIENCE)
    kind, _ = wire.read_pdu(deadline, PATIENCE)
    assert kind is Pdu.ASSOCIATE_AC
    names: dict[int, int | bytes] = {
        Tag.MESSAGE_ID: 1,
        Tag.AFFECTED_SOP_CLASS: sop_class,
        Tag.AFFECTED_SOP_INSTANCE: sop_uid,
    }
    command = encode_command(Verb.C_STORE, names, dataset_type=1)
    for pdu in pdata.encode_message(1, command, [dataset], 16 << 10):
        wire.send(pdu, PATIENCE)
    _, body = wire.read_pdu(deadline, PATIENCE)
    ((_, _, answer),) = pdata.fragments(body)
    status = parse_command(answer).number(Tag.STATUS)
    wire.close()
    return status


@pytest.mark.parametrize(
    ("sop_class", "sop_uid"),
    [(CT, "../../etc/passwd"), (CT, "1" * 6_000), (CT, ""), ("not a class", None), ("", "..")],
    ids=["path", "long", "empty", "class only", "both"],
)
def test_a_dataset_under_a_name_that_is_none_is_kept_with_its_evidence(
    receiver: Receiver, ledger: Ledger, tmp_path: Path, sop_class: str, sop_uid: str | None
) -> None:
    file = MemoryOctets(Path(get_testdata_file("CT_small.dcm")).read_bytes())
    envelope = split_part10(file)
    dataset = bytes(file.read(envelope.dataset_offset, file.size))
    said = envelope.sop_uid if sop_uid is None else sop_uid
    assert said is not None

    status = stored(receiver.port, sop_class.encode(), said.encode(), dataset)

    assert status == 0xC000
    (kept,) = (tmp_path / "quarantine").glob("*.dcm")
    found = MemoryOctets(kept.read_bytes())
    head = split_part10(found)
    assert bytes(found.read(head.dataset_offset, found.size)) == dataset
    assert head.sop_class == (CT if sop_class == CT else None)
    assert head.sop_uid == (envelope.sop_uid if sop_uid is None else None)
    evidence = json.loads(kept.with_suffix(".json").read_text())
    assert (evidence["reason"], evidence["calling_ae"]) == ("MALFORMED_INSTANCE", "ODD")
    assert (evidence["sop_class"], evidence["sop_uid"]) == (sop_class, said[:128])
    (problem,) = ledger.exceptions.list_open()
    assert problem.kind == "MALFORMED_INSTANCE"
    assert problem.sop_uid == (envelope.sop_uid if sop_uid is None else None)
