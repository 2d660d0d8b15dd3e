"""The baseline as a person gets it: an archive, the command, and a page that is looked at in a real browser."""

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cluster.cli.exits import Stop
from cluster.cli.inventory import inventory
from cluster.inventory.take import Pass
from infra.simulator import synthetic_archive

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas"
CHROMIUM = shutil.which("chromium")
STUDIES = 20
MEASURED = "<script>document.title = document.documentElement.scrollWidth + ' of ' + window.innerWidth</script>"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, new_world: Any) -> Iterator[Any]:
    with new_world(tmp_path_factory.mktemp("baseline"), synthetic_archive(studies=STUDIES)) as made, made.kept():
        yield made


@pytest.fixture(scope="module")
def baseline(world: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The summary on standard output, and the folder with the reports."""
    folder = tmp_path_factory.mktemp("reports")
    reports = [word for form in ("html", "json", "csv") for word in ("--report", str(folder / f"baseline.{form}"))]
    told = json.loads(world.run("inventory", str(world.file), "--sample", "12", *reports, "--json"))
    return told, folder


def test_a_baseline_has_every_study_and_says_what_it_is_based_on(baseline: Any, world: Any) -> None:
    told, folder = baseline

    document = json.loads((folder / "baseline.json").read_text(encoding="utf-8"))

    assert list(Draft202012Validator(schema("inventory-report")).iter_errors(document)) == []
    assert document == told["baseline"]
    assert document["bases"] == {"listed": STUDIES, "sampled": 12, "pulled": 0}
    assert document["enumerated"] is True
    assert document["totals"]["instances"] == len(list(world.pacs.archive.manifest()))
    assert sum(row["studies"] for row in document["modalities"]) == STUDIES
    assert sum(row["studies"] for row in document["datings"]) == STUDIES


def test_a_sample_reads_one_image_of_each_series(baseline: Any, world: Any) -> None:
    document = baseline[0]["baseline"]
    damage = {row["what"].split(" that ")[-1]: (row["count"], row["of"]) for row in document["damage"]}

    absent = damage["the archive lists and did not send"]
    assert absent[1] >= 12
    assert absent[0] == 0
    assert sum(row["series"] for row in document["equipment"]) == absent[1]
    assert all(row["manufacturer"] for row in document["equipment"])


def test_no_report_holds_a_value_of_a_patient(baseline: Any, world: Any) -> None:
    _, folder = baseline
    texts = [path.read_text(encoding="utf-8") for path in folder.iterdir()]
    keywords = (0x00100010, 0x00100020, 0x00080050, 0x0020000D)

    values = {
        value
        for instance in world.pacs.archive.manifest()
        for tag in keywords
        if len(value := instance.attributes.get(tag, b"").decode("latin-1").strip(" \0")) > 5
    }

    assert values
    assert [value for value in values for text in texts if value in text] == []


def test_the_csv_has_the_numbers_of_the_json(baseline: Any) -> None:
    told, folder = baseline

    with (folder / "baseline.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    studies = {
        row["item"]: int(row["value"]) for row in rows if row["table"] == "modalities" and row["measure"] == "studies"
    }
    assert studies == {row["modality"]: row["studies"] for row in told["baseline"]["modalities"]}


def test_a_report_from_the_ledger_alone_asks_nobody(baseline: Any, world: Any, tmp_path: Path) -> None:
    before = world.pacs.stats.finds

    inventory(world.file, which=Pass.NOTHING, report=[tmp_path / "r.json"])

    assert before > 0
    assert world.pacs.stats.finds == before
    assert json.loads((tmp_path / "r.json").read_text())["totals"] == baseline[0]["baseline"]["totals"]


def test_where_nobody_watches_progress_is_lines_of_json(
    baseline: Any, world: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory(world.file, which=Pass.DELTA, days=1)
    first, *_ = map(json.loads, capsys.readouterr().err.splitlines())
    inventory(world.file, which=Pass.DELTA, days=1, quiet=True)

    assert first["event"] == "inventory"
    assert first["asked"] >= 1
    assert capsys.readouterr().err == ""


def test_a_report_of_another_form_is_refused_before_anything_is_asked(world: Any) -> None:
    with pytest.raises(Stop, match=r"\.html, \.json or \.csv"):
        inventory(world.file, report=[Path("baseline.pdf")])


def test_a_plan_takes_what_the_inventory_found_and_its_page_is_no_wider_than_the_screen(
    baseline: Any, world: Any, tmp_path: Path
) -> None:
    page, totals = tmp_path / "plan.html", baseline[0]["baseline"]["totals"]
    given = ("--association-rate", "1MB/s", "--link", "10Mbit/s", "--report", str(page))

    told = json.loads(world.run("capacity", str(world.file), *given, "--json"))

    assert list(Draft202012Validator(schema("capacity-report")).iter_errors(told)) == []
    bases = {row["name"]: row["basis"] for row in told["inputs"]}
    assert (bases["size"], bases["new_per_day"], bases["associations"]) == ("ledger", "ledger", "job file")
    assert (told["bytes"], told["bytes_low"]) == (totals["bytes"]["value"], totals["bytes"]["low"])
    assert told["quicker"] == "network"
    if CHROMIUM is not None:
        assert overhang(page, 500) <= 0


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_shows_the_page_without_scrolling_sideways(baseline: Any, tmp_path: Path, width: int) -> None:
    text = (baseline[1] / "baseline.html").read_text(encoding="utf-8")
    page = tmp_path / "page.html"
    # Only so that it can be measured: the page itself allows no script.
    page.write_text(re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", f"{MEASURED}</body>"))

    shown = browser(page, width)

    found = re.search(r"<title>(\d+) of (\d+)</title>", shown)
    assert found is not None
    assert int(found[1]) <= int(found[2])
    assert shown.count("<section") == 13
    assert "<h2>Findings</h2>" in shown


@pytest.mark.long
def test_a_pilot_moves_its_days_and_says_what_that_means_for_the_rest(
    baseline: Any, world: Any, tmp_path: Path
) -> None:
    page, twin = tmp_path / "pilot.html", tmp_path / "pilot.json"
    foreseen = json.loads(world.run("pilot", str(world.file), "--days", "6", "--limit", "8", "--dry-run", "--json"))

    told = json.loads(
        world.run(
            *("pilot", str(world.file), "--days", "6", "--limit", "8", "--quiet", "--json"),
            *("--report", str(page), "--report", str(twin)),
            rc=2,
        )
    )

    assert list(Draft202012Validator(schema("pilot-report")).iter_errors(told)) == []
    assert json.loads(twin.read_text()) == told
    assert [row["day"] for row in told["days"]] == [row["day"] for row in foreseen]
    assert told["studies"] == told["ended"] == sum(row["moved"] for row in foreseen) <= 8
    assert told["expected"]["archive_studies"] == STUDIES
    # Eight studies are too few to promise anything of the rest, whatever became of them.
    assert told["decision"] == "go, with conditions", told["reasons"]
    assert "GO, WITH CONDITIONS" in page.read_text()


def overhang(page: Path, width: int) -> int:
    """Pixels by which the page is wider than the window."""
    text = page.read_text(encoding="utf-8")
    # Only so that it can be measured: the page itself allows no script.
    page.write_text(re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", f"{MEASURED}</body>"))
    found = re.search(r"<title>(\d+) of (\d+)</title>", browser(page, width))
    assert found is not None
    return int(found[1]) - int(found[2])


def browser(page: Path, width: int) -> str:
    """The page as the browser has built it."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'profile'}",
         f"--window-size={width},900", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


def schema(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
