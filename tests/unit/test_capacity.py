"""`limosa capacity`: what is known is used, what is not is asked for, and the page says both."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cluster.capacity.inputs import Basis, Input, Moved, assumed, measured, missing, plan_of, settled
from cluster.capacity.opening import DAY, Opening
from cluster.capacity.units import parse_rate, parse_size
from cluster.capacity.ways import Never, network
from cluster.cli import build
from cluster.cli.exits import ended
from cluster.reports.capacity_figures import Reckoned, capacity_figures
from cluster.reports.capacity_page import page_of
from cluster.schedule import Schedule
from perf.machine import this_machine
from perf.rows import Report, Row, write_report
from storage.seeds.profiles import ProfileName

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas" / "capacity-report.json"
START = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday."""
GIVEN = {"size": 42e12, "new_per_day": 60e9, "association_rate": 15e6, "link": 125e6}
NIGHTS = ("mon-fri 18:00-06:00",)


def reckoned(hours: tuple[str, ...] = (), bounds: tuple[float, float] | None = None, **given: float) -> Reckoned:
    inputs = settled(GIVEN | given, assumed(ProfileName.PLAIN))
    return Reckoned(
        at=START,
        start=START,
        job=None,
        time_zone="UTC",
        hours=hours,
        profile="plain",
        inputs=inputs,
        plan=plan_of(inputs, Opening.of(Schedule.parse(hours, "UTC"), START), ProfileName.PLAIN),
        bounds=bounds,
    )


def way(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in document["ways"] if each["way"] == name)


@pytest.mark.parametrize(
    ("text", "octets"), [("42TB", 42e12), ("1.5 TiB", 1.5 * 2**40), ("800 GB", 8e11), ("0", 0), ("512B", 512)]
)
def test_sizes_are_read_as_people_write_them(text: str, octets: float) -> None:
    assert parse_size(text) == octets


@pytest.mark.parametrize(
    ("text", "rate"),
    [("1Gbit/s", 125e6), ("500 Mbps", 62.5e6), ("120MB/s", 120e6), ("86.4GB/day", 1e6), ("0", 0), ("1 MiB/s", 2**20)],
)
def test_rates_are_read_as_people_write_them(text: str, rate: float) -> None:
    assert parse_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "fast", "1", "-1Gbit/s", "1Gbit", "5TB", "1GB/week", "1e3MB/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        parse_rate(text)


def test_a_simple_plan_ends_when_arithmetic_says() -> None:
    plan = reckoned(size=8.64e12, new_per_day=0, association_rate=25e6, link=1e9).plan

    assert network(plan).finish == pytest.approx(DAY)
    assert network(replace(plan, growth=50e6)).finish == pytest.approx(2 * DAY)


def test_a_plan_at_night_goes_on_in_the_next_one() -> None:
    plan = reckoned(hours=NIGHTS, size=100e6 * 3600 * 13, new_per_day=0, association_rate=25e6, link=1e9).plan

    # Twelve hours from Monday evening, the thirteenth on Tuesday's.
    assert network(plan).finish == pytest.approx((24 + 19) * 3600)


def test_the_same_archive_is_quicker_by_the_link_or_on_disks_as_both_are_and_never_by_a_fixed_size() -> None:
    fast, slow = capacity_figures(reckoned(link=125e7)), capacity_figures(reckoned(link=12.5e6))

    assert (fast["quicker"], slow["quicker"]) == ("network", "disks")
    assert fast["crossings"]["bytes"] != slow["crossings"]["bytes"]
    assert slow["crossings"]["link"] > 12.5e6


def test_more_new_than_can_be_moved_never_ends_and_says_what_it_takes() -> None:
    document = capacity_figures(reckoned(hours=NIGHTS, new_per_day=2.2e12))

    assert [each["never"] for each in document["ways"]] == [Never.OUTGROWN.value] * 2
    assert document["quicker"] is None
    assert "never. 2.2 TB a day are acquired, 1.85 TB a day can be moved" in document["sentences"][0]
    assert "At least 71.3 MB/s (570 Mbit/s) have to get through" in " ".join(document["sentences"])


def test_an_estimate_of_the_size_gives_a_range_of_ends() -> None:
    document = capacity_figures(reckoned(bounds=(30e12, 60e12)))

    for each in document["ways"]:
        assert each["finish_low"] < each["finish"] < each["finish_high"]


def test_what_nobody_said_is_asked_for_by_its_option() -> None:
    told = " ".join(missing(settled({"size": 1e12}, assumed(ProfileName.DATABOX))))

    assert all(option in told for option in ("--new-per-day", "--association-rate", "--link"))
    assert "--size" not in told
    assert list(missing(settled(GIVEN, assumed(ProfileName.DATABOX)))) == []


def test_options_go_before_the_ledger_and_the_ledger_before_assumptions() -> None:
    ledger = {name: Input(value=7, basis=Basis.LEDGER) for name in ("associations", "size")}

    found = settled({"size": 1e12}, assumed(ProfileName.PLAIN), ledger)

    assert [(found[name].value, found[name].basis) for name in ("size", "associations", "devices")] == [
        (1e12, Basis.GIVEN),
        (7, Basis.LEDGER),
        (2, Basis.ASSUMED),
    ]


def baseline(**totals: Any) -> dict[str, Any]:
    volume = {"value": 10e12, "low": 9e12, "high": 11e12, "basis": "sampled", "of_studies": 200}
    whole = {"studies": 100_000, "instances": 20_000_000, "new_last_week": 0, "bytes": volume}
    return {"totals": whole | totals, "enumerated": True, "years": [{"year": 2025, "studies": 36_525}]}


def test_a_ledger_tells_size_growth_and_rate() -> None:
    moved = Moved(bytes=1e12, instances=360_000, seconds=3600, associations=2)

    found, bounds = measured(baseline(), moved, START)

    assert {name: each.value for name, each in found.items()} == {
        "size": 9e12,
        "new_per_day": pytest.approx(100 * 10e12 / 100_000),
        "association_rate": pytest.approx(100 * 10e12 / 20_000_000 / 2),
    }
    assert bounds == (8e12, 10e12)
    assert measured(baseline(new_last_week=1400), moved, START)[0]["new_per_day"].value == pytest.approx(20e9)


def test_a_ledger_without_a_sample_or_a_pilot_tells_nothing_of_them() -> None:
    nothing = Moved(bytes=0, instances=0, seconds=0, associations=4)
    unknown = {"value": 0, "low": None, "high": None, "basis": "none", "of_studies": 0}

    assert measured(baseline(bytes=unknown), nothing, START) == ({}, None)
    assert "association_rate" not in measured(baseline(), nothing, START)[0]


PLANS = {
    "plain": reckoned(),
    "at night": reckoned(hours=NIGHTS, bounds=(30e12, 60e12)),
    "outgrown": reckoned(new_per_day=20e12),
    "no link": reckoned(link=0),
    "no link, nothing new": reckoned(link=0, new_per_day=0),
    "nothing left": reckoned(size=0),
    "many shipments": reckoned(size=1e15, devices=4, capacity=8e12),
    "too many": reckoned(size=5e15, capacity=1e10),
    "slow archive": reckoned(association_rate=1e6, new_per_day=0),
}


@pytest.mark.parametrize("given", PLANS.values(), ids=list(PLANS))
def test_the_document_is_what_its_schema_says_and_the_page_shows_it(given: Reckoned) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)

    document = json.loads(json.dumps(capacity_figures(given), allow_nan=False))
    page = page_of(document)

    assert list(Draft202012Validator(schema).iter_errors(document)) == []
    assert document.keys() == schema["properties"].keys()
    verdicts = {"network": "NETWORK", "disks": "DISKS", None: "NEITHER"}
    assert (verdicts[document["quicker"]] if document["bytes"] else "NOTHING LEFT") in page
    assert document["bytes"] or document["sentences"][0].startswith("Nothing is left to move")
    for each in document["ways"]:
        assert (each["finish"] is None) == (each["never"] is not None)
        if each["finish"]:
            assert each["finish"].startswith(f"{(given.start + timedelta(days=each['days'])).date()}")


Limosa = Callable[..., tuple[int, str, str]]


@pytest.fixture
def limosa(capsys: pytest.CaptureFixture[str]) -> Limosa:
    def run(*words: object) -> tuple[int, str, str]:
        code = ended(lambda: build()(["capacity", *map(str, words)], standalone_mode=False))
        return code, *capsys.readouterr()

    return run


OPTIONS = ("--size", "42TB", "--new-per-day", "60GB", "--association-rate", "15MB/s", "--link", "500Mbit/s")


def test_the_command_answers_without_a_job_and_writes_its_page(limosa: Limosa, tmp_path: Path) -> None:
    page, document = tmp_path / "plan.html", tmp_path / "plan.json"

    code, told, _ = limosa(*OPTIONS, "--hours", "mon-fri 18:00-06:00", "--report", page, "--report", document)

    written = json.loads(document.read_text())
    assert code == 0
    assert written["sentences"][0] in told
    assert "assumed" in told
    assert (written["open_hours_per_week"], written["bytes"]) == (60, 42e12)
    assert "<svg" in page.read_text()


def test_new_studies_are_counted_by_their_size(limosa: Limosa) -> None:
    told = limosa(*OPTIONS[:2], *OPTIONS[4:], "--new-studies", "400", "--study-size", "150MB", "--json")

    assert json.loads(told[1])["new_bytes_per_day"] == 60e9


def test_a_benchmark_says_what_our_own_processes_manage(limosa: Limosa, tmp_path: Path) -> None:
    results = tmp_path / "bench.json"
    rows = [
        Row(scenario="end-to-end-ct", subject=name, mb_per_s=rate) for name, rate in (("limosa", 20.0), ("x", 90.0))
    ]
    write_report(Report(machine=this_machine(), rows=tuple(rows)), results)

    document = json.loads(limosa(*OPTIONS, "--bench", results, "--json")[1])

    assert (document["paces"]["movers"], document["held_up_by"]) == (20e6, "movers")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--size 42TB"),
        ((*OPTIONS[:6],), "--link 1Gbit/s"),
        ((*OPTIONS, "--hours", "always"), "--hours: 'always' is no opening time"),
        ((*OPTIONS, "--time-zone", "Mars/Base"), "no time zone called 'Mars/Base'"),
        ((*OPTIONS, "--load-rate", "0"), "has to be more than nothing"),
        ((*OPTIONS, "--load-rate", "fast"), "is no rate"),
        ((*OPTIONS[2:], "--size", "big"), "is no size"),
        ((*OPTIONS, "--report", "plan.pdf"), "has to end in .html or .json"),
        ((*OPTIONS, "--bench", "/nowhere.json"), "holds no benchmark results"),
        ((*OPTIONS, "--new-studies", "3"), "needs --study-size"),
    ],
    ids=["nothing", "no link", "hours", "zone", "zero", "rate", "size", "report", "bench", "studies"],
)
def test_what_is_wrong_is_said_in_a_sentence(limosa: Limosa, words: tuple[str, ...], said: str) -> None:
    code, _, told = limosa(*words)

    assert (code, told.count("\n")) == (1, 1)
    assert said in told
