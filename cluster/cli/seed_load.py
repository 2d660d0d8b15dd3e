"""seed load: fill the devices of one destination."""

from contextlib import nullcontext

import typer

from cluster.cli.arguments import AsJson, JobFile, Quiet, printer, texts
from cluster.cli.live import View, live_view
from cluster.cli.run import execute
from cluster.cli.seed_devices import SeedName
from cluster.inventory.take import Pass
from cluster.job import load_job
from cluster.request import Phase, Request
from cluster.seeding.choice import seed_of


def add_to(app: typer.Typer) -> None:
    app.command(
        "load",
        **texts(
            "Fill the devices with what waits for them.",
            "limosa seed load move.toml",
            "limosa seed load move.toml --destination disks --json",
            more="It is `limosa run --phase move` for this destination alone: the same workers, journal and ledger, so "
            "it may be killed and called again, and devices may be added in between. Where the destination is the "
            "inline one, studies come from the source; else from the pack at the inline destination, and only those "
            "that are there already. Devices are filled side by side, each at most at its write_rate; a study that "
            "one takes never lies on two, and one that none takes is several packs; a device that is full, read-only "
            "or gone is left, and what it was being given starts over on another. `limosa seed status` shows rate, "
            "fill and time left meanwhile.",
        ),
    )(load)


def load(job_file: JobFile, destination: SeedName = None, quiet: Quiet = False, as_json: AsJson = False) -> int:
    name = seed_of(load_job(job_file), destination).name
    out = printer(as_json)
    request = Request(phase=Phase.MOVE, inventory=Pass.CONTINUE, destination=name)
    return execute(job_file, request, out, nullcontext(View()) if quiet else live_view(out))
