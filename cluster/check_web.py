"""Asks a DICOMweb source whether it heeds what it is asked for: some services give everything instead."""

from collections.abc import Iterator

from actors.source import FindEnd, Source, StudyWindow
from cluster.check import Mark, Row


def check_matching(source: Source) -> Iterator[Row]:
    """One row; none where the service is away, which others tell."""
    # No study has this number: what matters is that the question is understood, not how much there is.
    answer = source.find_studies(StudyWindow(patient_id="LIMOSA-CHECK"))
    if answer.end is FindEnd.LOST:
        return
    understood = answer.end is FindEnd.SUCCESS and not answer.studies
    yield Row(
        what="source: studies by PatientID",
        mark=Mark.OK if understood else Mark.WARN,
        detail=f"ended with {answer.end.value}; {len(answer.studies)} studies of a patient that does not exist",
        next_step="" if understood else "The service ignores what is asked for.",
    )
