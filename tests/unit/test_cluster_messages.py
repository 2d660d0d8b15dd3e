"""What commands say when something is missing: what, and the next step, with the names that were given."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.cli import build
from cluster.cli.exits import Stop, ended
from cluster.cli.reports import report_files, write_reports
from infra.embedded.process import choose_ports

Said = Callable[..., tuple[int, str]]

JOB = """
[job]
name = "small"
[ledger]
url = "postgresql://limosa@127.0.0.1:{port}/limosa"
[source]
host = "127.0.0.1"
port = 4242
ae_title = "PACS"
[[receivers]]
ae_title = "LIMOSA"
port = 11112
[[destinations]]
kind = "seed"
name = "disks"
devices = ["{device}"]
"""


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Said:
    """A command's exit code, and what it wrote to standard error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "move.toml").write_text(JOB.format(port=choose_ports(1)[0], device=tmp_path / "seed-1"))

    def run(*words: str) -> tuple[int, str]:
        code = ended(lambda: build()([*words], standalone_mode=False, prog_name="limosa"))
        return code, capsys.readouterr().err

    return run


def test_a_next_step_names_the_job_file_that_was_given(said: Said) -> None:
    code, told = said("status", "./move.toml")

    assert code == 1
    assert told.endswith("Then: limosa check move.toml\n")


def test_a_device_folder_that_is_missing_is_to_be_mounted_or_made(said: Said) -> None:
    code, told = said("seed", "init", "move.toml", "seed-1", "--serial", "S1")

    assert code == 1
    assert "seed-1 is no folder: mount the device there, or make the folder (mkdir seed-1)" in told


def test_a_folder_that_workers_would_not_find_is_a_mistake_in_the_job_file(said: Said, tmp_path: Path) -> None:
    file = tmp_path / "move.toml"
    file.write_text(file.read_text().replace(str(tmp_path / "seed-1"), "seed-1"))

    code, told = said("status", "move.toml")

    assert code == 1
    assert "devices[1]: must be an absolute path: workers run in folders of their own" in told


@pytest.mark.parametrize("command", ["key", "disk-key"])
def test_a_key_that_is_there_may_be_used_or_left(said: Said, command: str) -> None:
    assert said("seed", command, "seal.key")[0] == 0

    code, told = said("seed", command, "seal.key")

    assert code == 1
    assert "never replaced: use it, or name another file" in told


def test_a_report_whose_form_nobody_knows_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    forms = {".html": lambda document: f"<p>{document['a']}</p>", ".json": lambda document: "{}"}
    good = [tmp_path / "a.html", tmp_path / "a.json"]

    with pytest.raises(Stop, match=r"--report a\.pdf: the name has to end in \.html or \.json"):
        report_files([*good, tmp_path / "a.pdf"], forms)
    write_reports(report_files(good, forms), forms, {"a": 1})

    assert [path.read_text() for path in good] == ["<p>1</p>", "{}"]
