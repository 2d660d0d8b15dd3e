"""What is known for certain about instances, read back."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from psycopg.rows import DictRow, class_row, dict_row

from imaging.facts import InstanceFacts
from imaging.uid import Uid
from storage.ledger.evidence import sop_key
from storage.ledger.pool import Connection, Pool
from storage.ledger.receipts import receipt_of
from storage.ledger.records import Json
from storage.packs.model import Container, HeldPack, PackId, Receipt

PAGE = 2_000
"""Rows that a cursor brings at once."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SharedSop:
    """A SOP Instance UID of one study that another study holds too."""

    sop_uid: Uid
    other_study: Uid


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownArrival:
    """What the ledger knows of an instance that came without being asked for."""

    study_key: int | None
    """None: the study is unknown."""
    pending: bool
    """The study is still to be pulled, and the instance would come with it."""
    raw1: bytes | None
    """RAW1 of the instance in the latest revision that holds it; None when none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationProof:
    """What is proven at one destination."""

    destination: str
    studies: int
    instances: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenTotals:
    """What came from the source, once: the current revisions that are complete."""

    studies: int
    instances: int
    bytes: int
    """Of the Part-10 files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBackTotals:
    """What the latest read-back of each current delivery of one destination found."""

    destination: str
    studies: int
    instances: int
    bytes: int
    """At the destination, as its receipts say."""
    digests_compared: int
    mismatches: int
    missing: int
    surplus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldStudy:
    """One written revision of a study at one destination."""

    study_key: int
    revision: int
    destination: str
    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class LooseStudy:
    """A study of loose instances at a destination, one revision of it."""

    key: str
    """The folder of its instances."""
    study_uid: Uid
    revision: int
    files: int
    bytes: int
    proven: bool
    """Validated, and the study's current revision; false also while it is being written."""


class Facts:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def instances(self, study_key: int, revision: int) -> tuple[InstanceFacts, ...]:
        """Every instance of the written revision, in order of SOP Instance UID."""
        with self._pool.transaction("read facts") as conn:
            rows = conn.cursor(row_factory=dict_row).execute(
                "select s.study_uid, i.* from study s join instance i using (study_key)"
                " where s.study_key = %s and i.revision = %s order by i.sop_uid",
                (study_key, revision),
            )
            return tuple(_facts(row) for row in rows)

    def decided(self, study_key: int, revision: int) -> Json:
        """What was decided about the study when the revision was planned; empty where the job decides nothing."""
        with self._pool.transaction("read plan") as conn:
            row = conn.execute(
                "select coalesce(plan -> 'decision', '{}') from study_revision where study_key = %s and revision = %s",
                (study_key, revision),
            ).fetchone()
        assert row is not None  # whoever holds a claim has its revision
        return row[0]

    def arrival(self, study_uid: Uid, sop_uid: Uid) -> KnownArrival:
        """What the ledger knows of an instance that nobody asked for."""
        with self._pool.transaction("find arrival") as conn:
            row = (
                conn.cursor(row_factory=class_row(KnownArrival))
                .execute(_ARRIVAL, {"study": study_uid, "sop": sop_uid})
                .fetchone()
            )
        return row or KnownArrival(study_key=None, pending=False, raw1=None)

    def shared(self, study_uid: Uid, sop_uids: Sequence[Uid]) -> tuple[SharedSop, ...]:
        """Which of the study's SOP Instance UIDs are known from other studies."""
        with self._pool.transaction("find shared") as conn:
            row = conn.execute("select study_key from study where study_uid = %s", (study_uid,)).fetchone()
            return () if row is None else shared_sops(conn, row[0], sop_uids)

    def written(self) -> WrittenTotals:
        """What is complete of the current revisions, whatever the number of destinations."""
        with self._pool.transaction("sum written") as conn:
            row = (
                conn.cursor(row_factory=class_row(WrittenTotals))
                .execute(
                    "select count(*) as studies, coalesce(sum(r.instances), 0)::bigint as instances,"
                    " coalesce(sum(r.sto_bytes), 0)::bigint as bytes"
                    " from study s join study_revision r using (study_key, revision) where r.written_at is not null"
                )
                .fetchone()
            )
        assert row is not None  # an aggregate without grouping has one row
        return row

    def read_backs(self) -> tuple[ReadBackTotals, ...]:
        """Per destination, what its latest read-backs found; a destination without any has a row of zeros."""
        with self._pool.transaction("sum read-backs") as conn:
            rows = conn.cursor(row_factory=class_row(ReadBackTotals)).execute(_READ_BACKS)
            return tuple(rows)

    def receipted(self, destination: str, packs: Sequence[PackId]) -> dict[HeldPack, bool]:
        """The packs of these studies and revisions that the destination gave receipts for; true for those that
        `awaited` counts."""
        with self._pool.transaction("match packs") as conn:
            rows = conn.execute(
                _RECEIPTED,
                {
                    "destination": destination,
                    "studies": [pack.study_uid for pack in packs],
                    "revisions": [pack.revision for pack in packs],
                },
            )
            return {
                HeldPack(
                    pack=PackId(study_uid=row[0], revision=row[1], volume=row[2]),
                    container=Container(row[3]),
                    device=row[4],
                ): row[5]
                for row in rows
            }

    def loose(self, destination: str) -> Iterator[LooseStudy]:
        """Every study of loose instances that the destination holds, or is being given, in order of the keys' bytes."""
        with self._pool.transaction("read loose studies") as conn, conn.cursor(name="loose") as cursor:
            cursor.itersize = PAGE
            for row in cursor.execute(_LOOSE, {"destination": destination}):
                key, study_uid, revision, files, size, proven = row
                yield LooseStudy(
                    key=key, study_uid=Uid(study_uid), revision=revision, files=files, bytes=size, proven=proven
                )

    def awaited(self, destination: str, devices: Collection[str]) -> int:
        """Packs of current revisions that must be on these devices of the destination: written, none shipped; of a
        study in volumes each."""
        with self._pool.transaction("count awaited packs") as conn:
            row = conn.execute(_AWAITED, {"destination": destination, "devices": list(devices)}).fetchone()
        assert row is not None  # an aggregate without grouping has one row
        return row[0]

    def held(self, study_uid: Uid, *, destination: str | None = None, revision: int | None = None) -> HeldStudy | None:
        """Where the study can be read: its latest revision (or the one given), proven copies before others."""
        with self._pool.transaction("find held study") as conn:
            values = {"study": study_uid, "destination": destination, "revision": revision}
            row = conn.cursor(row_factory=dict_row).execute(_HELD, values).fetchone()
        if row is None:
            return None
        return HeldStudy(
            study_key=row["study_key"],
            revision=row["revision"],
            destination=row["destination"],
            receipt=receipt_of(row),
        )

    def proven(self) -> tuple[DestinationProof, ...]:
        """Per destination, what is validated in its current revision."""
        with self._pool.transaction("sum proof") as conn:
            rows = conn.cursor(row_factory=class_row(DestinationProof)).execute(
                "select x.name as destination, count(*) as studies,"
                " sum(r.instances)::bigint as instances, sum(r.size)::bigint as bytes"
                " from delivery d join study s using (study_key) join destination x using (destination_id)"
                " join receipt r using (delivery_id)"
                " where d.state = 'validated' and d.revision = s.revision group by x.name order by x.name"
            )
            return tuple(rows)


def shared_sops(conn: Connection, study_key: int, sop_uids: Sequence[Uid]) -> tuple[SharedSop, ...]:
    """Which of the UIDs other studies hold, within the caller's transaction."""
    by_key = {sop_key(uid): uid for uid in sop_uids}
    # Two statements: joined, Postgres guesses that many UIDs are shared and reads all studies for none.
    held = conn.execute(_HELD_ELSEWHERE, {"sops": list(by_key), "study": study_key}).fetchall()
    if not held:
        return ()
    rows = conn.execute(
        "select study_key, study_uid from study where study_key = any(%s)", ([row[1] for row in held],)
    ).fetchall()
    studies = dict(rows)
    return tuple(sorted(SharedSop(sop_uid=by_key[sop], other_study=studies[key]) for sop, key in held))


def _facts(row: DictRow) -> InstanceFacts:
    return InstanceFacts(
        study_uid=row["study_uid"],
        series_uid=row["series_uid"],
        sop_uid=row["sop_uid"],
        sop_class=row["sop_class"],
        transfer_syntax=row["transfer_syntax"],
        raw_size=row["raw_size"],
        sto_size=row["sto_size"],
        raw1=row["raw1"],
        sto1=row["sto1"],
        pd1=row["pd1"],
        can1=row["can1"],
        flags=tuple(row["flags"]),
    )


_HELD_ELSEWHERE = """
select p.sop, p.study_key from unnest(%(sops)s::uuid[]) as asked (sop)
cross join lateral (select sop, study_key from sop where sop = asked.sop and study_key <> %(study)s) p"""

_ARRIVAL = """
select s.study_key,
  exists (select from delivery d where d.study_key = s.study_key and d.revision = s.revision
          and d.pulled and d.state = 'pending') as pending,
  (select i.raw1 from instance i where i.study_key = s.study_key and i.sop_uid = %(sop)s
   order by i.revision desc limit 1) as raw1
from study s where s.study_uid = %(study)s"""

_READ_BACKS = """
select x.name as destination, count(v.delivery_id) as studies, coalesce(sum(v.instances), 0)::bigint as instances,
  coalesce(sum(r.size) filter (where v.delivery_id is not null), 0)::bigint as bytes,
  coalesce(sum(v.digests_compared), 0)::bigint as digests_compared,
  coalesce(sum(v.mismatches), 0)::bigint as mismatches,
  coalesce(sum(v.missing), 0)::bigint as missing, coalesce(sum(v.surplus), 0)::bigint as surplus
from destination x
left join (delivery d join study s using (study_key, revision)) on d.destination_id = x.destination_id
left join receipt r on r.delivery_id = d.delivery_id
left join lateral (
  select * from validation w where w.delivery_id = d.delivery_id order by w.validation_id desc limit 1) v on true
group by x.name order by x.name"""

_HELD = """
select d.study_key, d.revision, x.name as destination,
  r.key, r.container, r.size, r.crc64, r.etag, r.version_id, r.device, volumes_of(r.delivery_id) as volumes
from study s join delivery d using (study_key) join destination x using (destination_id)
join receipt r on r.delivery_id = d.delivery_id
where s.study_uid = %(study)s and (%(destination)s::text is null or x.name = %(destination)s)
  and (%(revision)s::integer is null or d.revision = %(revision)s)
order by d.revision desc, d.validated_at is null, x.inline desc, x.destination_id limit 1"""

_RECEIPTED = """
with asked as (
  select d.delivery_id, s.study_uid, d.revision,
    d.revision = s.revision and d.state in ('written', 'arrived', 'validated') as awaited
  from (select distinct * from unnest(%(studies)s::text[], %(revisions)s::int[])) as p (study_uid, revision)
  join study s using (study_uid) join delivery d on d.study_key = s.study_key and d.revision = p.revision
  join destination x on x.destination_id = d.destination_id and x.name = %(destination)s)
select a.study_uid, a.revision, 1, r.container, r.device, a.awaited from asked a join receipt r using (delivery_id)
union all
select a.study_uid, a.revision, v.number, v.container, v.device, a.awaited
from asked a join volume v using (delivery_id)"""

_LOOSE = """
select r.key collate "C" as key, s.study_uid, d.revision, r.instances, r.size,
  d.state = 'validated' and d.revision = s.revision as proven
from destination x join delivery d using (destination_id) join study s using (study_key)
join receipt r using (delivery_id)
where x.name = %(destination)s and r.container = 'p10'
union all
select u.key collate "C", s.study_uid, d.revision, 0, 0, false
from destination x join delivery d using (destination_id) join study s using (study_key)
join upload u using (delivery_id)
where x.name = %(destination)s and u.container = 'p10'
order by key"""

_AWAITED = """
select count(*) from destination x join delivery d using (destination_id) join study s using (study_key, revision)
join (select delivery_id, device from receipt union all select delivery_id, device from volume) r using (delivery_id)
where x.name = %(destination)s and d.state in ('written', 'arrived', 'validated') and r.device = any(%(devices)s)"""
