"""The reference pages name everything there is: settings, commands, exceptions, fields, events, tables."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo
from typer.main import get_command

from actors.problems import CATALOGUE
from cluster.cli import build
from cluster.cli.inventory import summary as inventory_summary
from cluster.cli.live import line_of
from cluster.cli.steer import look
from cluster.inventory.remedies import REMEDIES
from cluster.job import Job
from cluster.planning.classes import CLASSES
from cluster.request import Outlook
from cluster.summary import DestinationSummary, Summary
from imaging.flags import Flag
from perf.rows import Comparison
from perf.rows import Row as BenchRow
from storage.ledger.records import OpenProblem
from storage.ledger.status import StudyRow

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"


def page(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def job_file() -> str:
    return "".join(map(page, ("job-file", "job-file-sources", "job-file-services")))


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next of any level; empty where there is none."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


# Settings


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from models(argument)


def shown(field: FieldInfo) -> str:
    """The default as the page writes it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    match value:
        case None:
            return "-"
        case bool():
            return f"`{str(value).lower()}`"
        case ByteSize():
            return f"`{value.human_readable(separator='').replace('.0', '')}`"
        case timedelta():
            return f"`{value.total_seconds():g}` s"
        case tuple():
            return f"`[{', '.join(repr(item).replace(chr(39), chr(34)) for item in value)}]`"
        case str():
            return f'`"{value}"`'
        case _:
            return f"`{value}`"


def tables(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str, FieldInfo]]:
    """Heading, name and field of every setting of the job file."""
    for name, field in model.model_fields.items():
        inner = list(models(field.annotation))
        if not inner:
            yield path, name, field
        for each in inner:
            heading = f"{path}.{name}" if path else name
            kind = each.model_fields.get("kind")
            yield from tables(each, f"{heading}, kind {kind.default}" if len(inner) > 1 and kind else heading)


SETTINGS = sorted({(path, name): field for path, name, field in tables(Job)}.items(), key=lambda item: item[0])


@pytest.mark.parametrize(("place", "field"), SETTINGS, ids=[f"{path}.{name}" for (path, name), _ in SETTINGS])
def test_every_setting_is_listed_with_its_default(place: tuple[str, str], field: FieldInfo) -> None:
    path, name = place

    rows = section(job_file(), path)

    row = f"| `{name}` | {shown(field)} | "
    assert row in rows, f"under {path}: {row}{field.description} |"


def test_no_setting_is_listed_that_does_not_exist() -> None:
    known = {name for (_, name), _ in SETTINGS}

    listed = set(re.findall(r"^\| `(\w+)` \|", job_file(), re.MULTILINE))

    assert listed <= known


# Commands


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", {})
    if not inner or command.invoke_without_command:
        yield path, command
    for name, each in inner.items():
        yield from commands(each, f"{path} {name}")


COMMANDS = dict(commands(get_command(build()), "limosa"))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_is_listed_with_its_options(path: str) -> None:
    options = {name for parameter in COMMANDS[path].params for name in parameter.opts if name.startswith("--")}

    told = section(page("commands"), path)

    assert told
    assert {name for name in options - {"--help"} if f"`{name}" not in told} == set()


# Exceptions


def test_every_exception_class_has_a_row_with_its_severity_and_whether_it_blocks() -> None:
    told = page("exceptions")

    missing = [
        kind
        for kind, entry in CATALOGUE.items()
        if f"| `{kind}` | {entry.severity.value} | {'yes' if entry.blocking else 'no'} | " not in told
    ]

    missing += [
        one.kind
        for one in CLASSES
        if one.kind not in CATALOGUE
        and f"| `{one.kind}` | {one.severity.value} | {'yes' if one.holds else 'no'} | " not in told
    ]
    assert missing == []
    assert [kind for kind in (*REMEDIES, "ATTEMPTS_EXHAUSTED") if f"| `{kind}` |" not in told] == []


def test_every_exception_class_has_a_remedy_to_work_by() -> None:
    told = (ROOT / "docs" / "how-to" / "work-through-exceptions.md").read_text(encoding="utf-8")

    known = {*CATALOGUE, *REMEDIES, *(one.kind for one in CLASSES), "ATTEMPTS_EXHAUSTED"}
    assert [kind for kind in known if f"`{kind}`" not in told] == []


def test_every_flag_of_an_instance_is_explained() -> None:
    assert [flag.value for flag in Flag if f"`{flag.value}`" not in page("exceptions")] == []


# JSON


def keys_of(function: Callable[..., Any]) -> set[str]:
    """The keys of the dictionary that a function returns, from its source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    returned = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
    return {
        key.value
        for value in returned
        if isinstance(value, ast.Dict)
        for key in value.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def names_of(record: Any) -> set[str]:
    return {field.name for field in fields(record)}


JSON_FIELDS = {
    "run, validate": keys_of(Summary.document) | names_of(DestinationSummary),
    "run: progress lines": keys_of(line_of),
    "run --dry-run": names_of(Outlook),
    "inventory": keys_of(inventory_summary),
    "studies list, studies show": names_of(StudyRow) | {"status", "custody"},
    "exceptions list, exceptions show": names_of(OpenProblem),
    "status": keys_of(look),
    "bench": names_of(BenchRow),
    "bench list, bench compare, bench report": names_of(Comparison),
}


@pytest.mark.parametrize("heading", JSON_FIELDS)
def test_every_json_field_is_listed(heading: str) -> None:
    told = section(page("json"), heading)

    assert {name for name in JSON_FIELDS[heading] if f"`{name}`" not in told} == set()


# Logs


def events() -> Iterator[str]:
    """The first argument of every call of a logger in what is shipped."""
    for room in ("cluster", "actors", "storage", "infra"):
        for source in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(
                        func=ast.Attribute(
                            value=ast.Name("log") | ast.Attribute(attr="_log"),
                            attr="debug" | "info" | "warning" | "error",
                        ),
                        args=[ast.Constant(value=str() as name), *_],
                    ):
                        yield name
                    case _:
                        pass


def test_every_log_event_is_listed_and_no_other() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", page("logs"), re.MULTILINE))

    assert listed == set(events())


# Ledger


def test_every_table_of_the_ledger_is_described() -> None:
    schema = (ROOT / "storage" / "ledger" / "schema.sql").read_text(encoding="utf-8")

    tables = {*re.findall(r"^create table (\w+)", schema, re.MULTILINE), "schema_version"}

    assert {name for name in tables if f"| `{name}` |" not in page("ledger")} == set()
