"""Under which rules of coercion studies were written, and what lets them be written anew under today's."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from imaging.uid import Uid
from storage.ledger.custody import append
from storage.ledger.lifecycle import StudyState
from storage.ledger.pool import Pool, beside_a_run
from storage.ledger.records import CustodyNote, Json

PAGE = 200
"""Studies renewed in one transaction: each holds an advisory lock until its end, of which Postgres has room for some
thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesVersion:
    """Rules of coercion as they once were."""

    version: str
    first_used: datetime
    rules: Json | None
    """As the job file had them; None: written by a release that did not keep them."""
    revisions: int
    """Of studies, written under them."""
    studies: int
    """Whose revision of today is one of these."""
    first_written: datetime | None
    last_written: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What the rules of one version came to in some studies, all instances of each taken together."""

    effect_id: int
    version: str
    met: list[str] | None
    """Labels of rules whose conditions held; None: not recorded."""
    acted: list[str]
    """Labels of rules and decisions that changed something."""
    modalities: list[str] | None
    """Of the instances as they were received, `""` where one has none; None: not sure, or not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Studies whose revision of today shows one effect."""

    effect_id: int
    ready: int
    """That can be renewed."""
    waiting: int
    """That the next plan renews anyway."""
    stopped: int
    """Held, excluded, or in exception: a person decides first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuledStudy:
    """One written revision of a study."""

    study_key: int
    study_uid: Uid
    revision: int
    effect_id: int
    state: StudyState
    present: bool
    """No later revision was planned."""
    written_at: datetime


class Replay:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def versions(self) -> tuple[RulesVersion, ...]:
        """Every version under which something was written, oldest first. Reads all revisions."""
        with self._pool.transaction("list rules") as conn:
            return tuple(conn.cursor(row_factory=class_row(RulesVersion)).execute(_VERSIONS))

    def rules(self, version: str) -> Json | None:
        """The rules of one version as the job file had them; None where they were not kept."""
        with self._pool.transaction("read rules") as conn:
            row = conn.execute("select rules from coercion_rules where version = %s", (version,)).fetchone()
        return None if row is None else row[0]

    def known(self) -> tuple[str, ...]:
        """Every version that was ever used."""
        with self._pool.transaction("name rules") as conn:
            return tuple(row[0] for row in conn.execute("select version from coercion_rules order by version"))

    def effects(self) -> tuple[Effect, ...]:
        """Every effect that any rules ever had: few, however many the studies."""
        with self._pool.transaction("read effects") as conn:
            return tuple(
                conn.cursor(row_factory=class_row(Effect)).execute(
                    "select effect_id, version, met, acted, modalities from coercion_effect order by effect_id"
                )
            )

    def standing(self, effects: Collection[int]) -> tuple[Standing, ...]:
        """How many studies show each of these effects today; those that none shows are left out."""
        with self._pool.transaction("count effects") as conn:
            rows = conn.cursor(row_factory=class_row(Standing)).execute(_STANDING, {"effects": list(effects)})
            return tuple(rows)

    def studies(
        self, effects: Collection[int], *, present: bool, after_key: int = 0, limit: int = PAGE
    ) -> tuple[RuledStudy, ...]:
        """Revisions that show one of these effects, in order of the study's key, those above `after_key`, one row a
        study: the latest. With `present` only those that can be renewed."""
        values = {"effects": list(effects), "after": after_key, "limit": limit, "present": present}
        with self._pool.transaction("list ruled studies") as conn:
            return tuple(conn.cursor(row_factory=class_row(RuledStudy)).execute(_STUDIES, values))

    @beside_a_run
    def renew(self, effect_id: int, reason: Json, *, by: str, after_key: int = 0, limit: int = PAGE) -> tuple[int, int]:
        """Up to `limit` studies that show the effect today have a new revision with the next plan, and their chains say
        why; the last key seen (0: none left) and how many.

        What waits for a plan, is held or in exception is left alone, so that doing it twice does nothing.
        """
        values = {"effects": [effect_id], "after": after_key, "limit": limit, "present": True}
        with self._pool.transaction("renew ruled studies") as conn:
            page = conn.cursor(row_factory=class_row(RuledStudy)).execute(_STUDIES, values).fetchall()
            if not page:
                return 0, 0
            asked = ([one.study_key for one in page], [one.revision for one in page])
            renewed = {row[0] for row in conn.execute(_RENEW, asked)}
            for one in page:
                if one.study_key in renewed:
                    note = CustodyNote(event="replayed", payload={"revision": one.revision, **reason})
                    append(conn, study_key=one.study_key, study_uid=one.study_uid, actor=by, note=note)
        return page[-1].study_key, len(renewed)


_VERSIONS = """
select c.version, c.first_used, c.rules, coalesce(t.revisions, 0) as revisions, coalesce(t.studies, 0) as studies,
  t.first_written, t.last_written
from coercion_rules c left join (
  select e.version, sum(r.revisions)::bigint as revisions, sum(r.studies)::bigint as studies,
    min(r.first_written) as first_written, max(r.last_written) as last_written
  from coercion_effect e join (
    select r.effect_id, count(*) as revisions, count(*) filter (where s.revision = r.revision) as studies,
      min(r.written_at) as first_written, max(r.written_at) as last_written
    from study_revision r join study s using (study_key) where r.effect_id is not null group by r.effect_id
  ) r using (effect_id) group by e.version
) t using (version)
order by coalesce(t.first_written, c.first_used), c.version"""

_STANDING = """
select r.effect_id, count(*) filter (where s.state = 'planned' and not s.recount) as ready,
  count(*) filter (where s.state = 'discovered' or (s.state = 'planned' and s.recount)) as waiting,
  count(*) filter (where s.state not in ('discovered', 'planned')) as stopped
from study_revision r join study s on s.study_key = r.study_key and s.revision = r.revision
where r.effect_id = any(%(effects)s) group by r.effect_id order by r.effect_id"""

# Each effect's studies lie together in the index, in order of their keys: so many of each hold the first of all. Their
# rows are looked up one by one (`offset 0`): merging the two tables would read all studies for those of a rare effect.
_STUDIES = """
select distinct on (study_key) x.study_key, x.study_uid, x.revision, x.effect_id, x.state, x.present, x.written_at
from unnest(%(effects)s::integer[]) as asked (effect_id)
cross join lateral (
  select distinct on (r.study_key) r.study_key, s.study_uid, r.revision, r.effect_id, s.state,
    s.revision = r.revision as present, r.written_at
  from study_revision r cross join lateral (
    select study_uid, state, revision, recount from study where study_key = r.study_key offset 0) s
  where r.effect_id = asked.effect_id and r.study_key > %(after)s
    and (not %(present)s or (s.revision = r.revision and s.state = 'planned' and not s.recount))
  order by r.study_key, r.revision desc limit %(limit)s) x
order by study_key, x.revision desc limit %(limit)s"""

# What was changed since the page was read is left alone.
_RENEW = """
with asked as (
  select a.study_key, a.revision from unnest(%s::bigint[], %s::integer[]) as a (study_key, revision)),
held as (
  select s.study_key from study s join asked a on a.study_key = s.study_key and a.revision = s.revision
  where s.state = 'planned' and not s.recount order by s.study_key for no key update of s)
update study s set recount = true, corrected = true from held h where s.study_key = h.study_key
returning s.study_key"""
