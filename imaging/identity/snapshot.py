"""An export of the master patient index, row by row: who is known by which number, without a history.

Columns: issuer, id, name, birth_date, sex. Reading the file is not done here.
"""

from collections.abc import Iterable, Iterator, Mapping

from imaging.identity.crosswalk import RowDefect, RowFault, person_of, text_of
from imaging.identity.events import Describe, Origin, Source
from imaging.identity.issuers import Assigner, Issuers
from imaging.identity.people import Conflict, Person

COLUMNS = ("issuer", "id", "name", "birth_date", "sex")
"""All of them; the first two must be there, and unknown ones are refused, for they are misspelt."""


def snapshot(
    rows: Iterable[Mapping[str, str | None]], issuers: Issuers, *, first_line: int = 2
) -> Iterator[Describe | RowFault]:
    """One event of each row, or its faults; `first_line` is the number of the first row in its file."""
    for line, row in enumerate(rows, start=first_line):
        missing = [column for column in COLUMNS[:2] if column not in row]
        if missing or any(column not in COLUMNS for column in row):
            yield RowFault(line=line, defect=RowDefect.COLUMNS, column=missing[0] if missing else "")
            continue
        found = issuers.identifier(text_of(row, "id"), Assigner(namespace=text_of(row, "issuer")))
        person = person_of(row, line)
        if isinstance(found, Conflict):
            yield RowFault(line=line, defect=RowDefect.IDENTIFIER, column="id", detail=found.value)
        if isinstance(person, RowFault):
            yield person
        if not isinstance(found, Conflict) and isinstance(person, Person):
            origin = Origin(source=Source.SNAPSHOT, at=None, label=f"line {line}", kind="snapshot")
            yield Describe(origin=origin, identifier=found, person=person)
