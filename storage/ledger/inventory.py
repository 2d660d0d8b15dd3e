"""What the archive says it has: windows asked, answers kept, studies found."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import zstandard
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from imaging.uid import Uid
from storage.ledger.exceptions import put_problem
from storage.ledger.pool import Connection, Pool, beside_a_run
from storage.ledger.records import FoundAnswer, FoundStudy, Problem, Severity, Verdict

_LENGTH = struct.Struct(">I")
LONGEST = 500
"""Characters of a value that are kept: what is shorter than an index takes in, and longer than any number or name."""
PATIENTS_SHOWN = 10
"""Identities kept as evidence per study; a study under more than ten is no less wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a batch of found studies changed."""

    new: int
    changed: int
    """Known studies whose counts or identity differ from what was known."""
    same: int
    two_patients: tuple[Uid, ...]
    """Studies the archive lists under several patients; each has an exception now, and moves all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRow:
    """A window as it was last answered in a generation."""

    window_id: int
    parent_id: int | None
    verdict: Verdict
    answers: int
    undecodable: int
    ended: str
    status: int | None
    transfer_syntax: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCounts:
    """How a generation's inventory compares with all that is known."""

    seen: int
    unseen: int
    """Studies an earlier generation knew and this one has not (yet) met."""
    instances: int
    """As the archive claims, of the studies seen."""
    uncounted: int
    """Seen studies for which the archive gave no instance count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedStudy:
    """What the archive claims of a study, as far as another list may say otherwise."""

    study_uid: Uid
    patient_id: str | None
    accession: str | None
    study_date: str | None
    series_count: int | None
    instance_count: int | None


def pack_answers(raw: Sequence[bytes]) -> bytes:
    """The identifiers, each behind its length (32-bit big-endian), as one zstd frame."""
    joined = b"".join(_LENGTH.pack(len(answer)) + answer for answer in raw)
    return zstandard.ZstdCompressor(level=3).compress(joined)


def unpack_answers(packed: bytes) -> tuple[bytes, ...]:
    """The identifiers of `pack_answers`."""
    joined = zstandard.ZstdDecompressor().decompress(packed)
    answers: list[bytes] = []
    at = 0
    while at < len(joined):
        (length,) = _LENGTH.unpack_from(joined, at)
        at += _LENGTH.size
        answers.append(joined[at : at + length])
        at += length
    return tuple(answers)


class Inventory:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def begin_generation(self) -> int:
        """A new pass over the archive begins; windows are asked anew and studies seen are marked with it."""
        with self._pool.transaction("begin inventory") as conn:
            row = conn.execute("update job set generation = generation + 1 returning generation").fetchone()
        if row is None:
            raise LookupError("the ledger has no job yet")
        return row[0]

    def generation(self) -> int:
        """The current pass; 0 before the first."""
        with self._pool.transaction("read generation") as conn:
            row = conn.execute("select generation from job").fetchone()
        return 0 if row is None else row[0]

    def end_pass(self, source_id: int) -> None:
        """Everything of the current generation was asked and answered."""
        with self._pool.transaction("end inventory") as conn:
            conn.execute(
                "update source set enumerated = (select generation from job) where source_id = %s", (source_id,)
            )

    def ended(self, source_id: int) -> bool:
        """Whether nothing of the current generation is left to ask."""
        with self._pool.transaction("read enumerated") as conn:
            row = conn.execute(
                "select enumerated > 0 and enumerated = (select generation from job) from source where source_id = %s",
                (source_id,),
            ).fetchone()
        return row is not None and row[0]

    def recent(
        self, source_id: int, within: timedelta, *, met_before: datetime, after_key: int = 0, limit: int = 1_000
    ) -> tuple[tuple[int, Uid], ...]:
        """Studies that were new or got a new revision `within` the time up to now, and were last met before
        `met_before`; a page in order of their keys."""
        with self._pool.transaction("list recent") as conn:
            rows = conn.execute(
                _RECENT,
                {"source": source_id, "within": within, "met": met_before, "after": after_key, "limit": limit},
            )
            return tuple(rows.fetchall())

    @beside_a_run
    def record_answer(
        self, source_id: int, answer: FoundAnswer, verdict: Verdict, parent_id: int | None = None
    ) -> tuple[int, Recorded]:
        """The window's answer and the studies it brought are in the ledger, in one transaction.

        A window counts as answered only together with its studies, so an inventory that stops anywhere resumes
        from the windows. Asked again in the same generation, the later answer replaces the earlier.
        """
        with self._pool.transaction("record answer") as conn:
            recorded = _record_studies(conn, source_id, answer.studies)
            row = conn.execute(
                "insert into find_window (source_id, generation, keys, parent_id, verdict, answers, undecodable,"
                " ended, status, transfer_syntax, raw)"
                " select %(source)s, generation, %(keys)s, %(parent)s, %(verdict)s, %(answers)s, %(undecodable)s,"
                " %(ended)s, %(status)s, %(syntax)s, %(raw)s from job"
                " on conflict on constraint one_answer_per_window do update set"
                " parent_id = excluded.parent_id, verdict = excluded.verdict, answers = excluded.answers,"
                " undecodable = excluded.undecodable, ended = excluded.ended, status = excluded.status,"
                " transfer_syntax = excluded.transfer_syntax, raw = excluded.raw, at = limosa_now()"
                " returning window_id",
                {
                    "source": source_id,
                    "keys": Jsonb(dict(answer.window.keys())),
                    "parent": parent_id,
                    "verdict": verdict,
                    "answers": len(answer.studies),
                    "undecodable": answer.undecodable,
                    "ended": str(answer.end),
                    "status": answer.status,
                    "syntax": answer.transfer_syntax,
                    "raw": pack_answers(answer.raw),
                },
            ).fetchone()
            if row is None:
                raise LookupError("the ledger has no job yet")
            return row[0], recorded

    @beside_a_run
    def record_studies(self, source_id: int, studies: Sequence[FoundStudy]) -> Recorded:
        """Studies found by other means than a window (an export, a single query) are in the ledger."""
        with self._pool.transaction("record studies") as conn:
            return _record_studies(conn, source_id, studies)

    def recount(self, study_key: int) -> None:
        """The study's next plan makes a new revision: the source was found to hold more than was delivered."""
        with self._pool.transaction("mark recount") as conn:
            conn.execute(
                "update study set recount = true, corrected = false where study_key = %s and state <> 'discovered'",
                (study_key,),
            )

    def window(self, source_id: int, keys: Mapping[str, str]) -> WindowRow | None:
        """The window's answer in the current generation; None when it was not asked yet."""
        with self._pool.transaction("read window") as conn:
            return (
                conn.cursor(row_factory=class_row(WindowRow))
                .execute(
                    "select window_id, parent_id, verdict, answers, undecodable, ended, status, transfer_syntax, at"
                    " from find_window where source_id = %s and keys = %s"
                    " and generation = (select generation from job)",
                    (source_id, Jsonb(dict(keys))),
                )
                .fetchone()
            )

    def answers(self, window_id: int) -> tuple[bytes, ...]:
        """The identifiers of a window's answer, as received."""
        with self._pool.transaction("read answers") as conn:
            row = conn.execute("select raw from find_window where window_id = %s", (window_id,)).fetchone()
        if row is None:
            raise LookupError(f"no window {window_id}")
        return unpack_answers(bytes(row[0]))

    def verdicts(self, source_id: int) -> dict[Verdict, int]:
        """How many windows of the current generation have which verdict."""
        with self._pool.transaction("count windows") as conn:
            rows = conn.execute(
                "select verdict, count(*) from find_window where source_id = %s"
                " and generation = (select generation from job) group by verdict",
                (source_id,),
            )
            return dict(rows.fetchall())

    def seen(self, source_id: int) -> SeenCounts:
        """How the current generation compares with all that is known of the source."""
        with self._pool.transaction("count seen") as conn:
            row = (
                conn.cursor(row_factory=class_row(SeenCounts))
                .execute(
                    "select count(*) filter (where s.generation = j.generation) as seen,"
                    " count(*) filter (where s.generation < j.generation) as unseen,"
                    " coalesce(sum(instance_count) filter (where s.generation = j.generation), 0)::bigint as instances,"
                    " count(*) filter (where s.generation = j.generation and instance_count is null) as uncounted"
                    " from study s, job j where s.source_id = %s",
                    (source_id,),
                )
                .fetchone()
            )
        assert row is not None  # an aggregate without grouping has one row
        return row

    def claimed(self, source_id: int, studies: Sequence[Uid]) -> dict[Uid, ClaimedStudy]:
        """What the current generation's answers say of those of the studies that it met."""
        with self._pool.transaction("read claims of studies") as conn:
            rows = conn.cursor(row_factory=class_row(ClaimedStudy)).execute(
                "select s.study_uid, s.patient_id, s.accession, s.study_date, s.series_count, s.instance_count"
                " from study s, job j where s.source_id = %s and s.study_uid = any(%s) and s.generation = j.generation",
                (source_id, list(studies)),
            )
            return {row.study_uid: row for row in rows}

    def seen_uids(self, source_id: int, *, page: int = 10_000) -> Iterator[Uid]:
        """Every study of the current generation, in order of their UIDs, page by page."""
        after = ""
        while True:
            with self._pool.transaction("list seen") as conn:
                rows = conn.execute(
                    "select study_uid from study where source_id = %s and generation = (select generation from job)"
                    " and study_uid > %s order by study_uid limit %s",
                    (source_id, after, page),
                ).fetchall()
            yield from (row[0] for row in rows)
            if len(rows) < page:
                return
            after = rows[-1][0]

    def unseen(self, source_id: int, *, after: Uid | None = None, limit: int = 10_000) -> tuple[Uid, ...]:
        """Known studies that the current generation has not met, a page in order of their UIDs."""
        with self._pool.transaction("list unseen") as conn:
            rows = conn.execute(
                "select study_uid from study where source_id = %s and generation < (select generation from job)"
                " and study_uid > %s order by study_uid limit %s",
                (source_id, after or "", limit),
            )
            return tuple(row[0] for row in rows)


def _record_studies(conn: Connection, source_id: int, studies: Sequence[FoundStudy]) -> Recorded:
    if not studies:
        return Recorded(new=0, changed=0, same=0, two_patients=())
    conn.execute("set local client_min_messages = warning")  # the notice that the table exists already
    conn.execute(
        "create temp table if not exists found_study ("
        ' ordinal integer, study_uid text collate "C", patient_id text, issuer text, patient_name text,'
        " birth_date text, sex text, accession text, study_date text, study_time text, modalities text[],"
        " description text, series_count integer, instance_count integer) on commit delete rows"
    )
    conn.execute("truncate found_study")
    with conn.cursor().copy("copy found_study from stdin") as copy:
        for ordinal, study in enumerate(studies):
            copy.write_row(
                (
                    ordinal,
                    study.study_uid,
                    _kept(study.patient_id),
                    _kept(study.issuer),
                    _kept(study.patient_name),
                    _kept(study.birth_date),
                    _kept(study.sex),
                    _kept(study.accession),
                    _kept(study.study_date),
                    _kept(study.study_time),
                    None if study.modalities is None else [_kept(one) for one in study.modalities],
                    _kept(study.description),
                    study.series_count,
                    study.instance_count,
                )
            )
    identities = _two_patients(conn)
    distinct = conn.execute("select count(distinct study_uid) from found_study").fetchone()
    known = conn.execute(_RENEW).fetchall()
    new = conn.execute(_INSERT, {"source": source_id}).rowcount
    assert distinct is not None  # an aggregate without grouping has one row
    changed = sum(1 for row in known if row[0])
    _tell_two_patients(conn, identities)
    two_patients = tuple(sorted(identities))
    return Recorded(new=new, changed=changed, same=distinct[0] - new - changed, two_patients=two_patients)


def _kept(text: str | None) -> str | None:
    """No text of a ledger holds a NUL, or half of a pair of surrogates, which JSON may have."""
    if text is None:
        return None
    kept = text[:LONGEST].replace("\0", " ")
    return kept if kept.isascii() else kept.encode("utf-8", "replace").decode("utf-8")


def _two_patients(conn: Connection) -> dict[Uid, list[list[str | None]]]:
    """Studies with several identities in this batch, or another than the same pass has met before; all of these.

    A different identity in a later pass is no conflict: patients are merged while a migration runs.
    """
    rows = conn.execute(
        "select study_uid, jsonb_agg(distinct jsonb_build_array(patient_id, issuer)) from ("
        " select study_uid, patient_id, issuer from found_study where patient_id is not null"
        " union all"
        " select s.study_uid, s.patient_id, s.issuer from study s join found_study f using (study_uid), job j"
        " where s.generation = j.generation and s.patient_id is not null) seen"
        " group by study_uid having count(distinct (patient_id, coalesce(issuer, ''))) > 1"
    )
    return {study_uid: identities[:PATIENTS_SHOWN] for study_uid, identities in rows}


def _tell_two_patients(conn: Connection, identities: Mapping[Uid, list[list[str | None]]]) -> None:
    if not identities:
        return
    keys = conn.execute(
        "select study_key, study_uid from study where study_uid = any(%s) order by study_key", (list(identities),)
    ).fetchall()
    for study_key, study_uid in keys:
        problem = Problem(
            kind="STUDY_UID_MULTI_PATIENT",
            severity=Severity.WARNING,
            blocking=False,
            remedy="The archive lists this study under several patients. It is delivered as it is; check the patients.",
            evidence={"patients": identities[study_uid]},
        )
        put_problem(conn, problem, study_key=study_key, delivery_id=None, destination_id=None)


# What the archive does not say is kept from earlier answers: absent means unknown, never zero. Of another patient
# nothing is kept: a number beside the issuer or name of another would be a patient whom nobody ever listed. A study
# listed under two patients shows now one, now the other: only an identity that was not told yet is a change.
_RENEW = """
with last as (select distinct on (study_uid) * from found_study order by study_uid, ordinal desc),
now as (
  select o.study_key, (o.patient_id is distinct from coalesce(f.patient_id, o.patient_id)
        or o.issuer is distinct from coalesce(f.issuer, o.issuer))
      and not exists (select from exception e, (values (jsonb_build_object('patients',
              jsonb_build_array(jsonb_build_array(f.patient_id, f.issuer))))) as told (identity)
            where e.study_key = o.study_key and e.kind = 'STUDY_UID_MULTI_PATIENT'
              and (e.evidence @> told.identity
                or e.evidence @> jsonb_build_object('earlier', jsonb_build_array(told.identity))))
      or o.series_count is distinct from coalesce(f.series_count, o.series_count)
      or o.instance_count is distinct from coalesce(f.instance_count, o.instance_count) as changed,
    coalesce(f.patient_id <> o.patient_id, false)
      or coalesce(f.patient_id = o.patient_id and f.issuer <> o.issuer, false) as another, f.*
  from last f join study o using (study_uid))
update study s set
  patient_id = coalesce(n.patient_id, s.patient_id),
  issuer = case when n.another then n.issuer else coalesce(n.issuer, s.issuer) end,
  patient_name = case when n.another then n.patient_name else coalesce(n.patient_name, s.patient_name) end,
  birth_date = case when n.another then n.birth_date else coalesce(n.birth_date, s.birth_date) end,
  sex = case when n.another then n.sex else coalesce(n.sex, s.sex) end, accession = coalesce(n.accession, s.accession),
  study_date = coalesce(n.study_date, s.study_date), study_time = coalesce(n.study_time, s.study_time),
  modalities = coalesce(n.modalities, s.modalities), description = coalesce(n.description, s.description),
  series_count = coalesce(n.series_count, s.series_count),
  instance_count = coalesce(n.instance_count, s.instance_count),
  recount = s.recount or (n.changed and s.state <> 'discovered'), corrected = s.corrected and not n.changed,
  generation = j.generation, last_seen = limosa_now()
from now n, job j where s.study_key = n.study_key returning n.changed"""

_INSERT = """
insert into study (source_id, generation, study_uid, patient_id, issuer, patient_name, birth_date, sex, accession,
  study_date, study_time, modalities, description, series_count, instance_count)
select distinct on (study_uid) %(source)s, j.generation, f.study_uid, f.patient_id, f.issuer, f.patient_name,
  f.birth_date, f.sex, f.accession, f.study_date, f.study_time, f.modalities, f.description, f.series_count,
  f.instance_count
from found_study f, job j
where not exists (select from study s where s.study_uid = f.study_uid)
order by study_uid, ordinal desc"""

_RECENT = """
select s.study_key, s.study_uid from study s
where s.source_id = %(source)s and s.study_key > %(after)s and s.last_seen < %(met)s and s.state <> 'excluded'
  and (s.first_seen >= limosa_now() - %(within)s::interval
    or exists (select from study_revision r where r.study_key = s.study_key and r.revision = s.revision
               and r.planned_at >= limosa_now() - %(within)s::interval))
order by s.study_key limit %(limit)s"""
