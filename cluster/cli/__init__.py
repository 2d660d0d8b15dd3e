"""The `limosa` command: one small module per group of commands, put together here."""

import sys
from collections.abc import Mapping
from typing import ClassVar

import typer

from cluster.cli.exits import EXIT_CODES, ended
from cluster.cli.group import CommandGroup, Entry, nothing_before


class Limosa(CommandGroup):
    """Every command, in the order a migration needs them. A module's own sentence is the same (tested)."""

    entries: ClassVar[Mapping[str, Entry]] = {
        "demo": Entry("cluster.cli.demo", "Show a whole migration on this machine, ending in a proof."),
        "init": Entry("cluster.cli.jobfile", "Write a commented job file."),
        "version": Entry("cluster.cli.jobfile", "Print versions."),
        "config": Entry("cluster.cli.jobfile", "Look at settings."),
        "check": Entry("cluster.cli.check", "Try every endpoint, and learn what is peculiar about the source."),
        "coercion": Entry(
            "cluster.cli.coercion", "Rules that change header values: try them, look back, use them anew."
        ),
        "audit": Entry("cluster.cli.audit", "Private elements: what is there, and what becomes of it."),
        "dose": Entry("cluster.cli.dose", "CT dose that machines can read, and reports made of it."),
        "inventory": Entry("cluster.cli.inventory", "Enumerate the archive, however much it cuts its answers."),
        "identity": Entry("cluster.cli.identity", "What the hospital told about its patients' numbers."),
        "accession": Entry("cluster.cli.accession", "The list of orders that accession numbers are held against."),
        "capacity": Entry("cluster.cli.capacity", "Network or disks: when everything has arrived by either way."),
        "plan": Entry("cluster.cli.plan", "Decide whose every study is, and show or apply it."),
        "pilot": Entry("cluster.cli.pilot", "Move representative days first, and say go or no-go for the rest."),
        "run": Entry("cluster.cli.run", "Move the archive: inventory, pull, write, feed, validate."),
        "validate": Entry("cluster.cli.run", "Read back every delivery that is not proven yet."),
        "status": Entry("cluster.cli.steer", "Show how far the job is, per destination."),
        "pause": Entry("cluster.cli.steer", "Claim no more studies until `resume`."),
        "resume": Entry("cluster.cli.steer", "Claim studies again after a pause."),
        "studies": Entry("cluster.cli.studies", "Look at studies, hold or fetch them. Output holds patients' names."),
        "priority": Entry("cluster.cli.priority", "Say which studies move first."),
        "exceptions": Entry("cluster.cli.exceptions", "Studies that need a person."),
        "imports": Entry("cluster.cli.imports", "List the prefixes that an imaging service's import jobs take."),
        "custody": Entry("cluster.cli.custody", "Who did what to a study, and whether the record holds."),
        "seed": Entry("cluster.cli.seed", "Ship disks: load, seal, ingest on the far side, reconcile."),
        "bench": Entry("cluster.cli.bench", "Measure throughput on this machine."),
    }


def build() -> typer.Typer:
    """The whole command line."""
    return typer.Typer(
        name="limosa",
        cls=Limosa,
        callback=nothing_before,
        help=f"Moves an image archive to its next home and proves that nothing was lost.\n\n{EXIT_CODES}",
        no_args_is_help=True,
        # Local values hold patients' names.
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def main() -> None:
    """The command of this process has run; the process ends with its exit code."""
    app = build()
    sys.exit(ended(lambda: app(standalone_mode=False, prog_name="limosa")))
