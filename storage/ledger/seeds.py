"""Devices from sealing to arrival: what lies on which, and the commits that move its deliveries.

Pages of a thousand deliveries are one transaction each and name the state they start from, so whatever ends half way
is done again: what was moved is not met a second time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg.rows import class_row, dict_row

from imaging.uid import Uid
from storage.ledger.custody import append
from storage.ledger.exceptions import put_problem
from storage.ledger.lifecycle import DeliveryState
from storage.ledger.pool import Connection, Pool
from storage.ledger.receipts import receipt_of
from storage.ledger.records import CustodyNote, Problem
from storage.ledger.volumes import land_volumes, prove_volumes, seal_volumes, ship_volumes, unprove_volume
from storage.packs.model import PackId, Receipt

PAGE = 1_000

_MoveVolumes = Callable[[Connection, str, CustodyNote, str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """One device as lists show it."""

    device_id: str
    destination: str
    path_label: str
    """Name of the folder where it was last mounted."""
    state: str
    changed_at: datetime
    packs: int
    instances: int
    bytes: int
    waiting: int
    """Packs on it that are not read back yet."""
    exceptions: int
    """Packs on it that need a person."""
    serial: str | None
    """Of a sealed one."""
    sealed_at: datetime | None
    arrived: int
    """Packs of it that are accounted for at the far side."""
    volumes: int
    """Packs on it that are volumes of a study, whose others lie elsewhere or are not written yet."""
    rate: float
    """Bytes a second that were written on it in the last ten minutes, or since it was begun if that is shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedPack:
    """One pack that a device gave a receipt for: a study, or a volume of one."""

    delivery_id: int
    study_key: int
    study_uid: Uid
    revision: int
    current: bool
    """False: a later revision replaced it."""
    state: DeliveryState
    """Of the delivery; of a volume how far it is itself, unless the delivery is void or needs a person."""
    instances: int
    receipt: Receipt
    volume: int = 0
    """Its number; 0 where the pack is the study."""

    @property
    def pack(self) -> PackId:
        return PackId(study_uid=self.study_uid, revision=self.revision, volume=self.volume or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealRow:
    """The seal of a device as the ledger keeps it; never changed."""

    device_id: str
    sealed_at: datetime
    root: bytes
    packs: int
    instances: int
    bytes: int
    serial: str
    note: str
    """The whole signed text."""
    sealed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalCounts:
    """What one document of the far side came to, in packs."""

    by_digest: int
    """Arrived, every instance compared."""
    by_crc64: int
    by_size: int
    """Arrived by name and size only."""
    by_name: int
    missing: int
    altered: int
    unknown: int
    strangers: int


class Seeds:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def devices(self) -> tuple[DeviceRow, ...]:
        """Every device of the job, with what is on it."""
        with self._pool.transaction("list devices") as conn:
            rows = conn.cursor(row_factory=class_row(DeviceRow)).execute(_DEVICES)
            return tuple(rows)

    def waiting(self) -> dict[str, int]:
        """Studies that wait for each seed destination, or are being written there."""
        with self._pool.transaction("count what waits for devices") as conn:
            rows = conn.execute(
                "select x.name, count(*) from delivery d join destination x using (destination_id)"
                " where x.kind = 'seed' and d.state = 'pending' group by x.name"
            )
            return dict(rows.fetchall())

    def destination_of(self, device_id: str) -> int | None:
        """The id of the destination that the device belongs to; None for one the ledger does not know."""
        with self._pool.transaction("find device") as conn:
            row = conn.execute("select destination_id from device where device_id = %s", (device_id,)).fetchone()
        return None if row is None else row[0]

    def packs(self, device_id: str, *, after: str = "", limit: int = PAGE) -> tuple[ShippedPack, ...]:
        """Up to `limit` packs of the device whose keys sort after `after`, in order."""
        with self._pool.transaction("list packs of device") as conn:
            rows = conn.cursor(row_factory=dict_row).execute(
                _PACKS, {"device": device_id, "after": after, "limit": limit}
            )
            return tuple(
                ShippedPack(
                    delivery_id=row["delivery_id"],
                    study_key=row["study_key"],
                    study_uid=row["study_uid"],
                    revision=row["revision"],
                    current=row["current"],
                    state=row["state"],
                    instances=row["instances"],
                    receipt=receipt_of(row),
                    volume=row["volume"],
                )
                for row in rows
            )

    def unfinished(self, device_id: str) -> frozenset[str]:
        """Keys of packs that are still being written on the device, or that have ended there with a file and go on
        there; of a study that is no more, sealing takes off what is there."""
        with self._pool.transaction("list unfinished packs") as conn:
            rows = conn.execute(_UNFINISHED, {"device": device_id})
            return frozenset(row[0] for row in rows)

    def unfed(self, device_id: str) -> int:
        """Deliveries to other destinations that are still to be written from packs on the device."""
        with self._pool.transaction("count what is to be fed from a device") as conn:
            row = conn.execute(_UNFED, {"device": device_id}).fetchone()
            return 0 if row is None else row[0]

    def damaged(self, pack: ShippedPack, problem: Problem, *, by: str) -> int:
        """The delivery needs a person, whatever was proven of it before; the exception's id."""
        with self._pool.transaction("record damage") as conn:
            conn.execute("select from study where study_key = %s for no key update", (pack.study_key,))
            stopped = conn.execute(_DAMAGED, {"delivery": pack.delivery_id, "reason": problem.kind}).fetchone()
            destination = conn.execute(
                "select destination_id from delivery where delivery_id = %s", (pack.delivery_id,)
            ).fetchone()
            assert destination is not None  # a receipt's delivery
            number = put_problem(
                conn,
                problem,
                study_key=pack.study_key,
                delivery_id=pack.delivery_id,
                destination_id=destination[0],
            )
            unprove_volume(conn, pack.delivery_id, pack.volume)
            if stopped is not None:
                _note(conn, pack, by, CustodyNote(event="exception", payload={"kind": problem.kind}))
        return number

    def withdraw(self, pack: ShippedPack, device_id: str, *, by: str) -> None:
        """The chain says that the pack, which a later revision replaced, is taken off the device."""
        with self._pool.transaction("record withdrawal") as conn:
            note = CustodyNote(event="withdrawn", payload={"device": device_id, "revision": pack.revision})
            _note(conn, pack, by, note)

    def seal(self, row: SealRow) -> None:
        """The device is sealed; its deliveries follow with `seal_page`. Idempotent."""
        with self._pool.transaction("record seal") as conn:
            conn.execute(
                "insert into seal (device_id, sealed_at, root, packs, instances, bytes, serial, note, sealed_by)"
                " values (%s, %s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
                (
                    row.device_id,
                    row.sealed_at,
                    row.root,
                    row.packs,
                    row.instances,
                    row.bytes,
                    row.serial,
                    row.note,
                    row.sealed_by,
                ),
            )
            conn.execute(
                "update device set state = 'sealed', changed_at = limosa_now()"
                " where device_id = %s and state in ('loading', 'full')",
                (row.device_id,),
            )

    def sealed(self, device_id: str) -> SealRow | None:
        """The device's seal; None while it has none."""
        with self._pool.transaction("read seal") as conn:
            return (
                conn.cursor(row_factory=class_row(SealRow))
                .execute(
                    "select device_id, sealed_at, root, packs, instances, bytes, serial, note, sealed_by from seal"
                    " where device_id = %s",
                    (device_id,),
                )
                .fetchone()
            )

    def seal_page(self, device_id: str, note: CustodyNote, *, by: str, limit: int = PAGE) -> int:
        """Up to `limit` written or proven deliveries on the device are sealed, and their chains say so; how many."""
        return self._move("seal deliveries", (_SEAL, seal_volumes), device_id, note, by, limit)

    def ship(self, device_id: str, note: CustodyNote, *, by: str) -> int:
        """The device has left, and so have its sealed deliveries; how many. Idempotent."""
        moved = 0
        while page := self._move("ship deliveries", (_SHIP, ship_volumes), device_id, note, by, PAGE):
            moved += page
        self._set_state(device_id, "shipped", ("sealed",))
        return moved

    def land(self, device_id: str, packs: Sequence[PackId], note: CustodyNote, *, by: str) -> int:
        """These packs of the device have arrived, and their chains say so; how many had not before."""
        values = {
            "device": device_id,
            "studies": [pack.study_uid for pack in packs],
            "revisions": [pack.revision for pack in packs],
        }
        with self._pool.transaction("land deliveries") as conn:
            # What has arrived was shipped, whether anybody said so or not.
            conn.execute(_LAND_SHIPPED, values)
            landed = conn.execute(_LAND_ARRIVED, values).fetchall()
            for study_key, study_uid in sorted(landed):
                append(conn, study_key=study_key, study_uid=study_uid, actor=by, note=note)
            return len(landed) + land_volumes(conn, device_id, packs, note, by)

    def prove(self, device_id: str, packs: Sequence[PackId], note: CustodyNote, *, by: str) -> int:
        """Whoever received these packs compared every instance with its digest: those that have arrived are validated
        with it, and their chains say so; how many had not been."""
        values = {
            "device": device_id,
            "studies": [pack.study_uid for pack in packs],
            "revisions": [pack.revision for pack in packs],
        }
        with self._pool.transaction("prove deliveries") as conn:
            conn.execute(_PUT_PROOF, values)
            proven = conn.execute(_LAND_PROVEN, values).fetchall()
            for study_key, study_uid in sorted(proven):
                append(conn, study_key=study_key, study_uid=study_uid, actor=by, note=note)
            return len(proven) + prove_volumes(conn, device_id, packs, note, by)

    def arrival(self, device_id: str, *, evidence: str, document: bytes, counts: ArrivalCounts, by: str) -> None:
        """What a document (its SHA-256) of the far side came to is on record."""
        with self._pool.transaction("record arrival") as conn:
            conn.execute(
                "insert into arrival (device_id, evidence, document, arrived, by_digest, by_crc64, by_size, by_name,"
                " missing, altered, unknown, strangers, reconciled_by)"
                " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    device_id,
                    evidence,
                    document,
                    counts.by_digest + counts.by_crc64 + counts.by_size + counts.by_name,
                    counts.by_digest,
                    counts.by_crc64,
                    counts.by_size,
                    counts.by_name,
                    counts.missing,
                    counts.altered,
                    counts.unknown,
                    counts.strangers,
                    by,
                ),
            )

    def arrived(self, device_id: str) -> None:
        """All that was on the device is accounted for at the far side."""
        self._set_state(device_id, "arrived", ("sealed", "shipped"))

    def _move(
        self, operation: str, ways: tuple[LiteralString, _MoveVolumes], device_id: str, note: CustodyNote, by: str,
        limit: int,
    ) -> int:  # fmt: skip
        statement, move_volumes = ways
        with self._pool.transaction(operation) as conn:
            rows = conn.execute(statement, {"device": device_id, "limit": limit}).fetchall()
            for study_key, study_uid in sorted(rows):
                append(conn, study_key=study_key, study_uid=study_uid, actor=by, note=note)
            return len(rows) + move_volumes(conn, device_id, note, by)

    def _set_state(self, device_id: str, state: str, before: Sequence[str]) -> None:
        with self._pool.transaction("set device state") as conn:
            conn.execute(
                "update device set state = %s, changed_at = limosa_now() where device_id = %s and state = any(%s)",
                (state, device_id, list(before)),
            )


def _note(conn: Connection, pack: ShippedPack, by: str, note: CustodyNote) -> None:
    append(conn, study_key=pack.study_key, study_uid=pack.study_uid, actor=by, note=note)


# A volume counts by itself, as far as it is; what has been read back here of its study has been read back of it.
_DEVICES = """
with pack as (
  select r.device, r.instances, r.size, d.state, d.written_at, false as volume
  from receipt r join delivery d using (delivery_id) where r.device <> '' and d.state <> 'void'
  union all
  select v.device, v.instances, v.size, case when d.state = 'exception' or d.state = 'validated' and v.stage = 'written'
    then d.state else v.stage end, v.at, true
  from volume v join delivery d using (delivery_id) where d.state <> 'void')
select v.device_id, x.name as destination, v.path_label, v.state, v.changed_at, l.serial, l.sealed_at,
  count(p.device) as packs, coalesce(sum(p.instances), 0)::bigint as instances,
  coalesce(sum(p.size), 0)::bigint as bytes, count(*) filter (where p.state = 'written') as waiting,
  count(*) filter (where p.state = 'exception') as exceptions,
  count(*) filter (where l.device_id is not null and p.state in ('arrived', 'validated')) as arrived,
  count(*) filter (where p.volume) as volumes,
  (coalesce(sum(p.size) filter (where p.written_at > limosa_now() - interval '10 minutes'), 0)
    / greatest(1, least(600, extract(epoch from limosa_now() - min(p.written_at)))))::float8 as rate
from device v join destination x using (destination_id) left join seal l using (device_id)
left join pack p on p.device = v.device_id
group by v.device_id, x.name, l.device_id order by x.name, v.path_label, v.device_id"""

_UNFINISHED = """
select u.key from upload u join delivery d using (delivery_id) where u.device = %(device)s and d.state <> 'void'
union all
select v.key from volume v join delivery d using (delivery_id)
where v.device = %(device)s and v.ended = 'file' and d.state = 'pending'
  and not exists (select from upload u where u.delivery_id = v.delivery_id)
  and not exists (select from volume w where w.delivery_id = v.delivery_id and w.number > v.number)"""

_UNFED = """
with packed as (
  select delivery_id from receipt where device = %(device)s
  union select delivery_id from volume where device = %(device)s)
select count(*) from packed join delivery i using (delivery_id)
  join delivery f on f.study_key = i.study_key and f.revision = i.revision
where i.pulled and not f.pulled and 'pending' in (f.state, case when f.state = 'exception' then f.held_state end)"""

_PACKS = """
select d.delivery_id, d.study_key, s.study_uid, d.revision, d.revision = s.revision as current, r.volume,
  case when r.stage is null or d.state in ('exception', 'void') then d.state else r.stage end as state,
  r.instances, r.key, r.container, r.size, r.crc64, r.etag, r.version_id, r.device
from (
  (select delivery_id, 0 as volume, null::delivery_state as stage, instances, key, container, size, crc64, etag,
     version_id, device
   from receipt where device = %(device)s and device <> '' and key collate "C" > %(after)s
   order by key collate "C" limit %(limit)s)
  union all
  (select delivery_id, number, stage, instances, key, container, size, crc64, '', '', device
   from volume where device = %(device)s and key collate "C" > %(after)s
   order by key collate "C" limit %(limit)s)) r
join delivery d using (delivery_id) join study s using (study_key)
order by r.key collate "C" limit %(limit)s"""

# What was proven of it is not true any more: on a device here it has to be written again before anything else.
_DAMAGED = """
update delivery d set state = 'exception', held_state = case when state <> 'validated' then state
    when exists (select from receipt r join seal l on l.device_id = r.device where r.delivery_id = d.delivery_id)
      or exists (select from volume v join seal l on l.device_id = v.device where v.delivery_id = d.delivery_id)
    then 'arrived' else 'written' end,
  validated_at = null, not_before = null, lease_owner = null, lease_until = null, lease_kind = null,
  reason = %(reason)s
where delivery_id = %(delivery)s and state not in ('exception', 'void') returning delivery_id"""

_SEAL = """
update delivery d set state = 'sealed', validated_at = null, not_before = null, attempts = 0,
  lease_owner = null, lease_until = null, lease_kind = null, reason = null
from study s, (
  select d.delivery_id from receipt r join delivery d using (delivery_id)
  where r.device = %(device)s and r.device <> '' and d.state in ('written', 'validated')
  order by d.delivery_id limit %(limit)s for no key update of d) n
where d.delivery_id = n.delivery_id and s.study_key = d.study_key
returning s.study_key, s.study_uid"""

_SHIP = """
update delivery d set state = 'shipped'
from study s, (
  select d.delivery_id from receipt r join delivery d using (delivery_id)
  where r.device = %(device)s and r.device <> '' and d.state = 'sealed'
  order by d.delivery_id limit %(limit)s for no key update of d) n
where d.delivery_id = n.delivery_id and s.study_key = d.study_key
returning s.study_key, s.study_uid"""

_LAND_SHIPPED = """
update delivery d set state = 'shipped'
from unnest(%(studies)s::text[], %(revisions)s::int[]) as p (study_uid, revision), study s, receipt r
where s.study_uid = p.study_uid and d.study_key = s.study_key and d.revision = p.revision
  and r.delivery_id = d.delivery_id and r.device = %(device)s and d.state = 'sealed'"""

_LAND_ARRIVED = """
update delivery d set state = 'arrived'
from unnest(%(studies)s::text[], %(revisions)s::int[]) as p (study_uid, revision), study s, receipt r
where s.study_uid = p.study_uid and d.study_key = s.study_key and d.revision = p.revision
  and r.delivery_id = d.delivery_id and r.device = %(device)s and d.state = 'shipped'
returning s.study_key, s.study_uid"""

_PUT_PROOF = """
insert into validation (delivery_id, instances, digests_compared, mismatches, missing, surplus)
select d.delivery_id, r.instances, r.instances, 0, 0, 0
from unnest(%(studies)s::text[], %(revisions)s::int[]) as p (study_uid, revision)
join study s using (study_uid) join delivery d on d.study_key = s.study_key and d.revision = p.revision
join receipt r on r.delivery_id = d.delivery_id
where r.device = %(device)s and d.state = 'arrived'"""

_LAND_PROVEN = """
update delivery d set state = 'validated', validated_at = limosa_now()
from unnest(%(studies)s::text[], %(revisions)s::int[]) as p (study_uid, revision), study s, receipt r
where s.study_uid = p.study_uid and d.study_key = s.study_key and d.revision = p.revision
  and r.delivery_id = d.delivery_id and r.device = %(device)s and d.state = 'arrived'
returning s.study_key, s.study_uid"""
