"""The house's rules that no linter knows."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("cluster", "actors", "storage", "imaging", "infra", "perf", "tests")
SOURCES = [ROOT / "limosa.py", *sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
LARGEST_BYTES = 25_000
NAMELESS = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
# Where a library may be imported, as prefixes of paths; narrower than what import-linter can say.
PLACES = {
    "boto3": ("storage/sinks/s3", "tests/", "perf/"),
    "botocore": ("storage/sinks/s3", "tests/", "perf/"),
    "psycopg": ("storage/ledger/", "tests/", "perf/"),
    "psycopg_pool": ("storage/ledger/", "tests/", "perf/"),
    "pynetdicom": ("actors/dimse/", "infra/simulator/", "tests/", "perf/"),
    "ray": ("actors/shells", "cluster/", "tests/", "perf/"),
    "starlette": ("cluster/web/", "tests/", "perf/"),
    "httpx": ("storage/dicomweb/", "tests/", "perf/"),
    "infra": ("infra/", "cluster/", "tests/", "perf/"),
}
# In pieces, so that this file does not offend against itself.
FORBIDDEN = re.compile("|".join(("/wo" + r"rk/", "/ro" + r"ot/", "pypi" + r"\.org", "python" + r"hosted\.org")))
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".sql", ".yaml", ".yml", ".json", ".sh", ".html", ".cfg", ""}


def libraries(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    return {str(source.relative_to(ROOT)): set(libraries(source)) for source in SOURCES}


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=20
    )
    if listing.returncode:
        pytest.skip("not a git work tree")
    return [path for line in listing.stdout.splitlines() if (path := ROOT / line).is_file()]


@pytest.mark.parametrize("library", PLACES)
def test_each_library_is_imported_only_in_its_room(library: str, imports: dict[str, set[str]]) -> None:
    strangers = [
        place for place, names in imports.items() if library in names and not place.startswith(PLACES[library])
    ]

    assert strangers == []


def test_no_source_file_outgrows_a_reader() -> None:
    large = {str(path.relative_to(ROOT)): size for path in SOURCES if (size := path.stat().st_size) > LARGEST_BYTES}

    assert large == {}


def test_every_module_is_named_after_something() -> None:
    nameless = [str(path.relative_to(ROOT)) for path in SOURCES if NAMELESS & {path.stem, path.parent.name}]

    assert nameless == []


def test_test_modules_have_unique_names() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]

    assert sorted(names) == sorted(set(names))


def test_no_file_names_this_machine_or_a_package_index() -> None:
    offenders = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.suffix in TEXT_SUFFIXES and FORBIDDEN.search(path.read_text(encoding="utf-8", errors="replace"))
    ]

    assert offenders == []


def test_every_package_on_disk_is_shipped() -> None:
    """A folder left out of the explicit list works in an editable install and is missing in a wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])

    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for room in ROOMS
        if room != "tests"
        for path in (ROOT / room).rglob("__init__.py")
    }

    assert found == listed


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(name for names in project["optional-dependencies"].values() for name in names)]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()

    pinned = {canonical(line.split("==")[0]) for line in lines if "==" in line}

    assert {canonical(re.split(r"[\[<>=~! ]", requirement)[0]) for requirement in asked} <= pinned
    assert all(re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)


def canonical(name: str) -> str:
    """The name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
