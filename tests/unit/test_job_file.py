"""A job file is accepted whole or refused with every mistake named."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from cluster.job import Job, load_job
from cluster.job_errors import JobFileError

TEMPLATE = Path(__file__).parents[2] / "cluster" / "job_template.toml"


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "move.toml"
    path.write_text(text)
    return path


def _changed(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = TEMPLATE.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return _written(tmp_path, text)


def _refusal(path: Path) -> JobFileError:
    with pytest.raises(JobFileError) as caught:
        load_job(path)
    return caught.value


def test_the_template_loads_as_it_is() -> None:
    job = load_job(TEMPLATE)

    assert job.ledger.url == "embedded"
    assert job.inline_destination.name == "archive"
    assert job.limits.lease == timedelta(seconds=60)


def test_every_commented_out_setting_of_the_template_is_a_real_one(tmp_path: Path) -> None:
    lines = [re.sub(r"^# (\w+ = |\[\[)", r"\1", line) for line in TEMPLATE.read_text().splitlines()]

    job = load_job(
        _written(tmp_path, "\n".join(lines).replace('url = "embedded"', 'url = "postgresql://limosa@db/limosa"', 1))
    )

    assert [item.name for item in job.destinations] == ["archive", "seed"]
    assert job.find_cap == 500


def test_the_state_folder_lies_beside_the_job_file(tmp_path: Path) -> None:
    job = load_job(_changed(tmp_path))

    assert job.state_dir == tmp_path / "move.limosa"


def test_a_misspelt_name_is_refused_with_its_line_and_the_nearest_right_one(tmp_path: Path) -> None:
    path = _changed(tmp_path, ("log_level =", "log_levle ="))

    (mistake,) = _refusal(path).mistakes

    line = path.read_text().splitlines().index('log_levle = "info"') + 1
    assert mistake.line == line
    assert mistake.path == "cluster.log_levle"
    assert "did you mean log_level?" in mistake.what
    assert "Allowed here: feeder_lanes, feeders, log_level, ray" in mistake.what


def test_a_misspelt_name_in_a_destination_names_that_destinations_settings(tmp_path: Path) -> None:
    (mistake,) = _refusal(_changed(tmp_path, ('bucket = "limosa"', 'bucket = "limosa"\nbuckt = "x"'))).mistakes

    assert mistake.path == "destinations[1].buckt"
    assert "did you mean bucket?" in mistake.what


def test_all_mistakes_are_listed_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    path = _changed(
        tmp_path,
        ("port = 104", "port = 0"),
        ('time_zone = "UTC"', 'time_zone = "Mars"'),
        ("hours = []", 'hours = ["x"]'),
    )

    mistakes = _refusal(path).mistakes

    assert [mistake.path for mistake in mistakes] == ["job.time_zone", "source.port", "schedule.hours"]


def test_embedded_postgres_with_a_ray_cluster_elsewhere_is_refused_with_the_reason(tmp_path: Path) -> None:
    refusal = _refusal(_changed(tmp_path, ('ray = "local"', 'ray = "ray://head:10001"')))

    assert any("could not reach it" in mistake.what for mistake in refusal.mistakes)


def test_a_password_in_the_ledgers_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    refusal = _refusal(_changed(tmp_path, ('url = "embedded"', 'url = "postgresql://u:hunter2@db/limosa"')))

    assert "env:NAME" in str(refusal)
    assert "hunter2" not in str(refusal)


def test_a_password_comes_from_where_the_job_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "p@ss/word")
    path = _changed(
        tmp_path, ('url = "embedded"', 'url = "postgresql://u@db:5433/limosa"\npassword = "env:DB_PASSWORD"')
    )

    job = load_job(path)

    assert job.ledger.address.resolved() == "postgresql://u:p%40ss%2Fword@db:5433/limosa"
    assert "p@ss" not in repr(job) and "p@ss" not in str(job.shown())


def test_the_environment_overrides_one_key_and_leaves_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMOSA_SOURCE__HOST", "pacs.example")

    job = load_job(_changed(tmp_path))

    assert job.source.host == "pacs.example"
    assert job.source.ae_title == "PACS"


def test_two_destinations_of_one_name_are_refused(tmp_path: Path) -> None:
    extra = '[[destinations]]\nkind = "seed"\nname = "archive"\ndevices = ["/media/a"]\n[limits]'

    refusal = _refusal(_changed(tmp_path, ("[limits]", extra)))

    assert any("share the name" in mistake.what for mistake in refusal.mistakes)


def test_the_destination_marked_inline_is_written_first(tmp_path: Path) -> None:
    extra = '[[destinations]]\nkind = "seed"\nname = "disk"\ninline = true\ndevices = ["/media/a"]\n[limits]'

    job = load_job(_changed(tmp_path, ("[limits]", extra)))

    assert job.inline_destination.name == "disk"


def test_a_missing_file_says_how_to_write_one(tmp_path: Path) -> None:
    assert "limosa init" in str(_refusal(tmp_path / "none.toml"))


def test_broken_toml_names_its_line(tmp_path: Path) -> None:
    (mistake,) = _refusal(_written(tmp_path, "[job]\nname = \n")).mistakes

    assert mistake.line == 2


def test_job_settings_are_frozen() -> None:
    job: Job = load_job(TEMPLATE)

    with pytest.raises(Exception, match="frozen"):
        job.job = job.job  # type: ignore[misc]
