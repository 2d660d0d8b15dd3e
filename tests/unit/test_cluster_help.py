"""Help: one short sentence in the list of commands, examples on each command's own page."""

import subprocess
import sys

import pytest
import typer

from cluster.cli import check, exceptions, inventory, jobfile, run, steer, studies


def commands() -> list[tuple[str, str, str]]:
    app = typer.Typer()
    for group in (jobfile, check, inventory, run, steer, studies, exceptions):
        group.add_to(app)
    apps = [app, *(group.typer_instance for group in app.registered_groups if group.typer_instance is not None)]
    return [
        (each.name or "", each.short_help or "", str(each.help)) for one in apps for each in one.registered_commands
    ]


@pytest.mark.parametrize(("name", "short", "page"), commands())
def test_a_command_has_a_short_sentence_and_a_page_with_two_examples_and_the_exit_codes(
    name: str, short: str, page: str
) -> None:
    assert short.endswith(".") and short.count(". ") == 0 and len(short) <= 70
    assert page.startswith("\b\n  $ ") and page.count("\n  $ ") == 2
    assert page.index(short) > page.rindex("\n  $ ")
    assert page.rstrip().endswith("4 another run holds the job.")
    assert f"limosa {name}" in page or f" {name} " in page


def test_a_summary_is_made_without_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-c", "import cluster.summary"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
