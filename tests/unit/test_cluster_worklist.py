"""Lists of studies are taken whole or refused with the line that is wrong; faults name what to look at."""

from pathlib import Path

import pytest

from actors.source import SourceUnreachable
from cluster.cli.exits import Stop
from cluster.cli.faults import expected
from cluster.cli.worklist import read_studies, worklist
from cluster.output import told_size


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "1.2.3\n1.2.4\n",
        "StudyInstanceUID,why\n1.2.3,asked for\n1.2.4,\n1.2.3,again\n",
        'Study Instance UID (0020,000D);name\n"1.2.3";x\n\n"1.2.4";y\n',
        "\ufeffuid\t\n1.2.3\t1\n1.2.4\t2\n",
    ],
    ids=["bare", "commas", "semicolons", "tabs"],
)
def test_a_list_is_read_with_or_without_a_heading_however_its_columns_are_parted(tmp_path: Path, text: str) -> None:
    assert read_studies(written(tmp_path, text)) == ("1.2.3", "1.2.4")


@pytest.mark.parametrize("first", ["l.2.840.10008", "1.2.840..5", "1.2.840.10008x", "1.2 .3"])
def test_a_first_line_that_was_mistyped_is_refused_and_not_taken_for_a_heading(tmp_path: Path, first: str) -> None:
    path = written(tmp_path, f"{first}\n1.2.4\n")

    with pytest.raises(Stop, match="line 1 is no Study Instance UID"):
        read_studies(path)


def test_a_later_line_that_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="line 3 "):
        read_studies(written(tmp_path, "uid\n1.2.3\nnothing\n"))


def test_studies_are_named_in_one_way_only(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="one of the two"):
        worklist(None, None)
    with pytest.raises(Stop, match="one of the two"):
        worklist(["1.2.3"], written(tmp_path, "1.2.3\n"))

    assert worklist(["1.2.3", "1.2.3"], None) == ("1.2.3",)


@pytest.mark.parametrize(
    ("error", "settings"),
    [
        (SourceUnreachable("no connection to pacs:104"), "[source] where it is (host and port"),
        (SourceUnreachable("rejected", refused=True), "what it and we are called (ae_title, calling_ae_title)"),
    ],
    ids=["away", "refused"],
)
def test_an_archive_that_is_away_or_refuses_us_is_told_with_the_settings_to_look_at(
    error: SourceUnreachable, settings: str
) -> None:
    told = expected(error)

    assert told is not None and settings in told[0] and "limosa check" in told[0]


@pytest.mark.parametrize(
    ("octets", "told"),
    [(999, "999 bytes"), (53_892_123, "53892123 bytes (53.9 MB)"), (2 * 10**12, "2000000000000 bytes (2.0 TB)")],
)
def test_a_number_of_bytes_is_exact_and_readable(octets: int, told: str) -> None:
    assert told_size(octets) == told
