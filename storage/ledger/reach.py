"""Opening the ledger's database, and why it could not be opened.

A failure to connect is told by libpq in words alone, without a code; what they say of host, user and database is in the
job file already, and no patient is in them.
"""

import re
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import TupleRow

from storage.errors import Rejected, Retryable, StorageError

OPENING_SECONDS = 10
"""For one address of the host: a firewall that drops packets would hold a command for two minutes."""

_REFUSALS = (
    ("no_password", r"no password supplied|fe_sendauth", "wants a password for {user}, and none is given"),
    ("password", r"password authentication failed", "refuses the password of {user}"),
    ("role", r'role "[^"]*" does not exist', "knows no user {user}"),
    ("database", r'database "[^"]*" does not exist', "has no database {database}"),
    ("host_rule", r"no pg_hba\.conf entry|pg_hba\.conf rejects", "lets {user} not in from this machine"),
    ("permission", r"permission denied for database", "does not let {user} into database {database}"),
    ("tls", r"server does not support SSL|SSL error|certificate verify failed", "and we do not agree on TLS"),
)
_ABSENCES = (
    ("host", r"could not translate host name|failed to resolve host|Name or service not known", "no host of that name"),
    ("port", r"Connection refused", "nothing listens there"),
    ("silent", r"timeout expired|timed out|No route to host|Network is unreachable", "no answer"),
    ("starting", r"is starting up|is shutting down|in recovery mode", "is starting or stopping"),
    ("full", r"too many clients|remaining connection slots|too many connections", "takes no more connections"),
)


def connect(url: str) -> psycopg.Connection[TupleRow]:
    """A connection of its own, in autocommit.

    Raises
    ------
    Rejected
        The database does not let us in; the code says why.
    Retryable
        It is not there, or not now; the code says why.
    """
    try:
        return psycopg.connect(url, autocommit=True, connect_timeout=OPENING_SECONDS)
    except psycopg.OperationalError as error:
        raise unreached(url, str(error)) from None


def unreached(url: str, told: str) -> StorageError:
    """What libpq told of a failed connection to `url`, as an error whose message a person can act on."""
    parts = urlsplit(url)
    place = f"ledger at {parts.hostname or 'the local socket'}{f':{parts.port}' if parts.port else ''}"
    names = {"user": parts.username or "this account", "database": parts.path.strip("/") or "of that name"}
    for code, pattern, sentence in _REFUSALS:
        if re.search(pattern, told):
            return Rejected(sentence.format(**names), operation="open", place=place, code=code)
    for code, pattern, sentence in _ABSENCES:
        if re.search(pattern, told):
            return Retryable(sentence, operation="open", place=place, code=code)
    return Retryable("cannot be reached", operation="open", place=place)
