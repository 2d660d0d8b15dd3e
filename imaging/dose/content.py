"""A structured report's content as a tree of values, and its bytes (PS3.3 section C.17.3; explicit, little endian)."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from pydicom.valuerep import format_number_as_ds

from imaging.elements import ITEM, Encoding
from imaging.splice import encode_element

LONGEST_DS = 16
"""Characters of a decimal string (PS3.5 section 6.2)."""
_HEAD = struct.Struct("<HHL")
_DOUBLE = struct.Struct("<d")


class Code(NamedTuple):
    """A coded concept."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One content item and what it has below it."""

    relation: str
    """To its parent; empty at the root."""
    type: str
    name: Code
    value: bytes = b""
    """The elements of its value, encoded, in order of their tags."""
    template: str = ""
    """Identifier of the DCMR template a container follows."""
    children: tuple["Node", ...] = ()
    unknown: bool = False
    """Its value is one that nobody knows."""

    @property
    def whole(self) -> bool:
        """Nothing in it is unknown."""
        return not self.unknown and all(child.whole for child in self.children)


UNKNOWN = Code("114010", "DCM", "Value unknown")
"""Qualifies a measurement (PS3.16 CID 42)."""
NOT_KNOWN = Code("261665006", "SCT", "Unknown")
"""In place of a code that nothing names; the context groups it stands in are extensible."""


def text_element(tag: int, vr: str, value: str | bytes) -> bytes:
    raw = value.encode("ascii") if isinstance(value, str) else value
    return encode_element(tag, vr, raw, Encoding.EXPLICIT_LE)


def sequence(tag: int, items: Iterable[bytes]) -> bytes:
    """A sequence of items of defined length."""
    content = b"".join(_HEAD.pack(ITEM >> 16, ITEM & 0xFFFF, len(item)) + item for item in items)
    return encode_element(tag, "SQ", content, Encoding.EXPLICIT_LE)


def code_item(code: Code) -> bytes:
    """Code Sequence Macro (PS3.3 table 8.8-1)."""
    return b"".join(
        (
            text_element(0x00080100, "SH", code.value),
            text_element(0x00080102, "SH", code.scheme),
            text_element(0x00080104, "LO", code.meaning),
        )
    )


def container(relation: str, name: Code, children: Sequence[Node], template: str = "") -> Node:
    return Node(relation=relation, type="CONTAINER", name=name, template=template, children=tuple(children))


def coded(relation: str, name: Code, value: Code, *children: Node) -> Node:
    return Node(
        relation=relation,
        type="CODE",
        name=name,
        value=sequence(0x0040A168, [code_item(value)]),
        children=children,
        unknown=value is NOT_KNOWN,
    )


def text(relation: str, name: Code, value: str | bytes) -> Node:
    return Node(relation=relation, type="TEXT", name=name, value=text_element(0x0040A160, "UT", value))


def uid_reference(relation: str, name: Code, value: str) -> Node:
    return Node(relation=relation, type="UIDREF", name=name, value=text_element(0x0040A124, "UI", value))


def moment(relation: str, name: Code, value: str) -> Node:
    return Node(relation=relation, type="DATETIME", name=name, value=text_element(0x0040A120, "DT", value))


def number(relation: str, name: Code, value: Decimal | None, unit: Code, *children: Node) -> Node:
    """A measurement; None is one that nobody knows, which is said so and never filled in."""
    if value is None:
        measured, qualifier = sequence(0x0040A300, []), sequence(0x0040A301, [code_item(UNKNOWN)])
        value_of = measured + qualifier
        return Node(relation=relation, type="NUM", name=name, value=value_of, children=children, unknown=True)
    text_form, exact = decimal_string(value)
    item = b"".join(
        (
            sequence(0x004008EA, [code_item(unit)]),
            # Where 16 characters cannot say it, the double that was read can (PS3.3 section C.18.1).
            b"" if exact else encode_element(0x0040A161, "FD", _DOUBLE.pack(float(value)), Encoding.EXPLICIT_LE),
            text_element(0x0040A30A, "DS", text_form),
        )
    )
    return Node(relation=relation, type="NUM", name=name, value=sequence(0x0040A300, [item]), children=children)


def decimal_string(value: Decimal) -> tuple[str, bool]:
    """The number in at most 16 characters, and whether that is all of it."""
    plain = f"{value:f}"
    if "." in plain and len(plain) > LONGEST_DS:
        plain = plain.rstrip("0").rstrip(".")
    for form in (plain, str(value.normalize())):
        if len(form) <= LONGEST_DS:
            return form, True
    return format_number_as_ds(float(value)), False


def encode_node(node: Node) -> bytes:
    """The content item's elements in ascending order, children included."""
    head = [
        text_element(0x0040A010, "CS", node.relation) if node.relation else b"",
        text_element(0x0040A040, "CS", node.type),
        sequence(0x0040A043, [code_item(node.name)]),
        text_element(0x0040A050, "CS", "SEPARATE") if node.type == "CONTAINER" else b"",
        node.value,
    ]
    if node.template:
        named = text_element(0x00080105, "CS", "DCMR") + text_element(0x0040DB00, "CS", node.template)
        head.append(sequence(0x0040A504, [named]))
    if node.children:
        head.append(sequence(0x0040A730, [encode_node(child) for child in node.children]))
    return b"".join(head)
