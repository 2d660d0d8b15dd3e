"""What needs a person: opened once, counted when seen again, resolved by a decision that puts work back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from imaging.uid import Uid
from storage.ledger.custody import append
from storage.ledger.lifecycle import DeliveryState, StudyState
from storage.ledger.pool import Connection, Pool, beside_a_run
from storage.ledger.records import CustodyNote, Json, OpenProblem, Problem, Severity
from storage.ledger.resolving import Resolution, carry_out, resolve

SETTLED = "settled"
"""The resolution of what nobody had to resolve: its cause is gone."""
REOPENED_WITHIN = timedelta(days=30)
"""What was settled longer ago and comes back is a new exception of its own."""
EARLIER_KEPT = 100
"""Differing evidence kept of an exception that is met again and again: enough to work through by hand, and a row
that a sender of nonsense cannot grow without end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """An exception with what the ledger says of its study today."""

    exception_id: int
    kind: str
    closed: bool
    """It was closed because its cause was gone, and nothing of its kind is open."""
    study_key: int | None
    study_uid: Uid | None
    study_state: StudyState | None
    revision: int
    """The study's current one; 0 where it concerns none."""
    sop_uid: Uid | None
    destination: str | None
    evidence: Json
    later_state: DeliveryState | None
    """Of the current revision at the exception's destination, where the exception is of an earlier revision."""


class Exceptions:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @beside_a_run
    def open(self, problem: Problem, *, study_key: int | None = None, destination_id: int | None = None) -> int:
        """The problem is on the list; its id. Seen again while open, its row counts and has the latest evidence,
        with what it replaced under `earlier`, up to `EARLIER_KEPT`.

        A blocking problem of a study stops the study, of a study at a destination that delivery; whoever holds it
        loses the claim. What was written already stays written.
        """
        with self._pool.transaction("open exception") as conn:
            if study_key is not None:
                conn.execute("select from study where study_key = %s for no key update", (study_key,))
            delivery_id = None
            if study_key is not None and destination_id is not None:
                row = conn.execute(_DELIVERY, {"study": study_key, "destination": destination_id}).fetchone()
                delivery_id = None if row is None else row[0]
            if problem.blocking and delivery_id is not None:
                conn.execute(_STOP_DELIVERY, {"delivery": delivery_id})
            elif problem.blocking and study_key is not None:
                stop_studies(conn, [study_key])
            return put_problem(
                conn, problem, study_key=study_key, delivery_id=delivery_id, destination_id=destination_id
            )

    @beside_a_run
    def open_late(self, problem: Problem, *, study_key: int) -> int:
        """An instance of the study came after it was delivered: the problem is on the list, and the study's next plan
        makes a new revision, both or neither. The problem must not block, or there would be no next plan."""
        if problem.blocking:
            raise ValueError("what blocks is not planned anew")
        with self._pool.transaction("open late") as conn:
            conn.execute(
                "update study set recount = true, corrected = false where study_key = %s and state <> 'discovered'",
                (study_key,),
            )
            return put_problem(conn, problem, study_key=study_key, delivery_id=None, destination_id=None)

    @beside_a_run
    def resolve(self, exception_id: int, resolution: Resolution, *, by: str) -> None:
        """The exception is closed and `resolution` is carried out; `by` goes into the custody chain.

        What another open blocking exception still stops stays stopped. What is accepted or acknowledged is the
        proposal that the row was opened for, and no other.

        Raises
        ------
        LookupError
            No open exception has this id.
        Superseded
            The plan proposes something else today.
        PlanUnderWay
            A plan is being made, and was not done after `PLAN_PATIENCE`.
        ValueError
            The resolution does not fit: acknowledging what blocks, renewing what concerns no study, accepting what no
            plan proposed.
        """
        with self._pool.transaction("resolve exception") as conn:
            resolve(conn, exception_id, resolution, by=by)

    def causes(self, closer: str, *, after: int = 0, limit: int = 1_000) -> tuple[Cause, ...]:
        """Open exceptions, and those that `closer` has settled within `REOPENED_WITHIN`, in order of their ids."""
        values = {"closer": closer, "after": after, "limit": limit, "within": REOPENED_WITHIN, "settled": SETTLED}
        with self._pool.transaction("read causes") as conn:
            return tuple(conn.cursor(row_factory=class_row(Cause)).execute(_CAUSES, values))

    @beside_a_run
    def settle(self, exception_id: int, *, by: str) -> bool:
        """The exception is closed, since its cause is gone, and what it alone had stopped goes on; False: it was
        closed already."""
        with self._pool.transaction("settle exception") as conn:
            row = conn.execute(
                "update exception e set resolved_at = limosa_now(), resolved_by = %s, resolution = %s"
                " where exception_id = %s and resolved_at is null returning kind, study_key, delivery_id, blocking",
                (by, SETTLED, exception_id),
            ).fetchone()
            if row is None:
                return False
            kind, study_key, delivery_id, blocking = row
            if study_key is not None:
                if blocking:
                    carry_out(conn, Resolution.RETRY, study_key=study_key, delivery_id=delivery_id, corrected=False)
                _note(conn, "exception_resolved", study_key, by, {"kind": kind, "resolution": SETTLED})
        return True

    @beside_a_run
    def reopen(self, exception_id: int, *, by: str) -> bool:
        """A settled exception is open again, and one that blocks stops its study or delivery unless that is done;
        False: another of its kind is open."""
        with self._pool.transaction("reopen exception") as conn:
            row = conn.execute(_REOPEN, (exception_id,)).fetchone()
            if row is None:
                return False
            kind, study_key, delivery_id, blocking = row
            if study_key is not None:
                if blocking and delivery_id is not None:
                    conn.execute(_STOP_DELIVERY, {"delivery": delivery_id})
                elif blocking:
                    stop_studies(conn, [study_key])
                _note(conn, "exception_reopened", study_key, by, {"kind": kind})
        return True

    @beside_a_run
    def assign(self, exception_ids: Sequence[int], owner: str) -> tuple[int, ...]:
        """The open exceptions among these are `owner`'s to work through; which."""
        with self._pool.transaction("assign exceptions") as conn:
            rows = conn.execute(
                "update exception set owner = %s where exception_id = any(%s) and resolved_at is null"
                " returning exception_id",
                (owner, list(exception_ids)),
            ).fetchall()
        return tuple(sorted(row[0] for row in rows))

    def list_open(
        self, *, kind: str | None = None, owner: str | None = None, after: int = 0, limit: int = 1_000
    ) -> tuple[OpenProblem, ...]:
        """Open exceptions in order of their ids, those above `after`, of one kind and one owner if given."""
        with self._pool.transaction("list exceptions") as conn:
            rows = conn.cursor(row_factory=class_row(OpenProblem)).execute(
                "select e.exception_id, e.kind, e.severity, e.blocking, s.study_uid, e.sop_uid,"
                " x.name as destination, e.evidence, e.remedy, e.owner, e.first_seen, e.last_seen, e.times_seen,"
                " encode(e.proposal, 'hex') as proposal"
                " from exception e left join study s using (study_key) left join destination x using (destination_id)"
                " where e.resolved_at is null and (%(kind)s::text is null or e.kind = %(kind)s)"
                " and (%(owner)s::text is null or e.owner = %(owner)s)"
                " and e.exception_id > %(after)s order by e.exception_id limit %(limit)s",
                {"kind": kind, "owner": owner, "after": after, "limit": limit},
            )
            return tuple(rows)

    def counts(self, owner: str | None = None) -> dict[tuple[str, Severity], int]:
        """How many exceptions are open, by kind and severity; of one owner if given."""
        with self._pool.transaction("count exceptions") as conn:
            rows = conn.execute(
                "select kind, severity, count(*) from exception where resolved_at is null"
                " and (%(owner)s::text is null or owner = %(owner)s) group by kind, severity",
                {"owner": owner},
            )
            return {(kind, severity): count for kind, severity, count in rows}


def _note(conn: Connection, event: str, study_key: int, by: str, payload: Json) -> None:
    row = conn.execute("select study_uid from study where study_key = %s for no key update", (study_key,)).fetchone()
    assert row is not None  # an exception refers to it
    append(conn, study_key=study_key, study_uid=row[0], actor=by, note=CustodyNote(event=event, payload=payload))


def put_problem(
    conn: Connection, problem: Problem, *, study_key: int | None, delivery_id: int | None, destination_id: int | None
) -> int:
    """The problem's row exists or counts once more, within the caller's transaction; its id."""
    row = conn.execute(
        _PUT,
        (
            study_key,
            delivery_id,
            destination_id,
            problem.kind,
            problem.severity,
            problem.blocking,
            problem.sop_uid,
            problem.remedy,
            problem.owner,
            Jsonb(problem.evidence),
            EARLIER_KEPT,
        ),
    ).fetchone()
    assert row is not None  # an upsert without a condition returns its row
    return row[0]


def stop_studies(conn: Connection, study_keys: Sequence[int]) -> None:
    """The studies and their pending deliveries are in exception, within the caller's transaction."""
    keys = list(study_keys)
    conn.execute(
        "update study set state = 'exception' where study_key = any(%s) and state in ('discovered', 'planned')",
        (keys,),
    )
    conn.execute(
        "update delivery set held_state = state, state = 'exception', not_before = null,"
        " lease_owner = null, lease_until = null, lease_kind = null"
        " where study_key = any(%s) and state = 'pending'",
        (keys,),
    )


_CAUSES = """
select e.exception_id, e.kind, e.resolved_at is not null as closed, e.study_key, s.study_uid, s.state as study_state,
  coalesce(s.revision, 0) as revision, e.sop_uid, x.name as destination, e.evidence,
  case when d.revision < s.revision then n.state end as later_state
from exception e left join study s using (study_key) left join destination x using (destination_id)
left join delivery d on d.delivery_id = e.delivery_id
left join delivery n on n.study_key = e.study_key and n.revision = s.revision and n.destination_id = e.destination_id
where e.exception_id > %(after)s and (e.resolved_at is null or (
    e.resolved_by = %(closer)s and e.resolution = %(settled)s and e.resolved_at > limosa_now() - %(within)s::interval
    and not exists (
      select from exception o where o.kind = e.kind and o.study_key is not distinct from e.study_key
        and o.sop_uid is not distinct from e.sop_uid and o.destination_id is not distinct from e.destination_id
        and (o.resolved_at is null or o.exception_id > e.exception_id))))
order by e.exception_id limit %(limit)s"""

_REOPEN = """
update exception e set resolved_at = null, resolved_by = null, resolution = null, last_seen = limosa_now(),
  times_seen = times_seen + 1
where exception_id = %s and resolved_at is not null and not exists (
  select from exception o where o.kind = e.kind and o.resolved_at is null
    and o.study_key is not distinct from e.study_key and o.sop_uid is not distinct from e.sop_uid
    and o.destination_id is not distinct from e.destination_id)
returning kind, study_key, delivery_id, blocking"""

_PUT = """
insert into exception
  (study_key, delivery_id, destination_id, kind, severity, blocking, sop_uid, remedy, owner, evidence)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (kind, study_key, sop_uid, destination_id) where resolved_at is null do update set
  last_seen = limosa_now(), times_seen = exception.times_seen + 1,
  severity = greatest(exception.severity, excluded.severity),
  blocking = exception.blocking or excluded.blocking, delivery_id = excluded.delivery_id,
  evidence = excluded.evidence || coalesce((
    select jsonb_build_object('earlier', jsonb_agg(kept.told order by kept.place)) from (
      select was.told, min(was.place) as place from (
        select told, place from jsonb_array_elements(coalesce(exception.evidence -> 'earlier', '[]'))
          with ordinality as listed (told, place)
        union all
        select exception.evidence - 'earlier', 1 + jsonb_array_length(coalesce(exception.evidence -> 'earlier', '[]'))
      ) was where was.told <> excluded.evidence group by was.told order by 2 limit %s) kept
    having count(*) > 0), '{}')
returning exception_id"""

_DELIVERY = """
select d.delivery_id from delivery d join study s using (study_key)
where d.study_key = %(study)s and d.destination_id = %(destination)s and d.revision = s.revision"""

_STOP_DELIVERY = """
update delivery set held_state = state, state = 'exception', not_before = null,
  lease_owner = null, lease_until = null, lease_kind = null
where delivery_id = %(delivery)s and state in ('pending', 'written', 'sealed', 'shipped', 'arrived')"""
