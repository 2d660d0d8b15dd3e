"""Brings a database to the schema of this version: plain SQL files, in order, each in one transaction."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, cast

from storage.errors import StorageError
from storage.ledger.pool import translated
from storage.ledger.reach import connect

FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x11305A
"""Key of the advisory lock that lets one process migrate while the others wait."""


class SchemaMismatch(StorageError):
    """The database holds a schema that this version of Limosa did not make; nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    version: int
    name: str
    checksum: str
    """SHA-256 of the file, in hexadecimal."""
    text: str


def migrations() -> tuple[Migration, ...]:
    """The files of this version, in order. Raises `SchemaMismatch` when one differs from CHECKSUMS."""
    listed = dict(line.split()[::-1] for line in (FOLDER / "CHECKSUMS").read_text().splitlines())
    found: list[Migration] = []
    for number, path in enumerate(sorted(FOLDER.glob("*.sql")), start=1):
        content = path.read_bytes()
        checksum = hashlib.sha256(content).hexdigest()
        if listed.get(path.name) != checksum or int(path.name[:4]) != number:
            raise SchemaMismatch("differs from CHECKSUMS", operation="read migration", place=path.name)
        found.append(Migration(version=number, name=path.name, checksum=checksum, text=content.decode()))
    if len(found) != len(listed):
        raise SchemaMismatch("CHECKSUMS names files that are not there", operation="read migrations")
    return tuple(found)


def migrate(url: str) -> int:
    """The database at `url` has the schema of this version, whose number is returned. Idempotent.

    Raises
    ------
    SchemaMismatch
        An applied file has changed since, or the database is newer than this version.
    Rejected, Retryable
        As `connect`; or something held a table longer than the lock timeout.
    """
    known = migrations()
    with connect(url) as conn, translated("migrate"):
        conn.execute("select pg_advisory_lock(%s)", (_LOCK,))
        conn.execute(
            "create table if not exists schema_version ("
            " version integer primary key, name text not null, checksum text not null,"
            " applied_at timestamptz not null default now())"
        )
        applied = conn.execute("select version, name, checksum from schema_version order by version").fetchall()
        if len(applied) > len(known):
            raise SchemaMismatch(f"the ledger is at {len(applied)}, this version knows {len(known)}")
        for row, migration in zip(applied, known, strict=False):
            if row != (migration.version, migration.name, migration.checksum):
                raise SchemaMismatch("was applied with another content", operation="migrate", place=migration.name)
        for migration in known[len(applied) :]:
            with conn.transaction():
                # Better to fail and be run again than to queue every claim behind a waiting ALTER TABLE.
                conn.execute("set local lock_timeout = '5s'")
                conn.execute(cast(LiteralString, migration.text))  # a file whose checksum was just verified
                conn.execute(
                    "insert into schema_version (version, name, checksum) values (%s, %s, %s)",
                    (migration.version, migration.name, migration.checksum),
                )
    return len(known)
