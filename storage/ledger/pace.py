"""How fast a source sends, and how many studies of it are therefore pulled at once: one row per source.

Every mover adds what it saw to the row. Whoever finds the slice of time over closes it and decides, holding the row, so
there is one decision per source whatever the number of movers, and it needs none of them in particular: a mover or
a driver that dies takes at most what it had not reported yet with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from storage.ledger.pool import Connection, Pool
from storage.ledger.records import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one mover saw since it last told, or all of them in one slice."""

    instances: int = 0
    bytes: int = 0
    busy: float = 0.0
    """Association-seconds spent on studies."""
    ended: int = 0
    failed: int = 0
    """Of the attempts that ended, those that did not bring the study."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A closed slice, and what was known before it."""

    state: Json
    """As the last judgement left it; empty at first."""
    allowed: int
    limit: int
    seconds: float
    heard: Heard
    refused: int
    """How often the source asked for fewer of us meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is to be remembered and allowed from now on."""

    state: Json
    allowed: int
    reason: str
    """For another number than before; else not used."""
    instances_per_second: float
    bytes_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationChange:
    """Another number of studies of a source is pulled at once since `at`."""

    at: datetime
    before: int
    after: int
    reason: str
    instances_per_second: float
    """Measured at the number before."""
    bytes_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePace:
    """What a source is asked with now."""

    source_id: int
    name: str
    allowed: int
    limit: int
    refusals: int
    refused_at: datetime | None


class Paces:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def report(
        self, source_id: int, heard: Heard, *, slice_length: timedelta, judge: Callable[[Standing], Judgement]
    ) -> AssociationChange | None:
        """`heard` is counted. When the slice is over, or the source refused, `judge` decided; returned is its change.

        `judge` runs inside the transaction and must be pure and quick. Raises `LookupError` for an unknown source.
        """
        with self._pool.transaction("report pace") as conn:
            # What a crash of Postgres loses here is a moment of a measurement.
            conn.execute("set local synchronous_commit = off")
            row = conn.execute(
                "update pace set instances = instances + %s, bytes = bytes + %s, busy = busy + %s, ended = ended + %s,"
                " failed = failed + %s where source_id = %s"
                " returning instances, bytes, busy, ended, failed, refused,"
                "           extract(epoch from limosa_now() - since)::float8, state",
                (heard.instances, heard.bytes, heard.busy, heard.ended, heard.failed, source_id),
            ).fetchone()
            if row is None:
                raise LookupError(f"no source {source_id}")
            instances, size, busy, ended, failed, refused, seconds, state = row
            if seconds <= 0 or (seconds < slice_length.total_seconds() and not refused):
                return None
            allowed, limit = _hold_source(conn, source_id)
            total = Heard(instances=instances, bytes=size, busy=busy, ended=ended, failed=failed)
            judgement = judge(
                Standing(state=state, allowed=allowed, limit=limit, seconds=seconds, heard=total, refused=refused)
            )
            conn.execute(
                "update pace set instances = 0, bytes = 0, busy = 0, ended = 0, failed = 0, refused = 0,"
                " since = limosa_now(), state = %s where source_id = %s",
                (Jsonb(judgement.state), source_id),
            )
            return None if judgement.allowed == allowed else _change(conn, source_id, allowed, judgement)

    def sources(self) -> tuple[SourcePace, ...]:
        """Every source of the job."""
        with self._pool.transaction("list paces") as conn:
            rows = conn.cursor(row_factory=class_row(SourcePace)).execute(
                "select source_id, name, allowed::integer, pull_limit as limit, busy_count as refusals,"
                " busy_at as refused_at from source order by source_id"
            )
            return tuple(rows)

    def changes(self, source_id: int, limit: int) -> tuple[AssociationChange, ...]:
        """The latest changes, newest first."""
        with self._pool.transaction("list association changes") as conn:
            rows = conn.cursor(row_factory=class_row(AssociationChange)).execute(
                "select at, before, after, reason, instances_per_second, bytes_per_second from association_change"
                " where source_id = %s order by change_id desc limit %s",
                (source_id, limit),
            )
            return tuple(rows)


def _hold_source(conn: Connection, source_id: int) -> tuple[int, int]:
    """What is allowed and the limit, held until the transaction ends: claims take turns with the change."""
    row = conn.execute(
        "select allowed, pull_limit from source where source_id = %s for no key update", (source_id,)
    ).fetchone()
    assert row is not None  # the row in pace refers to it
    return int(row[0]), row[1]


def _change(conn: Connection, source_id: int, before: int, judgement: Judgement) -> AssociationChange:
    conn.execute("update source set allowed = %s where source_id = %s", (judgement.allowed, source_id))
    row = conn.execute(
        "insert into association_change"
        " (source_id, before, after, reason, instances_per_second, bytes_per_second)"
        " values (%s, %s, %s, %s, %s, %s) returning at",
        (
            source_id,
            before,
            judgement.allowed,
            judgement.reason,
            judgement.instances_per_second,
            judgement.bytes_per_second,
        ),
    ).fetchone()
    assert row is not None  # an insert returns its row
    return AssociationChange(
        at=row[0],
        before=before,
        after=judgement.allowed,
        reason=judgement.reason,
        instances_per_second=judgement.instances_per_second,
        bytes_per_second=judgement.bytes_per_second,
    )
