"""status, pause, resume: look at a running job and hold it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.given import given_job
from cluster.job import load_job
from cluster.output import Form, Output
from cluster.schedule import Schedule
from cluster.services import open_ledger
from storage.ledger.ledger import Ledger

WATCH_SECONDS = 5.0
"""Between two looks: each counts rows, which a large ledger notices."""

LAST_CHANGES = 5
"""Of the number of associations, per source: enough to see a search or a rest."""

RATE_WINDOW = timedelta(minutes=10)
"""Rates are means over this long: studies differ too much in size for less."""


def add_to(app: typer.Typer) -> None:
    app.command(
        "status",
        **texts(
            "Show how far the job is, per destination.",
            "limosa status move.toml",
            "limosa status move.toml --watch --json",
        ),
    )(status)
    app.command(
        "pause",
        **texts(
            "Claim no more studies until `resume`.",
            "limosa pause move.toml",
            'limosa pause move.toml --reason "archive upgrade"',
            more="What is in flight is finished.",
        ),
    )(pause)
    app.command(
        "resume",
        **texts("Claim studies again after a pause.", "limosa resume move.toml", "limosa resume /srv/move.toml"),
    )(resume)


def status(
    job_file: JobFile,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every few seconds.")] = False,
    as_json: AsJson = False,
) -> None:
    job = load_job(job_file)
    out = printer(as_json)
    with open_ledger(job) as ledger:
        if not watch:
            _show(out, look(ledger, job.opening))
            return
        while True:
            if out.form is Form.JSON:
                out.event(look(ledger, job.opening))
            else:
                _show(out, look(ledger, job.opening))
            time.sleep(WATCH_SECONDS)


def look(ledger: Ledger, opening: Schedule) -> dict[str, Any]:
    """The job's counts, from the rows: the same whoever asks and whatever has crashed."""
    seconds = RATE_WINDOW.total_seconds()
    recent = {row.destination: row.bytes / seconds for row in ledger.status.written(within=RATE_WINDOW)}
    written = [asdict(row) | {"bytes_per_second": recent.get(row.destination, 0.0)} for row in ledger.status.written()]
    left = ledger.status.work_left()
    return {
        "paused": ledger.control.paused(),
        "outside_hours": not opening.open_at(datetime.now(UTC)),
        "work_left": left.any,
        "destinations": [asdict(row) for row in ledger.status.destinations()],
        "studies": {state.value: count for state, count in ledger.status.studies().items()},
        "deliveries": [asdict(row) for row in ledger.status.deliveries()],
        "written": written,
        "claims": len(ledger.status.live_claims()),
        "sources": [
            asdict(row) | {"changes": [asdict(change) for change in ledger.paces.changes(row.source_id, LAST_CHANGES)]}
            for row in ledger.paces.sources()
        ],
        "workers": [asdict(row) for row in ledger.control.workers()],
        "exceptions": [
            {"kind": kind, "severity": severity, "open": count}
            for (kind, severity), count in sorted(ledger.exceptions.counts().items())
        ],
    }


def _show(out: Output, now: Mapping[str, Any]) -> None:
    if out.form is Form.JSON:
        out.record(now)
        return
    out.say(f"paused: {now['paused']}" if now["paused"] else f"claims held: {now['claims']}")
    if now["outside_hours"]:
        out.say("outside hours: the source is not asked to send")
    for source in now["sources"]:
        out.say(f"{source['name']}: {source['allowed']} of at most {source['limit']} associations")
        _rows(out, "latest changes", ("at", "before", "after", "reason", "instances_per_second"), source["changes"])
    for place in now["destinations"]:
        if place["reason"]:
            out.say(f"{place['name']} is {place['state'].value}: {place['reason']}")
    _rows(out, "studies", ("state", "studies"), [{"state": s, "studies": n} for s, n in now["studies"].items()])
    _rows(out, "deliveries", ("destination", "state", "deliveries", "leased"), now["deliveries"])
    _rows(out, "written", ("destination", "studies", "instances", "bytes", "bytes_per_second"), now["written"])
    _rows(out, "open exceptions", ("kind", "severity", "open"), now["exceptions"])
    if not now["studies"]:
        out.say(f"The ledger knows no study yet. Next: limosa inventory {given_job()}")


def _rows(out: Output, title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """The table, where it has rows."""
    if rows:
        out.rows(title, columns, rows)


def pause(
    job_file: JobFile,
    reason: Annotated[str, typer.Option(help="Shown by `status`.")] = "paused by an operator",
) -> None:
    with open_ledger(load_job(job_file)) as ledger:
        ledger.control.pause(reason)
    printer(False).say(f"No new study is claimed. Go on with: limosa resume {job_file}")


def resume(job_file: JobFile) -> None:
    with open_ledger(load_job(job_file)) as ledger:
        ledger.control.resume()
    printer(False).say("Studies are claimed again.")
