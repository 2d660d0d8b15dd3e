"""Limosa refuses to start on a stranger's package, and says whose it is."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

import limosa

HOME = Path(limosa.__file__).resolve().parent


def run_beside(folder: Path) -> subprocess.CompletedProcess[str]:
    """The command, with `folder` ahead of everything installed."""
    return subprocess.run(
        [sys.executable, "-c", "import limosa; limosa.main()", "--help"],
        env=os.environ | {"PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_clean_environment_has_no_intruder() -> None:
    assert list(limosa.intruders(HOME, importlib.metadata.packages_distributions())) == []


@pytest.mark.parametrize("package", limosa.PACKAGES)
def test_a_package_ahead_of_ours_is_refused_by_name(package: str, tmp_path: Path) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("raise SystemExit('a stranger ran')")

    outcome = run_beside(tmp_path)

    assert outcome.returncode == limosa.FAULT
    assert f"package {package} is {tmp_path / package}" in outcome.stderr
    assert "a stranger ran" not in outcome.stderr


def test_a_distribution_that_overwrote_ours_is_refused_by_name(tmp_path: Path) -> None:
    metadata = tmp_path / "unrelated_cluster-3.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: unrelated-cluster\nVersion: 3.0\n")
    (metadata / "top_level.txt").write_text("cluster\n")

    outcome = run_beside(tmp_path)

    assert outcome.returncode == limosa.FAULT
    assert "cluster was also installed by the distribution unrelated-cluster" in outcome.stderr


def test_the_guard_names_every_package_that_is_shipped() -> None:
    shipped = {
        name.split(".")[0] for name in importlib.metadata.distribution("limosa").read_text("top_level.txt").split()
    }

    assert shipped == {*limosa.PACKAGES, limosa.PRODUCT}
