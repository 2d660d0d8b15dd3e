"""What a destination is known to refuse, asked of an instance before it is sent.

Three kinds of destinations. A lenient PACS wants identity and no more. A strict vendor-neutral archive wants legal
values, the attributes that every image object must have, and text it can read. A cloud service (DICOMweb) wants
explicit VRs, sound UIDs and text it can read.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from imaging.coercion.attributes import TEXT_VRS, name_of, unfit_value, vr_of
from imaging.coercion.dataset import Dataset
from imaging.coercion.errors import NotCoercible
from imaging.coercion.rules import Profile
from imaging.coercion.utf8 import to_utf8
from imaging.elements import Encoding
from imaging.header import SERIES_INSTANCE_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Header
from imaging.pixels import pixel_element

_UIDS = (SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID)
_PATIENT_ID, _MODALITY = 0x00100020, 0x00080060
_PRESENT = (
    0x00080020, 0x00080030, 0x00080050, 0x00080090, 0x00100010, 0x00100020, 0x00100030, 0x00100040, 0x00200010,
    0x00200011,
)  # fmt: skip
"""Type 2 of patient, study and series: there, if without a value (PS3.3 sections C.7.1.1, C.7.2.1, C.7.3.1)."""
_OF_PIXELS = (0x00280002, 0x00280004, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103)
"""Type 1 of the Image Pixel module (PS3.3 section C.7.6.3)."""
_LEADING_ZERO = re.compile(rb"(^|\.)0[0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """One thing the destination would refuse the instance for."""

    what: str
    """A bounded sentence; no value."""
    tag: int

    def __str__(self) -> str:
        return f"{name_of(self.tag)} {self.what}"


def objections(header: Header, profile: Profile) -> tuple[Objection, ...]:
    """In order of the checks; empty: the destination takes it, as far as its kind is known."""
    return tuple(found for check in _CHECKS[profile] for found in check(header))


def _patient(header: Header) -> Iterator[Objection]:
    if not (header.value(_PATIENT_ID) or b"").strip(b" \0"):
        yield Objection(what="has no value", tag=_PATIENT_ID)


def _modality(header: Header) -> Iterator[Objection]:
    if not (header.value(_MODALITY) or b"").strip(b" \0"):
        yield Objection(what="has no value", tag=_MODALITY)


def _uids(header: Header) -> Iterator[Objection]:
    for tag in _UIDS:
        if _LEADING_ZERO.search(header.value(tag) or b""):
            yield Objection(what="has a component that begins with zero", tag=tag)


def _present(header: Header) -> Iterator[Objection]:
    for tag in _PRESENT:
        if tag not in header.index:
            yield Objection(what="is absent", tag=tag)


def _pixels(header: Header) -> Iterator[Objection]:
    if pixel_element(header) is not None:
        for tag in _OF_PIXELS:
            if not header.value(tag):
                yield Objection(what="has no value, and there are pixels", tag=tag)


def _values(header: Header) -> Iterator[Objection]:
    """Every text at the top level is in the form of its VR."""
    dataset = Dataset(header)
    for tag in header.index:
        if tag & 0x10000 or tag >> 16 <= 0x0002 or vr_of(tag) not in TEXT_VRS:
            continue
        try:
            defect = unfit_value(tag, dataset.text(tag))
        except NotCoercible as error:
            defect = error.defect
        if defect:
            yield Objection(what=f"has {defect}", tag=tag)


def _charset(header: Header) -> Iterator[Objection]:
    """All text, at every depth, can be read."""
    try:
        to_utf8(header, (), Dataset(header).charset)
    except NotCoercible as error:
        yield Objection(what=error.defect, tag=error.tag or 0x00080005)


def _explicit(header: Header) -> Iterator[Objection]:
    if header.scan.encoding is not Encoding.EXPLICIT_LE:
        yield Objection(what="is not explicit little endian, which DICOMweb wants (PS3.18 section 8.7)", tag=0x00020010)


_CHECKS: dict[Profile, tuple[Callable[[Header], Iterator[Objection]], ...]] = {
    Profile.NONE: (),
    Profile.LENIENT: (_patient,),
    Profile.STRICT: (_patient, _modality, _uids, _present, _pixels, _values, _charset),
    Profile.CLOUD: (_patient, _modality, _uids, _charset, _explicit),
}
