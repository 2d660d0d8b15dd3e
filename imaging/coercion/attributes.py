"""Which attributes rules may name, and what values their VRs allow.

A rule can only touch text at the top level that is neither identity nor image, so coercion is pixel-neutral by
construction: whoever writes rules is told so when the job file is read, not when the first study is broken.
"""

import difflib
import re
from datetime import date
from functools import lru_cache
from types import ModuleType

TEXT_VRS = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"])
"""VRs whose values rules may set."""
NUMBER_VRS = frozenset(["FD", "FL", "SL", "SS", "UL", "US"])
"""VRs in binary that a private number may be copied into."""
_BULK_VRS = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
_PIXEL_GROUPS = frozenset((0x0028, 0x5200, 0x5400, 0x5600, 0x7FE0))
"""Image pixel and its interpretation, functional groups, waveforms, spectroscopy, pixels."""
_REPEATING = frozenset((0x50, 0x60, 0x70, 0x7F))
"""First bytes of the groups of curves, overlays and their like."""
_CHARSET = 0x00080005
_HISTORY = 0x04000561

_LENGTHS = {
    "AE": 16, "AS": 4, "CS": 16, "DA": 8, "DS": 16, "DT": 26, "IS": 12, "LO": 64, "LT": 10240, "PN": 64, "SH": 16,
    "ST": 1024, "TM": 14,
}  # fmt: skip
"""Characters of one value, for PN of one component group (PS3.5 table 6.2-1)."""
_ONE_TEXT = frozenset(("LT", "ST", "UT", "UR"))
"""VRs in which a backslash is a character like others."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_IN_PROSE = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_FORMS = {
    "AS": re.compile(r"[0-9]{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9 _]*"),
    "DA": re.compile(r"[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"),
    "DS": re.compile(r" *[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)? *"),
    "DT": re.compile(r"[0-9]{4}([0-9]{2}){0,5}(\.[0-9]{1,6})?([+-][0-9]{4})? *"),
    "IS": re.compile(r" *[+-]?[0-9]+ *"),
    "TM": re.compile(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9]|60)?(\.[0-9]{1,6})?)? *"),
    "UR": re.compile(r"[!-~]*"),
}
_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")


def _dictionary() -> ModuleType:
    """pydicom's, imported at the first rule: job files without any are read by commands that must not wait for it."""
    from pydicom import datadict

    return datadict


class Unfit(ValueError):
    """An attribute or value a rule must not have; the message is for whoever wrote the rule."""


def attribute(name: str) -> int:
    """The tag of a keyword such as `PatientID`, or of a tag written as `(0010,0020)`.

    Raises
    ------
    Unfit
        No such attribute; the nearest name is suggested.
    """
    keyword_dict: dict[str, int] = _dictionary().keyword_dict
    if (tag := keyword_dict.get(name)) is not None:
        return tag
    if found := _TAG.fullmatch(name.strip()):
        return int(found[1] + found[2], 16)
    near = difflib.get_close_matches(name, keyword_dict, n=1)
    hint = f"; did you mean {near[0]}?" if near else "; keywords are those of PS3.6, such as PatientID"
    raise Unfit(f"no attribute called {name!r}{hint}")


def name_of(tag: int) -> str:
    """The keyword, or the tag where the dictionary knows none."""
    try:
        return _dictionary().dictionary_keyword(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    except KeyError:
        return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@lru_cache(maxsize=4096)
def vr_of(tag: int) -> str:
    """The VR of the dictionary; `UN` for what it does not know."""
    try:
        return _dictionary().dictionary_VR(tag)
    except KeyError:
        return "UN"


def require_readable(tag: int) -> None:
    """Rules may look at this attribute. Raises `Unfit` where it is no text."""
    vr = vr_of(tag)
    if vr not in TEXT_VRS and vr != "UI":
        raise Unfit(f"{name_of(tag)} is no text (VR {vr}): a rule can only ask whether it is there")


def require_settable(tag: int) -> None:
    """Rules may give this attribute a value. Raises `Unfit`."""
    _require_unprotected(tag)
    if (vr := vr_of(tag)) not in TEXT_VRS:
        raise Unfit(f"{name_of(tag)} is no text (VR {vr}): rules set text only")


def require_fillable(tag: int) -> None:
    """A private value may be copied into this attribute. Raises `Unfit`."""
    _require_unprotected(tag)
    if (vr := vr_of(tag)) not in TEXT_VRS | NUMBER_VRS:
        raise Unfit(f"{name_of(tag)} is neither text nor a number (VR {vr})")


def require_removable(tag: int) -> None:
    """Rules may remove this attribute. Raises `Unfit`."""
    _require_unprotected(tag)
    if (vr := vr_of(tag)) in _BULK_VRS:
        raise Unfit(f"{name_of(tag)} holds bulk data (VR {vr}) and is kept")


def _require_unprotected(tag: int) -> None:
    """Raises `Unfit`, with the reason, for what no rule may change."""
    name, group = name_of(tag), tag >> 16
    if group <= 0x0002 or group >= 0xFFFA or not tag & 0xFFFF or tag == 0x00080001:
        raise Unfit(f"{name} says how the file is written, not what it holds; the transfer syntax is never changed")
    if group & 1:
        raise Unfit(f"{name} is private; private elements are kept as they are")
    if group in _PIXEL_GROUPS or group >> 8 in _REPEATING:
        raise Unfit(f"{name} belongs to the pixels or says how they are read; coercion never changes an image")
    if tag == _CHARSET:
        raise Unfit(f"{name} says how all text is read; it is never changed")
    if group == 0x0400:
        raise Unfit(f"{name} holds signatures or earlier originals, which are kept")
    if vr_of(tag) == "UI":
        raise Unfit(f"{name} is a UID; other objects refer to it, so UIDs are never changed")


def unfit_value(tag: int, text: str) -> str:
    """What is wrong with this value of the attribute, or nothing; multiple values are split at backslashes."""
    vr = vr_of(tag)
    if vr in _ONE_TEXT:
        return _defect(vr, text)
    values = text.split("\\")
    if len(values) > 1:
        multiplicity = str(_dictionary().dictionary_VM(tag))
        if not _takes(multiplicity, len(values)):
            return f"{len(values)} values where the dictionary allows {multiplicity}"
    return next((defect for value in values if (defect := _defect(vr, value))), "")


def _defect(vr: str, value: str) -> str:
    if (_CONTROL_IN_PROSE if vr in ("LT", "ST", "UT") else _CONTROL).search(value):
        return "a control character"
    limit = _LENGTHS.get(vr)
    parts = value.split("=") if vr == "PN" else [value]
    if limit is not None and any(len(part) > limit for part in parts):
        return f"more than the {limit} characters of VR {vr}"
    if vr == "PN" and (len(parts) > 3 or any(part.count("^") > 4 for part in parts)):
        return "more components than a person name has"
    form = _FORMS.get(vr)
    if value and form is not None and not form.fullmatch(value):
        return f"not in the form of VR {vr}"
    if value and vr == "DA" and not _is_date(value):
        return "no date"
    return ""


def _is_date(value: str) -> bool:
    try:
        date(int(value[:4]), int(value[4:6]), int(value[6:]))
    except ValueError:
        return False
    return True


def _takes(multiplicity: str, count: int) -> bool:
    """Whether a VM such as `1`, `2`, `1-n` or `2-2n` allows so many values."""
    _, _, most = multiplicity.partition("-")
    if most.endswith("n"):
        return not count % int(most[:-1] or 1)
    return count <= int(most or multiplicity)
