"""Values that break the form of their VR, in the form they were surely meant in. Nothing is guessed.

A value that is legal stays as it is, so repairing twice is repairing once. What cannot be repaired is None.
"""

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from imaging.coercion.attributes import unfit_value, vr_of

_DATE = re.compile(r"([0-9]{4})[./-]([0-9]{2})[./-]([0-9]{2})")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]{1,6})?[0-9]*)?")
_MOMENT = re.compile(r"(\S{10})[T ](\S{5,})")
_AGE = re.compile(r"([0-9]{1,3})([DWMY]?)", re.IGNORECASE)
_WHOLE = 12
"""Characters of an IS."""
_DECIMAL = 16
"""Characters of a DS."""


def repaired(tag: int, text: str) -> str | None:
    """The attribute's value as its VR wants it; None where nobody can say what was meant."""
    if not unfit_value(tag, text):
        return text
    vr = vr_of(tag)
    mend = _MENDERS.get(vr)
    if mend is None:
        return None
    parts = [mend(part.strip()) if part.strip() else "" for part in text.split("\\")]
    if any(part is None for part in parts):
        return None
    found = "\\".join(part for part in parts if part is not None)
    return None if unfit_value(tag, found) else found


def _date(text: str) -> str | None:
    """2019.03.04, as ACR-NEMA wrote it, and its kin."""
    found = _DATE.fullmatch(text)
    return f"{found[1]}{found[2]}{found[3]}" if found else text


def _time(text: str) -> str | None:
    found = _TIME.fullmatch(text)
    return f"{found[1]}{found[2]}{found[3] or ''}{found[4] or ''}" if found else text


def _moment(text: str) -> str | None:
    """ISO 8601 without its punctuation."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return text
    date, time = _date(found[1]), _time(found[2].removesuffix("Z"))
    return f"{date}{time}" + ("+0000" if found[2].endswith("Z") else "")


def _code(text: str) -> str | None:
    return text.upper()


def _age(text: str) -> str | None:
    """45 is 045Y; a bare number was never meant in days."""
    found = _AGE.fullmatch(text)
    return f"{int(found[1]):03d}{(found[2] or 'Y').upper()}" if found else None


def _whole(text: str) -> str | None:
    """1.0 is 1; 1.5 is none."""
    number = _number(text)
    if number is None or number != number.to_integral_value():
        return None
    whole = f"{number:.0f}"
    return whole if len(whole) <= _WHOLE else None


def _decimal(text: str) -> str | None:
    """Fewer digits, where they are read back as the same double."""
    number = _number(text)
    if number is None:
        return None
    value = float(number)
    for form in (repr(value), f"{value:.15g}", f"{value:.10g}"):
        if len(form) <= _DECIMAL and float(form) == value:
            return form
    return None


def _number(text: str) -> Decimal | None:
    if "_" in text:  # Python groups digits so, and nobody knows what else it was meant to be
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 300 else None


_MENDERS: dict[str, Callable[[str], str | None]] = {
    "AS": _age,
    "CS": _code,
    "DA": _date,
    "DS": _decimal,
    "DT": _moment,
    "IS": _whole,
    "TM": _time,
}
