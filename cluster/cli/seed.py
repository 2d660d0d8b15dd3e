"""seed: the group of commands about devices that are shipped."""

from collections.abc import Mapping
from typing import ClassVar

import typer

from cluster.cli.group import CommandGroup, Entry, nothing_before

SENTENCE = "Ship disks: load, seal, ingest on the far side, reconcile."


class SeedCommands(CommandGroup):
    """In the order a shipment needs them; the far side's `ingest` must not wait for what the near side imports."""

    entries: ClassVar[Mapping[str, Entry]] = {
        "key": Entry("cluster.cli.seed_devices", "Make the key that seals or receipts are signed with."),
        "disk-key": Entry("cluster.cli.seed_devices", "Make the key that plain disks are encrypted with."),
        "init": Entry("cluster.cli.seed_devices", "Prepare a device: label, limits, instructions, ledger."),
        "load": Entry("cluster.cli.seed_load", "Fill the devices with what waits for them."),
        "status": Entry("cluster.cli.seed_devices", "Show what is on which device, from the ledger."),
        "verify": Entry("cluster.cli.seed_seal", "Read devices back, every byte."),
        "seal": Entry("cluster.cli.seed_seal", "Read a device back and make it ready to leave."),
        "ship": Entry("cluster.cli.seed_seal", "Record that a sealed device has left."),
        "lost": Entry("cluster.cli.seed_lost", "Record that a device died or never arrived."),
        "ingest": Entry("cluster.cli.seed_ingest", "Far side: check a device and bring it into a bucket."),
        "reconcile": Entry("cluster.cli.seed_reconcile", "Account for every instance of a shipped device."),
    }


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(cls=SeedCommands, callback=nothing_before, no_args_is_help=True, help=SENTENCE)
    app.add_typer(group, name="seed")
