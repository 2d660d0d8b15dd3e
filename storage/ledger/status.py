"""What an observer is told: counts, rates and single studies. Only reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row

from imaging.uid import Uid
from storage.ledger.lifecycle import DeliveryState, StudyState, StudyStatus, study_status
from storage.ledger.pool import Pool
from storage.ledger.records import DestinationState, LeaseKind


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryCount:
    """Deliveries of one destination in one state."""

    destination: str
    state: DeliveryState
    deliveries: int
    leased: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenCount:
    """What a destination has acknowledged as durable, all revisions."""

    destination: str
    studies: int
    instances: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationRow:
    """A destination as its claims see it."""

    name: str
    kind: str
    inline: bool
    state: DestinationState
    reason: str | None
    """Why it is not open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """A source as its claims see it."""

    name: str
    stopped: str
    """Why nothing is pulled from it before the next run."""
    waiting: int
    """Studies that are still to be pulled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """A study as lists show it. Holds patient data: for the dashboard and reports, never for a log."""

    study_key: int
    study_uid: Uid
    revision: int
    state: StudyState
    recount: bool
    priority: int
    patient_id: str | None
    issuer: str | None
    """Of the patient's number, as the archive names it."""
    patient_name: str | None
    accession: str | None
    study_date: str | None
    modalities: tuple[str, ...] | None
    instance_count: int | None
    """As the archive claims."""
    instances: int | None
    """As written in the current revision."""
    states: tuple[DeliveryState, ...]
    """Of the current revision's deliveries."""
    destinations: tuple[str, ...]
    """Where these go, in the same order."""

    @property
    def status(self) -> StudyStatus:
        return study_status(self.state, self.states)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkLeft:
    """Whether anything remains that a worker could still do."""

    claimable: bool
    leased: bool
    waiting: bool
    """Rows that rest before their next attempt."""

    @property
    def any(self) -> bool:
        return self.claimable or self.leased or self.waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveClaim:
    """Who holds what, until when."""

    delivery_id: int
    study_uid: Uid
    revision: int
    destination: str
    kind: LeaseKind
    worker: str
    lease_until: datetime
    attempts: int
    epoch: int
    """Another one of the same delivery: it was given back and claimed again meanwhile."""


class Status:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def studies(self) -> dict[StudyState, int]:
        """How many studies are in which state."""
        with self._pool.transaction("count studies") as conn:
            return dict(conn.execute("select state, count(*) from study group by state").fetchall())

    def to_plan(self) -> int:
        """Studies that are discovered or changed and wait for a plan."""
        with self._pool.transaction("count to plan") as conn:
            row = conn.execute(
                "select count(*) from study"
                " where state = 'discovered' or (recount and state in ('planned', 'empty_confirmed'))"
            ).fetchone()
        assert row is not None  # an aggregate without grouping has one row
        return row[0]

    def deliveries(self) -> tuple[DeliveryCount, ...]:
        """How many deliveries are in which state, per destination."""
        with self._pool.transaction("count deliveries") as conn:
            rows = conn.cursor(row_factory=class_row(DeliveryCount)).execute(
                "select x.name as destination, c.state, c.deliveries, c.leased from ("
                " select destination_id, state, count(*) as deliveries, count(lease_owner) as leased"
                " from delivery group by destination_id, state) c join destination x using (destination_id)"
                " order by x.name, c.state"
            )
            return tuple(rows)

    def destinations(self) -> tuple[DestinationRow, ...]:
        """Every destination, the inline one first."""
        with self._pool.transaction("list destinations") as conn:
            rows = conn.cursor(row_factory=class_row(DestinationRow)).execute(
                "select name, kind, inline, state, reason from destination order by inline desc, name"
            )
            return tuple(rows)

    def stopped_sources(self) -> tuple[SourceRow, ...]:
        """Every source that nothing is pulled from before the next run."""
        with self._pool.transaction("list sources") as conn:
            rows = conn.cursor(row_factory=class_row(SourceRow)).execute(
                "select s.name, s.stopped, (select count(*) from delivery d"
                " where d.source_id = s.source_id and d.pulled and d.state = 'pending') as waiting"
                " from source s where s.stopped is not null order by s.name"
            )
            return tuple(rows)

    def written(self, *, within: timedelta | None = None) -> tuple[WrittenCount, ...]:
        """What each destination acknowledged, in all or `within` the time up to now: the input of rates."""
        with self._pool.transaction("count written") as conn:
            rows = conn.cursor(row_factory=class_row(WrittenCount)).execute(
                "select x.name as destination, count(*) as studies, sum(r.instances)::bigint as instances,"
                " sum(r.size)::bigint as bytes"
                " from receipt r join delivery d using (delivery_id) join destination x using (destination_id)"
                " where %(within)s::interval is null or r.at >= limosa_now() - %(within)s::interval"
                " group by x.name order by x.name",
                {"within": within},
            )
            return tuple(rows)

    def live_claims(self) -> tuple[LiveClaim, ...]:
        """Every lease that has not ended, longest running first."""
        with self._pool.transaction("list claims") as conn:
            rows = conn.cursor(row_factory=class_row(LiveClaim)).execute(
                "select d.delivery_id, s.study_uid, d.revision, x.name as destination, d.lease_kind as kind,"
                " d.lease_owner as worker, d.lease_until, d.attempts, d.lease_epoch as epoch"
                " from delivery d join study s using (study_key) join destination x using (destination_id)"
                " where d.lease_owner is not null order by d.lease_until"
            )
            return tuple(rows)

    def work_left(self) -> WorkLeft:
        """Whether anything is claimable (at an open destination), held or resting."""
        with self._pool.transaction("work left") as conn:
            row = conn.cursor(row_factory=class_row(WorkLeft)).execute(_WORK_LEFT).fetchone()
        assert row is not None  # a select without a table
        return row

    def left_of(self, kind: LeaseKind, only: Sequence[int] | None = None, *, destination: str | None = None) -> bool:
        """Whether anything is left to pull, feed or validate: claimable, held by a worker, or resting.

        `only` restricts to these study keys, `destination` to what waits for that one. What waits for a full or stopped
        destination, or for a stopped source, does not count.
        """
        with self._pool.transaction("left of kind") as conn:
            values = {"kind": kind, "only": None if only is None else list(only), "destination": destination}
            row = conn.execute(_LEFT_OF, values).fetchone()
        assert row is not None  # a select without a table
        return row[0]

    def study(self, study_uid: Uid) -> StudyRow | None:
        """One study."""
        rows = self._study_rows(uids=[study_uid], status=None, after=0, limit=1)
        return rows[0] if rows else None

    def list_studies(
        self, *, status: StudyStatus | None = None, after_key: int = 0, limit: int = 100
    ) -> tuple[StudyRow, ...]:
        """Studies in order of their keys, those above `after_key`, of one status if given."""
        return self._study_rows(uids=None, status=status, after=after_key, limit=limit)

    def _study_rows(
        self, *, uids: Sequence[Uid] | None, status: StudyStatus | None, after: int, limit: int
    ) -> tuple[StudyRow, ...]:
        with self._pool.transaction("list studies") as conn:
            rows = conn.cursor(row_factory=class_row(StudyRow)).execute(
                _STUDIES,
                {"uids": None if uids is None else list(uids), "status": status, "after": after, "limit": limit},
            )
            return tuple(rows)


# The case says what `lifecycle.study_status` says; a test holds the two together.
_STUDIES = """
select s.study_key, s.study_uid, s.revision, s.state, s.recount, s.priority, s.patient_id, s.issuer, s.patient_name,
  s.accession, s.study_date, s.modalities, s.instance_count, r.instances, d.states,
  array(select x.name from delivery v join destination x using (destination_id)
        where v.study_key = s.study_key and v.revision = s.revision order by v.destination_id) as destinations
from study s left join study_revision r on r.study_key = s.study_key and r.revision = s.revision
cross join lateral (
  select array(select d.state from delivery d where d.study_key = s.study_key and d.revision = s.revision
               order by d.destination_id) as states) d
where s.study_key > %(after)s and (%(uids)s::text[] is null or s.study_uid = any(%(uids)s::text[]))
  and (%(status)s::text is null or %(status)s = case
    when s.state = 'empty_confirmed' then 'empty'
    when s.state <> 'planned' then s.state::text
    when 'exception' = any(d.states) then 'exception'
    when 'pending' = any(d.states) then 'waiting'
    when d.states && '{sealed,shipped}' then 'in_transit'
    when d.states && '{written,arrived}' then 'written'
    when 'validated' = any(d.states) then 'done'
    else 'waiting' end)
order by s.study_key limit %(limit)s"""

_LEFT_OF = """
select exists (
  select from destination x join delivery d using (destination_id)
  where (%(only)s::bigint[] is null or d.study_key = any(%(only)s::bigint[]))
    and (%(destination)s::text is null or x.name = %(destination)s)
    and (d.lease_kind = %(kind)s::lease_kind
      or d.lease_owner is null and case %(kind)s::lease_kind
        when 'pull' then d.state = 'pending' and d.pulled and x.state = 'open'
          and exists (select from source s where s.source_id = d.source_id and s.stopped is null)
        when 'feed' then d.state = 'pending' and not d.pulled and d.ready and x.state = 'open'
        when 'validate' then d.state = 'written' and x.state in ('open', 'full')
      end))"""

_WORK_LEFT = """
select
  exists (select from source s, destination i where i.inline and i.state = 'open' and s.stopped is null and exists (
    select from delivery d where d.source_id = s.source_id and d.state = 'pending' and d.pulled
      and d.lease_owner is null and d.not_before is null))
  or exists (select from destination x where x.state = 'open' and exists (
    select from delivery d where d.destination_id = x.destination_id and d.state = 'pending' and not d.pulled
      and d.ready and d.lease_owner is null and d.not_before is null))
  or exists (select from destination x where x.state in ('open', 'full') and exists (
    select from delivery d where d.destination_id = x.destination_id and d.state = 'written'
      and d.lease_owner is null and d.not_before is null)) as claimable,
  exists (select from delivery where lease_owner is not null) as leased,
  exists (select from delivery where not_before is not null) as waiting"""
