"""How a question that is too broad is cut into narrower ones.

Only the halves of a date range are certain to cover their whole. A study without a time, a modality or a
patient id matches none of the narrower windows, so `cluster.inventory.plan` compares what the parts
bring with what the whole had shown, and sweeps the archive by other keys as well.
"""

import string
from collections.abc import Iterator, Set
from dataclasses import replace
from datetime import date, time, timedelta
from enum import StrEnum

from actors.source import StudyWindow

EARLIEST = date(1000, 1, 1)
"""Sentinel dates such as 11111111 occur; years of fewer than four digits cannot be asked."""
LATEST = date(9999, 12, 31)

_COMMON = "CR CT DX MG MR NM PT RF US XA XC ES GM SM OT SC IO PX OP OPT ECG EPS HD BI BMD RG TG LS"
_DOCUMENTS = "DOC SR PR KO SEG REG RTIMAGE RTPLAN RTSTRUCT RTDOSE RTRECORD IVUS IVOCT PLAN FID RWV MS"
MODALITIES = (*_COMMON.split(), *_DOCUMENTS.split())
NO_MODALITY = "ZZ"
"""Matches nothing; an archive that answers it all the same ignores the key."""

LONGEST_VALUE = 64
"""PatientID is LO: at most 64 characters (PS3.5 table 6.2-1)."""

_LETTERS = string.digits + string.ascii_uppercase
_ASKABLE = "".join(c for c in string.printable if c.isprintable() and c not in "*?\\")
"""Every printable ASCII character that is no wild card and no value separator."""


class Way(StrEnum):
    """Along which key a window is cut."""

    DATE = "date"
    TIME = "time"
    MODALITY = "modality"
    PATIENT_ID = "patient_id"
    PATIENT_NAME = "patient_name"


def ways(window: StudyWindow, since: Way | None = None) -> tuple[Way, ...]:
    """The ways `window` can be cut, best first; empty for the narrowest question there is.

    `since` is the way its whole was cut along: earlier ones are left out, or the same ground would be
    covered many times over. Without dates the modality comes last: it is the key most often missing.
    """
    dated = window.date_from is not None or window.date_to is not None
    order = tuple(Way) if dated else (Way.PATIENT_ID, Way.PATIENT_NAME, Way.MODALITY)
    first = order.index(since) if since in order else 0
    return tuple(way for way in order[first:] if _possible(window, way))


def _possible(window: StudyWindow, way: Way) -> bool:
    match way:
        case Way.DATE:
            return (window.date_from or EARLIEST) < (window.date_to or LATEST)
        case Way.TIME:
            one_day = window.date_from == window.date_to and window.date_from is not None
            return one_day and _seconds(window.time_from, 0) + 1 < _seconds(window.time_to, _DAY)
        case Way.MODALITY:
            return window.modality is None
        case Way.PATIENT_ID:
            return window.patient_name is None and _can_grow(window.patient_id)
        case Way.PATIENT_NAME:
            return window.patient_id is None and _can_grow(window.patient_name)


def cut(window: StudyWindow, way: Way, seen: Set[str]) -> Iterator[StudyWindow]:
    """The parts of `window` along `way`; `seen` are the characters or modalities met in answers so far."""
    match way:
        case Way.DATE:
            start, stop = window.date_from or EARLIEST, window.date_to or LATEST
            middle = start + (stop - start) // 2
            yield replace(window, date_to=middle)
            yield replace(window, date_from=middle + timedelta(days=1))
        case Way.TIME:
            start, stop = _seconds(window.time_from, 0), _seconds(window.time_to, _DAY)
            # The halves share a second: 11:59:59.5 lies neither in ..115959 nor in 120000... One before
            # the middle, because noon and midnight are what software writes for an unknown time.
            middle = _clock(max(start + 1, (start + stop) // 2 - 1))
            yield replace(window, time_to=middle)
            yield replace(window, time_from=middle)
        case Way.MODALITY:
            for value in (NO_MODALITY, *dict.fromkeys((*MODALITIES, *sorted(seen)))):
                yield replace(window, modality=value)
        case Way.PATIENT_ID:
            for value in _longer(window.patient_id, seen):
                yield replace(window, patient_id=value)
        case Way.PATIENT_NAME:
            for value in _longer(window.patient_name, seen):
                yield replace(window, patient_name=value)


def prefix_of(window: StudyWindow, way: Way) -> str | None:
    """The prefix this window asks for along `way`, without its wild card; None where it asks for none."""
    value = window.patient_id if way is Way.PATIENT_ID else window.patient_name if way is Way.PATIENT_NAME else None
    return value[:-1] if value is not None and value.endswith("*") else None


def askable(text: str) -> frozenset[str]:
    """The characters of `text` that can stand in a matching value."""
    return frozenset(text) & frozenset(_ASKABLE)


def _longer(value: str | None, seen: Set[str]) -> Iterator[str]:
    """Values one character longer than the prefix `value`, and the prefix as a whole value.

    The first character may be anything printable: it is asked once per sweep. Deeper down only digits,
    capitals and characters met so far are tried; the sweep's other key has to find the rest.
    """
    prefix = (value or "*")[:-1]
    if prefix:
        yield prefix
    rarer = set(_ASKABLE if not prefix else seen) & set(_ASKABLE) - set(_LETTERS)
    for character in (*_LETTERS, *sorted(rarer)):
        # A trailing space is padding (PS3.5 6.2): "A *" asks the same as "A*" in many archives.
        if character != " " or prefix:
            yield f"{prefix}{character}*"


def _can_grow(value: str | None) -> bool:
    return value is None or (value.endswith("*") and len(value) <= LONGEST_VALUE)


_DAY = 24 * 60 * 60


def _seconds(value: time | None, default: int) -> int:
    return default if value is None else value.hour * 3600 + value.minute * 60 + value.second


def _clock(seconds: int) -> time:
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60)
