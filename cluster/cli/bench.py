"""bench: how fast this machine is with Limosa, beside what else could do the same work on it."""

import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.arguments import AsJson, help_of, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.output import Form, Output
from perf.harness import Scale
from perf.report import write_page
from perf.rows import AnotherMachine, Report, Row, Unreadable, compare, read_report
from perf.running import UnknownScenario, chosen, run_all
from perf.scenarios import SCENARIOS

REPEATS, QUICK_REPEATS = 5, 1
LONG = 100.0
"""Numbers from here on are shown without decimals."""
COLUMNS = ("scenario", "subject", "mb_per_s", "objects_per_s", "cpu_s_per_gb", "peak_rss_mb", "spread", "not_run")
Results = Annotated[Path, typer.Argument(metavar="FILE", help="Results as `--out` writes them.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        invoke_without_command=True,
        help=help_of(
            "Measure throughput on this machine. Receiving, packing, uploading and whole migrations, beside dcmtk, "
            "pynetdicom and the machine's limit. Subjects take turns, every turn is verified, and results are medians. "
            "What cannot run here has a row that says why. Ends with 2 where a subject did wrong.",
            "limosa bench --quick",
            "limosa bench --only receive-ct --repeats 9 --out bench.json",
        ),
        short_help="Measure throughput on this machine.",
    )
    group.callback()(bench)
    group.command(
        "list",
        **texts("List the scenarios.", "limosa bench list", "limosa bench list --json"),
    )(list_scenarios)
    group.command(
        "compare",
        **texts(
            "Hold two result files against each other.",
            "limosa bench compare before.json after.json",
            "limosa bench compare before.json after.json --json",
            more="Ratios are B by A. A row is faster or slower only where the middle halves of the samples do not "
            "overlap.",
        ),
    )(compare_results)
    group.command(
        "report",
        **texts(
            "Write RESULTS.md and plots from a result file.",
            "limosa bench report perf/results/bench.json",
            "limosa bench report bench.json --out RESULTS.md",
            more="Plots need the extra `bench` (matplotlib); without it the report has tables only.",
        ),
    )(report)
    app.add_typer(group, name="bench")


def bench(
    context: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Small samples, one repeat, no long scenarios.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="SCENARIO", help="A scenario, or the beginning of several; repeatable.")
    ] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Turns that count, per subject.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep the rows there, scenario by scenario.")] = None,
    as_json: AsJson = False,
) -> int | None:
    if context.invoked_subcommand is not None:
        return None
    scale = Scale.QUICK if quick else Scale.FULL
    try:
        scenarios = chosen(SCENARIOS, only or (), scale)
        # Told to end, as when interrupted: what was started has to be stopped first.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        report = run_all(
            scenarios,
            scale=scale,
            repeats=repeats or (QUICK_REPEATS if quick else REPEATS),
            out=out,
            tell=_tell,
        )
    except UnknownScenario as error:
        raise Stop(f"no scenario is called {error}. `limosa bench list` names them.") from None
    except (AnotherMachine, Unreadable) as error:
        raise Stop(f"{error}. Name another file with --out.") from None
    show(printer(as_json), report.rows)
    return Exit.EXCEPTIONS if any(row.failed for row in report.rows) else Exit.DONE


def list_scenarios(as_json: AsJson = False) -> None:
    rows = [
        {"scenario": scenario.name, "quick": scenario.quick, "unit": scenario.unit, "title": scenario.title}
        for scenario in SCENARIOS
    ]
    printer(as_json).rows("scenarios", ("scenario", "quick", "unit", "title"), rows)


def compare_results(
    a: Annotated[Path, typer.Argument(metavar="A", help="Results before.", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help="Results after.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    rows = [asdict(found) for found in compare(_read(a), _read(b))]
    columns = ("scenario", "subject", "before", "after", "ratio", "cpu_ratio", "verdict")
    printer(as_json).rows(f"{a} -> {b}", columns, rows if as_json else map(_rounded, rows))


def report(
    results: Results,
    out_file: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The page; beside the results unless told.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    page = out_file or results.parent / "RESULTS.md"
    written = write_page(_read(results), page, results.parent, SCENARIOS)
    out = printer(as_json)
    out.record({"page": page, "plots": written.plots, "targets_met": written.met, "targets_not_met": written.not_met})


def show(out: Output, rows: tuple[Row, ...]) -> None:
    """The table of a run; JSON has every field."""
    found = [asdict(row) for row in rows]
    out.rows("benchmarks", COLUMNS, found if out.form is Form.JSON else map(_rounded, found))


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _short(value) for name, value in row.items()}


def _short(value: Any) -> Any:
    match value:
        case tuple():
            return " to ".join(_short(each) for each in value)
        case float():
            return f"{value:,.0f}" if value >= LONG else f"{value:.2f}"
    return value


def _read(path: Path) -> Report:
    try:
        return read_report(path)
    except Unreadable as error:
        raise Stop(f"{error}. `limosa bench --out FILE` makes such a file.") from None


def _tell(sentence: str) -> None:
    """Progress: for a person who waits, so it is no part of the results."""
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()
