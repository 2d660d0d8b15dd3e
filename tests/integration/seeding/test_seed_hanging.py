"""Devices that hang: workers take other work first, and whoever looks is told."""

from collections.abc import Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from actors.hanging import HangingDevices
from cluster.registry import register_job

LEASE = timedelta(seconds=60)


def sinks_of(**hanging: int) -> Mapping[str, Any]:
    return {"disks": SimpleNamespace(hanging=hanging)}


def test_what_lies_on_a_device_that_hangs_is_read_back_last(shipment: Any) -> None:
    shipment.prepare()
    shipment.deliver("1.2.1", shipment.roots[0])
    shipment.deliver("1.2.2", shipment.roots[0])
    shipment.deliver("1.2.3", shipment.roots[1])
    hanging = shipment.receipts["1.2.1"].device
    destinations = list(register_job(shipment.job, shipment.ledger).destinations.values())

    claims = [
        shipment.ledger.claims.validate(f"validator-{number}", destinations, LEASE, last={hanging})
        for number in range(4)
    ]

    assert [claim and claim.study_uid for claim in claims] == ["1.2.3", "1.2.1", "1.2.2", None]


def test_a_device_that_hangs_is_told_by_status_and_exceptions_until_it_answers(shipment: Any) -> None:
    shipment.load()
    device = shipment.receipts["1.2.1"].device
    sinks = dict(sinks_of(**{device: 3}))
    watch = HangingDevices("mover-1", shipment.ledger, sinks)

    watch.look()
    watch.look()
    hung = shipment.do("status", str(shipment.file), rc=2)
    (told,) = shipment.ledger.exceptions.list_open(kind="DEVICE_HANGS")
    sinks |= sinks_of()
    watch.look()
    answers = shipment.do("status", str(shipment.file))

    assert [row["path_label"] for row in hung if row["hangs"]] == ["disk-1"]
    assert (told.blocking, told.destination) == (False, "disks")
    assert told.evidence == {"worker": "mover-1", "devices": {device: 3}}
    assert not any(row["hangs"] for row in answers)
    assert not shipment.ledger.exceptions.list_open(kind="DEVICE_HANGS")
