"""Decisions of people from the command line: what is held, hurried, resolved and paused, and what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.embedded.postgres import EmbeddedPostgres
from infra.simulator import synthetic_archive
from storage.ledger.ledger import Ledger
from storage.ledger.records import Problem, Severity

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STUDIES = 4


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, new_world: Any) -> Iterator[Any]:
    """An archive that is in the ledger, and nothing of it moved yet."""
    with new_world(tmp_path_factory.mktemp("decide"), synthetic_archive(studies=STUDIES)) as made, made.kept():
        made.run("inventory", str(made.file))
        yield made


@pytest.fixture
def url(world: Any) -> str:
    return EmbeddedPostgres(world.state / "services" / "postgres").url


def uids(world: Any) -> list[str]:
    return sorted(held[0].study_uid for held in world.pacs.archive.studies())


def opened(url: str, kind: str, count: int) -> list[int]:
    """Exceptions of a class, each of its own instance."""
    with Ledger(url, pool_size=1) as ledger:
        return [
            ledger.exceptions.open(
                Problem(
                    kind=kind,
                    severity=Severity.WARNING,
                    blocking=False,
                    remedy="Look.",
                    evidence={},
                    sop_uid=f"1.9.{number}",  # type: ignore[arg-type]
                )
            )
            for number in range(count)
        ]


def listed(world: Any, *words: str) -> list[dict[str, Any]]:
    return json.loads(world.run("exceptions", "list", str(world.file), "--json", *words))


def test_a_study_is_held_and_readmitted_and_its_chain_tells_both(world: Any) -> None:
    study = uids(world)[0]

    held = json.loads(world.run("studies", "hold", str(world.file), study, "--by", "m.keller", "--json"))
    among = json.loads(world.run("studies", "list", str(world.file), "--state", "held", "--json"))
    again = json.loads(world.run("studies", "hold", str(world.file), study, "1.2.3", "--json", rc=2))
    back = json.loads(world.run("studies", "readmit", str(world.file), study, "--json"))
    shown = json.loads(world.run("custody", "show", str(world.file), study, "--json"))

    assert held == [{"study_uid": study, "end": "held"}]
    assert [row["study_uid"] for row in among] == [study]
    assert [row["end"] for row in again] == ["left held", "unknown"]
    assert back == [{"study_uid": study, "end": "readmitted"}]
    assert shown[0]["actor"] == "m.keller"
    assert [link["event"] for link in shown] == ["held", "readmitted"]


def test_studies_of_a_file_are_hurried(world: Any, tmp_path: Path) -> None:
    names = tmp_path / "clinic.csv"
    names.write_text("Study Instance UID;clinic\n" + "\n".join(f"{uid};x" for uid in uids(world)[:2]))

    told = world.run("priority", str(world.file), "--studies", str(names), "--to", "7")

    rows = json.loads(world.run("studies", "list", str(world.file), "--json"))
    assert told == "2 priority 7\n"
    assert sorted(row["study_uid"] for row in rows if row["priority"] == 7) == uids(world)[:2]


def test_a_mistyped_first_line_is_no_heading(world: Any, tmp_path: Path) -> None:
    names = tmp_path / "clinic.csv"
    names.write_text(f"l.2.840.10008\n{uids(world)[3]}\n")

    told = world.run("priority", str(world.file), "--studies", str(names), "--to", "9", rc=1)

    assert "line 1" in told
    rows = json.loads(world.run("studies", "list", str(world.file), "--json"))
    assert [row for row in rows if row["priority"] == 9] == []


def test_a_chain_that_somebody_wrote_over_ends_with_3_and_its_first_broken_link(world: Any, url: str) -> None:
    study = uids(world)[1]
    world.run("studies", "hold", str(world.file), study)
    world.run("studies", "readmit", str(world.file), study)
    before = json.loads(world.run("custody", "verify", str(world.file), "--json"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "update custody c set actor = 'nobody' from study s"
            " where s.study_key = c.study_key and s.study_uid = %s and seq = 2",
            (study,),
        )

    after = json.loads(world.run("custody", "verify", str(world.file), "--json", rc=3))
    told = world.run("custody", "verify", str(world.file), study, rc=3)

    assert (before["studies"], before["broken"], before["chains"]) == (STUDIES, 0, [])
    assert after["broken"] == 1
    assert [(row["study_uid"], row["seq"], row["event"]) for row in after["chains"]] == [(study, 2, "readmitted")]
    assert "BROKEN" in told and study in told


def test_a_class_that_does_not_exist_is_answered_with_the_one_that_does(world: Any, tmp_path: Path) -> None:
    told = world.run("exceptions", "list", str(world.file), "--kind", "INCOMPLETE_STUDIES", rc=1)
    export = world.run("exceptions", "export", str(world.file), str(tmp_path / "x.csv"), "--kind", "NOPE", rc=1)

    assert "Did you mean INCOMPLETE_STUDY?" in told
    assert "NOPE" in export and not (tmp_path / "x.csv").exists()


def test_several_exceptions_are_resolved_at_once_and_what_is_left_is_named(world: Any, url: str) -> None:
    first, second = opened(url, "UNSOLICITED", 2)

    done = world.done("exceptions", "resolve", str(world.file), str(first), "4711", str(second), "--as", "acknowledge")

    assert done.returncode == 1
    assert done.stdout == "2 exceptions resolved: acknowledge.\n"
    assert "4711" in done.stderr
    assert listed(world) == []


def test_a_class_is_resolved_after_a_question_that_names_the_number(world: Any, url: str) -> None:
    opened(url, "UNSOLICITED", 3)
    opened(url, "LATE_INSTANCE", 1)
    words = ("exceptions", "resolve", str(world.file), "--kind", "unsolicited", "--as", "acknowledge")

    asked = world.run(*words, rc=1)
    before = len(listed(world))
    world.run(*words, "--yes")
    left = listed(world)
    world.run("exceptions", "resolve", str(world.file), str(left[0]["exception_id"]), "--as", "acknowledge")

    assert "3 exceptions of UNSOLICITED" in asked and "--yes" in asked
    assert before == 4
    assert [row["kind"] for row in left] == ["LATE_INSTANCE"]


def test_a_class_is_resolved_as_far_as_it_was_looked_at_and_accepted_no_further(world: Any, url: str) -> None:
    numbers = opened(url, "UNSOLICITED", 3)
    words = ("exceptions", "resolve", str(world.file), "--kind", "UNSOLICITED")

    unseen = world.run(*words, "--as", "accept", "--yes", rc=1)
    done = world.done(*words, "--as", "acknowledge", "--up-to", str(numbers[1]), "--yes", "--json")
    left = listed(world)
    world.run(*words, "--as", "acknowledge", "--yes")

    assert "--up-to ID" in unseen
    assert done.returncode == 1
    assert json.loads(done.stdout)["left"] == [{"exception_id": numbers[2], "why": f"came after {numbers[1]}"}]
    assert [row["exception_id"] for row in left] == numbers[2:]


def test_a_run_of_a_paused_job_says_so_at_once_and_begins_nothing(world: Any) -> None:
    world.run("pause", str(world.file), "--reason", "archive upgrade")

    told = world.run("run", str(world.file), rc=2)
    dry = world.run("run", str(world.file), "--dry-run")
    world.run("run", str(world.file), "--resume", "--phase", "inventory", "--quiet")

    assert "archive upgrade" in told and f"limosa resume {world.file}" in told and "--resume" in told
    assert "archive upgrade" in dry
    assert json.loads(world.run("status", str(world.file), "--json"))["paused"] is None


def test_without_a_terminal_progress_is_json_lines_unless_told_to_be_quiet(world: Any) -> None:
    loud = world.done("run", str(world.file), "--phase", "inventory", "--inventory", "again", "--json")
    quiet = world.done("run", str(world.file), "--phase", "inventory", "--inventory", "again", "--json", "--quiet")

    assert {json.loads(line)["event"] for line in loud.stderr.splitlines()} == {"inventory"}
    assert quiet.stderr == ""
    assert json.loads(quiet.stdout).keys() == json.loads(loud.stdout).keys()


def test_studies_that_the_archive_does_not_list_are_not_passed_over(world: Any, tmp_path: Path) -> None:
    names = tmp_path / "asked.csv"
    names.write_text("1.2.3\n1.2.4\n")

    done = world.done("run", str(world.file), "--studies", str(names), "--phase", "move", "--quiet")

    assert done.returncode == 2
    assert "2 of the 2 named studies" in done.stderr and "1.2.3" in done.stderr
