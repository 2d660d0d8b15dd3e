"""One segment and its fields: split first, unescaped last (HL7 v2 section 2.7).

Text is decoded before it is split: in ISO 2022 JP and GB 18030 the second byte of a character may look like
a separator.
"""

import re
from dataclasses import dataclass

from imaging.hl7.defects import Defect

_SHAPE = re.compile(rb"[A-Z][A-Z0-9]{2}")
_HEX = re.compile(r"X((?:[0-9A-Fa-f]{2})+)")


@dataclass(frozen=True, slots=True)
class Separators:
    """The characters of MSH-1 and MSH-2; the last two may be empty."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str


def separators_of(line: bytes) -> Separators | None:
    """The separators that a header segment (MSH, FHS, BHS) declares; None where they are none."""
    given = line[3:8].decode("ascii", "replace")
    if len(given) < 3 or not _is_separator(given[0]):
        return None
    encoding = given[1:].partition(given[0])[0]
    if len(encoding) < 2 or len(set(given[0] + encoding)) <= len(encoding) or not all(map(_is_separator, encoding)):
        return None
    escape, subcomponent = (*encoding[2:4], "", "")[:2]
    return Separators(given[0], encoding[0], encoding[1], escape, subcomponent)


def _is_separator(character: str) -> bool:
    return "!" <= character <= "~" and not character.isalnum()


def name_of(line: bytes) -> str:
    """The segment's name; empty where the line does not begin with one."""
    return line[:3].decode("ascii") if _SHAPE.fullmatch(line[:3]) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One line of a message."""

    name: str
    offset: int
    fields: tuple[str, ...]
    """As written, the name first; of MSH the second is MSH-1, so that numbers are HL7's. Empty with a defect."""
    separators: Separators
    codec: str
    defect: Defect | None = None

    def raw(self, number: int) -> str:
        """Field `number` as written; empty where the segment ends before it."""
        return self.fields[number] if number < len(self.fields) else ""

    def repetitions(self, number: int) -> list["Field"]:
        """The field's values that are not empty."""
        text = self.raw(number)
        parts = text.split(self.separators.repetition)
        return [Field(part, self.separators, self.codec) for part in parts if part]

    def text(self, number: int) -> str:
        """First component of the field's first value, unescaped."""
        values = self.repetitions(number)
        return values[0].component(1) if values else ""


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a field."""

    written: str
    separators: Separators
    codec: str

    @property
    def null(self) -> bool:
        """It says that there is no value: two quotation marks (HL7 v2 section 2.5.3)."""
        return self.written == '""'

    def component(self, number: int) -> str:
        """First subcomponent of component `number`, from 1."""
        return self.subcomponent(number, 1)

    def subcomponent(self, number: int, part: int) -> str:
        """A subcomponent, unescaped; empty where it is absent."""
        components = self.written.split(self.separators.component)
        if number > len(components):
            return ""
        text = components[number - 1]
        parts = text.split(self.separators.subcomponent) if self.separators.subcomponent else [text]
        return unescaped(parts[part - 1], self.separators, self.codec) if part <= len(parts) else ""


def unescaped(text: str, separators: Separators, codec: str) -> str:
    """The text with its escape sequences replaced; those that cannot be read stay as they are, so nothing is lost."""
    escape = separators.escape
    if not escape or escape not in text:
        return text
    plain = {
        "F": separators.field, "S": separators.component, "T": separators.subcomponent,
        "R": separators.repetition, "E": escape, "H": "", "N": "", ".br": "\n",
    }  # fmt: skip
    parts = text.split(escape)
    pieces = [parts[0]]
    place = 1
    while place < len(parts):
        if place + 1 == len(parts):
            # An escape character that nobody closes is one that somebody forgot to escape.
            pieces.append(escape + parts[place])
            break
        meant = plain.get(parts[place])
        if meant is None:
            meant = _hexadecimal(parts[place], codec)
        if meant is None:
            pieces.append(escape + parts[place])
            place += 1
            continue
        pieces.append(meant + parts[place + 1])
        place += 2
    return "".join(pieces)


def _hexadecimal(sequence: str, codec: str) -> str | None:
    found = _HEX.fullmatch(sequence)
    try:
        return bytes.fromhex(found[1]).decode(codec) if found else None
    except UnicodeDecodeError:
        return None
