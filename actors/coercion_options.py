"""Settings of coercion; `cluster.job` composes them into the job file."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from actors.options import Options
from imaging.coercion.attributes import attribute
from imaging.coercion.rules import (
    Action,
    Check,
    Condition,
    Copy,
    CopyPrivate,
    Fill,
    FromClass,
    Lookup,
    Map,
    Originals,
    Otherwise,
    Pad,
    Profile,
    Reason,
    Remove,
    Repair,
    Replace,
    Rule,
    RuleSet,
    Set,
    Side,
    Strip,
    Utf8,
)


def _known(name: str) -> str:
    attribute(name)
    return name


AttributeName = Annotated[str, AfterValidator(_known)]
"""A keyword of PS3.6 such as PatientID, or a tag written (0010,0020)."""
Words = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[\x20-\x5b\x5d-\x7e]{0,64}$")]
"""What fits an LO in any character set."""


class WhenOptions(Options):
    """One condition; exactly one of the tests is given."""

    attribute: AttributeName = Field(description="keyword, or tag as (0010,0020)")
    equals: str | None = Field(default=None, description="its value, without leading and trailing blanks")
    matches: str | None = Field(default=None, description="a regular expression that finds something in it")
    absent: bool | None = Field(default=None, description="true: not there or empty; false: there with a value")

    @model_validator(mode="after")
    def _one_test(self) -> "WhenOptions":
        if sum(test is not None for test in (self.equals, self.matches, self.absent)) != 1:
            raise ValueError("wants exactly one of equals, matches, absent")
        return self

    def condition(self) -> Condition:
        """As the engine takes it."""
        tag = attribute(self.attribute)
        if self.equals is not None:
            return Condition(tag=tag, check=Check.EQUALS, value=self.equals)
        if self.matches is not None:
            return Condition(tag=tag, check=Check.MATCHES, value=self.matches)
        return Condition(tag=tag, check=Check.ABSENT if self.absent else Check.PRESENT)


class _ActionOptions(Options):
    """What each kind has; each also has `action()`, which gives it as the engine takes it."""

    attribute: AttributeName = Field(description="what is changed: keyword, or tag as (0010,0020)")


class SetOptions(_ActionOptions):
    """The attribute has this value, whatever it was."""

    kind: Literal["set"] = "set"
    value: str = Field(description="the new value; empty: there, without a value")

    def action(self) -> Action:
        return Set(tag=attribute(self.attribute), value=self.value)


class RemoveOptions(_ActionOptions):
    """The attribute is absent."""

    kind: Literal["remove"] = "remove"

    def action(self) -> Action:
        return Remove(tag=attribute(self.attribute))


class CopyOptions(_ActionOptions):
    """The attribute has the value of another one that is not empty."""

    kind: Literal["copy"] = "copy"
    source: AttributeName = Field(description="the attribute whose value it gets; empty: nothing happens")

    def action(self) -> Action:
        return Copy(tag=attribute(self.attribute), source=attribute(self.source))


class MapOptions(_ActionOptions):
    """A value in the table is replaced by another."""

    kind: Literal["map"] = "map"
    table: dict[str, str] = Field(description="old value = new value; values that are not in it stay")

    def action(self) -> Action:
        return Map(tag=attribute(self.attribute), table=tuple(self.table.items()))


class ReplaceOptions(_ActionOptions):
    """What a regular expression matches is replaced."""

    kind: Literal["replace"] = "replace"
    pattern: str = Field(description="regular expression (Python's `re`)")
    by: str = Field(description="what stands in place of each match; `\\1` is its first group")

    def action(self) -> Action:
        return Replace(tag=attribute(self.attribute), pattern=self.pattern, by=self.by)


class PadOptions(_ActionOptions):
    """A shorter value is filled up."""

    kind: Literal["pad"] = "pad"
    width: int = Field(ge=1, le=64, description="characters it has afterwards at least")
    fill: str = Field(default="0", min_length=1, max_length=1, description="what it is filled with")
    side: Literal["left", "right"] = Field(default="left", description="where it is filled")

    def action(self) -> Action:
        return Pad(tag=attribute(self.attribute), width=self.width, fill=self.fill, side=Side(self.side))


class StripOptions(_ActionOptions):
    """Characters are taken off its ends."""

    kind: Literal["strip"] = "strip"
    characters: str = Field(default=" ", min_length=1, description="each of them is taken off")
    side: Literal["left", "right", "both"] = Field(default="both", description="which end")

    def action(self) -> Action:
        return Strip(tag=attribute(self.attribute), characters=self.characters, side=Side(self.side))


class RepairOptions(_ActionOptions):
    """A value that breaks the form of its VR is written as it was surely meant."""

    kind: Literal["repair"] = "repair"
    otherwise: Literal["keep", "empty"] = Field(
        default="keep", description="what becomes of one that cannot be repaired"
    )

    def action(self) -> Action:
        return Repair(tag=attribute(self.attribute), otherwise=Otherwise(self.otherwise))


class FillOptions(_ActionOptions):
    """An absent or empty attribute gets a value."""

    kind: Literal["fill"] = "fill"
    value: str = Field(default="", description="what it gets; empty: it is there, without a value")

    def action(self) -> Action:
        return Fill(tag=attribute(self.attribute), value=self.value)


class LookupOptions(_ActionOptions):
    """The attribute gets what a table says of another's value."""

    kind: Literal["lookup"] = "lookup"
    source: AttributeName = Field(description="the attribute that is looked up")
    table: dict[str, str] = Field(description="value of the source = new value; nothing happens for others")

    def action(self) -> Action:
        return Lookup(tag=attribute(self.attribute), source=attribute(self.source), table=tuple(self.table.items()))


class ModalityOptions(Options):
    """A missing Modality is the one the SOP class tells."""

    kind: Literal["modality"] = "modality"

    def action(self) -> Action:
        return FromClass()


class PrivateOptions(_ActionOptions):
    """An absent or empty attribute gets the value of a private element, which stays where it is."""

    kind: Literal["private"] = "private"
    creator: str = Field(min_length=1, max_length=64, description="the private creator")
    group: str = Field(pattern=r"^[0-9A-Fa-f]{3}[13579BDFbdf]$", description="four hexadecimal digits, such as 7005")
    element: str = Field(pattern=r"^[0-9A-Fa-f]{2}$", description="low byte, two hexadecimal digits")
    vr: str = Field(pattern=r"^[A-Z]{2}$", description="its VR, for files that say UN")

    def action(self) -> Action:
        return CopyPrivate(
            tag=attribute(self.attribute),
            creator=self.creator.strip(),
            group=int(self.group, 16),
            low=int(self.element, 16),
            vr=self.vr,
        )


class Utf8Options(Options):
    """All text of the dataset is in UTF-8; the only action of the last rule."""

    kind: Literal["utf8"] = "utf8"
    undeclared: str = Field(
        default="", description="character set of undeclared text, such as ISO_IR 100; empty: refused"
    )

    def action(self) -> Action:
        return Utf8(undeclared=self.undeclared)


ActionOptions = Annotated[
    SetOptions
    | RemoveOptions
    | CopyOptions
    | MapOptions
    | ReplaceOptions
    | PadOptions
    | StripOptions
    | RepairOptions
    | FillOptions
    | LookupOptions
    | ModalityOptions
    | PrivateOptions
    | Utf8Options,
    Field(discriminator="kind"),
]


class RuleOptions(Options):
    """One rule."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="lower-case letters, digits, hyphens")
    version: int = Field(default=1, ge=1, description="raise it when the rule changes")
    reason: Literal["COERCE", "CORRECT"] = Field(default="COERCE", description="COERCE: fitted; CORRECT: was wrong")
    sources: tuple[str, ...] = Field(default=(), description="names of sources it is for; empty: any")
    modalities: tuple[str, ...] = Field(default=(), description="values of Modality it is for; empty: any")
    manufacturers: tuple[str, ...] = Field(default=(), description="values of Manufacturer it is for; empty: any")
    when: tuple[WhenOptions, ...] = Field(default=(), description="all of these must hold")
    actions: Annotated[tuple[ActionOptions, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _possible(self) -> "RuleOptions":
        self.rule()
        return self

    def rule(self) -> Rule:
        """As the engine takes it. Raises `Unfit`, which is a `ValueError`."""
        rule = Rule(
            name=self.name,
            version=self.version,
            actions=tuple(one.action() for one in self.actions),
            reason=Reason(self.reason),
            sources=self.sources,
            modalities=self.modalities,
            manufacturers=self.manufacturers,
            when=tuple(one.condition() for one in self.when),
        )
        RuleSet(rules=(rule,))
        return rule


class CoercionOptions(Options):
    """The [coercion] table."""

    originals: Literal["dataset", "ledger"] = Field(
        default="dataset", description="where previous values are kept: in each dataset, or in the ledger"
    )
    modifying_system: Annotated[Words, StringConstraints(min_length=1)] = Field(
        default="LIMOSA", description="ModifyingSystem of what is kept in the dataset"
    )
    previous_source: Words = Field(default="", description="SourceOfPreviousValues of what is kept in the dataset")
    profile: Literal["none", "lenient", "strict", "cloud"] = Field(
        default="none", description="the kind of destination whose refusals stop a study beforehand"
    )
    rules: tuple[RuleOptions, ...] = Field(default=(), description="applied in this order")

    @model_validator(mode="after")
    def _distinct(self) -> "CoercionOptions":
        self.rule_set()
        return self

    def rule_set(self) -> RuleSet:
        """As the engine takes it."""
        return RuleSet(
            rules=tuple(one.rule() for one in self.rules),
            originals=Originals(self.originals),
            modifying_system=self.modifying_system,
            previous_source=self.previous_source,
            profile=Profile(self.profile),
        )


NO_COERCION = CoercionOptions()
