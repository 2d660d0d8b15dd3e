"""C-FIND as an archive answers it: hierarchical keys, matching rules, rows (PS3.4 section C.2.2.2)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from infra.simulator import attributes as at
from infra.simulator.archive import Archive, Instance
from infra.simulator.faults import Counts, Faults


class Level(StrEnum):
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


UNIQUE_KEYS = {Level.STUDY: at.STUDY_UID, Level.SERIES: at.SERIES_UID, Level.IMAGE: at.SOP_UID}
_UID_KEYS = frozenset({at.STUDY_UID, at.SERIES_UID, at.SOP_UID, at.SOP_CLASS, at.SOP_CLASSES})
_DATE_KEYS = frozenset({at.STUDY_DATE, at.BIRTH_DATE, at.tag_of("SeriesDate"), at.tag_of("ContentDate")})
_FOLDED_KEYS = frozenset({at.PATIENT_NAME, at.PATIENT_ID})
"""Matched without regard to case, as most archives' databases do."""
_NOT_MATCHED = frozenset({at.CHARSET, at.LEVEL, at.RETRIEVE_AE, at.AVAILABILITY, at.SYNTAX})
_COUNT_KEYS = frozenset({at.STUDY_SERIES, at.STUDY_INSTANCES, at.SERIES_INSTANCES})
_STUDY_KEYS = frozenset(map(at.tag_of, at.STUDY_KEYWORDS))
_SERIES_KEYS = frozenset(map(at.tag_of, at.SERIES_KEYWORDS))


class Mismatch(Exception):
    """The identifier does not fit the information model: status A900."""


@dataclass(frozen=True, slots=True)
class Query:
    """A decoded request identifier."""

    level: Level
    keys: Mapping[int, bytes]

    @classmethod
    def of(cls, keys: Mapping[int, bytes]) -> "Query":
        try:
            return cls(Level(keys.get(at.LEVEL, b"").decode("latin-1").strip()), keys)
        except ValueError as problem:
            raise Mismatch from problem

    def uids(self, tag: int) -> tuple[str, ...]:
        """The UIDs listed under `tag`; empty when the key is absent or asks for any."""
        listed = self.keys.get(tag, b"").decode("latin-1")
        return tuple(uid for uid in (part.strip("\0 ") for part in listed.split("\\")) if uid and uid != "*")


def answers(archive: Archive, query: Query, faults: Faults, retrieve_ae: str) -> Iterator[dict[int, bytes]]:
    """The matching rows, each with exactly the keys that were asked for. Raises `Mismatch`."""
    if not faults.relational:
        needed = {Level.STUDY: (), Level.SERIES: (at.STUDY_UID,), Level.IMAGE: (at.STUDY_UID, at.SERIES_UID)}
        if any(len(query.uids(tag)) != 1 for tag in needed[query.level]):
            raise Mismatch
    hidden = frozenset(map(at.tag_of, faults.absent_keys))
    if faults.counts is Counts.ABSENT:
        hidden |= _COUNT_KEYS
    matcher = _Matcher(query, faults)
    for row, repeats in _rows(archive, query, faults, matcher):
        if not matcher.matches(row):
            continue
        answer = {tag: row.get(tag, b"") for tag in query.keys if tag not in hidden}
        answer[at.LEVEL] = query.level.encode()
        if at.RETRIEVE_AE in answer:
            answer[at.RETRIEVE_AE] = retrieve_ae.encode()
        if at.AVAILABILITY in answer:
            answer[at.AVAILABILITY] = b"ONLINE"
        answer.pop(at.CHARSET, None)
        if row.get(at.CHARSET) and not faults.charset_undeclared:
            answer[at.CHARSET] = row[at.CHARSET]
        for _ in range(repeats * (1 + faults.duplicate_rows)):
            yield answer


def _rows(
    archive: Archive, query: Query, faults: Faults, matcher: "_Matcher"
) -> Iterator[tuple[dict[int, bytes], int]]:
    wanted = query.uids(at.STUDY_UID)
    studies = archive.studies() if not wanted else [held for uid in wanted if (held := archive.study(uid))]
    for study in studies:
        if not matcher.may_match(study[0]):
            continue
        if query.level is Level.STUDY:
            yield from ((row, 1) for row in _study_rows(study, faults))
            continue
        by_series: dict[str, list[Instance]] = {}
        for instance in study:
            by_series.setdefault(instance.series_uid, []).append(instance)
        base = _study_row(study, faults)
        for series_uid, held in by_series.items():
            row = base | _stored(held[0], _SERIES_KEYS)
            row[at.SERIES_UID] = series_uid.encode()
            row[at.SERIES_INSTANCES] = _count(len(held), faults)
            if query.level is Level.SERIES:
                yield row, len(held) if faults.series_per_instance else 1
                continue
            for instance in held:
                yield row | _image(instance), 1


def _study_rows(study: Sequence[Instance], faults: Faults) -> Iterator[dict[int, bytes]]:
    """One row, or one for each patient that the instances name."""
    row = _study_row(study, faults)
    if not faults.study_per_patient:
        yield row
        return
    first = {instance.attributes.get(at.PATIENT_ID): instance for instance in reversed(study)}
    for instance in reversed(first.values()):
        yield row | _stored(instance, _STUDY_KEYS)


def _study_row(study: Sequence[Instance], faults: Faults) -> dict[int, bytes]:
    row = _stored(study[0], _STUDY_KEYS)
    row[at.STUDY_UID] = study[0].study_uid.encode()
    row[at.MODALITIES] = b"\\".join(dict.fromkeys(i.attributes.get(at.MODALITY, b"") for i in study))
    row[at.SOP_CLASSES] = "\\".join(dict.fromkeys(i.sop_class for i in study)).encode()
    row[at.STUDY_SERIES] = _count(len({i.series_uid for i in study}), faults)
    row[at.STUDY_INSTANCES] = _count(len(study), faults)
    return row


def _stored(instance: Instance, tags: frozenset[int]) -> dict[int, bytes]:
    return {tag: value for tag, value in instance.attributes.items() if tag in tags}


def _image(instance: Instance) -> dict[int, bytes]:
    return dict(instance.attributes) | {
        at.STUDY_UID: instance.study_uid.encode(),
        at.SERIES_UID: instance.series_uid.encode(),
        at.SOP_UID: instance.sop_uid.encode(),
        at.SOP_CLASS: instance.sop_class.encode(),
        at.SYNTAX: instance.transfer_syntax.encode(),
    }


def _count(true: int, faults: Faults) -> bytes:
    said = {Counts.HIGH: true + 1, Counts.ZERO: 0}.get(faults.counts, true)
    return str(said).encode()


class _Matcher:
    """The matching keys of one query, prepared once."""

    def __init__(self, query: Query, faults: Faults) -> None:
        ignored = frozenset(map(at.tag_of, faults.ignored_keys)) | _NOT_MATCHED | _COUNT_KEYS
        charset = query.keys.get(at.CHARSET, b"")
        self._undated_match_ranges = faults.undated_match_ranges
        self._wanted = {
            tag: at.text(value, charset).strip()
            for tag, value in query.keys.items()
            if tag not in ignored and value not in (b"", b"*")
        }

    def may_match(self, instance: Instance) -> bool:
        """False when the study's date alone rules it out, so that a narrow window over a large archive is quick."""
        wanted = self._wanted.get(at.STUDY_DATE)
        return wanted is None or self._matches(at.STUDY_DATE, wanted, instance.attributes.get(at.STUDY_DATE), b"")

    def matches(self, row: Mapping[int, bytes]) -> bool:
        charset = row.get(at.CHARSET, b"")
        return all(self._matches(tag, wanted, row.get(tag), charset) for tag, wanted in self._wanted.items())

    def _matches(self, tag: int, wanted: str, value: bytes | None, charset: bytes) -> bool:
        if value is None and not _is_key(tag):
            return True  # A key the archive does not know is not matched on (PS3.4 section C.2.2.1.3).
        held = at.text(value or b"", charset).strip()
        if tag in _UID_KEYS:
            return not set(held.split("\\")).isdisjoint(part.strip("\0 ") for part in wanted.split("\\"))
        if tag in _DATE_KEYS:
            return (not held and self._undated_match_ranges) or _date_matches(wanted, held)
        if tag == at.STUDY_TIME:
            return _time_matches(wanted, held)
        if tag == at.PATIENT_NAME:
            return any(_text_matches(wanted, group, tag) for group in held.split("="))
        return any(_text_matches(wanted, part, tag) for part in held.split("\\"))


def _is_key(tag: int) -> bool:
    return tag in _STUDY_KEYS or tag in _SERIES_KEYS or tag in (at.MODALITIES, at.SOP_CLASSES, at.SOP_UID, at.SOP_CLASS)


def _text_matches(wanted: str, held: str, tag: int) -> bool:
    if tag == at.PATIENT_NAME:
        wanted, held = wanted.rstrip("^"), held.rstrip("^")
    pattern = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in wanted)
    return re.fullmatch(pattern, held, re.DOTALL | (re.IGNORECASE if tag in _FOLDED_KEYS else 0)) is not None


def _date_matches(wanted: str, held: str) -> bool:
    held = held.replace(".", "")  # ACR-NEMA wrote 1997.07.14, and archives still hold it.
    if not held:
        return False
    if "-" not in wanted:
        return held == wanted.replace(".", "")
    start, _, stop = wanted.partition("-")
    return (start or "0") <= held <= (stop or "9")


def _time_matches(wanted: str, held: str) -> bool:
    held = held.replace(":", "").replace(".", "")
    if not held:
        return False
    start, dash, stop = wanted.replace(":", "").replace(".", "").partition("-")
    # 10-11 means 10:00:00 to 11:59:59: what a value leaves out is filled from below and from above.
    return start.ljust(12, "0") <= held.ljust(12, "0") <= ((stop or "9") if dash else start).ljust(12, "9")
