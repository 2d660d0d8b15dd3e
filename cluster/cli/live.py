"""What is seen while a run goes on: one panel that changes on a terminal, JSON lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cluster.cli.doing import LINE_SECONDS
from cluster.inventory.walk import Progress as InventoryProgress
from cluster.output import Form, Output
from cluster.progress import Pace, Progress, Rates


class View:
    """Shows progress somewhere; this one nowhere."""

    def show(self, progress: Progress) -> None: ...

    def show_inventory(self, progress: InventoryProgress) -> None: ...

    def show_plan(self, studies: int) -> None: ...

    def interrupted(self, seconds: float) -> None:
        """A person ended the run, and it takes a moment."""
        self._tell(f"interrupted: workers have {seconds:.0f} s to put down what they are writing")

    def _tell(self, sentence: str) -> None:
        sys.stderr.write(f"limosa: {sentence}\n")


class LineView(View):
    """JSON lines on standard error, so that standard output stays one document."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._pace = Pace()
        self._last = -LINE_SECONDS

    def show(self, progress: Progress) -> None:
        rates = self._pace.add(progress)
        if self._due():
            self._out.event(line_of(progress, rates))

    def show_inventory(self, progress: InventoryProgress) -> None:
        if self._due():
            self._out.event(
                {"event": "inventory", "stage": progress.stage, "asked": progress.asked, "new": progress.new}
            )

    def show_plan(self, studies: int) -> None:
        if self._due():
            self._out.event({"event": "plan", "studies": studies})

    def interrupted(self, seconds: float) -> None:
        self._out.event({"event": "interrupted", "seconds": seconds})

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._last < LINE_SECONDS:
            return False
        self._last = now
        return True


class PanelView(View):
    """One panel, redrawn in place."""

    def _tell(self, sentence: str) -> None:
        self._live.console.print(f"limosa: {sentence}", highlight=False)

    def __init__(self, live: Live) -> None:
        self._live = live
        self._pace = Pace()

    def show(self, progress: Progress) -> None:
        self._live.update(panel_of(progress, self._pace.add(progress)))

    def show_inventory(self, progress: InventoryProgress) -> None:
        self._live.update(
            Text(
                f"inventory, {progress.stage} {progress.day or ''}: {progress.asked} asked, {progress.new} new studies"
            )
        )

    def show_plan(self, studies: int) -> None:
        self._live.update(Text(f"plan: {studies} studies decided"))


@contextmanager
def live_view(out: Output) -> Iterator[View]:
    """A view that suits standard error, for as long as the block lasts."""
    if out.form is Form.TABLE and sys.stderr.isatty():
        with Live(console=Console(stderr=True), transient=True, refresh_per_second=4) as live:
            yield PanelView(live)
        return
    yield LineView(Output(Form.JSON, sys.stderr))


def line_of(progress: Progress, rates: Rates) -> dict[str, object]:
    """One progress line; fields are only ever added."""
    return {
        "event": "progress",
        "at": progress.at.isoformat(timespec="seconds"),
        "phase": progress.phase,
        "studies": progress.total,
        "deliveries": progress.deliveries,
        "settled": progress.done,
        "instances_per_second": round(rates.instances_per_second, 1),
        "mb_per_second": round(rates.bytes_per_second / 1e6, 2),
        "associations": progress.associations,
        "allowed": int(progress.allowed),
        "allowed_reason": progress.allowed_reason,
        "eta_seconds": None if rates.eta is None else int(rates.eta.total_seconds()),
        "exceptions": progress.exceptions,
        "paused": progress.paused,
        "outside_hours": progress.outside_hours,
        "halted": list(progress.halted),
        "closed": list(progress.closed),
        "instances": sum(each.instances for each in progress.destinations),
        "instances_by_destination": {each.name: each.instances for each in progress.destinations},
        "claims": progress.claims,
    }


def panel_of(progress: Progress, rates: Rates) -> Group:
    """The same for a person."""
    table = Table(box=None, pad_edge=False)
    for column in ("destination", "pending", "written", "validated", "exceptions", "instances", "GB"):
        table.add_column(column, justify="left" if column == "destination" else "right")
    for each in progress.destinations:
        table.add_row(
            each.name,
            str(each.pending),
            str(each.written),
            str(each.validated),
            str(each.exceptions),
            str(each.instances),
            f"{each.bytes / 1e9:.2f}",
        )
    eta = "unknown" if rates.eta is None else str(rates.eta)
    state = "; ".join(_held_up(progress))
    line = (
        f"{progress.total} studies   all destinations: {rates.instances_per_second:.0f} instances/s, "
        f"{rates.bytes_per_second / 1e6:.1f} MB/s   {progress.associations} associations "
        f"(allowed {_allowed(progress)})   ETA {eta}   {progress.exceptions} exceptions"
    )
    return Group(Text(line), *([Text(state, style="bold red")] if state else []), table)


def _allowed(progress: Progress) -> str:
    return f"{progress.allowed:.0f}" + (f", {progress.allowed_reason}" if progress.allowed_reason else "")


def _held_up(progress: Progress) -> Iterator[str]:
    """Why less goes on than could."""
    if progress.paused:
        yield f"paused: {progress.paused} (go on with: limosa resume)"
    if progress.outside_hours:
        yield "outside hours: the source is not asked to send"
    yield from progress.halted
    yield from progress.closed
