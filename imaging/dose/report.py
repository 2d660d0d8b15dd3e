"""A CT Radiation Dose SR (PS3.16 TID 10011) of what a study's images say of dose.

Nothing in it is invented: what no image says is absent where it may be, and "unknown" where it may not.
"""

from datetime import datetime
from decimal import Decimal

from imaging.dose.content import (
    NOT_KNOWN,
    Code,
    Node,
    code_item,
    coded,
    container,
    encode_node,
    moment,
    number,
    sequence,
    text,
    text_element,
    uid_reference,
)
from imaging.dose.context import CHARSET, Context
from imaging.dose.reading import DOSE_REPORT_CLASS
from imaging.dose.records import UNITS, Basis, Event, Motion, Number, Phantom, Quantity, StudyDose
from imaging.dose.regions import REGIONS
from imaging.part10 import encode_meta
from imaging.uid import Uid, derived_uid

RULE_VERSION = "2"
"""Of this module: another version makes another instance of what it says."""
SYNTAX = "1.2.840.10008.1.2.1"
SERIES_NUMBER = "99911"
"""Beyond those that scanners give, and a valid IS."""
OBSERVER = "LIMOSA"
INCOMPLETE = "Made from image attributes. What no image of the study states is given as unknown."
_UNKNOWN_TEXT = "UNKNOWN"
"""Enhanced General Equipment (PS3.3 C.7.5.2) and some rows of the template want a value where the images have none."""


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


_UNIT_WORDS = {"{ratio}": "ratio", "{events}": "events", "{X-Ray sources}": "X-Ray sources"}
_MOTIONS = {
    Motion.SPIRAL: Code("116152004", "SCT", "Spiral Acquisition"),
    Motion.SEQUENCED: _dcm("113804", "Sequenced Acquisition"),
    Motion.CONSTANT_ANGLE: _dcm("113805", "Constant Angle Acquisition"),
    Motion.STATIONARY: _dcm("113806", "Stationary Acquisition"),
    Motion.FREE: _dcm("113807", "Free Acquisition"),
    Motion.UNKNOWN: NOT_KNOWN,
}
_PHANTOMS = {
    Phantom.HEAD: _dcm("113690", "IEC Head Dosimetry Phantom"),
    Phantom.BODY: _dcm("113691", "IEC Body Dosimetry Phantom"),
}
_PHANTOM_TYPE = _dcm("113835", "CTDIw Phantom Type")
_TITLE = _dcm("113701", "X-Ray Radiation Dose Report")
_ROLE, _IRRADIATING = _dcm("113876", "Device Role in Procedure"), _dcm("113859", "Irradiating Device")


def report_uids(context: Context, dose: StudyDose) -> tuple[Uid, Uid]:
    """Series and instance of the report: the same for the same study, rule version and source instances."""
    read = [str(source[2]) for event in dose.events for source in event.sources]
    return (
        derived_uid("dose-report-series", context.study_uid, RULE_VERSION),
        derived_uid("dose-report", context.study_uid, RULE_VERSION, *read),
    )


def build_report(dose: StudyDose, context: Context, when: datetime) -> bytes:
    """The report as a Part-10 file; `when` is aware and must be the same for every attempt at one delivery.

    Raises
    ------
    ValueError
        The study's dose is not `reportable`.
    """
    if not dose.reportable:
        raise ValueError("no report can be made of this study's dose")
    series_uid, sop_uid = report_uids(context, dose)
    tree = _tree(dose, context)
    manufacturer, model, serial = (_printable(value) for value in dose.device)
    when = when.astimezone(context.zone)
    date, time = f"{when:%Y%m%d}", f"{when:%H%M%S.%f}"
    elements = context.elements | {
        0x00080016: text_element(0x00080016, "UI", DOSE_REPORT_CLASS),
        0x00080018: text_element(0x00080018, "UI", sop_uid),
        0x00080023: text_element(0x00080023, "DA", date),
        0x00080033: text_element(0x00080033, "TM", time),
        0x00080060: text_element(0x00080060, "CS", "SR"),
        0x00080070: text_element(0x00080070, "LO", manufacturer or _UNKNOWN_TEXT),
        0x0008103E: text_element(0x0008103E, "LO", "X-Ray Radiation Dose Report"),
        0x00081090: text_element(0x00081090, "LO", model or _UNKNOWN_TEXT),
        0x00081111: sequence(0x00081111, []),
        0x00181000: text_element(0x00181000, "LO", serial or _UNKNOWN_TEXT),
        0x00181020: text_element(0x00181020, "LO", context.software or _UNKNOWN_TEXT),
        0x0018A001: _contributing(when),
        0x0020000D: text_element(0x0020000D, "UI", context.study_uid),
        0x0020000E: text_element(0x0020000E, "UI", series_uid),
        0x00200011: text_element(0x00200011, "IS", SERIES_NUMBER),
        0x00200013: text_element(0x00200013, "IS", "1"),
        0x0040A372: sequence(0x0040A372, []),
        0x0040A375: _evidence(dose, context),
        0x0040A491: text_element(0x0040A491, "CS", "COMPLETE"),
        0x0040A493: text_element(0x0040A493, "CS", "UNVERIFIED"),
    }
    if context.charset:
        elements[CHARSET] = text_element(CHARSET, "CS", context.charset)
    root = encode_node(tree)
    before = b"".join(octets for tag, octets in sorted(elements.items()) if tag < 0x0040A010)
    after = {tag: octets for tag, octets in elements.items() if tag >= 0x0040A010}
    dataset = before + _interleaved(root, after)
    return encode_meta(DOSE_REPORT_CLASS, sop_uid, SYNTAX) + dataset


def _interleaved(root: bytes, others: dict[int, bytes]) -> bytes:
    """The root's elements with those of SR Document General between them, all in order."""
    pieces: list[tuple[int, bytes]] = list(others.items())
    at = 0
    while at < len(root):
        tag = int.from_bytes(root[at : at + 2], "little") << 16 | int.from_bytes(root[at + 2 : at + 4], "little")
        long = root[at + 4 : at + 6] in (b"SQ", b"UT")
        head = 12 if long else 8
        length = int.from_bytes(root[at + 8 : at + 12] if long else root[at + 6 : at + 8], "little")
        pieces.append((tag, root[at : at + head + length]))
        at += head + length
    return b"".join(octets for _, octets in sorted(pieces))


def _tree(dose: StudyDose, context: Context) -> Node:
    started = min(event.started for event in dose.events)
    ended = max(event.ended for event in dose.events)
    intent = coded(
        "HAS CONCEPT MOD",
        Code("363703001", "SCT", "Has Intent"),
        Code("261004008", "SCT", "Diagnostic Intent"),
    )
    scope = uid_reference("HAS PROPERTIES", _dcm("110180", "Study Instance UID"), context.study_uid)
    head = [
        coded(
            "HAS CONCEPT MOD",
            _dcm("121049", "Language of Content Item and Descendants"),
            Code("en-US", "RFC5646", "English (United States)"),
        ),
        coded(
            "HAS CONCEPT MOD",
            _dcm("121058", "Procedure reported"),
            Code("77477000", "SCT", "Computed Tomography X-Ray"),
            intent,
        ),
        coded("HAS OBS CONTEXT", _dcm("121005", "Observer Type"), _dcm("121007", "Device")),
        uid_reference("HAS OBS CONTEXT", _dcm("121012", "Device Observer UID"), derived_uid("device-observer")),
        text("HAS OBS CONTEXT", _dcm("121013", "Device Observer Name"), OBSERVER),
        moment("HAS OBS CONTEXT", _dcm("113809", "Start of X-Ray Irradiation"), started),
        moment("HAS OBS CONTEXT", _dcm("113810", "End of X-Ray Irradiation"), ended),
        coded("HAS OBS CONTEXT", _dcm("113705", "Scope of Accumulation"), _dcm("113014", "Study"), scope),
        _accumulated(dose),
    ]
    acquisitions = [_acquisition(event, dose, context) for event in dose.events]
    # dcmtk takes no completion flag but COMPLETE for this class, so what is not known is told in words.
    whole = all(node.whole for node in (*head, *acquisitions))
    comment = [] if whole else [text("CONTAINS", _dcm("121106", "Comment"), INCOMPLETE)]
    return container("", _TITLE, [*head, *acquisitions, *comment, *_sources(dose)], "10011")


def _sources(dose: StudyDose) -> list[Node]:
    """Where the numbers are from (CID 10021); both where some were computed."""
    bases = {one.basis for event in dose.events for one in event.numbers.values()}
    if dose.total_dlp is not None:
        bases.add(dose.total_dlp.basis)
    named = [
        (Basis.COPIED, _dcm("113866", "Copied From Image Attributes")),
        (Basis.COMPUTED, _dcm("113867", "Computed From Image Attributes")),
    ]
    name = _dcm("113854", "Source of Dose Information")
    return [coded("CONTAINS", name, code) for basis, code in named if basis in bases]


def _accumulated(dose: StudyDose) -> Node:
    count = Decimal(len(dose.events))
    children = [
        number("CONTAINS", _dcm("113812", "Total Number of Irradiation Events"), count, _unit("{events}")),
        number(
            "CONTAINS",
            _dcm("113813", "CT Dose Length Product Total"),
            None if dose.total_dlp is None else dose.total_dlp.value,
            _unit("mGy.cm"),
            *_subtotals(dose),
        ),
        _device(dose),
    ]
    return container("CONTAINS", _dcm("113811", "CT Accumulated Dose Data"), children, "10012")


def _subtotals(dose: StudyDose) -> list[Node]:
    """Per phantom, where events differ in it and every one names its own: else a sub-total would be of some."""
    known = [event for event in dose.events if Quantity.DLP in event.numbers]
    phantoms = {event.phantom for event in known}
    if len(phantoms) < 2 or None in phantoms:
        return []
    return [
        number(
            "HAS PROPERTIES",
            _dcm("130745", "CT Dose Length Product Sub-Total"),
            sum((event.numbers[Quantity.DLP].value for event in known if event.phantom is phantom), Decimal(0)),
            _unit("mGy.cm"),
            coded("HAS PROPERTIES", _PHANTOM_TYPE, _PHANTOMS[phantom]),
        )
        for phantom in Phantom
    ]


def _device(dose: StudyDose) -> Node:
    """TID 1021: who irradiated, for it is not who reports."""
    manufacturer, model, serial = dose.device
    told = (
        ("113878", "Device Manufacturer", manufacturer),
        ("113879", "Device Model Name", model),
        ("113880", "Device Serial Number", serial),
    )
    children = [
        text("HAS PROPERTIES", _dcm(code, meaning), _printable(value) or _UNKNOWN_TEXT) for code, meaning, value in told
    ]
    return coded("CONTAINS", _ROLE, _IRRADIATING, *children)


def _acquisition(event: Event, dose: StudyDose, context: Context) -> Node:
    ours = derived_uid("irradiation-event", context.study_uid, RULE_VERSION, str(event.number), *event.series)
    children = [
        coded("CONTAINS", _dcm("123014", "Target Region"), REGIONS.get(event.body_part, NOT_KNOWN)),
        coded("CONTAINS", _dcm("113820", "CT Acquisition Type"), _MOTIONS[event.motion]),
        uid_reference("CONTAINS", _dcm("113769", "Irradiation Event UID"), event.event_uid or ours),
        _parameters(event),
    ]
    if event.motion is not Motion.CONSTANT_ANGLE or event.has_dose:
        children.append(_dose(event))
    children.append(_device(dose))
    return container("CONTAINS", _dcm("113819", "CT Acquisition"), children, "10013")


def _parameters(event: Event) -> Node:
    children = [
        _measured(event, Quantity.EXPOSURE_TIME, "113824", "Exposure Time"),
        _measured(event, Quantity.SCAN_LENGTH, "113825", "Scanning Length"),
        _measured(event, Quantity.SINGLE_COLLIMATION, "113826", "Nominal Single Collimation Width"),
        _measured(event, Quantity.TOTAL_COLLIMATION, "113827", "Nominal Total Collimation Width"),
    ]
    if event.motion in (Motion.SPIRAL, Motion.SEQUENCED):
        children.append(_measured(event, Quantity.PITCH, "113828", "Pitch Factor"))
    children.append(number("CONTAINS", _dcm("113823", "Number of X-Ray Sources"), None, _unit("{X-Ray sources}")))
    current = _known(event.highest_current)
    source = [
        text("CONTAINS", _dcm("113832", "Identification of the X-Ray Source"), _UNKNOWN_TEXT),
        _measured(event, Quantity.KVP, "113733", "KVP"),
        number("CONTAINS", _dcm("113833", "Maximum X-Ray Tube Current"), current, _unit("mA")),
        _measured(event, Quantity.TUBE_CURRENT, "113734", "X-Ray Tube Current"),
    ]
    if event.motion is not Motion.CONSTANT_ANGLE:
        source.append(_measured(event, Quantity.ROTATION_TIME, "113834", "Exposure Time per Rotation"))
    children.append(container("CONTAINS", _dcm("113831", "CT X-Ray Source Parameters"), source))
    return container("CONTAINS", _dcm("113822", "CT Acquisition Parameters"), children)


def _dose(event: Event) -> Node:
    children = [_measured(event, Quantity.CTDIVOL, "113830", "Mean CTDIvol")]
    if event.phantom is not None:
        children.append(coded("CONTAINS", _PHANTOM_TYPE, _PHANTOMS[event.phantom]))
    else:
        children.append(coded("CONTAINS", _PHANTOM_TYPE, NOT_KNOWN))
    children.append(_measured(event, Quantity.DLP, "113838", "DLP"))
    return container("CONTAINS", _dcm("113829", "CT Dose"), children)


def _measured(event: Event, quantity: Quantity, value: str, meaning: str) -> Node:
    return number("CONTAINS", _dcm(value, meaning), _known(event.numbers.get(quantity)), _unit(UNITS[quantity]))


def _known(found: Number | None) -> Decimal | None:
    return None if found is None or found.basis is Basis.ASSUMED else found.value


def _unit(unit: str) -> Code:
    return Code(unit, "UCUM", _UNIT_WORDS.get(unit, unit))


def _evidence(dose: StudyDose, context: Context) -> bytes:
    """The instances that were read, by series."""
    series: dict[Uid, dict[Uid, Uid]] = {}
    for event in dose.events:
        for series_uid, sop_class, sop_uid in event.sources:
            series.setdefault(series_uid, {})[sop_uid] = sop_class
    referenced = [
        sequence(0x00081199, [_reference(sop_class, sop_uid) for sop_uid, sop_class in sorted(instances.items())])
        + text_element(0x0020000E, "UI", series_uid)
        for series_uid, instances in sorted(series.items())
    ]
    study = sequence(0x00081115, referenced) + text_element(0x0020000D, "UI", context.study_uid)
    return sequence(0x0040A375, [study])


def _reference(sop_class: Uid, sop_uid: Uid) -> bytes:
    return text_element(0x00081150, "UI", sop_class) + text_element(0x00081155, "UI", sop_uid)


def _contributing(when: datetime) -> bytes:
    """We, beside the scanner whose numbers these are (PS3.3 section C.12.1.1.5)."""
    purpose = sequence(0x0040A170, [code_item(_dcm("109103", "Modifying Equipment"))])
    item = b"".join(
        (
            text_element(0x00080070, "LO", OBSERVER),
            text_element(0x0018A002, "DT", f"{when:%Y%m%d%H%M%S.%f%z}"),
            text_element(0x0018A003, "ST", "Dose report made from image attributes while the study was moved"),
            purpose,
        )
    )
    return sequence(0x0018A001, [item])


def _printable(value: str) -> str:
    """What every character set can write: names of scanners are ASCII, and those that are not are left out."""
    return value if value.isascii() and value.isprintable() and len(value) <= 64 else ""
