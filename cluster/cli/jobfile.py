"""init, config show, version: what needs no service."""

import importlib.metadata
import os
import platform
import re
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Stop
from cluster.job import load_job

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
    if as_json:
        out.record({**job.shown(), "state_dir": job.state_dir})
        return
    rows = [{"setting": name, "value": value} for name, value in _flat("", job.shown())]
    out.rows(str(job_file), ("setting", "value"), [*rows, {"setting": "state folder", "value": job.state_dir}])


def _flat(path: str, value: object) -> list[tuple[str, object]]:
    if isinstance(value, dict):
        return [row for key, item in value.items() for row in _flat(f"{path}.{key}" if path else str(key), item)]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [row for number, item in enumerate(value, start=1) for row in _flat(f"{path}[{number}]", item)]
    return [(path, value)]


def version(as_json: AsJson = False) -> None:
    printer(as_json).record(
        {"limosa": importlib.metadata.version("limosa"), "python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("ray", "pydicom", "psycopg", "boto3")}
    )
