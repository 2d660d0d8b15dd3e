"""What becomes of an instance that no open intake takes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
from blake3 import blake3

from actors.arrivals import CANNOT_UNDERSTAND, HELD, OUT_OF_RESOURCES, Arrivals
from actors.dimse.handover import HandoverServer
from actors.dimse.incoming import Incoming, Peer
from actors.intake import Intake
from actors.routing import Router
from actors.siblings import NoSiblings, Siblings
from actors.source import InstanceRef
from imaging.octets import MemoryOctets
from imaging.part10 import encode_meta
from imaging.uid import Uid
from storage.budget import MemoryBudget
from storage.ledger.facts import KnownArrival
from storage.spool import LandingPlace, Quarantine, Spool

STUDY = Uid("1.2.3")
SOP_CLASS = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
PATIENCE = timedelta(seconds=10)


def element(group: int, number: int, value: str) -> bytes:
    padded = value.encode() + b"\0" * (len(value) % 2)
    head = group.to_bytes(2, "little") + number.to_bytes(2, "little")
    return head + b"UI" + len(padded).to_bytes(2, "little") + padded


def incoming() -> Incoming:
    dataset = b"".join(
        (
            element(0x0008, 0x0016, SOP_CLASS),
            element(0x0008, 0x0018, "1.2.3.1.1"),
            element(0x0020, 0x000D, STUDY),
            element(0x0020, 0x000E, "1.2.3.1"),
        )
    )
    meta = bytes(encode_meta(SOP_CLASS, "1.2.3.1.1", EXPLICIT))
    return Incoming(
        peer=Peer(calling_ae="PACS", called_ae="MIG01", address="127.0.0.1"),
        sop_class=SOP_CLASS,
        sop_uid="1.2.3.1.1",
        transfer_syntax=EXPLICIT,
        move_originator_ae=None,
        move_originator_id=None,
        part10=MemoryOctets(meta + dataset),
        dataset_offset=len(meta),
        raw1=blake3(dataset).digest(),
    )


class LedgerDouble:
    """Knows one study, which is pending until it is committed; remembers what it was told."""

    def __init__(self) -> None:
        self.committed = False
        self.kinds: list[str] = []
        self.recounted: list[int] = []
        self.facts = SimpleNamespace(
            arrival=lambda study, sop: KnownArrival(study_key=7, pending=not self.committed, raw1=None)
        )
        self.exceptions = SimpleNamespace(open=self.open, open_late=self.open_late)

    def open(self, problem) -> None:
        self.kinds.append(problem.kind)

    def open_late(self, problem, *, study_key: int) -> None:
        self.open(problem)
        self.recounted.append(study_key)


class WatchedRouter(Router):
    """Says when an arrival waits for a study to be settled."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = threading.Event()

    def wait_settled(self, study_uid, patience):
        self.waiting.set()
        return super().wait_settled(study_uid, patience)


@pytest.fixture
def ledger():
    return LedgerDouble()


@pytest.fixture
def router():
    return WatchedRouter()


def arrivals_of(router, ledger, tmp_path, patience=PATIENCE) -> Arrivals:
    return Arrivals(
        router=router, peers=NoSiblings(), ledger=ledger, quarantine=Quarantine(tmp_path), finish_patience=patience
    )


def begin_to_finish(router) -> None:
    with router.serving(Intake(STUDY, (), SimpleNamespace(), (), lambda facts, octets: None)):
        pass


def test_an_instance_that_comes_while_its_study_is_committed_is_kept_and_the_study_pulled_anew(
    router, ledger, tmp_path
):
    arrivals = arrivals_of(router, ledger, tmp_path)
    statuses: list[int] = []
    begin_to_finish(router)
    sender = threading.Thread(target=lambda: statuses.append(arrivals(incoming())))

    sender.start()
    assert router.waiting.wait(PATIENCE.total_seconds())
    ledger.committed = True
    router.settled(STUDY)
    sender.join(PATIENCE.total_seconds())

    assert statuses == [HELD]
    assert ledger.kinds == ["LATE_INSTANCE"]
    assert ledger.recounted == [7]
    assert len(list(tmp_path.glob("*.dcm"))) == 1


def test_an_instance_is_kept_when_its_study_takes_too_long_to_be_committed(router, ledger, tmp_path):
    arrivals = arrivals_of(router, ledger, tmp_path, patience=timedelta(0))
    begin_to_finish(router)

    status = arrivals(incoming())

    assert status == HELD
    assert ledger.recounted == [7]


def test_a_straggler_of_an_attempt_that_ended_is_left_to_the_next_one(router, ledger, tmp_path):
    arrivals = arrivals_of(router, ledger, tmp_path)
    begin_to_finish(router)
    router.settled(STUDY)

    status = arrivals(incoming())

    assert status == OUT_OF_RESOURCES
    assert ledger.kinds == []


@contextmanager
def listening(name: str, folder: Path, arrivals: Arrivals) -> Iterator[None]:
    """A sibling takes what is handed over to it."""
    place = LandingPlace(Spool(folder / "spool"), MemoryBudget(8 << 20), 1 << 20)
    server = HandoverServer(folder / f"{name}.sock", place.open, arrivals.handed_over)
    server.start()
    try:
        yield
    finally:
        server.stop()
        place.spool.close()


def test_bytes_that_are_no_dataset_are_awaited_no_longer_in_whichever_process_pulls_the_study(router, ledger, tmp_path):
    names = frozenset({"mover-1", "mover-2", "mover-gone"})
    wanted = InstanceRef(series_uid=Uid("1.2.3.1"), sop_uid=Uid("1.2.3.1.1"))
    there = arrivals_of(router, ledger, tmp_path / "there")
    with (
        TemporaryDirectory() as folder,
        listening("mover-2", Path(folder), there),
        router.serving(Intake(STUDY, (wanted,), SimpleNamespace(), (), lambda facts, octets: None)) as intake,
    ):
        siblings = Siblings("mover-1", names, Path(folder), lambda study_uid: None)
        here = Arrivals(router=Router(), peers=siblings, ledger=ledger, quarantine=Quarantine(tmp_path / "here"))
        whole = incoming()

        status = here(replace(whole, part10=MemoryOctets(b"\xff" * 300)))

        assert status == CANNOT_UNDERSTAND
        assert intake.rejected == {"1.2.3.1.1"}
        siblings.close()

    assert ledger.kinds == ["MALFORMED_INSTANCE"], "told once, by the process that has the bytes"
    assert [len(list((tmp_path / place).glob("*.dcm"))) for place in ("here", "there")] == [1, 0]
