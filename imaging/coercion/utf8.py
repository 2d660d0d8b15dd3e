"""All text of a dataset in UTF-8, at every depth, and every other byte as it was.

Each text is decoded from the character set declared for it (PS3.5 section 6.1, own ones of items included) and encoded
anew; one that cannot be decoded refuses the dataset, because a converter that guesses loses names. A sequence with
such text in it is written anew with defined lengths; what has none stays where it lies. Text in private elements is
converted where the file names its VR, or a private dictionary does where the file says UN or nothing; a value that
nobody knows may be anything and stays as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from imaging.canonical import CREATOR_LIMIT, Items, Level, top_level
from imaging.coercion.attributes import vr_of
from imaging.coercion.errors import NotCoercible
from imaging.elements import UNDEFINED, Element, Encoding, Walker
from imaging.errors import MalformedDataset
from imaging.header import Header
from imaging.octets import MemoryOctets, chunks
from imaging.private.dictionary import meaning_of
from imaging.splice import SHORT_LIMIT, Edit, encode_element
from imaging.text import Charset, Undecodable, decode

CHARSET = 0x00080005
UTF8 = b"ISO_IR 192"
LONGEST_TEXT = 16 << 20
"""Bytes of one text, or of one sequence that is written anew; they lie in memory."""
_IN_CHARSET = frozenset(["LO", "LT", "PN", "SH", "ST", "UC", "UT"])
Creators: TypeAlias = dict[tuple[int, int], str]
"""Of the private blocks of one dataset or item, by group and block number."""
_ESCAPE = b"\x1b"
_ITEM_HEAD = {
    Encoding.EXPLICIT_BE: b"\xff\xfe\xe0\x00",
    Encoding.EXPLICIT_LE: b"\xfe\xff\x00\xe0",
    Encoding.IMPLICIT_LE: b"\xfe\xff\x00\xe0",
}


class Converted(NamedTuple):
    """What a dataset becomes."""

    edits: tuple[Edit, ...]
    """Those that were given, their text converted, and all that text of the file needs besides."""
    before: bytes | None
    """Specific Character Set as it was; None: absent."""


def to_utf8(header: Header, edits: Sequence[Edit], charset: Charset) -> Converted | None:
    """The edits after which all text is UTF-8; None where it is already, or there is none to convert.

    `charset` is that of the dataset, or what is known to be meant where none is declared; the values of `edits` are
    encoded in it.

    Raises
    ------
    NotCoercible
        Some text is not in the character set declared for it, or a sequence is broken.
    """
    top = top_level(header)
    level = top._replace(charset=charset)
    given = {edit.tag: edit for edit in edits}
    converted: dict[int, Edit] = dict(given)
    creators = _creators(level)
    try:
        for element in level.elements:
            if element.tag not in given and (value := _value(level, element, creators)) is not None:
                converted[element.tag] = Edit(tag=element.tag, vr=_written(element, creators), value=value)
        for edit in edits:
            converted[edit.tag] = _edit(edit, level)
    except MalformedDataset:
        raise NotCoercible("has items that cannot be read") from None
    declared = next((one for one in header.scan.elements if one.tag == CHARSET), None)
    before = None if declared is None else header.scan.walker.read(declared.value, min(declared.length, 1024))
    before = None if before is None else before.rstrip(b" \0")
    unchanged = all(converted.get(edit.tag) == edit for edit in edits) and len(converted) == len(given)
    if unchanged and (before == UTF8 or not before):
        return None
    converted[CHARSET] = Edit(tag=CHARSET, vr="CS", value=UTF8)
    return Converted(tuple(converted.values()), before)


def _edit(edit: Edit, level: Level) -> Edit:
    """The same edit with its text converted."""
    if edit.value is None:
        return edit
    if vr_of(edit.tag) == "SQ":
        walker = Walker(MemoryOctets(edit.value))
        whole = Element(edit.tag, "SQ", 0, 0, len(edit.value), len(edit.value))
        parent = Level(walker, (whole,), level.encoding, level.charset, 0)
        value = _items(parent, whole, walker.content_encoding(whole._replace(vr=edit.vr), level.encoding))
        return edit if value is None else Edit(tag=edit.tag, vr=edit.vr, value=value)
    if edit.vr not in _IN_CHARSET:
        return edit
    return Edit(tag=edit.tag, vr=edit.vr, value=_text(edit.value, level.charset, edit.vr, edit.tag) or edit.value)


def _creators(level: Level) -> Creators:
    """Who owns the private blocks (PS3.5 section 7.8.1)."""
    found: Creators = {}
    for element in level.elements:
        number = element.tag & 0xFFFF
        if element.tag & 0x10000 and 0x10 <= number <= 0xFF and element.length not in (0, UNDEFINED):
            raw = level.walker.read(element.value, min(element.length, CREATOR_LIMIT))
            found[element.tag >> 16, number] = raw.split(b"\0")[0].decode("latin-1").strip()
    return found


def _value(level: Level, element: Element, creators: Mapping[tuple[int, int], str]) -> bytes | None:
    """The element's value in UTF-8; None where it stays as it is."""
    if _is_sequence(element):
        encoding = level.walker.content_encoding(element, level.encoding)
        return _items(level, element, encoding)
    vr = _vr(element, creators)
    if vr not in _IN_CHARSET or not element.length or element.length == UNDEFINED:
        return None
    if element.length > LONGEST_TEXT:
        raise NotCoercible(f"has more than {LONGEST_TEXT} bytes of text", tag=element.tag)
    raw = b"".join(bytes(piece) for piece in chunks(level.walker.octets, element.value, element.end))
    return _text(raw, level.charset, vr, element.tag)


def _text(raw: bytes, charset: Charset, vr: str, tag: int) -> bytes | None:
    """None where the bytes are the same in UTF-8."""
    if raw.isascii() and _ESCAPE not in raw:
        return None
    if charset.codecs is not None and charset.codecs[0] == "utf8" and _is_utf8(raw):
        return None
    try:
        found = decode(raw.rstrip(b"\0"), charset, person_name=vr == "PN").encode("utf-8")
    except Undecodable as error:
        raise NotCoercible(f"holds text that cannot be converted ({error.flag.value})", tag=tag) from None
    if vr not in ("UC", "UT") and len(found) > SHORT_LIMIT:
        raise NotCoercible("is too long in UTF-8", tag=tag)
    return found


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _items(level: Level, element: Element, encoding: Encoding) -> bytes | None:
    """The sequence's value written anew; None where nothing in it changes."""
    items: list[bytes] = []
    changed = False
    for item in Items(level, element, encoding).levels():
        pieces = list(_pieces(item))
        groups = {tag >> 16 for tag, _, new in pieces if new}
        changed = changed or bool(groups)
        # A retired group length would be wrong now, and PS3.5 section 7.2 lets it be left out.
        content = b"".join(octets for tag, octets, _ in pieces if tag & 0xFFFF or tag >> 16 not in groups)
        order = "big" if encoding is Encoding.EXPLICIT_BE else "little"
        items.append(_ITEM_HEAD[encoding] + len(content).to_bytes(4, order) + content)
        if changed and sum(map(len, items)) > LONGEST_TEXT:
            raise NotCoercible(f"would be written anew with more than {LONGEST_TEXT} bytes", tag=element.tag)
    return b"".join(items) if changed else None


def _pieces(item: Level) -> Iterator[tuple[int, bytes, bool]]:
    """Tag and bytes of each element of an item, and whether it is another than it was."""
    creators = _creators(item)
    for element in item.elements:
        if element.tag == CHARSET:
            raw = item.walker.read(element.value, min(element.length, 1024)).rstrip(b" \0")
            yield CHARSET, encode_element(CHARSET, "CS", UTF8, item.encoding), raw != UTF8
            continue
        value = _value(item, element, creators)
        if value is None:
            octets = item.walker.octets
            yield element.tag, b"".join(bytes(piece) for piece in chunks(octets, element.start, element.end)), False
        else:
            yield element.tag, encode_element(element.tag, _written(element, creators), value, item.encoding), True


def _is_sequence(element: Element) -> bool:
    if element.vr == "SQ":
        return True
    return element.vr in ("", "UN") and not element.tag & 0x10000 and vr_of(element.tag) == "SQ"


def _vr(element: Element, creators: Mapping[tuple[int, int], str]) -> str:
    """What the value is: as written, by the dictionary where nothing or UN is. Private creators are LO whatever is
    written (PS3.5 section 7.8.1)."""
    if element.vr not in ("", "UN"):
        return element.vr
    if not element.tag & 0x10000:
        return vr_of(element.tag)
    group, number = element.tag >> 16, element.tag & 0xFFFF
    if number <= 0xFF:
        return "LO" if number >= 0x10 else ""
    creator = creators.get((group, number >> 8))
    return meaning_of(creator, group, number & 0xFF).vr if creator else ""


def _written(element: Element, creators: Mapping[tuple[int, int], str]) -> str:
    """The VR the new element is written with, which an implicit dataset disregards; what is UN stays UN."""
    return element.vr or _vr(element, creators) or "UN"
