"""How an unexpected exception is reported: where it happened, never what it said.

Messages of exceptions from DICOM libraries quote values of the dataset, so they stay out of the logs.
"""

import traceback
from pathlib import Path


def fault_site(error: BaseException) -> str:
    """`TypeError at mover.py:120 in move_study`, from the innermost frame of our own or a library's code."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    last = frames[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno} in {last.name}"
