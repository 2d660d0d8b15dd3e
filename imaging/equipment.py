"""What a dataset says about the device that made it, and about itself, that a baseline counts. Pure."""

from dataclasses import dataclass

from imaging.header import Header
from imaging.text import ASCII, Undecodable, decode, parse_charset

CHARSET = 0x00080005
MODALITY = 0x00080060
MANUFACTURER = 0x00080070
STATION_NAME = 0x00081010
MODEL_NAME = 0x00081090
BURNED_IN = 0x00280301
LOSSY = 0x00282110

LOSSY_MARK = "LOSSY"
BURNED_IN_MARK = "BURNED_IN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """The device and the encoding of one instance; None where the dataset does not say."""

    modality: str | None
    manufacturer: str | None
    model: str | None
    station: str | None
    charset: str | None
    """As declared in (0008,0005)."""
    marks: tuple[str, ...]
    """LOSSY, BURNED_IN and the dataset's flags, in order."""


def read_equipment(header: Header, flags: tuple[str, ...] = ()) -> Equipment:
    """What the dataset says; `flags` are those found elsewhere, as of its pixels."""
    declared = _ascii(header, CHARSET)
    charset = parse_charset(declared.encode("ascii")) if declared else ASCII
    marks = {*flags, *(flag.value for flag in header.scan.flags)}
    if _ascii(header, LOSSY) == "01":
        marks.add(LOSSY_MARK)
    if _ascii(header, BURNED_IN) == "YES":
        marks.add(BURNED_IN_MARK)

    def text(tag: int) -> str | None:
        raw = header.value(tag)
        if raw is None:
            return None
        try:
            told = decode(raw, charset, person_name=False)
        except Undecodable as error:
            marks.add(error.flag.value)
            told = raw.decode("ascii", "replace")
        # Names of devices go to pages and tables: one line, without what a terminal would act on.
        return " ".join("".join(one if one.isprintable() else " " for one in told).split()) or None

    manufacturer, model, station = text(MANUFACTURER), text(MODEL_NAME), text(STATION_NAME)
    return Equipment(
        modality=_ascii(header, MODALITY),
        manufacturer=manufacturer,
        model=model,
        station=station,
        charset=declared,
        marks=tuple(sorted(marks)),
    )


def _ascii(header: Header, tag: int) -> str | None:
    raw = header.value(tag)
    if raw is None:
        return None
    told = raw.decode("ascii", "replace").strip(" \0")
    return "".join(one if one.isprintable() else "?" for one in told) or None
