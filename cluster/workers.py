"""Which workers a job needs: a pure list from its settings."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from actors.options import Receiver, self_served
from actors.setup import FeederSetup, JobSetup, MoverSetup, ValidatorSetup
from actors.start import start_feeder, start_mover, start_validator
from cluster.job import Job
from cluster.runtime import Worker
from cluster.services import Services
from storage.ledger.job import Registered


def job_setup(
    job: Job, services: Services, registered: Registered, only: Sequence[int] | None, folder: Path
) -> JobSetup:
    """What all workers of the job are started with."""
    return JobSetup(
        ledger=services.ledger,
        secret=registered.secret,
        source=job.source,
        source_id=registered.sources[job.source.name],
        destinations=services.destinations,
        inline=services.inline,
        limits=job.limits,
        hours=job.opening,
        folder=folder,
        log_level=job.cluster.log_level,
        only=None if only is None else tuple(only),
        coercion=job.coercion,
        dose=job.dose,
        identity=job.identity,
    )


def movers(job: Job, setup: JobSetup) -> list[tuple[int, list[Worker]]]:
    """For each receiver: how many processes it starts with, and a mover for each that it may ever have."""
    if self_served(job.source):
        return [(job.source.processes, _without_receiver(job.source.processes, setup))]
    found: list[tuple[int, list[Worker]]] = []
    for number, receiver in enumerate(job.receivers, start=1):
        names = names_of(receiver, number)
        setups = [MoverSetup(job=setup, name=name, names=names, receiver=receiver) for name in names]
        workers = [Worker(name=each.name, kind="mover", start=partial(start_mover, each)) for each in setups]
        found.append((receiver.processes, workers))
    return found


def _without_receiver(processes: int, setup: JobSetup) -> list[Worker]:
    """Movers whose source hands instances over in their own process."""
    names = tuple(f"mover-1-{process}" for process in range(1, processes + 1))
    setups = [MoverSetup(job=setup, name=name, names=names, receiver=None) for name in names]
    return [Worker(name=each.name, kind="mover", start=partial(start_mover, each)) for each in setups]


def names_of(receiver: Receiver, number: int) -> tuple[str, ...]:
    """Worker names of a receiver's processes, those that may be added included: each has to know all whom it may hand
    instances to. AE titles may hold spaces, so they are numbered."""
    return tuple(f"mover-{number}-{process}" for process in range(1, receiver.largest + 1))


def feeders(job: Job, setup: JobSetup, destinations: Mapping[str, int]) -> list[Worker]:
    """For the destinations (name and id) that are fed; none when the inline one is the only one."""
    fed = {name: identity for name, identity in destinations.items() if name != setup.inline}
    if not fed:
        return []
    return [
        Worker(
            name=f"feeder-{number}",
            kind="feeder",
            start=partial(
                start_feeder,
                FeederSetup(job=setup, name=f"feeder-{number}", lanes=job.cluster.feeder_lanes, destinations=fed),
            ),
        )
        for number in range(1, job.cluster.feeders + 1)
    ]


def validators(job: Job, setup: JobSetup, destinations: Mapping[str, int]) -> list[Worker]:
    """For these destinations (name and id)."""
    return [
        Worker(
            name=f"validator-{number}",
            kind="validator",
            start=partial(
                start_validator,
                ValidatorSetup(
                    job=setup,
                    name=f"validator-{number}",
                    lanes=job.cluster.validator_lanes,
                    destinations=dict(destinations),
                ),
            ),
        )
        for number in range(1, job.cluster.validators + 1)
    ]
