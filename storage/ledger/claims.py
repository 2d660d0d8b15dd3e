"""Leases on deliveries: how work is handed out, kept, given back and recovered."""

from collections.abc import Collection, Sequence
from dataclasses import fields
from datetime import timedelta
from typing import LiteralString

from psycopg.rows import DictRow, class_row, dict_row

from imaging.uid import Uid
from storage.errors import LostClaim
from storage.ledger.pool import Connection, Pool
from storage.ledger.receipts import receipt_of
from storage.ledger.records import Claim, FeedClaim, PullClaim, ValidateClaim

DUE_BATCH = 100
"""Waiting rows put back into the queue by one claim: more than one claim can use, few enough to stay cheap."""

RECOVER_BATCH = 1_000
REASON_LENGTH = 200


class Claims:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def pull(
        self, worker: str, source_id: int, lease: timedelta, *, only: Sequence[int] | None = None
    ) -> PullClaim | None:
        """The most urgent study of the source is this worker's for `lease`; None when there is none to have.

        None also while the job is paused, source or inline destination is stopped, or as many studies of the source
        are held as its throttle allows. `only` restricts to these study keys.
        """
        with self._pool.transaction("claim pull") as conn:
            # The source's row makes claimers of one source take turns: otherwise two of them would both see
            # one place left and both take it.
            row = conn.execute(
                "select allowed, (select paused from control),"
                " stopped is null and exists (select from destination where inline and state = 'open')"
                " from source where source_id = %s for no key update",
                (source_id,),
            ).fetchone()
            if row is None:
                raise LookupError(f"no source {source_id}")
            allowed, paused, is_open = row
            if paused or not is_open:
                return None
            conn.execute(_DUE, {"limit": DUE_BATCH})
            cursor = conn.cursor(row_factory=class_row(PullClaim))
            values = {"worker": worker, "source": source_id, "lease": lease, "allowed": int(allowed)}
            if only is None:
                return cursor.execute(_PULL, values).fetchone()
            return cursor.execute(_PULL_ONLY, values | {"only": list(only)}).fetchone()

    def next_studies(self, source_id: int, limit: int) -> tuple[int, ...]:
        """The keys of the studies that would be claimed next: what `--limit` passes to `pull` as `only`."""
        with self._pool.transaction("next studies") as conn:
            rows = conn.execute(
                "select study_key from delivery where source_id = %s and state = 'pending' and pulled"
                " and lease_owner is null and not_before is null order by priority, delivery_id limit %s",
                (source_id, limit),
            )
            return tuple(row[0] for row in rows)

    def feed(
        self, worker: str, destination_ids: Sequence[int], lease: timedelta, *, last: Collection[str] = ()
    ) -> FeedClaim | None:
        """The most urgent study to be fed to one of the destinations, tried in the order given; what lies on a device
        among `last` only when there is nothing else."""
        with self._pool.transaction("claim feed") as conn:
            for statement in (_FEED_FROM_OTHERS, _FEED) if last else (_FEED,):
                for destination_id in _open_for_work(conn, destination_ids):
                    values = {"worker": worker, "destination": destination_id, "lease": lease, "last": list(last)}
                    row = conn.cursor(row_factory=dict_row).execute(statement, values).fetchone()
                    if row is not None:
                        return FeedClaim(**_claim_part(FeedClaim, row), receipt=receipt_of(row))
        return None

    def validate(
        self, worker: str, destination_ids: Sequence[int], lease: timedelta, *, last: Collection[str] = ()
    ) -> ValidateClaim | None:
        """The most urgent delivery to be read back at one of the destinations, tried in the order given; what lies on
        a device among `last` only when there is nothing else."""
        with self._pool.transaction("claim validation") as conn:
            for statement in (_VALIDATE_ON_OTHERS, _VALIDATE) if last else (_VALIDATE,):
                for destination_id in _ready_to_read(conn, destination_ids):
                    values = {"worker": worker, "destination": destination_id, "lease": lease, "last": list(last)}
                    row = conn.cursor(row_factory=dict_row).execute(statement, values).fetchone()
                    if row is not None:
                        return ValidateClaim(**_claim_part(ValidateClaim, row), receipt=receipt_of(row))
        return None

    def holder(self, study_uid: Uid) -> str | None:
        """The worker that pulls the study now; None when nobody does."""
        with self._pool.transaction("find holder") as conn:
            row = conn.execute(
                "select d.lease_owner from study s join delivery d using (study_key)"
                " where s.study_uid = %s and d.revision = s.revision and d.lease_kind = 'pull'",
                (study_uid,),
            ).fetchone()
        return None if row is None else row[0]

    def renew(self, worker: str, claims: Sequence[Claim], lease: timedelta) -> tuple[Claim, ...]:
        """The claims last for another `lease` from now; those that were lost are returned."""
        with self._pool.transaction("renew claims") as conn:
            rows = conn.execute(
                "update delivery d set lease_until = limosa_now() + %s"
                " from unnest(%s::bigint[], %s::integer[]) as held (delivery_id, epoch)"
                " where d.delivery_id = held.delivery_id and d.lease_epoch = held.epoch and d.lease_owner = %s"
                " returning d.delivery_id",
                (lease, [claim.delivery_id for claim in claims], [claim.epoch for claim in claims], worker),
            )
            kept = {row[0] for row in rows}
        return tuple(claim for claim in claims if claim.delivery_id not in kept)

    def release(self, claim: Claim, *, delay: timedelta, reason: str, spent: bool) -> None:
        """The delivery rests for `delay` and is claimable again. Raises `LostClaim`.

        `spent` says whether the attempt counts: not when the fault was nobody's, or not the study's. `reason` is
        kept for people (200 characters) and must hold nothing from a dataset.
        """
        with self._pool.transaction("release claim") as conn:
            released = conn.execute(
                "update delivery set lease_owner = null, lease_until = null, lease_kind = null, reason = %(reason)s,"
                " not_before = case when %(delay)s > interval '0' then limosa_now() + %(delay)s end,"
                " attempts = attempts - %(back)s"
                " where delivery_id = %(id)s and lease_epoch = %(epoch)s and lease_owner = %(worker)s",
                {
                    "reason": reason[:REASON_LENGTH],
                    "delay": delay,
                    "back": 0 if spent else 1,
                    "id": claim.delivery_id,
                    "epoch": claim.epoch,
                    "worker": claim.worker,
                },
            ).rowcount
        if released != 1:
            raise lost(claim, "release")

    def recover(self) -> int:
        """Expired leases are back in the pool; how many. Any process may call this at any time."""
        with self._pool.transaction("recover leases") as conn:
            return conn.execute(_RECOVER, {"limit": RECOVER_BATCH}).rowcount

    def recover_worker(self, worker: str) -> int:
        """All leases of a worker that was started anew are back in the pool; how many."""
        with self._pool.transaction("recover worker") as conn:
            return conn.execute(
                "update delivery set lease_owner = null, lease_until = null, lease_kind = null,"
                " reason = 'worker restarted' where lease_owner = %s",
                (worker,),
            ).rowcount


def lost(claim: Claim, operation: str) -> LostClaim:
    """The error for a statement that matched nothing: the row has another epoch, owner or state by now."""
    return LostClaim(
        "another worker or decision has it now", operation=operation, place=f"delivery {claim.delivery_id}"
    )


def _claim_part(kind: type[Claim], row: DictRow) -> DictRow:
    return {field.name: row[field.name] for field in fields(kind) if field.name != "receipt"}


def _open_for_work(conn: Connection, destination_ids: Sequence[int]) -> list[int]:
    """The destinations that may be written to now, in the order given; overdue rows are back in the queue."""
    conn.execute(_DUE, {"limit": DUE_BATCH})
    rows = conn.execute(
        "select destination_id from destination where destination_id = any(%s) and state = 'open'"
        " and not (select paused from control)",
        (list(destination_ids),),
    )
    found = {row[0] for row in rows}
    return [destination_id for destination_id in destination_ids if destination_id in found]


def _ready_to_read(conn: Connection, destination_ids: Sequence[int]) -> list[int]:
    """As `_open_for_work`; a full destination can still be read."""
    conn.execute(_DUE, {"limit": DUE_BATCH})
    rows = conn.execute(
        "select destination_id from destination where destination_id = any(%s) and state in ('open', 'full')"
        " and not (select paused from control)",
        (list(destination_ids),),
    )
    found = {row[0] for row in rows}
    return [destination_id for destination_id in destination_ids if destination_id in found]


# A rest that is over ends here and not in the claim's WHERE: thousands of resting rows at the head of the queue would
# otherwise be stepped over by every claim.
_DUE = """
update delivery d set not_before = null
from (select delivery_id from delivery where not_before <= limosa_now()
      order by not_before limit %(limit)s for update skip locked) due
where d.delivery_id = due.delivery_id"""

_PULL = """
with next as materialized (
  select delivery_id from delivery
  where source_id = %(source)s and state = 'pending' and pulled and lease_owner is null and not_before is null
    and (select count(*) from delivery where source_id = %(source)s and lease_kind = 'pull'
         and lease_until > limosa_now()) < %(allowed)s
  order by priority, delivery_id limit 1 for update skip locked)
update delivery d set lease_owner = %(worker)s, lease_kind = 'pull', lease_until = limosa_now() + %(lease)s,
  lease_epoch = d.lease_epoch + 1, attempts = d.attempts + 1
from next n, study s, study_revision r, destination x
where d.delivery_id = n.delivery_id and x.destination_id = d.destination_id and s.study_key = d.study_key
  and r.study_key = d.study_key and r.revision = d.revision
returning d.delivery_id, d.study_key, s.study_uid, d.revision, d.source_id, d.destination_id, x.name as destination,
  d.lease_owner as worker, d.lease_epoch as epoch, d.attempts, d.priority, s.instance_count, s.modalities,
  r.planned_at, r.plan"""

_PULL_ONLY = """
with next as materialized (
  select delivery_id from delivery
  where study_key = any(%(only)s) and source_id = %(source)s
    and state = 'pending' and pulled and lease_owner is null and not_before is null
    and (select count(*) from delivery where source_id = %(source)s and lease_kind = 'pull'
         and lease_until > limosa_now()) < %(allowed)s
  order by priority, delivery_id limit 1 for update skip locked)
update delivery d set lease_owner = %(worker)s, lease_kind = 'pull', lease_until = limosa_now() + %(lease)s,
  lease_epoch = d.lease_epoch + 1, attempts = d.attempts + 1
from next n, study s, study_revision r, destination x
where d.delivery_id = n.delivery_id and x.destination_id = d.destination_id and s.study_key = d.study_key
  and r.study_key = d.study_key and r.revision = d.revision
returning d.delivery_id, d.study_key, s.study_uid, d.revision, d.source_id, d.destination_id, x.name as destination,
  d.lease_owner as worker, d.lease_epoch as epoch, d.attempts, d.priority, s.instance_count, s.modalities,
  r.planned_at, r.plan"""

_FEED = """
with next as materialized (
  select delivery_id from delivery
  where destination_id = %(destination)s and state = 'pending' and not pulled and ready
    and lease_owner is null and not_before is null
  order by priority, delivery_id limit 1 for update skip locked)
update delivery d set lease_owner = %(worker)s, lease_kind = 'feed', lease_until = limosa_now() + %(lease)s,
  lease_epoch = d.lease_epoch + 1, attempts = d.attempts + 1
from next n, study s, destination x, delivery i, destination y, receipt r
where d.delivery_id = n.delivery_id and s.study_key = d.study_key and x.destination_id = d.destination_id
  and i.study_key = d.study_key and i.revision = d.revision and i.pulled and r.delivery_id = i.delivery_id
  and y.destination_id = i.destination_id
returning d.delivery_id, d.study_key, s.study_uid, d.revision, d.source_id, d.destination_id, x.name as destination,
  d.lease_owner as worker, d.lease_epoch as epoch, d.attempts, d.priority, y.name as inline_destination,
  r.instances, r.key, r.container, r.size, r.crc64, r.etag, r.version_id, r.device,
  volumes_of(r.delivery_id) as volumes"""

# What has arrived elsewhere cannot be read from here: it is proven by whoever received it.
_VALIDATE = """
with next as materialized (
  select delivery_id from delivery
  where destination_id = %(destination)s and state = 'written'
    and lease_owner is null and not_before is null
  order by priority, delivery_id limit 1 for update skip locked)
update delivery d set lease_owner = %(worker)s, lease_kind = 'validate', lease_until = limosa_now() + %(lease)s,
  lease_epoch = d.lease_epoch + 1, attempts = d.attempts + 1
from next n, study s, destination x, receipt r
where d.delivery_id = n.delivery_id and s.study_key = d.study_key and x.destination_id = d.destination_id
  and r.delivery_id = d.delivery_id
returning d.delivery_id, d.study_key, s.study_uid, d.revision, d.source_id, d.destination_id, x.name as destination,
  d.lease_owner as worker, d.lease_epoch as epoch, d.attempts, d.priority,
  r.instances, r.key, r.container, r.size, r.crc64, r.etag, r.version_id, r.device,
  volumes_of(r.delivery_id) as volumes"""

_UNCLAIMED: LiteralString = "and lease_owner is null and not_before is null\n"
_NOT_FED_FROM: LiteralString = """    and not exists (select from delivery i join receipt r using (delivery_id)
      where i.study_key = delivery.study_key and i.revision = delivery.revision and i.pulled
        and (r.device = any(%(last)s)
          or exists (select from volume v where v.delivery_id = r.delivery_id and v.device = any(%(last)s))))
"""
_NOT_READ_FROM: LiteralString = """    and not exists (select from receipt r where r.delivery_id = delivery.delivery_id
      and (r.device = any(%(last)s)
        or exists (select from volume v where v.delivery_id = r.delivery_id and v.device = any(%(last)s))))
"""
_FEED_FROM_OTHERS = _FEED.replace(_UNCLAIMED, _UNCLAIMED + _NOT_FED_FROM)
_VALIDATE_ON_OTHERS = _VALIDATE.replace(_UNCLAIMED, _UNCLAIMED + _NOT_READ_FROM)

_RECOVER = """
update delivery d set lease_owner = null, lease_until = null, lease_kind = null, reason = 'lease expired'
from (select delivery_id from delivery where lease_owner is not null and lease_until <= limosa_now()
      order by lease_until limit %(limit)s for update skip locked) expired
where d.delivery_id = expired.delivery_id"""
