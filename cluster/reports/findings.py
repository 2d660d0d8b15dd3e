"""What is odd about an archive's data, each flaw with its definition, numerator and denominator. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Flaw(NamedTuple):
    """One thing that is counted."""

    code: str
    title: str
    """What is counted, so that a person knows what the number means."""
    unit: str
    of: str
    """Code of the number it is a share of."""
    matters: str
    """What it may do to a migration."""


FLAWS = (
    Flaw("undated", "no StudyDate", "studies", "studies", "no question by date ever finds them"),
    Flaw("no_date", "StudyDate is no date", "studies", "studies", "tiering and retention cannot use it"),
    Flaw("sentinel", "StudyDate before 1950 or in the year 9999", "studies", "studies", "stands for no date"),
    Flaw("future", "StudyDate to come", "studies", "studies", "a clock was wrong, or a booking"),
    Flaw("no_patient_id", "no PatientID", "studies", "studies", "nobody can be told to own them"),
    Flaw("no_issuer", "no IssuerOfPatientID", "studies", "studies", "equal numbers of two hospitals look the same"),
    Flaw("no_patient_name", "no PatientName", "studies", "studies", "identity cannot be checked"),
    Flaw("no_birth_date", "no PatientBirthDate", "studies", "studies", "identity cannot be checked"),
    Flaw("id_leading_zero", "PatientID begins with 0", "studies", "studies", "systems that keep numbers lose it"),
    Flaw("id_lower_case", "PatientID with lower-case letters", "studies", "studies", "matching depends on case"),
    Flaw("id_with_space", "PatientID with a space inside", "studies", "studies", "matching depends on it"),
    Flaw("id_of_several_people", "one PatientID under several names or birth dates", "patient ids", "patient_ids",
         "mistyped, changed by marriage, or two people"),
    Flaw("person_of_several_ids", "equal name, birth date and sex under several ids", "people", "people",
         "patients that may be split: merges to look for"),
    Flaw("no_accession", "no AccessionNumber", "studies", "studies", "no link to an order"),
    Flaw("long_accession", "AccessionNumber longer than 16 characters", "studies", "studies",
         "strict destinations refuse it (PS3.5: SH)"),
    Flaw("accession_of_several_studies", "one accession number in several studies", "accession numbers", "accessions",
         "one order, several studies: or a collision"),
    Flaw("accession_of_several_patients", "one accession number under several patients", "accession numbers",
         "accessions", "a collision: must be renumbered or told apart by issuer"),
    Flaw("no_modality", "no ModalitiesInStudy", "studies", "studies", "the archive does not tell"),
    Flaw("claims_nothing", "the archive counts no instance", "studies", "studies", "ordered and never filled?"),
    Flaw("empty_confirmed", "asked twice, and really empty", "studies", "studies", "nothing to move"),
    Flaw("count_differs", "other number of instances pulled than claimed", "studies", "pulled",
         "counts of the archive are no proof"),
    Flaw("uid_leading_zero", "StudyInstanceUID with a component that begins with 0", "studies", "studies",
         "strict destinations refuse it (PS3.5 9.1)"),
    Flaw("uid_of_several_patients", "StudyInstanceUID listed under several patients", "studies", "studies",
         "one of them is wrong, or a merge is half done"),
    Flaw("sop_shared", "studies that hold a SOPInstanceUID of another study", "studies", "pulled",
         "copies, or a UID given twice"),
)  # fmt: skip


def findings(quality: Mapping[str, int], datings: Mapping[str, int]) -> list[dict[str, Any]]:
    """Every flaw, in order, those that were not found included: a zero is a result too."""
    numbers = {**quality, **{word: datings.get(word, 0) for word in ("undated", "no_date", "sentinel", "future")}}
    return [
        {
            "code": flaw.code,
            "title": flaw.title,
            "count": numbers.get(flaw.code, 0),
            "of": numbers.get(flaw.of, 0),
            "unit": flaw.unit,
            "matters": flaw.matters,
            "basis": "pulled" if flaw.of == "pulled" else "full",
        }
        for flaw in FLAWS
    ]
