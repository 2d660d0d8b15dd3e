"""How long it takes to plan a whole archive, and how much memory: identity, accession numbers and duplicates.

    make planning STUDIES=1000000

Fills a ledger with studies, an index, a merge history and a list of orders, and plans them in a process of its own, at
four sizes up to the number. Then a last merge arrives: planning again shows what a nightly plan costs.
Prints a table, writes perf/results/planning.json, and fails where the cost of a study grows with their number.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import LiteralString

import psycopg

from actors.identity_options import IdentityOptions
from cluster.planning.accession_options import AccessionOptions
from cluster.planning.decide import Planner, PlanReport
from infra.embedded.postgres import EmbeddedPostgres
from perf.machine import this_machine
from perf.measure import Meter
from storage.ledger import Ledger
from storage.ledger.job import DestinationSpec, SourceSpec
from storage.ledger.migrate import migrate

STUDIES = int(os.environ.get("STUDIES") or "1000000")
STEPS = (0.03, 0.1, 0.3, 1.0)
PER_PATIENT = 3
MERGED_EVERY = 20
"""One patient in so many came out of a merge; another in so many has a doubtful birth date."""
GROWTH_LIMIT = 1.3
"""Processor time of a study at the largest size over that at the second smallest: less is noise and caches, more is
growth that is not linear. Of the smallest, starting takes too large a part."""
DEADLINE = 3 * 3600.0
RESULT = Path(__file__).parent / "results" / "planning.json"
NORTH = {"name": "NORTH", "steps": [{"pad": 8}], "pattern": "[0-9]{8}"}
IDENTITY = IdentityOptions.model_validate({"issuers": [NORTH], "default_issuer": "NORTH"})
RULE = {"name": "prefix", "steps": [{"pad": 8}, {"prefix": "N"}]}
ACCESSION = AccessionOptions.model_validate({"rules": [RULE], "orders": "required"})


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What one plan took, from the first event read to the last row written."""

    seconds: float
    """By the clock: other work on the machine counts."""
    cpu_seconds: float
    """Of the planning process."""
    postgres_cpu_seconds: float
    peak_mb: int
    """Resident memory of the planning process."""
    postgres_peak_mb: int
    """Of all of Postgres's processes, what they share counted once."""
    load: float
    """Load average of the last minute when it ended; a plan by itself makes 1."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured at one size."""

    studies: int
    events: int
    orders: int
    held: int
    first: Phase
    again: Phase
    """The same plan once more, after one merge: what a nightly plan costs."""
    changed_again: int

    def micros(self) -> float:
        """Processor time of planning one study, in microseconds, Postgres's included."""
        return 1e6 * (self.first.cpu_seconds + self.first.postgres_cpu_seconds) / self.studies


def main() -> None:
    rows: list[Row] = []
    print(f"{'':>18} {'------ plan and apply -------':>34} {'------- plan again --------':>34} {'---- MB ----':>15}")
    print(
        f"{'studies':>9} {'held':>8}" + f" {'s':>8} {'cpu':>8} {'pg cpu':>8} {'us/study':>9}" * 2 + "     ours      pg"
    )
    for step in STEPS:
        row = measured(round(STUDIES * step))
        rows.append(row)
        print(f"{row.studies:>9} {row.held:>8}{_told(row.first, row)}{_told(row.again, row)}{_memory(row)}", flush=True)
        keep(rows)
    growth = rows[-1].micros() / rows[1].micros()
    print(f"processor time per study at {rows[-1].studies} over {rows[1].studies}: {growth:.2f}")
    if growth > GROWTH_LIMIT:
        raise SystemExit(f"planning a study costs {growth:.2f} times as much among {rows[-1].studies} as among fewer")


def _told(phase: Phase, row: Row) -> str:
    cost = 1e6 * (phase.cpu_seconds + phase.postgres_cpu_seconds) / row.studies
    return f" {phase.seconds:>8.1f} {phase.cpu_seconds:>8.1f} {phase.postgres_cpu_seconds:>8.1f} {cost:>9.0f}"


def _memory(row: Row) -> str:
    ours = max(row.first.peak_mb, row.again.peak_mb)
    theirs = max(row.first.postgres_peak_mb, row.again.postgres_peak_mb)
    return f" {ours:>8} {theirs:>7}"


def keep(rows: list[Row]) -> None:
    """What was measured so far is in the file of results."""
    RESULT.parent.mkdir(exist_ok=True)
    report = {"scenario": "planning", "machine": asdict(this_machine()), "rows": [asdict(row) for row in rows]}
    RESULT.write_text(json.dumps(report, indent=2) + "\n")


def measured(studies: int) -> Row:
    """A ledger of this size, filled and planned in a process that does nothing else."""
    with tempfile.TemporaryDirectory(prefix="planning-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start()
        try:
            migrate(server.url)
            fill(server.url, studies)
            done = subprocess.run(
                [sys.executable, "-m", "perf.planning", "plan", str(server.pid)],
                input=server.url,
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
        finally:
            server.remove()
    if done.returncode:
        raise SystemExit(done.stderr)
    told = json.loads(done.stdout)
    return Row(**told | {name: Phase(**told[name]) for name in ("first", "again")})


def fill(url: str, studies: int) -> None:
    """Studies, patients, merges and orders as inventory and imports would have left them."""
    with Ledger(url, pool_size=1) as ledger:
        ledger.jobs.register(
            "planning",
            source_identity="none",
            sources=[SourceSpec(name="pacs", kind="dimse", pull_limit=1)],
            destinations=[DestinationSpec(name="cloud", kind="s3", inline=True, fingerprint="")],
        )
        ledger.inventory.begin_generation()
    values = {
        "studies": studies,
        "patients": max(1, studies // PER_PATIENT),
        "every": MERGED_EVERY,
        "reading": IDENTITY.reading("UTC"),
    }
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("set synchronous_commit = off")
        for statement in FILL:
            conn.execute(statement, values)
        conn.execute("vacuum analyze")


def plan(postgres: int) -> None:
    """The measurement itself; the ledger's address comes on standard input, the server's process id as an argument."""
    url = sys.stdin.read().strip()
    with Ledger(url, pool_size=2) as ledger, psycopg.connect(url, autocommit=True) as conn:
        source = conn.execute("select source_id from source").fetchone()
        assert source is not None  # registered by `fill`
        planner = Planner(ledger, source[0], "pacs", identity=IDENTITY, accession=ACCESSION, time_zone="UTC")
        applied, first = metered(planner.apply, postgres)
        conn.execute(MERGE, {"reading": IDENTITY.reading("UTC")})
        again, second = metered(planner.apply, postgres)
    tally = applied.tally
    row = Row(
        studies=tally.studies,
        events=applied.events,
        orders=applied.orders,
        held=sum(tally.verdicts.get(name, 0) for name in ("review", "conflict")),
        first=first,
        again=second,
        changed_again=again.tally.changed,
    )
    sys.stdout.write(json.dumps(asdict(row)))


def metered(work: Callable[[], PlanReport], postgres: int) -> tuple[PlanReport, Phase]:
    """The outcome and what it took."""
    with Meter([postgres], shared_once=True) as theirs, Meter([os.getpid()]) as ours:
        report = work()
    return report, Phase(
        seconds=round(ours.cost.seconds, 1),
        cpu_seconds=round(ours.cost.cpu_seconds, 2),
        postgres_cpu_seconds=round(theirs.cost.cpu_seconds, 2),
        peak_mb=ours.cost.peak_rss >> 20,
        postgres_peak_mb=theirs.cost.peak_rss >> 20,
        load=round(os.getloadavg()[0], 1),
    )


FILL: tuple[LiteralString, ...] = (
    """
insert into study (source_id, generation, study_uid, patient_id, issuer, patient_name, birth_date, sex, accession,
  study_date, study_time, modalities, instance_count)
select source_id, 1, '1.2.826.0.1.3680043.10.3.' || n,
  case when p %% %(every)s = 0 then lpad((p + 50000000)::text, 8, '0') else lpad(p::text, 8, '0') end, 'NORTH',
  upper(chr(65 + p %% 26) || 'amily' || (p / 26)) || '^Given' || p %% 97,
  to_char(date '1930-01-01' + (p %% 25000) + case when p %% %(every)s = 1 then 1 else 0 end, 'YYYYMMDD'),
  case when p %% 2 = 0 then 'F' else 'M' end, n::text, to_char(date '2005-01-01' + (n %% 7000), 'YYYYMMDD'),
  lpad((n %% 240000)::text, 6, '0'), array['CT'], 100
from source, generate_series(1, %(studies)s) n, lateral (select n %% %(patients)s + 1 as p) patient""",
    """
insert into hospital_file (kind, name, digest, reading, messages, events)
select kind, kind, sha256(kind::bytea), %(reading)s, 0, case kind when 'orders' then %(studies)s else 1 end
from unnest(array['hl7', 'snapshot', 'orders']) kind""",
    """
insert into identity_event (digest, file_id, verb, kind, label, issuer, number, name, birth_date, sex)
select sha256(convert_to('index' || p, 'UTF8')), file_id, 'describe', 'snapshot', 'line ' || p, 'NORTH',
  lpad(p::text, 8, '0'), chr(65 + p %% 26) || 'amily' || (p / 26) || '^Given' || p %% 97,
  to_char(date '1930-01-01' + (p %% 25000), 'YYYYMMDD'), case when p %% 2 = 0 then 'F' else 'M' end
from hospital_file, generate_series(1, %(patients)s) p where kind = 'snapshot'""",
    """
insert into identity_event (digest, file_id, at, verb, kind, label, issuer, number, issuer_2, number_2)
select sha256(convert_to('merge' || p, 'UTF8')), file_id, timestamptz '2015-01-01' + p * interval '1 minute', 'merge',
  'A40', 'ADT/' || p, 'NORTH', lpad((p + 50000000)::text, 8, '0'), 'NORTH', lpad(p::text, 8, '0')
from hospital_file, generate_series(1, %(patients)s) p where hospital_file.kind = 'hl7' and p %% %(every)s = 0""",
    """
insert into ordered (file_id, line, accession, accession_issuer, issuer, number)
select file_id, n, 'N' || lpad(n::text, 8, '0'), '', 'NORTH', lpad((n %% %(patients)s + 1)::text, 8, '0')
from hospital_file, generate_series(1, %(studies)s) n where kind = 'orders'""",
)

MERGE: LiteralString = """
insert into identity_event (digest, file_id, at, verb, kind, label, issuer, number, issuer_2, number_2)
select sha256('late'), file_id, timestamptz '2026-01-01', 'merge', 'A40', 'ADT/late', 'NORTH', '00000002', 'NORTH',
  '60000000'
from hospital_file where kind = 'hl7' and reading = %(reading)s"""


if __name__ == "__main__":
    plan(int(sys.argv[2])) if sys.argv[1:2] == ["plan"] else main()
