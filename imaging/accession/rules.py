"""Rules that renumber accessions: tried in order, the first that fits decides, and nothing is ever cut off.

Accession Number (0008,0050) is an SH of at most 16 characters (PS3.5 section 6.2). What is longer after its rule
needs a line in the rule's table or a person; two orders whose numbers agree in 16 characters would become one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from imaging.identity.people import Conflict
from imaging.identity.steps import Step, Unfit, compiled, stepped

LENGTH_LIMIT = 16
"""Characters of an SH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accession:
    """One number and whose it is; what the destination's RIS will ask for."""

    issuer: str
    """Issuer of Accession Number, Local Namespace Entity ID; empty: the site numbers alone."""
    value: str
    universal_id: str = ""
    universal_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a study's accession number comes from."""

    source: str
    """The archive's name in the job."""
    site: str = ""
    """What the site's numbers are told apart by: institution, department or station, as the job maps it."""
    issuer: str = ""
    """Issuer of Accession Number as the header has it."""


@dataclass(frozen=True, kw_only=True)
class AccessionRule:
    """What is done to numbers of these origins and this form.

    Raises
    ------
    Unfit
        A pattern that is none, or a table that maps to what no accession can be or two numbers to one.
    """

    name: str
    version: int
    steps: tuple[Step, ...] = ()
    sources: tuple[str, ...] = ()
    """Empty: any. So for sites and issuers."""
    sites: tuple[str, ...] = ()
    issuers: tuple[str, ...] = ()
    pattern: str = ""
    """What a number must match as a whole for this rule; empty: any number."""
    issuer: str = ""
    """Whose the numbers are from then on; empty: as before."""
    universal_id: str = ""
    universal_type: str = ""
    surrogates: tuple[tuple[str, str], ...] = ()
    """Numbers, trimmed as they stand in headers, and what each becomes instead of passing the steps."""
    _table: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.pattern:
            compiled(self.pattern)
        if bool(self.universal_id) != bool(self.universal_type):
            raise Unfit(f"accession rule {self.name!r}: a universal id and its type come together")
        table = dict(self.surrogates)
        if len(table) < len(self.surrogates) or len(set(table.values())) < len(table):
            raise Unfit(f"accession rule {self.name!r}: its table has a number twice")
        if any(defect_of(value) is not None for value in table.values()):
            raise Unfit(f"accession rule {self.name!r}: its table leads to what is no accession number")
        object.__setattr__(self, "_table", table)

    @property
    def label(self) -> str:
        """How reports and the ledger name it."""
        return f"{self.name}/{self.version}"

    def fits(self, number: str, origin: Origin) -> bool:
        """Whether the rule is for this number."""
        return (
            (not self.sources or origin.source in self.sources)
            and (not self.sites or origin.site in self.sites)
            and (not self.issuers or origin.issuer in self.issuers)
            and (not self.pattern or compiled(self.pattern).fullmatch(number) is not None)
        )

    def renumbered(self, number: str) -> str | None:
        """The surrogate, or what the steps make of the number; None where a step fails."""
        surrogate = self._table.get(number)
        return stepped(number, self.steps) if surrogate is None else surrogate


@dataclass(frozen=True, slots=True, kw_only=True)
class Renumbered:
    """What a study's accession becomes, and by which rule; or why it does not."""

    accession: Accession | None
    rule: str = ""
    """Label of the rule; empty where none fits and the number stays."""
    conflict: Conflict | None = None


def renumber(written: str, origin: Origin, rules: tuple[AccessionRule, ...]) -> Renumbered:
    """What becomes of an accession number; a number that no rule fits stays as it is, but for outer spaces."""
    number = written.strip(" \0")
    if not number:
        return Renumbered(accession=None, conflict=Conflict.ACC_MISSING)
    rule = next((one for one in rules if one.fits(number, origin)), None)
    value = number if rule is None else rule.renumbered(number)
    label = "" if rule is None else rule.label
    defect = Conflict.ACC_UNFIT if value is None else defect_of(value)
    if value is None or defect is not None:
        return Renumbered(accession=None, rule=label, conflict=defect)
    if rule is None:
        return Renumbered(accession=Accession(issuer=origin.issuer, value=value))
    accession = Accession(
        issuer=rule.issuer or origin.issuer,
        value=value,
        universal_id=rule.universal_id,
        universal_type=rule.universal_type,
    )
    return Renumbered(accession=accession, rule=label)


def defect_of(value: str) -> Conflict | None:
    """Why this cannot be an accession number."""
    if len(value) > LENGTH_LIMIT:
        return Conflict.ACC_OVERLONG
    if not value or "\\" in value or not value.isprintable() or value != value.strip():
        return Conflict.ACC_UNFIT
    return None
