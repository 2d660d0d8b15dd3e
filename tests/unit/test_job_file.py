"""A job file is accepted whole or refused with every mistake named."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from cluster.job import Job, load_job
from cluster.job_errors import JobFileError
from cluster.job_words import SHAPES

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
    lines = [re.sub(r"^# (\w+ = |\[|\]$|  \{)", r"\1", line) for line in TEMPLATE.read_text().splitlines()]

    job = load_job(
        _written(tmp_path, "\n".join(lines).replace('url = "embedded"', 'url = "postgresql://limosa@db/limosa"', 1))
    )

    assert [item.name for item in job.destinations] == ["archive", "seed"]
    assert job.source.tls is not None and job.source.tls.ca is not None
    assert [item.tls is not None for item in job.receivers] == [True]
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


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("port = 104", 'port = "abc"', 'source.port: must be a whole number, but holds "abc"'),
        ("port = 104", "port = 0", "source.port: must be 1 or more, but holds 0"),
        (
            "lease = 60",
            'lease = "soon"',
            'limits.lease: must be a number of seconds, or text such as "PT1M", but holds',
        ),
        ('memory = "512MiB"', 'memory = "lots"', "limits.memory: must be a number of bytes, or text such as"),
        (
            'name = "my-migration"',
            'name = "My Job"',
            "job.name: must be 1 to 63 lower-case letters, digits and hyphens",
        ),
        (
            'log_level = "info"',
            'log_level = "loud"',
            'cluster.log_level: must be "debug", "info", "warning" or "error"',
        ),
        ('kind = "s3"', 'kind = "s4"', "destinations[1]: has a kind that does not exist"),
        ("[[receivers]]", "[receivers]", "receivers: must be written [[receivers]], in double brackets"),
        ("hours = []", 'hours = "always"', "schedule.hours: must be a list, in brackets"),
    ],
    ids=lambda text: text[:24],
)
def test_a_mistake_is_told_with_its_line_its_key_and_what_is_wanted(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    path = _changed(tmp_path, (old, new))

    (mistake,) = _refusal(path).mistakes

    assert str(mistake).startswith(f"line {mistake.line}: {told}")
    assert not re.search("[Ii]nput should|pattern|tuple|timedelta|parse", str(mistake))


def test_a_secret_that_stands_where_its_reference_belongs_is_not_repeated(tmp_path: Path) -> None:
    path = _changed(tmp_path, ('url = "embedded"', 'url = "postgresql://u@db/limosa"\npassword = "hunter2"'))

    told = str(_refusal(path))

    assert "env:NAME" in told and "hunter2" not in told


def test_a_mistake_of_the_environment_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMOSA_SOURCE__PORT", "abc")

    (mistake,) = _refusal(_changed(tmp_path)).mistakes

    assert mistake.line is None
    assert str(mistake) == 'source.port (from LIMOSA_SOURCE__PORT): must be a whole number, but holds "abc"'


def test_every_shape_that_a_setting_must_have_is_said_in_words() -> None:
    patterns = set(re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', json.dumps(Job.model_json_schema())))

    # Sizes have a pattern in the schema only; what is wrong with one has words of its own.
    unspoken = {json.loads(each) for each in patterns} - SHAPES.keys()
    assert all("\\w" in each for each in unspoken)
