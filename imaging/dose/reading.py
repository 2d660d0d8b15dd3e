"""What one instance says of dose: read from its header, nothing decided about the study."""

import re
from collections.abc import Iterator
from decimal import Decimal

from imaging.dose.frames import by_frames
from imaging.dose.records import Basis, Exposure, InstanceDose, Kind, Motion, Phantom, Quantity, Reading
from imaging.dose.vendors import ACQUISITION_TYPE, PHANTOM, element_at, positive, private_numbers
from imaging.header import SERIES_INSTANCE_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, Header
from imaging.uid import InvalidUid, Uid, parse_uid
from imaging.values import Values

DOSE_REPORT_CLASS = Uid("1.2.840.10008.5.1.4.1.1.88.67")
_CT = frozenset(("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"))
"""CT, Enhanced CT, Legacy Converted Enhanced CT."""
_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
_REPORTS = "1.2.840.10008.5.1.4.1.1.88."

_MODALITY, _MANUFACTURER, _MODEL, _SERIAL = 0x00080060, 0x00080070, 0x00081090, 0x00181000
_IMAGE_TYPE, _SERIES_NUMBER, _DESCRIPTION = 0x00080008, 0x00200011, 0x0008103E
_ACQUISITION, _BODY_PART, _SCAN_OPTIONS, _ACQUISITION_TYPE = 0x00200012, 0x00180015, 0x00180022, 0x00189302
_ACQUIRED, _ACQUIRED_DATE, _ACQUIRED_TIME, _DATE = 0x0008002A, 0x00080022, 0x00080032, 0x00080023
_EVENT_UID, _DOSE_ITEMS, _PHANTOM_CODES = 0x00083010, 0x0040030E, 0x00189346
_TITLE, _CODE, _SCHEME = 0x0040A043, 0x00080100, 0x00080102
_SHARED, _PER_FRAME, _FRAME_CONTENT, _FRAME_TIME = 0x52009229, 0x52009230, 0x00209111, 0x00189074
_EXPOSURE, _XRAY_ITEMS, _ACQUISITION_ITEMS, _TABLE = 0x00189321, 0x00189325, 0x00189304, 0x00189308
_GEOMETRY, _EVENT_ITEMS, _TYPE_ITEMS = 0x00189312, 0x00189477, 0x00189301
_MACROS = (_EXPOSURE, _XRAY_ITEMS, _ACQUISITION_ITEMS, _TABLE, _GEOMETRY, _EVENT_ITEMS, _TYPE_ITEMS)
"""Functional groups of an enhanced CT image that describe its irradiation (PS3.3 section C.8.15.3)."""

_STANDARD = (
    (Quantity.CTDIVOL, 0x00189345, Decimal(1)),
    (Quantity.KVP, 0x00180060, Decimal(1)),
    (Quantity.TUBE_CURRENT, 0x00181151, Decimal(1)),
    (Quantity.TUBE_CURRENT, 0x00189330, Decimal(1)),
    (Quantity.TUBE_CURRENT, 0x00188151, Decimal("0.001")),
    (Quantity.ROTATION_TIME, 0x00189305, Decimal(1)),
    (Quantity.SINGLE_COLLIMATION, 0x00189306, Decimal(1)),
    (Quantity.TOTAL_COLLIMATION, 0x00189307, Decimal(1)),
    (Quantity.PITCH, 0x00189311, Decimal(1)),
)
"""Quantity, element, and what its unit is in ours; XRayTubeCurrentInuA is in microamperes. Exposure Time (0018,1150) of
an image is that of a rotation for some scanners and of the scan for others, so it is never taken."""
_ITEM_ONLY = (
    (Quantity.SCAN_LENGTH, 0x00181302, Decimal(1)),
    (Quantity.EXPOSURE_TIME, 0x00181150, Decimal("0.001")),
)
"""Of an Exposure Dose Sequence, whose items are events: there milliseconds are those of the event."""
_PHANTOMS = {"113690": Phantom.HEAD, "113691": Phantom.BODY}
_PRIVATE_PHANTOMS = {"16 CM": Phantom.HEAD, "16CM": Phantom.HEAD, "32 CM": Phantom.BODY, "32CM": Phantom.BODY}
_MOTIONS = {
    "SPIRAL": Motion.SPIRAL, "HELICAL": Motion.SPIRAL, "HELIX": Motion.SPIRAL, "HELICAL MODE": Motion.SPIRAL,
    "HELICAL_CT": Motion.SPIRAL, "SEQUENCED": Motion.SEQUENCED, "AXIAL": Motion.SEQUENCED,
    "AXIAL MODE": Motion.SEQUENCED, "CONSTANT_ANGLE": Motion.CONSTANT_ANGLE, "SCOUT MODE": Motion.CONSTANT_ANGLE,
    "SURVIEW": Motion.CONSTANT_ANGLE, "SCANOSCOPE": Motion.CONSTANT_ANGLE, "TOPOGRAM": Motion.CONSTANT_ANGLE,
    "STATIONARY": Motion.STATIONARY, "FREE": Motion.FREE,
}  # fmt: skip
"""Words of Acquisition Type (0018,9302), Scan Options (0018,0022) and ELSCINT1's own element."""
_MOMENT = re.compile(r"([0-9]{8})([0-9]{6})(?:\.([0-9]{1,6}))?([+-][0-9]{4})?")
_REFORMATTED = frozenset(("AVERAGE", "MAX_IP", "MIP", "MPR", "PROJECTION IMAGE", "REFORMATTED", "SCREEN SAVE"))
"""Image Type, third value and later: made from images, whatever the first says."""
_GE_SCREENS, _SIEMENS_SCREENS, _TOSHIBA_SCREENS = ("999", "10999"), ("501", "503"), ("1000", "9000")


def concerns_dose(sop_class: str) -> bool:
    """Instances of this class may say something of CT dose."""
    return sop_class in _CT or sop_class.startswith((_SECONDARY, _REPORTS))


def read_dose(header: Header) -> InstanceDose | None:
    """What the instance says; None where its class has nothing to do with CT dose.

    Raises
    ------
    MissingIdentity
        It does not say which instance it is.
    """
    sop_class = header.uid(SOP_CLASS_UID, "SOPClassUID")
    if not concerns_dose(sop_class):
        return None
    values = Values.of(header)
    kind = _kind(values, sop_class)
    common = _exposure(values, kind)
    exposure, frames, varying = by_frames(common, _frames(values))
    items = tuple(_item(item, number) for number, item in enumerate(values.items(_DOSE_ITEMS)))
    dlp = exposure.numbers.get(Quantity.DLP)
    return InstanceDose(
        sop_uid=header.uid(SOP_INSTANCE_UID, "SOPInstanceUID"),
        sop_class=sop_class,
        series_uid=header.uid(SERIES_INSTANCE_UID, "SeriesInstanceUID"),
        kind=kind,
        device=(values.text(_MANUFACTURER), values.text(_MODEL), values.text(_SERIAL)),
        acquisition=values.text(_ACQUISITION),
        started=exposure.started or _moment(values),
        body_part=values.text(_BODY_PART).upper(),
        exposure=exposure,
        items=items if kind is Kind.DOSE_INFO else frames,
        total_dlp=dlp if kind is Kind.DOSE_INFO else None,
        conflicts=tuple(sorted({*_conflicts(values), *varying})),
    )


def _kind(values: Values, sop_class: str) -> Kind:
    if sop_class.startswith(_REPORTS):
        title = values.items(_TITLE)
        # Older reports are Enhanced SR: the title tells, not the class.
        named = bool(title) and title[0].text(_CODE) == "113701" and title[0].text(_SCHEME) == "DCM"
        return Kind.DOSE_REPORT if named or sop_class == DOSE_REPORT_CLASS else Kind.OTHER
    if values.text(_MODALITY).upper() != "CT":
        return Kind.OTHER
    described = values.text(_DESCRIPTION).upper()
    if any(item.numbers(0x00189345) for item in values.items(_DOSE_ITEMS)):
        return Kind.DOSE_INFO
    image_type = [part.upper() for part in values.strings(_IMAGE_TYPE)]
    if _is_screen(values, image_type, described):
        return Kind.DOSE_SCREEN
    if sop_class not in _CT:
        return Kind.OTHER
    if "LOCALIZER" in image_type[2:]:
        return Kind.LOCALIZER
    made = image_type[:1] == ["DERIVED"] or not _REFORMATTED.isdisjoint(image_type[2:])
    return Kind.DERIVED if made else Kind.IMAGE


def _is_screen(values: Values, image_type: list[str], described: str) -> bool:
    """A picture of the dose table, by what each vendor is known to write."""
    maker, series = values.text(_MANUFACTURER).upper(), values.text(_SERIES_NUMBER)
    if image_type[:2] != ["DERIVED", "SECONDARY"]:
        return "DOSE INFO" in described and "PHILIPS" in maker
    if maker.startswith("GE"):
        return image_type[2:3] == ["SCREEN SAVE"] and (series in _GE_SCREENS or "DOSE REPORT" in described)
    if "SIEMENS" in maker:
        return image_type[2:4] == ["OTHER", "CT_SOM5 PROT"] and (
            series in _SIEMENS_SCREENS or "PATIENT PROTOCOL" in described
        )
    if "TOSHIBA" in maker or "CANON" in maker:
        return series in _TOSHIBA_SCREENS or "SUMMARY" in described
    return "DOSE INFO" in described and "PHILIPS" in maker


def _exposure(values: Values, kind: Kind) -> Exposure:
    macros = [values, *(macro for group in values.items(_SHARED)[:1] for macro in _macros(group))]
    numbers: dict[Quantity, Reading] = {}
    for level, where in [(each, "" if each is values else "(5200,9229)>") for each in macros]:
        numbers = _standard(level, _STANDARD, where) | numbers
    return Exposure(
        numbers=private_numbers(values) | numbers,
        phantom=next((found for each in macros if (found := _phantom(each))), None),
        motion=Motion.CONSTANT_ANGLE if kind is Kind.LOCALIZER else _motion(macros, numbers),
        event_uid=next((found for each in macros if (found := _event_uid(each))), None),
    )


def _item(item: Values, number: int) -> Exposure:
    """One item of Exposure Dose Sequence: an event of its own."""
    where = f"(0040,030E)[{number + 1}]>"
    private = {
        quantity: Reading(reading.value, where + reading.where, reading.basis)
        for quantity, reading in private_numbers(item).items()
    }
    numbers = private | _standard(item, (*_STANDARD, *_ITEM_ONLY), where)
    return Exposure(
        numbers=numbers, phantom=_phantom(item), motion=_motion([item], numbers), event_uid=_event_uid(item)
    )


def _standard(values: Values, places: tuple[tuple[Quantity, int, Decimal], ...], where: str) -> dict[Quantity, Reading]:
    found: dict[Quantity, Reading] = {}
    for quantity, tag, factor in places:
        if quantity not in found and (value := positive(values.numbers(tag))) is not None:
            found[quantity] = Reading(value * factor if factor != 1 else value, where + _shown(tag))
    return found


def _macros(group: Values) -> list[Values]:
    """The functional groups of one item: those of all frames, or of one."""
    return [macro for tag in _MACROS for macro in group.items(tag)[:1]]


def _frames(values: Values) -> Iterator[Exposure]:
    """What each frame of an enhanced image says by itself."""
    for group in values.items(_PER_FRAME):
        macros = _macros(group)
        numbers: dict[Quantity, Reading] = {}
        for macro in macros:
            numbers = _standard(macro, _STANDARD, "(5200,9230)>") | numbers
        times = [_moment_of(content.text(_FRAME_TIME)) for content in group.items(_FRAME_CONTENT)[:1]]
        yield Exposure(
            numbers=numbers,
            phantom=next((found for each in macros if (found := _phantom(each))), None),
            motion=_motion(macros, numbers),
            event_uid=next((found for each in macros if (found := _event_uid(each))), None),
            started=times[0] if times else "",
        )


def _phantom(values: Values) -> Phantom | None:
    for code in values.items(_PHANTOM_CODES):
        if (known := _PHANTOMS.get(code.text(_CODE))) is not None and code.text(_SCHEME) == "DCM":
            return known
    return _PRIVATE_PHANTOMS.get(values.text_of(element_at(values, PHANTOM)).upper())


def _motion(macros: list[Values], numbers: dict[Quantity, Reading]) -> Motion:
    """By what the scanner calls it; a pitch is something only a moving table has."""
    for values in macros:
        words = (*values.strings(_ACQUISITION_TYPE), *values.strings(_SCAN_OPTIONS))
        for word in (*words, values.text_of(element_at(values, ACQUISITION_TYPE))):
            if (known := _MOTIONS.get(word.upper())) is not None:
                return known
    return Motion.SPIRAL if Quantity.PITCH in numbers else Motion.UNKNOWN


def _event_uid(values: Values) -> Uid | None:
    """The event, where there is one: an image made of several names them all."""
    named = values.strings(_EVENT_UID)
    try:
        return parse_uid(named[0]) if len(named) == 1 else None
    except InvalidUid:
        return None


def _moment(values: Values) -> str:
    date = values.text(_ACQUIRED_DATE) or values.text(_DATE)
    return _moment_of(values.text(_ACQUIRED)) or _moment_of(date + values.text(_ACQUIRED_TIME))


def _moment_of(text: str) -> str:
    found = _MOMENT.fullmatch(text)
    return "" if found is None else f"{found[1]}{found[2]}.{(found[3] or '').ljust(6, '0')}"


def _conflicts(values: Values) -> tuple[str, ...]:
    """Dose that a private element gives otherwise than the standard one."""
    standard, private = _standard(values, _STANDARD[:1], ""), private_numbers(values)
    return tuple(
        quantity.value
        for quantity, reading in standard.items()
        if (other := private.get(quantity)) is not None
        and other.basis is not Basis.ASSUMED
        and other.value != reading.value
    )


def _shown(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
