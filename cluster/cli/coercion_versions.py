"""coercion versions, coercion rules: what the rules once were, and where they were used."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from actors.coercing import kept_rules
from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Stop
from cluster.job import load_job
from cluster.planning.replaying import replayer_of
from cluster.services import open_ledger
from imaging.coercion.rules import UNRULED
from storage.ledger.coercion import AS_IT_CAME
from storage.ledger.replay import RulesVersion


def add_to(app: typer.Typer) -> None:
    app.command(
        "versions",
        **texts(
            "List the rules that studies were ever written under.",
            "limosa coercion versions move.toml",
            "limosa coercion versions move.toml --json",
            more="Oldest first, with how many revisions of studies were written under them and for how many studies "
            "that is the latest. Rules of which nothing differs but the profile are one version.",
        ),
    )(versions)
    app.command(
        "rules",
        **texts(
            "Print the rules of one version, as a job file has them.",
            "limosa coercion rules move.toml 4c1f0a2b",
            "limosa coercion rules move.toml 4c1f0a2b --json",
            more="In place of the [coercion] table of a job file they do what they did then: `coercion preview` shows "
            "it on files.",
        ),
    )(rules)


def versions(job_file: JobFile, as_json: AsJson = False) -> None:
    job = load_job(job_file)
    with open_ledger(job, pool_size=1) as ledger:
        found = ledger.replay.versions()
    today = job.coercion.rule_set().version
    columns = ("version", "today", "rules", "revisions", "studies", "first_written", "last_written")
    out = printer(as_json)
    out.rows("versions", columns, [_row(one, today) for one in found])
    if today not in {one.version for one in found}:
        out.say(f"Nothing was written under the rules of {job_file} yet ({today}).")


def rules(
    job_file: JobFile,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Or how it begins.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    job = load_job(job_file)
    with open_ledger(job, pool_size=1) as ledger:
        chosen = replayer_of(job, ledger).version(version)
        kept = AS_IT_CAME.rules if chosen == UNRULED else ledger.replay.rules(chosen)
    if kept is None:
        raise Stop(
            f"the rules of {chosen} were used before rules were kept; a job file of then, if there is one, has them"
        )
    out = printer(as_json)
    if as_json:
        out.record({"version": chosen, "usable": kept_rules(chosen, kept) is not None, "coercion": kept})
        return
    typer.echo(f"# version {chosen}")
    typer.echo(as_toml(kept), nl=False)


def as_toml(kept: Mapping[str, Any]) -> str:
    """The tables of a job file that say the same; settings that are empty are left out."""
    lines = ["[coercion]", *(_setting(name, value) for name, value in kept.items() if name != "rules")]
    for rule in kept.get("rules", ()):
        lines += ["", "[[coercion.rules]]", *(_setting(name, value) for name, value in rule.items() if value)]
    return "\n".join(lines) + "\n"


def _setting(name: str, value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "\n".join([f"{name} = [", *(f"  {_value(item)}," for item in value), "]"])
    return f"{name} = {_value(value)}"


def _value(value: Any) -> str:
    """As TOML 1.0 writes it: JSON's strings are TOML's, but for DEL and characters beyond the first plane."""
    match value:
        case dict():
            inside = (f"{_key(name)} = {_value(item)}" for name, item in value.items() if item is not None)
            return f"{{ {', '.join(inside)} }}"
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case _:
            return json.dumps(value)


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else _value(name)


def _names(kept: Mapping[str, Any]) -> list[str]:
    return [rule["name"] for rule in kept.get("rules", ())]


def _row(one: RulesVersion, today: str) -> dict[str, Any]:
    row = asdict(one) | {"today": one.version == today, "rules": None if one.rules is None else _names(one.rules)}
    return row | {"usable": kept_rules(one.version, one.rules) is not None}
