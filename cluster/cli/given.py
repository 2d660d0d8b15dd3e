"""The job file that the command of this process was given, so that a message can name the next command in full."""

from contextvars import ContextVar
from pathlib import Path

_job_file: ContextVar[str] = ContextVar("job_file", default="JOB")


def noted(path: Path | None) -> Path | None:
    """The same path: callback of the argument JOB."""
    if path is not None:
        _job_file.set(str(path))
    return path


def given_job() -> str:
    """As it was typed; `JOB` where the command takes none."""
    return _job_file.get()
