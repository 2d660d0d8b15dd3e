"""The [accession] table of the job file."""

from typing import Literal

from pydantic import Field, model_validator

from actors.identity_options import StepOptions
from actors.options import Options
from imaging.accession.rules import AccessionRule
from imaging.identity.steps import compiled

NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"


class SiteOptions(Options):
    """What tells one site's numbers from another's where both count from 1."""

    name: str = Field(pattern=NAME, description="lower-case letters, digits, hyphens")
    issuers: tuple[str, ...] = Field(default=(), description="names of patients' issuers; empty: any")
    pattern: str = Field(default="", description="what the accession number matches as a whole; empty: any")

    @model_validator(mode="after")
    def _possible(self) -> "SiteOptions":
        compiled(self.pattern)
        return self

    def fits(self, issuer: str, number: str) -> bool:
        """Whether a study is this site's; the first site that fits has it."""
        if self.issuers and issuer not in self.issuers:
            return False
        return not self.pattern or compiled(self.pattern).fullmatch(number) is not None


class AccessionRuleOptions(Options):
    """One rule; of several the first that fits a number decides."""

    name: str = Field(pattern=NAME, description="lower-case letters, digits, hyphens")
    version: int = Field(default=1, ge=1, description="raise it when the rule changes")
    sites: tuple[str, ...] = Field(default=(), description="names of sites it is for; empty: any")
    pattern: str = Field(default="", description="what a number must match as a whole; empty: any")
    steps: tuple[StepOptions, ...] = Field(default=(), description="what is done to the number, in this order")
    surrogates: dict[str, str] = Field(default={}, description="old number = new number, before any step")
    issuer: str = Field(default="", description="for IssuerOfAccessionNumberSequence; empty: none is written")
    universal_id: str = Field(default="", description="the same as a universal id")
    universal_type: str = Field(default="", description="of the universal id: ISO, DNS, ...")

    @model_validator(mode="after")
    def _possible(self) -> "AccessionRuleOptions":
        self.rule()
        return self

    def rule(self) -> AccessionRule:
        """As the rules take it. Raises `Unfit`, which is a `ValueError`."""
        return AccessionRule(
            name=self.name,
            version=self.version,
            steps=tuple(one.step() for one in self.steps),
            sites=self.sites,
            pattern=self.pattern,
            issuer=self.issuer,
            universal_id=self.universal_id,
            universal_type=self.universal_type,
            surrogates=tuple(self.surrogates.items()),
        )


class AccessionOptions(Options):
    """The [accession] table; without it accession numbers stay and are not looked at."""

    orders: Literal["if-imported", "required"] = Field(
        default="if-imported", description='"required": planning refuses to run before a list of orders is imported'
    )
    unmatched: Literal["note", "hold"] = Field(
        default="note", description="a study without number or order: list it and move it, or hold it"
    )
    unlisted: Literal["hold", "renumber"] = Field(
        default="hold",
        description="headers have an accession number that the archive does not list for their study: hold it, or "
        "renumber each of its numbers, move it and list it",
    )
    sites: tuple[SiteOptions, ...] = Field(default=(), description="the first that fits a study has it")
    rules: tuple[AccessionRuleOptions, ...] = Field(default=(), description="the first that fits a number decides")

    @model_validator(mode="after")
    def _belongs_together(self) -> "AccessionOptions":
        names = {site.name for site in self.sites}
        for rule in self.rules:
            if lost := set(rule.sites) - names:
                raise ValueError(f"rule {rule.name!r} is for a site that is not described: {sorted(lost)[0]!r}")
        if len({rule.name for rule in self.rules}) < len(self.rules):
            raise ValueError("two rules have one name")
        return self

    def rule_set(self) -> tuple[AccessionRule, ...]:
        """As the rules are tried."""
        return tuple(one.rule() for one in self.rules)

    def site_of(self, issuer: str, number: str) -> str:
        """The name of the site whose study it is; empty where no site fits."""
        return next((site.name for site in self.sites if site.fits(issuer, number)), "")
