"""Storage Commitment: what services are asked to answer for, and their answers (PS3.4 annex J).

A transaction is recorded before it is asked for. Its report finds it by the Transaction UID alone, whichever process
hears it, on whichever association, however late; nothing is forgotten before the delivery is proven.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from imaging.uid import Uid
from storage.ledger.claims import lost
from storage.ledger.pool import Pool
from storage.ledger.records import ValidateClaim


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """One transaction."""

    transaction_uid: Uid
    asked_at: datetime
    answered_at: datetime | None
    closed_at: datetime | None
    """It is waited for no longer; a report that comes all the same is heard."""
    sop_uids: Sequence[Uid]
    committed: Sequence[Uid]
    failed: Mapping[str, int]
    """Failure Reason by SOP Instance UID."""


class Commitments:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def ask(self, claim: ValidateClaim, transaction_uid: Uid, sop_uids: Sequence[Uid]) -> None:
        """The transaction is known before anybody hears of it. Raises `LostClaim`."""
        with self._pool.transaction("ask commitment") as conn:
            asked = conn.execute(
                "insert into commitment (transaction_uid, delivery_id, sop_uids)"
                " select %s, delivery_id, %s from delivery"
                " where delivery_id = %s and lease_epoch = %s and lease_owner = %s for no key update",
                (transaction_uid, list(sop_uids), claim.delivery_id, claim.epoch, claim.worker),
            ).rowcount
        if asked != 1:
            raise lost(claim, "ask commitment")

    def of(self, claim: ValidateClaim) -> tuple[Commitment, ...]:
        """Every transaction of the delivery, the earliest first."""
        with self._pool.transaction("read commitments") as conn:
            rows = conn.cursor(row_factory=class_row(Commitment)).execute(
                "select transaction_uid, asked_at, answered_at, closed_at, sop_uids, committed, failed"
                " from commitment where delivery_id = %s order by asked_at, transaction_uid",
                (claim.delivery_id,),
            )
            return tuple(rows)

    def report(self, transaction_uid: Uid, committed: Sequence[Uid], failed: Mapping[str, int]) -> bool:
        """The service's answer is kept, and whoever waits for it is woken; False: nobody ever asked.

        The first answer counts. UIDs that were not asked for are left out.
        """
        with self._pool.transaction("keep commitment") as conn:
            row = conn.execute(
                "select delivery_id, sop_uids, answered_at is not null from commitment where transaction_uid = %s"
                " for no key update",
                (transaction_uid,),
            ).fetchone()
            if row is None:
                return False
            delivery_id, asked, answered = row
            if answered:
                return True
            known = set(asked)
            refused = {sop_uid: reason for sop_uid, reason in failed.items() if sop_uid in known}
            conn.execute(
                "update commitment set answered_at = limosa_now(), committed = %s, failed = %s"
                " where transaction_uid = %s",
                (sorted((known & set(committed)) - refused.keys()), Jsonb(refused), transaction_uid),
            )
            conn.execute(
                "update delivery set not_before = null where delivery_id = %s and lease_owner is null", (delivery_id,)
            )
        return True

    def close(self, claim: ValidateClaim) -> None:
        """The delivery's transactions are waited for no longer."""
        with self._pool.transaction("close commitments") as conn:
            conn.execute(
                "update commitment set closed_at = limosa_now() where delivery_id = %s and closed_at is null",
                (claim.delivery_id,),
            )
