"""Answers that name no study are told by whatever else they say."""

import pytest

from actors.dimse.identifier import encode_identifier
from actors.source import FindAnswer, FindEnd, StudyWindow
from cluster.inventory.unnamed import unnamed

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
LATIN = "ISO_IR 100"


def answer(*raw: bytes, syntax: str = IMPLICIT) -> FindAnswer:
    return FindAnswer(
        window=StudyWindow(),
        studies=(),
        end=FindEnd.SUCCESS,
        status=0,
        undecodable=len(raw),
        raw=raw,
        transfer_syntax=syntax,
    )


def identifier(syntax: str = IMPLICIT, **values: str) -> bytes:
    return bytes(encode_identifier(values, syntax))


def test_a_study_whose_uid_is_none_is_told_by_what_stands_in_its_place_and_what_else_is_known() -> None:
    raw = identifier(StudyInstanceUID="1.2.abc\x1b[31m", AccessionNumber="A1", PatientID="P1", StudyDate="20200101")

    told = list(unnamed(answer(identifier(StudyInstanceUID="1.2.3"), raw), LATIN))

    assert told == [{"study_uid": "1.2.abc?[31m", "accession": "A1", "patient_id": "P1", "study_date": "20200101"}]


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_a_uid_is_found_in_bytes_that_are_no_dataset(syntax: str) -> None:
    raw = identifier(syntax, StudyInstanceUID="1.2.840.77")

    assert list(unnamed(answer(raw + b"\xff" * 5, syntax=syntax), LATIN)) == [{"study_uid": "1.2.840.77"}]


def test_what_says_nothing_is_told_by_its_digest() -> None:
    (empty, junk) = unnamed(answer(b"", b"\xff" * 9), LATIN)

    assert empty.keys() == junk.keys() == {"blake3"}
    assert empty != junk
