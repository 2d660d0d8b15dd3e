"""Settings of identity: who gives numbers and how sure a rule must be; `cluster.job` composes them."""

import codecs
import json
from typing import Annotated, Literal

from blake3 import blake3
from pydantic import AfterValidator, Field, model_validator

from actors.options import Options
from imaging.identity.demographics import Thresholds
from imaging.identity.issuers import Authority, Issuers
from imaging.identity.steps import (
    Drop,
    Pad,
    Prefix,
    Select,
    Step,
    StripPrefix,
    StripSuffix,
    Suffix,
    Unpad,
    Upper,
)


def _codec(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError(f"Python knows no character set {name!r}; try latin-1, utf-8 or cp1252") from None


class StepOptions(Options):
    """One step that brings a number into form; exactly one of the settings is given."""

    upper: Literal[True] | None = Field(default=None, description="letters are capitals")
    drop: str | None = Field(default=None, description="these characters are gone, wherever they stand")
    select: str | None = Field(default=None, description="what a regular expression finds: its first group, or all")
    strip_prefix: tuple[str, ...] | None = Field(default=None, description="the longest of these is gone in front")
    strip_suffix: tuple[str, ...] | None = Field(default=None, description="the longest of these is gone at the end")
    pad: int | None = Field(default=None, description="zeros in front up to this width")
    unpad: int | None = Field(default=None, description="leading zeros are gone down to this width")
    prefix: str | None = Field(default=None, description="stands in front, once")
    suffix: str | None = Field(default=None, description="stands at the end, once")

    @model_validator(mode="after")
    def _one_step(self) -> "StepOptions":
        self.step()
        return self

    def step(self) -> Step:
        """As the rules take it. Raises `Unfit`, which is a `ValueError`."""
        given = {name: value for name, value in self if value is not None}
        if len(given) != 1:
            raise ValueError(f"wants exactly one of {', '.join(StepOptions.model_fields)}")
        match given.popitem():
            case "upper", _:
                return Upper()
            case "drop", str(characters):
                return Drop(characters=characters)
            case "select", str(pattern):
                return Select(pattern=pattern)
            case "strip_prefix", tuple(prefixes):
                return StripPrefix(prefixes=prefixes)
            case "strip_suffix", tuple(suffixes):
                return StripSuffix(suffixes=suffixes)
            case "pad", int(width):
                return Pad(width=width)
            case "unpad", int(width):
                return Unpad(width=width)
            case "prefix", str(text):
                return Prefix(text=text)
            case _:
                return Suffix(text=self.suffix or "")


class IssuerOptions(Options):
    """One authority that gives patients their numbers."""

    name: str = Field(min_length=1, max_length=64, description="what IssuerOfPatientID says at the destination")
    aliases: tuple[str, ...] = Field(default=(), description="namespaces, OIDs and facilities that mean the same")
    steps: tuple[StepOptions, ...] = Field(default=(), description="what brings its numbers into form, in this order")
    pattern: str = Field(default="", description="what a number must match as a whole then; empty: anything")
    universal_id: str = Field(default="", description="for IssuerOfPatientIDQualifiersSequence")
    universal_type: str = Field(default="", description="of the universal id: ISO, DNS, ...")

    @model_validator(mode="after")
    def _possible(self) -> "IssuerOptions":
        self.authority()
        return self

    def authority(self) -> Authority:
        """As the rules take it. Raises `Unfit`, which is a `ValueError`."""
        return Authority(
            name=self.name,
            aliases=self.aliases,
            steps=tuple(one.step() for one in self.steps),
            pattern=self.pattern,
            universal_id=self.universal_id,
            universal_type=self.universal_type,
        )


class IdentityOptions(Options):
    """The [identity] table; without it patients stay as the archive has them."""

    issuers: Annotated[tuple[IssuerOptions, ...], Field(min_length=1)]
    default_issuer: str = Field(default="", description="whose numbers are those that name nobody; empty: unknown")
    unknown: Literal["hold", "keep"] = Field(
        default="hold", description="a number that no message or table knows: hold its studies, or keep it as it is"
    )
    version: int = Field(default=1, ge=1, description="of the thresholds; raise it when they change")
    name_likeness: float = Field(default=0.85, gt=0, le=1, description="from which likeness names count as alike")
    given_likeness: float = Field(default=0.92, gt=0, le=1, description="the same for given names after a merge")
    hl7_charset: Annotated[str, AfterValidator(_codec)] = Field(
        default="ascii", description="of messages whose MSH-18 is empty"
    )

    @model_validator(mode="after")
    def _distinct(self) -> "IdentityOptions":
        self.authorities()
        return self

    def authorities(self) -> Issuers:
        """As the rules take them. Raises `Unfit`, which is a `ValueError`."""
        return Issuers(authorities=tuple(one.authority() for one in self.issuers), default=self.default_issuer)

    def thresholds(self) -> Thresholds:
        """As the rules take them."""
        return Thresholds(version=self.version, name=self.name_likeness, given=self.given_likeness)

    def reading(self, time_zone: str) -> str:
        """Fingerprint of what turns a file into events: under another one it has to be read again."""
        told = [self.model_dump(mode="json", include={"issuers", "default_issuer", "hl7_charset"}), time_zone]
        return blake3(json.dumps(told, sort_keys=True).encode("ascii")).hexdigest()[:32]
