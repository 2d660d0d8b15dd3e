"""Sequences of a dataset as whole values: their items as they lie there, and items made new.

A sequence is replaced as a whole, since that is what Original Attributes Sequence keeps of it (PS3.3 C.12.1.1.9).
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from imaging.coercion.dataset import Dataset
from imaging.coercion.errors import NotCoercible
from imaging.elements import ITEM, UNDEFINED, Element, Encoding, Walker
from imaging.errors import MalformedDataset
from imaging.octets import MemoryOctets
from imaging.splice import encode_element

ITEMS_LIMIT = 1_000
"""Items of a sequence that is changed; request attributes and other ids have a handful."""
_DELIMITER = 8
_HEADS = {
    Encoding.EXPLICIT_BE: struct.Struct(">HHL"),
    Encoding.EXPLICIT_LE: struct.Struct("<HHL"),
    Encoding.IMPLICIT_LE: struct.Struct("<HHL"),
}


class Piece(NamedTuple):
    """One element of an item, header included."""

    tag: int
    vr: str
    octets: bytes
    value: bytes
    """Without trailing pads."""


class Items(NamedTuple):
    """A sequence taken apart."""

    vr: str
    """As written; UN where its writer did not know it."""
    encoding: Encoding
    value: bytes
    """Its bytes in the file, without its own delimiter."""
    items: tuple[tuple[Piece, ...], ...]


def items_of(dataset: Dataset, tag: int) -> Items:
    """The sequence; without items where it is absent or empty.

    Raises
    ------
    NotCoercible
        What is under the tag is no sequence that can be read, or a very large one.
    """
    element = dataset.element(tag)
    if element is None or not element.length:
        return Items("SQ", dataset.encoding, b"", ())
    if dataset.plain(element) and element.vr not in ("UN", ""):
        raise NotCoercible("is no sequence in this dataset", tag=tag)
    encoding = dataset.content_encoding(element)
    end = element.end - _DELIMITER if element.length == UNDEFINED else element.end
    value = dataset.octets(element.value, end)
    walker = Walker(MemoryOctets(value))
    whole = Element(tag, "SQ", 0, 0, len(value), len(value))
    items: list[tuple[Piece, ...]] = []
    try:
        for elements in walker.items(whole, encoding, 0):
            if len(items) >= ITEMS_LIMIT:
                raise NotCoercible(f"has more than {ITEMS_LIMIT} items", tag=tag)
            items.append(tuple(_piece(value, one) for one in elements))
    except MalformedDataset:
        raise NotCoercible("has items that cannot be read", tag=tag) from None
    return Items(element.vr or "SQ", encoding, value, tuple(items))


def made(tag: int, vr: str, value: bytes, encoding: Encoding) -> Piece:
    """A new element. `value` is encoded and without pads."""
    return Piece(tag, vr, encode_element(tag, vr, value, encoding), value)


def with_piece(item: Sequence[Piece], piece: Piece) -> tuple[Piece, ...]:
    """The item with the piece in its place, instead of what had its tag; without the group's length, which is retired
    (PS3.5 section 7.2) and would be another one."""
    others = [one for one in item if one.tag not in (piece.tag, piece.tag & 0xFFFF0000)]
    return tuple(sorted([*others, piece], key=lambda one: one.tag))


def encode_items(items: Sequence[Sequence[Piece]], encoding: Encoding) -> bytes:
    """The value of a sequence; items have explicit lengths."""
    head = _HEADS[encoding]
    contents = (b"".join(piece.octets for piece in item) for item in items)
    return b"".join(head.pack(ITEM >> 16, ITEM & 0xFFFF, len(content)) + content for content in contents)


def value_of(item: Sequence[Piece], tag: int) -> bytes:
    """The value of an element of the item; empty where it is absent."""
    return next((piece.value for piece in item if piece.tag == tag), b"")


def _piece(value: bytes, element: Element) -> Piece:
    octets = value[element.start : element.end]
    return Piece(element.tag, element.vr, octets, value[element.value : element.end].rstrip(b" \0"))
