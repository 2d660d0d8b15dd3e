"""A whole benchmark run: scenario after scenario, each one's rows kept as soon as they are there."""

from collections.abc import Callable, Sequence
from pathlib import Path

from perf.harness import Scale, Scenario, run
from perf.machine import this_machine
from perf.rows import AnotherMachine, Report, Row, read_report, write_report


class UnknownScenario(Exception):
    """No scenario has this name, or a name that begins with it."""


def chosen(scenarios: Sequence[Scenario], only: Sequence[str], scale: Scale) -> tuple[Scenario, ...]:
    """The scenarios that were asked for; a quick run leaves the long ones out unless they were named.

    Raises
    ------
    UnknownScenario
        One of `only` names nothing.
    """
    for name in only:
        if not any(scenario.asked_by([name]) for scenario in scenarios):
            raise UnknownScenario(name)
    return tuple(
        scenario
        for scenario in scenarios
        if scenario.asked_by(only) and (only or scale is Scale.FULL or scenario.quick)
    )


def run_all(
    scenarios: Sequence[Scenario],
    *,
    scale: Scale,
    repeats: int,
    out: Path | None,
    tell: Callable[[str], None],
) -> Report:
    """The rows of these scenarios; those of others that `out` held before are still in it.

    Raises
    ------
    AnotherMachine
        `out` holds rows of another machine.
    """
    machine = this_machine()
    kept = read_report(out) if out is not None and out.exists() else Report(machine=machine)
    if not machine.same_as(kept.machine):
        raise AnotherMachine(f"{out} was measured on another machine ({kept.machine.cpu}, {kept.machine.cores} cores)")
    fresh: list[Row] = []
    for number, scenario in enumerate(scenarios, start=1):
        tell(f"{scenario.name} ({number} of {len(scenarios)}): {scenario.title}")
        rows = run(scenario, scale=scale, repeats=repeats, tell=tell)
        fresh += rows
        if out is not None:
            # Read again: somebody may have redone a scenario in another process meanwhile.
            kept = read_report(out) if out.exists() else kept
            write_report(Report(machine=machine, rows=kept.rows).merged(rows), out)
    return Report(machine=machine, rows=tuple(fresh))
