"""The page of results, the targets on it, runs that are merged, and the command in front of it all."""

import json
from pathlib import Path

import pytest

from cluster.cli import build
from cluster.cli.exits import ended
from perf.harness import Sample, Scale, Scenario
from perf.machine import Machine, this_machine
from perf.report import OTHERS, family, render, write_page
from perf.rows import AnotherMachine, Report, Row, read_report, write_report
from perf.running import UnknownScenario, chosen, run_all
from perf.scenarios import SCENARIOS
from perf.targets import TARGETS, Bound, Target, Verdict, judge, value_of

MACHINE = Machine(cpu="Made", cores=2, memory_gb=24.0, kernel="Linux 6", files="ext4 on /", python="CPython 3.11.7")


def row(subject: str, rate: float = 100.0, **others) -> Row:
    spread = (0.75 * rate, 1.25 * rate)
    return Row(scenario="receive-ct-1", subject=subject, mb_per_s=rate, objects_per_s=9.0, spread=spread, **others)


def target(**others) -> Target:
    return Target(group="g", says="s", scenario="receive-ct-1", subject="limosa", metric="mb_per_s", **others)


def report(*rows: Row) -> Report:
    return Report(machine=MACHINE, rows=rows)


@pytest.mark.parametrize(
    ("asked", "verdict", "measured"),
    [
        (target(value=100.0), Verdict.MET, 100.0),
        (target(value=101.0), Verdict.NOT_MET, 100.0),
        (target(value=100.0, bound=Bound.AT_MOST), Verdict.MET, 100.0),
        (target(value=2.0, than=("slow", "fast")), Verdict.MET, 2.0),
        (target(value=2.1, than=("slow", "fast")), Verdict.NOT_MET, 2.0),
        (target(value=2.0, than=("absent",)), Verdict.NOT_MEASURED, None),
    ],
)
def test_a_target_is_judged_by_the_best_of_what_it_is_compared_with(
    asked: Target, verdict: Verdict, measured: float | None
) -> None:
    absent = Row(scenario="receive-ct-1", subject="absent", not_run="not installed")

    (judged,) = judge(report(row("limosa"), row("slow", 10.0), row("fast", 50.0), absent), [asked])

    assert (judged.verdict, judged.measured) == (verdict, measured)


@pytest.mark.parametrize(("rate", "verdict"), [(200.0, Verdict.MET), (65.0, Verdict.MET), (55.0, Verdict.NOT_MET)])
def test_one_is_level_with_the_best_where_spreads_overlap(rate: float, verdict: Verdict) -> None:
    asked = target(value=1.0, bound=Bound.LEVEL, than=("slow", "fast"))

    (judged,) = judge(report(row("limosa", rate), row("slow", 10.0), row("fast", 100.0)), [asked])

    assert judged.verdict is verdict


def test_a_figure_can_be_a_targets_metric() -> None:
    assert value_of(row("limosa", figures={"slope_mb": 0.5}), "slope_mb") == 0.5
    assert value_of(row("limosa"), "slope_mb") is None


def test_every_target_names_a_scenario_and_a_subject_that_exist() -> None:
    subjects = {scenario.name: {each.name for each in scenario.subjects(Scale.QUICK)} for scenario in SCENARIOS}

    lost = [
        (each.scenario, name)
        for each in TARGETS
        for name in (each.subject, *each.than)
        if name not in subjects.get(each.scenario, ())
    ]

    assert lost == []


def test_scenarios_have_different_names_and_so_have_their_subjects() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    subjects = [[each.name for each in scenario.subjects(Scale.FULL)] for scenario in SCENARIOS]

    assert len(set(names)) == len(names)
    assert [each for each in subjects if len(set(each)) != len(each)] == []


def test_a_page_shows_numbers_with_their_spread_and_reasons_for_those_that_are_missing() -> None:
    found = report(
        row("limosa", cpu_s_per_gb=0.8, figures={"wait_ms": 1.25, "rss_mb_at_500": 71.0}, about="hashes"),
        Row(scenario="receive-ct-1", subject="storescp", not_run="storescp is not installed"),
        Row(scenario="receive-ct-1", subject="liar", not_run="holds 3 of 4", failed=True),
    )

    page = render(
        found, judge(found, [target(value=101.0)]), SCENARIOS, {"receive-ct": ["plots/x.svg"]}, [{"studies": 5}]
    )

    assert "| limosa | 100 [75..125] | 9 | 0.8 |" in page
    assert "| 1.25 |" in page
    assert "71" not in page
    assert "- limosa: hashes" in page
    assert "- **storescp: not run**: storescp is not installed" in page
    assert "- **liar: FAILED**: holds 3 of 4" in page
    assert "| ≥ 101 | 100 | **not met** |" in page
    assert "![receive-ct](plots/x.svg)" in page
    assert "| studies |" in page


def test_scenarios_that_differ_by_their_associations_share_a_plot() -> None:
    assert [family(name) for name in ("receive-ct-1", "receive-ct-12", "receive-nagle-ct")] == [
        "receive-ct",
        "receive-ct",
        "receive-nagle-ct",
    ]


def test_a_page_is_written_with_plots_that_are_the_same_for_the_same_rows(tmp_path: Path) -> None:
    grows = Row(scenario="memory", subject="one", objects_per_s=3.0, figures={"rss_at_100": 2.0, "rss_at_20": 1.0})
    found = report(row("limosa"), row("pynetdicom <&>", 5.0), grows)

    first = write_page(found, tmp_path / "RESULTS.md", tmp_path, SCENARIOS)
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "plots").iterdir()}
    write_page(found, tmp_path / "RESULTS.md", tmp_path, SCENARIOS)

    assert first.plots == 3
    assert set(pictures) == {"receive-ct.svg", "memory.svg", "memory-rss.svg"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "plots").iterdir()} == pictures
    text = (tmp_path / "RESULTS.md").read_text()
    assert "(plots/receive-ct.svg)" in text
    assert all(f"/docs/results/{other.name})" in text for other in OTHERS.glob("*.md"))


class Still:
    """A subject that is always equally fast."""

    name, about, associations, processes = "still", "stands still", 1, 1

    def prepare(self) -> None: ...

    def once(self) -> Sample:
        return Sample(seconds=1.0, bytes=10**6, objects=1, cpu_seconds=1.0, peak_rss=1)

    def close(self) -> None: ...


def made(name: str, *, quick: bool = True) -> Scenario:
    return Scenario(name=name, title=name, subjects=lambda _: [Still()], quick=quick)


def test_a_quick_run_leaves_long_scenarios_out_unless_they_are_named() -> None:
    every = [made("a-1"), made("a-2", quick=False)]

    assert [each.name for each in chosen(every, (), Scale.QUICK)] == ["a-1"]
    assert [each.name for each in chosen(every, (), Scale.FULL)] == ["a-1", "a-2"]
    assert [each.name for each in chosen(every, ("a-2",), Scale.QUICK)] == ["a-2"]
    with pytest.raises(UnknownScenario, match="b"):
        chosen(every, ("a", "b"), Scale.FULL)


def test_a_scenario_that_is_redone_leaves_the_others_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"

    def measure(*scenarios: Scenario) -> Report:
        return run_all(scenarios, scale=Scale.QUICK, repeats=1, out=file, tell=lambda _: None)

    measure(made("a"), made("b"))
    redone = measure(made("b"))

    assert [each.scenario for each in redone.rows] == ["b"]
    assert [each.scenario for each in read_report(file).rows] == ["a", "b"]


def test_rows_of_another_machine_are_neither_mixed_nor_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    write_report(report(row("limosa")), file)

    with pytest.raises(AnotherMachine):
        run_all([made("a")], scale=Scale.QUICK, repeats=1, out=file, tell=lambda _: None)

    assert read_report(file) == report(row("limosa"))


def test_the_command_lists_compares_reports_and_refuses_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"

    def limosa(*words: object) -> tuple[int, str, str]:
        code = ended(lambda: build()(["bench", *map(str, words)], standalone_mode=False))
        return code, *capsys.readouterr()

    write_report(Report(machine=this_machine(), rows=(row("limosa"),)), file)

    _, listed, _ = limosa("list", "--json")
    _, compared, _ = limosa("compare", file, file, "--json")
    _, reported, _ = limosa("report", file, "--json")
    unknown, unreadable = limosa("--only", "nothing"), limosa("compare", file, tmp_path)

    assert [each["scenario"] for each in json.loads(listed)] == [each.name for each in SCENARIOS]
    assert json.loads(compared)[0]["verdict"] == "same"
    assert Path(json.loads(reported)["page"]).read_text().startswith("# Benchmark results")
    assert unknown == (1, "", "limosa: no scenario is called nothing. `limosa bench list` names them.\n")
    assert (unreadable[0], unreadable[2].count("\n")) == (1, 1)
