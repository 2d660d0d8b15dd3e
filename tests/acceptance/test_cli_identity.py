"""What the hospital told, from the command line to a plan, and the people who decide what is left."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.simulator import Faults
from perf.planted_archive import JOB, planted_hospital

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hospital() -> Any:
    return planted_hospital(studies=60, each=2, seed=5)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, new_world: Any, hospital: Any) -> Iterator[Any]:
    """An archive with planted faults, inventoried, and what the hospital told of it read."""
    folder = tmp_path_factory.mktemp("identity")
    for name, text in (("index", hospital.index), ("crosswalk", hospital.crosswalk), ("orders", hospital.orders)):
        (folder / f"{name}.csv").write_text(text)
    (folder / "adt.hl7").write_bytes(hospital.adt)
    with new_world(folder, hospital.archive) as made, made.kept():
        made.pacs.faults = Faults(study_per_patient=True)
        made.file.write_text(made.file.read_text() + JOB)
        made.run("inventory", str(made.file), rc=2)
        files = [str(folder / name) for name in ("adt.hl7", "index.csv", "crosswalk.csv")]
        made.run("identity", "import", str(made.file), *files)
        made.run("accession", "import", str(made.file), str(folder / "orders.csv"))
        yield made


def plan(world: Any, *words: str) -> dict[str, Any]:
    return json.loads(world.run("plan", str(world.file), "--json", *words, rc=2))


def test_a_plan_is_looked_at_applied_and_decided_by_people(world: Any, hospital: Any, tmp_path: Path) -> None:
    job = str(world.file)
    faulty = {uid for uid, kinds in hospital.planted.items() if kinds}

    looked = plan(world, "--list", "100")
    told = world.run("plan", job, "--list", "7", rc=2)
    applied = plan(world, "--apply")
    world.run("exceptions", "export", job, str(tmp_path / "all.json"))
    exported = json.loads((tmp_path / "all.json").read_text())
    world.run("exceptions", "assign", job, "--kind", "DEMOGRAPHIC_REVIEW", "--to", "a.braun")
    mine = json.loads(world.run("exceptions", "list", job, "--owner", "a.braun", "--json"))
    accepting = ("exceptions", "resolve", job, "--kind", "DEMOGRAPHIC_REVIEW", "--as", "accept", "--yes")
    world.run(*accepting, "--up-to", str(mine[-1]["exception_id"]))
    after = plan(world, "--apply")

    assert (looked["verdicts"], looked["classes"]) == (applied["verdicts"], applied["classes"])
    assert looked["applied"] is None
    assert [row["why"] for row in looked["changes"]] == ["new"] * 60
    assert applied["changes"] == []
    assert "7 of 60 are listed; --list 60 lists all." in told
    assert "name, birth date, accession number" in told
    assert applied["applied"]["decided"] == 60
    assert {row["study_uid"] for row in exported} == faulty
    assert [row["kind"] for row in mine] == ["DEMOGRAPHIC_REVIEW"] * 2
    assert all(row["owner"] == "a.braun" and row["first_seen"] <= row["last_seen"] for row in mine)
    assert after["accepted"] == 2
    assert after["verdicts"]["review"] == applied["verdicts"]["review"] - 2


def test_what_the_plan_proposes_no_more_is_not_accepted_and_the_next_command_is_named(
    world: Any, tmp_path: Path
) -> None:
    job = str(world.file)
    plan(world, "--apply")
    seen = json.loads(world.run("exceptions", "list", job, "--kind", "DEMOGRAPHIC_CONFLICT", "--json"))[0]
    shown = json.loads(world.run("exceptions", "show", job, str(seen["exception_id"]), "--json"))
    row = json.loads(world.run("studies", "show", job, seen["study_uid"], "--json"))
    number = f"{row['issuer'] or 'NORTH'},{row['patient_id']}"
    (tmp_path / "snapshot.csv").write_text(f"issuer,id,name,birth_date,sex\n{number},Quux^Zeno,19111111,M\n")
    world.run("identity", "import", job, str(tmp_path / "snapshot.csv"), "--as", "snapshot")
    plan(world, "--apply")

    done = world.done("exceptions", "resolve", job, str(seen["exception_id"]), "--as", "accept")
    other = json.loads(world.run("exceptions", "list", job, "--kind", "DEMOGRAPHIC_CONFLICT", "--json"))

    assert shown["proposal"]
    assert done.returncode == 1
    [now] = [row["exception_id"] for row in other if row["study_uid"] == seen["study_uid"]]
    assert f"proposes something else for study {seen['study_uid']} today (" in done.stderr
    assert f"`limosa exceptions show {job} {now}`" in done.stderr
    assert "Quux" not in done.stderr and "1911" not in done.stderr


def test_a_number_is_followed_to_its_survivor(world: Any) -> None:
    shown = json.loads(world.run("identity", "show", str(world.file), "--id", "10001", "--json"))

    assert shown["survivor"] == ["NORTH", "00010001"]
    assert shown["person"]["name"]


def test_what_cannot_be_used_is_told_without_its_value(world: Any, tmp_path: Path) -> None:
    table = tmp_path / "wrong.csv"
    table.write_text("issuer,id,name,birth_date,sex\nNOWHERE,1,Secret^Name,19700101,F\n")

    done = world.done("identity", "import", str(world.file), str(table))

    assert done.returncode == 2
    assert done.stderr == "limosa: wrong.csv: line 2, column id: IDENTIFIER (ISSUER_UNKNOWN)\n"
    assert "Secret" not in done.stdout + done.stderr

    again = world.done("identity", "import", str(world.file), str(table))

    assert (again.returncode, again.stderr) == (2, done.stderr)
    assert "True" in again.stdout


def test_a_file_taken_back_counts_no_more_and_may_be_read_again(world: Any, tmp_path: Path) -> None:
    job, table = str(world.file), tmp_path / "mistaken.csv"
    table.write_text("old_issuer,old_id,new_issuer,new_id,kind\nNORTH,9001,NORTH,9002,merge\n")
    world.run("identity", "import", job, str(table))
    [number] = [
        str(file["file_id"])
        for file in json.loads(world.run("identity", "show", job, "--json"))
        if file["name"] == table.name
    ]

    asked = world.run("identity", "forget", job, number, rc=1)
    told = json.loads(world.run("identity", "forget", job, number, "--yes", "--reason", "test system", "--json"))
    again = world.run("identity", "forget", job, number, "--yes", rc=1)

    assert "mistaken.csv (crosswalk, 1 event) will not count any more. Nobody can be asked here: add --yes." in asked
    assert (told["name"], told["events"], told["kept"]) == (table.name, 1, 0)
    assert f"no file {number} counts; `limosa identity show {job}` lists those that do" in again
    assert json.loads(world.run("identity", "import", job, str(table), "--json"))[0]["events"] == 1
