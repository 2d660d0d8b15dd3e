"""What DICOMweb services say in JSON (PS3.18 annex F), read as far as a migration needs it and believed in nothing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imaging.uid import InvalidUid, Uid, parse_uid
from storage.errors import IntegrityError

JSON = "application/dicom+json"

STUDY = "0020000D"
SERIES = "0020000E"
SOP_INSTANCE = "00080018"
REFERENCED_SOP = "00081155"
_REFERENCED = "00081199"
_FAILED = "00081198"
_OTHER_FAILURES = "0008119A"
_WARNING_REASON = "00081196"
_FAILURE_REASON = "00081197"

Record = Mapping[str, Any]


def records(body: bytes) -> list[Record]:
    """The datasets of an answer; an empty body is none, a single object is one.

    Raises
    ------
    IntegrityError
        It is not JSON, or holds something else than datasets.
    """
    if not body.strip():
        return []
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise IntegrityError("an answer is not JSON", operation="read", place="dicomweb") from None
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) for each in found):
        raise IntegrityError("an answer holds no datasets", operation="read", place="dicomweb")
    return found


def values(record: Record, tag: str) -> list[Any]:
    """The values of an element, empty where it is absent or empty."""
    element = record.get(tag)
    value = element.get("Value") if isinstance(element, dict) else None
    return value if isinstance(value, list) else []


def uid(record: Record, tag: str) -> Uid | None:
    """The UID in an element, None where there is no valid one."""
    found = values(record, tag)
    if not found or not isinstance(found[0], str):
        return None
    try:
        return parse_uid(found[0])
    except InvalidUid:
        return None


def items(record: Record, tag: str) -> list[Record]:
    """The items of a sequence."""
    return [item for item in values(record, tag) if isinstance(item, dict)]


def number(record: Record, tag: str) -> int | None:
    """The number in an element; some services write it as text."""
    found = values(record, tag)
    try:
        return int(found[0]) if found else None
    except (TypeError, ValueError, OverflowError):  # Python reads Infinity, which JSON does not have
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReport:
    """What a service says of the instances of one STOW-RS request (PS3.18 section 10.5.3)."""

    stored: Mapping[str, int | None] = field(default_factory=dict)
    """SOP Instance UID -> Warning Reason, None where there is none."""
    failed: Mapping[str, int] = field(default_factory=dict)
    """SOP Instance UID -> Failure Reason, 0 where it named none."""
    others: tuple[int, ...] = ()
    """Failure Reasons of instances that it did not name."""


def store_report(body: bytes) -> StoreReport:
    """The report in the body of an answer; nothing is named where it cannot be read: then the service is asked."""
    try:
        found = records(body)
    except IntegrityError:
        return StoreReport()
    stored: dict[str, int | None] = {}
    failed: dict[str, int] = {}
    others: list[int] = []
    for record in found:
        for item in items(record, _REFERENCED):
            if (name := uid(item, REFERENCED_SOP)) is not None:
                stored[name] = number(item, _WARNING_REASON)
        for item in items(record, _FAILED):
            if (name := uid(item, REFERENCED_SOP)) is not None:
                failed[name] = number(item, _FAILURE_REASON) or 0
        others += [number(item, _FAILURE_REASON) or 0 for item in items(record, _OTHER_FAILURES)]
    # Named in both: the worse is believed.
    return StoreReport(
        stored={name: warning for name, warning in stored.items() if name not in failed},
        failed=failed,
        others=tuple(others),
    )
