"""A migration from the command line, step by step: each test goes on from where the one before it stopped."""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.simulator import Archive, Faults, Instance, synthetic_archive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STUDIES = 6


@pytest.fixture(scope="module")
def late() -> list[Instance]:
    """Instances that reach the archive after the migration."""
    return []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, new_world: Any, late: list[Instance]) -> Iterator[Any]:
    """Three studies' worth of trouble in six studies, and a job whose patience is a test's."""
    archive = Archive(synthetic_archive(studies=STUDIES, instances=3).manifest().instances)
    largest = max(archive.studies(), key=len)
    late.append(largest[-1])
    archive.remove([largest[-1].sop_uid])
    folder = tmp_path_factory.mktemp("run")
    edits = (
        ('associations = "auto" ', "quiet = 0.3\nquiet_limit = 2\nassociations = 4 "),
        ("lease = 60 ", "retry_delay = 0.2\nlease = 6 "),
        ("attempts = 3 ", "attempts = 2 "),
    )
    with new_world(folder, archive, *edits) as made, made.kept():
        yield made


def listed(world: Any) -> dict[str, dict[str, Any]]:
    rows = json.loads(world.run("studies", "list", str(world.file), "--limit", "1000", "--json"))
    return {row["study_uid"]: row for row in rows}


def study_uids(world: Any) -> list[str]:
    return sorted(held[0].study_uid for held in world.pacs.archive.studies())


def asked(world: Any) -> dict[str, int]:
    return dict(world.pacs.stats.counts)


def closed_hours() -> str:
    """Opening hours that begin in twelve hours."""
    later = (datetime.now(UTC) + timedelta(hours=12)).strftime("%H:00")
    return json.dumps([f"mon-sun {later}-{later[:3]}30"])


def test_a_dry_run_asks_nobody_and_changes_nothing(world: Any) -> None:
    told = json.loads(world.run("run", str(world.file), "--dry-run", "--json"))

    assert told == dict.fromkeys(("studies", "to_plan", "to_pull", "to_feed", "to_validate"), 0)
    assert asked(world) == {}
    assert listed(world) == {}


def test_a_title_the_archive_does_not_know_ends_the_run_with_what_to_register(world: Any) -> None:
    port = world.pacs.destinations["LIMOSA"][1]
    world.pacs.faults = Faults(refuse_destinations=True)
    try:
        told = world.run("run", str(world.file), rc=1)
    finally:
        world.pacs.faults = Faults()

    sentence = told.splitlines()[-1]
    assert "LIMOSA" in sentence and "register" in sentence and str(port) in sentence


def test_an_archive_that_refuses_our_title_for_good_ends_the_run_with_its_words_and_what_to_do(world: Any) -> None:
    world.done("run", str(world.file), "--phase", "inventory")
    world.pacs.faults = Faults(known_callers=("OTHER",))
    try:
        told = world.run("run", str(world.file), rc=2)
    finally:
        world.pacs.faults = Faults()
    problems = json.loads(world.run("exceptions", "list", str(world.file), "--json"))
    (refused,) = (row for row in problems if row["kind"] == "SOURCE_REFUSES_US")
    world.run("exceptions", "resolve", str(world.file), str(refused["exception_id"]), "--as", "acknowledge")

    said = " ".join(told.split())
    assert f"{STUDIES} studies wait for it" in said and "calling AE title not recognised" in said
    assert "limosa check" in said and "run again" in said


def test_a_limited_run_delivers_so_many_studies_and_no_more(world: Any) -> None:
    told = json.loads(world.run("run", str(world.file), "--limit", "2", "--json", rc=2))

    states = [row["status"] for row in listed(world).values()]
    assert states.count("done") == 2 and states.count("waiting") == STUDIES - 2
    # The title that was unknown is still an open exception.
    assert told["exceptions_by_kind"] == {"RECEIVER_UNKNOWN": 1}
    assert told["unfinished"] == STUDIES - 2


def test_an_acknowledged_exception_is_off_the_list(world: Any) -> None:
    (row,) = json.loads(world.run("exceptions", "list", str(world.file), "--json"))

    world.run("exceptions", "resolve", str(world.file), str(row["exception_id"]), "--as", "acknowledge")

    assert json.loads(world.run("exceptions", "list", str(world.file), "--json")) == []


def test_a_byte_that_changes_at_the_destination_is_an_integrity_failure(world: Any, tmp_path: Path) -> None:
    chosen = next(uid for uid, row in sorted(listed(world).items()) if row["status"] == "waiting")
    names = tmp_path / "list.csv"
    names.write_text(f"StudyInstanceUID,why\n{chosen},asked for\n")
    world.run("run", str(world.file), "--studies", str(names), "--phase", "move")
    only_this = [uid for uid, row in listed(world).items() if row["status"] == "written"]
    world.flip(world.keys(chosen)[0], at=700)

    told = json.loads(world.run("validate", str(world.file), "--json", rc=3))

    assert only_this == [chosen]
    assert told["exceptions_by_kind"] == {"DIGEST_MISMATCH": 1}
    assert listed(world)[chosen]["status"] == "exception"


def test_what_is_renewed_and_what_the_archive_withheld_goes_back_to_work(world: Any) -> None:
    (damaged,) = json.loads(world.run("exceptions", "list", str(world.file), "--json"))
    world.run("exceptions", "resolve", str(world.file), str(damaged["exception_id"]), "--as", "renew")
    withheld = next(uid for uid, row in sorted(listed(world).items()) if row["status"] == "waiting")
    lost = next(iter(world.pacs.archive.manifest().sop_uids(withheld)))
    world.pacs.faults = Faults(lost_sop_uids=(lost,))
    try:
        first = json.loads(world.run("run", str(world.file), "--json", rc=2))
    finally:
        world.pacs.faults = Faults()
    (missing,) = json.loads(world.run("exceptions", "list", str(world.file), "--json"))
    world.run("exceptions", "resolve", str(world.file), str(missing["exception_id"]), "--as", "retry")

    second = json.loads(world.run("run", str(world.file), "--json"))

    assert missing["study_uid"] == withheld and first["lost"] == 0
    assert second["unfinished"] == 0 and second["exceptions"] == 0
    assert {row["status"] for row in listed(world).values()} == {"done"}
    assert [key.rsplit(".r", 1)[1][:4] for key in world.keys(damaged["study_uid"])] == ["0001", "0002"]
    assert second["instances"] == len(world.pacs.archive.manifest())


def test_a_second_run_asks_the_archive_nothing_and_starts_no_ray(world: Any, tmp_path: Path) -> None:
    before = asked(world)

    told = json.loads(world.run("run", str(world.file), "--json", TMPDIR=str(tmp_path)))

    assert asked(world) == before
    assert list(tmp_path.glob("limosa-ray-*")) == []
    assert json.loads((world.state / "summary.json").read_text()) == told


def test_status_is_one_document(world: Any) -> None:
    told = json.loads(world.run("status", str(world.file), "--json"))

    assert told["studies"] == {"planned": STUDIES}
    assert told["work_left"] is False and told["paused"] is None and told["outside_hours"] is False
    assert [(row["name"], row["state"]) for row in told["destinations"]] == [("archive", "open")]


def test_a_late_instance_in_an_old_study_is_found_and_leaves_the_old_revision_alone(
    world: Any, late: list[Instance]
) -> None:
    study = late[0].study_uid
    world.pacs.archive.add(*late)
    (first,) = world.keys(study)

    told = json.loads(world.run("run", str(world.file), "--inventory", "delta", "--json"))

    row = listed(world)[study]
    assert (row["revision"], row["status"], row["instances"]) == (2, "done", len(world.pacs.archive.study(study)))
    assert world.keys(study)[0] == first and len(world.keys(study)) == 2
    assert told["unknown_packs"] == 0 and told["instances"] == len(world.pacs.archive.manifest())


def test_outside_hours_nothing_is_claimed_and_the_job_is_held_all_the_same(world: Any) -> None:
    fresh = _newcomer()
    world.pacs.archive.add(fresh)
    before = world.pacs.stats.moves
    running = world.started(
        "run", str(world.file), "--inventory", "again", "--json", LIMOSA_SCHEDULE__HOURS=closed_hours()
    )
    try:
        line = _progress(running)
        held = world.run("run", str(world.file), rc=4)
        world.run("pause", str(world.file), "--reason", "archive upgrade")
        status = json.loads(world.run("status", str(world.file), "--json"))
        world.run("resume", str(world.file))
    finally:
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=110)

    assert running.returncode == 130
    assert '"event": "interrupted"' in told and "Nothing is lost; run it again" in told.splitlines()[-1]
    assert line["outside_hours"] is True and line["settled"] == line["deliveries"] - 1
    assert "process" in held and "Wait for it" in held
    assert status["paused"] == "archive upgrade" and status["claims"] == 0
    assert world.pacs.stats.moves == before
    assert listed(world)[fresh.study_uid]["status"] == "waiting"


def _progress(running: Any) -> dict[str, Any]:
    """The first progress line; the run ends with the test's own time limit when none comes."""
    for text in running.stderr:
        line = json.loads(text)
        if line["event"] == "progress":
            return line
    pytest.fail("the run ended without a progress line")


def _newcomer() -> Instance:
    """One instance of a study that the archive does not have yet."""
    return synthetic_archive(studies=STUDIES + 1, seed=11, instances=1).studies()[-1][0]
