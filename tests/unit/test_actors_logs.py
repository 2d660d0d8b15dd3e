"""A process writes its log where it was told last."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from actors.logs import log_to

log = structlog.get_logger()


@pytest.fixture(autouse=True)
def settings_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_a_logger_that_has_logged_follows_to_another_file(tmp_path: Path) -> None:
    for name in ("first", "second"):
        log_to(tmp_path / name)
        log.warning("told", place=name)

    for name in ("first", "second"):
        (line,) = (tmp_path / name).read_text().splitlines()
        assert f'"place": "{name}"' in line
    with structlog.testing.capture_logs() as events:
        log.warning("heard")
    assert [each["event"] for each in events] == ["heard"]
