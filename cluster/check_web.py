"""Asks a DICOMweb source for a little of what a run needs: an answer, a list of studies, a list of instances."""

from collections.abc import Iterator

from actors.source import FindEnd, Source, SourceUnreachable, StudyWindow
from cluster.check import Mark, Row


def check_service(source: Source) -> Iterator[Row]:
    """Rows until one makes the rest pointless."""
    try:
        source.echo()
    except SourceUnreachable as error:
        step = "Check token, or user and password, in [source]." if error.refused else "Correct url in [source]."
        yield Row(what="source: QIDO-RS", mark=Mark.FAIL, detail=str(error), next_step=step)
        return
    yield Row(what="source: QIDO-RS", mark=Mark.OK, detail="answers")
    # No study has this number: what matters is that the question is understood, not how much there is.
    answer = source.find_studies(StudyWindow(patient_id="LIMOSA-CHECK"))
    understood = answer.end is FindEnd.SUCCESS
    yield Row(
        what="source: studies by PatientID",
        mark=Mark.OK if understood and not answer.studies else Mark.WARN,
        detail=f"ended with {answer.end.value}; {len(answer.studies)} studies of a patient that does not exist",
        next_step="" if understood and not answer.studies else "The service ignores what is asked for.",
    )
