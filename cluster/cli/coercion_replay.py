"""coercion studies, coercion replay: what rules did to studies, and doing it anew after a rule was mended."""

import getpass
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cluster.cli.arguments import AsJson, DecidedBy, JobFile, printer, texts
from cluster.job import SERVICES, load_job
from cluster.output import Output
from cluster.planning.replaying import Outdated, ReplayReport, replayer_of
from cluster.services import open_ledger
from storage.ledger.replay import Effect, RuledStudy
from storage.sinks.existing import Existing

OfRule = Annotated[str | None, typer.Option("--rule", metavar="NAME", help="Only those that this rule concerns.")]
OfVersion = Annotated[
    str | None,
    typer.Option("--version", metavar="VERSION", help="Only those written under this version, or one that begins so."),
]


def add_to(app: typer.Typer) -> None:
    app.command(
        "studies",
        **texts(
            "List studies that a rule changed.",
            "limosa coercion studies move.toml --rule sex-in-words",
            "limosa coercion studies move.toml --rule sex-in-words --version 4c1f0a2b --after 5000 --json",
            more="Also those of which a later revision was written under other rules; `present` tells them apart. With "
            "--outdated those that `coercion replay` would renew.",
        ),
    )(studies)
    app.command(
        "replay",
        **texts(
            "Write studies anew that other rules than today's were used on.",
            "limosa coercion replay move.toml",
            "limosa coercion replay move.toml --rule sex-in-words --apply --by m.keller",
            more="Lists, by version and cause, how many studies today's rules may write otherwise than they were "
            "written; without --apply nothing is changed. With it each of them gets a new revision, which the next run "
            "pulls, changes and delivers. Studies that today's rules would write as they are, as far as what was "
            "recorded can tell, are left alone.",
        ),
    )(replay)


def studies(
    job_file: JobFile,
    rule: OfRule = None,
    version: OfVersion = None,
    outdated: Annotated[bool, typer.Option("--outdated", help="Only those that `replay` would renew.")] = False,
    after: Annotated[int, typer.Option(min=0, help="Continue behind this study_key.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="Most rows.")] = 100,
    as_json: AsJson = False,
) -> None:
    job = load_job(job_file)
    with open_ledger(job, pool_size=1) as ledger:
        replayer = replayer_of(job, ledger)
        chosen = None if version is None else replayer.version(version)
        effects = {one.effect_id: one for one in replayer.touched(rule, chosen)}
        wanted = list(effects)
        if outdated:
            effects = {one.effect_id: one for one in replayer.touched(None, chosen)}
            wanted = [effect for group in replayer.look(rule, chosen).outdated for effect in group.effects]
        found = ledger.replay.studies(wanted, present=outdated, after_key=after, limit=limit)
    columns = ("study_key", "study_uid", "revision", "version", "changed_by", "present", "written_at")
    printer(as_json).rows("studies", columns, [_row(one, effects[one.effect_id]) for one in found])


def replay(
    job_file: JobFile,
    rule: OfRule = None,
    version: OfVersion = None,
    apply: Annotated[bool, typer.Option("--apply", help="Carry it out: a new revision of each.")] = False,
    by: DecidedBy = "",
    as_json: AsJson = False,
) -> None:
    job = load_job(job_file)
    with open_ledger(job, pool_size=1) as ledger:
        replayer = replayer_of(job, ledger)
        report = replayer.look(rule, None if version is None else replayer.version(version))
        if apply:
            replayer.apply(report, by=by or getpass.getuser())
    keeping = [
        item.name
        for item in job.destinations
        if isinstance(item, SERVICES) and item.existing in (Existing.KEPT, Existing.TOLD)
    ]
    out = printer(as_json)
    out.record(document(report, keeping)) if as_json else _show(report, keeping, out)


def document(report: ReplayReport, keeping: Sequence[str]) -> dict[str, Any]:
    """A replay as JSON has it; `keeping` names the destinations that keep their first copy."""
    return {
        "version": report.version,
        "studies": report.studies,
        "same": report.same,
        "others": report.others,
        "keeping": list(keeping),
        "outdated": [_group(one) for one in report.outdated],
        "renewed": report.renewed,
    }


def _show(report: ReplayReport, keeping: Sequence[str], out: Output) -> None:
    if report.outdated:
        columns = ("version", "cause", "rule", "studies", "waiting", "stopped")
        out.rows("outdated", columns, [_group(one) for one in report.outdated])
        if keeping:
            out.say(f"Not corrected by another copy, for they keep their first: {', '.join(keeping)}.")
    told = f"Today's rules are {report.version}; they would write {report.same} studies of other versions as they are."
    if report.renewed is not None:
        out.say(f"{told} {report.renewed} studies get a new revision with the next run.")
    elif report.studies:
        out.say(f"{told} {report.studies} may become others. Nothing was changed: --apply does it.")
    else:
        out.say(f"{told} None is to be renewed.")
    if report.others:
        out.say(f"{report.others} may become others for causes of other names: without --rule they are listed, too.")


def _group(one: Outdated) -> dict[str, Any]:
    row = asdict(one)
    del row["effects"]
    return row


def _row(one: RuledStudy, effect: Effect) -> dict[str, Any]:
    row = asdict(one)
    del row["effect_id"]
    return row | {"version": effect.version, "changed_by": effect.acted}
