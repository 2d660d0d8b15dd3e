"""The exceptions that a plan opens: what each holds up, and what a person can do about it."""

from cluster.planning.accession_options import AccessionOptions
from imaging.identity.people import Conflict
from storage.ledger.deciding_records import PlanClass
from storage.ledger.records import Severity

UID_INVALID, STUDY_DUPLICATED, SEVERAL_PATIENTS = "UID_INVALID", "STUDY_DUPLICATED", "STUDY_UID_MULTI_PATIENT"
NAME_CHANGED = "DEMOGRAPHIC_NOTE"

_TELL = "tell it in an override or a crosswalk, `limosa identity import` it and plan again"
_OR_ACCEPT = "or let the study move as proposed: `limosa exceptions resolve --as accept`."


def _class(kind: str, verdict: str, remedy: str) -> PlanClass:
    severity = {"auto_note": Severity.WARNING, "review": Severity.ERROR, "conflict": Severity.CRITICAL}[verdict]
    return PlanClass(kind=kind, verdict=verdict, severity=severity, remedy=remedy)


CLASSES: tuple[PlanClass, ...] = (
    _class(
        Conflict.PID_MISSING, "review", "The study has no patient number. Give it one at the source and take inventory "
        f"again; {_OR_ACCEPT}",
    ),
    _class(
        Conflict.PID_FORMAT, "review", "The number is not of its issuer's form. Mend the issuer's steps or pattern in "
        f"the job file, or the number at the source; {_OR_ACCEPT}",
    ),
    _class(
        Conflict.ISSUER_UNKNOWN, "review", "The job file describes no issuer of this name. Add it as issuer or alias, "
        f"import the files again and plan again; {_OR_ACCEPT}",
    ),
    _class(
        Conflict.PID_NOT_IN_MPI, "review", "Nobody knows the number, or the one that survived it was deleted. Import "
        f"an index that has it, {_TELL}; {_OR_ACCEPT}",
    ),
    _class(
        Conflict.PID_AMBIGUOUS, "review", "Two sources disagree about whom the number belongs to. Find out, "
        f"{_TELL}; {_OR_ACCEPT}",
    ),
    _class(
        Conflict.DEMOGRAPHIC_CONFLICT, "conflict", "The study's patient and the number's owner are different people. "
        f"Find out whose it is, {_TELL}; {_OR_ACCEPT}",
    ),
    _class(
        Conflict.DEMOGRAPHIC_REVIEW, "review", "The study's patient and the number's owner may be different people. "
        f"Compare them, then correct what is wrong, {_OR_ACCEPT}",
    ),
    _class(
        NAME_CHANGED, "auto_note", "The family name changed, and an explicit merge, birth date and given name say that "
        "it is the same person: accepted. Acknowledge it, or correct the index and plan again.",
    ),
    _class(
        Conflict.MERGE_CYCLE, "conflict", f"Merges lead in a ring and no time says which was last. Find out, {_TELL}.",
    ),
    _class(
        Conflict.MERGE_FORK, "conflict", f"The number was merged into two that are not the same. Find out, {_TELL}.",
    ),
    _class(
        Conflict.MRN_REUSED, "review", "The number belonged to several people, and the study's date does not tell "
        f"which. Find out, {_TELL}; {_OR_ACCEPT}",
    ),
    _class(
        Conflict.MRN_MOVED, "conflict", f"The number moved between patients in ways that do not fit. Find out, {_TELL}."
    ),
    _class(
        SEVERAL_PATIENTS, "conflict", "The archive lists this study under several patients who are not the same. Find "
        f"out at the source whose it is; {_OR_ACCEPT}",
    ),
    _class(
        Conflict.ACC_COLLISION_PATIENT, "conflict", "Studies of several patients have, or would get, this accession "
        "number. Mend the rule or the number and plan again; `--as accept` lets the study move with the number it has.",
    ),
    _class(
        Conflict.ACC_COLLISION_SITE, "conflict", "Different numbers, or those of several sites, would become this one. "
        "Mend the rule and plan again; `--as accept` lets the study move with the number it has.",
    ),
    _class(
        Conflict.ACC_OVERLONG, "review", "The accession number has more than 16 characters. Give it a surrogate in the "
        "rule and plan again; `--as accept` lets the study move with the number it has.",
    ),
    _class(
        Conflict.ACC_UNFIT, "review", "A step of its rule does not fit the accession number, or it has characters that "
        "no header may have. Mend the rule or the number and plan again; `--as accept` lets the study move with the "
        "number it has.",
    ),
    _class(
        Conflict.ACC_MISSING, "auto_note", "The study has no accession number, and moves without. Acknowledge it, or "
        "give it one at the source.",
    ),
    _class(
        Conflict.ACC_NO_ORDER, "auto_note", "No order has this accession number; the study moves with it. Acknowledge "
        "it, or correct number or list.",
    ),
    _class(
        Conflict.ACC_UNLISTED, "review", "Headers of the study have accession numbers that the archive does not list "
        f"for it. Correct it at the source, take inventory again and retry; {_OR_ACCEPT} Each number then passes the "
        "rules.",
    ),
    _class(
        UID_INVALID, "auto_note", "The Study Instance UID breaks the rules of PS3.5 (a part begins with 0) and stays, "
        "for other objects refer to it. Acknowledge it unless the destination refuses the study.",
    ),
    _class(
        STUDY_DUPLICATED, "auto_note", "Another study has the same patient, accession number, time and size: perhaps "
        "one study twice. Both move; hold one of them if it is a copy.",
    ),
)  # fmt: skip

UNMATCHED = (Conflict.ACC_MISSING, Conflict.ACC_NO_ORDER)
PLAN_KINDS = frozenset(str(one.kind) for one in CLASSES)


def classes_for(accession: AccessionOptions | None) -> tuple[PlanClass, ...]:
    """The classes of a job, as its [accession] says what becomes of unmatched studies and unlisted numbers."""
    if accession is None:
        return CLASSES
    verdicts: dict[str, str] = {}
    if accession.unmatched == "hold":
        verdicts |= dict.fromkeys(UNMATCHED, "review")
    if accession.unlisted == "renumber":
        verdicts[Conflict.ACC_UNLISTED] = "auto_note"
    return tuple(_class(one.kind, verdicts[one.kind], one.remedy) if one.kind in verdicts else one for one in CLASSES)
