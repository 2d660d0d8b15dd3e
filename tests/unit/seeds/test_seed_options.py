"""What the job file may say of devices."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from storage.sinks.options import SeedOptions


def options(**more: Any) -> SeedOptions:
    return SeedOptions.model_validate({"name": "disks", "devices": [Path("/media/seed-1")], **more})


@pytest.mark.parametrize(
    ("said", "rate"), [("150MB/s", 150_000_000), ("150 MB/s", 150_000_000), ("64MiB", 64 << 20), (5_000_000, 5_000_000)]
)
def test_a_write_rate_is_said_in_bytes_a_second(said: object, rate: int) -> None:
    assert options(write_rate=said).write_rate == rate


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"write_rate": "100KB/s"}, "greater than or equal"),
        ({"write_rate": "fast"}, "could not parse"),
        ({"disk_key": "env:KEY", "profile": "databox"}, "an appliance encrypts by itself"),
        ({"disk_key": "/srv/disk.key"}, "should match pattern"),
        ({"parallel": 0}, "greater than or equal"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        options(**more)
