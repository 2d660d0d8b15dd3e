"""capacity: network or disks, and when everything has arrived."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.capacity.inputs import Basis, Input, Moved, assumed, measured, missing, plan_of, settled
from cluster.capacity.opening import Opening
from cluster.capacity.units import parse_rate, parse_size
from cluster.cli.arguments import AsJson, printer, texts
from cluster.cli.exits import Stop
from cluster.cli.given import noted
from cluster.cli.reports import report_files, write_reports
from cluster.job import Job, load_job
from cluster.output import Form, Output
from cluster.reports.capacity_figures import Reckoned, capacity_figures
from cluster.reports.capacity_page import NAMES, page_of, shown
from cluster.reports.counting import count
from cluster.reports.inventory_figures import figures
from cluster.reports.pages import json_of
from cluster.schedule import Schedule
from cluster.services import open_ledger
from perf.rows import Unreadable, read_report
from storage.seeds.profiles import ProfileName

OWN_RATE = "end-to-end-ct"
"""The scenario whose rows say what our own processes manage."""
FORMS = {".html": page_of, ".json": json_of}


def _parsed(parse: Callable[[str], float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return read


def _positive(parse: Callable[[str], float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = _parsed(parse)(text)
        if value <= 0:
            raise typer.BadParameter("has to be more than nothing")
        return value

    return read


def add_to(app: typer.Typer) -> None:
    app.command(
        "capacity",
        **texts(
            "Network or disks: when everything has arrived by either way.",
            "limosa capacity move.toml --link 1Gbit/s --report plan.html",
            "limosa capacity --size 42TB --new-per-day 60GB --association-rate 15MB/s --link 500Mbit/s",
            more="A job's ledger tells what its inventory and pilot measured; what an option says counts more. Sizes "
            "are written 42TB, rates 1Gbit/s, 120MB/s or 60GB/day. What is only assumed is shown as such.",
        ),
    )(capacity)


def capacity(
    job_file: Annotated[
        Path | None, typer.Argument(metavar="[JOB]", help="The job file.", show_default=False, callback=noted)
    ] = None,
    size: Annotated[
        float | None, typer.Option(parser=_parsed(parse_size), metavar="SIZE", help="What is left to move.")
    ] = None,
    new_per_day: Annotated[
        float | None,
        typer.Option(
            parser=_parsed(parse_size), metavar="SIZE", help="Acquired a day meanwhile; 0 where it goes elsewhere."
        ),
    ] = None,
    new_studies: Annotated[
        float | None, typer.Option(min=0, metavar="N", help="The same in studies a day, of --study-size each.")
    ] = None,
    study_size: Annotated[
        float | None, typer.Option(parser=_positive(parse_size), metavar="SIZE", help="Of a study, on average.")
    ] = None,
    associations: Annotated[
        int | None, typer.Option(min=1, max=256, help="C-MOVEs at once that the archive allows.")
    ] = None,
    association_rate: Annotated[
        float | None, typer.Option(parser=_positive(parse_rate), metavar="RATE", help="What each of them brings.")
    ] = None,
    link: Annotated[
        float | None, typer.Option(parser=_parsed(parse_rate), metavar="RATE", help="The link; 0: there is none.")
    ] = None,
    link_usable: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="Share of it that the migration may use.")
    ] = None,
    destination_rate: Annotated[
        float | None,
        typer.Option(parser=_positive(parse_rate), metavar="RATE", help="What the destination takes over the link."),
    ] = None,
    hours: Annotated[
        list[str] | None,
        typer.Option(help='When the archive may be asked, e.g. "mon-fri 18:00-06:00"; may be given several times.'),
    ] = None,
    time_zone: Annotated[str | None, typer.Option(help="Of the hours; default: the job's, or UTC.")] = None,
    profile: Annotated[
        ProfileName | None, typer.Option(help="Kind of devices; default: the job's seed destination's, or plain.")
    ] = None,
    capacity_of: Annotated[
        float | None,
        typer.Option("--capacity", parser=_positive(parse_size), metavar="SIZE", help="What one device holds."),
    ] = None,
    devices: Annotated[int | None, typer.Option(min=1, max=1000, help="How many there are in all.")] = None,
    at_once: Annotated[
        int | None, typer.Option(min=1, max=64, help="How many may be loaded at once; default: all of them.")
    ] = None,
    load_rate: Annotated[
        float | None, typer.Option(parser=_positive(parse_rate), metavar="RATE", help="Onto one device.")
    ] = None,
    ingest_rate: Annotated[
        float | None, typer.Option(parser=_positive(parse_rate), metavar="RATE", help="Of a shipment on the far side.")
    ] = None,
    order_days: Annotated[float | None, typer.Option(min=0, help="Until the first devices are here.")] = None,
    shipping_days: Annotated[float | None, typer.Option(min=0, help="On the way to the far side.")] = None,
    return_days: Annotated[float | None, typer.Option(min=0, help="And back, where they are loaded again.")] = None,
    bench: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Results of `limosa bench`: what our own processes manage.")
    ] = None,
    start: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="First day; default: now.")
    ] = None,
    report: Annotated[
        list[Path] | None, typer.Option(help="Write the page as .html or .json; may be given several times.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    reports = report_files(report, FORMS)
    now = datetime.now(UTC)
    job = None if job_file is None else load_job(job_file)
    schedule = _schedule(job, hours, time_zone)
    kind = profile or _profile_of(job)
    told, bounds = ({}, None) if job is None else _from_ledger(job, now)
    given = {
        "size": size,
        "new_per_day": new_per_day if new_studies is None else _of_studies(new_studies, study_size),
        "associations": associations,
        "association_rate": association_rate,
        "link": link,
        "link_usable": link_usable,
        "destination_rate": destination_rate,
        "capacity": capacity_of,
        "devices": devices,
        "at_once": at_once,
        "load_rate": load_rate,
        "ingest_rate": ingest_rate,
        "order_days": order_days,
        "shipping_days": shipping_days,
        "return_days": return_days,
    }
    inputs = settled(
        {name: float(value) for name, value in given.items() if value is not None},
        assumed(kind),
        _from_job(job),
        told,
        _from_bench(bench),
    )
    if unsaid := list(missing(inputs)):
        raise Stop(f"a plan needs to know {'; and '.join(unsaid)}")
    begins = now if start is None else start.replace(tzinfo=schedule.zone)
    plan = plan_of(inputs, Opening.of(schedule, begins), kind)
    document = capacity_figures(
        Reckoned(
            at=now,
            start=begins,
            job=None if job is None else job.job.name,
            time_zone=schedule.zone.key,
            hours=tuple(hours or () if job is None or hours else job.schedule.hours),
            profile=kind.value,
            inputs=inputs,
            plan=plan,
            bounds=bounds if inputs["size"].basis is Basis.LEDGER else None,
        )
    )
    write_reports(reports, FORMS, document)
    _tell(printer(as_json), document, reports)


def _of_studies(studies: float, size: float | None) -> float:
    if size is None:
        raise Stop("--new-studies needs --study-size, the mean of a study")
    return studies * size


def _schedule(job: Job | None, hours: list[str] | None, zone: str | None) -> Schedule:
    """The hours given, else the job's, else always."""
    where = zone or ("UTC" if job is None else job.job.time_zone)
    lines = hours or (() if job is None else job.schedule.hours)
    try:
        return Schedule.parse(lines, where)
    except ValueError as error:
        raise Stop(f"--hours: {error}") from None
    except (KeyError, OSError):
        raise Stop(f"--time-zone: no time zone called {where!r}; use a name such as Europe/Berlin") from None


def _profile_of(job: Job | None) -> ProfileName:
    seeds = [] if job is None else [each.profile for each in job.destinations if each.kind == "seed"]
    return seeds[0] if seeds else ProfileName.PLAIN


def _from_job(job: Job | None) -> dict[str, Input]:
    if job is None:
        return {}
    found = {"associations": Input(value=job.source.bounds.most, basis=Basis.JOB, about="most of its range")}
    seeds = [each for each in job.destinations if each.kind == "seed"]
    if seeds:
        count = len(seeds[0].devices)
        found["devices"] = Input(value=count, basis=Basis.JOB, about=f"devices of {seeds[0].name}")
    return found


def _from_ledger(job: Job, now: datetime) -> tuple[dict[str, Input], tuple[float, float] | None]:
    """What inventory, sample and pilot left; nothing where there is no ledger yet."""
    with open_ledger(job) as ledger:
        try:
            counted = count(job, ledger, now)
        except LookupError:
            return {}, None
    moved = Moved(
        bytes=sum(one.y for one in counted.written),
        instances=counted.moving.items,
        seconds=counted.moving.seconds,
        associations=counted.associations or job.source.bounds.most,
    )
    return measured(figures(counted), moved, now)


def _from_bench(path: Path | None) -> dict[str, Input]:
    if path is None:
        return {}
    try:
        rows = read_report(path).of(OWN_RATE)
    except Unreadable as error:
        raise Stop(f"{error}. `limosa bench --out FILE` makes such a file.") from None
    ours = [row for row in rows if row.subject.startswith("limosa") and row.mb_per_s]
    if not ours:
        raise Stop(f"{path} has no row of limosa in {OWN_RATE}: limosa bench --only {OWN_RATE} --out {path}")
    best = max(ours, key=lambda row: row.mb_per_s or 0.0)
    rate = (best.mb_per_s or 0.0) * 1e6
    return {"movers_rate": Input(value=rate, basis=Basis.BENCHMARK, about=f"{best.subject}, {OWN_RATE}")}


def _tell(out: Output, document: dict[str, Any], reports: list[Path]) -> None:
    if out.form is Form.JSON:
        out.record(document)
        return
    for sentence in document["sentences"]:
        out.say(sentence)
    columns = ("way", "finish", "days", "shipments", "never")
    out.rows("the ways", columns, [way | {"days": way["days"] and round(way["days"])} for way in document["ways"]])
    inputs = [
        {"what": NAMES[row["name"]], "value": shown(row), "basis": row["basis"], "about": row["about"]}
        for row in document["inputs"]
    ]
    out.rows("reckoned with", ("what", "value", "basis", "about"), inputs)
    for path in reports:
        out.say(f"report: {path}")
