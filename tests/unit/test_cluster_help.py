"""Help: one short sentence in the list of commands, examples on each command's own page; and nothing heavy for it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from cluster.cli import build
from cluster.cli.group import CommandGroup

HEAVY = ("ray", "pynetdicom", "pydicom", "boto3", "botocore", "awscrt", "numpy")
"""What moving images takes and reading about it does not."""

LOADED = """
import json, sys
import limosa
try:
    limosa.main()
except SystemExit:
    json.dump(sorted({name.partition(".")[0] for name in sys.modules}), sys.stderr)
"""


def groups(group: Any) -> Iterator[Any]:
    yield group
    for each in group.commands.values():
        if hasattr(each, "commands"):
            yield from groups(each)


def pages(group: Any, path: str = "limosa") -> Iterator[tuple[str, str, str]]:
    for name, each in group.commands.items():
        if hasattr(each, "commands"):
            yield from pages(each, f"{path} {name}")
        if not hasattr(each, "commands") or each.invoke_without_command:
            yield f"{path} {name}", each.short_help or "", each.help


LIMOSA = get_command(build())


@pytest.mark.parametrize(("path", "short", "page"), list(pages(LIMOSA)))
def test_a_command_has_a_short_sentence_and_a_page_with_two_examples_and_the_exit_codes(
    path: str, short: str, page: str
) -> None:
    assert short.endswith(".") and short.count(". ") == 0 and len(short) <= 70
    assert page.startswith("\b\n  $ ") and page.count("\n  $ ") == 2
    assert page.index(short) > page.rindex("\n  $ ")
    assert page.rstrip().endswith("4 another run holds the job, 130 interrupted.")
    assert page.count(f"$ {path}") >= 1


@pytest.mark.parametrize("group", [one for one in groups(LIMOSA) if isinstance(one, CommandGroup)], ids=str)
def test_what_a_list_of_commands_says_is_what_the_commands_say_of_themselves(group: Any) -> None:
    own = {name: each.short_help or each.help for name, each in group.commands.items()}

    assert {name: entry.sentence for name, entry in group.entries.items()} == own


@pytest.mark.parametrize(
    ("words", "light"),
    [
        (("--help",), (*HEAVY, "psycopg", "structlog")),
        (("studies", "--help"), (*HEAVY, "psycopg", "structlog")),
        (("status", "--help"), HEAVY),
        (("exceptions", "list", "--help"), HEAVY),
        (("studies", "list", "--help"), HEAVY),
    ],
    ids=lambda given: " ".join(given)[:24],
)
def test_reading_help_imports_nothing_that_moves_images(words: tuple[str, ...], light: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, *words], capture_output=True, text=True, timeout=60)

    assert "Usage: limosa" in done.stdout
    assert sorted(set(json.loads(done.stderr)) & set(light)) == []


@pytest.mark.parametrize("words", [(), ("exceptions",), ("studies",)], ids=str)
def test_a_group_without_a_command_prints_its_help_and_nothing_empty(words: tuple[str, ...]) -> None:
    done = limosa(*words)

    assert done.returncode == 1
    assert "Commands" in done.stdout and done.stderr == ""


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("stats",), "'status'"),
        (("exceptions", "lst"), "'list'"),
        (("studies", "list", "x", "--limt", "3"), "--limit"),
        (("exceptions", "resolve", "x"), "acknowledge, retry, renew, exclude"),
    ],
    ids=str,
)
def test_a_mistyped_word_is_answered_with_the_nearest_right_one(words: tuple[str, ...], meant: str) -> None:
    done = limosa(*words)

    assert done.returncode == 1
    assert meant in done.stderr and "--help" in done.stderr and done.stderr.count("\n") == 1


def test_the_shell_completes_commands_and_the_values_of_options() -> None:
    command = limosa(_LIMOSA_COMPLETE="complete_bash", COMP_WORDS="limosa stu", COMP_CWORD="1")
    value = limosa(
        _LIMOSA_COMPLETE="complete_bash", COMP_WORDS="limosa studies list move.toml --state ex", COMP_CWORD="5"
    )

    assert command.stdout.split() == ["studies"]
    assert sorted(value.stdout.split()) == ["exception", "excluded"]


def test_a_summary_is_made_without_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-c", "import cluster.summary"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def limosa(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "limosa", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
