"""The one job a ledger belongs to, its endpoints, and the lock that keeps a second driver out."""

import os
import secrets
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import psycopg
from psycopg.types.json import Jsonb

from storage.errors import Retryable, StorageError
from storage.ledger.pool import Connection, Pool, beside_a_run, translated
from storage.ledger.records import DestinationState, Json

_LOCK = 0x10B
"""Key of the advisory lock whose session is the job's driver."""


class JobMismatch(StorageError):
    """The ledger belongs to another job, source or destination; nothing was changed."""


class JobHeld(StorageError):
    """Another process drives this job now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    name: str
    kind: str
    pull_limit: int
    """Most studies pulled at once, all workers together."""
    start: int | None = None
    """How many at first, and again whenever the limit changes; None: as many as the limit."""


class DeviceRoom(StrEnum):
    """Whether a device that is being loaded takes more."""

    LOADING = "loading"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationSpec:
    name: str
    kind: str
    inline: bool
    """True for the one destination that is written while the source sends."""
    fingerprint: str
    """Changes when the settings would put or find bytes elsewhere."""
    told: bool = False
    """It keeps what it has, and is told by message when a patient has become another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """The job's identity in this ledger."""

    secret: bytes
    """Keys the hash that stands for a study in logs."""
    sources: dict[str, int]
    destinations: dict[str, int]


class JobLock:
    """The session that holds the job."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def check(self) -> None:
        """The lock is still held. Raises `Retryable` when its session died: leave the block, take it anew."""
        try:
            self._conn.execute("select 1")
        except psycopg.Error:
            raise Retryable("the session that held the job is gone", operation="check lock", place="ledger") from None


class Jobs:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @contextmanager
    def lock(self, name: str) -> Generator[JobLock]:
        """This process drives the job until the block ends; Postgres frees the lock of a process that dies.

        Raises
        ------
        JobHeld
            Another process has it; the message names its host and process.
        """
        with self._pool.lone_connection("lock job") as conn:
            with translated("lock job"):
                row = conn.execute("select pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
                if row is None or not row[0]:
                    raise JobHeld(self._holder(conn), operation="lock job", place=name)
                conn.execute(
                    "update job set holder_host = %s, holder_pid = %s, held_since = limosa_now() where name = %s",
                    (socket.gethostname(), os.getpid(), name),
                )
            yield JobLock(conn)

    def _holder(self, conn: Connection) -> str:
        row = conn.execute("select holder_host, holder_pid, held_since from job").fetchone()
        if row is None or row[0] is None:
            return "held by a process that has not registered yet"
        return f"held by process {row[1]} on {row[0]} since {row[2]:%Y-%m-%d %H:%M} UTC"

    @beside_a_run
    def register(
        self,
        name: str,
        *,
        source_identity: str,
        sources: Sequence[SourceSpec],
        destinations: Sequence[DestinationSpec],
    ) -> Registered:
        """The ledger belongs to job `name` and knows its endpoints. Idempotent; limits are renewed.

        Raises
        ------
        JobMismatch
            The ledger holds studies of another job or source, or a destination that already holds studies would
            move elsewhere or change its role.
        """
        with self._pool.transaction("register job") as conn:
            conn.execute(
                "insert into job (name, source_identity, secret) values (%s, %s, %s) on conflict do nothing",
                (name, source_identity, secrets.token_bytes(32)),
            )
            # A typing error in the address of the archive binds nobody as long as nothing was asked there.
            conn.execute(
                "update job set name = %s, source_identity = %s"
                " where not exists (select from study) and not exists (select from find_window)",
                (name, source_identity),
            )
            row = conn.execute("select name, source_identity, secret from job for no key update").fetchone()
            assert row is not None  # inserted above
            if row[:2] != (name, source_identity):
                raise JobMismatch(f"belongs to job {row[0]!r} of {row[1]}", operation="register", place=name)
            return Registered(
                secret=bytes(row[2]),
                sources={spec.name: _put_source(conn, spec) for spec in sources},
                destinations={spec.name: _put_destination(conn, spec) for spec in destinations},
            )

    def set_destination(self, destination_id: int, state: DestinationState, reason: str | None = None) -> None:
        """New claims for the destination are handed out only while it is OPEN; `reason` is for people."""
        with self._pool.transaction("set destination") as conn:
            conn.execute(
                "update destination set state = %s, reason = %s where destination_id = %s",
                (state, reason, destination_id),
            )

    def reopen(self, destination_id: int) -> bool:
        """A FULL or STOPPED destination is OPEN again, because it may have room or answer now; True when it was not."""
        with self._pool.transaction("reopen destination") as conn:
            return (
                conn.execute(
                    "update destination set state = 'open', reason = null"
                    " where destination_id = %s and state <> 'open'",
                    (destination_id,),
                ).rowcount
                == 1
            )

    def attach_device(self, destination_id: int, *, device_id: str, path_label: str, state: DeviceRoom) -> None:
        """The device belongs to the destination; one that was sealed or shipped stays so. Idempotent.

        Raises
        ------
        JobMismatch
            The device belongs to another destination.
        """
        with self._pool.transaction("attach device") as conn:
            row = conn.execute(
                "insert into device (device_id, destination_id, path_label, state) values (%s, %s, %s, %s)"
                " on conflict (device_id) do update set path_label = excluded.path_label,"
                " changed_at = case when device.state in ('loading', 'full') and device.state <> excluded.state"
                "                   then limosa_now() else device.changed_at end,"
                " state = case when device.state in ('loading', 'full') then excluded.state else device.state end"
                " where device.destination_id = excluded.destination_id returning device_id",
                (device_id, destination_id, path_label, state),
            ).fetchone()
        if row is None:
            raise JobMismatch("belongs to another destination", operation="attach", place=f"device {path_label}")

    def devices(self, destination_id: int) -> dict[str, str]:
        """The state of each device of the destination, by its id."""
        with self._pool.transaction("list devices") as conn:
            rows = conn.execute("select device_id, state from device where destination_id = %s", (destination_id,))
            return dict(rows.fetchall())

    def loads_at(self, destination_id: int, path_label: str) -> bool:
        """Whether a device of the destination is being loaded that was last mounted in a folder of this name."""
        with self._pool.transaction("look for device") as conn:
            row = conn.execute(
                "select from device where destination_id = %s and path_label = %s and state in ('loading', 'full')"
                " limit 1",
                (destination_id, path_label),
            ).fetchone()
        return row is not None

    def learn(self, source_id: int, found: Json) -> None:
        """What was found out about the source joins its profile; other parts of the profile stay."""
        with self._pool.transaction("learn profile") as conn:
            conn.execute("update source set profile = profile || %s where source_id = %s", (Jsonb(found), source_id))

    def profile(self, source_name: str) -> Json:
        """Everything found out about the source; empty for one that is not known yet."""
        with self._pool.transaction("read profile") as conn:
            row = conn.execute("select profile from source where name = %s", (source_name,)).fetchone()
        return {} if row is None else row[0]

    def set_device(self, destination_id: int, *, device_id: str, path_label: str, state: str) -> None:
        """The device belongs to the destination and is in `state`. Idempotent."""
        with self._pool.transaction("set device") as conn:
            conn.execute(
                "insert into device (device_id, destination_id, path_label, state) values (%s, %s, %s, %s)"
                " on conflict (device_id) do update set path_label = excluded.path_label, state = excluded.state,"
                " changed_at = limosa_now() where device.destination_id = excluded.destination_id",
                (device_id, destination_id, path_label, state),
            )


def _put_source(conn: Connection, spec: SourceSpec) -> int:
    start = spec.pull_limit if spec.start is None else min(spec.start, spec.pull_limit)
    conn.execute(
        # What was learnt under other limits is forgotten with them.
        "update pace set state = '{}' from source"
        " where pace.source_id = source.source_id and name = %s and pull_limit <> %s",
        (spec.name, spec.pull_limit),
    )
    row = conn.execute(
        "insert into source (name, kind, pull_limit, allowed) values (%(name)s, %(kind)s, %(limit)s, %(start)s)"
        " on conflict (name) do update set kind = excluded.kind, pull_limit = excluded.pull_limit,"
        " allowed = case when source.pull_limit = excluded.pull_limit then source.allowed else excluded.allowed end"
        " returning source_id",
        {"name": spec.name, "kind": spec.kind, "limit": spec.pull_limit, "start": start},
    ).fetchone()
    assert row is not None  # an upsert without a condition returns its row
    conn.execute("insert into pace (source_id) values (%s) on conflict do nothing", row)
    return row[0]


def _put_destination(conn: Connection, spec: DestinationSpec) -> int:
    row = conn.execute(
        "insert into destination (name, kind, inline, fingerprint, told)"
        " values (%(name)s, %(kind)s, %(inline)s, %(fingerprint)s, %(told)s)"
        " on conflict (name) do update"
        " set kind = excluded.kind, inline = excluded.inline, fingerprint = excluded.fingerprint, told = excluded.told"
        " where (destination.kind, destination.inline, destination.fingerprint)"
        "       = (excluded.kind, excluded.inline, excluded.fingerprint)"
        " or not exists (select from delivery where delivery.destination_id = destination.destination_id"
        "                and (written_at is not null or destination.inline <> excluded.inline))"
        " returning destination_id",
        {
            "name": spec.name,
            "kind": spec.kind,
            "inline": spec.inline,
            "fingerprint": spec.fingerprint,
            "told": spec.told,
        },
    ).fetchone()
    if row is None:
        raise JobMismatch("holds studies under other settings", operation="register", place=spec.name)
    return row[0]
