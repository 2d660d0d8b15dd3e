"""Custody chains and kept answers, without a database."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.uid import Uid
from storage.ledger.evidence import CHAIN_START, first_broken_link, link_hash, sop_key
from storage.ledger.inventory import pack_answers, unpack_answers
from storage.ledger.records import CustodyEntry

STUDY = Uid("1.2.3")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
payloads = st.dictionaries(st.text(max_size=8), plain, max_size=4)


def chain_of(found: list[dict]) -> list[CustodyEntry]:
    entries: list[CustodyEntry] = []
    prev = CHAIN_START
    for seq, payload in enumerate(found, start=1):
        link = link_hash(study_uid=STUDY, seq=seq, at=NOON, event="e", actor="a", payload=payload, prev=prev)
        entries.append(CustodyEntry(seq=seq, at=NOON, event="e", actor="a", payload=payload, prev_hash=prev, hash=link))
        prev = link
    return entries


@given(st.lists(payloads, max_size=5))
def test_an_untouched_chain_holds_even_after_a_trip_through_json(found: list[dict]) -> None:
    entries = chain_of(found)

    stored = [replace(entry, payload=json.loads(json.dumps(entry.payload))) for entry in entries]

    assert first_broken_link(STUDY, stored) is None


@given(st.lists(payloads, min_size=1, max_size=5), st.data())
def test_any_change_breaks_the_chain_where_it_was_made(found: list[dict], data: st.DataObject) -> None:
    entries = chain_of(found)
    at = data.draw(st.integers(0, len(entries) - 1))
    change = data.draw(
        st.sampled_from([{"event": "x"}, {"actor": "x"}, {"at": NOON + timedelta(microseconds=1)}, {"seq": 99}])
    )

    entries[at] = replace(entries[at], **change)

    assert first_broken_link(STUDY, entries) == at + 1


def test_a_chain_of_another_study_or_without_its_start_does_not_hold() -> None:
    entries = chain_of([{"n": 1}, {"n": 2}])

    assert first_broken_link(Uid("9.9"), entries) == 1
    assert first_broken_link(STUDY, entries[1:]) == 1


def test_a_time_is_the_same_moment_in_every_zone() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=5)))

    first, second = (
        link_hash(study_uid=STUDY, seq=1, at=at, event="e", actor="a", payload={}, prev=CHAIN_START)
        for at in (NOON, there)
    )

    assert first == second


@pytest.mark.parametrize("payload", [{"x": 0.5}, {"x": [float("nan")]}, {"x": b"raw"}, {"x": {1: "number as key"}}])
def test_what_has_no_one_spelling_is_refused(payload: dict) -> None:
    with pytest.raises(ValueError, match="custody payload"):
        link_hash(study_uid=STUDY, seq=1, at=NOON, event="e", actor="a", payload=payload, prev=CHAIN_START)


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_answers_unpack_as_they_were(raw: list[bytes]) -> None:
    assert unpack_answers(pack_answers(raw)) == tuple(raw)


def test_a_sop_key_is_the_start_of_the_blake3_of_the_uid() -> None:
    # echo -n 1.2.3 | b3sum
    assert sop_key(Uid("1.2.3")).bytes.hex() == "711247d8e90c38c9f1edb0eace963324"
