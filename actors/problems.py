"""The catalogue of exceptions the workers raise: how grave, whether they stop the study, and the remedy.

A class is a promise to the operator: it is raised for one reason and its remedy is something a person can do.
"""

from dataclasses import dataclass

from imaging.uid import Uid
from storage.ledger.records import Json, Problem, Severity


@dataclass(frozen=True, slots=True)
class ProblemClass:
    """What is true of every exception of one class."""

    severity: Severity
    blocking: bool
    remedy: str


_AGAIN = "then `limosa exceptions resolve` puts the study back to work."

CATALOGUE: dict[str, ProblemClass] = {
    "INCOMPLETE_STUDY": ProblemClass(
        Severity.ERROR,
        True,
        f"The source lists instances that it does not send. Check them at the source; {_AGAIN}",
    ),
    "SOURCE_UID_UNSTABLE": ProblemClass(
        Severity.CRITICAL,
        True,
        f"The source sends other SOP Instance UIDs than it lists. Switch that rewriting off; {_AGAIN}",
    ),
    "SURPLUS_INSTANCES": ProblemClass(
        Severity.ERROR,
        True,
        "The source sends instances that it does not list (rejected or hidden ones, perhaps). They are in quarantine; "
        f"decide at the source; {_AGAIN}",
    ),
    "MALFORMED_INSTANCES": ProblemClass(
        Severity.ERROR,
        True,
        "Instances of this study are no valid DICOM and lie in quarantine. Repair or reject them at the source; "
        + _AGAIN,
    ),
    "MALFORMED_INSTANCE": ProblemClass(
        Severity.WARNING,
        False,
        "An instance that came is no valid DICOM and lies in quarantine with its evidence. Look at it there.",
    ),
    "FILE_DAMAGED": ProblemClass(
        Severity.WARNING,
        False,
        "Files of the export cannot be read as DICOM and name no instance; copies lie in quarantine. Have them "
        "exported anew.",
    ),
    "COPY_DAMAGED": ProblemClass(
        Severity.WARNING,
        False,
        "A file of the export is damaged, and another one holds the same instance: that one moves. A copy of the "
        "damaged one lies in quarantine. Look for what damages files there.",
    ),
    "NO_INSTANCES_LISTED": ProblemClass(
        Severity.ERROR,
        True,
        f"The source counts instances in this study but lists none. Check the study at the source; {_AGAIN}",
    ),
    "NOTHING_RECEIVED": ProblemClass(
        Severity.ERROR, True, f"Retrieves of this study bring nothing. Check the study at the source; {_AGAIN}"
    ),
    "EXPECTED_SET_UNKNOWN": ProblemClass(
        Severity.ERROR,
        True,
        f"What the source lists, counts and sends does not agree. Check the study at the source; {_AGAIN}",
    ),
    "INSTANCE_LIST_INCOMPLETE": ProblemClass(
        Severity.ERROR,
        True,
        f"The source did not finish listing this study's instances. Check its C-FIND at IMAGE level; {_AGAIN}",
    ),
    "NOT_COERCIBLE": ProblemClass(
        Severity.ERROR,
        True,
        "A rule of coercion cannot be carried out on an instance of this study. Nothing of it was written; mend the "
        f"rule or the instance; {_AGAIN}",
    ),
    "MIXED_PATIENT_IN_STUDY": ProblemClass(
        Severity.CRITICAL,
        True,
        "An instance of this study is another patient's by its number, or by name and birth date. Nothing of it was "
        f"written; correct it at the source, or tell in an override that the two are one and plan again; {_AGAIN}",
    ),
    "ACC_UNLISTED": ProblemClass(
        Severity.ERROR,
        True,
        "An instance has an accession number that the archive does not list for its study. Nothing of it was written. "
        "Plan again, or run again: the plan proves what becomes of the number.",
    ),
    "DUPLICATE_DIFFERS": ProblemClass(
        Severity.WARNING,
        False,
        "The source sent an instance twice with different bytes. The first is delivered, the other is in quarantine; "
        "compare them.",
    ),
    "SOP_UID_SHARED": ProblemClass(
        Severity.WARNING,
        False,
        "SOP Instance UIDs of this study also belong to another study. Both are delivered; check which is right.",
    ),
    "COUNT_EXCEEDS_LIST": ProblemClass(
        Severity.WARNING,
        False,
        "The source counts more instances in this study than it lists, or says that it sent or failed to send more, "
        "and just those it lists came: rejected or hidden objects, usually. All that it lists is delivered; compare "
        "the count at the source.",
    ),
    "STUDY_UID_MULTI_PATIENT": ProblemClass(
        Severity.WARNING,
        False,
        "The source lists this study under several patients. It is delivered as it is; check the patients.",
    ),
    "UNSOLICITED": ProblemClass(
        Severity.WARNING,
        False,
        "Instances came that nobody asked for. They are in quarantine; find out who sends to this AE title.",
    ),
    "LATE_INSTANCE": ProblemClass(
        Severity.WARNING,
        False,
        "An instance came after its study was delivered. It is in quarantine, and the study is delivered anew.",
    ),
    "RECEIVER_UNKNOWN": ProblemClass(
        Severity.CRITICAL,
        False,
        "The source does not know our AE title. Register it there with this machine's address and port.",
    ),
    "SOURCE_AWAY": ProblemClass(
        Severity.ERROR,
        False,
        "The source could not be reached for the time set as limits.outage, and nothing more is pulled. Bring it back "
        "and run again.",
    ),
    "SOURCE_REFUSES_US": ProblemClass(
        Severity.CRITICAL,
        False,
        "The source refuses our association for good: an AE title, a certificate or a service it does not accept. Run "
        "`limosa check`, mend it there or in the job file, run again.",
    ),
    "SOURCE_UNENDING": ProblemClass(
        Severity.ERROR,
        True,
        f"The source's answers about this study do not end. Check the study at the source; {_AGAIN}",
    ),
    "PACK_CONFLICT": ProblemClass(
        Severity.CRITICAL,
        True,
        "Another object lies under this study's key at the destination. Nothing was overwritten; move it away, "
        + _AGAIN,
    ),
    "DESTINATION_REJECTED": ProblemClass(
        Severity.ERROR,
        True,
        "The destination will never take something of this study as it is; `code` in the evidence says why (too large, "
        f"a kind of object it does not know, a request it refuses). Mend it there or at the source; {_AGAIN}",
    ),
    "DESTINATION_INTEGRITY": ProblemClass(
        Severity.CRITICAL,
        True,
        "The destination disagrees with us about bytes it was sent. Check network and storage before going on; "
        + _AGAIN,
    ),
    "DESTINATION_AWAY": ProblemClass(
        Severity.ERROR,
        False,
        "The destination did not answer for the time set as limits.outage and waits. Bring it back and run again.",
    ),
    "DEVICE_HANGS": ProblemClass(
        Severity.ERROR,
        False,
        "A device did not read or write for the time set as hangs_after. Its studies go to others and what it holds "
        "waits until it answers. See to cable, disk or share. What does not come back: `limosa seed lost`.",
    ),
    "DESTINATION_REFUSES_US": ProblemClass(
        Severity.CRITICAL,
        False,
        "The destination refuses our key, our clock or the bucket, and waits. Run `limosa check`, mend it, run again.",
    ),
    "DIGEST_MISMATCH": ProblemClass(
        Severity.CRITICAL,
        True,
        "Bytes read back from the destination are not those that were written. Treat the destination as damaged.",
    ),
    "NOT_AS_PLANNED": ProblemClass(
        Severity.CRITICAL,
        True,
        "The headers read back are not what the study's plan demands: a defect in Limosa, or in its rules. Keep the "
        "study from being read there, report it, then renew the study.",
    ),
    "VOLUME_SEALED": ProblemClass(
        Severity.ERROR,
        True,
        "The study changed at the source while a volume of it lies on a sealed device. Renew it: its next revision is "
        "written whole.",
    ),
    "DEVICE_LOST": ProblemClass(
        Severity.CRITICAL,
        True,
        "The device that held the study is lost. Renew its studies to fetch them again; retry takes it back, should "
        "the device turn up.",
    ),
    "SHIPMENT_MISSING": ProblemClass(
        Severity.CRITICAL,
        True,
        "A pack of a shipped device is not at the far side. Look for it there and reconcile again after a retry, or "
        "renew the study to send it anew.",
    ),
    "SHIPMENT_ALTERED": ProblemClass(
        Severity.CRITICAL,
        True,
        "A pack of a shipped device is not what was sealed. It must not be used there; renew the study to send it "
        "anew.",
    ),
    "SHIPMENT_STRANGER": ProblemClass(
        Severity.ERROR,
        False,
        "Objects are at the far side that nobody sealed. Find out who put them there before the images are used.",
    ),
    "CORRECTION_UNTELLABLE": ProblemClass(
        Severity.ERROR,
        False,
        "The study is under an older decision at the destination, and no message can say so without taking other "
        "studies of the patient along, or none exists for what changed. Correct it there by hand, then acknowledge.",
    ),
    "COMMITMENT_REFUSED": ProblemClass(
        Severity.CRITICAL,
        True,
        "The destination does not commit itself to instances that it took. Check them there, send them again by "
        "resolving as renew, or mend it; " + _AGAIN,
    ),
    "COMMITMENT_MISSING": ProblemClass(
        Severity.ERROR,
        True,
        "The destination was asked to commit itself and did not answer in time. Check that it knows our AE title at "
        f"the commitment port; {_AGAIN}",
    ),
    "INTERNAL_FAULT": ProblemClass(
        Severity.ERROR,
        True,
        f"A fault in Limosa stopped this study; the evidence says where. Please report it; {_AGAIN}",
    ),
}

_UNNAMED = ProblemClass(Severity.ERROR, True, f"The attempts for this study are used up. See the evidence; {_AGAIN}")


def problem(kind: str, evidence: Json, *, sop_uid: Uid | None = None) -> Problem:
    """An exception of class `kind` with its catalogue entry. Errors of storage carry their own names
    (Retryable, DeviceFull) and share one entry."""
    entry = CATALOGUE.get(kind, _UNNAMED)
    return Problem(
        kind=kind if kind in CATALOGUE else "ATTEMPTS_EXHAUSTED",
        severity=entry.severity,
        blocking=entry.blocking,
        remedy=entry.remedy,
        evidence=evidence if kind in CATALOGUE else {**evidence, "cause": kind},
        sop_uid=sop_uid,
    )
