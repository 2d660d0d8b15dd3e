"""What steers a running job: pause, the source's throttle, and who is at work."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from storage.ledger.pool import Pool
from storage.ledger.records import Json

BUSY_SPACING = timedelta(seconds=5)
"""Refusals of a source within this time are told as one: four that come together are one sign of load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """How many pulls a source stands at the moment."""

    allowed: float
    pull_limit: int
    busy_at: datetime | None
    busy_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    name: str
    kind: str
    host: str
    pid: int
    started_at: datetime
    beat_at: datetime
    stats: Json


class Control:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def now(self) -> datetime:
        """The ledger's clock, which every lease and every time in a row is of."""
        with self._pool.transaction("read clock") as conn:
            row = conn.execute("select limosa_now()").fetchone()
        assert row is not None  # a select without a table
        return row[0]

    def pause(self, reason: str) -> None:
        """No claim is handed out until `resume`; studies under way are finished."""
        with self._pool.transaction("pause") as conn:
            conn.execute("update control set paused = true, reason = %s, changed_at = limosa_now()", (reason,))

    def resume(self) -> None:
        """Claims are handed out again."""
        with self._pool.transaction("resume") as conn:
            conn.execute("update control set paused = false, reason = null, changed_at = limosa_now()")

    def paused(self) -> str | None:
        """Why the job is paused; None when it is not."""
        with self._pool.transaction("read control") as conn:
            row = conn.execute("select reason from control where paused").fetchone()
        return None if row is None else row[0]

    def source_busy(self, source_id: int, reason: str) -> None:
        """The source asked for fewer of us; whoever closes the slice of time in `Paces` takes it into account."""
        with self._pool.transaction("source busy") as conn:
            conn.execute("update pace set refused = refused + 1 where source_id = %s", (source_id,))
            conn.execute(
                "update source set busy_at = limosa_now(), busy_count = busy_count + 1, busy_reason = %s"
                " where source_id = %s and (busy_at is null or busy_at <= limosa_now() - %s)",
                (reason, source_id, BUSY_SPACING),
            )

    def stop_source(self, source_id: int, reason: str, *, silent_for: timedelta) -> bool:
        """Nothing is pulled from the source until `reopen_source`, unless a study came from it within `silent_for`: it
        may be one worker that cannot reach it. True when this call stopped it."""
        with self._pool.transaction("stop source") as conn:
            return (
                conn.execute(
                    "update source s set stopped = %(reason)s where source_id = %(source)s and stopped is null"
                    " and not exists (select from receipt r join delivery d using (delivery_id)"
                    "   where d.source_id = s.source_id and d.pulled and r.at > limosa_now() - %(silent)s)",
                    {"reason": reason, "source": source_id, "silent": silent_for},
                ).rowcount
                == 1
            )

    def reopen_source(self, source_id: int) -> bool:
        """Studies are pulled again, because the source may answer now; True when it was stopped."""
        with self._pool.transaction("reopen source") as conn:
            return (
                conn.execute(
                    "update source set stopped = null where source_id = %s and stopped is not null", (source_id,)
                ).rowcount
                == 1
            )

    def limit_source(self, source_id: int, pull_limit: int) -> None:
        """At most `pull_limit` studies are pulled at once from now on."""
        with self._pool.transaction("limit source") as conn:
            conn.execute(
                "update source set pull_limit = %(limit)s, allowed = least(allowed, %(limit)s)"
                " where source_id = %(source)s",
                {"limit": pull_limit, "source": source_id},
            )

    def throttle(self, source_id: int) -> Throttle:
        """Where the source's throttle stands. Raises `LookupError` for an unknown source."""
        with self._pool.transaction("read throttle") as conn:
            row = (
                conn.cursor(row_factory=class_row(Throttle))
                .execute(
                    "select allowed, pull_limit, busy_at, busy_count from source where source_id = %s", (source_id,)
                )
                .fetchone()
            )
        if row is None:
            raise LookupError(f"no source {source_id}")
        return row

    def enrol(self, name: str, *, kind: str, host: str, pid: int) -> None:
        """The worker is known and was started now; an earlier process of that name is forgotten."""
        with self._pool.transaction("enrol worker") as conn:
            conn.execute(
                "insert into worker (name, kind, host, pid) values (%s, %s, %s, %s)"
                " on conflict (name) do update set kind = excluded.kind, host = excluded.host, pid = excluded.pid,"
                " started_at = limosa_now(), beat_at = limosa_now(), stats = '{}'",
                (name, kind, host, pid),
            )

    def beat(self, name: str, stats: Json) -> None:
        """The worker was alive now; `stats` replaces what it said before."""
        with self._pool.transaction("beat") as conn:
            conn.execute("update worker set beat_at = limosa_now(), stats = %s where name = %s", (Jsonb(stats), name))

    def dismiss(self, name: str) -> None:
        """The worker ended on purpose and is not missed."""
        with self._pool.transaction("dismiss worker") as conn:
            conn.execute("delete from worker where name = %s", (name,))

    def workers(self) -> tuple[WorkerRow, ...]:
        """Everyone who enrolled and was not dismissed."""
        with self._pool.transaction("list workers") as conn:
            rows = conn.cursor(row_factory=class_row(WorkerRow)).execute(
                "select name, kind, host, pid, started_at, beat_at, stats from worker order by name"
            )
            return tuple(rows)
