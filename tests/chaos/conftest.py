"""What `make chaos` prints around its rounds: the seed first, the count of everything that went wrong last."""

import os
import secrets
import sys
from pathlib import Path

import pytest

# Without packages, pytest leaves it to whoever needs it that the modules beside this file can be imported.
sys.path.insert(0, str(Path(__file__).parent))

SCORE = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SCORE] = []
    # Make passes an empty value on; the drawn one is set for the tests to see.
    os.environ["LIMOSA_CHAOS_SEED"] = os.environ.get("LIMOSA_CHAOS_SEED") or str(secrets.randbelow(1_000_000))


def pytest_report_header() -> str:
    return f"chaos: seed {os.environ['LIMOSA_CHAOS_SEED']}, {os.environ.get('LIMOSA_CHAOS_ROUNDS') or 0} rounds"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[SCORE]:
        terminalreporter.write_line(line)


@pytest.fixture
def score(pytestconfig: pytest.Config) -> list[str]:
    """Lines that are printed when all is over."""
    return pytestconfig.stash[SCORE]
