"""A pilot meets what an archive holds, and says of the rest what its figures bear."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cluster.pilot.choice import UNDATED, Trait, choose, days_of, shares, unmet
from cluster.pilot.statistics import Tried, expected_rate, wilson
from cluster.reports.pages import render
from cluster.reports.pilot_figures import Decision, Piloted, pilot_figures
from imaging.uid import Uid
from storage.ledger.lifecycle import DeliveryState, StudyState
from storage.ledger.pilots import DayContent, PilotDay, PilotProblem, PilotStudy
from storage.ledger.records import Severity

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas" / "pilot-report.json"


def content(day: str | None, kind: str, studies: int = 5, **more: Any) -> DayContent:
    return DayContent(day=day, modalities=(kind,), studies=studies, **({"devices": (), "flaws": ()} | more))


ARCHIVE = [
    *(content(f"2019{month:02}{day:02}", "CT", 40) for month in range(1, 13) for day in range(1, 28)),
    *(content(f"2019{month:02}01", "MG", 3, devices=("Acme Mammo",)) for month in range(1, 13)),
    content("20030105", "XA", 2, devices=("Old Angio",)),
    content(None, "US", 7, flaws=("no patient id",)),
    content("20190301", "CT", 1, flaws=("accession number too long",)),
]


# Which days


def test_everything_that_is_met_anywhere_is_met_in_the_pilot() -> None:
    days = days_of(ARCHIVE)

    chosen = choose(days, 30, "seed")

    dates = {day.date for day in chosen}
    assert len(chosen) == 30
    assert unmet(days, dates) == ()
    assert {"20030105", UNDATED, "20190301"} <= dates
    assert all(day.why for day in chosen if day.date in ("20030105", UNDATED))
    assert sum(not day.why for day in chosen) > 10


def test_what_too_few_days_leave_out_is_told() -> None:
    days = days_of(ARCHIVE)

    left = unmet(days, {day.date for day in choose(days, 2, "seed")})

    assert left
    assert set(left) < {trait for day in days for trait in day.traits}


def test_the_same_seed_chooses_the_same_days_and_another_one_others() -> None:
    days = days_of(ARCHIVE)

    assert choose(days, 40, "a") == choose(days, 40, "a")
    assert choose(days, 40, "a") != choose(days, 40, "b")


@given(
    studies=st.lists(st.integers(1, 500), min_size=1, max_size=30), wanted=st.integers(1, 40), most=st.integers(1, 2000)
)
def test_a_pilot_moves_no_more_than_asked_for_and_something_of_each_day(
    studies: list[int], wanted: int, most: int
) -> None:
    days = days_of(content(f"201901{number + 1:02}", "CT", count) for number, count in enumerate(studies))

    chosen = choose(days, wanted, "seed")
    given_out = shares(chosen, most)

    assert len(chosen) == min(wanted, len(studies))
    assert len({day.date for day in chosen}) == len(chosen)
    assert all(1 <= given_out[day.date] <= day.studies for day in chosen)
    assert sum(given_out.values()) <= max(most, len(chosen))


# What it says of the rest


def tried(failed: int, of: int, kind: str = "CT", days: int = 10) -> list[Tried]:
    return [Tried(kind=kind, day=str(number % days), failed=number < failed) for number in range(of)]


def test_no_failure_is_no_certainty() -> None:
    rate = expected_rate(tried(0, 300), {"CT": 10_000})

    assert rate.value == 0
    assert 0.005 < rate.high < 0.02


@pytest.mark.parametrize(
    ("failed", "of", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 100, 0.0215, 0.1118), (10, 10, 0.7225, 1.0)]
)
def test_intervals_are_wilsons(failed: int, of: int, low: float, high: float) -> None:
    assert wilson(failed / of, of) == pytest.approx((low, high), abs=5e-4)


def test_a_kind_counts_as_much_as_the_archive_holds_of_it() -> None:
    both = tried(0, 100) + tried(50, 100, "MG")

    rate = expected_rate(both, {"CT": 9_900, "MG": 100})

    assert rate.value == pytest.approx(0.005)
    assert rate.low <= 0.005 <= rate.high


def test_failures_that_come_in_days_say_less_than_as_many_apart() -> None:
    apart = [Tried(kind="CT", day=str(number % 20), failed=number < 20) for number in range(400)]
    together = [Tried(kind="CT", day=str(number // 20), failed=number < 20) for number in range(400)]

    one, other = expected_rate(apart, {"CT": 10**6}), expected_rate(together, {"CT": 10**6})

    assert one.value == other.value
    assert other.effective < one.effective / 3
    assert other.high > one.high


@given(
    st.lists(st.tuples(st.sampled_from(["CT", "MR", "US"]), st.integers(0, 9), st.booleans()), min_size=1, max_size=80)
)
def test_an_interval_holds_its_rate_and_never_more_than_there_were(rows: list[tuple[str, int, bool]]) -> None:
    studies = [Tried(kind=kind, day=str(day), failed=failed) for kind, day, failed in rows]

    rate = expected_rate(studies, {"CT": 1000, "MR": 10})

    assert 0 <= rate.low <= rate.value + 1e-9
    assert rate.value - 1e-9 <= rate.high <= 1
    assert rate.effective <= len(studies)


# Go or no-go


def study(
    number: int, kind: str = "CT", maker: str | None = "Acme", *problems: PilotProblem, **more: Any
) -> PilotStudy:
    done = {"state": StudyState.PLANNED, "states": (DeliveryState.VALIDATED,)}
    return PilotStudy(
        study_key=number, study_uid=Uid(f"1.2.{number}"), day=f"2019010{number % 9 + 1}", modalities=(kind,),
        manufacturer=maker, model=None, instances=10, bytes=1000, problems=problems, **(done | more),
    )  # fmt: skip


def failed(
    number: int, kind: str = "CT", maker: str = "Acme", what: str = "INCOMPLETE_STUDY", **more: Any
) -> PilotStudy:
    values = {"severity": Severity.ERROR, "blocking": True} | more
    told = PilotProblem(exception_id=number, kind=what, **values)
    return study(number, kind, maker, told, state=StudyState.EXCEPTION, states=(DeliveryState.EXCEPTION,))


def piloted(*studies: PilotStudy, archive: dict[str, int] | None = None) -> Piloted:
    days = sorted({one.day for one in studies})
    return Piloted(
        at=datetime(2026, 11, 24, tzinfo=UTC), job="move", source="pacs",
        days=[PilotDay(day=day, studies=50, moved=10, why=("kind CT",)) for day in days], studies=studies,
        archive={"CT": 100_000} if archive is None else archive, unmet=(Trait("device", "<b>Old</b>"),),
        instances_per_second=100.0, archive_instances=86_400_000,
    )  # fmt: skip


GOOD = [study(number) for number in range(400)]


def test_a_pilot_without_failures_is_a_go() -> None:
    told = pilot_figures(piloted(*GOOD))

    assert told["decision"] == Decision.GO
    assert told["expected"]["exceptions"] == 0
    assert told["expected"]["exceptions_high"] > 0
    assert told["pace"]["archive_days"] == 10.0


@pytest.mark.parametrize(
    ("studies", "decision", "because"),
    [
        (GOOD[:20], Decision.CONDITIONS, "too few studies"),
        ([*GOOD, *(failed(n) for n in range(500, 510))], Decision.CONDITIONS, "is the aim"),
        ([*GOOD, *(failed(n) for n in range(500, 550))], Decision.NO_GO, "cannot be worked off"),
        ([*GOOD, failed(500, what="DIGEST_MISMATCH", severity=Severity.CRITICAL)], Decision.NO_GO, "critical"),
        ([*GOOD, *(failed(n, "MG", "Old") for n in range(500, 503))], Decision.CONDITIONS, "meets all 3"),
        ([*GOOD, study(500, states=(DeliveryState.PENDING,))], Decision.UNFINISHED, "1 of 401"),
        ([], Decision.UNFINISHED, "0 of 0"),
    ],
    ids=["too small", "above the aim", "above the limit", "bytes differ", "a whole device", "still moving", "no study"],
)
def test_the_decision_says_why(studies: list[PilotStudy], decision: Decision, because: str) -> None:
    told = pilot_figures(piloted(*studies, archive={"CT": 100_000, "MG": 10}))

    assert told["decision"] == decision
    assert any(because in reason for reason in told["reasons"]), told["reasons"]


def test_failures_are_grouped_by_class_kind_and_manufacturer() -> None:
    warning = PilotProblem(exception_id=9, kind="SOP_UID_SHARED", severity=Severity.WARNING, blocking=False)

    told = pilot_figures(
        piloted(*GOOD, failed(500), failed(501), failed(502, "MR", "Other"), study(503, "CT", None, warning))
    )

    assert [
        (row["kind"], row["modality"], row["manufacturer"], row["studies"], row["of"]) for row in told["patterns"]
    ] == [
        ("INCOMPLETE_STUDY", "CT", "Acme", 2, 402),
        ("INCOMPLETE_STUDY", "MR", "Other", 1, 1),
        ("SOP_UID_SHARED", "CT", "not known", 1, 1),
    ]
    assert (told["failed"], told["warned"]) == (3, 1)


@pytest.mark.parametrize("studies", [[], GOOD, [*GOOD, failed(500)]], ids=["none", "good", "one failed"])
def test_the_document_is_what_its_schema_says_and_its_page_holds_no_markup_of_an_archive(
    studies: list[PilotStudy],
) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)

    document = json.loads(json.dumps(pilot_figures(piloted(*studies))))
    page = render("pilot.html.j2", {"r": document})

    assert list(Draft202012Validator(schema).iter_errors(document)) == []
    assert document.keys() == schema["properties"].keys()
    assert "<b>Old</b>" not in page
    assert "1.2.500" not in page
    assert document["decision"].upper() in page


def test_a_study_that_needs_a_person_counts_however_far_it_came() -> None:
    hurt = replace(failed(500), state=StudyState.PLANNED, states=(DeliveryState.VALIDATED, DeliveryState.EXCEPTION))

    assert pilot_figures(piloted(*GOOD, hurt))["failed"] == 1
