"""Paths that settings name."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must be an absolute path: workers run in folders of their own")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
"""A file or folder that every worker's machine has at the same place."""
