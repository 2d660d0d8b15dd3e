"""A migrated ledger with one source, an inline and a fed destination, and short ways to get a study anywhere."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from blake3 import blake3

from actors.identity_options import IdentityOptions
from cluster.planning.accession_options import AccessionOptions
from cluster.planning.decide import Planner
from cluster.planning.reading import Kind, Reader
from imaging.facts import InstanceFacts
from imaging.roots import uid_set_root
from imaging.uid import Uid
from infra.embedded.postgres import EmbeddedPostgres
from storage.ledger import Ledger
from storage.ledger.job import DestinationSpec, Registered, SourceSpec
from storage.ledger.migrate import migrate
from storage.ledger.records import CustodyNote, FeedClaim, Problem, PullClaim, Severity, ValidateClaim
from storage.packs.model import Container, Receipt

LEASE = timedelta(seconds=60)
IDENTITY = "dimse://PACS@127.0.0.1:104"
NOTE = CustodyNote(event="written", payload={"by": "test"})
RECEIPT = Receipt(key="packs/1", container=Container.TAR, size=4096, crc64=2**64 - 1, etag="e", version_id="v")
SOURCES = (SourceSpec(name="pacs", kind="dimse", pull_limit=4),)
DESTINATIONS = (
    DestinationSpec(name="cloud", kind="s3", inline=True, fingerprint="a"),
    DestinationSpec(name="second", kind="s3", inline=False, fingerprint="b"),
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A study as an archive describes it."""

    study_uid: Uid
    patient_id: str | None = "MRN1"
    issuer: str | None = None
    patient_name: str | None = "Doe^Jane"
    birth_date: str | None = None
    sex: str | None = None
    accession: str | None = None
    study_date: str | None = "20200101"
    study_time: str | None = None
    modalities: tuple[str, ...] | None = ("CT",)
    description: str | None = None
    series_count: int | None = 1
    instance_count: int | None = 2


def sops(study_uid: str, count: int = 2) -> list[Uid]:
    return [Uid(f"{study_uid}.1.{n}") for n in range(1, count + 1)]


def facts_of(study_uid: str, count: int = 2, sop_uids: list[Uid] | None = None) -> list[InstanceFacts]:
    made = []
    for uid in sop_uids or sops(study_uid, count):
        digest = blake3(uid.encode()).digest()
        made.append(
            InstanceFacts(
                study_uid=Uid(study_uid),
                series_uid=Uid(f"{study_uid}.1"),
                sop_uid=uid,
                sop_class=Uid("1.2.840.10008.5.1.4.1.1.2"),
                transfer_syntax=Uid("1.2.840.10008.1.2.1"),
                raw_size=100,
                sto_size=200,
                raw1=digest,
                sto1=digest,
                pd1=None,
                can1=digest,
                flags=("PIXEL_LENGTH",),
            )
        )
    return made


def problem(kind: str = "COUNT_SHORT", *, blocking: bool = True) -> Problem:
    return Problem(kind=kind, severity=Severity.ERROR, blocking=blocking, remedy="Look at it.", evidence={"missing": 1})


@dataclass(kw_only=True)
class World:
    """The ledger under test and what a test does with it again and again."""

    url: str
    ledger: Ledger
    source: int
    cloud: int
    second: int
    _opened: ExitStack = field(default_factory=ExitStack)

    def settle(self, known: Registered) -> None:
        self.source = known.sources["pacs"]
        self.cloud, self.second = known.destinations["cloud"], known.destinations["second"]

    def later(self, seconds: float, *, pool_size: int = 1) -> Ledger:
        """The same ledger as seen by a process whose clock is ahead."""
        url = f"{self.url}?options=-c%20limosa.clock_offset%3D{seconds}s"
        ledger = Ledger(url, pool_size=pool_size).__enter__()
        self._opened.callback(ledger.__exit__, None, None, None)
        return ledger

    def discover(self, *uids: str, **fields: object) -> None:
        self.ledger.inventory.record_studies(self.source, [Found(study_uid=Uid(uid), **fields) for uid in uids])

    def planned(self, *uids: str) -> None:
        self.discover(*uids)
        self.ledger.plan.step({"rules": 1})

    def pull(self, worker: str = "mover-1", ledger: Ledger | None = None) -> PullClaim:
        claim = (ledger or self.ledger).claims.pull(worker, self.source, LEASE)
        assert claim is not None
        return claim

    def write(self, claim: PullClaim, count: int = 2, ledger: Ledger | None = None) -> None:
        facts = facts_of(claim.study_uid, count)
        root = uid_set_root(one.sop_uid for one in facts)
        (ledger or self.ledger).commits.written(claim, facts=facts, expected_root=root, receipt=RECEIPT, note=NOTE)

    def feed(self, worker: str = "feeder-1") -> FeedClaim:
        claim = self.ledger.claims.feed(worker, [self.second], LEASE)
        assert claim is not None
        return claim

    def validation(self, worker: str = "validator-1") -> ValidateClaim:
        claim = self.ledger.claims.validate(worker, [self.cloud, self.second], LEASE)
        assert claim is not None
        return claim

    def sql(self, query: str, *values: object) -> list[tuple]:
        with psycopg.connect(self.url, autocommit=True) as conn:
            cursor = conn.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def facts(self, study_uid: str, count: int = 2) -> list[InstanceFacts]:
        return facts_of(study_uid, count)

    def root(self, facts: list[InstanceFacts]) -> bytes:
        return uid_set_root(one.sop_uid for one in facts)

    def found(self, uid: str, **fields: object) -> Found:
        return Found(study_uid=Uid(uid), **fields)

    def states(self, study_uid: str) -> list[str]:
        """States of all deliveries of the study, by revision and destination."""
        return [
            row[0]
            for row in self.sql(
                "select d.state::text from delivery d join study s using (study_key) where s.study_uid = %s"
                " order by d.revision, d.destination_id",
                study_uid,
            )
        ]

    def study_state(self, study_uid: str) -> str:
        return self.sql("select state::text from study where study_uid = %s", study_uid)[0][0]


TABLES = """
commitment, volume_member, volume, arrival, seal,
sampled_series, sampled_study, pilot_study, pilot_day, source_study, source_file,
acceptance, decision, decision_rules, ordered, identity_event, told_again, hospital_file,
custody, exception, validation, receipt, sop, instance, upload_member, upload_part, upload, delivery, study_revision,
coercion_effect, coercion_rules, study, find_window, device, worker, destination, source, job"""


@pytest.fixture(scope="session")
def ledger_url(postgres_server: EmbeddedPostgres) -> str:
    """One database for all tests here: its 128 partitions take a second to make and nothing to empty."""
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        conn.execute("create database ledger_tests")
    url = postgres_server.url.rsplit("/", 1)[0] + "/ledger_tests"
    migrate(url)
    return url


def empty(url: str) -> None:
    with psycopg.connect(url) as conn:
        # Only a superuser may do this; it is what the triggers are there to refuse.
        conn.execute("set session_replication_role = replica")
        for table in TABLES.split(","):
            conn.execute(f"delete from {table}")
        conn.execute("update control set paused = false, reason = null")


def enter_job(ledger: Ledger) -> Registered:
    known = ledger.jobs.register("job", source_identity=IDENTITY, sources=SOURCES, destinations=DESTINATIONS)
    ledger.inventory.begin_generation()
    return known


@pytest.fixture
def world(ledger_url: str) -> Iterator[World]:
    empty(ledger_url)
    with Ledger(ledger_url, pool_size=8) as ledger, ExitStack() as opened:
        made = World(url=ledger_url, ledger=ledger, source=0, cloud=0, second=0, _opened=opened)
        made.settle(enter_job(ledger))
        yield made


@pytest.fixture
def reset_world(world: World) -> Callable[[], None]:
    """Calling it empties the ledger and registers the job anew."""

    def reset() -> None:
        empty(world.url)
        world.settle(enter_job(world.ledger))

    return reset


@pytest.fixture
def found() -> Callable[..., Found]:
    return lambda uid, **fields: Found(study_uid=Uid(uid), **fields)


HOSPITAL = IdentityOptions(issuers=({"name": "NORTH"}, {"name": "SOUTH"}), default_issuer="NORTH")
INDEX = (
    "issuer,id,name,birth_date,sex\n"
    "NORTH,1,Noe^Jane,19700101,F\nNORTH,2,Roe^Max,19800202,M\nNORTH,3,Poe^Ann,19900303,F\nSOUTH,1,Loe^Tim,19600606,M\n"
)


@pytest.fixture
def give(world: World, tmp_path: Path) -> Callable[..., None]:
    """`give(name, text)`: the hospital's table of this name is read."""

    def read(name: str, text: str, kind: Kind | None = None) -> None:
        (tmp_path / name).write_text(text)
        reader = Reader(world.ledger, HOSPITAL, "UTC")
        reader.read_orders(tmp_path / name) if name == "orders.csv" else reader.read(tmp_path / name, kind)

    read("index.csv", INDEX)
    return read


@pytest.fixture
def planner(world: World) -> Callable[..., Planner]:
    """`planner(accession, **identity)`: what decides the world's studies."""

    def make(accession: dict[str, Any] | None = None, **identity: Any) -> Planner:
        return Planner(
            world.ledger,
            world.source,
            "pacs",
            identity=HOSPITAL.model_copy(update=identity),
            accession=None if accession is None else AccessionOptions(**accession),
            time_zone="UTC",
        )

    return make


@pytest.fixture
def step(world: World) -> Callable[[], int]:
    """`step()`: how many decided studies got their next revision."""
    return lambda: world.ledger.plan.step_decided({"coercion": "none"}, accessions=True).studies


@pytest.fixture
def hospital() -> IdentityOptions:
    """Who gives numbers in tables that `give` reads."""
    return HOSPITAL


@pytest.fixture(scope="module")
def seeded_with(postgres_server: EmbeddedPostgres) -> Iterator[Callable[[str], str]]:
    """`seeded_with(statements)` is a ledger of this module's own, filled by them and analysed."""
    names: list[str] = []

    def make(statements: str) -> str:
        names.append(f"seeded_{len(names)}")
        with psycopg.connect(postgres_server.url, autocommit=True) as conn:
            conn.execute(f"create database {names[-1]}")
        url = f"{postgres_server.url.rsplit('/', 1)[0]}/{names[-1]}"
        migrate(url)
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(statements)
            conn.execute("vacuum analyze")
        return url

    yield make
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        for name in names:
            conn.execute(f"drop database {name} with (force)")
