"""A destination that takes no more is said to, and is open again when it has room."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from actors.source import StudyFound
from cluster.destinations import attach_destinations
from cluster.exit import Exit
from cluster.services import Services
from cluster.summary import list_destinations, summarise
from imaging.uid import Uid
from storage.ledger.address import LedgerAddress
from storage.ledger.job import DestinationSpec, Registered, SourceSpec
from storage.ledger.ledger import Ledger
from storage.ledger.migrate import migrate
from storage.ledger.records import DestinationState
from storage.sinks.device import Device
from storage.sinks.options import SeedOptions

NO_ROOM = 1 << 60


@dataclass(frozen=True)
class Shipment:
    """A job with one seed destination of one device."""

    ledger: Ledger
    known: Registered
    device: Path

    def services(self, *devices: Path, reserve: int = 0) -> Services:
        options = SeedOptions(name="disks", devices=devices or (self.device,), reserve=reserve)
        return Services(ledger=LedgerAddress("", None), destinations=(options,), inline="disks", embedded=())

    def state(self) -> DestinationState:
        (row,) = self.ledger.status.destinations()
        return row.state

    def fill(self) -> None:
        self.ledger.jobs.set_destination(self.known.destinations["disks"], DestinationState.FULL, "no device has room")


@pytest.fixture
def shipment(postgres_url: str, tmp_path: Path) -> Iterator[Shipment]:
    migrate(postgres_url)
    device = tmp_path / "disk-1"
    device.mkdir()
    Device(device)
    with Ledger(postgres_url, pool_size=2) as ledger:
        known = ledger.jobs.register(
            "job",
            source_identity="dimse:PACS@127.0.0.1:104",
            sources=[SourceSpec(name="source", kind="dimse", pull_limit=1)],
            destinations=[DestinationSpec(name="disks", kind="seed", inline=True, fingerprint="seed:pack")],
        )
        ledger.inventory.begin_generation()
        ledger.inventory.record_studies(known.sources["source"], [StudyFound(study_uid=Uid("1.2"))])
        ledger.plan.step({})
        yield Shipment(ledger, known, device)


def test_a_full_destination_is_open_again_when_a_device_with_room_is_there(shipment: Shipment, tmp_path: Path) -> None:
    second = tmp_path / "disk-2"
    second.mkdir()
    attach_destinations(shipment.ledger, shipment.services(reserve=NO_ROOM), shipment.known)
    shipment.fill()
    attach_destinations(shipment.ledger, shipment.services(reserve=NO_ROOM), shipment.known)
    before = shipment.state()

    attach_destinations(shipment.ledger, shipment.services(shipment.device, second), shipment.known)

    assert before is DestinationState.FULL
    assert shipment.state() is DestinationState.OPEN
    assert sorted(shipment.ledger.jobs.devices(shipment.known.destinations["disks"]).values()) == ["loading"] * 2


def test_a_sealed_device_does_not_count_as_room(shipment: Shipment) -> None:
    attach_destinations(shipment.ledger, shipment.services(), shipment.known)
    destination = shipment.known.destinations["disks"]
    (device,) = shipment.ledger.jobs.devices(destination)
    shipment.ledger.jobs.set_device(destination, device_id=device, path_label="disk-1", state="sealed")
    shipment.fill()

    attach_destinations(shipment.ledger, shipment.services(), shipment.known)

    assert shipment.state() is DestinationState.FULL


@pytest.mark.parametrize("state", [DestinationState.FULL, DestinationState.STOPPED])
def test_work_that_waits_for_a_closed_destination_ends_a_run_with_2_and_the_reason(
    shipment: Shipment, state: DestinationState
) -> None:
    shipment.ledger.jobs.set_destination(shipment.known.destinations["disks"], state, "no device has room")

    summary = summarise(shipment.ledger, list_destinations(shipment.ledger, shipment.services().destinations))

    (disks,) = summary.destinations
    assert (disks.unfinished, disks.packs, disks.closed) == (1, 0, f"{state.value} (no device has room)")
    assert summary.exit is Exit.EXCEPTIONS


def test_work_left_at_an_open_destination_ends_with_2_unless_the_run_was_asked_for_less(shipment: Shipment) -> None:
    summary = summarise(shipment.ledger, list_destinations(shipment.ledger, shipment.services().destinations))

    assert summary.unfinished == 1
    assert summary.exit is Exit.EXCEPTIONS
    assert summary.exit_of_part is Exit.DONE


def test_a_device_that_is_away_is_not_counted_and_says_why(shipment: Shipment, tmp_path: Path) -> None:
    away = shipment.services(tmp_path / "not-mounted")

    summary = summarise(shipment.ledger, list_destinations(shipment.ledger, away.destinations))

    (disks,) = summary.destinations
    assert disks.packs is None and "not mounted" in disks.unlisted
    assert summary.exit is Exit.EXCEPTIONS


def test_a_seed_that_is_not_mounted_is_stopped_until_a_run_finds_it(shipment: Shipment, tmp_path: Path) -> None:
    attach_destinations(shipment.ledger, shipment.services(tmp_path / "not-mounted"), shipment.known)
    away = summarise(shipment.ledger, list_destinations(shipment.ledger, shipment.services().destinations))

    attach_destinations(shipment.ledger, shipment.services(), shipment.known)
    back = summarise(shipment.ledger, list_destinations(shipment.ledger, shipment.services().destinations))

    assert "not mounted" in str(away.destinations[0].closed)
    assert back.destinations[0].closed == ""
