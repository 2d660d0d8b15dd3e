"""The test session itself keeps its promises: it says what it did not run, and leaves nothing behind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDS_A_PEER = "import pytest\n\n@pytest.mark.peer('absent-peer')\ndef test_with_it(): pass\n"
# The shell ends at once, so the sleeper has no parent in this session any more.
LEAVES_AN_ORPHAN = (
    "import subprocess\n\ndef test_careless():\n"
    "    subprocess.run(['sh', '-c', 'setsid sleep 300 >/dev/null 2>&1 &'], check=True)\n"
)


def run_session(folder: Path, test: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A session of its own over one test module, with our conftest and our settings."""
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "test_inner.py").write_text(test)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp", str(folder / "tmp"), "test_inner.py"],
        cwd=folder,
        env=os.environ | {"CI": "", "PYTHONDONTWRITEBYTECODE": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_a_test_without_its_peer_is_listed_as_not_run(tmp_path: Path) -> None:
    outcome = run_session(tmp_path, NEEDS_A_PEER)

    assert outcome.returncode == 0, outcome.stdout
    assert "not run: absent-peer absent (1 tests)" in outcome.stdout


def test_in_ci_a_test_without_its_peer_fails(tmp_path: Path) -> None:
    outcome = run_session(tmp_path, NEEDS_A_PEER, CI="true")

    assert outcome.returncode == 1
    assert "CI must run everything" in outcome.stdout


def test_an_orphan_fails_the_session_and_is_ended(tmp_path: Path) -> None:
    outcome = run_session(tmp_path, LEAVES_AN_ORPHAN, LIMOSA_TEST_FAREWELL_SECONDS="0.1")

    assert outcome.returncode == 1
    assert "left running" in outcome.stdout
    assert "sleep 300" in outcome.stdout
