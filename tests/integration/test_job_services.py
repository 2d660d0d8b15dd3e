"""Embedded services live exactly as long as somebody uses them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.cli.jobfile import template
from cluster.job import Job, load_job
from cluster.services import open_ledger
from infra.embedded.postgres import EmbeddedPostgres

HOLDER = """
import sys
from pathlib import Path
from cluster.job import load_job
from cluster.services import open_ledger
with open_ledger(load_job(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    file = tmp_path / "move.toml"
    file.write_text(template("move"))
    made = load_job(file)
    yield made
    _postgres(made).remove()


def _postgres(job: Job) -> EmbeddedPostgres:
    return EmbeddedPostgres(job.state_dir / "services" / "postgres")


def test_the_last_one_to_let_go_stops_the_service_and_nobody_earlier(job: Job) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(job.file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with open_ledger(job) as ledger:
            assert ledger.inventory.generation() == 0
        kept = _postgres(job).pid

        other.communicate()

    assert kept is not None
    assert _postgres(job).pid is None


def test_a_killed_user_does_not_keep_the_service_alive_for_ever(job: Job) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(job.file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        other.kill()
        other.wait()
    assert _postgres(job).pid is not None

    with open_ledger(job) as ledger:
        ledger.control.pause("looked at")

    assert _postgres(job).pid is None
