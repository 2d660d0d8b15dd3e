"""The previous values of a coerced dataset, kept inside it (Original Attributes Sequence, PS3.3 C.12.1.1.9).

Each coercion adds one item per reason behind the items that are there. Previous values are the elements as
they lay in the file, byte for byte; an attribute that was absent stands there empty; a value that was
illegal stands there empty as well and is kept as bytes in Nonconforming Modified Attributes Sequence.
"""

import struct
from collections.abc import Sequence
from datetime import datetime

from imaging.coercion.attributes import TEXT_VRS, unfit_value, vr_of
from imaging.coercion.dataset import VALUE_LIMIT, Dataset
from imaging.coercion.errors import NotCoercible
from imaging.coercion.plan import Change
from imaging.coercion.rules import Reason, RuleSet
from imaging.elements import ITEM, UNDEFINED, Element, Encoding
from imaging.splice import Edit, encode_element

ORIGINAL_ATTRIBUTES = 0x04000561
_MODIFIED, _NONCONFORMING, _NONCONFORMING_VALUE = 0x04000550, 0x04000551, 0x04000552
_WHEN, _BY, _FROM, _WHY = 0x04000562, 0x04000563, 0x04000564, 0x04000565
_SELECTOR, _SELECTOR_NUMBER = 0x00720026, 0x00720028
_PATIENT_ID, _ISSUER = 0x00100020, 0x00100021
_DELIMITER = 8
"""Bytes of a sequence delimiter."""


def originals_edit(dataset: Dataset, changes: Sequence[Change], rules: RuleSet, moment: datetime) -> Edit:
    """Original Attributes Sequence with what these changes replace; `moment` is aware.

    Raises
    ------
    NotCoercible
        The sequence in the file, or one that is removed, cannot be continued or copied.
    """
    encoding, vr, items = _held(dataset)
    reasons: dict[int, Reason] = {}
    for change in changes:
        reasons.setdefault(change.tag, change.reason)
    for reason in Reason:
        tags = sorted(tag for tag, its in reasons.items() if its is reason)
        if tags:
            items += _item(_described(dataset, tags, reason, rules, moment, encoding), encoding)
    return Edit(tag=ORIGINAL_ATTRIBUTES, vr=vr, value=items)


def _held(dataset: Dataset) -> tuple[Encoding, str, bytes]:
    """How the items that are there are written, the sequence's VR, and those items."""
    element = dataset.element(ORIGINAL_ATTRIBUTES)
    if element is None or not element.length:
        return dataset.encoding, "SQ", b""
    encoding = dataset.content_encoding(element)
    return encoding, element.vr or "SQ", dataset.octets(element.value, _items_end(element))


def _items_end(element: Element) -> int:
    return element.end - _DELIMITER if element.length == UNDEFINED else element.end


def _described(
    dataset: Dataset, tags: Sequence[int], reason: Reason, rules: RuleSet, moment: datetime, encoding: Encoding
) -> bytes:
    """The content of one item of the sequence."""
    previous, illegal = bytearray(), bytearray()
    for tag in _with_issuer(dataset, tags):
        element = dataset.element(tag)
        defective = element is not None and _illegal(dataset, element)
        if element is None or defective:
            previous += encode_element(tag, vr_of(tag), b"", encoding)
        else:
            previous += _copied(dataset, element, encoding)
        if element is not None and defective:
            illegal += _item(_nonconforming(dataset, element, encoding), encoding)
    when = moment.strftime("%Y%m%d%H%M%S.%f%z").encode("ascii")
    return b"".join(
        (
            encode_element(_MODIFIED, "SQ", _item(bytes(previous), encoding), encoding),
            encode_element(_NONCONFORMING, "SQ", bytes(illegal), encoding) if illegal else b"",
            encode_element(_WHEN, "DT", when, encoding),
            encode_element(_BY, "LO", rules.modifying_system.encode("ascii"), encoding),
            encode_element(_FROM, "LO", rules.previous_source.encode("ascii"), encoding),
            encode_element(_WHY, "CS", reason.value.encode("ascii"), encoding),
        )
    )


def _with_issuer(dataset: Dataset, tags: Sequence[int]) -> list[int]:
    """A patient's number means nothing without who gave it, so its issuer is kept beside it, changed or not."""
    if _PATIENT_ID in tags and _ISSUER not in tags and dataset.element(_ISSUER) is not None:
        return sorted((*tags, _ISSUER))
    return list(tags)


def _illegal(dataset: Dataset, element: Element) -> bool:
    """The value breaks the rules of its VR or multiplicity, as far as those are checked for new values."""
    if vr_of(element.tag) not in TEXT_VRS or not dataset.plain(element):
        return False
    if element.length > VALUE_LIMIT:
        return False
    try:
        return bool(unfit_value(element.tag, dataset.decoded(element.tag, dataset.written(element))))
    except NotCoercible:
        return True


def _copied(dataset: Dataset, element: Element, encoding: Encoding) -> bytes:
    """The element as it lies in the file, padded to even length."""
    if encoding is not dataset.encoding and not dataset.plain(element):
        raise NotCoercible("a sequence cannot be kept among originals of another encoding", tag=element.tag)
    if element.length == UNDEFINED:
        return dataset.octets(element.start, element.end)
    value = dataset.octets(element.value, element.end)
    try:
        return encode_element(element.tag, element.vr or vr_of(element.tag), value, encoding)
    except ValueError:
        # A VR that is none, or a value too long for its own: real files have both.
        raise NotCoercible("is written such that it cannot be kept among originals", tag=element.tag) from None


def _nonconforming(dataset: Dataset, element: Element, encoding: Encoding) -> bytes:
    """Which value it was (Selector Attribute Macro, PS3.3 section 10.17), and its bytes."""
    order = "big" if encoding is Encoding.EXPLICIT_BE else "little"
    group, number = element.tag >> 16, element.tag & 0xFFFF
    return b"".join(
        (
            encode_element(_NONCONFORMING_VALUE, "OB", dataset.octets(element.value, element.end), encoding),
            encode_element(_SELECTOR, "AT", group.to_bytes(2, order) + number.to_bytes(2, order), encoding),
            encode_element(_SELECTOR_NUMBER, "US", (1).to_bytes(2, order), encoding),
        )
    )


def _item(content: bytes, encoding: Encoding) -> bytes:
    form = struct.Struct(">HHL" if encoding is Encoding.EXPLICIT_BE else "<HHL")
    return form.pack(ITEM >> 16, ITEM & 0xFFFF, len(content)) + content
