"""Puts a worker process together from its setup: the only place where the pieces meet."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from blake3 import blake3

from actors.arrivals import Arrivals
from actors.committing import report_to
from actors.destination_options import DimseOptions
from actors.destinations import open_destination
from actors.dimse.handover import HandoverServer
from actors.dimse.receiver import Receiver
from actors.dimse.reports import ReportListener
from actors.dimse.tls import receiver_context
from actors.feeder import Feeder
from actors.hanging import HangingDevices
from actors.logs import log_to
from actors.mover import Mover
from actors.opening import open_source
from actors.options import AUTO
from actors.pacing import Meter, reporting
from actors.routing import Router
from actors.setup import FeederSetup, JobSetup, MoverSetup, ValidatorSetup
from actors.siblings import NoSiblings, Siblings, socket_folder
from actors.validator import Validator
from actors.worker import Tally, Worker
from storage.budget import MemoryBudget
from storage.ledger.ledger import Ledger
from storage.sinks.protocol import Sink
from storage.spool import LandingPlace, Quarantine, Spool

CONNECTIONS_PER_LANE = 2
"""Ledger connections: a lane holds one, the receiver's threads and the heartbeat share the rest."""

LANES_MEMORY = 0.75
"""Share of a mover's memory its lanes' writers may reserve when their number follows from it; the rest is for instances
that arrive."""

RECEIVER_DRAIN = timedelta(seconds=5)
"""How long a stopping mover waits for instances in flight; what is cut off is pulled again."""


def study_refs(secret: bytes) -> Callable[[str], str]:
    """What stands for a study in logs: a keyed hash of its UID, 12 hex digits, stable within a job."""
    key = secret[:32].ljust(32, b"\0")
    return lambda study_uid: blake3(study_uid.encode("ascii"), key=key).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Process:
    """A running worker and everything that has to be closed with it."""

    worker: Worker[Any]
    stack: ExitStack

    def drain(self) -> None:
        self.worker.drain()

    def stop(self, seconds: float) -> bool:
        ended = self.worker.stop(seconds)
        self.stack.close()
        return ended

    def report(self) -> dict[str, Any]:
        return self.worker.report()


@dataclass(frozen=True, slots=True)
class Desk:
    """What every worker has: its ledger, the sinks it uses, and room to put instances down."""

    ledger: Ledger
    sinks: dict[str, Sink]
    place: LandingPlace
    quarantine: Quarantine
    lanes: int


def _furnish(stack: ExitStack, setup: JobSetup, name: str, lanes: int | Literal["auto"], used: Collection[str]) -> Desk:
    log_to(setup.folder / "logs" / f"{name}.jsonl", setup.log_level)
    # Only what it uses: a device that is not mounted must not keep a mover from starting.
    sinks = {options.name: open_destination(options) for options in setup.destinations if options.name in used}
    writers = max(sink.traits.writer_memory for sink in sinks.values())
    if lanes == AUTO:
        lanes = lanes_within(setup.limits.memory, writers, setup.source.bounds.most)
    ledger = stack.enter_context(Ledger(setup.ledger.resolved(), pool_size=2 + CONNECTIONS_PER_LANE * lanes))
    budget = MemoryBudget(setup.limits.memory)
    # Reserved once for all lanes, before anything is claimed: nothing ever waits for memory while holding some.
    budget.reserve(lanes * writers)
    spool = Spool(setup.folder / "spool")
    stack.callback(spool.close)
    place = LandingPlace(spool, budget, setup.limits.in_memory_instance)
    return Desk(ledger, sinks, place, Quarantine(setup.folder / "quarantine"), lanes)


def lanes_within(memory: int, writer: int, most: int) -> int:
    """As many lanes as the source may ever be asked with, at least one, if their writers leave room for arrivals."""
    return max(1, min(most, int(memory * LANES_MEMORY) // writer))


def start_mover(setup: MoverSetup) -> Process:
    """A mover is at work: its receiver listens, its lanes claim.

    Raises
    ------
    OSError
        The receiver's address cannot be had, or its TLS files are unusable.
    ValueError
        `limits.memory` does not hold the writers of all lanes.
    StorageError
        Ledger or a destination cannot be opened.
    """
    job = setup.job
    with ExitStack() as stack:
        lanes = AUTO if setup.receiver is None else setup.receiver.associations
        desk = _furnish(stack, job, setup.name, lanes, {job.inline})
        router = Router()
        sockets = socket_folder(job.folder)
        siblings = NoSiblings()
        if setup.receiver is not None and len(setup.names) > 1:
            siblings = Siblings(setup.name, frozenset(setup.names), sockets, desk.ledger.claims.holder)
        stack.callback(siblings.close)
        tally = Tally()
        meter = Meter(reporting(desk.ledger, job.source_id, job.source.bounds))
        meter.start()
        stack.callback(meter.stop)
        arrivals = Arrivals(
            router=router,
            peers=siblings,
            ledger=desk.ledger,
            quarantine=desk.quarantine,
            on_held=meter.arrived,
        )
        if setup.receiver is not None and len(setup.names) > 1:
            handover = HandoverServer(sockets / f"{setup.name}.sock", desk.place.open, arrivals.handed_over)
            handover.start()
            stack.callback(handover.stop)
        if setup.receiver is not None:
            tls = None if setup.receiver.tls is None else receiver_context(setup.receiver.tls)
            receiver = Receiver(setup.receiver, desk.place.open, arrivals, tls=tls)
            receiver.start()
            stack.callback(receiver.stop, RECEIVER_DRAIN)
        mover = Mover(
            name=setup.name,
            receiver_ae="" if setup.receiver is None else setup.receiver.ae_title,
            source_id=job.source_id,
            options=job.source,
            limits=job.limits,
            hours=job.hours,
            only=job.only,
            coercion=job.coercion,
            dose=job.dose,
            identity=job.identity,
            ledger=desk.ledger,
            sink=desk.sinks[job.inline],
            router=router,
            arrivals=arrivals,
            open_source=lambda: open_source(job.source, job.source_id, desk.ledger, arrivals, desk.place.open),
            study_ref=study_refs(job.secret),
            tally=tally,
            meter=meter,
        )
        return _run(
            stack,
            Worker(
                name=setup.name,
                kind="mover",
                lanes=desk.lanes,
                limits=job.limits,
                ledger=desk.ledger,
                duty=mover,
                tally=tally,
                on_beat=HangingDevices(setup.name, desk.ledger, desk.sinks).look,
            ),
        )


def start_feeder(setup: FeederSetup) -> Process:
    """A feeder is at work. Raises like `start_mover`."""
    job = setup.job
    with ExitStack() as stack:
        desk = _furnish(stack, job, setup.name, setup.lanes, {job.inline, *setup.destinations})
        tally = Tally()
        feeder = Feeder(
            name=setup.name,
            limits=job.limits,
            ledger=desk.ledger,
            sinks=desk.sinks,
            destinations=setup.destinations,
            place=desk.place,
            study_ref=study_refs(job.secret),
            tally=tally,
        )
        return _run(
            stack,
            Worker(
                name=setup.name,
                kind="feeder",
                lanes=setup.lanes,
                limits=job.limits,
                ledger=desk.ledger,
                duty=feeder,
                tally=tally,
                on_beat=HangingDevices(setup.name, desk.ledger, desk.sinks).look,
            ),
        )


def start_validator(setup: ValidatorSetup) -> Process:
    """A validator is at work. Raises like `start_mover`."""
    job = setup.job
    with ExitStack() as stack:
        desk = _furnish(stack, job, setup.name, setup.lanes, setup.destinations)
        for listener in _report_listeners(job, setup.destinations, desk.ledger):
            listener.start()
            stack.callback(listener.stop)
        tally = Tally()
        validator = Validator(
            name=setup.name,
            limits=job.limits,
            ledger=desk.ledger,
            sinks=desk.sinks,
            destinations=setup.destinations,
            place=desk.place,
            study_ref=study_refs(job.secret),
            tally=tally,
        )
        return _run(
            stack,
            Worker(
                name=setup.name,
                kind="validator",
                lanes=setup.lanes,
                limits=job.limits,
                ledger=desk.ledger,
                duty=validator,
                tally=tally,
                on_beat=HangingDevices(setup.name, desk.ledger, desk.sinks).look,
            ),
        )


def _report_listeners(job: JobSetup, names: Collection[str], ledger: Ledger) -> Iterator[ReportListener]:
    """Where archives that commit themselves to instances tell so."""
    for options in job.destinations:
        if options.name in names and isinstance(options, DimseOptions) and options.commitment is not None:
            told = options.commitment
            tls = None if told.tls is None else receiver_context(told.tls)
            yield ReportListener(told.host, told.port, options.calling_ae_title, report_to(ledger), tls=tls)


def _run(stack: ExitStack, worker: Worker[Any]) -> Process:
    worker.start()
    return Process(worker, stack.pop_all())
