"""Whether two whole retrieves of a study agree, for sources that cannot list its instances.

Pure. An archive that fails at the same image twice brings the same set twice, so equal sets are not enough:
each retrieve must also have ended well by the archive's own counts.
"""

from dataclasses import dataclass

from actors.source import MoveEnd, MoveOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One whole retrieve: what came, and what the archive said about it."""

    seen: frozenset[str]
    arrivals: int
    """Instances that came, repeats included."""
    outcome: MoveOutcome

    @property
    def whole(self) -> bool:
        """The archive claims success and no more instances than came."""
        outcome = self.outcome
        claimed = (outcome.completed or 0) + (outcome.warning or 0)
        return outcome.end is MoveEnd.SUCCESS and not outcome.failed and claimed <= self.arrivals


def disagreement(
    first: Round, second: Round, *, claimed: int | None, held: frozenset[str], rejected: frozenset[str]
) -> str | None:
    """Why the two retrieves do not tell what the study has, as an exception class; None when they do.

    Parameters
    ----------
    claimed
        NumberOfStudyRelatedInstances at inventory, where the archive gives it.
    held
        What would be delivered: the two retrieves' instances and what an earlier attempt left.
    rejected
        Instances that came meanwhile and could not be understood. Whose they are is not known, so only a
        claimed count that is met without them shows that they belong elsewhere.
    """
    if rejected and claimed != len(first.seen):
        return "MALFORMED_INSTANCES"
    if not first.seen and not second.seen:
        return "NOTHING_RECEIVED"
    agreed = first.whole and second.whole and first.seen == second.seen == held
    return None if agreed and claimed in (None, len(held)) else "EXPECTED_SET_UNKNOWN"
