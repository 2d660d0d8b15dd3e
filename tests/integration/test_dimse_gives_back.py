"""What was sent to an archive by C-STORE comes back by C-MOVE with the digests that it left with."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from actors.destination_options import DimseOptions
from actors.dimse.incoming import Incoming
from actors.dimse.receiver import Receiver
from actors.dimse.scu import DimseSource
from actors.dimse.sink import DimseSink
from actors.options import DimseSource as SourceOptions
from actors.options import Receiver as ReceiverOptions
from actors.source import MoveEnd, MoveTarget
from imaging.digests import raw1
from imaging.facts import InstanceFacts
from imaging.instance import describe
from imaging.octets import MemoryOctets, Octets
from imaging.part10 import split_part10
from infra.simulator import synthetic_archive
from infra.simulator.peers import DcmqrscpPeer, OrthancPeer
from infra.simulator.process import free_port
from storage.budget import MemoryBudget
from storage.dicomweb.options import WebAccess
from storage.sinks.service import Outgoing
from storage.spool import LandingPlace, Spool

REAL = ("JPEG2000.dcm", "MR_small_RLE.dcm", "JPEG-lossy.dcm", "SC_rgb_rle_2frame.dcm")
EXPLICIT = "1.2.840.10008.1.2.1"
NATIVE = ("1.2.840.10008.1.2", EXPLICIT)
"""All that dcmqrscp takes."""


class Inbox:
    """A receiver, and the facts of what it got."""

    def __init__(self, folder: Path, port: int) -> None:
        self.got: dict[str, InstanceFacts] = {}
        self.port = port
        place = LandingPlace(Spool(folder), MemoryBudget(64 << 20), 8 << 20)
        self.receiver = Receiver(ReceiverOptions(ae_title="LIMOSA", port=port), place.open, self._take)
        self.receiver.start()

    def _take(self, incoming: Incoming) -> int:
        syntax = split_part10(incoming.part10).transfer_syntax
        facts = described(incoming.part10, incoming.dataset_offset, syntax, incoming.raw1)
        self.got[facts.sop_uid] = facts
        return 0


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    inbox = Inbox(tmp_path / "spool", free_port())
    yield inbox
    assert inbox.receiver.stop(timedelta(seconds=5))


def described(part10: Octets, offset: int, syntax: str, digest: bytes) -> InstanceFacts:
    return describe(part10, dataset_offset=offset, transfer_syntax=syntax, raw1=digest)


def outgoing(file: Path) -> Outgoing:
    octets = MemoryOctets(file.read_bytes())
    envelope = split_part10(octets)
    digest = raw1(octets, envelope.dataset_offset, envelope.transfer_syntax)
    facts = described(octets, envelope.dataset_offset, envelope.transfer_syntax, digest)
    return Outgoing(facts=facts, part10=octets)


def exported(folder: Path) -> Sequence[Path]:
    return synthetic_archive(studies=2, modalities=("CT", "MR"), instances=3, side=16).export(folder / "files")


def sent_and_fetched(port: int, title: str, files: Sequence[Path], inbox: Inbox) -> dict[str, InstanceFacts]:
    """What was sent; the inbox has what came back."""
    sink = DimseSink(
        DimseOptions(
            name="vna",
            host="127.0.0.1",
            port=port,
            ae_title=title,
            dicomweb=WebAccess(url="http://127.0.0.1:9/never-asked"),
        )
    )
    every = [outgoing(file) for file in files]
    for each in every:
        sink.send(each, first=True)
    asking = DimseSource(SourceOptions(host="127.0.0.1", port=port, ae_title=title))
    try:
        for study in sorted({each.facts.study_uid for each in every}):
            outcome = asking.retrieve(MoveTarget(study_uid=study), "LIMOSA", lambda: False)
            assert outcome.end is MoveEnd.SUCCESS
    finally:
        asking.close()
    return {each.facts.sop_uid: each.facts for each in every}


def meaning(facts: dict[str, InstanceFacts]) -> dict[str, tuple[bytes, bytes | None]]:
    """What no archive may change, however it writes a dataset: the header's values and the pixels."""
    return {uid: (each.can1, each.pd1) for uid, each in facts.items()}


def octets(facts: dict[str, InstanceFacts]) -> dict[str, bytes]:
    """The datasets' very bytes, of those stored as archives write them themselves."""
    return {uid: each.raw1 for uid, each in facts.items() if each.transfer_syntax == EXPLICIT}


@pytest.mark.peer("dcmtk")
def test_dcmqrscp_gives_back_what_it_was_sent(inbox: Inbox, tmp_path: Path) -> None:
    files = [file for file in exported(tmp_path) if outgoing(file).facts.transfer_syntax in NATIVE]
    known = {"LIMOSA": ("127.0.0.1", inbox.port)}

    with DcmqrscpPeer(tmp_path / "dcmqrscp", port=free_port(), destinations=known) as peer:
        sent = sent_and_fetched(peer.port, peer.ae, files, inbox)

    assert len(sent) == len(files) > 0
    assert meaning(inbox.got) == meaning(sent)
    assert octets(sent).items() <= octets(inbox.got).items()


@pytest.mark.peer("orthanc")
def test_orthanc_gives_back_what_it_was_sent_compressed_and_not(inbox: Inbox, tmp_path: Path) -> None:
    files = [*exported(tmp_path), *(Path(str(get_testdata_file(name))) for name in REAL)]
    known = {"LIMOSA": ("127.0.0.1", inbox.port)}

    with OrthancPeer(tmp_path / "orthanc", port=free_port(), http_port=free_port(), destinations=known) as peer:
        sent = sent_and_fetched(peer.port, peer.ae, files, inbox)

    assert len(sent) == len(files)
    assert meaning(inbox.got) == meaning(sent)
    assert octets(sent).items() <= octets(inbox.got).items()
