"""What is known about the source, and where from: the job file before what was learnt before the defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from actors.options import SourceProfile
from cluster.job import Job


class Origin(StrEnum):
    """Where a value comes from."""

    JOB = "job file or environment"
    LEARNT = "learnt from the source"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    """One value of the profile that is in effect."""

    name: str
    value: Any
    origin: Origin
    learnt: Any = None
    """What the ledger has learnt; differs from `value` where the job file decides. None: nothing."""


def traits(given: SourceProfile, learnt: Mapping[str, Any]) -> tuple[Trait, ...]:
    """Every value of the profile; what an other version of Limosa has learnt beyond them is left alone.

    Raises
    ------
    ValidationError
        The ledger holds a value that no profile can have.
    """
    fields = SourceProfile.model_fields
    stored = SourceProfile(**{name: value for name, value in learnt.items() if name in fields})
    found: list[Trait] = []
    for name in fields:
        known = getattr(stored, name) if name in stored.model_fields_set else None
        if name in given.model_fields_set:
            value, origin = getattr(given, name), Origin.JOB
        elif name in stored.model_fields_set:
            value, origin = known, Origin.LEARNT
        else:
            value, origin = getattr(given, name), Origin.DEFAULT
        found.append(Trait(name=name, value=value, origin=origin, learnt=known))
    return tuple(found)


def informed(job: Job, learnt: Mapping[str, Any]) -> Job:
    """The job with the profile that is in effect. What the job file says itself stays told apart, so that informing
    it again with newer knowledge works."""
    given = job.source.profile
    values = {trait.name: trait.value for trait in traits(given, learnt)}
    profile = SourceProfile.model_construct(_fields_set=set(given.model_fields_set), **values)
    return job.model_copy(update={"source": job.source.model_copy(update={"profile": profile})})
