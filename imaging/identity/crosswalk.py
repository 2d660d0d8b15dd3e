"""The hospital's own table of numbers, row by row: typed events, and an error with the line of each unusable row.

Columns: old_issuer, old_id, new_issuer, new_id, kind, effective_at, name, birth_date, sex, source, comment. The last
two are for people. Reading the file is not done here; rows come as mappings, such as those of `csv.DictReader`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from enum import StrEnum

from imaging.identity.events import Describe, IdentityEvent, Link, Merge, Move, Origin, Source, Undo
from imaging.identity.issuers import Assigner, Issuers
from imaging.identity.people import NOBODY, Conflict, Identifier, Person

COLUMNS = (
    "old_issuer", "old_id", "new_issuer", "new_id", "kind", "effective_at", "name", "birth_date", "sex", "source",
    "comment",
)  # fmt: skip
"""Of the table; unknown ones are refused, for they are misspelt."""


_DIGITS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


class Kind(StrEnum):
    """What a row says of old and new."""

    MERGE = "merge"
    RENAME = "rename"
    MOVE = "move"
    """`old` keeps its number and belongs to the patient `new`."""
    UNDO = "undo"
    """The merge of old into new was wrong."""
    EQUIV = "equiv"
    """The same person, each number stays."""


class RowDefect(StrEnum):
    """What is wrong with a row."""

    COLUMNS = "COLUMNS"
    """Columns are missing or unknown."""
    KIND = "KIND"
    IDENTIFIER = "IDENTIFIER"
    SELF = "SELF"
    """Old and new are the same number."""
    TIME = "TIME"
    BIRTH_DATE = "BIRTH_DATE"
    SEX = "SEX"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFault:
    """An unusable row; the line is where its values are, so none of them is here."""

    line: int
    defect: RowDefect
    column: str
    detail: str = ""


def crosswalk(
    rows: Iterable[Mapping[str, str | None]],
    issuers: Issuers,
    zone: tzinfo,
    *,
    first_line: int = 2,
    source: Source = Source.CROSSWALK,
) -> Iterator[IdentityEvent | RowFault]:
    """One or two events of each row, or its fault; `zone` is of times without one.

    `source` is MANUAL for rows that a person entered as overrides. `first_line` is the number of the first row in
    its file, behind the line of column names.
    """
    for line, row in enumerate(rows, start=first_line):
        yield from _Row(line, row, issuers, zone, source).events()


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    row: Mapping[str, str | None]
    issuers: Issuers
    zone: tzinfo
    source: Source

    def events(self) -> Iterator[IdentityEvent | RowFault]:
        wrong = [column for column in self.row if column not in COLUMNS]
        missing = [column for column in COLUMNS[:5] if column not in self.row]
        if wrong or missing:
            yield RowFault(line=self.line, defect=RowDefect.COLUMNS, column=missing[0] if missing else "")
            return
        kind = self._text("kind").lower()
        if kind not in {one.value for one in Kind}:
            yield self._fault(RowDefect.KIND, "kind")
            return
        old, new = self._identifier("old"), self._identifier("new")
        at = _time(self._text("effective_at"), self.zone)
        person = person_of(self.row, self.line)
        faults = [one for one in (old, new, person) if isinstance(one, RowFault)]
        if self._text("effective_at") and at is None:
            faults.append(self._fault(RowDefect.TIME, "effective_at"))
        if not faults and old == new:
            faults.append(self._fault(RowDefect.SELF, "new_id"))
        yield from faults
        if isinstance(old, Identifier) and isinstance(new, Identifier) and isinstance(person, Person) and not faults:
            yield from self._told(Kind(kind), at, old, new, person)

    def _told(
        self, kind: Kind, at: datetime | None, old: Identifier, new: Identifier, person: Person
    ) -> Iterator[IdentityEvent]:
        origin = Origin(source=self.source, at=at, label=f"line {self.line}", kind=kind.value)
        match kind:
            case Kind.MERGE | Kind.RENAME:
                yield Merge(origin=origin, old=old, new=new, renamed=kind is Kind.RENAME)
            case Kind.MOVE:
                yield Move(origin=origin, moved=old, giver=None, owner=new)
            case Kind.UNDO:
                yield Undo(origin=origin, old=old, new=new)
            case Kind.EQUIV:
                yield Link(origin=origin, one=old, other=new)
        if person != NOBODY:
            yield Describe(origin=origin, identifier=new, person=person)

    def _identifier(self, side: str) -> Identifier | RowFault:
        assigner = Assigner(namespace=self._text(f"{side}_issuer"))
        found = self.issuers.identifier(self._text(f"{side}_id"), assigner)
        if isinstance(found, Conflict):
            return self._fault(RowDefect.IDENTIFIER, f"{side}_id", found.value)
        return found

    def _text(self, column: str) -> str:
        return text_of(self.row, column)

    def _fault(self, defect: RowDefect, column: str, detail: str = "") -> RowFault:
        return RowFault(line=self.line, defect=defect, column=column, detail=detail)


def text_of(row: Mapping[str, str | None], column: str) -> str:
    """A cell without outer spaces; empty where it is absent."""
    return (row.get(column) or "").strip()


def person_of(row: Mapping[str, str | None], line: int) -> Person | RowFault:
    """Who a row's name, birth_date and sex describe."""
    birth, sex = text_of(row, "birth_date").replace("-", ""), text_of(row, "sex").upper()
    if birth and not _is_date(birth):
        return RowFault(line=line, defect=RowDefect.BIRTH_DATE, column="birth_date")
    if sex not in ("", "F", "M", "O"):
        return RowFault(line=line, defect=RowDefect.SEX, column="sex")
    return Person(name=text_of(row, "name") or None, birth_date=birth or None, sex=sex or None)


def _time(text: str, zone: tzinfo) -> datetime | None:
    """An ISO 8601 time, or the digits of one down to day, minute or second."""
    form = _DIGITS.get(len(text)) if text.isdigit() else ""
    if form is None:
        return None
    try:
        at = datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007
        return (at if at.tzinfo is not None else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return len(text) == 8
