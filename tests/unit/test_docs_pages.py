"""The pages hold: links lead somewhere, job files in them load, commands in them exist."""

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cluster.cli import build
from cluster.job import build_job

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LARGEST_BYTES = 25_000
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)

LEAST = {
    "job": {"name": "move"},
    "source": {"host": "pacs.example", "port": 104, "ae_title": "PACS"},
    "receivers": [{"ae_title": "LIMOSA", "port": 11112}],
    "destinations": [{"kind": "s3", "name": "archive", "bucket": "images"}],
}
"""What a fragment of a job file is put into before it is checked."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in HEADING.findall(text)}


def snippets(language: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, (info, body) in enumerate(FENCE.findall(page.read_text(encoding="utf-8")), start=1):
            if info.strip() == language:
                yield f"{name_of(page)}#{number}", body


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    dead = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
            dead.append(target)

    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_outgrows_a_reader(page: Path) -> None:
    assert page.stat().st_size <= LARGEST_BYTES


def test_every_page_can_be_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")

    linked = {(ROOT / "docs" / target.partition("#")[0]).resolve() for target in LINK.findall(index)}
    lost = [name_of(page) for page in PAGES if page.parent != ROOT and page.name != "README.md" and page not in linked]

    assert lost == []


@pytest.mark.parametrize(("place", "text"), list(snippets("toml")), ids=[place for place, _ in snippets("toml")])
def test_every_piece_of_a_job_file_is_accepted(place: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: Mapping[str, Any] = tomllib.loads(text)

    job = build_job({**LEAST, **_filled(given)}, ROOT / "move.toml", text)

    assert job.job.name


def _filled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Tables that need more than a fragment shows are filled up."""
    source = {**LEAST["source"], **given.get("source", {})}
    return {**given, "job": {**LEAST["job"], **given.get("job", {})}, "source": source}


def command_lines() -> Iterator[tuple[str, str]]:
    for place, body in snippets("sh"):
        for line in body.splitlines():
            for part in line.partition(" #")[0].split("&&"):
                words = part.strip().removeprefix("$ ")
                if words.startswith("limosa "):
                    yield place, words


LINES = sorted(set(command_lines()))


@pytest.mark.parametrize(("place", "line"), LINES, ids=[line for _, line in LINES])
def test_every_command_in_a_page_exists_with_its_options(place: str, line: str) -> None:
    words = shlex.split(line)[1:]
    command: Any = get_command(build())
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}

    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]

    assert not hasattr(command, "commands") or command.invoke_without_command, f"{place}: {line} names no command"
    assert unknown == [], f"{place}: {line}"
