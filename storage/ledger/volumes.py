"""Volumes: the packs of a study that no device takes whole, each with a device and a way of its own.

A volume is recorded when it ends, while its delivery is still being written. The delivery follows its volumes: it is
sealed with the first of them, for from then on nobody here can read all of it back; it is shipped, arrived and
validated with the last.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import LiteralString

from psycopg.rows import DictRow, class_row, dict_row

from imaging.uid import Uid
from storage.errors import VolumeSealed
from storage.ledger.custody import append
from storage.ledger.lifecycle import DeliveryState
from storage.ledger.pool import Connection, Pool
from storage.ledger.receipts import crc_bytes, crc_value
from storage.ledger.records import CustodyNote
from storage.packs.model import Container, PackId, Receipt

LAST = "last"
"""How the last volume of a study ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumePlace:
    """Where one volume of a study lies."""

    number: int
    device: str
    serial: str
    """Of its device, where that is sealed; else empty."""
    ended: str

    @property
    def last(self) -> bool:
        return self.ended == LAST


class Volumes:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def places(self, delivery_id: int) -> tuple[VolumePlace, ...]:
        """Every volume of the delivery that has ended, in order; none where the study is one pack."""
        with self._pool.transaction("list volumes") as conn:
            rows = conn.cursor(row_factory=class_row(VolumePlace)).execute(
                "select v.number, v.device, coalesce(l.serial, '') as serial, v.ended"
                " from volume v left join seal l on l.device_id = v.device where v.delivery_id = %s order by v.number",
                (delivery_id,),
            )
            return tuple(rows)

    def instances(self, delivery_id: int, number: int) -> dict[Uid, tuple[bytes, int]]:
        """STO1 and stored size of every instance of the volume."""
        with self._pool.transaction("read volume") as conn:
            rows = conn.execute(
                "select sop_uid, sto1, sto_size from volume_member where delivery_id = %s and number = %s",
                (delivery_id, number),
            )
            return {Uid(row[0]): (bytes(row[1]), row[2]) for row in rows}


def put_volume(conn: Connection, delivery_id: int, receipt: Receipt, ended: str, rules: str) -> None:
    """The members that the delivery's upload holds are one more volume, within the caller's transaction."""
    assert receipt.crc64 is not None  # a pack's
    values = {
        "delivery": delivery_id,
        "size": receipt.size,
        "key": receipt.key,
        "container": receipt.container,
        "crc64": crc_bytes(receipt.crc64),
        "device": receipt.device,
        "ended": ended,
        "rules": rules,
    }
    row = conn.execute(_PUT, values).fetchone()
    assert row is not None  # inserted just now
    conn.execute(_PUT_MEMBERS, {"delivery": delivery_id, "number": row[0]})


def read_volumes(conn: Connection, delivery_id: int) -> list[DictRow]:
    """The rows of its volumes in order; `sealed` says whether the device is."""
    rows = conn.cursor(row_factory=dict_row).execute(
        "select v.*, l.device_id is not null as sealed from volume v left join seal l on l.device_id = v.device"
        " where v.delivery_id = %s order by v.number",
        (delivery_id,),
    )
    return rows.fetchall()


def read_members(conn: Connection, delivery_id: int) -> list[DictRow]:
    """The rows of all members of its volumes, in order of volume and offset."""
    rows = conn.cursor(row_factory=dict_row).execute(
        "select * from volume_member where delivery_id = %s order by number, byte_start", (delivery_id,)
    )
    return rows.fetchall()


def volume_receipt(row: DictRow) -> Receipt:
    """The receipt of a volume's row."""
    return Receipt(
        key=row["key"],
        container=Container(row["container"]),
        size=row["size"],
        crc64=crc_value(row["crc64"]),
        device=row["device"],
    )


def forget_volumes(conn: Connection, delivery_id: int) -> None:
    """The delivery has none. Raises `VolumeSealed` where one is on a sealed device."""
    sealed = conn.execute(
        "select from volume v join seal l on l.device_id = v.device where v.delivery_id = %s limit 1", (delivery_id,)
    ).rowcount
    if sealed:
        raise VolumeSealed(
            "a volume of the study is on a sealed device", operation="start over", place=f"delivery {delivery_id}"
        )
    conn.execute("delete from volume where delivery_id = %s", (delivery_id,))


def catch_up(conn: Connection, delivery_id: int) -> None:
    """A delivery that was just written is sealed where a volume of it is, within the caller's transaction."""
    conn.execute(_SEAL, {"ids": [delivery_id]})


def unprove_volume(conn: Connection, delivery_id: int, number: int) -> None:
    """What was proven of the volume is not true any more, within the caller's transaction."""
    conn.execute(
        "update volume set stage = 'arrived' where delivery_id = %s and number = %s and stage = 'validated'",
        (delivery_id, number),
    )


def seal_volumes(conn: Connection, device_id: str, note: CustodyNote, by: str) -> int:
    """The device's volumes are sealed, and their deliveries with them; how many volumes."""
    moved = _move(conn, device_id, DeliveryState.WRITTEN, DeliveryState.SEALED, None, note, by)
    _follow(conn, device_id)
    return moved


def ship_volumes(conn: Connection, device_id: str, note: CustodyNote, by: str) -> int:
    """The device's sealed volumes have left; how many."""
    moved = _move(conn, device_id, DeliveryState.SEALED, DeliveryState.SHIPPED, None, note, by)
    _follow(conn, device_id)
    return moved


def land_volumes(conn: Connection, device_id: str, packs: Sequence[PackId], note: CustodyNote, by: str) -> int:
    """These volumes of the device have arrived; how many had not before."""
    moved = _move(conn, device_id, DeliveryState.SEALED, DeliveryState.ARRIVED, packs, note, by)
    _follow(conn, device_id)
    return moved


def prove_volumes(conn: Connection, device_id: str, packs: Sequence[PackId], note: CustodyNote, by: str) -> int:
    """These volumes of the device, that have arrived, are proven; how many had not been."""
    moved = _move(conn, device_id, DeliveryState.ARRIVED, DeliveryState.VALIDATED, packs, note, by)
    _follow(conn, device_id)
    return moved


def _move(
    conn: Connection,
    device_id: str,
    least: DeliveryState,
    stage: DeliveryState,
    packs: Sequence[PackId] | None,
    note: CustodyNote,
    by: str,
) -> int:
    """Volumes from `least` on are at `stage` now, and their chains say so; how many."""
    rows = conn.execute(
        _MOVE,
        {
            "device": device_id,
            "least": least,
            "stage": stage,
            "all": packs is None,
            "studies": [pack.study_uid for pack in packs or ()],
            "revisions": [pack.revision for pack in packs or ()],
            "numbers": [pack.volume for pack in packs or ()],
        },
    ).fetchall()
    for study_key, study_uid, number in sorted(rows):
        told = CustodyNote(event=note.event, payload={**note.payload, "volume": number})
        append(conn, study_key=study_key, study_uid=study_uid, actor=by, note=told)
    return len(rows)


def _follow(conn: Connection, device_id: str) -> None:
    """Deliveries with a volume on the device are as far as the volume that is behind all others."""
    rows = conn.execute("select distinct delivery_id from volume where device = %s", (device_id,))
    ids = [row[0] for row in rows]
    for statement in _FOLLOWING:
        conn.execute(statement, {"ids": ids})


def staged_in_volumes(conn: Connection, values: dict[str, int]) -> Collection[Uid]:
    """The instances of the delivery's volumes are those of the revision, too; their UIDs."""
    return [row[0] for row in conn.execute(_INSERT_STAGED, values)]


_PUT = """
insert into volume (delivery_id, number, size, instances, key, container, crc64, device, ended, rules)
select %(delivery)s, (select coalesce(max(number), 0) + 1 from volume where delivery_id = %(delivery)s), %(size)s,
  (select count(*) from upload_member where delivery_id = %(delivery)s), %(key)s, %(container)s, %(crc64)s,
  %(device)s, %(ended)s, %(rules)s
returning number"""

_PUT_MEMBERS = """
insert into volume_member (delivery_id, number, byte_start, byte_size, raw_size, sto_size, lead, sop_uid, series_uid,
  sop_class, transfer_syntax, raw1, sto1, pd1, can1, flags, coerced, met, acted, modality)
select delivery_id, %(number)s, byte_start, byte_size, raw_size, sto_size, lead, sop_uid, series_uid, sop_class,
  transfer_syntax, raw1, sto1, pd1, can1, flags, coerced, met, acted, modality
from upload_member where delivery_id = %(delivery)s"""

_INSERT_STAGED = """
insert into instance (study_key, revision, sop_uid, series_uid, sop_class, transfer_syntax, raw_size, sto_size,
  raw1, sto1, pd1, can1, flags)
select %(study)s, %(revision)s, sop_uid, series_uid, sop_class, transfer_syntax, raw_size, sto_size,
  raw1, sto1, pd1, can1, flags
from volume_member where delivery_id = %(delivery)s order by sop_uid
returning sop_uid"""

# What an exception holds back stays where it is, as a delivery does; but a seal holds whatever became of the study
# while its device was read.
_MOVE = """
update volume v set stage = %(stage)s::delivery_state
from delivery d join study s using (study_key)
where v.device = %(device)s and v.stage >= %(least)s::delivery_state and v.stage < %(stage)s::delivery_state
  and d.delivery_id = v.delivery_id and d.state <> 'void'
  and (d.state <> 'exception' or %(stage)s::delivery_state = 'sealed')
  and (%(all)s or (s.study_uid, d.revision, v.number) in (
    select p.study_uid, p.revision, p.number
    from unnest(%(studies)s::text[], %(revisions)s::int[], %(numbers)s::int[]) as p (study_uid, revision, number)))
returning s.study_key, s.study_uid, v.number"""

_SEAL = """
update delivery d set state = 'sealed', validated_at = null, not_before = null, attempts = 0,
  lease_owner = null, lease_until = null, lease_kind = null, reason = null
where delivery_id = any(%(ids)s) and state in ('written', 'validated')
  and exists (select from volume v where v.delivery_id = d.delivery_id and v.stage > 'written')"""

_FOLLOWING: tuple[LiteralString, ...] = (
    _SEAL,
    """
update delivery d set state = 'shipped' where d.delivery_id = any(%(ids)s) and d.state = 'sealed'
  and not exists (select from volume v where v.delivery_id = d.delivery_id and v.stage < 'shipped')""",
    """
update delivery d set state = 'arrived' where d.delivery_id = any(%(ids)s) and d.state = 'shipped'
  and not exists (select from volume v where v.delivery_id = d.delivery_id and v.stage < 'arrived')""",
    """
insert into validation (delivery_id, instances, digests_compared, mismatches, missing, surplus)
select d.delivery_id, r.instances, r.instances, 0, 0, 0 from delivery d join receipt r using (delivery_id)
where d.delivery_id = any(%(ids)s) and d.state = 'arrived'
  and not exists (select from volume v where v.delivery_id = d.delivery_id and v.stage < 'validated')""",
    """
update delivery d set state = 'validated', validated_at = limosa_now()
where d.delivery_id = any(%(ids)s) and d.state = 'arrived'
  and not exists (select from volume v where v.delivery_id = d.delivery_id and v.stage < 'validated')""",
)
