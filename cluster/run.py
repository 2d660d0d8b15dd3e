"""The cluster job: inventory, plan, workers until nothing is left, sweep, summary.

The driver is an observer. Everything it would need to continue is in the ledger, so it may die at any line:
the workers of a Ray that outlives it go on, and running it again does only what is left.

    hold the job ─> inventory ─> plan ─> workers run ─> nothing left ─> drain ─> sweep ─> summary
         ^                                   |
         +── ledger away: revive, hold again ┘
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog

from actors.destinations import open_destination
from actors.leases import RENEWALS_PER_LEASE
from cluster.destinations import attach_destinations
from cluster.growth import MoverPool
from cluster.inventory.take import take_inventory
from cluster.inventory.walk import Progress as InventoryProgress
from cluster.job import Job
from cluster.planning.carry import make_revisions, planner_of
from cluster.profile import informed
from cluster.progress import ALIVE, Progress, look
from cluster.registry import register_job
from cluster.request import Phase, Request
from cluster.runtime import RayRuntime, RuntimeFault, Worker
from cluster.services import Services
from cluster.sources import asking
from cluster.workers import feeders, job_setup, movers, validators
from storage.errors import Rejected, Retryable
from storage.ledger.job import JobHeld, JobLock, Registered
from storage.ledger.ledger import Ledger
from storage.ledger.pool import PLACE
from storage.ledger.records import DestinationState, LeaseKind

LOOK = 1.0
"""Seconds between two looks at the ledger: each is a handful of counts."""

LOOK_SHARE = 20
"""A look counts rows, which takes seconds in a ledger of ten million studies: it may cost a twentieth of the time."""

T = TypeVar("T")
LEDGER_PATIENCE = timedelta(minutes=10)
"""A ledger that is away this long ends the driver; workers keep trying. A Postgres restart takes seconds, a failover
a minute or two."""

DRAIN_GRACE = 20.0
"""Seconds that workers have to finish what they are writing once nothing new is to be claimed."""

HALT_PATIENCE = timedelta(seconds=8)
"""How long all movers may say that nothing works until a person acts, before the driver says so and ends."""


class Interrupted(KeyboardInterrupt):
    """A person ended the run; the message says what became of the workers, and how to go on."""


class Halted(Exception):
    """Nothing can go on until a person acts; the message says what to do."""


class Run:
    """One run of the driver; the services run and the ledger is open for its whole length."""

    def __init__(
        self,
        job: Job,
        services: Services,
        ledger: Ledger,
        request: Request,
        *,
        watch: Callable[[Progress], None],
        watch_inventory: Callable[[InventoryProgress], None],
        watch_plan: Callable[[int], None] = lambda studies: None,
        interrupted: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """`watch` is called with each look at the ledger, from the calling thread; `watch_plan` with the studies
        decided so far; `interrupted` when a person ends the run, with the seconds that its workers have for what they
        are writing."""
        self._job = job
        self._services = services
        self._ledger = ledger
        self._request = request
        self._watch = watch
        self._watch_inventory = watch_inventory
        self._watch_plan = watch_plan
        self._interrupted = interrupted
        self._workers_now = "no worker was at work"
        self._movers: MoverPool | None = None
        """None while this run moves nothing."""
        self._add: Callable[[list[Worker]], None] = lambda workers: None
        self._restore: Callable[[], tuple[str, ...]] = tuple
        self._log = structlog.get_logger("limosa.run")
        self._halted_since: float | None = None
        self._lasting: set[tuple[int, int]] = set()
        """Claims, by delivery and epoch, that have been held ever since."""
        self._away_since: float | None = None
        """When the ledger was first found away; None while it answers."""

    def execute(self) -> Registered:
        """Nothing that could be done is left, or an exception row says why.

        Raises
        ------
        JobHeld
            Another driver has the job.
        Halted
            No mover can work until a person acts.
        SourceUnreachable
            The archive cannot be asked at all.
        Retryable
            The ledger stayed away for `LEDGER_PATIENCE`.
        Interrupted
            A person ended it.
        """
        try:
            return self._go()
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted: {self._workers_now}. Nothing is lost; run it again to go on where it stopped."
            ) from None

    def _go(self) -> Registered:
        with self._ledger.job_lock(self._job.job.name) as lock:
            registered = register_job(self._job, self._ledger)
            self._enumerate()
            # The inventory may just have learnt something.
            self._job = informed(self._job, self._ledger.jobs.profile(self._job.source.name))
            self._patiently(lambda: self._plan(registered))
            only = self._patiently(lambda: self._chosen(registered))
            kinds = self._request.kinds(self._services.inline)
            self._patiently(lambda: self._open(registered, kinds))
            if not any(self._patiently(lambda kind=kind: self._left(kind, only)) for kind in kinds):
                self._patiently(self._sweep)
                return registered
            scratch = self._job.state_dir / "ray"
            with RayRuntime(self._job.cluster.ray, self._job.job.name, scratch) as runtime:
                self._workers_now = (
                    "its workers ended with it"
                    if runtime.local
                    else "its workers go on by themselves until the next run, or `limosa pause`"
                )
                self._add, self._restore = runtime.add, runtime.restore
                self._start(runtime, self._patiently(lambda: self._workers(registered, only)))
                try:
                    self._observe(lock, registered, kinds, only)
                except KeyboardInterrupt:
                    self._interrupted(DRAIN_GRACE)
                    raise
                finally:
                    runtime.stop(DRAIN_GRACE)
                    self._workers_now = "its workers put down what they were writing and ended"
            self._patiently(self._ledger.claims.recover)
            self._patiently(self._sweep)
        return registered

    def _open(self, registered: Registered, kinds: Sequence[LeaseKind]) -> None:
        """What an earlier run stopped is tried again."""
        if LeaseKind.FEED in kinds or LeaseKind.PULL in kinds:
            attach_destinations(self._ledger, self._services, registered)
        source = self._job.source.name
        if LeaseKind.PULL in kinds and self._ledger.control.reopen_source(registered.sources[source]):
            self._log.info("source_reopened", source=source)

    def _start(self, runtime: RayRuntime, workers: list[Worker]) -> None:
        """The workers run. None starts without the ledger, so they are started again where it was away meanwhile.

        Raises
        ------
        RuntimeFault
            One does not start although the ledger answers.
        """
        while True:
            try:
                return runtime.ensure(workers)
            except RuntimeFault:
                try:
                    self._ledger.status.destinations()
                except Retryable as error:
                    self._wait_for_ledger(error)
                else:
                    raise

    def _patiently(self, step: Callable[[], T]) -> T:
        """The outcome of a step that may be repeated, whenever the ledger is there for it.

        Raises
        ------
        Retryable
            The ledger stayed away for `LEDGER_PATIENCE`, or it was something else.
        """
        while True:
            try:
                outcome = step()
            except Retryable as error:
                if error.place != PLACE:
                    raise
                self._wait_for_ledger(error)
            else:
                self._away_since = None
                return outcome

    def _wait_for_ledger(self, error: Retryable | JobHeld) -> None:
        """Some time has passed, and an embedded Postgres that died runs again. Raises `error` after too long."""
        self._away_since = self._away_since or time.monotonic()
        if time.monotonic() - self._away_since > LEDGER_PATIENCE.total_seconds():
            raise error
        self._log.warning("ledger_away", code=error.code)
        self._services.revive()
        time.sleep(LOOK)

    def _enumerate(self) -> None:
        """The archive is in the ledger, unless this run only validates."""
        if self._request.phase is Phase.VALIDATE:
            return
        known = informed(self._job, self._ledger.jobs.profile(self._job.source.name))
        with asking(known, self._ledger) as source:
            take_inventory(self._job, self._ledger, source, which=self._request.inventory, report=self._watch_inventory)

    def _plan(self, registered: Registered) -> None:
        # A plan voids what it renews, so reading back must not make one.
        if self._request.phase in (Phase.INVENTORY, Phase.VALIDATE):
            return
        if self._job.identity is not None:
            planner_of(self._job, self._ledger, registered, self._watch_plan).apply()
        make_revisions(self._job, self._ledger, only=self._request.studies)
        for name, destination_id in registered.destinations.items():
            after = 0
            while name != self._services.inline:
                after, _ = self._ledger.plan.extend(destination_id, after_key=after)
                if not after:
                    break

    def _chosen(self, registered: Registered) -> tuple[int, ...] | None:
        if self._request.studies is not None:
            rows = (self._ledger.status.study(uid) for uid in self._request.studies)
            return tuple(row.study_key for row in rows if row is not None)
        if self._request.limit is not None:
            source_id = registered.sources[self._job.source.name]
            return self._ledger.claims.next_studies(source_id, self._request.limit)
        return None

    def _left(self, kind: LeaseKind, only: Sequence[int] | None) -> bool:
        return self._ledger.status.left_of(kind, only, destination=self._request.destination)

    def _workers(self, registered: Registered, only: Sequence[int] | None) -> list[Worker]:
        setup = job_setup(self._job, self._services, registered, only, self._job.state_dir)
        kinds = self._request.kinds(self._services.inline)
        asked = self._request.destination
        # A worker opens every destination it serves; one that is away must not keep it from serving the others.
        there = {
            row.name: registered.destinations[row.name]
            for row in self._ledger.status.destinations()
            if row.state is not DestinationState.STOPPED
            and row.name in registered.destinations
            and asked in (None, row.name)
        }
        found: list[Worker] = []
        if LeaseKind.PULL in kinds:
            beat = self._job.limits.lease / RENEWALS_PER_LEASE
            self._movers = MoverPool(movers(self._job, setup), beat)
            now = datetime.now(UTC)
            found += self._movers.begin(
                {row.name for row in self._ledger.control.workers() if now - row.beat_at < ALIVE}, now
            )
        if LeaseKind.FEED in kinds:
            found += feeders(self._job, setup, there)
        if LeaseKind.VALIDATE in kinds:
            found += validators(self._job, setup, there)
        return found

    def _observe(
        self, lock: JobLock, registered: Registered, kinds: Sequence[LeaseKind], only: Sequence[int] | None
    ) -> None:
        source_id = registered.sources[self._job.source.name]
        held: JobLock | None = lock
        while True:
            try:
                if held is None:
                    with self._ledger.job_lock(self._job.job.name) as held:
                        self._watch_until_done(held, source_id, kinds, only)
                else:
                    self._watch_until_done(held, source_id, kinds, only)
                return
            except (Retryable, JobHeld) as error:
                # Postgres restarted: our lock went with its session, and so may the old session's ghost hold it.
                if isinstance(error, Retryable):
                    held = None
                self._wait_for_ledger(error)

    def _watch_until_done(
        self, lock: JobLock, source_id: int, kinds: Sequence[LeaseKind], only: Sequence[int] | None
    ) -> None:
        while True:
            began = time.monotonic()
            lock.check()
            self._services.revive()
            self._ledger.claims.recover()
            progress = look(self._ledger, source_id, datetime.now(UTC), self._request.phase.value, self._job.opening)
            self._away_since = None
            self._watch(progress)
            if not any(self._left(kind, only) for kind in kinds):
                return
            self._give_up_when_halted(progress)
            for name in self._restore():
                self._log.warning("worker_started_anew", worker=name)
            self._add_movers()
            time.sleep(max(LOOK, LOOK_SHARE * (time.monotonic() - began)))

    def _add_movers(self) -> None:
        """Receivers whose processes are saturated have another one, within the job's limits."""
        if self._movers is None:
            return
        for worker in self._movers.grow(self._ledger.control.workers(), datetime.now(UTC)):
            try:
                self._add([worker])
            except RuntimeFault:
                # The run goes on with the movers it has.
                self._log.warning("mover_not_added", worker=worker.name)
            else:
                self._log.info("mover_added", worker=worker.name)

    def _give_up_when_halted(self, progress: Progress) -> None:
        claims = self._ledger.status.live_claims() if progress.halted else ()
        if not progress.halted or any(claim.kind is not LeaseKind.PULL for claim in claims):
            self._halted_since = None
            return
        # Lanes go on trying, so there are always pulls; one that lasts is a study on its way by another title.
        held = {(claim.delivery_id, claim.epoch) for claim in claims}
        now = time.monotonic()
        if self._halted_since is None:
            self._halted_since, self._lasting = now, held
        self._lasting &= held
        if now - self._halted_since <= HALT_PATIENCE.total_seconds():
            return
        if self._lasting:
            self._halted_since = None
        else:
            titles = ", ".join(
                f"{receiver.ae_title} with this machine's address and port {receiver.port}"
                for receiver in self._job.receivers
            )
            raise Halted(f"{'; '.join(progress.halted)}. Have the archive's administrator register {titles}")

    def _sweep(self) -> None:
        """Uploads that the ledger does not know are gone from the destinations."""
        registered = register_job(self._job, self._ledger)
        for options in self._services.destinations:
            live = self._ledger.uploads.live_upload_ids(registered.destinations[options.name])
            try:
                swept = open_destination(options).sweep(live)
            except (Retryable, Rejected) as error:
                # An endpoint that is away or refuses us now is swept by the next run; the summary says what it lacks.
                self._log.warning("sweep_failed", destination=options.name, code=error.code)
                continue
            if swept:
                self._log.info("uploads_swept", destination=options.name, count=swept)
