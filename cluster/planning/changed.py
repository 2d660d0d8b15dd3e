"""What differs between two proposals, in words that name no patient."""

from collections.abc import Iterable

_WORDS = {
    "patient": "patient's number",
    "universal": "issuer",
    "person.name": "name",
    "person.birth_date": "birth date",
    "person.sex": "sex",
    "accessions": "accession number",
    "asked": "number that the archive lists",
    "numbers": "numbers that lead to the patient",
    "judged": "people whom the archive lists",
    "listed": "people whom the archive lists",
    "among": "patients whom the archive lists",
    "rule": "rules of identity",
    "accession_rule": "rules of accession numbers",
}
"""By key of a decision (`imaging.identity.planned` has the shape), most telling first."""


def in_words(keys: Iterable[str]) -> str:
    """Such as "patient's number, name"; a key without a word stands for itself."""
    known = {*keys}
    return ", ".join(dict.fromkeys(word for key, word in _WORDS.items() if key in known)) or ", ".join(sorted(known))
