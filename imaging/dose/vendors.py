"""Where vendors put CT dose and what describes it, in private elements that are documented.

Each entry names its documents; `imaging/private` holds everything else that is known of private blocks.
"""

from decimal import Decimal
from typing import NamedTuple

from imaging.dose.records import Basis, Quantity, Reading
from imaging.elements import Element
from imaging.values import Values


class Place(NamedTuple):
    """One private element and what it means."""

    quantity: Quantity
    creator: str
    group: int
    low: int
    vr: str
    """Where the file says UN."""
    basis: Basis = Basis.COPIED

    @property
    def where(self) -> str:
        return f"({self.group:04X},xx{self.low:02X}) {self.creator}"


_TOSHIBA = (
    (Quantity.CTDIVOL, 0x63, "FD"),  # OpenREM; not in pydicom's dictionary, so archives make UN of it
    (Quantity.DLP, 0x40, "FD"),  # pydicom, OpenREM, PixelMed
    (Quantity.SINGLE_COLLIMATION, 0x08, "DS"),  # pydicom, PixelMed
    (Quantity.PITCH, 0x23, "DS"),  # pydicom
)
PLACES = (
    *(Place(quantity, "TOSHIBA_MEC_CT3", 0x7005, low, vr) for quantity, low, vr in _TOSHIBA),
    # No document describes Canon's own block; scanners that changed their name only would have the same layout.
    *(Place(quantity, "CANON_MEC_CT3", 0x7005, low, vr, Basis.ASSUMED) for quantity, low, vr in _TOSHIBA),
    Place(Quantity.DLP, "ELSCINT1", 0x00E1, 0x21, "DS"),  # pydicom, OpenREM, PixelMed
    Place(Quantity.EXPOSURE_TIME, "ELSCINT1", 0x00E1, 0x50, "DS"),  # pydicom, PixelMed; seconds
    Place(Quantity.SCAN_LENGTH, "ELSCINT1", 0x01F1, 0x08, "DS"),  # pydicom
    Place(Quantity.PITCH, "ELSCINT1", 0x01F1, 0x26, "DS"),  # pydicom has both DS and FD
    Place(Quantity.ROTATION_TIME, "ELSCINT1", 0x01F1, 0x27, "DS"),  # pydicom
    Place(Quantity.DLP, "PHILIPS XCT -Private", 0x7051, 0x02, "DS"),  # dcm4che, dicom3tools
    # pydicom's dictionary says milliseconds; real files have seconds (PixelMed reads them so).
    Place(Quantity.ROTATION_TIME, "GEMS_ACQU_01", 0x0019, 0x27, "DS"),
    Place(Quantity.EXPOSURE_TIME, "GEMS_PARM_01", 0x0043, 0x4E, "FL"),  # pydicom; X-ray on, seconds
)

PHANTOM = Place(Quantity.CTDIVOL, "ELSCINT1", 0x01E1, 0x26, "CS")
"""'16 CM' or '32 CM' (pydicom, OpenREM)."""
ACQUISITION_TYPE = Place(Quantity.CTDIVOL, "ELSCINT1", 0x01F1, 0x01, "CS")
_GE_PITCH = Place(Quantity.PITCH, "GEMS_PARM_01", 0x0043, 0x27, "SH")
_GE_ROWS = Place(Quantity.TOTAL_COLLIMATION, "GEMS_HELIOS_01", 0x0045, 0x01, "SS")
_GE_WIDTH = Place(Quantity.TOTAL_COLLIMATION, "GEMS_HELIOS_01", 0x0045, 0x02, "FL")
_ROWS_USED = 0x09
"""Of Toshiba: one character per detector row, '1' where it is used."""
_MOST_ROWS = 640


def private_numbers(values: Values) -> dict[Quantity, Reading]:
    """Every number that documented private elements of one dataset or item give; the first of several."""
    found: dict[Quantity, Reading] = {}
    for place in PLACES:
        if place.quantity in found or (element := element_at(values, place)) is None:
            continue
        if (value := positive(values.numbers_of(element, place.vr))) is not None:
            found[place.quantity] = Reading(value, place.where, place.basis)
    for quantity, reading in (
        (Quantity.PITCH, _ge_pitch(values)),
        (Quantity.TOTAL_COLLIMATION, _ge_collimation(values) or _toshiba_collimation(values)),
    ):
        if reading is not None:
            found.setdefault(quantity, reading)
    return found


def element_at(values: Values, place: Place) -> Element | None:
    return values.private(place.creator, place.group, place.low)


def positive(numbers: tuple[Decimal, ...]) -> Decimal | None:
    """The first number if it is above zero: scanners write 0 for what they did not measure."""
    return numbers[0] if numbers and numbers[0] > 0 else None


def _ge_pitch(values: Values) -> Reading | None:
    """Written `1.375:1`, in some files `/1.375:1`."""
    text = values.text_of(element_at(values, _GE_PITCH)).lstrip("/").strip()
    ratio, colon, one = text.partition(":")
    if not colon or one.strip() != "1" or not ratio.strip().replace(".", "", 1).isdigit():
        return None
    value = Decimal(ratio.strip())
    return Reading(value, _GE_PITCH.where) if value > 0 else None


def _ge_collimation(values: Values) -> Reading | None:
    """Rows of the detector times their width."""
    rows, width = element_at(values, _GE_ROWS), element_at(values, _GE_WIDTH)
    if rows is None or width is None:
        return None
    number, millimetres = positive(values.numbers_of(rows, "SS")), positive(values.numbers_of(width, "FL"))
    if number is None or millimetres is None:
        return None
    return Reading(number * millimetres, f"{_GE_ROWS.where} times (0045,xx02)", Basis.COMPUTED)


def _toshiba_collimation(values: Values) -> Reading | None:
    """From the first to the last row that is used, times the width of one."""
    for creator, basis in (("TOSHIBA_MEC_CT3", Basis.COMPUTED), ("CANON_MEC_CT3", Basis.ASSUMED)):
        used = values.text_of(values.private(creator, 0x7005, _ROWS_USED))
        width = values.private(creator, 0x7005, 0x08)
        if width is None or "1" not in used or len(used) > _MOST_ROWS or used.strip("01"):
            continue
        if (millimetres := positive(values.numbers_of(width, "DS"))) is not None:
            rows = used.rindex("1") - used.index("1") + 1
            where = f"(7005,xx09) {creator}: {rows} rows times (7005,xx08)"
            return Reading(rows * millimetres, where, basis)
    return None
