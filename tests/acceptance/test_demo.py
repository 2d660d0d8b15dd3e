"""`limosa demo` as a person meets it: interrupted once, then run to its end in the same folder, then looked into."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.seaweedfs import EmbeddedS3

LIMOSA = (sys.executable, "-m", "limosa")
DEADLINE = 170.0
LOOK = 0.5
"""Seconds between looks at what a demo has started: each reads all of /proc, on the cores that the demo needs."""
LISTENERS_EVERY = 6
"""Looks until listening sockets are looked at again; that costs most, and they stay once they are there."""
FAREWELL = 15.0
"""Seconds that Ray's agents may take to notice that their node is gone."""
STUDIES = 40

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@dataclass
class Ended:
    """A demo that has ended, and what was seen of it from outside."""

    code: int = 0
    out: str = ""
    told: list[str] = field(default_factory=list)
    seen: dict[int, psutil.Process] = field(default_factory=dict)
    """Every process it had started, directly or not."""
    addresses: set[str] = field(default_factory=set)
    """Where any of them listened."""

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.out)

    def left(self) -> list[str]:
        """Command lines of those that are still there after a farewell."""
        _, alive = psutil.wait_procs(list(self.seen.values()), timeout=FAREWELL)
        return [" ".join(one.cmdline()) for one in alive if one.status() != psutil.STATUS_ZOMBIE]


def run_demo(folder: Path, interrupt_at: str | None = None) -> Ended:
    """A demo in `folder`; a Ctrl-C reaches it when it tells a sentence with `interrupt_at` in it."""
    ended = Ended()
    started = psutil.Popen(
        [*LIMOSA, "demo", "--dir", str(folder), "--studies", str(STUDIES), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def listen() -> None:
        for line in started.stderr:
            ended.told.append(line)
            if interrupt_at is not None and interrupt_at in line:
                started.send_signal(signal.SIGINT)

    ears = threading.Thread(target=listen)
    ears.start()
    deadline = time.monotonic() + DEADLINE
    looks = 0
    while started.poll() is None and time.monotonic() < deadline:
        look_at(started, ended)
        looks += 1
        if looks % LISTENERS_EVERY == 0:
            look_at_listeners(ended)
        time.sleep(LOOK)
    if started.poll() is None:
        started.send_signal(signal.SIGINT)
    ended.out = started.stdout.read()
    ended.code = started.wait()
    ears.join()
    return ended


def look_at(started: psutil.Process, ended: Ended) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in started.children(recursive=True):
            ended.seen.setdefault(child.pid, child)


def look_at_listeners(ended: Ended) -> None:
    for one in psutil.net_connections("inet"):
        if one.status == psutil.CONN_LISTEN and one.pid in ended.seen:
            ended.addresses.add(one.laddr.ip.removeprefix("::ffff:"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("demo") / "demo"
    yield place
    services = place / "demo.limosa" / "services"
    EmbeddedPostgres(services / "postgres").remove()
    EmbeddedS3(services / "s3").remove()


@pytest.fixture(scope="module")
def interrupted(folder: Path) -> Ended:
    return run_demo(folder, interrupt_at="Ray starts")


@pytest.fixture(scope="module")
def whole(folder: Path, interrupted: Ended) -> Ended:
    """A whole demo, in the folder that the interrupted one left."""
    del interrupted
    return run_demo(folder)


def test_an_interrupted_demo_ends_everything_it_has_started(interrupted: Ended) -> None:
    assert interrupted.code == 130
    assert interrupted.out == ""
    assert "Traceback" not in "".join(interrupted.told)
    assert interrupted.seen
    assert interrupted.left() == []


def test_a_demo_moves_everything_once_and_proves_it(whole: Ended) -> None:
    assert whole.code == 0, "".join(whole.told) + whole.out
    found = whole.document

    assert "Traceback" not in "".join(whole.told)
    assert found["studies"] > STUDIES
    assert found["instances"] > 300 and found["bytes"] > 1_000_000
    assert found["digests_compared"] >= 2 * found["instances"]
    assert [found[what] for what in ("digest_mismatches", "lost", "duplicated", "unknown_packs")] == [0, 0, 0, 0]
    assert {each["packs"] for each in found["destinations"]} == {found["studies"] - 1}
    assert 0 < found["seconds"] < DEADLINE


def test_a_demo_ends_with_the_exceptions_it_staged_and_no_other(whole: Ended) -> None:
    found = whole.document

    assert found["exceptions"] == 3
    assert found["exceptions_by_kind"] == dict.fromkeys(found["staged"], 1)
    assert found["surprises"] == []


def test_a_demo_kills_a_mover_that_holds_studies_and_loses_none_of_them(whole: Ended) -> None:
    found = whole.document

    assert found["killed_movers"] == 1
    assert 0 < found["killed"]["written"] < found["studies"] - 1
    assert found["killed"]["pid"] in whole.seen


def test_a_demo_compares_every_dataset_with_the_archive_itself(whole: Ended) -> None:
    found = whole.document

    assert found["manifest_compared"] == 2 * found["instances"]
    for each in found["manifest"]:
        assert (each["compared"], each["different"], each["absent"], each["surplus"]) == (found["instances"], 0, 0, 0)


def test_a_demo_leaves_no_process_behind(whole: Ended) -> None:
    assert len(whole.seen) > 10
    assert whole.left() == []


def test_nothing_that_a_demo_starts_can_be_reached_from_elsewhere(whole: Ended) -> None:
    assert whole.addresses
    assert {address for address in whole.addresses if not address.startswith("127.")} == set()


def test_a_finished_demo_can_be_looked_into_with_the_ordinary_commands(whole: Ended) -> None:
    file = whole.document["where"]["job_file"]

    listed = subprocess.run(
        [*LIMOSA, "exceptions", "list", file, "--json"], capture_output=True, text=True, timeout=DEADLINE
    )

    assert listed.returncode == 0, listed.stderr
    assert sorted(row["kind"] for row in json.loads(listed.stdout)) == sorted(whole.document["staged"])


def test_a_folder_that_no_demo_made_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("irreplaceable")

    refused = subprocess.run(
        [*LIMOSA, "demo", "--dir", str(tmp_path)], capture_output=True, text=True, timeout=DEADLINE
    )

    assert refused.returncode == 1
    assert refused.stderr.startswith("limosa: ") and str(tmp_path) in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
