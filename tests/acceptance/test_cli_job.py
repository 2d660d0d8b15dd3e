"""The command as a person runs it: a process, a job file, an archive, and what it prints."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.seaweedfs import EmbeddedS3
from infra.simulator import CapEnd, Faults, Simulator, synthetic_archive

STUDIES = 45
CAP = 20
LIMOSA = (sys.executable, "-m", "limosa")
DEADLINE = 100.0


@dataclass(frozen=True, slots=True)
class World:
    """An archive that cuts its answers, and the job file that names it."""

    file: Path
    pacs: Simulator

    def run(self, *words: str, rc: int = 0) -> str:
        done = subprocess.run([*LIMOSA, *words], capture_output=True, text=True, timeout=DEADLINE)
        assert done.returncode == rc, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout if rc in (0, 2) else done.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("cli")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = folder / "move.toml"
    with Simulator(synthetic_archive(studies=STUDIES), destinations={"LIMOSA": ("127.0.0.1", port)}) as pacs:
        made = World(file, pacs)
        made.run("init", str(file), "--embedded")
        text = file.read_text()
        for old, new in (
            ("port = 104", f"port = {pacs.port}"),
            ('ae_title = "PACS"', 'ae_title = "SIMPACS"'),
            ("port = 11112", f"port = {port}"),
            ('host = "0.0.0.0"', 'host = "127.0.0.1"'),
        ):
            assert old in text
            text = text.replace(old, new, 1)
        file.write_text(text)
        yield made
    services = folder / "move.limosa" / "services"
    EmbeddedPostgres(services / "postgres").remove()
    EmbeddedS3(services / "s3").remove()


def test_init_leaves_a_file_that_exists_as_it_is(world: World) -> None:
    before = world.file.read_bytes()

    told = world.run("init", str(world.file), rc=1)

    assert "--force" in told
    assert world.file.read_bytes() == before


def test_help_starts_with_two_examples_and_lists_the_exit_codes(world: World) -> None:
    shown = world.run("status", "--help")

    assert shown.count("$ limosa status") == 2
    assert shown.index("$ limosa status") < shown.index("How far the job is")
    assert "4 another run holds the" in shown


def test_wrong_usage_ends_with_1_and_a_sentence(world: World) -> None:
    told = world.run("frobnicate", rc=1)

    assert told.startswith("limosa: ") and told.count("\n") == 1


def test_mistakes_in_a_job_file_are_all_named_with_their_lines(world: World, tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(world.file.read_text().replace("log_level", "log_levle", 1).replace("port = ", "port = 0 # ", 1))

    told = world.run("status", str(broken), rc=1)

    assert "did you mean log_level?" in told
    assert told.count("line ") == 2


def test_check_finds_nothing_wrong_with_an_honest_world(world: World) -> None:
    found = json.loads(world.run("check", str(world.file), "--json"))

    assert {row["mark"] for row in found["rows"]} == {"ok"}
    assert found["profile"] == {"find_cap": None, "charset": "ISO_IR 100"} | dict.fromkeys(
        ("image_level", "study_counts", "stable"), True
    )


def test_check_names_the_title_that_the_archive_does_not_know(world: World) -> None:
    world.pacs.faults = Faults(refuse_destinations=True)
    try:
        done = subprocess.run(
            [*LIMOSA, "check", str(world.file), "--json"], capture_output=True, text=True, timeout=DEADLINE
        )
    finally:
        world.pacs.faults = Faults()

    (failed,) = [row for row in json.loads(done.stdout)["rows"] if row["mark"] == "fail"]
    assert done.returncode == 1
    assert "LIMOSA" in failed["next_step"]


def test_an_archive_that_silently_cuts_its_answers_is_enumerated_whole_and_not_asked_twice(world: World) -> None:
    world.pacs.faults = Faults(find_cap=CAP, find_cap_end=CapEnd.SUCCESS)
    truth = {item.study_uid for item in world.pacs.archive.manifest().instances}

    first = json.loads(world.run("inventory", str(world.file), "--json"))
    again = json.loads(world.run("inventory", str(world.file), "--json"))
    listed = json.loads(world.run("studies", "list", str(world.file), "--limit", "1000", "--json"))

    assert {row["study_uid"] for row in listed} == truth
    assert first["studies"] == STUDIES and first["unsplittable"] == 0
    assert again["questions"] == 0 and again["answers_reused"] == first["questions"]


def test_an_inventory_leaves_no_patient_in_its_log(world: World) -> None:
    lines = (world.file.parent / "move.limosa" / "logs" / "inventory.jsonl").read_text()
    listed = json.loads(world.run("studies", "list", str(world.file), "--limit", "1000", "--json"))

    assert '"event": "window_answered"' in lines
    for row in listed:
        assert row["study_uid"] not in lines
        assert not row["patient_name"] or row["patient_name"] not in lines


def test_a_paused_job_says_so_until_it_is_resumed(world: World) -> None:
    world.run("pause", str(world.file), "--reason", "archive upgrade")
    held = json.loads(world.run("status", str(world.file), "--json"))
    world.run("resume", str(world.file))
    going = json.loads(world.run("status", str(world.file), "--json"))

    assert held["paused"] == "archive upgrade"
    assert going["paused"] is None


def test_an_exception_that_is_not_there_is_not_resolved(world: World) -> None:
    told = world.run("exceptions", "resolve", str(world.file), "4711", "--as", "retry", rc=1)

    assert "4711" in told


def test_no_service_is_left_running_when_the_last_command_ends(world: World) -> None:
    world.run("status", str(world.file))

    assert EmbeddedPostgres(world.file.parent / "move.limosa" / "services" / "postgres").pid is None
