"""What is known for certain about instances, read back."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import DictRow, class_row, dict_row

from imaging.facts import InstanceFacts
from imaging.uid import Uid
from storage.ledger.evidence import sop_key
from storage.ledger.pool import Connection, Pool


@dataclass(frozen=True, slots=True, kw_only=True)
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
    rows = conn.execute(
        "select p.sop, s.study_uid from sop p join study s using (study_key)"
        " where p.sop = any(%s) and p.study_key <> %s order by p.sop, s.study_uid",
        (list(by_key), study_key),
    )
    return tuple(SharedSop(sop_uid=by_key[row[0]], other_study=row[1]) for row in rows)


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


_ARRIVAL = """
select s.study_key,
  exists (select from delivery d where d.study_key = s.study_key and d.revision = s.revision
          and d.pulled and d.state = 'pending') as pending,
  (select i.raw1 from instance i where i.study_key = s.study_key and i.sop_uid = %(sop)s
   order by i.revision desc limit 1) as raw1
from study s where s.study_uid = %(study)s"""
