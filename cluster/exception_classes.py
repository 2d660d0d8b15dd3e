"""The names of all exception classes: what `--kind` takes, and what was meant by what it does not take."""

import difflib

from actors.problems import CATALOGUE
from cluster.inventory.remedies import REMEDIES
from cluster.planning.classes import PLAN_KINDS

ATTEMPTS_EXHAUSTED = "ATTEMPTS_EXHAUSTED"
"""Opened by the workers with the remedy of its cause, and therefore without an entry in their catalogue."""


def exception_classes() -> tuple[str, ...]:
    """Every class that this version opens, in alphabetical order."""
    return tuple(sorted({*CATALOGUE, *REMEDIES, *PLAN_KINDS, ATTEMPTS_EXHAUSTED}))


def nearest(name: str, known: tuple[str, ...]) -> str | None:
    """The class that was probably meant; None where nothing is like it."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.4)), None)
