"""Logs of a worker process: one JSON object a line, event name first, never a value from a dataset."""

import logging
from pathlib import Path
from typing import Any

import structlog


def log_to(path: Path, level: str = "info") -> None:
    """Events of this process of at least `level` are appended to `path`, each as one JSON line with its UTC time.

    The libraries' own loggers are left at warnings, and DICOM libraries at errors: they print identifiers.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(sort_keys=True)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_FileLoggers(handler),
    )
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.ERROR)


class _FileLoggers:
    """structlog's factory: every logger writes lines to one handler, which has its own lock."""

    def __init__(self, handler: logging.Handler) -> None:
        self._logger = logging.Logger("limosa", logging.DEBUG)
        self._logger.addHandler(handler)

    def __call__(self, *args: Any) -> logging.Logger:
        return self._logger
