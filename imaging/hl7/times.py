"""Times of HL7 messages (TS and DTM, HL7 v2 section 2.A.22)."""

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

_FORM = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.([0-9]{1,4}))?)?)?)?)?)?"
    r"(?:([+-])([0-9]{2})([0-9]{2}))?",
    re.ASCII,
)


def time_of(text: str, zone: tzinfo) -> datetime | None:
    """The time in UTC, of a coarse one its beginning; `zone` is of senders who name none. None where it is no time."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = found.groups()
    if sign:
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        if offset >= timedelta(days=1):
            return None
        zone = timezone(-offset if sign == "-" else offset)
    try:
        return datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0),
            int((fraction or "0").ljust(6, "0")), zone,
        ).astimezone(UTC)  # fmt: skip
    except (ValueError, OverflowError):
        return None


def birth_date_of(text: str) -> str | None:
    """YYYYMMDD of a TS; empty for a date that is no whole one, None where nothing is said."""
    value = text.strip()
    if not value:
        return None
    try:
        date(int(value[:4]), int(value[4:6]), int(value[6:8]))
    except ValueError:
        return ""
    return value[:8] if value[:8].isascii() and len(value) >= 8 and value[:8].isdigit() else ""
