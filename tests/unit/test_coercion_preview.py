"""`limosa coercion preview` shows what rules would do to files and does nothing else."""

import json
import re
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from cluster.cli import build

JOB = """
[job]
name = "move"
[source]
host = "127.0.0.1"
port = 104
ae_title = "PACS"
[[receivers]]
ae_title = "LIMOSA"
port = 11112
[[destinations]]
kind = "s3"
name = "archive"
bucket = "images"
"""
RULE = """
[[coercion.rules]]
name = "site"
actions = [
  { kind = "set", attribute = "InstitutionName", value = "North" },
  { kind = "pad", attribute = "PatientID", width = %d },
  { kind = "remove", attribute = "StudyDescription" },
]
"""
IMAGE = Path(str(get_testdata_file("CT_small.dcm")))


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    return tmp_path / "move.toml"


def preview(job_file: Path, *words: str):
    return CliRunner().invoke(build(), ["coercion", "preview", str(job_file), *words], standalone_mode=False)


def test_every_change_is_shown_with_its_rule_and_both_values(job_file: Path) -> None:
    job_file.write_text(JOB + RULE % 9)
    before = IMAGE.read_bytes()

    shown = preview(job_file, str(IMAGE), "--json")

    rows = [(row["rule"], row["attribute"], row["before"], row["after"]) for row in json.loads(shown.stdout)]
    assert rows == [
        ("site/1", "InstitutionName", "JFK IMAGING CENTER", "North"),
        ("site/1", "PatientID", "1CT1", "000001CT1"),
        ("site/1", "StudyDescription", "e+1", None),
    ]
    assert shown.return_value == 0
    assert IMAGE.read_bytes() == before
    assert [path.name for path in job_file.parent.iterdir()] == ["move.toml"]


def test_a_file_that_would_stop_its_study_is_named_and_ends_with_two(job_file: Path, tmp_path: Path) -> None:
    job_file.write_text(
        JOB
        + RULE.replace("PatientID", "AccessionNumber") % 20
        + 'when = [{ attribute = "PatientID", equals = "1CT1" }]\n'
    )
    content = IMAGE.read_bytes()
    other = tmp_path / "other.dcm"
    other.write_bytes(content.replace(b"\x08\x00\x50\x00SH\x00\x00", b"\x08\x00\x50\x00SH\x02\x0017", 1))
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"no DICOM at all")

    shown = preview(job_file, str(other), str(broken), "--json")

    found = {Path(row["file"]).name: (row["attribute"], row["problem"]) for row in json.loads(shown.stdout)}
    assert found["other.dcm"] == ("AccessionNumber", "the new value has more than the 16 characters of VR SH")
    assert re.match("no instance that could be moved", found["broken.dcm"][1])
    assert shown.return_value == 2


def test_a_job_without_rules_has_nothing_to_show(job_file: Path) -> None:
    job_file.write_text(JOB)

    shown = preview(job_file, str(IMAGE))

    assert "has no rules" in str(shown.exception)


def test_a_file_that_cannot_be_read_is_listed_and_the_others_are_looked_at(job_file: Path) -> None:
    job_file.write_text(JOB + RULE % 9)

    shown = preview(job_file, "absent.dcm", str(IMAGE))

    assert "absent.dcm\t\t\t-\t-\tcannot be read: No such file or directory" in shown.stdout
    assert "2 files, 1 would be changed, 1 would stop their study." in shown.stdout
