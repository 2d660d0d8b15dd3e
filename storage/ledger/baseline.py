"""What a baseline of the archive counts: aggregates over what inventories, samples and pulls left here.

Values of patients never leave these statements but as patterns (9 for a digit, A and a for letters).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, LiteralString

from psycopg.rows import class_row, dict_row

from storage.ledger.pool import Pool

PATTERNS_KEPT = 60
"""Rows of a table of patterns: what is rarer is free text, and is counted together."""

IDLE = 60.0
"""Seconds without an answer or a receipt after which the time counts as a pause, not as slowness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveTotals:
    """The source as its inventory has it."""

    job: str
    source: str
    kind: str
    generation: int
    enumerated: bool
    """Every question of this generation was asked and answered."""
    studies: int
    patients: int
    """Distinct pairs of patient id and issuer."""
    series: int
    instances: int
    no_series_count: int
    """Studies whose series the source does not count."""
    no_instance_count: int
    not_met_again: int
    new_last_week: int
    """Studies first met in the last seven days by an inventory that was not the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyGroup:
    """Studies of equal modalities, year and soundness of their date."""

    modalities: tuple[str, ...] | None
    dating: str
    """dated, undated, no_date, sentinel or future."""
    year: int | None
    studies: int
    series: int
    instances: int
    uncounted: int
    """Of the studies, those without an instance count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternCount:
    """Values of one shape."""

    issuer: str | None
    pattern: str | None
    """None: all the rarer ones together."""
    studies: int
    distinct: int
    """Different values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeBin:
    """Instances of at least 2**power bytes and less than twice that, or studies of so many instances."""

    power: int
    items: int
    weight: int
    """Their bytes, or their instances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Instances of one class in one transfer syntax."""

    sop_class: str
    transfer_syntax: str
    instances: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Sums over studies of equal modalities: x is a study's instances, y its bytes."""

    modalities: tuple[str, ...] | None
    studies: int
    x: float
    y: float
    xx: float
    xy: float
    yy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """What came while the source was at work."""

    events: int
    items: int
    seconds: float
    """Pauses left out."""


class Baselines:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def totals(self) -> ArchiveTotals:
        """Raises `LookupError` where no job was registered yet."""
        with self._pool.transaction("count archive") as conn:
            row = conn.cursor(row_factory=class_row(ArchiveTotals)).execute(_TOTALS).fetchone()
        if row is None:
            raise LookupError("the ledger has no job yet")
        return row

    def groups(self, today: date) -> tuple[StudyGroup, ...]:
        """Every study of the present generation, in groups; `today` tells dates to come."""
        with self._pool.transaction("group studies") as conn:
            rows = conn.execute(_GROUPS, {"tomorrow": f"{today:%Y%m%d}"}).fetchall()
        return tuple(
            StudyGroup(
                modalities=None if row[0] is None else tuple(row[0]),
                dating=row[1],
                year=row[2],
                studies=row[3],
                series=row[4],
                instances=row[5],
                uncounted=row[6],
            )
            for row in rows
        )

    def accession_patterns(self) -> tuple[PatternCount, ...]:
        """Shapes of accession numbers, most frequent first; empty ones are no shape."""
        return self._patterns(_ACCESSIONS)

    def patient_id_patterns(self) -> tuple[PatternCount, ...]:
        """Shapes of patient ids by issuer, most frequent first."""
        return self._patterns(_PATIENT_IDS)

    def quality(self) -> Mapping[str, int]:
        """How many studies, patients or numbers show each flaw, by its code."""
        with self._pool.transaction("count flaws") as conn:
            found: dict[str, int] = {}
            for statement in (_STUDY_FLAWS, _PATIENT_FLAWS, _PERSON_FLAWS, _ACCESSION_FLAWS, _WRITTEN_FLAWS):
                row = conn.cursor(row_factory=dict_row).execute(statement).fetchone()
                found |= row or {}
        return found

    def study_sizes(self) -> tuple[SizeBin, ...]:
        """Studies by the number of instances that the source claims; power -1 is none."""
        return self._bins(_STUDY_SIZES)

    def instance_sizes(self) -> tuple[SizeBin, ...]:
        """Instances of the written revisions by size."""
        return self._bins(_INSTANCE_SIZES)

    def encoded(self) -> tuple[Encoded, ...]:
        """Instances of the written revisions by class and transfer syntax."""
        with self._pool.transaction("group instances") as conn:
            return tuple(conn.cursor(row_factory=class_row(Encoded)).execute(_ENCODED))

    def flags(self) -> Mapping[str, int]:
        """Instances of the written revisions by what was odd about them."""
        with self._pool.transaction("count flags") as conn:
            rows = conn.execute(
                "select flag, count(*) from instance i join study s using (study_key, revision), unnest(i.flags) flag"
                " group by flag order by 2 desc, 1"
            )
            return dict(rows.fetchall())

    def written_moments(self) -> tuple[Moments, ...]:
        """Instances and bytes of what was pulled so far."""
        with self._pool.transaction("sum written by modality") as conn:
            return moments_of(conn.execute(_WRITTEN_MOMENTS).fetchall())

    def asking(self) -> Worked:
        """Questions to the archive and studies in their answers, this generation."""
        return self._worked(_ASKING)

    def moving(self) -> Worked:
        """Studies written at the inline destination, and their instances."""
        return self._worked(_MOVING)

    def exceptions(self) -> Mapping[str, int]:
        """Open exceptions by class."""
        with self._pool.transaction("count exceptions by kind") as conn:
            rows = conn.execute("select kind, count(*) from exception where resolved_at is null group by 1 order by 1")
            return dict(rows.fetchall())

    def _patterns(self, statement: LiteralString) -> tuple[PatternCount, ...]:
        with self._pool.transaction("count patterns") as conn:
            return tuple(conn.cursor(row_factory=class_row(PatternCount)).execute(statement, {"kept": PATTERNS_KEPT}))

    def _bins(self, statement: LiteralString) -> tuple[SizeBin, ...]:
        with self._pool.transaction("count sizes") as conn:
            return tuple(conn.cursor(row_factory=class_row(SizeBin)).execute(statement))

    def _worked(self, statement: LiteralString) -> Worked:
        with self._pool.transaction("measure rate") as conn:
            row = conn.cursor(row_factory=class_row(Worked)).execute(statement, {"idle": IDLE}).fetchone()
        assert row is not None  # an aggregate without grouping has one row
        return row


def moments_of(rows: Sequence[tuple[Any, ...]]) -> tuple[Moments, ...]:
    """Rows of modalities, studies and the five sums."""
    return tuple(
        Moments(
            modalities=None if row[0] is None else tuple(row[0]),
            studies=row[1],
            x=float(row[2]),
            y=float(row[3]),
            xx=float(row[4]),
            xy=float(row[5]),
            yy=float(row[6]),
        )
        for row in rows
    )


_TOTALS = """
select j.name as job, x.name as source, x.kind, j.generation,
  x.enumerated > 0 and x.enumerated = j.generation as enumerated,
  count(s.study_key) as studies, count(distinct (s.patient_id, s.issuer)) filter (where s.study_key is not null)
    as patients,
  coalesce(sum(s.series_count), 0)::bigint as series, coalesce(sum(s.instance_count), 0)::bigint as instances,
  count(s.study_key) filter (where s.series_count is null) as no_series_count,
  count(s.study_key) filter (where s.instance_count is null) as no_instance_count,
  (select count(*) from study g where g.source_id = x.source_id and g.generation < j.generation) as not_met_again,
  (select count(*) from study n where n.source_id = x.source_id and n.first_seen >= limosa_now() - interval '7 days'
     and n.first_seen > (select min(first_seen) + interval '1 day' from study)) as new_last_week
from job j cross join source x left join study s on s.source_id = x.source_id and s.generation = j.generation
group by j.name, x.source_id, x.name, x.kind, j.generation, x.enumerated order by x.source_id limit 1"""

# Dates of ACR-NEMA times have dots. What lies before 1950 is a sentinel of some system, not an image.
_GROUPS = """
with dated as (
  select s.*, replace(btrim(s.study_date), '.', '') as day from study s, job j where s.generation = j.generation),
judged as (
  select modalities, series_count, instance_count, day,
    case when day is null or day = '' then 'undated'
      when day !~ '^[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])$' then 'no_date'
      when day < '19500101' or day like '9999%%' then 'sentinel'
      when day > %(tomorrow)s then 'future' else 'dated' end as dating
  from dated)
select (select array_agg(m order by m) from unnest(modalities) m), dating,
  case when dating in ('dated', 'future') then left(day, 4)::integer end as year,
  count(*), coalesce(sum(series_count), 0)::bigint, coalesce(sum(instance_count), 0)::bigint,
  count(*) filter (where instance_count is null)
from judged group by 1, 2, 3 order by 4 desc, 1, 2, 3"""

_SHAPE = """translate(translate(translate(regexp_replace(left({0}, 64), '[^ -~]', '?', 'g'),
    '0123456789', '9999999999'), 'BCDEFGHIJKLMNOPQRSTUVWXYZ', 'AAAAAAAAAAAAAAAAAAAAAAAAA'),
    'bcdefghijklmnopqrstuvwxyz', 'aaaaaaaaaaaaaaaaaaaaaaaaa')"""

_PATTERNS = """
with shaped as (
  select {issuer} as issuer, {shape} as pattern, {value} as value from study s, job j
  where s.generation = j.generation and {value} <> ''),
counted as (
  select issuer, pattern, count(*) as studies, count(distinct value) as distinct_values,
    row_number() over (order by count(*) desc, issuer, pattern) as place
  from shaped group by 1, 2)
select issuer, pattern, studies, distinct_values as "distinct" from counted where place <= %(kept)s
union all
select null, null, sum(studies)::bigint, sum(distinct_values)::bigint from counted where place > %(kept)s
  having count(*) > 0"""

_ACCESSIONS = _PATTERNS.format(issuer="null::text", value="s.accession", shape=_SHAPE.format("s.accession"))
_PATIENT_IDS = _PATTERNS.format(
    issuer="nullif(s.issuer, '')", value="s.patient_id", shape=_SHAPE.format("s.patient_id")
)

_STUDY_FLAWS = """
select count(*) as studies,
  count(*) filter (where coalesce(btrim(patient_id), '') = '') as no_patient_id,
  count(*) filter (where coalesce(btrim(issuer), '') = '') as no_issuer,
  count(*) filter (where coalesce(btrim(patient_name, ' ^'), '') = '') as no_patient_name,
  count(*) filter (where coalesce(btrim(birth_date), '') = '') as no_birth_date,
  count(*) filter (where coalesce(btrim(accession), '') = '') as no_accession,
  count(*) filter (where length(accession) > 16) as long_accession,
  count(*) filter (where patient_id ~ '^ *0') as id_leading_zero,
  count(*) filter (where patient_id ~ '[a-z]') as id_lower_case,
  count(*) filter (where btrim(patient_id) ~ ' ') as id_with_space,
  count(*) filter (where modalities is null or modalities = '{}') as no_modality,
  count(*) filter (where instance_count = 0) as claims_nothing,
  count(*) filter (where state = 'empty_confirmed') as empty_confirmed,
  count(*) filter (where study_uid ~ '(^|\\.)0[0-9]') as uid_leading_zero
from study s, job j where s.generation = j.generation"""

_PATIENT_FLAWS = """
select count(*) as patient_ids, count(*) filter (where people > 1) as id_of_several_people from (
  select count(distinct (upper(btrim(patient_name, ' ^')), btrim(birth_date))) as people
  from study s, job j where s.generation = j.generation and btrim(patient_id) <> ''
  group by patient_id, coalesce(issuer, '')) each"""

_PERSON_FLAWS = """
select count(*) as people, count(*) filter (where ids > 1) as person_of_several_ids from (
  select count(distinct (patient_id, coalesce(issuer, ''))) as ids
  from study s, job j
  where s.generation = j.generation and btrim(patient_name, ' ^') <> '' and btrim(birth_date) <> ''
  group by upper(btrim(patient_name, ' ^')), btrim(birth_date), coalesce(sex, '')) each"""

_ACCESSION_FLAWS = """
select count(*) as accessions, count(*) filter (where studies > 1) as accession_of_several_studies,
  count(*) filter (where patients > 1) as accession_of_several_patients from (
  select count(*) as studies, count(distinct (patient_id, coalesce(issuer, ''))) as patients
  from study s, job j where s.generation = j.generation and btrim(accession) <> '' group by btrim(accession)) each"""

_WRITTEN_FLAWS = """
select count(*) as pulled, count(*) filter (
  -- What Limosa added is not the archive's; looked for only where the counts differ.
  where s.instance_count <> r.instances and s.instance_count <> r.instances - (
    select count(*) from instance i
    where i.study_key = s.study_key and i.revision = s.revision and 'ADDED' = any (i.flags))) as count_differs
from study s join study_revision r using (study_key, revision) where r.written_at is not null"""

_STUDY_SIZES = """
select case when instance_count = 0 then -1 else floor(log(2, instance_count))::integer end as power,
  count(*) as items, sum(instance_count)::bigint as weight
from study s, job j where s.generation = j.generation and instance_count is not null group by 1 order by 1"""

_INSTANCE_SIZES = """
select floor(log(2, greatest(i.sto_size, 1)))::integer as power, count(*) as items, sum(i.sto_size)::bigint as weight
from instance i join study s using (study_key, revision) group by 1 order by 1"""

_ENCODED = """
select i.sop_class, i.transfer_syntax, count(*) as instances, sum(i.sto_size)::bigint as bytes
from instance i join study s using (study_key, revision) group by 1, 2 order by 3 desc, 1, 2"""

_WRITTEN_MOMENTS = """
select (select array_agg(m order by m) from unnest(s.modalities) m), count(*), sum(r.instances), sum(r.sto_bytes),
  sum(r.instances::float8 ^ 2), sum(r.instances::float8 * r.sto_bytes), sum(r.sto_bytes::float8 ^ 2)
from study s join study_revision r using (study_key, revision) where r.written_at is not null group by 1"""

_ASKING = """
select count(*) as events, coalesce(sum(answers), 0)::bigint as items,
  coalesce(sum(gap) filter (where gap <= %(idle)s), 0)::float8 as seconds from (
  select answers, extract(epoch from at - lag(at) over (order by at)) as gap from find_window w, job j
  where w.generation = j.generation) each"""

_MOVING = """
select count(*) as events, coalesce(sum(instances), 0)::bigint as items,
  coalesce(sum(gap) filter (where gap <= %(idle)s), 0)::float8 as seconds from (
  select r.instances, extract(epoch from r.at - lag(r.at) over (order by r.at)) as gap
  from receipt r join delivery d using (delivery_id) where d.pulled) each"""
