"""The RIS's list of orders, row by row.

Columns: accession, accession_issuer, issuer, id, study_uid, procedure; the first must be there.
"""

from collections.abc import Iterable, Iterator, Mapping

from imaging.accession.orders import Order
from imaging.accession.rules import Accession
from imaging.identity.crosswalk import RowDefect, RowFault, text_of
from imaging.identity.issuers import Assigner, Issuers
from imaging.identity.people import Conflict
from storage.ledger.identity import OrderLine

COLUMNS = ("accession", "accession_issuer", "issuer", "id", "study_uid", "procedure")
LONGEST = 64
"""Characters of a number or UID (PS3.5 section 6.2); one that is longer is no such thing, and no index takes it in."""


def orders_of(
    rows: Iterable[Mapping[str, str | None]], issuers: Issuers, *, first_line: int = 2
) -> Iterator[OrderLine | RowFault]:
    """One order of each row, or its fault; a row without a patient counts for any."""
    for line, row in enumerate(rows, start=first_line):
        if "accession" not in row or any(column not in COLUMNS for column in row):
            yield RowFault(line=line, defect=RowDefect.COLUMNS, column="" if "accession" in row else "accession")
            continue
        number = text_of(row, "accession")
        value = text_of(row, "id")
        patient = issuers.identifier(value, Assigner(namespace=text_of(row, "issuer"))) if value else None
        if unfit := _unfit(row, number):
            yield RowFault(line=line, defect=RowDefect.IDENTIFIER, column=unfit)
        elif isinstance(patient, Conflict):
            yield RowFault(line=line, defect=RowDefect.IDENTIFIER, column="id", detail=patient.value)
        else:
            yield OrderLine(
                line,
                Order(
                    accession=Accession(issuer=text_of(row, "accession_issuer"), value=number),
                    patient=patient,
                    study=text_of(row, "study_uid"),
                    procedure=text_of(row, "procedure"),
                ),
            )


def _unfit(row: Mapping[str, str | None], number: str) -> str:
    """The first column that cannot be used; empty where all can."""
    if not number or len(number) > LONGEST:
        return "accession"
    if len(text_of(row, "study_uid")) > LONGEST:
        return "study_uid"
    return next((column for column in COLUMNS if "\0" in text_of(row, column)), "")
