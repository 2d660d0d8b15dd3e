"""The few file operations whose order decides whether bytes survive a power cut."""

import errno
import os
from pathlib import Path

from storage.errors import Rejected, Retryable, StorageError

_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENOTDIR, errno.EISDIR})
"""Errors that a person must remove; everything else (ENOSPC, EIO, EMFILE ...) may pass."""


def write_all(descriptor: int, piece: bytes | bytearray | memoryview) -> None:
    """The whole piece is written at the descriptor's position; `write` may take less than it is given."""
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Names created, renamed or removed in the folder survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(error: OSError, operation: str, place: str) -> StorageError:
    """The typed error for a failed file operation; names the errno, never the file."""
    code = errno.errorcode.get(error.errno or 0, "unknown")
    text = os.strerror(error.errno) if error.errno else "failed"
    kind = Rejected if error.errno in _REFUSED else Retryable
    return kind(text, operation=operation, place=place, code=code)
