"""Steps that bring a number into its form: declared in order, pure, and never cutting anything off unseen."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

PATTERN_LIMIT = 1_000
"""Characters of a regular expression; longer ones are tables in disguise."""
VALUE_LIMIT = 1_000
"""Characters of a number that is looked at; the longest legal one has 64, and patterns cost time on longer ones."""


class Unfit(ValueError):
    """A step that cannot be; the message is for whoever wrote the rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upper:
    """Letters are capitals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """These characters are gone, wherever they stand."""

    characters: str

    def __post_init__(self) -> None:
        if not self.characters:
            raise Unfit("drop wants characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """What the pattern's first group matches, or all of its match; a number that does not match fails."""

    pattern: str

    def __post_init__(self) -> None:
        compiled(self.pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class StripPrefix:
    """One of these is gone from the front, the longest that fits; a number without any stays."""

    prefixes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not all(self.prefixes):
            raise Unfit("an empty prefix")


@dataclass(frozen=True, slots=True, kw_only=True)
class StripSuffix:
    """One of these is gone from the end, the longest that fits; a number without any stays."""

    suffixes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not all(self.suffixes):
            raise Unfit("an empty suffix")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad:
    """Zeros, or what `fill` says, in front up to this width; a longer number stays."""

    width: int
    fill: str = "0"

    def __post_init__(self) -> None:
        if len(self.fill) != 1 or not 1 <= self.width <= VALUE_LIMIT:
            raise Unfit("pad wants one character and a width of at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpad:
    """Leading zeros are gone, all but the last character; with `width`, only as far as the number is longer."""

    width: int = 1

    def __post_init__(self) -> None:
        if self.width < 1:
            raise Unfit("unpad leaves at least one character")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """This stands in front, once: a number that begins so stays."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suffix:
    """This stands at the end, once: a number that ends so stays."""

    text: str


Step: TypeAlias = Upper | Drop | Select | StripPrefix | StripSuffix | Pad | Unpad | Prefix | Suffix


@lru_cache(maxsize=1_000)
def compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression, compiled once. Raises `Unfit`."""
    if len(pattern) > PATTERN_LIMIT:
        raise Unfit(f"a pattern of more than {PATTERN_LIMIT} characters; use a table")
    try:
        return re.compile(pattern, re.ASCII)
    except re.error as error:
        raise Unfit(f"the pattern {pattern!r} is no regular expression: {error}") from None


def stepped(text: str, steps: tuple[Step, ...]) -> str | None:
    """The number after all steps, its outer spaces trimmed first and last; None where one of them fails."""
    value = text.strip()
    if len(value) > VALUE_LIMIT:
        return None
    for step in steps:
        taken = _taken(value, step)
        if taken is None:
            return None
        value = taken
    return value.strip()


def _taken(value: str, step: Step) -> str | None:
    match step:
        case Upper():
            return value.upper()
        case Drop():
            return value.translate({ord(character): None for character in step.characters})
        case Select():
            found = compiled(step.pattern).search(value)
            return None if found is None else found[1 if found.re.groups else 0]
        case StripPrefix():
            fits = max((one for one in step.prefixes if value.startswith(one)), key=len, default="")
            return value[len(fits) :]
        case StripSuffix():
            fits = max((one for one in step.suffixes if value.endswith(one)), key=len, default="")
            return value[: len(value) - len(fits)]
        case Pad():
            return value.rjust(step.width, step.fill) if value else value
        case Unpad():
            spare = max(0, len(value) - step.width)
            zeros = len(value) - len(value.lstrip("0"))
            return value[min(spare, zeros) :]
        case Prefix():
            return value if value.startswith(step.text) else step.text + value
        case Suffix():
            return value if value.endswith(step.text) else value + step.text
