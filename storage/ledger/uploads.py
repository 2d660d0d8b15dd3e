"""The resumable state of unfinished deliveries."""

from collections.abc import Sequence

from psycopg.rows import DictRow, dict_row

from imaging.facts import InstanceFacts
from imaging.uid import Uid
from storage.errors import Rejected
from storage.ledger.claims import lost
from storage.ledger.coercion import json_of, values_of
from storage.ledger.evidence import sop_key
from storage.ledger.pool import Connection, Pool
from storage.ledger.receipts import crc_bytes, crc_value
from storage.ledger.records import Claim
from storage.ledger.volumes import forget_volumes, put_volume, read_members, read_volumes, volume_receipt
from storage.packs.model import Container, Ended, Member, Part, Receipt, Volume
from storage.sinks.protocol import UploadState


class LedgerJournal:
    """`storage.sinks.protocol.Journal` for one delivery under one claim."""

    def __init__(self, pool: Pool, claim: Claim, rules: str) -> None:
        self._pool = pool
        self._claim = claim
        self._rules = rules

    def begin(self, *, key: str, container: Container, device: str) -> None:
        with self._pool.transaction("begin upload") as conn:
            _hold(conn, self._claim, "begin upload")
            row = conn.execute(
                "insert into upload (delivery_id, key, container, device, rules) values (%s, %s, %s, %s, %s)"
                " on conflict (delivery_id) do update set delivery_id = excluded.delivery_id"
                " returning key, container, device, rules",
                (self._claim.delivery_id, key, container, device, self._rules),
            ).fetchone()
            if row != (key, container, device, self._rules):
                raise Rejected("another intent is recorded; reset it first", operation="begin upload", place="ledger")
            conn.execute(
                "update delivery set container = %s where delivery_id = %s and container is distinct from %s",
                (container, self._claim.delivery_id, container),
            )

    def opened(self, upload_id: str) -> None:
        with self._pool.transaction("open upload") as conn:
            _hold(conn, self._claim, "open upload")
            opened = conn.execute(
                "update upload set upload_id = %s where delivery_id = %s", (upload_id, self._claim.delivery_id)
            ).rowcount
            if opened != 1:
                raise Rejected("no intent is recorded; begin first", operation="open upload", place="ledger")

    def commit_group(self, parts: Sequence[Part], members: Sequence[Member]) -> None:
        with self._pool.transaction("commit group") as conn:
            _hold(conn, self._claim, "commit group")
            with conn.cursor().copy(_COPY_PARTS) as copy:
                for part in parts:
                    copy.write_row(
                        (
                            self._claim.delivery_id,
                            part.number,
                            part.offset,
                            part.size,
                            crc_bytes(part.crc64),
                            part.etag,
                        )
                    )
            with conn.cursor().copy(_COPY_MEMBERS) as copy:
                for member in members:
                    facts = member.facts
                    copy.write_row(
                        (
                            self._claim.delivery_id,
                            member.offset,
                            member.length,
                            member.lead,
                            sop_key(facts.sop_uid),
                            facts.sop_uid,
                            facts.series_uid,
                            facts.sop_class,
                            facts.transfer_syntax,
                            facts.raw_size,
                            facts.sto_size,
                            facts.raw1,
                            facts.sto1,
                            facts.pd1,
                            facts.can1,
                            list(facts.flags),
                            json_of(facts.coerced),
                            list(facts.met),
                            list(facts.acted),
                            facts.modality,
                        )
                    )

    def end_volume(self, receipt: Receipt, ended: Ended) -> None:
        with self._pool.transaction("end volume") as conn:
            _hold(conn, self._claim, "end volume")
            put_volume(conn, self._claim.delivery_id, receipt, ended, self._rules)
            conn.execute("delete from upload where delivery_id = %s", (self._claim.delivery_id,))

    def reset(self, reason: str) -> None:
        with self._pool.transaction("reset upload") as conn:
            self._forget(conn, "reset upload", reason)

    def delivered(self, sop_uid: Uid) -> frozenset[bytes]:
        claim = self._claim
        values = {"study": claim.study_key, "revision": claim.revision, "sop_uid": sop_uid}
        with self._pool.transaction("look for earlier versions") as conn:
            return frozenset(bytes(can1) for (can1,) in conn.execute(_EARLIER, values))

    def spoil(self) -> None:
        """Whoever opens the delivery next, if only because this process died, discards what is there and starts over.
        Idempotent; a reset by the writer leaves the mark."""
        with self._pool.transaction("spoil upload") as conn:
            _hold(conn, self._claim, "spoil upload")
            conn.execute(
                "update delivery set spoiled = true where delivery_id = %s and not spoiled", (self._claim.delivery_id,)
            )

    def start_over(self, reason: str) -> None:
        """As `reset`, volumes included, and the mark is gone: nothing of the delivery is left to be discarded."""
        with self._pool.transaction("start over") as conn:
            self._forget(conn, "start over", reason)
            forget_volumes(conn, self._claim.delivery_id)
            conn.execute("update delivery set spoiled = false where delivery_id = %s", (self._claim.delivery_id,))

    def _forget(self, conn: Connection, operation: str, reason: str) -> None:
        _hold(conn, self._claim, operation)
        conn.execute("delete from upload where delivery_id = %s", (self._claim.delivery_id,))
        conn.execute(
            "update delivery set reason = left(%s, 200) where delivery_id = %s", (reason, self._claim.delivery_id)
        )


class Uploads:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def journal(self, claim: Claim, rules: str = "") -> LedgerJournal:
        """The journal a sink writes this delivery's progress to; `rules` is the fingerprint of those its instances
        are written under, empty where they are written as they came."""
        return LedgerJournal(self._pool, claim, rules)

    def state(self, claim: Claim) -> UploadState | None:
        """What an earlier worker left of this delivery; None when nothing was begun."""
        with self._pool.transaction("read upload") as conn:
            cursor = conn.cursor(row_factory=dict_row)
            upload = cursor.execute(
                "select u.key, u.container, u.device, u.upload_id, u.rules, d.spoiled"
                " from delivery d left join upload u using (delivery_id) where delivery_id = %s",
                (claim.delivery_id,),
            ).fetchone()
            assert upload is not None  # whoever holds a claim has its delivery
            volumes = read_volumes(conn, claim.delivery_id)
            if upload["key"] is None and not volumes:
                return None
            earlier = read_members(conn, claim.delivery_id) if volumes else []
            parts = cursor.execute(
                "select number, byte_start, byte_size, crc64, etag from upload_part where delivery_id = %s"
                " order by number",
                (claim.delivery_id,),
            ).fetchall()
            members = cursor.execute(
                "select byte_start, byte_size, lead, sop_uid, series_uid, sop_class, transfer_syntax, raw_size,"
                " sto_size, raw1, sto1, pd1, can1, flags, coerced, met, acted, modality from upload_member"
                " where delivery_id = %s order by byte_start",
                (claim.delivery_id,),
            ).fetchall()
        begun = volumes[-1] if upload["key"] is None else upload
        return UploadState(
            key=upload["key"] or "",
            container=Container(begun["container"]),
            upload_id=upload["upload_id"] or "",
            device=upload["device"] or "",
            parts=tuple(_part(row) for row in parts),
            members=tuple(_member(claim, row) for row in members),
            spoiled=upload["spoiled"],
            rules=begun["rules"],
            volumes=tuple(
                Volume(
                    receipt=volume_receipt(volume),
                    members=tuple(_member(claim, row) for row in earlier if row["number"] == volume["number"]),
                    ended=Ended(volume["ended"]),
                    sealed=volume["sealed"],
                )
                for volume in volumes
            ),
        )

    def container(self, claim: Claim) -> Container | None:
        """The container this delivery was begun with, also after a reset; None when nothing was ever begun.

        A worker that lost its claim may still complete its object: only the same key makes that harmless.
        """
        with self._pool.transaction("read container") as conn:
            row = conn.execute(
                "select container from delivery where delivery_id = %s and container is not null", (claim.delivery_id,)
            ).fetchone()
        return None if row is None else Container(row[0])

    def live_upload_ids(self, destination_id: int) -> frozenset[str]:
        """The multipart uploads at the destination that a sweep must leave alone."""
        with self._pool.transaction("list uploads") as conn:
            rows = conn.execute(
                "select u.upload_id from upload u join delivery d using (delivery_id)"
                " where d.destination_id = %s and d.state in ('pending', 'exception') and u.upload_id <> ''",
                (destination_id,),
            )
            return frozenset(row[0] for row in rows)


def _hold(conn: Connection, claim: Claim, operation: str) -> None:
    """The delivery's row is locked under this claim until the transaction ends."""
    row = conn.execute(
        "select from delivery where delivery_id = %s and lease_epoch = %s and lease_owner = %s"
        " and state = 'pending' for no key update",
        (claim.delivery_id, claim.epoch, claim.worker),
    ).fetchone()
    if row is None:
        raise lost(claim, operation)


def _part(row: DictRow) -> Part:
    return Part(
        number=row["number"],
        offset=row["byte_start"],
        size=row["byte_size"],
        crc64=crc_value(row["crc64"]),
        etag=row["etag"],
    )


def _member(claim: Claim, row: DictRow) -> Member:
    facts = InstanceFacts(
        study_uid=claim.study_uid,
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
        coerced=values_of(row["coerced"]),
        met=tuple(row["met"]),
        acted=tuple(row["acted"]),
        modality=row["modality"],
    )
    return Member(facts=facts, offset=row["byte_start"], length=row["byte_size"], lead=row["lead"])


_EARLIER = """
select can1 from instance
where study_key = %(study)s and revision < %(revision)s and sop_uid = %(sop_uid)s
union
select m.can1 from upload_member m join delivery d using (delivery_id)
where d.study_key = %(study)s and d.revision < %(revision)s and m.sop_uid = %(sop_uid)s
union
select m.can1 from volume_member m join delivery d using (delivery_id)
where d.study_key = %(study)s and d.revision < %(revision)s and m.sop_uid = %(sop_uid)s"""

_COPY_PARTS = "copy upload_part (delivery_id, number, byte_start, byte_size, crc64, etag) from stdin"

_COPY_MEMBERS = (
    "copy upload_member (delivery_id, byte_start, byte_size, lead, sop, sop_uid, series_uid, sop_class,"
    " transfer_syntax, raw_size, sto_size, raw1, sto1, pd1, can1, flags, coerced, met, acted, modality) from stdin"
)
