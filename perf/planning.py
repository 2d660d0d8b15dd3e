"""How long it takes to plan a whole archive, and how much memory: identity, accession numbers and duplicates.

    make planning STUDIES=1000000

Fills a ledger with studies, an index, a merge history and a list of orders, and plans them in a process of its own at a
tenth, three tenths and all of the number. Then a last merge arrives: planning again shows what a nightly plan costs.
Prints a table and writes perf/results/planning.json.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import LiteralString

import psycopg

from actors.identity_options import IdentityOptions
from cluster.planning.accession_options import AccessionOptions
from cluster.planning.decide import Planner, PlanReport
from infra.embedded.postgres import EmbeddedPostgres
from storage.ledger import Ledger
from storage.ledger.job import DestinationSpec, SourceSpec
from storage.ledger.migrate import migrate

STUDIES = int(os.environ.get("STUDIES", "1000000"))
STEPS = (0.1, 0.3, 1.0)
PER_PATIENT = 3
MERGED_EVERY = 20
"""One patient in so many came out of a merge; another in so many has a doubtful birth date."""
DEADLINE = 3 * 3600.0
RESULT = Path(__file__).parent / "results" / "planning.json"
NORTH = {"name": "NORTH", "steps": [{"pad": 8}], "pattern": "[0-9]{8}"}
IDENTITY = IdentityOptions.model_validate({"issuers": [NORTH], "default_issuer": "NORTH"})
RULE = {"name": "prefix", "steps": [{"pad": 8}, {"prefix": "N"}]}
ACCESSION = AccessionOptions.model_validate({"rules": [RULE], "orders": "required"})


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured at one size."""

    studies: int
    events: int
    apply_seconds: float
    again_seconds: float
    """The same plan once more, after one merge: what a nightly plan costs."""
    changed_again: int
    studies_per_second: float
    """Of planning again."""
    cpu_seconds: float
    """Of the planning process while it planned again: what other load on the machine does not change."""
    peak_mb: int
    """Resident memory of the planning process; Postgres has its own."""
    held: int


def main() -> None:
    rows: list[Row] = []
    print(f"{'studies':>9} {'events':>9} {'apply':>8} {'again':>8} {'per s':>7} {'cpu':>8} {'MB':>6} {'held':>8}")
    for step in STEPS:
        row = measured(int(STUDIES * step))
        rows.append(row)
        print(
            f"{row.studies:>9} {row.events:>9} {row.apply_seconds:>7.1f}s"
            f" {row.again_seconds:>7.1f}s {row.studies_per_second:>7.0f} {row.cpu_seconds:>7.1f}s"
            f" {row.peak_mb:>6} {row.held:>8}",
            flush=True,
        )
        keep(rows)


def keep(rows: list[Row]) -> None:
    """What was measured so far is in the file of results."""
    RESULT.parent.mkdir(exist_ok=True)
    machine = {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    report = {"scenario": "planning", "machine": machine, "rows": [asdict(row) for row in rows]}
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
                [sys.executable, "-m", "perf.planning", "plan"],
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
    return Row(**json.loads(done.stdout))


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


def plan() -> None:
    """The measurement itself; the ledger's address comes on standard input."""
    url = sys.stdin.read().strip()
    with Ledger(url, pool_size=2) as ledger, psycopg.connect(url, autocommit=True) as conn:
        source = conn.execute("select source_id from source").fetchone()
        assert source is not None  # registered by `fill`
        planner = Planner(ledger, source[0], "pacs", identity=IDENTITY, accession=ACCESSION, time_zone="UTC")
        applied = timed(planner.apply)
        conn.execute(MERGE, {"reading": IDENTITY.reading("UTC")})
        before = time.process_time()
        again = timed(planner.apply)
        cpu = time.process_time() - before
    tally = applied[0].tally
    row = Row(
        studies=tally.studies,
        events=applied[0].events,
        apply_seconds=round(applied[1], 2),
        again_seconds=round(again[1], 2),
        changed_again=again[0].tally.changed,
        studies_per_second=round(tally.studies / again[1], 1),
        cpu_seconds=round(cpu, 1),
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        held=sum(tally.verdicts.get(name, 0) for name in ("review", "conflict")),
    )
    sys.stdout.write(json.dumps(asdict(row)))


def timed(work: Callable[[], PlanReport]) -> tuple[PlanReport, float]:
    """The outcome and the seconds it took."""
    began = time.perf_counter()
    return work(), time.perf_counter() - began


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
select kind, kind, sha256(kind::bytea), %(reading)s, 0, 1 from unnest(array['hl7', 'snapshot', 'orders']) kind""",
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
    plan() if sys.argv[1:] == ["plan"] else main()
