"""One plan of the whole archive: what was decided about every study is laid beside what held until now.

Everything lies in temporary tables of one session until `apply`; a plan that is only looked at leaves nothing behind.
"""

import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from storage.ledger.deciding_records import (
    DecidedStudy,
    ListedStudy,
    NumberRow,
    PlanApplied,
    PlanClass,
    PlannedChange,
    PlanTally,
)
from storage.ledger.deciding_sql import (
    ACCEPTED,
    CHANGES,
    CLOSE,
    COLLIDE,
    COLLIDE_FURTHER,
    COPY,
    CREATE,
    DECIDE,
    GO_ON,
    OPEN,
    RECOUNT,
    RELEASE,
    SETTLE,
    SHARED,
    SHARED_FURTHER,
    STOP,
    STOP_DELIVERIES,
    STUDIES,
    SUPERSEDE,
    TALLY,
    TWINS,
)
from storage.ledger.pool import Connection, Pool, beside_a_run, translated
from storage.ledger.records import Json

SUPERSEDED = "superseded"
"""The resolution of what was opened for a proposal that the plan does not make any more."""

LOOKED_ANEW = ("retry", "renew")
"""Resolutions after which what was found before is looked for anew (`resolving.Resolution`)."""

PAGE = 10_000
"""Studies read, decided and applied at a time: about a second of work."""

PLAN_LOCK = 0x9_1A4
"""Key of the advisory lock that a plan holds while it changes anything; whoever accepts a proposal shares it."""


class Deciding:
    """The session of one plan."""

    def __init__(self, conn: Connection, source_id: int, classes: Sequence[PlanClass], *, applies: bool) -> None:
        """`applies`: the plan will be carried out."""
        self._conn = conn
        self._source_id = source_id
        self._classes = {one.kind: one for one in classes}
        self._known: dict[str, Any] = {
            "review": [one.kind for one in classes if one.verdict == "review"],
            "conflict": [one.kind for one in classes if one.verdict == "conflict"],
            "kinds": [one.kind for one in classes],
            "superseded": SUPERSEDED,
        }
        self._further = False
        # Two plans at once would each undo what the other did; the second waits. One that is only looked at waits for
        # those that change something, and keeps nobody waiting but them.
        conn.execute(f"select pg_advisory_lock{'' if applies else '_shared'}(%s)", (PLAN_LOCK,))
        conn.execute(CREATE)

    def studies(self) -> Iterator[tuple[ListedStudy, ...]]:
        """Every study that may move, page by page."""
        after = 0
        while True:
            rows = self._conn.execute(STUDIES, (self._source_id, after, PAGE)).fetchall()
            if not rows:
                return
            after = rows[-1][0]
            yield tuple(ListedStudy._make(row) for row in rows)

    def several_patients(self) -> dict[int, tuple[tuple[str, str | None], ...]]:
        """Studies that the archive lists under several patients: all numbers and issuers it ever gave for them."""
        found: dict[int, dict[tuple[str, str | None], None]] = {}
        for study_key, told in self._told_of("STUDY_UID_MULTI_PATIENT"):
            for patient_id, issuer in told.get("patients", ()):
                found.setdefault(study_key, {})[patient_id, issuer] = None
        return {key: tuple(several) for key, several in found.items()}

    def found_accessions(self) -> dict[int, tuple[str, ...]]:
        """Studies whose headers were found to have accession numbers that the archive does not list: which, since a
        person last had them looked for anew."""
        found: dict[int, set[str]] = {}
        for study_key, told in self._told_of("ACC_UNLISTED", until=LOOKED_ANEW):
            found.setdefault(study_key, set()).update(told.get("found", ()))
        return {key: tuple(sorted(numbers)) for key, numbers in found.items()}

    def _told_of(self, kind: str, *, until: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, Any]]]:
        """All evidence that studies' exceptions of a class ever had, open or closed; none of one that was closed as one
        of `until`, or before such a one."""
        rows = self._conn.execute(
            "select study_key, evidence from exception e where kind = %(kind)s and study_key is not null"
            " and not exists (select from exception l where l.study_key = e.study_key and l.kind = e.kind"
            " and l.exception_id >= e.exception_id and l.resolution = any(%(until)s)) order by exception_id",
            {"kind": kind, "until": list(until)},
        )
        for study_key, evidence in rows:
            yield study_key, evidence
            yield from ((study_key, told) for told in evidence.get("earlier", ()))

    def put(self, decided: Iterable[DecidedStudy]) -> None:
        """These decisions belong to the plan."""
        further: list[tuple[object, ...]] = []
        with self._conn.cursor().copy(COPY) as copy:
            for one in decided:
                copy.write_row((*one[:3], Jsonb(one.content), Jsonb(one.evidence), *one[5:-1]))
                further += ((one.study_key, *number) for number in one.further)
        with self._conn.cursor() as cursor:
            cursor.executemany("insert into further values (%s, %s, %s, %s, %s)", further)
        self._further = self._further or bool(further)

    def shared_numbers(self) -> Iterator[NumberRow]:
        """Every study whose number becomes that of another study, too; those of one number next to each other."""
        self._conn.execute("create index on deciding (accession_issuer, accession)")
        with self._conn.transaction(), self._conn.cursor(name="numbers") as cursor:
            cursor.itersize = PAGE
            cursor.execute(SHARED_FURTHER if self._further else SHARED)
            for row in cursor:
                yield NumberRow._make(row)

    def collide(self, kind: str, issuer: str, number: str, evidence: Json) -> int:
        """The studies whose accession becomes this one are of class `kind` and keep the number they have; how many."""
        values = {"kind": kind, "issuer": issuer, "number": number, "evidence": Jsonb(evidence)}
        touched = self._conn.execute(COLLIDE, values).rowcount
        if self._further:
            touched += self._conn.execute(COLLIDE_FURTHER, values).rowcount
        return touched

    def settle(self) -> PlanTally:
        """All studies were compared: verdicts are final, with what people have accepted taken into account."""
        self._conn.execute(TWINS)
        self._conn.execute(ACCEPTED)
        self._conn.execute(SETTLE, self._known)
        self._conn.execute("create index on deciding (study_key)")
        self._conn.execute("analyze deciding")
        return self._tally()

    def changes(self, limit: int) -> tuple[PlannedChange, ...]:
        """The first studies whose decision is new or another one; to be asked for before the plan is applied."""
        rows = self._conn.cursor(row_factory=class_row(PlannedChange)).execute(CHANGES, (limit,))
        return tuple(rows)

    def _tally(self) -> PlanTally:
        verdicts = self._conn.execute("select verdict, count(*) from deciding group by 1").fetchall()
        classes = self._conn.execute(
            "select kind, count(*) from deciding, unnest(open) kind group by 1 order by 1"
        ).fetchall()
        row = self._conn.execute(TALLY).fetchone()
        assert row is not None  # an aggregate without grouping has one row
        return PlanTally(
            studies=row[0], verdicts=dict(verdicts), classes=dict(classes), accepted=row[1], changed=row[2]
        )

    def apply(self, fingerprint: str, rules: Json) -> PlanApplied:
        """The decisions hold. Interrupted anywhere, making the plan again does what is left."""
        self._conn.execute(
            "insert into decision_rules (fingerprint, rules) values (%s, %s::json) on conflict do nothing",
            (fingerprint, json.dumps(rules)),
        )
        done = PlanApplied()
        (last,) = self._conn.execute("select max(study_key) from deciding").fetchone() or (None,)
        row = self._conn.execute("select min(study_key) from deciding").fetchone()
        first = row[0] if row else None
        while first is not None and first <= last:
            done.add(self._apply_page({**self._known, "first": first, "next": first + PAGE, "rules": fingerprint}))
            first += PAGE
        return done

    @beside_a_run
    def _apply_page(self, values: dict[str, Any]) -> PlanApplied:
        conn, done = self._conn, PlanApplied()
        with translated("apply plan"), conn.transaction():
            conn.execute(SUPERSEDE, values)
            done.decided += conn.execute(DECIDE, values).rowcount
            for kind, severity, remedy, holds in self._told():
                told = {"kind": kind, "severity": severity, "remedy": remedy, "blocking": holds}
                conn.execute(OPEN, values | told)
            done.closed += conn.execute(CLOSE, values).rowcount
            done.held += conn.execute(STOP, values).rowcount
            conn.execute(STOP_DELIVERIES, values)
            done.released += conn.execute(RELEASE, values).rowcount
            done.renewed += conn.execute(RECOUNT, values).rowcount
            conn.execute(GO_ON, values)
        return done

    def _told(self) -> list[tuple[str, str, str, bool]]:
        present = self._conn.execute("select distinct unnest(open) from deciding").fetchall()
        chosen = [self._classes[kind] for (kind,) in present]
        return [(one.kind, one.severity.value, one.remedy, one.holds) for one in chosen]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What holds about one study."""

    verdict: str
    held: bool
    digest: bytes
    classes: tuple[str, ...]
    content: Json
    evidence: Json
    rules: str


class Decisions:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @contextmanager
    def plan(self, source_id: int, classes: Sequence[PlanClass], *, applies: bool) -> Generator[Deciding]:
        """A plan of all studies of the source, carried out by `Deciding.apply` where it `applies`; what is not applied
        when the block ends is forgotten."""
        with self._pool.lone_connection("plan identities") as conn:
            yield Deciding(conn, source_id, classes, applies=applies)

    def of_study(self, study_uid: str) -> Decision | None:
        """What holds about the study; None where nothing was decided."""
        with self._pool.transaction("read decision") as conn:
            return (
                conn.cursor(row_factory=class_row(Decision))
                .execute(
                    "select d.verdict, d.held, d.digest, d.classes, d.content, d.evidence, d.rules"
                    " from decision d join study s using (study_key) where s.study_uid = %s",
                    (study_uid,),
                )
                .fetchone()
            )
