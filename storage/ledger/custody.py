"""The append-only, hash-chained record of what happened to each study."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from imaging.uid import Uid
from storage.ledger.evidence import CHAIN_START, first_broken_link, link_hash
from storage.ledger.pool import Connection, Pool
from storage.ledger.records import CustodyEntry, CustodyNote, Json

_LOCKS = 0xC057
"""First key of the advisory locks that keep two commits from adding the same link."""


TELLS_OF_WRITING = ("written", "fed")
"""Events of the links that a delivery's receipt is committed with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One study's links, first to last, beside what the ledger has of it elsewhere."""

    study_uid: Uid
    entries: tuple[CustodyEntry, ...]
    receipts: int
    """Deliveries that a destination acknowledged: each was committed with a link."""

    def broken(self) -> tuple[int, str] | None:
        """Number of the first link that does not hold, and what is wrong with it; None when all do.

        Links cut off at the end leave a chain that is whole in itself; receipts without a link betray most of that,
        an earlier `ChainHead` kept elsewhere all of it.
        """
        if (seq := first_broken_link(self.study_uid, self.entries)) is not None:
            return seq, "its hash is not that of its content and of the link before"
        told = sum(entry.event in TELLS_OF_WRITING for entry in self.entries)
        if told < self.receipts:
            return len(self.entries) + 1, f"absent: {self.receipts} receipts, {told} links that tell of them"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainHead:
    """The last link of one study's chain: what a signed checkpoint covers."""

    study_uid: Uid
    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """A row of the table."""

    study_key: int
    seq: int
    at: datetime
    event: str
    actor: str
    payload: Json
    prev_hash: bytes
    hash: bytes

    def entry(self) -> CustodyEntry:
        return CustodyEntry(
            seq=self.seq,
            at=self.at,
            event=self.event,
            actor=self.actor,
            payload=self.payload,
            prev_hash=self.prev_hash,
            hash=self.hash,
        )


def append(conn: Connection, *, study_key: int, study_uid: Uid, actor: str, note: CustodyNote) -> None:
    """The study's chain is one link longer, within the caller's transaction.

    Two destinations of one study may commit at the same moment; the second waits here for the first.
    """
    conn.execute("select pg_advisory_xact_lock(%s, hashint8(%s))", (_LOCKS, study_key))
    row = conn.execute(
        "select limosa_now(), c.seq, c.hash from (select) as once"
        " left join lateral (select seq, hash from custody where study_key = %s order by seq desc limit 1) c on true",
        (study_key,),
    ).fetchone()
    assert row is not None  # a left join from one row
    at, last_seq, last_hash = row
    seq, prev = (1, CHAIN_START) if last_seq is None else (last_seq + 1, bytes(last_hash))
    digest = link_hash(
        study_uid=study_uid, seq=seq, at=at, event=note.event, actor=actor, payload=note.payload, prev=prev
    )
    conn.execute(
        "insert into custody (study_key, seq, at, event, actor, payload, prev_hash, hash)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s)",
        (study_key, seq, at, note.event, actor, Jsonb(note.payload), prev, digest),
    )


class Custody:
    """Reads chains, and adds links that belong to no other commit."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def record(self, study_uid: Uid, actor: str, note: CustodyNote) -> None:
        """The study's chain ends with `note`. Raises `LookupError` for a study the ledger does not know."""
        with self._pool.transaction("record custody") as conn:
            row = conn.execute("select study_key from study where study_uid = %s", (study_uid,)).fetchone()
            if row is None:
                raise LookupError("the ledger does not know this study")
            append(conn, study_key=row[0], study_uid=study_uid, actor=actor, note=note)

    def chain(self, study_uid: Uid) -> tuple[CustodyEntry, ...]:
        """Every link of the study's chain, first to last."""
        with self._pool.transaction("read custody") as conn:
            rows = conn.cursor(row_factory=class_row(CustodyEntry)).execute(
                "select c.seq, c.at, c.event, c.actor, c.payload, c.prev_hash, c.hash"
                " from custody c join study s using (study_key) where s.study_uid = %s order by c.seq",
                (study_uid,),
            )
            return tuple(rows)

    def chains(self, *, only: Uid | None = None, after: Uid | None = None, limit: int = 1_000) -> tuple[Chain, ...]:
        """The chains of up to `limit` studies whose UID sorts after `after`, or `only` that study's; a study without a
        link has an empty one."""
        with self._pool.transaction("read chains") as conn:
            studies = conn.execute(_CHAINED, {"only": only, "after": after or "", "limit": limit}).fetchall()
            links = conn.cursor(row_factory=class_row(_Link)).execute(
                "select study_key, seq, at, event, actor, payload, prev_hash, hash from custody"
                " where study_key = any(%s) order by study_key, seq",
                ([key for key, _, _ in studies],),
            )
            held: dict[int, list[CustodyEntry]] = {}
            for link in links:
                held.setdefault(link.study_key, []).append(link.entry())
        return tuple(
            Chain(study_uid=uid, entries=tuple(held.get(key, ())), receipts=receipts) for key, uid, receipts in studies
        )

    def heads(self, *, after: Uid | None = None, limit: int = 10_000) -> tuple[ChainHead, ...]:
        """The last link of up to `limit` studies whose UID sorts after `after`: pages of a checkpoint."""
        with self._pool.transaction("read custody heads") as conn:
            rows = conn.cursor(row_factory=class_row(ChainHead)).execute(
                "select s.study_uid, c.seq, c.hash from study s"
                " cross join lateral (select seq, hash from custody where study_key = s.study_key"
                "                     order by seq desc limit 1) c"
                " where s.study_uid > %s order by s.study_uid limit %s",
                (after or "", limit),
            )
            return tuple(rows)


_CHAINED = """
select s.study_key, s.study_uid,
  (select count(*) from delivery d join receipt r using (delivery_id) where d.study_key = s.study_key) as receipts
from study s
where s.study_uid > %(after)s and (%(only)s::text is null or s.study_uid = %(only)s)
order by s.study_uid limit %(limit)s"""
