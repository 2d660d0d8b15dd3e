"""Samples of the archive: which studies were looked into, and what the first image of each of their series said."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from imaging.uid import Uid
from storage.ledger.baseline import Moments, SizeBin, moments_of
from storage.ledger.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Studies of equal modalities and year, and how many of them are wanted."""

    modalities: tuple[str, ...] | None
    year: int | None
    wanted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledSeries:
    """One series and what one of its images said; None: the image did not say, or did not come."""

    series_uid: Uid
    instances: int
    """Listed by the source."""
    outcome: str
    """read, damaged (what came is no sound dataset) or absent (it did not come)."""
    size: int | None = None
    """Bytes of the image as a Part-10 file."""
    sop_class: str | None = None
    transfer_syntax: str | None = None
    modality: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    station: str | None = None
    charset: str | None = None
    marks: tuple[str, ...] = ()
    """Oddities of its dataset, and LOSSY or BURNED_IN where it says so."""
    dose: str | None = None
    """What it offers of CT dose (`imaging.dose.records.DoseStatus`); None where its class has nothing to do with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledStudy:
    """One study of a sample."""

    study_key: int
    listed: bool
    """The source listed its instances to the end."""
    seconds: float
    """From the first question to the last image."""
    series: tuple[SampledSeries, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EquipmentCount:
    """Series of one device in the sample."""

    modality: str | None
    manufacturer: str | None
    model: str | None
    station: str | None
    studies: int
    series: int
    instances: int
    bytes: int
    """Estimated: the image's size times the images listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleEncoded:
    """Series of one class, transfer syntax and character set in the sample."""

    sop_class: str | None
    transfer_syntax: str | None
    charset: str | None
    series: int
    instances: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleTotals:
    """How large the sample is, and how it went."""

    studies: int
    unlisted: int
    series: int
    read: int
    damaged: int
    absent: int
    bytes_read: int
    seconds: float


class Samples:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def pick(self, strata: Sequence[Stratum], seed: str) -> tuple[tuple[int, Uid], ...]:
        """Keys and UIDs of studies that were never sampled: as many of each stratum as are wanted beyond those it has,
        in an order that follows from `seed` alone."""
        values = {
            "kinds": ["\\".join(one.modalities or ()) for one in strata],
            "years": [one.year or 0 for one in strata],
            "wanted": [one.wanted for one in strata],
            "seed": seed,
        }
        with self._pool.transaction("pick sample") as conn:
            return tuple(conn.execute(_PICK, values).fetchall())

    def record(self, study: SampledStudy) -> None:
        """The study's sample is in the ledger, in place of an earlier one."""
        with self._pool.transaction("record sample") as conn:
            conn.execute("delete from sampled_series where study_key = %s", (study.study_key,))
            conn.execute(
                "insert into sampled_study (study_key, listed, seconds) values (%s, %s, %s) on conflict (study_key)"
                " do update set listed = excluded.listed, seconds = excluded.seconds, at = limosa_now()",
                (study.study_key, study.listed, study.seconds),
            )
            with conn.cursor() as cursor:
                cursor.executemany(
                    "insert into sampled_series (study_key, series_uid, instances, outcome, size, sop_class,"
                    " transfer_syntax, modality, manufacturer, model, station, charset, marks, dose)"
                    " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                    [
                        (
                            study.study_key,
                            one.series_uid,
                            one.instances,
                            one.outcome,
                            one.size,
                            one.sop_class,
                            one.transfer_syntax,
                            one.modality,
                            one.manufacturer,
                            one.model,
                            one.station,
                            one.charset,
                            list(one.marks),
                            one.dose,
                        )
                        for one in study.series
                    ],
                )

    def totals(self) -> SampleTotals:
        with self._pool.transaction("count sample") as conn:
            row = conn.cursor(row_factory=class_row(SampleTotals)).execute(_TOTALS).fetchone()
        assert row is not None  # an aggregate without grouping has one row
        return row

    def equipment(self) -> tuple[EquipmentCount, ...]:
        """Devices in the sample, those with most series first."""
        with self._pool.transaction("group sample") as conn:
            return tuple(conn.cursor(row_factory=class_row(EquipmentCount)).execute(_EQUIPMENT))

    def encoded(self) -> tuple[SampleEncoded, ...]:
        with self._pool.transaction("group sample encodings") as conn:
            return tuple(conn.cursor(row_factory=class_row(SampleEncoded)).execute(_ENCODED))

    def marks(self) -> dict[str, int]:
        """Series of the sample by what was odd about their image."""
        with self._pool.transaction("count sample marks") as conn:
            rows = conn.execute(
                "select mark, count(*) from sampled_series, unnest(marks) mark group by mark order by 2 desc, 1"
            )
            return dict(rows.fetchall())

    def dose(self) -> dict[str, int]:
        """Sampled studies by the best that any of their series offers, as `Doses.counts` has them of moved ones."""
        with self._pool.transaction("count sample dose") as conn:
            return dict(conn.execute(_DOSE).fetchall())

    def moments(self) -> tuple[Moments, ...]:
        """Instances and estimated bytes of the sampled studies, by modalities; studies that lack an image are out."""
        with self._pool.transaction("sum sample by modality") as conn:
            return moments_of(conn.execute(_MOMENTS).fetchall())

    def sizes(self) -> tuple[SizeBin, ...]:
        """Instances of the sample by size, each image standing for its series."""
        with self._pool.transaction("count sample sizes") as conn:
            return tuple(conn.cursor(row_factory=class_row(SizeBin)).execute(_SIZES))


# Year 0 are those whose date is absent, no date, or a sentinel: as `Baselines.groups` has them.
_PICK = """
with strata as (select * from unnest(%(kinds)s::text[], %(years)s::integer[], %(wanted)s::integer[])
  as each (kind, year, wanted)),
placed as (
  select s.study_key, s.study_uid,
    coalesce(array_to_string(array(select m from unnest(s.modalities) m order by m), E'\\\\'), '') as kind,
    case when replace(btrim(s.study_date), '.', '') ~ '^[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])$'
        and replace(btrim(s.study_date), '.', '') between '19500101' and '99981231'
      then left(btrim(s.study_date), 4)::integer else 0 end as year,
    exists (select from sampled_study k where k.study_key = s.study_key) as sampled
  from study s, job j where s.generation = j.generation and s.instance_count is distinct from 0),
ranked as (
  select study_key, study_uid, kind, year, sampled,
    row_number() over (partition by kind, year order by sampled desc, md5(study_uid || %(seed)s)) as place
  from placed)
select r.study_key, r.study_uid from ranked r join strata t using (kind, year)
where r.place <= t.wanted and not r.sampled order by r.study_key"""

_TOTALS = """
select (select count(*) from sampled_study) as studies,
  (select count(*) from sampled_study where not listed) as unlisted,
  count(*) as series, count(*) filter (where outcome = 'read') as read,
  count(*) filter (where outcome = 'damaged') as damaged, count(*) filter (where outcome = 'absent') as absent,
  coalesce(sum(size), 0)::bigint as bytes_read,
  (select coalesce(sum(seconds), 0) from sampled_study)::float8 as seconds
from sampled_series"""

_EQUIPMENT = """
select modality, manufacturer, model, station, count(distinct study_key) as studies, count(*) as series,
  sum(instances)::bigint as instances, coalesce(sum(instances * size), 0)::bigint as bytes
from sampled_series where outcome = 'read' group by 1, 2, 3, 4 order by series desc, 1, 2, 3, 4"""

_ENCODED = """
select sop_class, transfer_syntax, charset, count(*) as series, sum(instances)::bigint as instances,
  coalesce(sum(instances * size), 0)::bigint as bytes
from sampled_series where outcome = 'read' group by 1, 2, 3 order by series desc, 1, 2, 3"""

_DOSE = """
select (array['report', 'readable', 'screen_only', 'none', 'no_ct'])[best], count(*) from (
  select min(array_position(array['report', 'readable', 'screen_only', 'none', 'no_ct'], dose)) as best
  from sampled_series where dose is not null group by study_key) each
group by best order by best"""

_MOMENTS = """
with whole as (
  select study_key, sum(instances)::float8 as x, sum(instances * size)::float8 as y from sampled_series
  group by study_key having bool_and(outcome = 'read'))
select (select array_agg(m order by m) from unnest(s.modalities) m), count(*), sum(x), sum(y), sum(x * x), sum(x * y),
  sum(y * y)
from whole join study s using (study_key) group by 1"""

_SIZES = """
select floor(log(2, greatest(size, 1)))::integer as power, sum(instances)::bigint as items,
  sum(instances * size)::bigint as weight
from sampled_series where outcome = 'read' group by 1 order by 1"""
