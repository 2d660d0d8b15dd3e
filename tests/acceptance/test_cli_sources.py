"""Sources without receivers, as a person asks them: what is wrong with one is said before it is believed."""

from pathlib import Path
from typing import Any

from infra.embedded.postgres import EmbeddedPostgres
from infra.simulator.webarchive import WebArchive

JOB = """
[job]
name = "web"

[source]
kind = "dicomweb"
url = "{url}"

[[destinations]]
kind = "seed"
name = "disk"
devices = ["{device}"]
"""


def test_a_wrong_address_is_no_empty_archive(tmp_path: Path, limosa: Any) -> None:
    (tmp_path / "device").mkdir()
    file = tmp_path / "web.toml"
    with WebArchive(tmp_path / "archive") as web:
        file.write_text(JOB.format(url=f"{web.url}/elsewhere", device=tmp_path / "device"))

        done = limosa("inventory", str(file))
    EmbeddedPostgres(file.with_suffix(".limosa") / "services" / "postgres").remove()

    assert done.returncode == 1
    assert "404" in done.stderr
    assert "url" in done.stderr
