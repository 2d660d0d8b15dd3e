"""The ledger's claims and commits, and reading back what was delivered.

`ledger`: claims of one study at a time, and completing commits of 20 instances each (their rows, receipt, custody
entry, state), against a Postgres of its own on this machine's disk with fsync on. Rates are studies per second; no
bytes move; Postgres's CPU stands beside that of the client. With millions of studies: `perf.ledger_scale`.

`validate`: the real validator process reads back studies that a mover has just delivered, takes all digests anew and
commits the proof; from a seed folder and from SeaweedFS on the same cores. The clock runs until the last study is
validated.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from perf.corpus import ct
from perf.harness import GB, Sample, Scale, Scenario, Subject, Wrong
from perf.measure import Meter, cpu_seconds
from perf.migrating import LimosaMovers
from perf.movers import Movers
from perf.peers.program import START_SECONDS, Program, python
from perf.pieces.task import Task
from perf.servers import Servers
from perf.sources import Simulated
from storage.ledger.records import LeaseKind
from storage.sinks.options import S3Options, SeedOptions

SEED_RESERVE = 1 << 20


class Statements:
    """Claims or commits by so many connections of one process."""

    processes = 1
    associations = 0

    def __init__(self, servers: Servers, *, how: str, lanes: int) -> None:
        what = {"claim": "claims", "commit": "commits of 20 instances"}[how]
        self.name = f"{what}, {lanes} connection{'s' if lanes > 1 else ''}"
        self.about = f"{what}, one after another on each connection"
        self._servers = servers
        self._how, self._lanes = how, lanes

    def prepare(self) -> None:
        _ = self._servers.ledgers

    def once(self) -> Sample:
        ledgers = self._servers.ledgers
        url = ledgers.fresh()
        task = Task(files="", ledger=url, how=self._how, lanes=self._lanes)
        program = Program(python("perf.pieces.ledger", json.dumps(asdict(task))))
        try:
            program.hear(START_SECONDS)
            before = cpu_seconds(ledgers.pids)
            with Meter([program.pid]) as meter:
                done = program.ask("go")
            server = cpu_seconds(ledgers.pids) - before
        finally:
            program.stop()
        ledgers.drop(url)
        if done["written"] != (done["objects"] if self._how == "commit" else 0):
            raise Wrong(f"{done['written']} of {done['objects']} studies are written")
        return Sample(
            seconds=meter.cost.seconds,
            bytes=0,
            objects=done["objects"],
            cpu_seconds=meter.cost.cpu_seconds,
            peak_rss=meter.cost.peak_rss,
            figures={
                "client_cpu_ms": 1e3 * meter.cost.cpu_seconds / done["objects"],
                "server_cpu_ms": 1e3 * server / done["objects"],
            },
        )

    def close(self) -> None:
        self._servers.close()


class ReadingBack(LimosaMovers):
    """Moves the corpus, untimed, then has a validator read it back, timed."""

    def measure(self, movers: Movers, aside: Callable[[], Mapping[str, float]]) -> Sample:
        super().measure(movers, aside)
        corpus = self.corpus
        movers.pause()
        pid = movers.start_validator()
        with Meter([pid]) as meter:
            movers.resume()
            movers.wait(LeaseKind.VALIDATE)
        proven = sum(found.instances for found in movers.ledger.facts.proven())
        expected = len(corpus.manifest) + len(corpus.warm)
        if proven != expected:
            raise Wrong(f"{proven} of {expected} instances are proven")
        share = expected / len(corpus.manifest)
        size = round(corpus.size * share)
        return Sample(
            seconds=meter.cost.seconds,
            bytes=size,
            objects=expected,
            cpu_seconds=meter.cost.cpu_seconds,
            peak_rss=meter.cost.peak_rss,
            figures={f"{name}_cpu_s_per_gb": spent * GB / size for name, spent in aside().items() if name == "s3"},
        )


def _ledger(scale: Scale) -> list[Subject]:
    del scale
    servers = Servers()
    return [Statements(servers, how=how, lanes=lanes) for how in ("claim", "commit") for lanes in (1, 4)]


def _validate(scale: Scale) -> list[Subject]:
    corpus = replace(ct(scale), studies={Scale.QUICK: 1, Scale.FULL: 4}[scale])
    source = Simulated(corpus)
    servers = Servers(source)

    def seed() -> SeedOptions:
        return SeedOptions.model_validate(
            {"name": "seed", "devices": [servers.device()], "reserve": SEED_RESERVE, "compression": "none"}
        )

    def cloud() -> S3Options:
        return servers.real_bucket(compression="none")

    chosen: dict[str, Any] = {"about": "all digests anew, two studies at once"}
    return [
        ReadingBack(servers, source, name="limosa, from a seed folder", bucket=seed, **chosen),
        ReadingBack(servers, source, name="limosa, from SeaweedFS", bucket=cloud, **chosen),
    ]


SCENARIOS = (
    Scenario(
        name="ledger",
        title="Claims and completing commits against Postgres",
        subjects=_ledger,
        unit="studies",
        quick=False,
    ),
    Scenario(name="validate", title="Half-megabyte slices read back and proven", subjects=_validate, quick=False),
)
