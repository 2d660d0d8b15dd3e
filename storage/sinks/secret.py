"""Secrets by reference: the job file says where a secret is, and it is read when a client is made."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import SecretStr, StringConstraints

from storage.errors import Rejected

SecretRef = Annotated[str, StringConstraints(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$")]
"""Where a secret is, never the secret: `env:NAME` or `file:/path`."""

MAX_SECRET = 4096
"""Bytes of a secret file; a longer one is the wrong file."""


def resolve(reference: str) -> SecretStr:
    """The secret behind `env:NAME` or `file:/path`; blanks around a file's content are dropped.

    Raises
    ------
    Rejected
        It is not there, empty or too long. The message holds the reference, never the value.
    """
    kind, _, where = reference.partition(":")
    if kind == "env":
        value = os.environ.get(where, "")
    elif kind == "file":
        value = _from_file(Path(where), reference)
    else:
        raise Rejected("neither env:NAME nor file:/path", operation="read secret", place=kind)
    if not value:
        raise Rejected("is empty or not set", operation="read secret", place=reference)
    return SecretStr(value)


def _from_file(path: Path, reference: str) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SECRET + 1)
        if len(raw) > MAX_SECRET:
            raise Rejected(f"longer than {MAX_SECRET} bytes", operation="read secret", place=reference)
        return raw.decode("utf-8").strip()
    except OSError as error:
        raise Rejected(error.strerror or "failed", operation="read secret", place=reference) from error
    except UnicodeDecodeError:
        raise Rejected("is not text", operation="read secret", place=reference) from None
