"""C-FIND in the Study Root model (PS3.4 section C.6.2): one query, drained to its end or to a bound of ours."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from actors.dimse.command import Tag, Verb
from actors.dimse.conversation import Context, Conversation
from actors.dimse.identifier import Identifier, encode_identifier
from actors.dimse.violation import PeerGone, ProtocolViolation
from actors.source import Bound, FindEnd, StudyFound
from imaging.errors import MalformedDataset
from imaging.uid import Uid

EXPLICIT_LE = "1.2.840.10008.1.2.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"

STUDY_KEYS = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDescription",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
)
"""Asked back of every study. More keys make some archives slower, and none of the others is used."""

PACE = timedelta(milliseconds=200)
"""What each answer adds to the patience with the whole of a query: archives give about 1,000 answers a second, slow
ones ten. One that drips a pending answer just before every time-out would otherwise hold us for ever."""

_MEDIUM = 0
_ENDS = {0x0000: FindEnd.SUCCESS, 0xFE00: FindEnd.CANCELLED, 0xA700: FindEnd.REFUSED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The most one query may bring; beyond it the answer is UNENDING."""

    answers: int
    octets: int
    """Identifiers as received, all together."""


STUDIES = Bounds(answers=1_000_000, octets=512 << 20)
"""Five times the answer the inventory risks by default (`largest_answer`), at four times the usual size of a row."""
MEMBERS = Bounds(answers=1 << 18, octets=64 << 20)
"""Series of a study, or instances of a series: the largest known (4D and slide series) are a quarter of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one C-FIND brought: identifiers as received, and how it ended."""

    raw: tuple[bytes, ...]
    transfer_syntax: str
    end: FindEnd
    status: int | None
    beyond: Bound | None = None
    """Of an UNENDING answer: what it had too much of."""


def ask(
    conversation: Conversation,
    context: Context,
    level: str,
    keys: Mapping[str, str],
    patience: timedelta,
    bounds: Bounds = STUDIES,
) -> Answers:
    """Every answer to one query. After LOST and UNENDING the conversation must be aborted.

    `patience` bounds the wait for each answer; the whole query may take as long, and `PACE` more for each answer.
    """
    identifier = encode_identifier({"QueryRetrieveLevel": level, **keys}, context.transfer_syntax)
    raw: list[bytes] = []
    octets = 0
    status: int | None = None
    deadline = time.monotonic() + patience.total_seconds()
    try:
        for response in conversation.ask(context, Verb.C_FIND, {Tag.PRIORITY: _MEDIUM}, [identifier], patience):
            if response.status & 0xFF00 != 0xFF00:
                status = response.status
                continue
            octets += len(response.dataset)
            beyond = _beyond(len(raw) + 1, octets, deadline, bounds)
            if beyond is not None:
                return Answers(
                    raw=tuple(raw),
                    transfer_syntax=context.transfer_syntax,
                    end=FindEnd.UNENDING,
                    status=None,
                    beyond=beyond,
                )
            raw.append(response.dataset)
    except (PeerGone, ProtocolViolation):
        status = None
    return Answers(raw=tuple(raw), transfer_syntax=context.transfer_syntax, end=find_end(status), status=status)


def _beyond(answers: int, octets: int, deadline: float, bounds: Bounds) -> Bound | None:
    if answers > bounds.answers:
        return Bound.ANSWERS
    if octets > bounds.octets:
        return Bound.BYTES
    return Bound.TIME if time.monotonic() > deadline + answers * PACE.total_seconds() else None


def find_end(status: int | None) -> FindEnd:
    """What a final status means (PS3.4 table C.4-1); None: there was none."""
    return FindEnd.LOST if status is None else _ENDS.get(status, FindEnd.FAILED)


def decode(answers: Answers, charset: str) -> list[Identifier | None]:
    """The answers one by one; None for those that are no dataset."""
    decoded: list[Identifier | None] = []
    for raw in answers.raw:
        try:
            decoded.append(Identifier(raw, answers.transfer_syntax, charset))
        except MalformedDataset:
            decoded.append(None)
    return decoded


def study_identifier(study: StudyFound) -> bytes:
    """What an archive that answers C-FIND would have sent for the study, in Explicit VR Little Endian: sources that
    speak otherwise keep their answers so."""
    keys = {
        "StudyInstanceUID": study.study_uid,
        "PatientID": study.patient_id,
        "IssuerOfPatientID": study.issuer,
        "PatientName": study.patient_name,
        "PatientBirthDate": study.birth_date,
        "PatientSex": study.sex,
        "AccessionNumber": study.accession,
        "StudyDate": study.study_date,
        "StudyTime": study.study_time,
        "StudyDescription": study.description,
        "ModalitiesInStudy": None if study.modalities is None else "\\".join(study.modalities),
        "NumberOfStudyRelatedSeries": None if study.series_count is None else str(study.series_count),
        "NumberOfStudyRelatedInstances": None if study.instance_count is None else str(study.instance_count),
    }
    told = {keyword: text for keyword, text in keys.items() if text is not None}
    return encode_identifier(told, EXPLICIT_LE)


def study_found(study_uid: Uid, answer: Identifier) -> StudyFound:
    """One study as the archive describes it; what it left out stays None."""
    return StudyFound(
        study_uid=study_uid,
        patient_id=answer.text("PatientID"),
        issuer=answer.text("IssuerOfPatientID"),
        patient_name=answer.text("PatientName"),
        birth_date=answer.text("PatientBirthDate"),
        sex=answer.text("PatientSex"),
        accession=answer.text("AccessionNumber"),
        study_date=answer.text("StudyDate"),
        study_time=answer.text("StudyTime"),
        modalities=answer.texts("ModalitiesInStudy"),
        description=answer.text("StudyDescription"),
        series_count=answer.count("NumberOfStudyRelatedSeries"),
        instance_count=answer.count("NumberOfStudyRelatedInstances"),
    )
