"""How full devices are and when they will be done."""

from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.seeding.forecast import forecasts
from storage.ledger.seeds import DeviceRow

GB = 10**9


def device(name: str, **changes: Any) -> DeviceRow:
    values: dict[str, Any] = {
        "device_id": name, "destination": "disks", "path_label": name, "state": "loading",
        "changed_at": datetime(2026, 1, 1, tzinfo=UTC), "packs": 100, "instances": 1000, "bytes": 100 * GB,
        "waiting": 0, "exceptions": 0, "serial": None, "sealed_at": None, "arrived": 0, "volumes": 0, "rate": 0.1 * GB,
    }  # fmt: skip
    return DeviceRow(**values | changes)


def test_a_device_is_done_when_it_is_full_or_nothing_waits() -> None:
    rows = [device("a"), device("b", rate=0.3 * GB)]

    much = forecasts(rows, {"a": 300 * GB, "b": 300 * GB}, {"disks": 10_000})
    little = forecasts(rows, {"a": 300 * GB, "b": 300 * GB}, {"disks": 40})

    assert (much["a"].eta, much["b"].eta) == (3000.0, 1000.0)
    assert (little["a"].eta, little["b"].eta) == (100.0, 100.0)
    assert much["a"].fill == 0.25


@pytest.mark.parametrize(
    ("changes", "loadable"), [({"rate": 0.0}, {"a": GB}), ({"rate": 0.0, "packs": 0, "bytes": 0}, {})]
)
def test_nothing_is_promised_of_a_device_that_is_not_written(changes: dict[str, Any], loadable: dict[str, int]) -> None:
    assert forecasts([device("a", **changes)], loadable, {"disks": 5})["a"].eta is None


def test_of_a_device_that_is_not_mounted_neither_room_nor_fill_is_known() -> None:
    (found,) = forecasts([device("a")], {}, {}).values()

    assert (found.loadable, found.fill, found.eta) == (None, None, 0.0)
