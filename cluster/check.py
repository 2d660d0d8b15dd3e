"""Tries every endpoint of a job the way a run will use it, and learns what is peculiar about the source.

Each probe gives rows; a probe that cannot go on says so in a row and never raises. Ledger, destinations and
folders are probed side by side; the source one question after the other, as it will be asked.
"""

import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from actors.destination_options import DestinationOptions
from actors.destinations import open_destination
from cluster.advice import advice, advice_on
from cluster.job import Job
from cluster.registry import register_job
from cluster.reports.counting import misfits_of
from cluster.services import Services
from storage.errors import Retryable, StorageError
from storage.ledger.ledger import Ledger
from storage.ledger.migrate import migrate, migrations
from storage.sinks.device import Device
from storage.sinks.options import SeedOptions
from storage.sinks.unlocking import label_of

ROOM = 20 << 30
"""Bytes the state folder should have free: spool, logs and, embedded, the ledger of a pilot."""

LEAST_ROOM = 1 << 30
"""Below this a run would stop within minutes."""

CLOCK_TOLERANCE = 2.0
"""Seconds between our clock and the ledger's: leases use the ledger's, but logs are compared by eye."""

RAY_PATIENCE = 5.0
"""Seconds for a TCP connection to the Ray head."""


class Mark(StrEnum):
    """How a probe ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that was tried."""

    what: str
    mark: Mark
    detail: str
    next_step: str = ""


def check_surroundings(job: Job, running: Services, now: Callable[[], datetime]) -> list[Row]:
    """Rows about ledger, destinations, folders and Ray."""
    probes: list[Callable[[], Sequence[Row]]] = [
        lambda: list(_ledger(job, running, now)),
        lambda: [_room(job.state_dir)],
        lambda: [_ray(job)],
        *(_sink_probe(options) for options in running.destinations),
    ]
    with ThreadPoolExecutor(max_workers=len(probes)) as pool:
        return [row for rows in pool.map(lambda probe: probe(), probes) for row in rows]


def _ledger(job: Job, running: Services, now: Callable[[], datetime]) -> Iterator[Row]:
    try:
        url = running.ledger.resolved()
        version = migrate(url)
        with Ledger(url, pool_size=1) as ledger:
            register_job(job, ledger)
            yield Row(what="ledger", mark=Mark.OK, detail=f"schema {version} of {len(migrations())}, nothing pending")
            yield _clock(ledger, now)
            yield from _project(job, ledger)
    except StorageError as error:
        step = advice(error) or "Start Postgres, or correct [ledger]."
        yield Row(what="ledger", mark=Mark.FAIL, detail=str(error), next_step=step)


def _project(job: Job, ledger: Ledger) -> Iterator[Row]:
    """Whether the job is what it says it is; nothing where it says nothing."""
    if job.job.project is None:
        return
    quality = ledger.baselines.quality()
    found = misfits_of(job, quality, ledger.baselines.exceptions())
    looked_at = "job and inventory look" if quality.get("studies") else "without an inventory yet, the job looks"
    yield Row(
        what=f"project: {job.job.project}",
        mark=Mark.WARN if found else Mark.OK,
        detail="; ".join(found) or f"{looked_at} like one",
        next_step="Correct job.project, or the job." if found else "",
    )


def _clock(ledger: Ledger, now: Callable[[], datetime]) -> Row:
    apart = abs((now() - ledger.control.now()).total_seconds())
    mark = Mark.OK if apart <= CLOCK_TOLERANCE else Mark.WARN
    step = "" if mark is Mark.OK else "Let NTP set both clocks."
    return Row(what="clock", mark=mark, detail=f"{apart:.1f} s from the ledger's", next_step=step)


def _room(folder: Path) -> Row:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    mark = Mark.OK if free >= ROOM else Mark.WARN if free >= LEAST_ROOM else Mark.FAIL
    return Row(
        what="state folder",
        mark=mark,
        detail=f"{free >> 30} GiB free",
        next_step="" if mark is Mark.OK else "Set job.state_dir to a disk with more room: the spool lies there.",
    )


def _ray(job: Job) -> Row:
    address = job.cluster.ray
    if address == "local":
        return Row(what="ray", mark=Mark.OK, detail="starts with the run, on this machine")
    if address == "auto":
        return Row(what="ray", mark=Mark.WARN, detail="looked for when the run starts", next_step="Name the address.")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=RAY_PATIENCE):
            return Row(what="ray", mark=Mark.OK, detail="the head accepts connections")
    except OSError as error:
        return Row(
            what="ray",
            mark=Mark.FAIL,
            detail=error.strerror or "no answer",
            next_step="Start the cluster (infra/), or correct [cluster].",
        )


def _label(options: SeedOptions) -> None:
    """Devices that are new have their labels; one that is away is told by its probe."""
    for root in options.devices:
        with suppress(Retryable):
            Device(root, label_of(options.disk_key), hangs_after=options.hangs_after)


def _sink_probe(options: DestinationOptions) -> Callable[[], Sequence[Row]]:
    def probe() -> list[Row]:
        name = f"destination {options.name}"
        rows: list[Row] = []
        try:
            if isinstance(options, SeedOptions):
                _label(options)
            for found in open_destination(options).probe():
                rows.append(
                    Row(
                        what=f"{name}: {found.what}",
                        mark=Mark.OK if found.ok else Mark.FAIL,
                        detail=found.detail,
                        next_step="" if found.ok else _step(options, advice_on("probe", found.place, found.code)),
                    )
                )
        except StorageError as error:
            rows.append(Row(what=name, mark=Mark.FAIL, detail=str(error), next_step=_step(options, advice(error))))
        return rows

    return probe


def _step(options: DestinationOptions, advised: str) -> str:
    return advised or f"Correct the destination {options.name} in the job file, or its permissions."
