"""Rules of coercion as values: which datasets, what to do with them, and why.

A rule set is checked when it is made and has a fingerprint: the same rules have the same one, wherever and whenever.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import TypeAlias

from blake3 import blake3

from imaging.coercion.attributes import (
    NUMBER_VRS,
    TEXT_VRS,
    Unfit,
    name_of,
    require_fillable,
    require_readable,
    require_removable,
    require_settable,
    unfit_value,
)

UNRULED = "none"
"""The version of a rule set without rules."""

PATTERN_LIMIT = 1_000
"""Characters of a regular expression; longer ones are tables in disguise, and `map` takes tables."""


class Reason(StrEnum):
    """Reason for the Attribute Modification (0400,0565), PS3.3 section C.12.1.1.9."""

    COERCE = "COERCE"
    """The value is fitted to what another system expects."""
    CORRECT = "CORRECT"
    """The value was wrong."""


class Originals(StrEnum):
    """Where the previous values are kept."""

    DATASET = "dataset"
    """In Original Attributes Sequence (0400,0561) of each changed instance."""
    LEDGER = "ledger"
    """In the ledger, per study and rule; the dataset holds no trace."""


class Profile(StrEnum):
    """A kind of destination, by what it refuses; `imaging.coercion.profiles` has the checks."""

    NONE = "none"
    LENIENT = "lenient"
    STRICT = "strict"
    CLOUD = "cloud"


class Check(StrEnum):
    """What a condition asks of an attribute."""

    EQUALS = "equals"
    MATCHES = "matches"
    """A regular expression finds something in it."""
    ABSENT = "absent"
    """Not there, or empty."""
    PRESENT = "present"


class Side(StrEnum):
    """Which end of a value is padded or stripped."""

    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that must be true of a dataset."""

    tag: int
    check: Check
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """The attribute has this value, whatever it was."""

    tag: int
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """The attribute is absent."""

    tag: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The attribute has the value of another; nothing happens where that is absent or empty."""

    tag: int
    source: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A value that is in the table is replaced by what the table says; any other stays."""

    tag: int
    table: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replace:
    """Every place where the regular expression matches is replaced, as by Python's `re.sub`."""

    tag: int
    pattern: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad:
    """A shorter value is filled up to `width` characters; an empty one stays empty."""

    tag: int
    width: int
    fill: str = "0"
    side: Side = Side.LEFT


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """These characters are gone from the ends of the value."""

    tag: int
    characters: str = " "
    side: Side = Side.BOTH


class Otherwise(StrEnum):
    """What becomes of a value that cannot be repaired."""

    KEEP = "keep"
    EMPTY = "empty"
    """Only what may be empty (types 2 and 3) should be named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A value that breaks the form of its VR is written as it was surely meant."""

    tag: int
    otherwise: Otherwise = Otherwise.KEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """An absent or empty attribute gets this value; with an empty one it is at least there."""

    tag: int
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The attribute gets what the table says of another's value; nothing happens where the table does not know it."""

    tag: int
    source: int
    table: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FromClass:
    """An absent or empty Modality is the one that the SOP class alone tells, where it tells one."""

    tag: int = 0x00080060


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPrivate:
    """An absent or empty attribute gets the value of a private element, which stays where it is."""

    tag: int
    creator: str
    group: int
    low: int
    vr: str
    """Of the private element, where the file says UN or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utf8:
    """All text of the dataset is in UTF-8 (ISO_IR 192), at every depth. The only action of the last rule."""

    tag: int = 0x00080005
    undeclared: str = ""
    """The character set of text outside ASCII where none is declared; empty: such a dataset is refused."""


Action: TypeAlias = (
    Set | Remove | Copy | Map | Replace | Pad | Strip | Repair | Fill | Lookup | FromClass | CopyPrivate | Utf8
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is done to the datasets that meet all of its conditions."""

    name: str
    version: int
    actions: tuple[Action, ...]
    reason: Reason = Reason.COERCE
    sources: tuple[str, ...] = ()
    """Names of the sources it is for; empty: any. So for the next two, which disregard case."""
    modalities: tuple[str, ...] = ()
    manufacturers: tuple[str, ...] = ()
    when: tuple[Condition, ...] = ()

    @property
    def unconditional(self) -> bool:
        """It is for every dataset."""
        return not (self.sources or self.modalities or self.manufacturers or self.when)

    @property
    def label(self) -> str:
        """How reports and the ledger name it."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, kw_only=True)
class RuleSet:
    """The rules of one job, applied in this order, each to what the ones before it left.

    Raises
    ------
    Unfit
        A rule names a protected attribute, has an impossible value or pattern, or cannot come to rest.
    """

    rules: tuple[Rule, ...] = ()
    originals: Originals = Originals.DATASET
    modifying_system: str = "LIMOSA"
    """Modifying System (0400,0563)."""
    previous_source: str = ""
    """Source of Previous Values (0400,0564); may be empty."""
    profile: Profile = Profile.NONE
    """What the outcome is held against. Changes nothing that is written, so it is not in the fingerprint."""

    def __post_init__(self) -> None:
        if not self.modifying_system:
            raise Unfit("the modifying system has no name")
        repeated = [name for name, count in Counter(rule.name for rule in self.rules).items() if count > 1]
        if repeated:
            raise Unfit(f"two rules are called {repeated[0]!r}")
        for rule in self.rules:
            for defect in defects(rule):
                raise Unfit(f"rule {rule.name!r}: {defect}")
            if any(isinstance(one, Utf8) for one in rule.actions) and (
                len(rule.actions) > 1 or rule is not self.rules[-1]
            ):
                raise Unfit(f"rule {rule.name!r}: utf8 has to be the only action of the last rule")

    @property
    def conversion(self) -> tuple[Rule, Utf8] | None:
        """The rule that converts all text, if there is one."""
        last = self.rules[-1] if self.rules else None
        action = last.actions[0] if last else None
        return (last, action) if last and isinstance(action, Utf8) else None

    @property
    def version(self) -> str:
        """What the ledger knows these rules by: the fingerprint, or `none`."""
        return self.fingerprint or UNRULED

    @cached_property
    def fingerprint(self) -> str:
        """BLAKE3 of everything that decides what is written, 32 hex digits; empty without rules."""
        if not self.rules:
            return ""
        told = {
            "originals": self.originals,
            "modifying_system": self.modifying_system,
            "previous_source": self.previous_source,
            "rules": [
                asdict(rule) | {"actions": [[type(one).__name__, asdict(one)] for one in rule.actions]}
                for rule in self.rules
            ],
        }
        return blake3(json.dumps(told, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()[:32]


def defects(rule: Rule) -> Iterator[str]:
    """What is wrong with a rule, for whoever wrote it."""
    if not rule.actions:
        yield "does nothing"
    for condition in rule.when:
        try:
            if condition.check in (Check.EQUALS, Check.MATCHES):
                require_readable(condition.tag)
            if condition.check is Check.MATCHES:
                _check_pattern(condition.value)
        except Unfit as error:
            yield str(error)
    for action in rule.actions:
        try:
            _check(action)
        except Unfit as error:
            yield str(error)


@lru_cache(maxsize=1_000)
def compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression, compiled once."""
    return re.compile(pattern)


def _check(action: Action) -> None:
    if isinstance(action, Remove):
        require_removable(action.tag)
        return
    if isinstance(action, Utf8):
        # Here, because job files without rules are read by commands that must not wait for pydicom.
        from imaging.text import parse_charset

        if action.undeclared and parse_charset(action.undeclared.encode("ascii", "replace")).codecs is None:
            raise Unfit(f"{action.undeclared!r} is no character set of PS3.3 C.12.1.1.2")
        return
    if isinstance(action, CopyPrivate):
        require_fillable(action.tag)
        _check_private(action)
        return
    require_settable(action.tag)
    match action:
        case Set() | Fill():
            _check_value(action.tag, action.value)
        case Lookup():
            require_readable(action.source)
            if action.source == action.tag or not action.table:
                raise Unfit("lookup wants another attribute and a table; `map` looks at its own")
            for _, value in action.table:
                _check_value(action.tag, value)
        case Repair() | FromClass():
            pass
        case Copy():
            require_readable(action.source)
        case Map():
            _check_table(action)
        case Replace():
            _check_pattern(action.pattern)
            try:
                compiled(action.pattern).sub(action.by, "")
            except (re.error, IndexError) as error:
                raise Unfit(f"the replacement {action.by!r} is none: {error}") from None
        case Pad():
            if len(action.fill) != 1 or action.side is Side.BOTH or action.width < 1:
                raise Unfit("pad wants one character, a width of at least 1, and the left or right side")
        case Strip():
            if not action.characters:
                raise Unfit("strip wants characters")


def _check_private(action: CopyPrivate) -> None:
    if not action.creator or not action.group & 1 or not 0 <= action.low <= 0xFF:
        raise Unfit("a private element is a creator, an odd group and a low byte")
    if action.vr not in TEXT_VRS | NUMBER_VRS:
        raise Unfit(f"VR {action.vr} is neither text nor a number")


def _check_pattern(pattern: str) -> None:
    try:
        if len(pattern) > PATTERN_LIMIT:
            raise Unfit(f"a pattern of more than {PATTERN_LIMIT} characters; use a table")
        compiled(pattern)
    except re.error as error:
        raise Unfit(f"the pattern {pattern!r} is no regular expression: {error}") from None


def _check_table(action: Map) -> None:
    keys = [key for key, _ in action.table]
    if len(set(keys)) < len(keys) or not keys:
        raise Unfit("the table is empty or has an entry twice")
    table = dict(action.table)
    for value in table.values():
        _check_value(action.tag, value)
        if table.get(value, value) != value:
            # Twice must be the same as once, or nobody could tell whether a study was coerced already.
            raise Unfit(f"the table for {name_of(action.tag)} maps one of its own results again")


def _check_value(tag: int, value: str) -> None:
    if defect := unfit_value(tag, value):
        raise Unfit(f"{name_of(tag)} cannot have this value: {defect}")
