"""Results: kept whole, merged scenario by scenario, compared with their spread in mind."""

import json
from pathlib import Path

import pytest

from perf.machine import Machine
from perf.rows import Report, Row, Unreadable, Verdict, compare, curves, read_report, write_report

MACHINE = Machine(cpu="Made", cores=2, memory_gb=24.0, kernel="Linux 6", files="ext4 on /", python="CPython 3.11.7")


def row(scenario: str = "receive-ct-1", subject: str = "limosa", rate: float = 100.0, half: float = 5.0) -> Row:
    return Row(
        scenario=scenario,
        subject=subject,
        mb_per_s=rate,
        objects_per_s=rate * 2,
        cpu_s_per_gb=1.0,
        spread=(rate - half, rate + half),
    )


def report(*rows: Row) -> Report:
    return Report(machine=MACHINE, rows=rows)


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = report(row(), Row(scenario="s3", subject="boto3", not_run="absent", figures={"p99_ms": 3.5}))

    write_report(written, tmp_path / "made" / "bench.json")

    assert read_report(tmp_path / "made" / "bench.json") == written
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["bench.json"]


def test_fields_of_a_newer_version_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    write_report(report(row()), file)
    document = json.loads(file.read_text())
    document["rows"][0]["invented"] = 1

    file.write_text(json.dumps(document))

    assert read_report(file) == report(row())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "machine": {}, "rows": []}'])
def test_what_holds_no_results_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bench.json").write_text(text)

    with pytest.raises(Unreadable):
        read_report(tmp_path / "bench.json")


def test_a_scenario_that_is_redone_replaces_all_its_old_rows_and_no_other() -> None:
    old = report(row(), row(subject="dropped"), row("s3-put"))

    new = old.merged([row(rate=200.0)])

    assert [(each.scenario, each.subject, each.mb_per_s) for each in new.rows] == [
        ("s3-put", "limosa", 100.0),
        ("receive-ct-1", "limosa", 200.0),
    ]


@pytest.mark.parametrize(
    ("after", "verdict"), [(120.0, Verdict.FASTER), (80.0, Verdict.SLOWER), (108.0, Verdict.SAME), (92.0, Verdict.SAME)]
)
def test_only_spreads_that_do_not_overlap_make_a_difference(after: float, verdict: Verdict) -> None:
    (found,) = compare(report(row()), report(row(rate=after)))

    assert (found.ratio, found.verdict) == (after / 100, verdict)


def test_rows_of_one_side_only_are_named_and_rows_without_numbers_are_not() -> None:
    absent = Row(scenario="s3", subject="boto3", not_run="absent")

    found = list(compare(report(row(subject="old"), absent), report(row(subject="new"), absent)))

    assert [(each.subject, each.verdict) for each in found] == [("old", Verdict.ONLY_A), ("new", Verdict.ONLY_B)]


def test_figures_at_numbers_are_points_of_a_curve_in_order() -> None:
    found = Row(scenario="memory", subject="x", figures={"rss_mb_at_001000": 2.0, "rss_mb_at_20": 1.0, "slope_mb": 0.1})

    assert curves(found) == {"rss_mb": [(20, 1.0), (1000, 2.0)]}
