"""What can still be told of answers that name no study, so that a person finds it in the archive."""

import re
from collections.abc import Iterator

from blake3 import blake3

from actors.dimse.find import Answers, decode
from actors.dimse.identifier import Identifier
from actors.source import FindAnswer

NAMED = 50
"""Answers an exception tells apart; the count beside them is complete."""

_TEXT = 64
"""Characters of a value: a UID has no more, and what a peer sends instead of one may have any number."""
_TOLD = {
    "study_uid": "StudyInstanceUID",
    "accession": "AccessionNumber",
    "patient_id": "PatientID",
    "study_date": "StudyDate",
}
_STUDY_UID = re.compile(rb"\x20\x00\x0d\x00(?:UI..|..\x00\x00)([0-9.]{1,64})", re.DOTALL)
"""(0020,000D) in little endian, with and without a VR, wherever it stands in bytes that are no dataset."""


def unnamed(answer: FindAnswer, charset: str) -> Iterator[dict[str, str]]:
    """Each answer that counts as undecodable: what it says beside the UID it should have had.

    The values are patient data: they belong into the ledger and nowhere else.
    """
    answers = Answers(raw=answer.raw, transfer_syntax=answer.transfer_syntax, end=answer.end, status=answer.status)
    for raw, identifier in zip(answer.raw, decode(answers, charset), strict=True):
        if identifier is None or identifier.uid("StudyInstanceUID") is None:
            told = _salvaged(raw) if identifier is None else _said(identifier)
            yield told or {"blake3": blake3(raw).hexdigest()}


def _said(identifier: Identifier) -> dict[str, str]:
    texts = {name: identifier.text(keyword) for name, keyword in _TOLD.items()}
    return {name: _printable(text) for name, text in texts.items() if text}


def _salvaged(raw: bytes) -> dict[str, str]:
    found = _STUDY_UID.search(raw)
    return {} if found is None else {"study_uid": found[1].decode("ascii")}


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_TEXT])
