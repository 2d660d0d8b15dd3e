"""Connections to the ledger, and the one place where errors of Postgres become errors of storage."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from functools import wraps
from types import TracebackType
from typing import ParamSpec, TypeVar

import psycopg
from psycopg.rows import TupleRow
from psycopg.types.enum import EnumInfo, register_enum
from psycopg_pool import ConnectionPool, PoolTimeout

from storage.errors import Rejected, Retryable
from storage.ledger.lifecycle import DeliveryState, StudyState
from storage.ledger.records import DestinationState, LeaseKind, Severity, Verdict

Connection = psycopg.Connection[TupleRow]

PLACE = "ledger"
"""Where an error of the ledger says it happened."""

PATIENCE = timedelta(seconds=10)
"""Longest wait for a connection. A Postgres restart takes two seconds; a caller that waited ten should tell
somebody instead of waiting on."""

DEADLOCKS = 4
"""Times in a row that Postgres may have to choose between a command's transaction and those of a run beside it."""
_DEADLOCK = "40P01"
"""SQLSTATE of the one that was rolled back; nothing of it remains, and the same may be done again."""

P = ParamSpec("P")
T = TypeVar("T")

_SESSION = (
    # A worker that froze in the middle of a transaction holds rows nobody else can claim. Ours last milliseconds.
    "set idle_in_transaction_session_timeout = '30s'",
    # The same for a node that lost power: by default Postgres would believe in it for two hours.
    "set tcp_keepalives_idle = 30",
    "set tcp_keepalives_interval = 10",
    "set tcp_keepalives_count = 3",
)

_ENUMS: tuple[tuple[str, type[StrEnum]], ...] = (
    ("study_state", StudyState),
    ("delivery_state", DeliveryState),
    ("destination_state", DestinationState),
    ("lease_kind", LeaseKind),
    ("severity", Severity),
    ("find_verdict", Verdict),
)


@contextmanager
def translated(operation: str) -> Generator[None]:
    """Errors of Postgres leave as `Retryable` or `Rejected`.

    Their text is dropped on purpose: "Key (study_uid)=(1.2.840...) already exists" would carry a patient's UID
    into whatever log prints it. SQLSTATE and the constraint's name, which says the rule, are kept.
    """
    try:
        yield
    except PoolTimeout:
        raise Retryable("the ledger cannot be reached", operation=operation, place=PLACE) from None
    except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction) as error:
        # Read-only is what a standby says until it is promoted: away, for all that is to be written.
        raise Retryable(
            "the ledger is away or busy", operation=operation, place=PLACE, code=error.sqlstate or ""
        ) from None
    except UnicodeEncodeError:
        # Such as an argument that was typed in another character set than the command's.
        raise Rejected("the ledger takes no text but UTF-8", operation=operation, place=PLACE) from None
    except psycopg.Error as error:
        rule = error.diag.constraint_name or type(error).__name__
        raise Rejected(
            f"the ledger refused: {rule}", operation=operation, place=PLACE, code=error.sqlstate or ""
        ) from None


def beside_a_run(transaction: Callable[P, T]) -> Callable[P, T]:
    """A function that is one transaction, or one savepoint, and takes rows in another order than a run does: made again
    where Postgres chose the other one. Raises `Retryable` after `DEADLOCKS` such choices."""

    @wraps(transaction)
    def again(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(DEADLOCKS):
            try:
                return transaction(*args, **kwargs)
            except Retryable as error:
                if error.code != _DEADLOCK:
                    raise
        return transaction(*args, **kwargs)

    return again


def _configure(conn: Connection) -> None:
    for setting in _SESSION:
        conn.execute(setting)
    for name, enum in _ENUMS:
        info = EnumInfo.fetch(conn, name)
        if info is None:
            raise psycopg.OperationalError(f"the ledger has no type {name}: migrate it first")
        register_enum(info, conn, enum, mapping={member: member.value for member in enum})
    conn.commit()


class Pool:
    """Up to `size` connections, opened when needed; safe to use from several threads."""

    def __init__(self, url: str, *, size: int, patience: timedelta = PATIENCE) -> None:
        self._url = url
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            min_size=1,
            max_size=size,
            timeout=patience.total_seconds(),
            open=False,
            configure=_configure,
            # A connection may have died with a restarted server while it lay idle; asking costs one round trip,
            # not asking costs the caller an error after each restart.
            check=ConnectionPool.check_connection,
            name="ledger",
        )

    def __enter__(self) -> "Pool":
        self._pool.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    @contextmanager
    def transaction(self, operation: str) -> Generator[Connection]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        with translated(operation), self._pool.connection() as conn:
            yield conn

    @contextmanager
    def lone_connection(self, operation: str) -> Generator[Connection]:
        """A connection outside the pool in autocommit, for what lasts as long as a session (advisory locks)."""
        with translated(operation), psycopg.connect(self._url, autocommit=True) as conn:
            yield conn
