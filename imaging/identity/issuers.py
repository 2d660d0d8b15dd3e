"""Who gives numbers: authorities under all their names, and what their numbers look like.

One authority under two spellings would be two patients for each of its own, so a name that no rule knows is a
conflict and never a new authority.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from imaging.identity.people import Conflict, Identifier
from imaging.identity.steps import Step, Unfit, compiled, stepped

LENGTH_LIMIT = 64
"""Characters of Patient ID (0010,0020), an LO (PS3.5 section 6.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """One issuer: its name here, its other names, and the form of its numbers."""

    name: str
    """What Issuer of Patient ID (0010,0021) says."""
    aliases: tuple[str, ...] = ()
    """Namespace ids, OIDs and facilities that mean the same; upper and lower case are one."""
    steps: tuple[Step, ...] = ()
    pattern: str = ""
    """What a number must match as a whole after the steps; empty: anything."""
    universal_id: str = ""
    universal_type: str = ""
    """ISO, DNS, ... (HL7 table 0301), for the qualifiers in (0010,0024)."""

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > LENGTH_LIMIT or "\\" in self.name:
            raise Unfit("an issuer's name has 1 to 64 characters and no backslash")
        if bool(self.universal_id) != bool(self.universal_type):
            raise Unfit(f"issuer {self.name!r}: a universal id and its type come together")
        if self.pattern:
            compiled(self.pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigner:
    """The names a CX or a header gives for an authority, any of them empty (HL7 v2 section 2.A.14)."""

    namespace: str = ""
    universal_id: str = ""
    universal_type: str = ""
    facility: str = ""
    sender: str = ""
    """The facility the message came from (MSH-4)."""


@dataclass(frozen=True, kw_only=True)
class Issuers:
    """All authorities of a site.

    Raises
    ------
    Unfit
        A name stands for two of them, or the default is none of them.
    """

    authorities: tuple[Authority, ...]
    default: str = ""
    """Whose numbers are those that name nobody; empty: they are a conflict."""
    _known: Mapping[str, Authority] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        known: dict[str, Authority] = {}
        for authority in self.authorities:
            for name in {_folded(one) for one in (authority.name, authority.universal_id, *authority.aliases)} - {""}:
                if name in known:
                    raise Unfit(f"{name!r} stands for two issuers")
                known[name] = authority
        if self.default and _folded(self.default) not in known:
            raise Unfit(f"the default issuer {self.default!r} is not described")
        object.__setattr__(self, "_known", known)

    def authority(self, name: str) -> Authority | None:
        """The authority of this name or alias."""
        return self._known.get(_folded(name))

    def resolve(self, assigner: Assigner) -> Authority | None:
        """The authority meant: universal id, then namespace, facility, sender, default; None: it is unknown.

        A number's own authority that is named and not known is not replaced by a weaker name.
        """
        own = [name for name in (assigner.universal_id, assigner.namespace) if name.strip()]
        found = next((known for name in own if (known := self.authority(name))), None)
        if own:
            return found
        if assigner.facility.strip():
            return self.authority(assigner.facility)
        # Everybody has a sending facility, few mean an authority by it.
        return self.authority(assigner.sender) or self.authority(self.default)

    def identifier(self, value: str, assigner: Assigner) -> Identifier | Conflict:
        """The number in its issuer's form, or what is wrong with it."""
        if not value.strip():
            return Conflict.PID_MISSING
        authority = self.resolve(assigner)
        if authority is None:
            return Conflict.ISSUER_UNKNOWN
        number = stepped(value, authority.steps)
        if not number or len(number) > LENGTH_LIMIT or "\\" in number or not number.isprintable():
            return Conflict.PID_FORMAT
        if authority.pattern and not compiled(authority.pattern).fullmatch(number):
            return Conflict.PID_FORMAT
        return Identifier(authority.name, number)


def issuers_without_rules(names: Iterable[str]) -> Issuers:
    """Authorities that are known by one name each; the first is the default."""
    given = tuple(names)
    return Issuers(authorities=tuple(Authority(name=name) for name in given), default=given[0] if given else "")


def _folded(name: str) -> str:
    return name.strip().casefold()
