"""The exit codes, apart from the commands: what decides on one must not need the command line."""

from enum import IntEnum


class Exit(IntEnum):
    """The promise to scripts; listed in --help."""

    DONE = 0
    FAULT = 1
    EXCEPTIONS = 2
    INTEGRITY = 3
    HELD = 4
