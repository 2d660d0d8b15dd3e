"""Limosa's real movers, each in a process of its own, in a job of their own: what a cluster's node does, without Ray.

Ray starts mover processes and looks after them; it is not on the way of any byte, so leaving it out changes no rate.
"""

import pickle
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from actors.coercion_options import NO_COERCION, CoercionOptions
from actors.dimse.scu import DimseSource as Scu
from actors.options import DimseSource, MoverLimits, Receiver
from actors.setup import JobSetup, MoverSetup, ValidatorSetup
from actors.source import FindAnswer, StudyWindow
from infra.simulator.process import free_port
from perf.harness import Wrong
from storage.ledger import Ledger
from storage.ledger.address import LedgerAddress
from storage.ledger.job import DestinationSpec, SourceSpec
from storage.ledger.records import LeaseKind
from storage.sinks.options import S3Options, SeedOptions

LOOK = 0.02
"""Seconds between looks at whether the work is done: the error of a measurement, and the bench's load on the ledger."""
MOST_SECONDS = 600.0
FAREWELL = 15.0
VALIDATOR_LANES = 2
POOL = 2


class Always:
    """Hours of a source that may be asked at any time."""

    def open_at(self, moment: datetime) -> bool:
        del moment
        return True


class Movers:
    """A job and its movers; `with` starts and ends them.

    The job is paused from the start until `resume`. Studies must be told by `know` first.
    """

    def __init__(
        self,
        *,
        ledger_url: str,
        source: DimseSource,
        destination: S3Options | SeedOptions,
        folder: Path,
        ae_titles: Sequence[str],
        processes: int = 1,
        associations: int = 2,
        coercion: CoercionOptions = NO_COERCION,
        limits: Mapping[str, Any] | None = None,
        profiles: Path | None = None,
    ) -> None:
        """One receiver per AE title, shared by `processes` movers of `associations` lanes each."""
        self._url = ledger_url
        self._source = source
        self._destination = destination
        self._folder = folder / f"movers-{secrets.token_hex(4)}"
        self._limits = MoverLimits(**(limits or {}))
        self._profiles = profiles
        self._stack = ExitStack()
        self._children: list[subprocess.Popen[bytes]] = []
        self._coercion = coercion
        self.receivers = tuple(
            Receiver(ae_title=title, port=free_port(), processes=processes, associations=associations)
            for title in ae_titles
        )
        self.ledger: Ledger
        self._job: JobSetup
        self.source_id = 0
        self.destination_id = 0

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(child.pid for child in self._children)

    def __enter__(self) -> Self:
        with self._stack:
            self.ledger = self._stack.enter_context(Ledger(self._url, pool_size=POOL))
            job = self._job = self._register()
            self.ledger.control.pause("the bench is not ready")
            self._stack.callback(self._end)
            for receiver in self.receivers:
                names = tuple(f"{receiver.ae_title.lower()}-{number}" for number in range(receiver.processes))
                for name in names:
                    self._spawn(MoverSetup(job=job, name=name, names=names, receiver=receiver))
            for child in self._children:
                self._await_ready(child)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def find(self) -> FindAnswer:
        """Every study of the source."""
        source = Scu(self._source)
        try:
            return source.find_studies(StudyWindow())
        finally:
            source.close()

    def know(self, answer: FindAnswer, study_uids: Collection[str]) -> None:
        """These of the studies found are planned, and claimed once the job is not paused."""
        wanted = frozenset(study_uids)
        self.ledger.inventory.record_studies(
            self.source_id, [study for study in answer.studies if study.study_uid in wanted]
        )
        while self.ledger.plan.step({}).studies:
            pass

    def resume(self) -> None:
        """Claims are handed out."""
        self.ledger.control.resume()

    def pause(self) -> None:
        self.ledger.control.pause("the bench looks")

    def start_validator(self) -> int:
        """A validator process reads back what is written, once the job is not paused; its process id."""
        destinations = {self._destination.name: self.destination_id}
        setup = ValidatorSetup(job=self._job, name="validator-0", lanes=VALIDATOR_LANES, destinations=destinations)
        return self._await_ready(self._spawn(setup)).pid

    def wait(self, kind: LeaseKind = LeaseKind.PULL) -> None:
        """Every study that was told is written and committed, or read back. Raises `Wrong` when one cannot be, or time
        is up."""
        deadline = time.monotonic() + MOST_SECONDS
        while self.ledger.status.left_of(kind):
            if time.monotonic() > deadline:
                raise Wrong(f"not done within {MOST_SECONDS:.0f} s")
            time.sleep(LOOK)
        if kinds := {problem.kind for problem in self.ledger.exceptions.list_open()}:
            raise Wrong(f"exceptions: {', '.join(sorted(kinds))}")

    def toggle_profile(self) -> None:
        """Profiling begins or ends in every mover, where profiles were asked for."""
        for child in self._children if self._profiles else ():
            child.send_signal(signal.SIGUSR1)

    def _register(self) -> JobSetup:
        source, destination = self._source, self._destination
        registered = self.ledger.jobs.register(
            "bench",
            source_identity="bench",
            sources=[
                SourceSpec(name=source.name, kind=source.kind, pull_limit=source.bounds.most, start=source.bounds.least)
            ],
            destinations=[DestinationSpec(name=destination.name, kind=destination.kind, inline=True, fingerprint="-")],
        )
        self.source_id = registered.sources[source.name]
        self.destination_id = registered.destinations[destination.name]
        self.ledger.inventory.begin_generation()
        return JobSetup(
            ledger=LedgerAddress(self._url),
            secret=registered.secret,
            source=source,
            source_id=self.source_id,
            destinations=(destination,),
            inline=destination.name,
            limits=self._limits,
            hours=Always(),
            folder=self._folder,
            log_level="warning",
            only=None,
            coercion=self._coercion,
        )

    @staticmethod
    def _await_ready(child: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        if child.stdout is None or child.stdout.readline() != b"ready\n":
            raise Wrong("a worker did not start")
        return child

    def _spawn(self, setup: MoverSetup | ValidatorSetup) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "perf.mover_process"]
        if self._profiles is not None:
            command.append(str(self._profiles / f"{setup.name}.profile"))
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._children.append(child)
        if child.stdin is not None:
            child.stdin.write(pickle.dumps(setup))
            child.stdin.close()
        return child

    def _end(self) -> None:
        for child in self._children:
            child.terminate()
        for child in self._children:
            try:
                child.wait(FAREWELL)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.stdout is not None:
                child.stdout.close()
        self._children.clear()
