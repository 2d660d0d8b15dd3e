"""Whether a header and an index describe the same person, as far as a rule may say so.

Thresholds decide what nobody looks at, so they carry a version: whoever changes them makes another rule.
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import lru_cache

from imaging.identity.people import Conflict, Person
from imaging.identity.similarity import similarity

NAME_LIMIT = 64
"""Characters of one component group that are compared; a PN group has no more (PS3.5 section 6.2)."""

NAMES_KEPT = 10_000
"""Names whose words are kept: a patient's studies come near each other, and the index names the same person."""

_FORM_WORDS = frozenset(
    ["DR", "PROF", "JR", "SR", "II", "III", "IV", "MD", "PHD", "MR", "MRS", "MS", "HERR", "FRAU", "ING", "DIPL"]
)
_PLACEHOLDERS = frozenset(["DOE", "UNKNOWN", "UNBEKANNT", "TRAUMA", "BABY", "TEST", "NEWBORN", "ANONYMOUS", "XXX"])
_SENTINELS = frozenset(["18991230", "18991231", "19000101", "11111111", "99991231"])
"""Birth dates that databases put for none."""
_LETTERS = str.maketrans({"Ø": "O", "Æ": "AE", "Œ": "OE", "Ł": "L", "Đ": "D", "Ð": "D", "Þ": "TH"})
"""Latin letters with a stroke or ligature, which Unicode does not decompose."""
_KANA_MARKS = "\u3099\u309a"
"""Voicing marks: without them other syllables are left."""
_BETWEEN = re.compile(r"[\W_]+")
_DATE = re.compile(r"[0-9]{8}", re.ASCII)


class Link(StrEnum):
    """What connects the two, before anything is compared."""

    SAME_NUMBER = "same-number"
    MERGE = "merge"
    """An explicit event, perhaps a chain of them, says that one became the other."""


class Verdict(StrEnum):
    """What follows from the comparison."""

    AUTO = "auto"
    AUTO_NOTE = "auto-note"
    """Accepted, and listed: the family name changed."""
    REVIEW = "review"
    CONFLICT = "conflict"
    """Never accepted by rule, whatever the thresholds."""

    @property
    def conflict(self) -> Conflict | None:
        """The exception class; None where it is accepted."""
        match self:
            case Verdict.REVIEW:
                return Conflict.DEMOGRAPHIC_REVIEW
            case Verdict.CONFLICT:
                return Conflict.DEMOGRAPHIC_CONFLICT
            case _:
                return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From which likeness on names count as alike, 0 to 1."""

    version: int = 1
    name: float = 0.85
    given: float = 0.92


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """What the comparison found. None of it tells a name."""

    verdict: Verdict
    name: float | None
    """None: missing or a placeholder on one side, or in no script that both have."""
    birth_date: float | None
    sex_differs: bool
    twins: bool
    """Same birth date and family name, another given name."""


@dataclass(frozen=True, slots=True)
class _Name:
    family: str
    given: str


def compare(header: Person, index: Person, link: Link, thresholds: Thresholds) -> Likeness:
    """Whether what the header says of the patient is what the index says."""
    name, given, family = _names(header.name, index.name)
    born = birth_likeness(header.birth_date, index.birth_date)
    one, other = (header.sex or "").strip(), (index.sex or "").strip()
    sex_differs = bool(one and other and one != other)
    twins = born == 1 and family is not None and family >= thresholds.given and (given or 0) < thresholds.given
    verdict = Verdict.REVIEW
    if born == 0 and name is not None and name < thresholds.name:
        verdict = Verdict.CONFLICT
    elif born == 1 and name is not None and not sex_differs and not twins:
        if name >= thresholds.name:
            verdict = Verdict.AUTO
        elif link is Link.MERGE and given is not None and given >= thresholds.given:
            verdict = Verdict.AUTO_NOTE
    return Likeness(verdict=verdict, name=name, birth_date=born, sex_differs=sex_differs, twins=twins)


def birth_likeness(one: str | None, other: str | None) -> float | None:
    """How alike two dates of birth are; None where one is missing, impossible or a database's word for none."""
    first, second = _born(one), _born(other)
    if first is None or second is None:
        return None
    if first == second:
        return 1.0
    year, month, day = first[:4], first[4:6], first[6:]
    if second == year + day + month:
        return 0.6
    if sum(a != b for a, b in zip(first, second, strict=True)) == 1:
        return 0.5
    if second[:6] == year + month or second[4:] == month + day:
        return 0.4
    return 0.0


def same_person(one: Person, other: Person, thresholds: Thresholds) -> bool | None:
    """Whether a number given again went to the same person; None where that cannot be told."""
    likeness = compare(one, other, Link.SAME_NUMBER, thresholds)
    if likeness.verdict in (Verdict.AUTO, Verdict.AUTO_NOTE):
        return True
    if likeness.verdict is Verdict.CONFLICT:
        return False
    return None


def _born(text: str | None) -> str | None:
    value = (text or "").strip()
    if not _DATE.fullmatch(value) or value in _SENTINELS:
        return None
    try:
        date(int(value[:4]), int(value[4:6]), int(value[6:]))
    except ValueError:
        return None
    return value


def _names(one: str | None, other: str | None) -> tuple[float | None, float | None, float | None]:
    """Likeness of whole, given and family name, in the first component group that both have."""
    ours, theirs = (one or "").split("="), (other or "").split("=")
    for mine, its in zip(ours, theirs, strict=False):
        first, second = _name(mine), _name(its)
        if first is not None and second is not None:
            return _compared(first, second)
    return None, None, None


def _compared(one: _Name, other: _Name) -> tuple[float, float | None, float]:
    """Likeness of whole, given and family name; of swapped ones it is not known which is which, so the less alike
    counts as the given name."""
    if one == other and one.family and one.given:
        # Nearly all of an archive, and comparing letters is most of the work.
        return 1.0, 1.0, 1.0
    straight = similarity(_whole(one), _whole(other))
    turned = _Name(other.given, other.family), _Name(one.given, one.family)
    crossed = max(similarity(_whole(one), _whole(turned[0])), similarity(_whole(turned[1]), _whole(other)))
    best = max(straight, crossed, _shared(one, other))
    # Where the given names are the same it is not they that were swapped with a family name.
    if straight >= crossed or (one.given and one.given == other.given):
        given = _given(one.given, other.given) if one.given and other.given else None
        return best, given, similarity(one.family, other.family)
    pair = _given(one.family, other.given), _given(one.given, other.family)
    return best, min(pair), max(pair)


def _whole(name: _Name) -> str:
    return f"{name.family} {name.given}".strip()


def _shared(one: _Name, other: _Name) -> float:
    """How many of the words both have, in any order (Dice). Likeness of sorted words would take a common given name
    for the better half of a whole one."""
    first, second = set(_whole(one).split()), set(_whole(other).split())
    return 2 * len(first & second) / (len(first) + len(second))


def _given(one: str, other: str) -> float:
    """1 where one is the other with more given names."""
    first, second = set(one.split()), set(other.split())
    if not first or not second:
        return 1.0 if first == second else 0.0
    return 1.0 if first <= second or second <= first else similarity(one, other)


@lru_cache(NAMES_KEPT)
def _name(group: str) -> _Name | None:
    """Family and given name as words; None where they are missing or say that nobody knows them."""
    parts = group[:NAME_LIMIT].split("^")
    family, given = _words(parts[0]), _words(parts[1] if len(parts) > 1 else "")
    if (not family and not given) or _PLACEHOLDERS & {*family, *given}:
        return None
    # Compatible letters can be many times as many, and the comparison takes the square of them.
    return _Name(" ".join(family)[:NAME_LIMIT].strip(), " ".join(given)[:NAME_LIMIT].strip())


def _words(component: str) -> list[str]:
    """Compatible letters without marks, in capitals, without titles."""
    plain = unicodedata.normalize("NFKD", component)
    plain = "".join(one for one in plain if not unicodedata.combining(one) or one in _KANA_MARKS)
    # Recomposed, or Hangul would be compared by jamo and voiced kana split at their marks.
    plain = unicodedata.normalize("NFC", plain).upper().translate(_LETTERS)
    words = [word for word in _BETWEEN.split(plain) if word]
    return [word for word in words if word not in _FORM_WORDS] or words
