"""A worker is known again by what it was started with."""

import os
import subprocess
import sys

SETTINGS = """
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from actors.options import DimseSource, MoverLimits, Receiver
from actors.setup import JobSetup, MoverSetup
from actors.start import start_mover
from cluster.runtime import Worker
from cluster.schedule import Schedule
from storage.ledger.address import LedgerAddress
from storage.sinks.options import S3Options

job = JobSetup(
    ledger=LedgerAddress("postgresql://limosa@db.example/limosa"),
    secret=bytes(32),
    source=DimseSource(host="pacs.example", port=104, ae_title="PACS", associations=4),
    source_id=1,
    destinations=(S3Options(name="cloud", bucket="images", region="eu-central-1"),),
    inline="cloud",
    limits=MoverLimits(attempts=5, lease=timedelta(seconds=60)),
    hours=Schedule.parse(("mon-fri 18:00-06:00",), "Europe/Berlin"),
    folder=Path("state"),
    log_level="info",
    only=None,
)
receiver = Receiver(ae_title="LIMOSA", port=11112, allow=("10.0.0.0/8",))
for each in (job, replace(job, limits=MoverLimits(attempts=6))):
    setup = MoverSetup(job=each, name="mover-1-1", names=("mover-1-1",), receiver=receiver)
    print(Worker(name="mover-1-1", kind="mover", start=partial(start_mover, setup)).fingerprint)
"""


def fingerprints(seed: str) -> list[str]:
    """Of two different settings, as a driver of its own computes them, whose sets are ordered by `seed`."""
    done = subprocess.run(
        [sys.executable, "-c", SETTINGS],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_every_driver_knows_a_worker_by_its_settings_and_only_by_them() -> None:
    one, other = fingerprints("1"), fingerprints("2")

    assert one == other
    assert len(set(one)) == 2
