"""init, config show, version: what can be done before anything runs."""

import importlib.metadata
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Stop
from cluster.job import EMBEDDED, Job, load_job
from cluster.profile import Origin, informed, traits
from cluster.services import open_ledger
from infra.embedded.process import ServerError
from storage.errors import StorageError
from storage.ledger.records import Json

_ADDRESSES = (
    ('url = "embedded"  ', 'url = "postgresql://limosa@db.example/limosa"  '),
    ('endpoint_url = "embedded"  ', 'endpoint_url = "https://s3.example"  '),
)
"""What stands in the template, and what takes its place where nothing is to be started on this machine."""


def add_to(app: typer.Typer) -> None:
    config = typer.Typer(no_args_is_help=True, help="Look at settings.")
    app.command(
        "init",
        **texts(
            "Write a commented job file.",
            "limosa init move.toml --embedded",
            "limosa init move.toml --force",
            more="Nothing is overwritten without --force.",
        ),
    )(init)
    config.command(
        "show",
        **texts(
            "Print the settings in effect, and where they come from.",
            "limosa config show move.toml",
            "LIMOSA_CLUSTER__RAY=auto limosa config show move.toml --json",
            more="File, environment and defaults together, and what `limosa check` has learnt about the source. "
            "Secrets are references.",
        ),
    )(show)
    app.add_typer(config, name="config")
    app.command("version", **texts("Print versions.", "limosa version", "limosa version --json"))(version)


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.", show_default=False)],
    embedded: Annotated[bool, typer.Option("--embedded", help="Postgres and S3 are started on this machine.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
) -> None:
    text = template(file.stem)
    if not embedded:
        for ours, theirs in _ADDRESSES:
            text = text.replace(ours, theirs, 1)
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        descriptor = os.open(file, flags, 0o600)
    except FileExistsError:
        raise Stop(f"{file} exists and was left as it is; --force overwrites it") from None
    except OSError as error:
        raise Stop(f"{file} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)
    printer(False).say(f"{file} is written. Fill in [source] and [[receivers]], then: limosa check {file}")


def template(stem: str) -> str:
    """The commented job file, its job named after the file."""
    name = re.sub(r"[^a-z0-9-]+", "-", stem.lower()).strip("-")[:63] or "migration"
    text = resources.files("cluster").joinpath("job_template.toml").read_text(encoding="utf-8")
    return text.replace('name = "my-migration"', f'name = "{name}"', 1).replace("my-migration.limosa", f"{name}.limosa")


def show(job_file: JobFile, as_json: AsJson = False) -> None:
    job = load_job(job_file)
    out = printer(as_json)
    learnt, trouble = _learnt(job)
    found = traits(job.source.profile, learnt)
    if as_json:
        profile = {trait.name: asdict(trait) for trait in found}
        out.record({**informed(job, learnt).shown(), "state_dir": job.state_dir, "source_profile": profile})
        return
    rows = [{"setting": name, "value": value, "from": origin} for name, value, origin in _flat("", job)]
    for trait in found:
        row = next(row for row in rows if row["setting"] == f"source.profile.{trait.name}")
        row |= {"value": trait.value, "from": trait.origin}
    rows.append({"setting": "state folder", "value": job.state_dir, "from": ""})
    out.rows(str(job_file), ("setting", "value", "from"), rows)
    if trouble:
        out.say(f"What was learnt about the source is not shown: {trouble}")


def _learnt(job: Job) -> tuple[Json, str]:
    """The profile in the ledger, or why there is none to be had; a ledger that does not exist yet is not made."""
    if job.ledger.url == EMBEDDED and not (job.state_dir / "services" / "postgres").exists():
        return {}, ""
    try:
        with open_ledger(job, pool_size=1) as ledger:
            return ledger.jobs.profile(job.source.name), ""
    except (StorageError, ServerError) as error:
        return {}, str(error)


def _flat(path: str, model: BaseModel) -> Iterator[tuple[str, Any, Origin]]:
    """Every setting with its value and whether somebody gave it."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        here = f"{path}.{name}" if path else name
        if isinstance(value, BaseModel):
            yield from _flat(here, value)
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for number, item in enumerate(value, start=1):
                yield from _flat(f"{here}[{number}]", item)
        else:
            yield here, value, Origin.JOB if name in model.model_fields_set else Origin.DEFAULT


def version(as_json: AsJson = False) -> None:
    printer(as_json).record(
        {"limosa": importlib.metadata.version("limosa"), "python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("ray", "pydicom", "psycopg", "boto3")}
    )
