"""Whose a study is: its header, the graph and the demographic check brought together, or one class of exception."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from imaging.coercion.dataset import Dataset
from imaging.coercion.plan import Change
from imaging.identity.changes import Target, changes_of
from imaging.identity.demographics import Likeness, Link, Thresholds, Verdict, compare
from imaging.identity.graph import NO_ACCOUNT, Account, Graph, Resolution
from imaging.identity.issuers import Assigner, Issuers
from imaging.identity.people import NOBODY, Conflict, Identifier, Person

RULE = "identity"
"""Name of these rules in reports and originals; the version is that of the thresholds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyIdentity:
    """What a study's headers say of its patient."""

    patient_id: str
    assigner: Assigner = field(default_factory=Assigner)
    person: Person = NOBODY
    studied: date | None = None
    account: Account = NO_ACCOUNT


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows. A target is there exactly where there is no conflict."""

    target: Target | None
    conflict: Conflict | None = None
    resolution: Resolution | None = None
    likeness: Likeness | None = None

    @property
    def noted(self) -> bool:
        """Accepted, and to be listed."""
        return self.likeness is not None and self.likeness.verdict is Verdict.AUTO_NOTE


def decide(study: StudyIdentity, graph: Graph, issuers: Issuers, thresholds: Thresholds) -> Decision:
    """Whose the study is, and what its headers shall say."""
    asked = issuers.identifier(study.patient_id, study.assigner)
    if isinstance(asked, Conflict):
        return Decision(target=None, conflict=asked)
    resolution = graph.resolve(asked, study.studied, study.account)
    if resolution.survivor is None:
        return Decision(target=None, conflict=resolution.conflict, resolution=resolution)
    # A number that moved was with the wrong patient: its headers may name that one, and nothing explains that away.
    merged = any(step.kind in ("merge", "rename") for step in resolution.path)
    link = Link.MERGE if merged else Link.SAME_NUMBER
    likeness = compare(study.person, resolution.person, link, thresholds)
    conflict = likeness.verdict.conflict
    if conflict is not None:
        return Decision(target=None, conflict=conflict, resolution=resolution, likeness=likeness)
    target = Target(
        rule=f"{RULE}/{thresholds.version}",
        patient=resolution.survivor,
        authority=issuers.authority(resolution.survivor.issuer),
        person=resolution.person,
    )
    return Decision(target=target, resolution=resolution, likeness=likeness)


def one_patient(decisions: Iterable[Decision]) -> Conflict | None:
    """Whether the differing headers of one study's instances are of one patient; else the class."""
    found: set[Identifier] = set()
    for decision in decisions:
        if decision.conflict is not None:
            return decision.conflict
        if decision.resolution is not None and decision.resolution.survivor is not None:
            found.add(decision.resolution.survivor)
    return Conflict.MIXED_PATIENT_IN_STUDY if len(found) > 1 else None


def changes_for(
    dataset: Dataset, study: StudyIdentity, graph: Graph, issuers: Issuers, thresholds: Thresholds
) -> tuple[Change, ...] | Conflict:
    """The changes of one dataset of the study, or the class that keeps it from being delivered.

    Raises
    ------
    NotCoercible
        As `changes_of`.
    """
    decision = decide(study, graph, issuers, thresholds)
    if decision.target is None:
        return decision.conflict or Conflict.PID_AMBIGUOUS
    return changes_of(dataset, decision.target)
