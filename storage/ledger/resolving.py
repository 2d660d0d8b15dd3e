"""A person's decision about an exception, carried out: work goes back, aside, or on as the plan proposes."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import psycopg
from psycopg.rows import class_row

from imaging.uid import Uid
from storage.ledger.custody import append
from storage.ledger.deciding import PLAN_LOCK, SUPERSEDED
from storage.ledger.pool import Connection
from storage.ledger.records import CustodyNote

PLAN_PATIENCE = timedelta(seconds=30)
"""Longest wait for a plan that is being made: that of a small archive ends meanwhile, and nobody sits before a silent
terminal for the minutes that one of a large archive takes."""


class Resolution(StrEnum):
    """What a person decided."""

    ACKNOWLEDGE = "acknowledge"
    """Seen; nothing has to happen. Not for blocking ones."""
    RETRY = "retry"
    """Work goes on where it stopped, with its attempts counted anew."""
    RENEW = "renew"
    """The study is planned again, as a new revision, and delivered anew to every destination."""
    EXCLUDE = "exclude"
    """The study does not move."""
    ACCEPT = "accept"
    """The study moves as the plan proposes for it, whatever the rules say of it. Only for what a plan opened."""


class PlanUnderWay(Exception):
    """A plan is being made: what it proposes is not known before it ends."""


class Superseded(Exception):
    """The plan proposes something else than what the exception was opened for; nothing was changed."""

    def __init__(self, study_uid: Uid, changed: tuple[str, ...], successor: int | None) -> None:
        """`changed`: keys of the proposal whose values differ, a person's as `person.name`; none where that is not
        known. `successor`: the open exception that has today's proposal, if there is one."""
        super().__init__(f"another proposal than today's ({', '.join(changed) or 'not known in what'})")
        self.study_uid = study_uid
        self.changed = changed
        self.successor = successor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """An exception, open or closed, with its study."""

    study_key: int | None
    study_uid: Uid | None
    delivery_id: int | None
    blocking: bool
    kind: str
    proposal: bytes | None
    closed_as: str | None
    changed: list[str]


def resolve(conn: Connection, exception_id: int, resolution: Resolution, *, by: str) -> None:
    """As `Exceptions.resolve`, within the caller's transaction."""
    row = _read(conn, exception_id)
    if row.proposal is not None and resolution in (Resolution.ACCEPT, Resolution.ACKNOWLEDGE):
        _after_plans(conn)
        row = _read(conn, exception_id)
    if row.closed_as == SUPERSEDED:
        raise _superseded(conn, row, tuple(row.changed))
    if row.closed_as is not None:
        raise LookupError(f"no open exception {exception_id}: it is closed ({row.closed_as})")
    study_key, kind = row.study_key, row.kind
    decided = _decided(conn, study_key, kind)
    if resolution is Resolution.ACCEPT and decided is None:
        raise ValueError(f"{kind} is nothing that a plan proposed: retry, renew or exclude")
    if resolution is Resolution.ACKNOWLEDGE and row.blocking:
        others = "retry, renew or exclude" if decided is None else "accept, retry, renew or exclude"
        raise ValueError(f"{kind} blocks: {others}")
    if resolution in (Resolution.RENEW, Resolution.EXCLUDE) and study_key is None:
        raise ValueError(f"{kind} concerns no study")
    if study_key is not None:
        conn.execute("select from study where study_key = %s for no key update", (study_key,))
    proposed = decided is not None and (resolution is Resolution.ACCEPT or row.proposal is not None)
    if proposed and resolution in (Resolution.ACCEPT, Resolution.ACKNOWLEDGE):
        if row.proposal != decided:
            raise _superseded(conn, row, ())
        conn.execute(_ACCEPT, (study_key, kind, decided, by))
    closed = conn.execute(
        "update exception set resolved_at = limosa_now(), resolved_by = %s, resolution = %s"
        " where exception_id = %s and resolved_at is null",
        (by, resolution, exception_id),
    ).rowcount
    if closed != 1:
        raise LookupError(f"no open exception {exception_id}")
    if study_key is None or row.study_uid is None:
        return
    again = decided is not None and resolution in (Resolution.ACCEPT, Resolution.RETRY)
    # What a plan stopped goes on with the next plan only: what was planned before may be what is wrong.
    carry_out(
        conn,
        Resolution.RENEW if again else resolution,
        study_key=study_key,
        delivery_id=row.delivery_id,
        corrected=again,
    )
    note = CustodyNote(event="exception_resolved", payload={"kind": kind, "resolution": resolution.value})
    append(conn, study_key=study_key, study_uid=row.study_uid, actor=by, note=note)


def carry_out(
    conn: Connection, resolution: Resolution, *, study_key: int, delivery_id: int | None, corrected: bool
) -> None:
    """`corrected`: what is renewed differs in what was decided only."""
    match resolution:
        case Resolution.ACKNOWLEDGE:
            return
        case Resolution.RETRY:
            conn.execute(_STUDY_GOES_ON, {"study": study_key, "recount": False, "corrected": False})
        case Resolution.RENEW | Resolution.ACCEPT:
            # Deliveries stay stopped until the next plan voids them: a damaged one would only be read back again.
            conn.execute(_STUDY_GOES_ON, {"study": study_key, "recount": True, "corrected": corrected})
            return
        case Resolution.EXCLUDE:
            conn.execute(
                "update study set state = 'excluded', recount = false, corrected = false, reason = 'exception'"
                " where study_key = %s and state <> 'excluded'",
                (study_key,),
            )
            conn.execute(
                "update delivery set state = 'void', held_state = null, not_before = null,"
                " lease_owner = null, lease_until = null, lease_kind = null"
                " where study_key = %s and state in ('pending', 'exception')",
                (study_key,),
            )
            return
    conn.execute(_DELIVERIES_GO_ON, {"study": study_key, "delivery": delivery_id})


def _read(conn: Connection, exception_id: int) -> _Row:
    row = conn.cursor(row_factory=class_row(_Row)).execute(_ROW, (exception_id,)).fetchone()
    if row is None:
        raise LookupError(f"no exception {exception_id}")
    return row


def _after_plans(conn: Connection) -> None:
    """No plan is being made until the transaction ends."""
    conn.execute("select set_config('lock_timeout', %s, true)", (f"{PLAN_PATIENCE.total_seconds():.0f}s",))
    try:
        conn.execute("select pg_advisory_xact_lock_shared(%s)", (PLAN_LOCK,))
    except psycopg.errors.LockNotAvailable:
        raise PlanUnderWay from None


def _superseded(conn: Connection, row: _Row, changed: tuple[str, ...]) -> Superseded:
    assert row.study_uid is not None  # what a plan proposes is of a study
    found = conn.execute(
        "select max(exception_id) from exception where study_key = %s and kind = %s and resolved_at is null"
        " and proposal is distinct from %s",
        (row.study_key, row.kind, row.proposal),
    ).fetchone()
    return Superseded(row.study_uid, changed, None if found is None else found[0])


def _decided(conn: Connection, study_key: int | None, kind: str) -> bytes | None:
    """Digest of what the plan proposes for the study, if a plan is what says this of it."""
    if study_key is None:
        return None
    row = conn.execute(
        "select digest from decision where study_key = %s and %s = any(classes)", (study_key, kind)
    ).fetchone()
    return None if row is None else row[0]


_ROW = """
select e.study_key, s.study_uid, e.delivery_id, e.blocking, e.kind, e.proposal, e.resolution as closed_as,
  array(select jsonb_array_elements_text(coalesce(e.evidence -> 'changed', '[]'))) as changed
from exception e left join study s using (study_key) where e.exception_id = %s"""

_ACCEPT = """
insert into acceptance (study_key, kind, digest, accepted_by) values (%s, %s, %s, %s) on conflict do nothing"""

# A study that was never planned is discovered again; any other is planned, and `recount` lets the next plan renew it.
_STUDY_GOES_ON = """
update study s set
  state = case when s.state <> 'exception' then s.state when s.revision = 0 then 'discovered' else 'planned'
          end::study_state,
  recount = (s.recount or %(recount)s) and s.revision > 0,
  corrected = s.revision > 0 and case when not %(recount)s then s.corrected
                                      else %(corrected)s and (s.corrected or not s.recount) end
where s.study_key = %(study)s and s.state in ('planned', 'exception', 'empty_confirmed')
  and not exists (select from exception e where e.study_key = s.study_key and e.resolved_at is null and e.blocking
                  and e.delivery_id is null)"""

# Its device may have been sealed meanwhile.
_DELIVERIES_GO_ON = """
update delivery d set held_state = null, attempts = 0,
  state = case when d.held_state = 'written' and (
      exists (select from receipt r join seal l on l.device_id = r.device where r.delivery_id = d.delivery_id)
      or exists (select from volume v join seal l on l.device_id = v.device where v.delivery_id = d.delivery_id))
    then 'sealed' else d.held_state end
where d.study_key = %(study)s and d.state = 'exception'
  and (%(delivery)s::bigint is null or d.delivery_id = %(delivery)s)
  and not exists (select from exception e where e.study_key = d.study_key and e.resolved_at is null and e.blocking
                  and (e.delivery_id is null or e.delivery_id = d.delivery_id))"""
