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
    Unfit,
    name_of,
    require_readable,
    require_removable,
    require_settable,
    unfit_value,
)

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


Action: TypeAlias = Set | Remove | Copy | Map | Replace | Pad | Strip


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

    def __post_init__(self) -> None:
        if not self.modifying_system:
            raise Unfit("the modifying system has no name")
        repeated = [name for name, count in Counter(rule.name for rule in self.rules).items() if count > 1]
        if repeated:
            raise Unfit(f"two rules are called {repeated[0]!r}")
        for rule in self.rules:
            for defect in defects(rule):
                raise Unfit(f"rule {rule.name!r}: {defect}")

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
    require_settable(action.tag)
    match action:
        case Set():
            _check_value(action.tag, action.value)
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
