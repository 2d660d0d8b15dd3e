"""From studies that were found to deliveries that can be claimed, and the decisions of people on the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from psycopg.types.json import Jsonb

from imaging.uid import Uid
from storage.ledger.custody import append
from storage.ledger.lifecycle import StudyState
from storage.ledger.pool import Pool, beside_a_run
from storage.ledger.records import CustodyNote, Json

BATCH = 10_000
"""Studies planned in one transaction: about a second of work, so that inventory and movers hardly wait."""

TO_TELL: Final = "to be told by message"
"""Why a delivery is void whose destination has the study already, and will be told what was decided since."""
TOLD: Final = "told by message"
"""The same once there is a message."""

URGENT_PRIORITY = 10
NORMAL_PRIORITY = 100
LAST_PRIORITY = 32_767
"""Smaller comes first; the last is the largest that a row holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What one step of planning did; both 0 when nothing is left to plan."""

    studies: int
    deliveries: int


class Plan:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def step(self, rules: Json, *, only: Sequence[Uid] | None = None, limit: int = BATCH) -> Planned:
        """Up to `limit` discovered or changed studies have a new revision and one delivery per destination.

        `rules` goes into each revision: the versions of the rules that decided. What an earlier revision had not
        written yet is void, and what was not proven yet at a service, whose one copy is another now; a worker in the
        middle of it loses its claim. `only` restricts to these studies.
        """
        return self._step(_values(rules, only, limit) | {"decided": False, "accessions": False})

    def step_decided(
        self, rules: Json, *, accessions: bool, only: Sequence[Uid] | None = None, limit: int = BATCH
    ) -> Planned:
        """As `step`, for studies about which something is decided that does not hold them; the revision's plan has
        the decision under `decision`, and with `accessions` the number that the archive lists."""
        return self._step(_values(rules, only, limit) | {"decided": True, "accessions": accessions})

    @beside_a_run
    def _step(self, values: dict[str, object]) -> Planned:
        with self._pool.transaction("plan") as conn:
            row = conn.execute(_STEP, values).fetchone()
        assert row is not None  # an aggregate without grouping has one row
        return Planned(studies=row[0], deliveries=row[1])

    @beside_a_run
    def extend(self, destination_id: int, *, after_key: int = 0, limit: int = BATCH) -> tuple[int, int]:
        """Studies planned before the destination was registered get a delivery to it, from the written pack.

        Works through `limit` studies with keys above `after_key`; returns the last key seen (0: none left) and
        the number of deliveries made.
        """
        with self._pool.transaction("extend plan") as conn:
            row = conn.execute(_EXTEND, {"destination": destination_id, "after": after_key, "limit": limit}).fetchone()
        assert row is not None  # an aggregate without grouping has one row
        return row[0], row[1]

    @beside_a_run
    def set_aside(
        self,
        studies: Sequence[Uid],
        state: Literal[StudyState.HELD, StudyState.EXCLUDED],
        reason: str,
        *,
        by: str,
    ) -> tuple[Uid, ...]:
        """The studies are held or excluded, what was not written of them is void, and their chains say by whom; which.

        One of which nothing waits any more, written everywhere or set aside already, is left as it is.
        """
        with self._pool.transaction("set aside") as conn:
            rows = conn.execute(_SET_ASIDE, {"uids": list(studies), "state": state, "reason": reason}).fetchall()
            note = CustodyNote(event=state.value, payload={"reason": reason})
            for study_key, study_uid in rows:
                append(conn, study_key=study_key, study_uid=study_uid, actor=by, note=note)
        return tuple(study_uid for _, study_uid in rows)

    @beside_a_run
    def readmit(self, studies: Sequence[Uid], *, by: str) -> tuple[Uid, ...]:
        """Held or excluded studies are discovered again and will be planned as new revisions; which."""
        with self._pool.transaction("readmit") as conn:
            rows = conn.execute(
                "update study set state = 'discovered', recount = false, corrected = false, reason = null"
                " where study_uid = any(%s) and state in ('held', 'excluded') returning study_key, study_uid",
                (list(studies),),
            ).fetchall()
            for study_key, study_uid in rows:
                note = CustodyNote(event="readmitted", payload={})
                append(conn, study_key=study_key, study_uid=study_uid, actor=by, note=note)
        return tuple(study_uid for _, study_uid in rows)

    @beside_a_run
    def prioritise(self, studies: Sequence[Uid], priority: int) -> tuple[Uid, ...]:
        """The studies and their unfinished deliveries have this priority (smaller comes first); which studies."""
        with self._pool.transaction("prioritise") as conn:
            rows = conn.execute(_PRIORITISE, {"uids": list(studies), "priority": priority}).fetchall()
        return tuple(study_uid for (study_uid,) in rows)


def _values(rules: Json, only: Sequence[Uid] | None, limit: int) -> dict[str, object]:
    return {
        "rules": Jsonb(rules),
        "only": None if only is None else list(only),
        "limit": limit,
        "told": [TO_TELL, TOLD],
        "to_tell": TO_TELL,
    }


_STEP = """
with picked as (
  select study_key, corrected from study
  where (state = 'discovered' or (recount and state in ('planned', 'empty_confirmed')))
    and (%(only)s::text[] is null or study_uid = any(%(only)s::text[]))
    and (not %(decided)s or exists (select from decision h where h.study_key = study.study_key and not h.held))
  order by priority, study_key limit %(limit)s for update skip locked),
bumped as (
  update study s set state = 'planned', recount = false, corrected = false, revision = s.revision + 1
  from picked p where s.study_key = p.study_key
  returning s.study_key, s.revision, s.priority, s.source_id, s.accession, p.corrected),
revised as (
  insert into study_revision (study_key, revision, plan)
  select b.study_key, b.revision, %(rules)s || coalesce((
    select jsonb_build_object('decision', h.content || jsonb_build_object(
      'digest', encode(h.digest, 'hex'), 'rules', h.rules, 'verdict', h.verdict, 'accepted', to_jsonb(array(
        select a.kind from acceptance a where a.study_key = h.study_key and a.digest = h.digest order by a.kind)))
      || case when %(accessions)s then jsonb_build_object('listed_accession', coalesce(b.accession, '')) else '{}' end)
    from decision h where h.study_key = b.study_key and %(decided)s), '{}')
  from bumped b),
ways as (
  select b.study_key, b.revision, b.source_id, b.priority, x.destination_id, x.inline,
    x.told and b.corrected and coalesce((
      select h.state in ('written', 'validated') from delivery h
      where h.study_key = b.study_key and h.destination_id = x.destination_id and h.revision < b.revision
        and not (h.state = 'void' and h.reason = any(%(told)s))
      order by h.revision desc limit 1), false) as told
  from bumped b cross join destination x),
voided as (
  update delivery d set state = 'void', held_state = null, not_before = null,
    lease_owner = null, lease_until = null, lease_kind = null, reason = 'replaced by a later revision'
  from ways w
  where d.study_key = w.study_key and d.destination_id = w.destination_id and d.revision < w.revision
    and (d.state in ('pending', 'exception') or (d.state = 'written' and not w.told and exists (
      select from receipt r where r.delivery_id = d.delivery_id and r.container = 'service')))),
made as (
  insert into delivery (study_key, revision, source_id, destination_id, pulled, ready, priority, state, reason)
  select study_key, revision, source_id, destination_id, inline, inline, priority,
    case when told then 'void' else 'pending' end::delivery_state, case when told then %(to_tell)s end
  from ways
  order by priority, study_key, destination_id
  returning delivery_id)
select (select count(*) from bumped), (select count(*) from made)"""

_EXTEND = """
with page as (
  select study_key, revision from study where study_key > %(after)s and state = 'planned'
  order by study_key limit %(limit)s for no key update),
made as (
  insert into delivery (study_key, revision, source_id, destination_id, pulled, ready, priority)
  select p.study_key, p.revision, i.source_id, x.destination_id, false, i.written_at is not null, i.priority
  from page p join destination x on x.destination_id = %(destination)s and not x.inline
  join delivery i on i.study_key = p.study_key and i.revision = p.revision and i.pulled
  on conflict on constraint one_delivery_per_destination do nothing
  returning delivery_id)
select coalesce((select max(study_key) from page), 0), (select count(*) from made)"""

_SET_ASIDE = """
with aside as (
  update study s set state = %(state)s, recount = false, corrected = false, reason = %(reason)s
  where study_uid = any(%(uids)s) and state <> %(state)s
    and (recount or state <> 'planned' or exists (
      select from delivery d where d.study_key = s.study_key and d.revision = s.revision
        and d.state in ('pending', 'exception')))
  returning study_key, study_uid),
voided as (
  update delivery d set state = 'void', held_state = null, not_before = null,
    lease_owner = null, lease_until = null, lease_kind = null, reason = %(reason)s
  from aside a where d.study_key = a.study_key and d.state in ('pending', 'exception'))
select study_key, study_uid from aside order by study_key"""

_PRIORITISE = """
with moved as (
  update study set priority = %(priority)s where study_uid = any(%(uids)s) returning study_key, study_uid),
hurried as (
  update delivery d set priority = %(priority)s from moved m
  where d.study_key = m.study_key and d.state in ('pending', 'written', 'arrived'))
select study_uid from moved order by study_key"""
