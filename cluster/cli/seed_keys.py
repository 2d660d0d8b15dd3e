"""Verifier keys as they are given on a command line."""

from pathlib import Path

from cluster.cli.exits import Stop
from storage.seeds.notes import MAX_KEY_FILE, VerifyingKey


def verifier_of(option: str, given: str) -> VerifyingKey:
    """The key itself, or the one in the file of that name."""
    text = given
    if "+" not in given:
        try:
            with Path(given).open(encoding="ascii") as file:
                text = file.read(MAX_KEY_FILE)
        except (OSError, UnicodeDecodeError):
            raise Stop(f"{option}: {given} cannot be read") from None
    try:
        return VerifyingKey.parse(text)
    except ValueError:
        raise Stop(f"{option} takes a verifier key of `limosa seed key`, or the .pub file that holds it") from None
