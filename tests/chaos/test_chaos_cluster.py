"""On a Ray that outlives its driver, movers need no driver."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos_judge import judge
from chaos_ray import ray_head
from chaos_victims import Victim, kill_worker
from chaos_world import Outside, Plan, World, wait_for, world

from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.seaweedfs import EmbeddedS3

START_SECONDS = 120.0
PROGRESS_SECONDS = 90.0
END_SECONDS = 300.0
WORKERS = {"mover-1-1", "mover-1-2", "feeder-1", "validator-1"}

pytestmark = [
    pytest.mark.timeout(0),
    pytest.mark.skipif(not os.environ.get("LIMOSA_CHAOS_ROUNDS"), reason="make chaos plays it"),
]


@pytest.fixture
def cluster(tmp_path: Path, postgres: EmbeddedPostgres, own_s3: EmbeddedS3) -> Iterator[World]:
    """A job on a Ray, a Postgres and an S3 that belong to no driver."""
    # Ray's sockets lie below it, and their paths may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="limosa-chaos-") as short, ray_head(Path(short)) as head:
        outside = Outside(ray=head.address, postgres=postgres, s3=own_s3, mark=head.mark, environment=head.environment)
        plan = Plan(studies=160, large=16, seed=11, processes=2, store_latency=0.1)
        with world(plan, tmp_path / "world", outside) as made:
            yield made


def test_movers_go_on_without_their_driver_and_the_next_run_attaches_and_ends(cluster: World) -> None:
    first = cluster.start_driver()
    assert wait_for(lambda: written(cluster) >= 5 and pids(cluster).keys() >= WORKERS, START_SECONDS), first.errors()

    first.kill()
    at_death, workers = written(cluster), pids(cluster)
    went_on = wait_for(lambda: written(cluster) >= at_death + 15, PROGRESS_SECONDS)
    killed = kill_worker(cluster, Victim.MOVER)
    at_kill = written(cluster)
    came_back = wait_for(lambda: written(cluster) >= at_kill + 15, PROGRESS_SECONDS)
    second = cluster.start_driver()
    seen: set[tuple[str, int]] = set()
    ended = wait_for(lambda: seen.update(pids(cluster).items()) or second.ended is not None, END_SECONDS)

    assert went_on and killed and came_back and ended
    assert second.ended == 0, second.errors()
    for name in ("feeder-1", "validator-1"):
        assert {pid for each, pid in seen if each == name} == {workers[name]}, "replaced instead of attached"
    found = judge(cluster)
    assert found.none, found


def written(cluster: World) -> int:
    """Studies durable at the first destination."""
    rows = cluster.ask("select count(*) from delivery where pulled and state in ('written', 'validated')")
    return rows[0][0] if rows else 0


def pids(cluster: World) -> dict[str, int]:
    return dict(cluster.ask("select name, pid from worker") or ())
