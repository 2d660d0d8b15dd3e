"""The command as a person runs it: a process, a job file, an archive, and what it prints."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.postgres import EmbeddedPostgres
from infra.simulator import CapEnd, Faults, synthetic_archive

STUDIES = 45
CAP = 20


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, new_world: Any) -> Iterator[Any]:
    with new_world(tmp_path_factory.mktemp("cli"), synthetic_archive(studies=STUDIES)) as made, made.kept():
        yield made


def test_init_leaves_a_file_that_exists_as_it_is(world: Any) -> None:
    before = world.file.read_bytes()

    told = world.run("init", str(world.file), rc=1)

    assert "--force" in told
    assert world.file.read_bytes() == before


def test_help_starts_with_two_examples_and_lists_the_exit_codes(world: Any) -> None:
    shown = world.run("status", "--help")

    assert shown.count("$ limosa status") == 2
    assert shown.index("$ limosa status") < shown.index("Show how far the job is")
    assert "4 another run holds the" in shown


def test_wrong_usage_ends_with_1_and_a_sentence(world: Any) -> None:
    told = world.run("frobnicate", rc=1)

    assert told.startswith("limosa: ") and told.count("\n") == 1


def test_mistakes_in_a_job_file_are_all_named_with_their_lines(world: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(world.file.read_text().replace("log_level", "log_levle", 1).replace("port = ", "port = 0 # ", 1))

    told = world.run("status", str(broken), rc=1)

    assert "did you mean log_level?" in told
    assert told.count("line ") == 2


def test_check_finds_nothing_wrong_with_an_honest_world(world: Any) -> None:
    found = json.loads(world.run("check", str(world.file), "--json"))

    assert {row["mark"] for row in found["rows"]} == {"ok"}
    assert {name: trait["value"] for name, trait in found["profile"].items() if trait["learnt"] is not None} == {
        "image_level": True,
        "study_counts": True,
        "stable": True,
    }


def test_check_names_the_title_that_the_archive_does_not_know(world: Any) -> None:
    world.pacs.faults = Faults(refuse_destinations=True)
    try:
        done = world.done("check", str(world.file), "--json")
    finally:
        world.pacs.faults = Faults()

    (failed,) = [row for row in json.loads(done.stdout)["rows"] if row["mark"] == "fail"]
    assert done.returncode == 1
    assert "LIMOSA" in failed["next_step"]


def test_an_archive_that_silently_cuts_its_answers_is_enumerated_whole_and_not_asked_twice(world: Any) -> None:
    world.pacs.faults = Faults(find_cap=CAP, find_cap_end=CapEnd.SUCCESS)
    truth = {item.study_uid for item in world.pacs.archive.manifest().instances}

    first = json.loads(world.run("inventory", str(world.file), "--json"))
    again = json.loads(world.run("inventory", str(world.file), "--json"))
    listed = json.loads(world.run("studies", "list", str(world.file), "--limit", "1000", "--json"))

    assert {row["study_uid"] for row in listed} == truth
    assert first["studies"] == STUDIES and first["unsplittable"] == 0
    assert first["cap_shown"] == CAP
    assert (again["questions"], again["answers_reused"], again["cap_in_effect"]) == (0, 0, CAP)


def test_what_was_learnt_is_in_effect_until_the_job_file_says_otherwise(world: Any) -> None:
    learnt = json.loads(world.run("config", "show", str(world.file), "--json"))["source_profile"]
    given = json.loads(world.run("config", "show", str(world.file), "--json", LIMOSA_SOURCE__PROFILE__FIND_CAP="500"))[
        "source_profile"
    ]

    assert learnt["find_cap"] == {"name": "find_cap", "value": CAP, "origin": "learnt from the source", "learnt": CAP}
    assert (given["find_cap"]["value"], given["find_cap"]["learnt"]) == (500, CAP)
    assert given["find_cap"]["origin"] == "job file or environment"
    assert learnt["charset"]["origin"] == "default"


def test_an_inventory_leaves_no_patient_in_its_log(world: Any) -> None:
    lines = (world.state / "logs" / "inventory.jsonl").read_text()
    listed = json.loads(world.run("studies", "list", str(world.file), "--limit", "1000", "--json"))

    assert '"event": "window_answered"' in lines
    for row in listed:
        assert row["study_uid"] not in lines
        assert not row["patient_name"] or row["patient_name"] not in lines


def test_a_paused_job_says_so_until_it_is_resumed(world: Any) -> None:
    world.run("pause", str(world.file), "--reason", "archive upgrade")
    held = json.loads(world.run("status", str(world.file), "--json"))
    world.run("resume", str(world.file))
    going = json.loads(world.run("status", str(world.file), "--json"))

    assert held["paused"] == "archive upgrade"
    assert going["paused"] is None


def test_an_exception_that_is_not_there_is_not_resolved(world: Any) -> None:
    told = world.run("exceptions", "resolve", str(world.file), "4711", "--as", "retry", rc=1)

    assert "4711" in told


def test_no_service_is_left_running_when_the_last_command_ends(tmp_path: Path, new_world: Any) -> None:
    with new_world(tmp_path, synthetic_archive(studies=1)) as world:
        world.run("status", str(world.file))

        assert EmbeddedPostgres(world.state / "services" / "postgres").pid is None
