"""The commits that move a delivery: each one transaction, guarded by the claim's epoch.

Order is always: bytes durable at the destination, then the row says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from imaging.facts import InstanceFacts
from imaging.roots import uid_set_root
from imaging.uid import Uid
from storage.errors import IntegrityError
from storage.ledger.claims import lost
from storage.ledger.coercion import (
    AS_IT_CAME,
    RulesInUse,
    done_to,
    done_to_staged,
    put_coercions,
    put_effect,
    staged,
)
from storage.ledger.custody import append
from storage.ledger.evidence import sop_key
from storage.ledger.exceptions import put_problem
from storage.ledger.facts import SharedSop, shared_sops
from storage.ledger.pool import Connection, Pool
from storage.ledger.receipts import put_receipt
from storage.ledger.records import Claim, CustodyNote, FeedClaim, Problem, PullClaim, ValidateClaim
from storage.ledger.volumes import LAST, catch_up, put_volume, staged_in_volumes
from storage.packs.model import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationCounts:
    """What a read-back found."""

    instances: int
    digests_compared: int
    """Instances whose STO1 (and PD1, where there are pixels) were compared."""
    mismatches: int
    missing: int
    surplus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectDigests:
    """Of one whole object as it was read back; 32 bytes each."""

    sha256: bytes
    blake3: bytes


class Commits:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def written(
        self,
        claim: PullClaim,
        *,
        expected_root: bytes,
        receipt: Receipt,
        note: CustodyNote,
        problems: Callable[[tuple[SharedSop, ...]], Sequence[Problem]] = lambda shared: (),
        facts: Sequence[InstanceFacts] | None = None,
        rules: RulesInUse = AS_IT_CAME,
    ) -> tuple[SharedSop, ...]:
        """The study's revision is complete and durable at the inline destination; the others may be fed from it.

        The instances are `facts`, or the members the journal holds when `facts` is None; `expected_root` is
        `imaging.roots.uid_set_root` of the instances the source says the study has; `rules` are those they were written
        under. Returned are the SOP Instance
        UIDs that other studies hold too: noticed, not refused. What `problems` makes of them and of all else that was
        odd is opened in the same transaction, so that no warning is lost with the connection.

        Raises
        ------
        LostClaim
            Nothing was committed.
        IntegrityError
            The instances are not the expected set, or there are none; nothing was committed.
        """
        with self._pool.transaction("commit written") as conn:
            _move_to_written(conn, claim, "commit written")
            sop_uids = _insert_staged(conn, claim, receipt) if facts is None else _insert_facts(conn, claim, facts)
            if not sop_uids or uid_set_root(sop_uids) != expected_root:
                raise IntegrityError(
                    f"the {len(sop_uids)} instances are not the expected set",
                    operation="commit written",
                    place=f"delivery {claim.delivery_id}",
                )
            conn.execute(
                "insert into sop (sop, study_key) select unnest(%s::uuid[]), %s on conflict do nothing",
                (sorted(sop_key(uid) for uid in sop_uids), claim.study_key),
            )
            shared = shared_sops(conn, claim.study_key, sop_uids)
            _put_receipt(conn, claim, receipt, len(sop_uids))
            effect = put_effect(conn, rules, done_to_staged(conn, claim) if facts is None else done_to(facts))
            closed = conn.execute(
                _CLOSE_REVISION,
                {"study": claim.study_key, "revision": claim.revision, "root": expected_root, "effect": effect},
            ).rowcount
            if closed != 1:
                raise lost(claim, "commit written")
            conn.execute(
                "update delivery set ready = true where study_key = %s and revision = %s and not ready",
                (claim.study_key, claim.revision),
            )
            for problem in problems(shared):
                put_problem(conn, problem, study_key=claim.study_key, delivery_id=None, destination_id=None)
            put_coercions(
                conn, claim, staged(conn, claim) if facts is None else {one.sop_uid: one.coerced for one in facts}
            )
            _forget_upload(conn, claim)
            _note(conn, claim, note)
        return shared

    def fed(self, claim: FeedClaim, *, receipt: Receipt, note: CustodyNote) -> None:
        """The study is durable at another destination. Raises `LostClaim`."""
        with self._pool.transaction("commit fed") as conn:
            _move_to_written(conn, claim, "commit fed")
            _put_receipt(conn, claim, receipt, claim.instances)
            _forget_upload(conn, claim)
            _note(conn, claim, note)

    def validated(
        self,
        claim: ValidateClaim,
        *,
        instances: int,
        digests_compared: int,
        note: CustodyNote,
        whole: ObjectDigests | None = None,
    ) -> None:
        """The delivery is proven: a read-back of all its instances found nothing. `whole` is of its object, where it
        is one.

        Raises
        ------
        LostClaim
            Nothing was committed.
        IntegrityError
            Fewer or more instances were read back or compared than were written; nothing was committed.
        """
        if instances != claim.instances or digests_compared < claim.instances:
            raise IntegrityError("the read-back proves nothing", operation="commit validated")
        counts = ValidationCounts(
            instances=instances, digests_compared=digests_compared, mismatches=0, missing=0, surplus=0
        )
        self._prove(claim, counts, "digests", note, whole)

    def committed(self, claim: ValidateClaim, *, instances: int, note: CustodyNote) -> None:
        """The delivery is proven as far as its service lets it be: it lists every instance and has committed itself to
        each (PS3.4 annex J). Raises as `validated`."""
        if instances != claim.instances:
            raise IntegrityError("the commitment proves nothing", operation="commit committed")
        counts = ValidationCounts(instances=instances, digests_compared=0, mismatches=0, missing=0, surplus=0)
        self._prove(claim, counts, "commitment", note)

    def _prove(
        self,
        claim: ValidateClaim,
        counts: ValidationCounts,
        proof: str,
        note: CustodyNote,
        whole: ObjectDigests | None = None,
    ) -> None:
        with self._pool.transaction("commit validated") as conn:
            moved = conn.execute(
                "update delivery set state = 'validated', validated_at = limosa_now(), attempts = 0,"
                " lease_owner = null, lease_until = null, lease_kind = null, reason = null"
                " where delivery_id = %s and lease_epoch = %s and lease_owner = %s and lease_kind = 'validate'"
                " and state in ('written', 'arrived')",
                (claim.delivery_id, claim.epoch, claim.worker),
            ).rowcount
            if moved != 1:
                raise lost(claim, "commit validated")
            _put_validation(conn, claim, counts, proof, whole)
            conn.execute("delete from commitment where delivery_id = %s", (claim.delivery_id,))
            _note(conn, claim, note)

    def fail(self, claim: Claim, problem: Problem, *, counts: ValidationCounts | None = None) -> int:
        """The delivery needs a person; the exception's id. What was staged stays, so a retry resumes.

        `counts` records the read-back that failed. Raises `LostClaim`.
        """
        if not problem.blocking:
            raise ValueError("a delivery is stopped only by a blocking problem")
        with self._pool.transaction("commit failure") as conn:
            moved = conn.execute(
                "update delivery set held_state = state, state = 'exception',"
                " lease_owner = null, lease_until = null, lease_kind = null, reason = %s"
                " where delivery_id = %s and lease_epoch = %s and lease_owner = %s"
                " and state in ('pending', 'written', 'arrived')",
                (problem.kind, claim.delivery_id, claim.epoch, claim.worker),
            ).rowcount
            if moved != 1:
                raise lost(claim, "commit failure")
            if counts is not None:
                _put_validation(conn, claim, counts)
            exception_id = put_problem(
                conn,
                problem,
                study_key=claim.study_key,
                delivery_id=claim.delivery_id,
                destination_id=claim.destination_id,
            )
            _note(conn, claim, CustodyNote(event="exception", payload={"kind": problem.kind}))
        return exception_id

    def empty_confirmed(self, claim: PullClaim) -> None:
        """The archive lists the study and holds no instance of it; there is nothing to deliver. Raises `LostClaim`."""
        with self._pool.transaction("commit empty") as conn:
            conn.execute("select from study where study_key = %s for no key update", (claim.study_key,))
            held = conn.execute(
                "select from delivery where delivery_id = %s and lease_epoch = %s and lease_owner = %s"
                " and state = 'pending' for no key update",
                (claim.delivery_id, claim.epoch, claim.worker),
            ).rowcount
            if held != 1:
                raise lost(claim, "commit empty")
            moved = conn.execute(
                "update study set state = 'empty_confirmed' where study_key = %s and state = 'planned'",
                (claim.study_key,),
            ).rowcount
            if moved != 1:
                raise lost(claim, "commit empty")
            conn.execute(
                "update delivery set state = 'void', reason = 'empty at the source', not_before = null,"
                " lease_owner = null, lease_until = null, lease_kind = null"
                " where study_key = %s and revision = %s and state = 'pending'",
                (claim.study_key, claim.revision),
            )
            _forget_upload(conn, claim)
            _note(conn, claim, CustodyNote(event="empty_confirmed", payload={"revision": claim.revision}))


def _move_to_written(conn: Connection, claim: PullClaim | FeedClaim, operation: str) -> None:
    moved = conn.execute(
        "update delivery set state = 'written', written_at = limosa_now(), attempts = 0,"
        " lease_owner = null, lease_until = null, lease_kind = null, reason = null"
        " where delivery_id = %s and lease_epoch = %s and lease_owner = %s and state = 'pending' and pulled = %s",
        (claim.delivery_id, claim.epoch, claim.worker, isinstance(claim, PullClaim)),
    ).rowcount
    if moved != 1:
        raise lost(claim, operation)


def _put_receipt(conn: Connection, claim: Claim, receipt: Receipt, instances: int) -> None:
    put_receipt(conn, claim.delivery_id, receipt, instances)
    if receipt.volumes:
        put_volume(conn, claim.delivery_id, receipt.volumes[-1], LAST, "")
        catch_up(conn, claim.delivery_id)


def _insert_staged(conn: Connection, claim: Claim, receipt: Receipt) -> list[Uid]:
    values = {"revision": claim.revision, "delivery": claim.delivery_id, "study": claim.study_key}
    rows = conn.execute(_INSERT_STAGED, values).fetchall()
    earlier = staged_in_volumes(conn, values) if receipt.volumes else ()
    return [*(row[0] for row in rows), *earlier]


def _insert_facts(conn: Connection, claim: Claim, facts: Sequence[InstanceFacts]) -> list[Uid]:
    sop_uids = [one.sop_uid for one in facts]
    if len(set(sop_uids)) != len(sop_uids):
        raise IntegrityError("an instance occurs twice", operation="commit written")
    if any(one.study_uid != claim.study_uid for one in facts):
        raise IntegrityError("an instance belongs to another study", operation="commit written")
    with conn.cursor().copy(_COPY_INSTANCES) as copy:
        for one in sorted(facts, key=lambda one: one.sop_uid):
            copy.write_row(
                (
                    claim.study_key,
                    claim.revision,
                    one.sop_uid,
                    one.series_uid,
                    one.sop_class,
                    one.transfer_syntax,
                    one.raw_size,
                    one.sto_size,
                    one.raw1,
                    one.sto1,
                    one.pd1,
                    one.can1,
                    list(one.flags),
                )
            )
    return sop_uids


def _put_validation(
    conn: Connection,
    claim: Claim,
    counts: ValidationCounts,
    proof: str = "digests",
    whole: ObjectDigests | None = None,
) -> None:
    conn.execute(
        "insert into validation (delivery_id, instances, digests_compared, mismatches, missing, surplus, proof,"
        " object_sha256, object_blake3) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            claim.delivery_id,
            counts.instances,
            counts.digests_compared,
            counts.mismatches,
            counts.missing,
            counts.surplus,
            proof,
            whole and whole.sha256,
            whole and whole.blake3,
        ),
    )


def _forget_upload(conn: Connection, claim: Claim) -> None:
    conn.execute("delete from upload where delivery_id = %s", (claim.delivery_id,))


def _note(conn: Connection, claim: Claim, note: CustodyNote) -> None:
    append(conn, study_key=claim.study_key, study_uid=claim.study_uid, actor=claim.worker, note=note)


# In order of the UID, so that two commits enter a partition's index in the same order.
_INSERT_STAGED = """
insert into instance (study_key, revision, sop_uid, series_uid, sop_class, transfer_syntax, raw_size, sto_size,
  raw1, sto1, pd1, can1, flags)
select %(study)s, %(revision)s, sop_uid, series_uid, sop_class, transfer_syntax, raw_size, sto_size,
  raw1, sto1, pd1, can1, flags
from upload_member where delivery_id = %(delivery)s order by sop_uid
returning sop_uid"""

_COPY_INSTANCES = (
    "copy instance (study_key, revision, sop_uid, series_uid, sop_class, transfer_syntax, raw_size, sto_size,"
    " raw1, sto1, pd1, can1, flags) from stdin"
)

_CLOSE_REVISION = """
update study_revision r set written_at = limosa_now(), expected_root = %(root)s, effect_id = %(effect)s,
  instances = t.instances, raw_bytes = t.raw_bytes, sto_bytes = t.sto_bytes
from (select count(*) as instances, coalesce(sum(raw_size), 0)::bigint as raw_bytes,
        coalesce(sum(sto_size), 0)::bigint as sto_bytes
      from instance where study_key = %(study)s and revision = %(revision)s) t
where r.study_key = %(study)s and r.revision = %(revision)s and r.written_at is null"""
