"""How claims and completing commits slow down as the ledger grows.

    make ledger-scale STUDIES=1000000 INSTANCES=20000000

Fills a Postgres of its own in steps with finished studies, as Limosa would have left them, and at each size measures
what movers do: claim a study, and commit it with 20 instances in one transaction. Prints a table and writes
perf/results/ledger-scale.json. About 600 bytes of disk per instance.

Rates depend on the disk and on what else the machine does; the pages of 8 KiB that Postgres touches per claim and per
commit do not, and show whether a statement's work grows with its tables.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import LiteralString, TypeVar

import psycopg
from blake3 import blake3

from imaging.facts import InstanceFacts
from imaging.roots import uid_set_root
from imaging.uid import Uid
from infra.embedded.postgres import EmbeddedPostgres
from storage.ledger import Ledger
from storage.ledger.job import DestinationSpec, SourceSpec
from storage.ledger.migrate import migrate
from storage.ledger.records import CustodyNote, PullClaim
from storage.packs.model import Container, Receipt

STUDIES = int(os.environ.get("STUDIES", "1000000"))
INSTANCES = int(os.environ.get("INSTANCES", "20000000"))
FOLDER = os.environ.get("LEDGER_SCALE_FOLDER")
STEPS = (0.0, 0.1, 0.5, 1.0)
PER_COMMIT = 20
ROUND = 1_500
"""Studies claimed and committed per measurement: some seconds of work."""
WORKERS = 4
FILL_BATCH = 50_000
GONE_WITHIN = 60.0
"""Seconds a closed session may take to end."""
LEASE = timedelta(minutes=10)
RESULT = Path(__file__).parent / "results" / "ledger-scale.json"
T = TypeVar("T")
NOTE = CustodyNote(event="written", payload={"source": "PACS", "instances": PER_COMMIT})


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured at one size."""

    studies: int
    instances: int
    fill_seconds: float
    gigabytes: float
    claims_per_second_1: float
    claims_per_second_4: float
    commits_per_second_1: float
    commits_per_second_4: float
    pages_per_claim: float
    pages_per_commit: float
    commit_ms_median: float
    commit_ms_p99: float
    validate_claim_ms_median: float
    status_ms: float


@dataclass(frozen=True, kw_only=True)
class Found:
    study_uid: Uid
    patient_id: str | None = "MRN"
    issuer: str | None = None
    patient_name: str | None = None
    birth_date: str | None = None
    sex: str | None = None
    accession: str | None = None
    study_date: str | None = None
    study_time: str | None = None
    modalities: tuple[str, ...] | None = ("CT",)
    description: str | None = None
    series_count: int | None = 1
    instance_count: int | None = PER_COMMIT


def main() -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="ledger-scale-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start()
        try:
            migrate(server.url)
            rows = measure_all(server.url)
        finally:
            server.remove()
    RESULT.parent.mkdir(exist_ok=True)
    report = {
        "scenario": "ledger-scale",
        "per_commit": PER_COMMIT,
        "workers": WORKERS,
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "rows": [asdict(row) for row in rows],
    }
    RESULT.write_text(json.dumps(report, indent=2) + "\n")


def measure_all(url: str) -> list[Row]:
    rows: list[Row] = []
    with Ledger(url, pool_size=1) as ledger:
        known = ledger.jobs.register(
            "scale",
            source_identity="none",
            sources=[SourceSpec(name="pacs", kind="dimse", pull_limit=100_000)],
            destinations=[
                DestinationSpec(name="cloud", kind="s3", inline=True, fingerprint=""),
                DestinationSpec(name="second", kind="s3", inline=False, fingerprint=""),
            ],
        )
        ledger.inventory.begin_generation()
    filled = 0
    for step in STEPS:
        goal = int(STUDIES * step)
        _, seconds = timed(lambda start=filled, stop=goal: fill(url, start, stop, INSTANCES // STUDIES))
        filled = goal
        row = measure(url, known.sources["pacs"], known.destinations["cloud"], seconds)
        show(row, first=not rows)
        rows.append(row)
    return rows


def fill(url: str, start: int, stop: int, per_study: int) -> None:
    """Finished studies number `start` to `stop` are in the ledger, proven at both destinations."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("set session_replication_role = replica")  # the rows are right by construction
        conn.execute("set synchronous_commit = off")
        for first in range(start, stop, FILL_BATCH):
            values = {"first": first + 1, "last": min(first + FILL_BATCH, stop), "per": per_study}
            for statement in FILL:
                conn.execute(statement, values)
        conn.execute("reset synchronous_commit")
        conn.execute("vacuum analyze")
        conn.execute("checkpoint")


def measure(url: str, source: int, cloud: int, fill_seconds: float) -> Row:
    with Ledger(url, pool_size=1) as ledger:
        prepare(ledger, source, 4 * ROUND, time.time_ns())
    pages = [pages_touched(url)]
    with Ledger(url, pool_size=1) as ledger:
        claimed, claims_1 = timed(lambda: [claim(ledger, source, "w0") for _ in range(ROUND)])
    pages.append(pages_touched(url))
    works = [work_of(item) for item in claimed]
    with Ledger(url, pool_size=1) as ledger:
        latencies, commits_1 = timed(lambda: [commit(ledger, *work) for work in works])
    pages.append(pages_touched(url))
    with Ledger(url, pool_size=WORKERS + 1) as ledger, ThreadPoolExecutor(WORKERS) as pool:
        four, claims_4 = timed(lambda: list(pool.map(lambda n: claim(ledger, source, f"w{n % WORKERS}"), range(ROUND))))
        works = [work_of(item) for item in four]
        _, commits_4 = timed(lambda: list(pool.map(lambda work: commit(ledger, *work), works)))
        reads = [timed(lambda: ledger.claims.validate("v", [cloud], LEASE))[1] for _ in range(200)]
        _, status = timed(ledger.status.deliveries)
    latencies.sort()
    return Row(
        studies=count(url, "select count(*) from study"),
        instances=count(url, "select count(*) from instance"),
        fill_seconds=round(fill_seconds, 1),
        gigabytes=round(count(url, "select pg_database_size(current_database())") / 1e9, 2),
        claims_per_second_1=round(ROUND / claims_1, 1),
        claims_per_second_4=round(ROUND / claims_4, 1),
        commits_per_second_1=round(ROUND / commits_1, 1),
        commits_per_second_4=round(ROUND / commits_4, 1),
        pages_per_claim=round((pages[1] - pages[0]) / ROUND, 1),
        pages_per_commit=round((pages[2] - pages[1]) / ROUND, 1),
        commit_ms_median=round(1e3 * statistics.median(latencies), 2),
        commit_ms_p99=round(1e3 * latencies[int(len(latencies) * 0.99)], 2),
        validate_claim_ms_median=round(1e3 * statistics.median(reads), 2),
        status_ms=round(1e3 * status, 1),
    )


def pages_touched(url: str) -> int:
    """Pages of 8 KiB that clients have asked for since the server started; read when all of them have gone.

    A session reports its counters some seconds late, and at once when it ends.
    """
    deadline = time.monotonic() + GONE_WITHIN
    with psycopg.connect(url, autocommit=True) as conn:
        while one(conn, "select count(*) from pg_stat_activity where backend_type = 'client backend'") > 1:
            if time.monotonic() > deadline:
                raise TimeoutError("sessions of an earlier phase are still there")
            time.sleep(0.05)
        return one(conn, "select sum(hits + reads) from pg_stat_io where backend_type = 'client backend'")


def prepare(ledger: Ledger, source: int, studies: int, salt: int) -> None:
    ledger.inventory.record_studies(
        source, [Found(study_uid=Uid(f"1.2.826.0.1.3680043.9.{salt}.{n}")) for n in range(studies)]
    )
    while ledger.plan.step({}).studies:
        pass


def claim(ledger: Ledger, source: int, worker: str) -> PullClaim:
    found = ledger.claims.pull(worker, source, LEASE)
    assert found is not None
    return found


def work_of(claim: PullClaim) -> tuple[PullClaim, list[InstanceFacts], bytes, Receipt]:
    facts = list(facts_of(claim.study_uid))
    receipt = Receipt(key=claim.study_uid, container=Container.TAR, size=10_000_000, crc64=1, etag="e")
    return claim, facts, uid_set_root(one.sop_uid for one in facts), receipt


def facts_of(study_uid: Uid) -> Iterable[InstanceFacts]:
    for n in range(PER_COMMIT):
        digest = blake3(f"{study_uid}.{n}".encode()).digest()
        yield InstanceFacts(
            study_uid=study_uid,
            series_uid=Uid(f"{study_uid}.1"),
            sop_uid=Uid(f"{study_uid}.1.{n}"),
            sop_class=Uid("1.2.840.10008.5.1.4.1.1.2"),
            transfer_syntax=Uid("1.2.840.10008.1.2.1"),
            raw_size=524_288,
            sto_size=526_336,
            raw1=digest,
            sto1=digest,
            pd1=digest,
            can1=digest,
        )


def commit(ledger: Ledger, claim: PullClaim, facts: list[InstanceFacts], root: bytes, receipt: Receipt) -> float:
    started = time.perf_counter()
    ledger.commits.written(claim, facts=facts, expected_root=root, receipt=receipt, note=NOTE)
    return time.perf_counter() - started


def timed(call: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def count(url: str, query: LiteralString) -> int:
    with psycopg.connect(url) as conn:
        return one(conn, query)


def one(conn: psycopg.Connection, query: LiteralString) -> int:
    row = conn.execute(query).fetchone()
    if row is None:
        raise LookupError(query)
    return int(row[0])


def show(row: Row, *, first: bool) -> None:
    values = asdict(row)
    if first:
        print("  ".join(f"{name:>{max(len(name), 9)}}" for name in values), flush=True)
    print("  ".join(f"{value:>{max(len(name), 9)}}" for name, value in values.items()), flush=True)


FILL = (
    """
insert into study (study_key, source_id, revision, generation, state, study_uid, patient_id, modalities,
  instance_count)
overriding system value
select 1000000000 + n, (select min(source_id) from source), 1, 1, 'planned', '1.2.840.113619.2.55.3.604688119.' || n,
  'MRN' || mod(n, 300000), '{CT}', %(per)s
from generate_series(%(first)s::bigint, %(last)s) n""",
    """
insert into study_revision (study_key, revision, instances, raw_bytes, sto_bytes, expected_root, written_at)
select 1000000000 + n, 1, %(per)s, 1, 1, sha256(n::text::bytea), now()
from generate_series(%(first)s::bigint, %(last)s) n""",
    """
insert into delivery (study_key, revision, source_id, destination_id, pulled, ready, priority, state, written_at,
  validated_at)
select 1000000000 + n, 1, (select min(source_id) from source), x.destination_id, x.inline, true, 100, 'validated',
  now(), now()
from generate_series(%(first)s::bigint, %(last)s) n, destination x""",
    """
insert into receipt (delivery_id, size, instances, key, container, crc64, etag, version_id, device)
select delivery_id, 10000000, %(per)s, 'packs/' || study_key, 'tar', decode('0102030405060708', 'hex'), 'etag', '', ''
from delivery
where study_key between 1000000000 + %(first)s and 1000000000 + %(last)s""",
    """
insert into instance (study_key, revision, sop_uid, series_uid, sop_class, transfer_syntax, raw_size, sto_size,
  raw1, sto1, pd1, can1, flags)
select 1000000000 + n, 1, uid.study || '.1.' || i, uid.study || '.1', '1.2.840.10008.5.1.4.1.1.2',
  '1.2.840.10008.1.2.1', 524288, 526336, d.digest, d.digest, d.digest, d.digest, '{}'
from generate_series(%(first)s::bigint, %(last)s) n
cross join lateral (select '1.2.840.113619.2.55.3.604688119.' || n as study) uid
cross join generate_series(1, %(per)s) i
cross join lateral (select sha256((n || '.' || i)::bytea) as digest) d""",
    """
insert into sop (sop, study_key)
select md5(n || '.' || i)::uuid, 1000000000 + n
from generate_series(%(first)s::bigint, %(last)s) n, generate_series(1, %(per)s) i""",
    """
insert into custody (study_key, seq, at, event, actor, payload, prev_hash, hash)
select 1000000000 + n, s, now(), 'written', 'mover-1', '{"source": "PACS"}', sha256(n::text::bytea),
  sha256(n::text::bytea)
from generate_series(%(first)s::bigint, %(last)s) n, generate_series(1, 3) s""",
)


if __name__ == "__main__":
    main()
